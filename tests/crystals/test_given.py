"""What people hand to `predict` and `encode`: crystals of every kind are read, all else is refused in a sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from pymatgen.core import IStructure, Lattice, Molecule, Structure

from dtnet_core.crystals.given import as_structures
from dtnet_core.crystals.record import Record
from dtnet_core.crystals.structures import InvalidStructureError

CELL = Structure(Lattice([[4.12, 0, 0], [0, 0, 4.12], [0, -4.12, 0]]), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def atoms(**options):
    return Atoms("CsCl", positions=CELL.cart_coords, **{"cell": CELL.lattice.matrix, "pbc": True} | options)


def array(*items):
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found


@pytest.fixture
def path(tmp_path):
    CELL.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    return tmp_path / "POSCAR"


def test_every_kind_of_crystal_keeps_its_frame(path):
    kinds = [CELL, IStructure.from_sites(CELL), atoms(), path, str(path), CELL.as_dict(), Record("x", CELL, "CsCl"), {"structure": CELL.as_dict()}]
    for given in (*kinds, kinds, tuple(kinds), array(*kinds), pd.Series(kinds, index=list("hgfedcba")), iter(kinds), (k for k in kinds), {"a": CELL}.values()):
        for found in as_structures(given):
            assert type(found) is Structure and found.formula == "Cs1 Cl1"
            assert np.allclose(found.lattice.matrix, CELL.lattice.matrix) and np.allclose(found.cart_coords, CELL.cart_coords)
    assert len(as_structures(kinds)) == len(kinds) and len(as_structures(array(CELL)[0])) == 1
    assert as_structures([]) == as_structures(iter(())) == as_structures(pd.Series([], dtype=object)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (5, "an int .5. is no crystal; give a pymatgen"),
        (None, "a NoneType"),
        ([CELL, None], "crystal 1: a NoneType"),
        (pd.Series([CELL, np.nan], index=["a", "b"]), "crystal 1: a float"),
        (pd.DataFrame({"s": [CELL]}), "a DataFrame is no crystal"),
        ({"a": CELL}, "keys .'a'. is no structure"),
        ({1, 2}, "a set is no crystal"),
        (b"POSCAR", "a bytes"),
        (Molecule(["O", "O"], [[0, 0, 0], [0, 0, 1.2]]), "Molecule is no crystal"),
        (np.array(None), "a NoneType"),
        ([{"a": 1}], "crystal 0: not a structure"),
        ([CELL, [CELL]], "crystal 1: a list"),
        ([atoms(), atoms(pbc=(True, False, True))], r"crystal 1: .*True, False, True.*all three vectors"),
        (atoms(cell=None), "no cell"),
        (Atoms("NaCl", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True, info={"occupancy": {"0": {"Na": 0.5, "K": 0.5}, "1": {"Cl": 1.0}}}), "partial occupancies"),
        ([Structure(Lattice(4.12 * np.eye(3), pbc=(True, True, False)), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])], "crystal 0 .Cs1 Cl1.: .*all three vectors"),
    ],
)
def test_what_is_no_crystal_is_refused_with_type_and_position(given, words):
    with pytest.raises(InvalidStructureError, match=words):
        as_structures(given)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.cif"):
        as_structures([CELL, Path("nowhere.cif")])
