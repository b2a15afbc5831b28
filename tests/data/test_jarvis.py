"""JARVIS's list of materials becomes electronic labels: whole tensors where symmetry fixes them, diagonals elsewhere, nothing for what is no insulator."""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.files import DataFileError
from dtnet_core.crystals.frames import cell_rotations, turned
from dtnet_core.crystals.symmetry import symmetrize
from dtnet_core.data.jarvis import FILE, convert_jarvis, whole_tensor
from dtnet_core.data.labels import load_auxiliary
from dtnet_core.data.loading import load_records

GEMS = {
    "cubic": Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "hexagonal": Structure.from_spacegroup("P6_3mc", Lattice.hexagonal(3.25, 5.21), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]),
    "orthorhombic": Structure.from_spacegroup("Pnma", Lattice.orthorhombic(6.2, 5.9, 5.1), ["Tl", "I"], [[0.1, 0.25, 0.2], [0.3, 0.25, 0.6]]),
    "monoclinic": Structure.from_spacegroup("C2/m", Lattice.monoclinic(6.2, 3.66, 5.3, 108), ["Na", "N", "N"], [[0, 0, 0], [0, 0, 0.5], [0.1, 0, 0.73]]),
}


@pytest.mark.parametrize(("name", "fixed"), [("cubic", True), ("hexagonal", True), ("orthorhombic", True), ("monoclinic", False)])
def test_a_diagonal_fixes_the_tensor_where_symmetry_says_so(name, fixed):
    """Any tensor that the group allows, from its diagonal; along other axes than the crystal's, where a diagonal no longer fixes all, it is left open or right."""
    g = np.random.default_rng(1)
    rotations = cell_rotations(GEMS[name])
    true = symmetrize(3 + (x := g.normal(size=(3, 3))) + x.T, rotations)
    found, missed = whole_tensor(np.diag(true), rotations)
    assert missed < 1e-9 and (found is not None) is fixed
    if fixed:
        np.testing.assert_allclose(found, true, atol=1e-9)
    q = np.linalg.qr(g.normal(size=(3, 3)))[0]
    found, missed = whole_tensor(np.diag(q @ true @ q.T), cell_rotations(turned(GEMS[name], q)))
    assert missed < 1e-6 and (found is None or np.allclose(found, q @ true @ q.T, atol=1e-6))
    assert whole_tensor(np.array([3.0, 4.0, 5.0]), cell_rotations(GEMS["cubic"]))[1] == pytest.approx(0.2)


def material(name: str, structure: Structure, diagonal, gap=2.0) -> dict:
    atoms = {"lattice_mat": structure.lattice.matrix.tolist(), "elements": [s.symbol for s in structure.species], "coords": structure.frac_coords.tolist(), "cartesian": False}
    return {"jid": name, "atoms": atoms, "optb88vdw_bandgap": gap} | dict(zip(("epsx", "epsy", "epsz"), diagonal, strict=True))


def test_what_is_written_is_read_as_labels(tmp_path):
    wrong = [material("metal", GEMS["cubic"], [3, 3, 3], 0.0), material("none", GEMS["cubic"], ["na"] * 3), material("huge", GEMS["cubic"], [3, 3, 90]), {"jid": "bare", "epsx": 3, "epsy": 3, "epsz": 3, "optb88vdw_bandgap": 1.0}]
    good = [material("JVASP-1", GEMS["cubic"], [3.1] * 3), material("JVASP-2", GEMS["monoclinic"], [3, 4, 5]), material("JVASP-3", GEMS["cubic"], [3.0, 4.0, 5.0])]
    (tmp_path / "dft_3d.json").write_text(json.dumps([*wrong, *good]))
    path, n, left = convert_jarvis(tmp_path / "dft_3d.json", tmp_path, progress=False)
    assert path == tmp_path / FILE and n == 3 and left == {"a gap of 0.1 eV or less": 1, "no constants with a gap": 1, "constants outside of 1 to 40": 1, "a structure that cannot be read": 1}
    cubic, monoclinic, refuted = load_records("full", "jarvis_electronic", tmp_path)
    np.testing.assert_allclose(cubic.eps_electronic, 3.1 * np.eye(3), atol=1e-9)
    assert monoclinic.eps_electronic is None and monoclinic.diagonal("electronic").tolist() == [3, 4, 5] and monoclinic.functional == "OptB88vdW"
    assert refuted.eps_electronic is None and refuted.diagonal("electronic") is None and refuted.scalar("electronic") == 4.0
    assert [r.id for r in load_auxiliary([], tmp_path, ["jarvis_electronic"])] == ["JVASP-1", "JVASP-2", "JVASP-3"]
    (tmp_path / "other.json").write_text(json.dumps(wrong))
    with pytest.raises(DataFileError, match=r"other\.json: none of 4 materials has epsx, epsy, epsz and a gap"):
        convert_jarvis(tmp_path / "other.json", tmp_path / "elsewhere", progress=False)
    assert not (tmp_path / "elsewhere").exists()
