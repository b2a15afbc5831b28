"""What cannot be a crystal is refused before anything is encoded, and what is one is not."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.plausible import directions, doubtful, impossible
from dtnet_core.crystals.structures import InvalidStructureError, validate_structure
from dtnet_core.data.loading import load_records


def cubic(group, a, species, sites):
    return Structure.from_spacegroup(group, Lattice.cubic(a), species, sites).get_primitive_structure()


CRYSTALS = {
    "MgO": cubic(225, 4.21, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "LiH": cubic(225, 4.08, ["Li", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "diamond": cubic(227, 3.57, ["C"], [[0, 0, 0]]),
    "CsI": cubic(221, 4.57, ["Cs", "I"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "argon": cubic(225, 5.26, ["Ar"], [[0, 0, 0]]),
    "SrTiO3": cubic(221, 3.905, ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]),
    "FeS2": cubic(205, 5.42, ["Fe", "S"], [[0, 0, 0], [0.385, 0.385, 0.385]]),
}


def scaled(structure, factor):
    return Structure(Lattice(structure.lattice.matrix * factor), structure.species, structure.frac_coords)


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_pass_also_under_pressure_and_cells_of_half_the_size_do_not(name):
    crystal = CRYSTALS[name]
    for share in (1.0, 0.8, 0.7):  # of the volume
        assert impossible(scaled(crystal, share ** (1 / 3))) is None
    for factor in (0.5, 0.6):
        assert impossible(scaled(crystal, factor)) is not None
    assert impossible(scaled(crystal, 0.1)) is not None  # nanometres for angstrom
    assert doubtful(crystal) is None


def test_no_crystal_of_the_kits_own_set_is_refused():
    for record in load_records("mini"):
        assert impossible(record.structure) is None, record.id
        assert impossible(scaled(record.structure, 0.7 ** (1 / 3))) is None, record.id
        assert impossible(scaled(record.structure, 0.5)) is not None, record.id


def test_the_judgement_is_that_of_the_crystal(crystals):
    """A supercell, other order of atoms or another frame change nothing."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for crystal in (*crystals, scaled(crystals[0], 0.5)):
        verdict = impossible(crystal) is None
        turned = Structure(Lattice(crystal.lattice.matrix @ turn), crystal.species[::-1], crystal.frac_coords[::-1])
        assert (impossible(crystal * [2, 1, 1]) is None) is verdict and (impossible(turned) is None) is verdict


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (Structure(Lattice.cubic(20), ["He"], [[0, 0, 0]]), "alone in a box"),
        (Structure(Lattice.cubic(8), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "no other atom within 5 angstrom"),
        (Structure(Lattice.cubic(15), ["O", "H", "H"], [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]], coords_are_cartesian=True), "molecule in a box"),
        (Structure(Lattice(4.12 * np.eye(3), pbc=(True, True, False)), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "all three vectors"),
        (Structure(Lattice.cubic(6), ["Zr", "O", "O"], [[0, 0, 0], [0.22, 0, 0], [0.5, 0.5, 0.5]]), "1.320 angstrom apart"),
    ],
)
def test_what_is_no_crystal_is_refused_with_the_reason(structure, words):
    with pytest.raises(InvalidStructureError, match=f"mine: .*{words}"):
        validate_structure(structure, name="mine")


def test_what_is_connected_along_fewer_directions_is_doubted():
    slab = Structure(Lattice.tetragonal(4.12, 25), ["Cs", "Cl"], [[0, 0, 0.5], [0.5, 0.5, 0.58]])
    wire = Structure(Lattice.tetragonal(20, 3.0), ["C"], [[0, 0, 0]])
    assert impossible(slab) is None and "2 of three directions" in doubtful(slab)
    assert "1 of three directions" in doubtful(wire)
    assert "bonded to nothing" in doubtful(scaled(CRYSTALS["MgO"], 2.0))
    assert [directions(s, 6.0) for s in (slab, slab * [1, 2, 1], wire * [1, 1, 3])] == [2, 2, 1]
