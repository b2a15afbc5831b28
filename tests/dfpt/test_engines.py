"""What the engines are asked and how their answers are read: inputs word for word, and small outputs worked out by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.dfpt import ENGINES, abinit, inputs, judge, qe, unchecked
from dtnet_core.dfpt.inputs import BOHR, DFPTError, Pseudo, Settings
from dtnet_core.dfpt.parse import acoustic_shift

OUTPUTS = Path(__file__).parent / "outputs"
CELL = np.array([[8.0, 0, 0], [1, 7, 0], [-2, 0.5, 9]])  # bohr
COORDS = [[0.1, 0.2, 0.3], [0, 0, 0], [0.5, 0.25, 0.75], [0.9, 0.8, 0.7]]
TRICLINIC = Structure(BOHR * CELL, ["O", "Al", "P", "O"], COORDS)  # 6 + 3 + 5 + 6 electrons
PSEUDOS = {s: Pseudo(Path(f"/psp/{z:02d}_{s}.psp8"), n, (9.0, 14.0)) for s, z, n in (("O", 8, 6), ("Al", 13, 3), ("P", 15, 5))}
SETTINGS = Settings("abinit", 20.0, (1, 3, 5), ((0.25,) * 3, (-0.25,) * 3), True, (2, 3, 4), ((0.5, 0.5, 0.5),))
GEOMETRY = """acell 3*1.0 rprim 8 0 0 1 7 0 -2 0.5 9 natom 4 ntypat 3 znucl 8 13 15 typat 1 2 3 1
xred 0.1 0.2 0.3 0 0 0 0.5 0.25 0.75 0.9 0.8 0.7 pp_dirpath "/psp" pseudos "08_O.psp8, 13_Al.psp8, 15_P.psp8" """


def words(text: str) -> list:
    """Numbers as numbers, all else as it is."""
    return [float(w) if re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", w) else w for w in text.split()]


def test_abinit_is_asked_for_the_whole_response():
    """Ground state, bands, d/dk and the response to all atoms and fields, on one mesh; the gap on a mesh with Gamma."""
    common = f"""{GEOMETRY} ngkpt 2 3 4 nshiftk 1 shiftk 0.5 0.5 0.5 ecut 20 boxcutmin 1.5 nband 10 nstep 100 nline 8 iomode 0 diemac 6.0
    tolwfr1 1e-16 prtden1 1 iscf2 -2 getden2 1 nband2 15 nbdbuf2 3 tolwfr2 1.0e-10 prtwf2 0 ngkpt2 2 4 6 nshiftk2 1 shiftk2 0 0 0
    getwfk3 1 kptopt3 2 rfelfd3 2 rfdir3 1 1 1 nqpt3 1 qpt3 0 0 0 iscf3 -3 tolwfr3 1e-11
    getwfk4 1 getddk4 3 kptopt4 2 rfphon4 1 rfatpol4 1 4 rfelfd4 3 rfdir4 1 1 1 nqpt4 1 qpt4 0 0 0 tolvrs4 1e-8 prtwf4 0 prtden4 0"""
    for number, stage in enumerate(("ground", "bands", "ddk", "response"), 1):
        names = f'outdata_prefix "run_o" indata_prefix "run_i" tmpdata_prefix "run_t" ndtset 1 jdtset {number} '
        assert words(abinit.write_input(stage, TRICLINIC, PSEUDOS, SETTINGS, Path())) == words(names + common)
        assert abinit.arguments(stage) == [abinit.input_name(stage)] == [f"{stage}.abi"]
    assert words(abinit.write_input("anaddb", TRICLINIC, PSEUDOS, SETTINGS, Path())) == words(
        """ddb_filepath "run_o_DS4_DDB" output_file "anaddb.abo" dieflag 3 nph2l 1 qph2l 1 0 0 0 nph1l 1 qph1l 0 0 0 1 ifcflag 0
        chneut 1 asr 1 nfreq 1 frmin 0 frmax 0 ramansr 0 enunit 1""")  # fmt: skip
    with pytest.raises(ValueError, match="no response mesh"):
        abinit.response_input(TRICLINIC, PSEUDOS, Settings("abinit", 20.0, (1, 1, 1), ()), "ground")


def test_abinit_relaxes_only_what_symmetry_leaves_free():
    start = f"{GEOMETRY} ngkpt 1 3 5 nshiftk 2 shiftk 0.25 0.25 0.25 -0.25 -0.25 -0.25 ecut 20 ecutsm 0.5 dilatmx 1.06 chkdilatmx 0 nband 14 nbdbuf 2"
    moves, end = " ionmov 22 optcell 2 ntime 30 tolmxf 2.0e-5 strfact 100 ", " tolvrs 1.0e-9 nstep 80 iomode 0 prtden 0 prtwf 0 prteig 1"
    assert words(abinit.relax_input(TRICLINIC, PSEUDOS, SETTINGS)) == words(start + moves + end)
    kept = Settings(**{**SETTINGS.as_dict(), "relax": False})
    assert words(abinit.relax_input(TRICLINIC, PSEUDOS, kept)) == words(start + end)
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rocksalt = Structure.from_spacegroup(225, Lattice.cubic(4.2), ["Mg", "O"], sites)
    pyrite = Structure.from_spacegroup(205, Lattice.cubic(4.8), ["Ca", "O"], [[0, 0, 0], [0.41] * 3])  # a free parameter
    rutile = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
    tetragonal = Structure.from_spacegroup(123, Lattice.tetragonal(4.0, 4.4), ["Ti", "O"], sites)  # atoms are held, the shape is not
    for crystal, optcell in ((rocksalt, "1"), (rocksalt.get_primitive_structure(), "1"), (pyrite, "2"), (rutile, "2"), (tetragonal, "2")):
        even = {e.symbol: PSEUDOS["O"] for e in crystal.composition}
        assert f"optcell {optcell}\n" in abinit.relax_input(crystal, even, SETTINGS)


def test_a_relaxation_with_abinit_gives_cell_gap_and_whether_it_ended(tmp_path):
    text = (OUTPUTS / "abinit/relax.abo").read_text()
    (tmp_path / "relaxo_EIG").write_text((OUTPUTS / "abinit/relaxo_EIG").read_text())
    asked = []
    crystal = abinit.read_structure(text)
    pseudos = {"K": Pseudo(Path("/psp/K"), 9, (9.0, 14.0)), "Br": Pseudo(Path("/psp/Br"), 7, (9.0, 14.0))}  # eight bands
    final, gap, done = abinit.relax(crystal, pseudos, SETTINGS, tmp_path, lambda stage, given: asked.append((stage, given)) or text)
    assert asked == [("relax", abinit.relax_input(crystal, pseudos, SETTINGS))] and done and final == crystal
    assert gap == pytest.approx(abinit.read_gap((tmp_path / "relaxo_EIG").read_text(), 8)) and gap > 3


ECHO = """ -outvars: echo values of variables before computation
            acell      1.0 1.0 1.0 Bohr
            natom           1
            znucl      1.0
-outvars: echo values of preprocessed input variables --------
 -outvars: echo values of variables after computation  --------
            acell      2.0000000000D+00  3.0000000000E+00  4.0000000000E+00 Bohr
P           natom           3
            rprim      1.0000000000E+00  0.0000000000E+00  0.0000000000E+00
                       5.0000000000E-01  1.0000000000E+00  0.0000000000E+00
                       0.0000000000E+00  0.0000000000E+00  2.0000000000E+00
            typat      2  1  2
             xred      1.0000000000E-01  2.0000000000E-01  3.0000000000E-01
                       0.0000000000E+00  0.0000000000E+00  0.0000000000E+00
                      -2.5000000000E-01  5.0000000000E-01  7.5000000000E-01
            znucl       13.00000    8.00000
"""


def test_cells_that_abinit_echoes():
    found = abinit.read_structure(ECHO)
    np.testing.assert_allclose(found.lattice.matrix / BOHR, [[2, 0, 0], [1.5, 3, 0], [0, 0, 8]])  # each row in units of its own length
    np.testing.assert_allclose(found.frac_coords, [[0.1, 0.2, 0.3], [0, 0, 0], [-0.25, 0.5, 0.75]])
    assert [s.specie.symbol for s in found] == ["O", "Al", "O"]
    short = "\n".join(line for line in ECHO.split("\n")[:7] if "natom" not in line) + "\n            znucl       12.00000\n"
    single = abinit.read_structure(short)  # what is not echoed has its default
    np.testing.assert_allclose(single.lattice.matrix / BOHR, np.diag([2.0, 3, 4]))
    assert single.frac_coords.tolist() == [[0, 0, 0]] and single.formula == "Mg1"
    with pytest.raises(DFPTError, match="did not end"):
        abinit.read_structure(ECHO.split(" -outvars: echo values of variables after")[0])
    with pytest.raises(DFPTError, match="acell is not"):
        abinit.read_structure(ECHO[ECHO.index(" -outvars: echo values of variables after") :].replace("acell", "other"))


def test_gaps_by_hand():
    """Highest occupied and lowest empty level are taken over all k-points; each k-point's levels may fill several lines."""
    text = " Eigenvalues ({}) for nkpt=  2  k points:\n kpt#   1, nband=  3, wtk=  0.5, kpt=  0.0  0.0  0.0\n  -1.0  0.1\n   0.9\n kpt#   2, nband=  3\n  -1.1  0.2\n   0.7\n"
    assert abinit.read_gap(text.format("hartree"), 2) == pytest.approx(0.5 * 27.211386, rel=1e-6)
    assert abinit.read_gap(text.format("eV"), 2) == pytest.approx(0.5)
    assert abinit.read_gap(text.format("eV"), 1) == pytest.approx(1.1)
    line = "     highest occupied, lowest unoccupied level (ev):    {}\n"
    assert qe.read_gap(line.format(" 1.5  2.0") + line.format("-3.25  4.50")) == pytest.approx(7.75)  # of the last calculation
    with pytest.raises(DFPTError, match="no band edges"):
        qe.read_gap("     highest occupied level (ev):     8.10")


def test_ends_and_unfinished_cycles():
    for end in ("Calculation completed.", "anaddb : the run completed succesfully."):
        assert abinit.completed(end + 2900 * " ") and not abinit.completed(end + 3000 * " ") and not abinit.completed("")
    assert qe.completed("JOB DONE." + 1491 * " ") and not qe.completed("JOB DONE." + 1492 * " ") and not qe.completed("")
    assert abinit.converged("Broyd/MD step 3: gradients are converged") and not abinit.converged("Broyd/MD step 3") and abinit.converged("")
    assert abinit.version("nothing") == "unknown" and abinit.version(".Version 9.6.2 of ANADDB") == "ANADDB 9.6.2"
    assert qe.converged("") and not qe.converged("No convergence has been achieved")
    assert abinit.state_folder("response", Path()) is None and abinit.read_raw_frequencies("none") == []
    with pytest.raises(DFPTError, match="'Electronic dielectric tensor' is missing"):
        abinit.read_anaddb("")
    for engine in (abinit, qe):
        with pytest.raises(DFPTError, match="no dielectric tensor or effective charges"):
            engine.read_response("Dielectric tensor, in cartesian coordinates Dielectric constant in cartesian axis", 2)


def upf_folder(folder: Path) -> Path:
    for symbol in PSEUDOS:
        (folder / f"{symbol}.upf").write_text("there already")
    return folder


def test_quantum_espresso_is_asked_in_rydberg_for_each_stage(tmp_path):
    """Twice the cutoff in hartree, a tenth more where stresses count; empty bands for the gap, none for the ground state."""
    folder = upf_folder(tmp_path)
    texts = {stage: qe.write_input(stage, TRICLINIC, PSEUDOS, SETTINGS, folder) for stage in ("relax_03", "gap", "ground", "response", "dynmat")}
    for stage, kind, where, cutoff, bands, level, stress, threshold, mesh, shifts in (
        ("relax_03", "scf", "tmp_relax", "44.00", 11, "low", "true", "1e-08", (1, 3, 5), SETTINGS.relax_shifts),
        ("gap", "nscf", "tmp_relax", "44.00", 12, "high", "true", "1e-08", (2, 4, 4), [[0, 0, 0]]),
        ("ground", "scf", "tmp", "40.00", 10, "low", "false", "1e-13", (2, 3, 4), SETTINGS.shifts),
    ):
        head, points = texts[stage].split("K_POINTS crystal\n")
        assert words(head) == words(f"""&control calculation='{kind}' prefix='x' outdir='./{where}' pseudo_dir='.' disk_io='low'
            tprnfor=.true. tstress=.{stress}. verbosity='{level}' / &system ibrav=0 nat=4 ntyp=3 ecutwfc={cutoff} occupations='fixed' nbnd={bands} /
            &electrons conv_thr={threshold} startingwfc='random' electron_maxstep=80 /
            ATOMIC_SPECIES O 15.99940 O.upf Al 26.98154 Al.upf P 30.97376 P.upf CELL_PARAMETERS angstrom
            {" ".join(f"{x:.12f}" for x in (BOHR * CELL).ravel())}
            ATOMIC_POSITIONS crystal O 0.1 0.2 0.3 Al 0 0 0 P 0.5 0.25 0.75 O 0.9 0.8 0.7""")  # fmt: skip
        table = np.array([line.split() for line in points.splitlines()[1:]], float)  # [I, 4]
        wanted, weights = inputs.irreducible(TRICLINIC, mesh, shifts)
        np.testing.assert_allclose(table, np.column_stack([wanted, weights]), atol=1e-11)
        assert int(points.split()[0]) == len(table) and table[:, 3].sum() == np.prod(mesh) * len(shifts)
    assert words(texts["response"]) == words("""response &inputph prefix='x' outdir='./tmp' fildyn='dyn' tr2_ph=1e-14 epsil=.true. trans=.true.
        search_sym=.false. reduce_io=.true. recover=.false. / 0 0 0""")  # fmt: skip
    assert words(texts["dynmat"]) == words("&input fildyn='dyn' asr='simple' lperm=.true. filout='modes' filmol='' filxsf='' fileig='' /")
    assert (folder / "O.upf").read_text() == "there already" and qe.arguments("gap") == ["-in", qe.input_name("gap")] == ["-in", "gap.in"]


def test_an_answer_of_quantum_espresso_counts_when_all_cycles_ended(tmp_path):
    """The smaller of the gaps on both meshes; one cycle that did not converge spoils the relaxation."""
    folder, text = upf_folder(tmp_path), (OUTPUTS / "triclinic/qe/relax_00.out").read_text()
    crystal = Structure(BOHR * CELL, ["Al", "P"], COORDS[:2])
    kept = Settings(**{**SETTINGS.as_dict(), "relax": False})
    level = "     highest occupied, lowest unoccupied level (ev):    1.0  {}\n"
    for scf, nscf, gap, done in ((2.0, 3.0, 1.0, True), (3.0, 1.5, 0.5, True), (2.0, 3.0, 1.0, False)):
        answers = {"relax_00": text + level.format(scf) + ("" if done else "convergence NOT achieved"), "gap": level.format(nscf)}
        found = qe.relax(crystal, PSEUDOS, kept, folder, lambda stage, given, answers=answers: answers[stage])
        assert found[0] is crystal and found[1] == pytest.approx(gap) and found[2] is done


@pytest.mark.parametrize("missing", ["total energy", "type", "(Ry/bohr**3)"])
def test_forces_of_a_cycle_that_did_not_end_are_refused(missing):
    text = (OUTPUTS / "triclinic/qe/relax_00.out").read_text()
    qe.read_forces(text, 2)
    with pytest.raises(DFPTError, match="no energy, forces or stress"):
        qe.read_forces(text.replace(missing, "x", 1), 2)


def test_dynmat_by_hand():
    rows = "  1.5 0.1 0.2\n  0.1 2.5 0.3\n  0.2 0.3 3.5\n"
    parts = [" 1 -10.25 -0.3 0.0125 \n 2 300.50 9.0 4.75\n", "Electronic dielectric permittivity tensor (F/m units)\n" + rows,
             " ... with zone-center polar mode contributions\n" + rows.replace(".5", ".75")]  # fmt: skip
    found = qe.read_dynmat("".join(parts))
    np.testing.assert_allclose(found["eps_electronic"], [[1.5, 0.1, 0.2], [0.1, 2.5, 0.3], [0.2, 0.3, 3.5]])
    np.testing.assert_allclose(np.diag(found["eps_total"]), [1.75, 2.75, 3.75])
    assert found["frequencies"] == [-10.25, 300.5] and found["strengths"] == [0.0125, 4.75]
    for k in range(3):
        with pytest.raises(DFPTError, match="no dielectric tensors"):
            qe.read_dynmat("".join(parts[:k] + parts[k + 1 :]))


@pytest.mark.parametrize("name", ["qe", "abinit"])
@pytest.mark.parametrize(("share", "fits"), [(0.0009, True), (-0.0009, True), (0.0011, False), (-0.0011, False)])
def test_two_programs_of_an_engine_must_agree(name, share, fits):
    """On the electronic tensor, within a thousandth of its largest element."""
    folder, engine = OUTPUTS / "triclinic" / name, ENGINES[name]
    texts = {stage: (folder / f"{stage}{engine.SUFFIX}").read_text() for stage in engine.STAGES if (folder / f"{stage}{engine.SUFFIX}").exists()}
    crystal = abinit.read_structure((OUTPUTS / "triclinic/abinit/relax.abo").read_text())
    printed = {"qe": (r"0\.2598\d+", "dynmat"), "abinit": (r"0\.2599\d+", "anaddb")}[name]
    off = lambda m: f"{float(m[0]) + share * 8.502:.8f}"  # noqa: E731
    texts[printed[1]] = re.sub(printed[0], off, texts[printed[1]], count=1)
    if fits:
        assert engine.read(crystal, folder, texts, 4)["born"].shape == (2, 3, 3)
        return
    with pytest.raises(DFPTError, match=r"electronic tensors of .* differ"):
        engine.read(crystal, folder, texts, 4)


@pytest.mark.parametrize("name", ["qe", "abinit"])
def test_a_thousandth_itself_is_let_through(name):
    folder, engine = OUTPUTS / "triclinic" / name, ENGINES[name]
    texts = {stage: (folder / f"{stage}{engine.SUFFIX}").read_text() for stage in engine.STAGES}
    crystal = abinit.read_structure((OUTPUTS / "triclinic/abinit/relax.abo").read_text())
    other = "dynmat" if name == "qe" else "anaddb"
    for value, fits in (("999.0", True), ("1001.0", True), ("998.9", False)):
        changed = texts | {"response": re.sub(r"8\.50\d+", "1000.0", texts["response"]), other: re.sub(r"8\.50\d+", value, texts[other])}
        if fits:
            assert engine.read(crystal, folder, changed, 4)["eps_electronic"][2, 2] == 1000
        else:
            with pytest.raises(DFPTError, match=r"electronic tensors of .* differ"):
                engine.read(crystal, folder, changed, 4)


def test_k_points_must_fit_the_symmetry_that_the_program_found():
    folder = OUTPUTS / "triclinic/qe"
    texts = {stage: (folder / f"{stage}.out").read_text() for stage in qe.STAGES}
    crystal = abinit.read_structure((OUTPUTS / "triclinic/abinit/relax.abo").read_text())
    for line, operations in ((" 2 Sym. Ops., with inversion, found", 2), (" 48 Sym. Ops. found", 48)):
        with pytest.raises(DFPTError, match=rf"{operations} symmetry operations, the k-points assume 1"):
            qe.read(crystal, folder, texts | {"ground": line}, 4)
    for line in ("No symmetry found", " 1 Sym. Ops. found"):
        found = qe.read(crystal, folder, texts | {"ground": line, "response": texts["response"].replace("Program PHONON v", "Program x")}, 4)
        assert found["version"] == "Quantum ESPRESSO unknown" and len(found["raw_frequencies"]) == 6


def good() -> dict:
    """A record that passes every check."""
    charge = 2 * np.eye(3)
    return {
        "eps_electronic": (3 * np.eye(3)).tolist(), "eps_total": (8 * np.eye(3)).tolist(), "born_charges": [charge.tolist(), (-charge).tolist()],
        "gamma_frequencies_cm1": [-1.0, 0.0, 2.0, 200.0, 250.0, 300.0], "infrared_strengths": [0.0, 0.0, 0.0, 1.0, 0.5, 0.5],
        "acoustic_shift_cm1": 10.0, "gap_ev": 3.0, "symmetry_violation": 0.0,
    }  # fmt: skip


def with_element(matrix, i, j, value):
    changed = np.array(matrix, float)
    changed[i, j] = value
    return changed.tolist()


EDGES = {  # flag, field, value that is let through, value that is not
    "charge": ("charge-not-neutral", "born_charges", lambda x: [with_element(2 * np.eye(3), 0, 2, x), (-2 * np.eye(3)).tolist()], 0.05, 0.0501),
    "charge, negative": ("charge-not-neutral", "born_charges", lambda x: [with_element(2 * np.eye(3), 0, 2, -x), (-2 * np.eye(3)).tolist()], 0.05, 0.0501),
    "acoustic": ("acoustic-sum", "acoustic_shift_cm1", float, 63.2, 63.3),  # 63.2^2 / 200^2 = 0.0999
    "imaginary": ("imaginary-mode", "gamma_frequencies_cm1", lambda x: [0.0, 1.0, 2.0, x, 250.0, 300.0], -5.0, -5.01),
    "soft": ("soft-mode", "gamma_frequencies_cm1", lambda x: [0.0, 1.0, 2.0, x, 250.0, 300.0], 40.0, 39.9),
    "gap": ("small-gap", "gap_ev", float, 0.3, 0.2999),
    "symmetry": ("asymmetric-tensor", "symmetry_violation", float, 0.01, 0.0101),
    "large": ("unphysical", "eps_total", lambda x: with_element(8 * np.eye(3), 2, 2, x), 100.0, 100.01),
    "large, negative": ("unphysical", "eps_total", lambda x: with_element(8 * np.eye(3), 0, 1, -x), 100.0, 100.01),
    "below vacuum": ("unphysical", "eps_electronic", lambda x: with_element(3 * np.eye(3), 1, 1, x), 1.0, 0.999),
    "below vacuum, off the axes": ("unphysical", "eps_electronic", lambda x: [[3, x, 0], [x, 3, 0], [0, 0, 3]], 1.99, 2.01),
    "below vacuum, skew": ("unphysical", "eps_electronic", lambda x: [[3, 4, 0], [x - 4, 3, 0], [0, 0, 3]], 3.98, 4.02),
}  # fmt: skip


@pytest.mark.parametrize("case", EDGES)
def test_limits_of_a_usable_record_to_the_digit(case):
    flag, field, make, kept, refused = EDGES[case]
    base = good() | ({"acoustic_shift_cm1": 0.0} if "frequencies" in field else {})
    assert flag not in judge(base | {field: make(kept)})
    found = judge(base | {field: make(refused)})
    assert flag in found and (found == [flag] or case == "imaginary")  # an imaginary polar mode is soft as well


def test_judging_needs_numbers_and_knows_which_modes_are_polar():
    assert judge(good()) == [] and unchecked(good()) == []
    assert judge(good() | {"flags": ["not-converged", "metal", "soft-mode"]}) == ["metal", "not-converged"]  # limits are judged anew
    bare = {k: v for k, v in good().items() if k not in ("born_charges", "acoustic_shift_cm1", "gamma_frequencies_cm1", "infrared_strengths")}
    assert judge(bare) == [] and unchecked(bare) == ["acoustic-sum", "charge-not-neutral", "imaginary-mode", "soft-mode"]
    for field, value in (("eps_total", None), ("symmetry_violation", np.nan), ("acoustic_shift_cm1", np.nan)):
        assert "incomplete" in judge(good() | {field: value})
    quiet = {"gamma_frequencies_cm1": [0.0, 1.0, 2.0, 20.0, 250.0, 300.0]}
    silent = quiet | {"infrared_strengths": [0.0, 0.0, 0.0, 0.0009, 1.0, 0.5]}  # a soft mode without strength is harmless, also for the sum rule
    assert judge(good() | silent) == []
    assert judge(good() | silent | {"infrared_strengths": [0.0, 0.0, 0.0, -0.0011, 1.0, 0.5]}) == ["acoustic-sum", "soft-mode"]
    assert judge(good() | quiet | {"infrared_strengths": None}) == ["acoustic-sum", "soft-mode"]  # strengths unknown: it may be polar
    loud = good() | {"infrared_strengths": [9.0, 9.0, 9.0, 1.0, 0.5, 0.5], "acoustic_shift_cm1": 0.5}  # the translations are no polar modes
    assert judge(loud) == []
    nonpolar = good() | {"gamma_frequencies_cm1": [0.0, 0.0, 0.0, 10.0, 20.0, 30.0], "infrared_strengths": [0.0] * 6, "acoustic_shift_cm1": 3.1}
    assert judge(nonpolar) == [] and judge(nonpolar | {"acoustic_shift_cm1": 3.2}) == ["acoustic-sum"]  # over the lowest optical one
    slow = nonpolar | {"gamma_frequencies_cm1": [0.0, 0.0, 0.0, 2.0, 3.0, 4.0], "acoustic_shift_cm1": None}  # no shift, nothing to judge
    assert judge(slow) == [] and judge(slow | {"acoustic_shift_cm1": 1.0}) == ["acoustic-sum"]
    monatomic = good() | {"gamma_frequencies_cm1": [0.0, 0.0, 0.0], "infrared_strengths": [0.0] * 3, "born_charges": [np.zeros((3, 3)).tolist()]}
    assert judge(monatomic) == []


def test_shift_by_the_acoustic_sum_rule_by_hand():
    """Squares keep the sign: -10 is -100. Sorted, -100, 25, 90,000 become 0, 0, 90,601: 601 at most."""
    assert acoustic_shift([300.0, -10.0, 5.0], [0.0, 301.0, 0.0]) == pytest.approx(601**0.5)
    assert acoustic_shift([-20.0, 0.0], [0.0, 0.0]) == pytest.approx(20) and acoustic_shift([3.0], [3.0]) == 0
    with pytest.raises(DFPTError, match="2 frequencies before the acoustic sum rule, 1 after"):
        acoustic_shift([1.0, 2.0], [1.0])
