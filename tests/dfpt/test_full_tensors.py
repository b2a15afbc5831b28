"""A crystal without symmetry by three programs: full tensors, Born charges that are neither diagonal nor symmetric.

`outputs/triclinic` holds trimmed outputs of Quantum ESPRESSO and ABINIT for aluminium phosphide squeezed into a triclinic cell, at a
coarse cutoff and mesh: good enough to tell rows from columns.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import units
from pymatgen.core import Structure

from dtnet_core import dfpt
from dtnet_core.crystals.record import Record, record_from_dict
from dtnet_core.dfpt import abinit, qe
from dtnet_core.dfpt.upf import read_psp8, upf_text
from tests.dfpt.test_vasp import vasprun

FOLDER = Path(__file__).parent / "outputs" / "triclinic"
OCCUPIED = 4
ELECTRONIC = [[6.28928, -1.00713, 0.25988], [-1.00713, 6.30544, 0.21157], [0.25988, 0.21157, 8.50191]]
TOTAL = [[9.07143, -1.29732, 0.64718], [-1.29732, 7.74801, 0.41141], [0.64718, 0.41141, 11.84958]]
BORN = [[[2.26494, -0.05335, 0.02919], [-0.04200, 2.31212, 0.04260], [0.01820, 0.05662, 2.67604]],
        [[-1.53952, 0.34820, -0.09611], [0.33667, -1.64118, -0.07742], [-0.08548, -0.09168, -2.49376]]]  # fmt: skip
"""As ph.x prints them: a row for each direction of the field, a column for each of the force on the atom."""


@pytest.fixture(scope="module", params=["qe", "abinit"])
def record(request) -> dict:
    return dfpt.parse(FOLDER / request.param, {"engine": request.param}, OCCUPIED)


def test_both_programs_say_the_same_of_every_element(record):
    np.testing.assert_allclose(record["eps_electronic"], ELECTRONIC, atol=1e-3)
    np.testing.assert_allclose(record["eps_total"], TOTAL, atol=6e-3)
    np.testing.assert_allclose(record["eps_ionic"], np.subtract(record["eps_total"], record["eps_electronic"]), atol=2e-5)
    born = np.array(record["born_charges"])
    np.testing.assert_allclose(born[0], BORN[0], atol=2e-4)  # transposed, 0.011 off
    np.testing.assert_allclose(born[1], BORN[1], atol=5e-3)
    assert np.trace(born[0]) > 7 and record["formula"] == "AlP" and record["structure"]["species"] == ["Al", "P"]
    np.testing.assert_allclose(record["gamma_frequencies_cm1"], [0, 0, 0, 319.0, 402.2, 467.5], atol=0.3)
    assert record["flags"] == ["charge-not-neutral"] and record["functional"] == "PBE" and record["spacegroup"] == 1
    assert len(record["infrared_strengths"]) == 6 and min(record["infrared_strengths"][3:]) > 1e3 * max(record["infrared_strengths"][:3])


def test_numbers_are_those_of_the_files():
    qe_record, abinit_record = (dfpt.parse(FOLDER / name, {"engine": name}, OCCUPIED) for name in ("qe", "abinit"))
    for key, wanted in (("eps_electronic", ELECTRONIC), ("eps_total", TOTAL), ("born_charges", BORN)):
        np.testing.assert_allclose(qe_record[key], wanted, atol=1.1e-5)
    assert abinit_record["eps_total"][0] == pytest.approx([9.06712, -1.29679, 0.64695], abs=2e-5)
    assert abinit_record["infrared_strengths"][3:] == pytest.approx([1.4143e-4, 2.4919e-4, 1.5276e-4])
    assert qe_record["acoustic_shift_cm1"] == pytest.approx(18.25, abs=0.01)
    assert abinit_record["gap_ev"] == 1.314  # the relaxation's, which is smaller than that of the (trimmed) bands
    assert abinit.read_gap((FOLDER / "abinit/run_o_DS2_EIG").read_text(), OCCUPIED) == pytest.approx((0.18309 - 0.12209) * 27.2114, abs=1e-3)
    assert (qe_record["code"], abinit_record["code"]) == ("Quantum ESPRESSO 6.7MaX", "ABINIT 9.6.2")


def test_records_keep_the_digits_that_mean_something(record):
    """Five of tensors and charges, two of 1/cm, three of eV, six of the deviation from symmetry: no more, no fewer."""
    wanted = {"eps_electronic": 5, "eps_ionic": 5, "eps_total": 5, "born_charges": 5, "gamma_frequencies_cm1": 2, "acoustic_shift_cm1": 2}
    for key, digits in wanted.items():
        values = np.array(record[key])
        assert (values == values.round(digits)).all() and (values != values.round(digits - 1)).any(), key
    assert record["gap_ev"] == round(record["gap_ev"], 3) and record["symmetry_violation"] == 0


def test_deviations_from_symmetry_are_kept_to_a_millionth(tmp_path):
    """Salt of the stored run, its electronic tensor changed by 1.23456e-3 of itself on one axis only."""
    folder = shutil.copytree(FOLDER.parent / "abinit", tmp_path / "run")
    for name, printed in (("response.abo", "2.5005794"), ("anaddb.abo", "2.50057944")):
        text = (folder / name).read_text()
        assert printed in text
        (folder / name).write_text(text.replace(printed, "2.5036665", 1))
    found = dfpt.parse(folder, {"engine": "abinit"}, 8)["symmetry_violation"]
    assert found == pytest.approx(1 - 2.50057944 / 2.5036665, rel=1e-3) and found == round(found, 6) != round(found, 5)


def force_constants() -> np.ndarray:
    """[2, 3, 2, 3] in Ry / bohr^2 from ph.x's own file, symmetric and with the acoustic sum rule."""
    lines = (FOLDER / "qe/dyn").read_text().splitlines()
    found, at = np.zeros((2, 3, 2, 3)), next(i for i, line in enumerate(lines) if line.split() == ["1", "1"])
    for start in range(at, at + 16, 4):
        i, j = (int(x) - 1 for x in lines[start].split())
        found[i, :, j] = [[float(x) for x in line.split()[::2]] for line in lines[start + 1 : start + 4]]
    found = (found + found.transpose(2, 3, 0, 1)) / 2
    for i in range(2):
        found[i, :, i] -= found[i].sum(1)
    return found


def ionic_tensor(record: dict, born: np.ndarray) -> np.ndarray:
    """4 pi e^2 / V times Z C^-1 Z^t, e^2 = 2 Ry bohr; neutral charges, the three translations left out."""
    volume = Structure(*(record["structure"][k] for k in ("lattice", "species", "frac_coords"))).volume / units.Bohr**3
    charges = (born - born.mean(0)).transpose(1, 0, 2).reshape(3, 6)  # [field, atom and displacement]
    return 8 * np.pi / volume * charges @ np.linalg.pinv(force_constants().reshape(6, 6), rcond=1e-3) @ charges.T


def test_charges_and_force_constants_give_the_ionic_tensor(record):
    """What rows and columns of a Born charge mean, by physics. The force constants are Quantum ESPRESSO's in both cases."""
    born, ionic = np.array(record["born_charges"]), np.array(record["eps_ionic"])
    right, wrong = (np.abs(ionic_tensor(record, z) - ionic).max() for z in (born, born.transpose(0, 2, 1)))
    assert right < (1e-4 if record["code"].startswith("Quantum") else 3e-3) and wrong > 7e-3


def test_forces_stress_and_cell_of_a_crystal_without_symmetry():
    energy, forces, stress = qe.read_forces((FOLDER / "qe/relax_00.out").read_text(), 2)
    ry, a = 13.605693, 0.5291772
    assert energy == pytest.approx(-18.53807844 * ry, rel=1e-6)
    np.testing.assert_allclose(forces, np.array([[0.00528754, 0.00130005, 0.04175694], [-0.00528754, -0.00130005, -0.04175694]]) * ry / a, rtol=1e-5)
    np.testing.assert_allclose(stress * a**3 / ry, [[18.78e-5, -4.728e-5, 8.856e-5], [-4.728e-5, -1.216e-5, 16.593e-5], [8.856e-5, 16.593e-5, 71.043e-5]], rtol=1e-4)
    assert qe.read_gap((FOLDER / "qe/relax_00.out").read_text()) == pytest.approx(1.3004)
    found = abinit.read_structure((FOLDER / "abinit/relax.abo").read_text())
    np.testing.assert_allclose(found.lattice.matrix, [[3.75, 0, 0], [-0.215186, 3.815251, 0], [-1.709647, -1.800436, 3.00758]], atol=1e-5)
    np.testing.assert_allclose(found.frac_coords, [[0, 0, 0], [0.775, 0.28, 0.545]], atol=1e-8)
    assert [s.specie.symbol for s in found] == ["Al", "P"]


def crystal_record(**more) -> Record:
    item = dfpt.parse(FOLDER / "qe", {"engine": "qe"}, OCCUPIED)
    return record_from_dict({"id": "AlP", **item, **more})


def test_vasp_gives_back_every_element(tmp_path):
    path, record = tmp_path / "vasprun.xml", crystal_record()
    path.write_text(vasprun(record))
    found = dfpt.read_vasprun(path)
    for target, wanted in (("electronic", ELECTRONIC), ("total", TOTAL)):
        np.testing.assert_allclose(found.tensor(target), wanted, atol=2e-5)
    np.testing.assert_allclose(found.meta["born_charges"], BORN, atol=1e-8)
    np.testing.assert_allclose(found.structure.frac_coords, [[0, 0, 0], [0.775, 0.28, 0.545]], atol=1e-8)
    np.testing.assert_allclose(found.meta["gamma_frequencies_cm1"][3:], [318.93, 402.29, 467.61], atol=0.1)
    assert found.flags == ("charge-not-neutral",)


@pytest.mark.parametrize(("tag", "name"), [("PE", "PBE"), ("PS", "PBEsol")])
def test_vasp_runs_say_their_functional(tmp_path, tag, name):
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(crystal_record()).replace('<i name="GGA" type="string">PE</i>', f'<i name="GGA" type="string">{tag}</i>'))
    assert dfpt.read_vasprun(path).functional == name


PSP8 = """Si made for a test
 14.0 4.0 200101 zatom,zion,pspd
 8 11 1 4 4 0 pspcod,pspxc,lmax,lloc,mmax,r2well
 1.0 4.0 0.0 rchrg fchrg qchrg
 2 1 0 0 0 nproj
 1 1 extension_switch
 0 1.5D+00 -0.25D+00
 1 0.00 0.0 0.0
 2 0.01 0.1 0.5
 3 0.02 0.2 0.7
 4 0.03 0.0 0.0
 1 2.0D+00
 1 0.00 0.0
 2 0.01 0.3
 3 0.02 0.4
 4 0.03 0.0
 4
 1 0.00 -4.0
 2 0.01 -3.9
 3 0.02 -3.7
 4 0.03 -3.4
 1 0.00 5.0 0 0 0 0
 2 0.01 4.0 0 0 0 0
 3 0.02 2.0 0 0 0 0
 4 0.03 1.0 0 0 0 0
 1 0.00 2.0
 2 0.01 2.0
 3 0.02 1.0
 4 0.03 1.0
"""


def test_a_pseudopotential_with_core_correction(tmp_path):
    """psp8 stores 4 pi times the densities in hartree, UPF the core's density itself, in rydberg."""
    path = tmp_path / "14_Si.psp8"
    path.write_text(PSP8)
    data = read_psp8(path)
    text = upf_text("Si", data)
    block = lambda tag: np.array(text.split(f"<{tag}")[1].split(">", 1)[1].split("<")[0].split(), float)  # noqa: E731
    np.testing.assert_allclose(block("PP_NLCC"), np.array([5, 4, 2, 1]) / 12.566370614, rtol=1e-9)
    np.testing.assert_allclose(block("PP_LOCAL"), [-8, -7.8, -7.4, -6.8])
    np.testing.assert_allclose(block("PP_DIJ").reshape(3, 3), np.diag([3, -0.5, 4]))
    np.testing.assert_allclose([block(f"PP_BETA.{i}") for i in (1, 2, 3)], [[0, 0.1, 0.2, 0], [0, 0.5, 0.7, 0], [0, 0.3, 0.4, 0]])
    np.testing.assert_allclose(block("PP_R"), [0, 0.01, 0.02, 0.03])
    np.testing.assert_allclose(block("PP_RAB"), [0.01] * 4)
    density = block("PP_RHOATOM")
    np.testing.assert_allclose(density / density[1], [0, 1, 2, 4.5])  # r^2 rho
    assert np.trapezoid(density, data["r"]) == pytest.approx(4)
    for word in ('core_correction="T"', 'functional="PBE"', 'z_valence="4.00"', 'l_max="1"', 'number_of_proj="3"', 'mesh_size="4"',
                 'index="2" angular_momentum="0"', 'index="3" angular_momentum="1"', 'cutoff_radius_index="3"'):  # fmt: skip
        assert word in text
