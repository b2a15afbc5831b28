"""DFPT module: reading and judging real outputs, restart and queue with a stand-in program, clear errors.

`tests/data/dfpt` holds trimmed outputs of two real runs: an anisotropic crystal with Quantum ESPRESSO (`qe`) and
KBr with ABINIT (`abinit`). The stand-in program replays the former, so that everything but the physics is run.
"""

import copy
import gzip
import json
import os
import re
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from dtnet_core import dfpt
from dtnet_core.base.files import InUseError, locked
from dtnet_core.crystals.symmetry import point_group_rotations, symmetry_violation
from dtnet_core.dfpt import abinit, inputs, qe
from dtnet_core.dfpt.inputs import DFPTError
from dtnet_core.dfpt.relax import relax
from dtnet_core.dfpt.seeds import SET_FILE, build_seed, load_set, merge_record, read_seeds, seed_jobs
from dtnet_core.dfpt.upf import read_psp8, upf_text
from tests.command import dtnet

OUTPUTS = Path(__file__).parent / "outputs"
QE, ABINIT = OUTPUTS / "qe", OUTPUTS / "abinit"
PSP8 = """{symbol} made for a test
 {z} {valence} 200101 zatom,zion,pspd
 8 11 0 4 5 0 pspcod,pspxc,lmax,lloc,mmax,r2well
 0.0 0.0 0.0 rchrg fchrg qchrg
 1 0 0 0 0 nproj
 1 1 extension_switch
 0 1.5D+00
{beta}
 4
{local}
{density}
# Ecut (1e-3 Ha/atom accuracy): 9 Ha
# Ecut (1e-4 Ha/atom accuracy): 14 Ha
"""


def stored_settings() -> dict:
    return json.loads((QE / "settings.json").read_text())


def parsed_qe() -> dict:
    info = stored_settings()
    return dfpt.parse(QE, info["settings"], info["occupied"])


@pytest.fixture
def pseudo_dir(tmp_path, monkeypatch):
    """Folder of small psp8 files for the elements of the stored run, with the right number of valence electrons."""
    folder = tmp_path / "psp"
    folder.mkdir()
    r = 0.01 * np.arange(5)

    def rows(values):
        return "\n".join(f" {i + 1} {x:.4E} {v:.4E}" for i, (x, v) in enumerate(zip(r, values, strict=True)))

    for symbol, (z, valence) in stored_settings()["elements"].items():
        text = PSP8.format(symbol=symbol, z=z, valence=valence, beta=rows(r), local=rows(-valence + r),
                           density=rows(np.full(5, 2.0)))
        (folder / f"{z:02d}_{symbol}_{valence}_test.psp8").write_text(text)
    monkeypatch.setenv("DTNET_PSEUDO_DIR", str(folder))
    return folder


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Stand-in for pw.x, ph.x and dynmat.x: replays the stored outputs, counts calls, dies where it is told to."""
    program, calls = tmp_path / "engine.sh", tmp_path / "calls"
    calls.touch()
    program.write_text(
        "#!/bin/sh\nstage=${2%.in}\n"
        f"echo $stage >> {calls}\n"
        f"if [ \"$stage\" = \"$(cat {tmp_path}/die 2>/dev/null)\" ]; then echo half an output; exit 9; fi\n"
        "case $stage in ground) mkdir -p tmp/x.save;; esac\n"
        f"cat {QE}/$stage.out\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in ("PW", "PH", "DYNMAT"):
        monkeypatch.setenv(f"DTNET_{name}", str(program))
    return calls


def start_structure() -> Structure:
    return Structure.from_dict(stored_settings()["start"])


# ---- reading real outputs -------------------------------------------------------------------------------------------


def test_qe_outputs_give_a_record_that_holds_together():
    record = parsed_qe()
    eps = {k: np.array(record[f"eps_{k}"]) for k in ("electronic", "ionic", "total")}
    structure = Structure(**{("coords" if k == "frac_coords" else k): v for k, v in record["structure"].items()})
    natom = len(structure)
    assert record["flags"] == []
    assert np.allclose(eps["electronic"] + eps["ionic"], eps["total"], atol=2e-5)
    assert np.ptp(np.linalg.eigvalsh(eps["total"])) > 0.05  # the stored run is anisotropic
    assert np.array(record["born_charges"]).shape == (natom, 3, 3)
    assert np.abs(np.array(record["born_charges"]).sum(0)).max() < 0.05
    assert len(record["gamma_frequencies_cm1"]) == 3 * natom
    assert symmetry_violation(eps["total"], point_group_rotations(structure)) < 1e-3
    assert record["code"].startswith("Quantum ESPRESSO 6")


def test_ionic_tensor_agrees_with_its_own_sum_over_modes():
    """Ionic part = (4 pi / V) sum_modes S S^t / omega^2; here from the ABINIT run of cubic KBr, one polar mode."""
    record = dfpt.parse(ABINIT, {"engine": "abinit"}, 8)
    volume = Structure(record["structure"]["lattice"], ["K", "Br"], record["structure"]["frac_coords"]).volume
    charge = np.array(record["born_charges"])[0, 0, 0] - np.array(record["born_charges"]).sum(0)[0, 0] / 2
    mass = 1 / (1 / 39.0983 + 1 / 79.904) * 1822.888  # electron masses
    omega = record["gamma_frequencies_cm1"][-1] / 219474.63  # hartree
    ionic = 4 * np.pi / (volume / inputs.BOHR**3) * charge**2 / mass / omega**2
    assert record["eps_ionic"][0][0] == pytest.approx(ionic, rel=2e-3)


@pytest.mark.skipif(not SET_FILE.exists(), reason="the set is not there")
def test_two_engines_agree_on_the_same_crystal():
    other = next(r for r in load_set() if r["id"] == "KBr-rocksalt")
    record = dfpt.parse(ABINIT, {"engine": "abinit"}, 8)
    assert record["code"].startswith("ABINIT") and other["code"].startswith("Quantum ESPRESSO")
    assert np.allclose(record["eps_electronic"], other["eps_electronic"], rtol=0.01)
    assert np.allclose(record["eps_total"], other["eps_total"], rtol=0.03)


def test_cut_off_output_is_refused(tmp_path):
    info = stored_settings()
    folder = shutil.copytree(QE, tmp_path / "run")
    text = (folder / "response.out").read_text()
    (folder / "response.out").write_text(text[: len(text) // 2])
    with pytest.raises(DFPTError, match=r"response\.out is missing or has no end"):
        dfpt.parse(folder, info["settings"], info["occupied"])


def test_unconverged_cycles_are_seen(tmp_path):
    info = stored_settings()
    folder = shutil.copytree(QE, tmp_path / "run")
    ground = folder / "ground.out"
    ground.write_text("     convergence NOT achieved after  80 iterations: stopping\n" + ground.read_text())
    assert dfpt.parse(folder, info["settings"], info["occupied"])["flags"] == ["not-converged"]
    text = (ABINIT / "response.abo").read_text()
    assert abinit.converged(text)
    assert not abinit.converged(text + "\n scprqt:  WARNING -\n  nstep=   100 was not enough SCF cycles to converge;\n")
    assert not abinit.converged("=== At Broyd/MD step 30, gradients have not converged yet.")


def test_metal_gap_is_negative():
    text = " Eigenvalues (hartree) for nkpt=  2  k points:\n kpt#   1, nband=  2\n  -0.1  0.2\n kpt#   2, nband=  2\n   0.3  0.4\n"
    assert abinit.read_gap(text, 1) == pytest.approx(-0.1 * 27.2114, abs=1e-3)
    assert qe.read_gap("highest occupied, lowest unoccupied level (ev):     8.10    8.00") == pytest.approx(-0.1)


# ---- judging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "spoil"),
    [
        ("charge-not-neutral", lambda r: r["born_charges"][0][0].__setitem__(0, r["born_charges"][0][0][0] + 0.2)),
        ("imaginary-mode", lambda r: r["gamma_frequencies_cm1"].__setitem__(-1, -80.0)),
        ("soft-mode", lambda r: r.update(gamma_frequencies_cm1=[0.1 * x for x in r["gamma_frequencies_cm1"]])),
        ("acoustic-sum", lambda r: r.update(acoustic_shift_cm1=500.0)),
        ("small-gap", lambda r: r.update(gap_ev=0.1)),
        ("asymmetric-tensor", lambda r: r.update(symmetry_violation=0.05)),
        ("unphysical", lambda r: r["eps_total"][0].__setitem__(0, 400.0)),
        ("unphysical", lambda r: r["eps_electronic"][2].__setitem__(2, 0.3)),
        ("incomplete", lambda r: r["eps_total"][0].__setitem__(0, float("nan"))),
    ],
)
def test_each_flaw_gets_its_flag(flag, spoil):
    record = parsed_qe()
    assert dfpt.judge(record) == []
    spoil(record)
    assert flag in dfpt.judge(record)


def test_rotated_tensor_violates_the_symmetry_of_its_structure():
    record = parsed_qe()
    structure = Structure(record["structure"]["lattice"], record["structure"]["species"], record["structure"]["frac_coords"])
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    tensor = np.array(record["eps_total"])
    assert symmetry_violation(tensor, point_group_rotations(structure)) < 1e-3
    assert symmetry_violation(turn @ tensor @ turn.T, point_group_rotations(structure)) > 0.01


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacegroup", "lattice", "sites", "grids"),
    [
        (225, Lattice.cubic(4.2), [[0, 0, 0], [0.5, 0.5, 0.5]], 4),
        (221, Lattice.cubic(4.1), [[0, 0, 0], [0.5, 0.5, 0.5]], 1),
        (186, Lattice.hexagonal(3.2, 5.2), [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]], 1),
        (139, Lattice.tetragonal(4.5, 11.0), [[0, 0, 0.12], [0, 0, 0.34]], 2),
    ],
)
def test_mesh_is_dense_enough_and_its_irreducible_part_stands_for_all(spacegroup, lattice, sites, grids):
    structure = Structure.from_spacegroup(spacegroup, lattice, ["Mg", "O"], sites)
    structure = SpacegroupAnalyzer(structure).get_primitive_standard_structure()
    ngkpt, shifts = inputs.mesh(structure, 0.4)
    points, weights = inputs.irreducible(structure, ngkpt, shifts)
    total = np.prod(ngkpt) * len(shifts)
    assert len(shifts) == grids
    assert weights.sum() == total and len(points) < total / 3
    assert total >= 0.85 * structure.lattice.reciprocal_lattice.volume / 0.4**3
    # every point of the mesh is an image of exactly one listed point
    rotations = inputs.point_rotations(structure)
    images = np.concatenate([s * points @ r.T for r in rotations for s in (1, -1)])
    unique = np.unique(np.round((images + 1e-9) % 1.0, 5) % 1.0, axis=0)
    assert len(unique) == total


def test_mesh_for_unusual_axes_keeps_the_symmetry():
    crystal = Structure.from_spacegroup(139, Lattice.tetragonal(4.5, 11.0), ["Mg", "O"], [[0, 0, 0.12], [0, 0, 0.34]])
    ngkpt, shifts = inputs.mesh(crystal.get_primitive_structure(), 0.4)
    points, weights = inputs.irreducible(crystal.get_primitive_structure(), ngkpt, shifts)
    assert weights.sum() == np.prod(ngkpt) and len(set(ngkpt)) == 1
    assert len(points) < weights.sum() / 4


def test_small_gaps_and_unshifted_planes_get_denser_meshes():
    cubic = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]).get_primitive_structure()
    hexagonal = Structure(Lattice.hexagonal(3.1, 5.0), ["Al", "N"] * 2, [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.5], [2 / 3, 1 / 3, 0.88]])
    spacings = [inputs.response_spacing(gap, cubic) for gap in (5.0, 3.0, 2.0, 0.5)]
    assert spacings == sorted(spacings, reverse=True) and len(set(spacings)) == 4
    assert inputs.response_spacing(5.0, hexagonal) == spacings[0]
    assert inputs.response_spacing(2.0, hexagonal) == pytest.approx(0.8 * spacings[2])


def test_upf_keeps_charge_and_strength(pseudo_dir):
    path = next(pseudo_dir.glob("*.psp8"))
    data = read_psp8(path)
    symbol = path.name.split("_")[1]
    text = upf_text(symbol, data)
    assert f'z_valence="{data["valence"]:.2f}"' in text and 'core_correction="F"' in text
    density = np.array(text.split("<PP_RHOATOM")[1].split(">")[1].split("<")[0].split(), float)
    assert np.trapezoid(density, data["r"]) == pytest.approx(data["valence"])
    dij = float(text.split("<PP_DIJ")[1].split(">")[1].split("<")[0].split()[0])
    assert dij == pytest.approx(2 * 1.5)  # hartree -> rydberg


def test_odd_electron_number_is_refused(pseudo_dir):
    pseudos = {"X": inputs.Pseudo(Path("x"), 7, (9.0, 14.0))}
    crystal = Structure(Lattice.cubic(4), ["I"], [[0, 0, 0]])
    with pytest.raises(DFPTError, match="odd"):
        inputs.valence_bands(crystal, {"I": pseudos["X"]})


# ---- running --------------------------------------------------------------------------------------------------------


def test_run_restarts_where_it_was_killed(tmp_path, pseudo_dir, engine):
    folder, die = tmp_path / "run", tmp_path / "die"
    die.write_text("response")
    with pytest.raises(DFPTError, match=r"stage 'response'.*did not end[\s\S]*half an output"):
        dfpt.run(start_structure(), folder, "x")
    first = engine.read_text().split()
    assert first == [*(f"relax_{i:02d}" for i in range(len(first) - 3)), "gap", "ground", "response"]
    die.unlink()
    record = dfpt.run(start_structure(), folder, "x")
    assert engine.read_text().split()[len(first):] == ["response", "dynmat"]
    assert record["id"] == "x" and record["flags"] == []
    assert np.allclose(record["eps_total"], parsed_qe()["eps_total"], atol=1e-4)
    assert np.allclose(record["structure"]["lattice"], parsed_qe()["structure"]["lattice"], atol=1e-5)
    assert not (folder / "tmp").exists()
    again = dfpt.run(start_structure(), folder, "x")  # finished: nothing runs again
    assert {k: v for k, v in again.items() if k != "wall_s"} == {k: v for k, v in record.items() if k != "wall_s"}
    assert len(engine.read_text().split()) == len(first) + 2
    with pytest.raises(DFPTError, match="another folder"):
        dfpt.run(start_structure(), folder, "x", ecut=99.0)


def test_a_killed_response_goes_on_from_what_it_left(tmp_path, pseudo_dir, engine):
    folder, die = tmp_path / "run", tmp_path / "die"
    state = folder / "tmp/_ph0/x.phsave/status_run.xml"

    def dies():
        with pytest.raises(DFPTError, match="did not end"):
            dfpt.run(start_structure(), folder, "x")

    def leaves_a_state():
        state.parent.mkdir(parents=True)
        state.write_text("<Root/>")
        later = (folder / "ground.out").stat().st_mtime + 1
        os.utime(state, (later, later))

    die.write_text("response")
    dies()
    assert "recover=.false." in (folder / "response.in").read_text()
    leaves_a_state()
    dies()  # cannot go on from it: the next try starts anew
    assert "recover=.true." in (folder / "response.in").read_text() and not state.exists()
    leaves_a_state()
    os.utime(state, (0, 0))
    dies()  # one of another ground state is not kept either: a later kill would make it look like this one's
    assert "recover=.false." in (folder / "response.in").read_text() and not state.exists()
    leaves_a_state()
    program = tmp_path / "engine.sh"
    program.write_text(program.read_text().replace("exit 9", "kill -9 $$"))
    dies()
    assert state.exists()  # killed while it went on: nothing is lost
    os.utime(folder / "response.out", times=(later := (folder / "response.in").stat().st_mtime + 500, later))
    die.unlink()
    assert dfpt.run(start_structure(), folder, "x")["wall_s"] >= 500  # with the time before the kill
    assert "recover=.true." in (folder / "response.in").read_text()


def test_a_mesh_too_coarse_for_neutral_charges_is_made_denser(tmp_path, pseudo_dir, engine):
    bad, program = tmp_path / "bad.out", tmp_path / "engine.sh"
    before, charges = (QE / "response.out").read_text().rsplit("Effective charges (d Force / dE)", 1)
    charges = re.sub(r"(Ex\s+\(\s*)(-?\d+\.\d+)", lambda m: f"{m[1]}{float(m[2]) + 0.2:.5f}", charges, count=1)
    bad.write_text(before + "Effective charges (d Force / dE)" + charges)
    program.write_text(program.read_text().replace(  # the first response only
        f"cat {QE}/$stage.out", f"[ $stage = response ] && mv {bad} given.txt && exec cat given.txt\ncat {QE}/$stage.out"))
    record = dfpt.run(start_structure(), tmp_path / "run", "x")
    assert engine.read_text().split()[-6:] == ["ground", "response", "dynmat"] * 2
    assert record["flags"] == []
    used, structure = record["settings"], Structure(*(record["structure"][k] for k in ("lattice", "species", "frac_coords")))
    coarse = inputs.mesh(structure, inputs.response_spacing(record["gap_ev"], structure))
    spacings = [inputs.mesh_spacing(structure, *m) for m in (coarse, (used["ngkpt"], used["shifts"]))]
    assert spacings[1] < 0.85 * spacings[0]
    assert dfpt.run(start_structure(), tmp_path / "run", "x")["eps_total"] == record["eps_total"]
    assert len(engine.read_text().split()) == engine.read_text().split().index("gap") + 7  # nothing ran again


def test_a_geometry_can_be_kept(tmp_path, pseudo_dir, engine):
    record = dfpt.run(start_structure(), tmp_path / "run", "x", relax=False)
    assert engine.read_text().split() == ["relax_00", "gap", "ground", "response", "dynmat"]
    assert record["settings"]["geometry"] == "as given" and record["flags"] == []
    standard = SpacegroupAnalyzer(start_structure(), symprec=1e-3).get_primitive_standard_structure()
    assert np.allclose(record["structure"]["lattice"], standard.lattice.matrix, atol=1e-6)
    with pytest.raises(DFPTError, match="relax = False"):
        dfpt.run(start_structure(), tmp_path / "run", "x")
    larger = start_structure()
    larger.scale_lattice(1.01 * larger.volume)
    with pytest.raises(DFPTError, match="another crystal"):
        dfpt.run(larger, tmp_path / "run", "x", relax=False)


def test_metal_is_refused_after_relaxation(tmp_path, pseudo_dir, engine):
    replay = tmp_path / "metal"
    shutil.copytree(QE, replay)
    for path in (*replay.glob("relax_*.out"), replay / "gap.out"):
        path.write_text(re.sub(r"(level \(ev\):).*", r"\1 5.0 4.9", path.read_text()))
    program = tmp_path / "engine.sh"
    program.write_text(program.read_text().replace(str(QE), str(replay)))
    with pytest.raises(DFPTError, match="metal"):
        dfpt.run(start_structure(), tmp_path / "run", "x")
    assert "ground" not in engine.read_text()


def test_relaxation_finds_the_minimum_of_a_known_energy():
    """Harmonic cell and bond: the minimum is known, forces and stress are exact."""
    start = Structure(Lattice.hexagonal(3.3, 5.0), ["Mg", "O"], [[0, 0, 0], [1 / 3, 2 / 3, 0.45]])
    target = Lattice.hexagonal(3.2, 5.2).matrix

    def evaluate(step, at):
        cell, volume = np.array(at.lattice.matrix), at.volume
        deform = np.linalg.solve(target, cell)  # cell = target @ deform
        offset = (at.frac_coords[1] - at.frac_coords[0] - [1 / 3, 2 / 3, 0.4]) * [0, 0, 1]
        gradient = 2.0 * offset / np.linalg.norm(cell[2])  # eV/A along c
        pull = 20.0 * (deform - np.eye(3))  # dE/d(deform)
        stress = deform.T @ pull / volume + np.outer(gradient, offset @ cell) * 0
        energy = 10.0 * np.square(deform - np.eye(3)).sum() + np.square(offset).sum()
        return energy, np.array([gradient, -gradient]), (stress + stress.T) / 2

    final, done = relax(start, evaluate, steps=40)
    assert done
    assert np.allclose(final.lattice.abc, [3.2, 3.2, 5.2], atol=0.01)
    assert (final.frac_coords[1] - final.frac_coords[0])[2] == pytest.approx(0.4, abs=0.005)


def test_relaxation_does_not_slide_out_of_symmetry():
    """Layers on a flat energy, pushed sideways by noise."""
    start = Structure(Lattice.hexagonal(2.5, 6.7), ["B", "N", "N", "B"], [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
    noise = np.random.default_rng(0)

    def evaluate(step, at):
        sideways, shear = noise.normal(0, 0.01, (4, 3)) * [1, 1, 0], noise.normal(0, 2e-4, (3, 3))
        return 0.0, sideways, shear + shear.T + np.diag([0, 0, 1e-3 * (at.lattice.c - 6.6)])

    final, _ = relax(start, evaluate, steps=8)
    assert abs(final.lattice.c - 6.7) > 1e-3
    assert SpacegroupAnalyzer(final, symprec=1e-5).get_space_group_number() == 194


def test_rhombohedral_cells_stand_on_their_axis():
    """pw.x finds a threefold axis along z only."""
    seed = build_seed(read_seeds()["CaCN2-cacn2"])
    cell = inputs.standard_cell(seed)
    half = 3**0.5 / 2
    turn = np.array([[-0.5, -half, 0], [half, -0.5, 0], [0, 0, 1]])
    assert any(np.allclose(turn, r, atol=1e-6) for r in point_group_rotations(cell))
    assert len(cell) == 4 and np.linalg.det(cell.lattice.matrix) > 0
    assert StructureMatcher(scale=False).fit(seed, cell)


def test_queue_keeps_going_and_merges_what_ends(tmp_path, pseudo_dir, engine):
    target = tmp_path / "set.json.gz"
    bad = Structure(Lattice.cubic(4), ["Og"], [[0, 0, 0]])
    results = dfpt.run_many([("bad", bad), ("b", start_structure), ("a", start_structure())], tmp_path / "runs", 2, target,
                            command="make {}".format)
    assert isinstance(results["bad"], str) and "Og" in (tmp_path / "runs" / "bad" / "error.txt").read_text()
    assert [r["id"] for r in load_set(target)] == ["a", "b"]
    assert [r["command"] for r in load_set(target)] == ["make a", "make b"]
    assert all(r["commit"] and r["hardware"] for r in load_set(target))
    before = target.read_bytes()
    merge_record(load_set(target)[0], target)
    assert target.read_bytes() == before  # same content, same bytes
    assert not list(tmp_path.glob(".*tmp"))


def test_a_structure_file_is_computed_and_says_how(tmp_path, pseudo_dir, engine, capsys):
    file, target = tmp_path / "mine.vasp", tmp_path / "set.json.gz"
    start_structure().to(str(file), fmt="poscar")
    assert dtnet("dfpt", "compute", file, "--no-relax", "--root", tmp_path / "runs", "--set", target) == 0
    [record] = load_set(target)
    assert record["command"] == "dtnet dfpt compute mine.vasp --engine qe --no-relax"
    assert record["id"] == "mine" and "mine: PBE, gap" in capsys.readouterr().out


def test_a_folder_in_use_is_left_alone(tmp_path, pseudo_dir, engine):
    with locked(tmp_path / "run" / "run"), pytest.raises(InUseError, match="in use"):
        dfpt.run(start_structure(), tmp_path / "run", "x")
    assert engine.read_text() == ""


@pytest.mark.parametrize("name", ["qe", "abinit"])
def test_missing_program_names_the_package(tmp_path, monkeypatch, name):
    for variable in ("PW", "ABINIT"):
        monkeypatch.setenv(f"DTNET_{variable}", str(tmp_path / "nowhere"))
    with pytest.raises(DFPTError, match=r"apt-get install (quantum-espresso|abinit)"):
        dfpt.run(Structure(Lattice.cubic(4), ["Mg"], [[0, 0, 0]]), tmp_path / "run", "x", engine=name)


def test_missing_pseudopotentials_name_the_package(tmp_path, monkeypatch, engine):
    monkeypatch.delenv("DTNET_PSEUDO_DIR", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DFPTError, match=r"sparc-x-api"):
        dfpt.run(start_structure(), tmp_path / "run", "x")
    monkeypatch.setenv("DTNET_PSEUDO_DIR", str(tmp_path))
    with pytest.raises(DFPTError, match=r"holds no \*\.psp8"):
        dfpt.run(start_structure(), tmp_path / "run", "x")


# ---- the set --------------------------------------------------------------------------------------------------------


def test_every_seed_makes_its_crystal():
    seeds = read_seeds()
    assert len(seeds) > 200
    for key in list(seeds)[:: len(seeds) // 12]:
        structure = build_seed(seeds[key])
        distances = structure.distance_matrix + 9 * np.eye(len(structure))
        assert key.startswith(structure.composition.reduced_formula)
        assert distances.min() > 0.8, key
    systems = {key: SpacegroupAnalyzer(build_seed(seeds[key])).get_crystal_system() for key in ("MgO-rocksalt-sheared", "NaN3-azide", "K2CN2-cyanamide", "PI2-p2i4")}
    assert systems == {"MgO-rocksalt-sheared": "triclinic", "NaN3-azide": "monoclinic", "K2CN2-cyanamide": "monoclinic", "PI2-p2i4": "triclinic"}
    jobs = seed_jobs(["MgO-rocksalt-sheared", "MgO-rocksalt"])
    assert [(key, own) for key, _, own in jobs] == [("MgO-rocksalt-sheared", {"relax": False}), ("MgO-rocksalt", {})]
    assert jobs[0][1]() == build_seed(seeds["MgO-rocksalt-sheared"])


@pytest.mark.skipif(not SET_FILE.exists(), reason="the set is not there")
def test_the_set_is_what_it_says():
    records, seeds = load_set(), read_seeds()
    with gzip.open(SET_FILE, "rt") as handle:
        assert "NaN" not in handle.read()
    assert len({r["id"] for r in records}) == len(records)
    for record in records:
        again = copy.deepcopy(record)
        assert record["id"] in seeds and record["command"].endswith(f"--engine {record['settings']['engine']}")
        assert dfpt.judge(again) == record["flags"], record["id"]
        assert np.allclose(np.add(record["eps_electronic"], record["eps_ionic"]), record["eps_total"], atol=2e-5)
        crystal = Structure(record["structure"]["lattice"], record["structure"]["species"], record["structure"]["frac_coords"])
        if not record["flags"]:
            assert max(symmetry_violation(np.array(record[f"eps_{k}"]), point_group_rotations(crystal)) for k in ("electronic", "total")) < 0.01


@pytest.mark.skipif(not (os.environ.get("DTNET_RUN_DFPT") and shutil.which("pw.x")), reason="needs pw.x, DTNET_RUN_DFPT")
def test_silicon_for_real(tmp_path):
    record = dfpt.run(build_seed(read_seeds()["Si-diamond"]), tmp_path / "si", "Si-diamond", spacing=0.3)
    assert record["eps_electronic"][0][0] == pytest.approx(13.1, abs=0.6)
    assert abs(record["eps_ionic"][0][0]) < 0.05
    assert record["gamma_frequencies_cm1"][-1] == pytest.approx(508, abs=15)
