"""Crystals shared by the tests; nothing here needs data or a network."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

torch.set_num_threads(1)


def _quartz() -> Structure:
    """Left- or right-handed alpha quartz, space group P3_1 21: chiral."""
    lattice = Lattice.hexagonal(4.913, 5.405)
    return Structure.from_spacegroup(152, lattice, ["Si", "O"], [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.2144]])


CRYSTALS = {
    "cubic": lambda: Structure.from_spacegroup(225, Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure(),
    "hexagonal": lambda: Structure.from_spacegroup(
        186, Lattice.hexagonal(3.25, 5.21), ["Zn", "O"], [[1 / 3, 2 / 3, 0.0], [1 / 3, 2 / 3, 0.382]]
    ),
    "chiral": _quartz,
    "triclinic": lambda: Structure(
        Lattice.from_parameters(4.1, 5.2, 6.3, 81, 97, 104), ["Na", "Nb", "O", "O"],
        [[0.02, 0.05, 0.01], [0.48, 0.53, 0.51], [0.21, 0.62, 0.33], [0.74, 0.13, 0.68]],
    ),
}  # fmt: skip


@pytest.fixture(params=list(CRYSTALS))
def crystal(request) -> Structure:
    """A cubic, a hexagonal, a chiral and a triclinic crystal, in turn."""
    return CRYSTALS[request.param]()


@pytest.fixture(scope="session")
def crystals() -> list[Structure]:
    """The four of them."""
    return [make() for make in CRYSTALS.values()]


def turn(structure: Structure, matrix: np.ndarray) -> Structure:
    """The crystal under an orthogonal matrix (rotation or reflection)."""
    return Structure(Lattice(structure.lattice.matrix @ matrix.T), structure.species, structure.frac_coords)


def random_rotation(seed: int) -> np.ndarray:
    """[3, 3]"""
    return Rotation.random(random_state=seed).as_matrix()
