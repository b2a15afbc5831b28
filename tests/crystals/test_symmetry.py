"""Point groups, orbits and standard axes of real crystals, in every cell and orientation."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from dtnet_core.crystals.symmetry import (
    CRYSTAL_SYSTEMS,
    crystal_system,
    orbits,
    point_group_rotations,
    standard_rotation,
    symmetrize,
    symmetry_violation,
)
from dtnet_core.metrics import independent_components

GENERAL = np.array([[3.0, 0.3, -0.7], [0.3, 5.0, 1.1], [-0.7, 1.1, 9.0]])


def build(group, lattice, species, positions):
    return Structure.from_spacegroup(group, lattice, species, positions)


CRYSTALS = {  # one real crystal for each system: (structure, order of its point group)
    "cubic": (build("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 48),
    "tetragonal": (
        build("P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
        16,
    ),
    "trigonal": (  # alpha quartz, chiral
        build(
            "P3_221", Lattice.hexagonal(4.91, 5.40), ["Si", "O"], [[0.47, 0, 2 / 3], [0.413, 0.267, 0.786]]
        ),
        6,
    ),
    "hexagonal": (
        build(
            "P6_3mc", Lattice.hexagonal(3.25, 5.21), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
        ),
        12,
    ),
    "orthorhombic": (
        build(
            "Pnma",
            Lattice.orthorhombic(7.62, 4.45, 9.07),
            ["Pb", "Cl", "Cl"],
            [[0.25, 0.25, 0.41], [0.36, 0.25, 0.08], [0.53, 0.75, 0.34]],
        ),
        8,
    ),
    "monoclinic": (
        build(
            "P2_1/c",
            Lattice.monoclinic(5.15, 5.21, 5.32, 99.2),
            ["Zr", "O", "O"],
            [[0.275, 0.04, 0.208], [0.07, 0.33, 0.345], [0.45, 0.757, 0.48]],
        ),
        4,
    ),
    "triclinic": (
        Structure(
            Lattice.from_parameters(4.1, 5.0, 6.2, 77, 83, 95),
            ["Li", "F", "O", "Si"],
            [[0.02, 0.01, 0.03], [0.4, 0.61, 0.55], [0.71, 0.23, 0.37], [0.33, 0.12, 0.84]],
        ),
        1,
    ),
}
CASES = [pytest.param(system, *case, id=system) for system, case in CRYSTALS.items()]


def turn(structure, rotation):
    return Structure(structure.lattice.matrix @ rotation.T, structure.species, structure.frac_coords)


def as_set(rotations):
    return {tuple(np.round(rotation, 6).ravel() + 0.0) for rotation in rotations}


@pytest.mark.parametrize(("system", "structure", "order"), CASES)
def test_point_group(system, structure, order):
    group = point_group_rotations(structure)
    assert crystal_system(structure) == system and len(group) == order
    np.testing.assert_allclose(
        group @ group.transpose(0, 2, 1), np.tile(np.eye(3), (order, 1, 1)), atol=1e-14
    )
    np.testing.assert_allclose(group[0], np.eye(3), atol=1e-14)
    products = (group[:, None] @ group[None]).reshape(-1, 3, 3)
    assert as_set(products) == as_set(group)  # closed
    invariants = np.mean([(np.trace(g) ** 2 + np.trace(g @ g)) / 2 for g in group])
    assert round(invariants, 6) == independent_components(system)  # Table 1, counted by characters


@pytest.mark.parametrize(("system", "structure", "order"), CASES)
def test_the_group_belongs_to_the_crystal_not_to_its_cell(system, structure, order):
    group = as_set(point_group_rotations(structure))
    for other in (structure * (2, 1, 1), structure.get_primitive_structure(use_site_props=False)):
        if other.lattice == structure.lattice or len(other) > len(structure):
            assert as_set(point_group_rotations(other)) == group
    rotation = Rotation.random(random_state=1).as_matrix()
    turned = point_group_rotations(turn(structure, rotation))
    assert as_set(turned) == as_set(rotation @ g @ rotation.T for g in point_group_rotations(structure))


@pytest.mark.parametrize(("system", "structure", "order"), CASES)
def test_symmetrize_projects(system, structure, order):
    group = point_group_rotations(structure)
    allowed = symmetrize(GENERAL, group)
    assert symmetry_violation(allowed, group) < 1e-14
    np.testing.assert_allclose(symmetrize(allowed, group), allowed, atol=1e-13)
    assert np.trace(allowed) == pytest.approx(np.trace(GENERAL))
    batch = symmetrize(np.stack([GENERAL, allowed]), group)  # [2, 3, 3]
    np.testing.assert_allclose(batch, [allowed, allowed], atol=1e-13)
    assert (symmetry_violation(GENERAL, group) > 0.05) == (system != "triclinic")


@pytest.mark.parametrize(("system", "structure", "order"), CASES)
def test_standard_axes_show_the_form_of_table_1(system, structure, order):
    turned = turn(structure, Rotation.random(random_state=2).as_matrix())
    tensor = symmetrize(GENERAL, point_group_rotations(turned))
    axes = standard_rotation(turned)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(axes) == pytest.approx(1)
    shown = axes @ tensor @ axes.T
    assert abs(shown[0, 1]) + abs(shown[1, 2]) < 1e-3 or system == "triclinic"
    assert abs(shown[0, 2]) < 1e-3 or system in ("monoclinic", "triclinic")
    if system in ("cubic", "tetragonal", "trigonal", "hexagonal"):
        assert shown[0, 0] == pytest.approx(shown[1, 1], abs=1e-3)
        assert abs(shown[2, 2] - shown[0, 0]) > 0.1 or system == "cubic"


@pytest.mark.parametrize(("system", "structure", "order"), CASES)
def test_orbits_give_the_mean_over_atoms(system, structure, order):
    """An equivariant site tensor, here a sum over neighbours, averaged from the representatives alone."""
    for crystal in (structure, structure * (1, 1, 2)):
        representative, group = orbits(crystal)
        chosen, counts = np.unique(representative, return_counts=True)
        assert (representative[chosen] == chosen).all() and representative.shape == (len(crystal),)
        assert all(crystal[i].specie == crystal[r].specie for i, r in enumerate(representative))
        site = np.zeros((len(crystal), 3, 3))
        for centre, neighbours in enumerate(crystal.get_all_neighbors(4.0)):
            for n in neighbours:
                bond = n.coords - crystal[centre].coords
                site[centre] += n.specie.Z * np.exp(-n.nn_distance) * np.outer(bond, bond)
        reduced = symmetrize((counts[:, None, None] * site[chosen]).sum(0) / len(crystal), group)
        np.testing.assert_allclose(reduced, site.mean(0), atol=1e-4 * np.abs(site).max())
    assert len(np.unique(orbits(structure)[0])) == {
        "cubic": 2, "tetragonal": 2, "trigonal": 2, "hexagonal": 2, "orthorhombic": 3, "monoclinic": 3,
        "triclinic": 4,
    }[system]  # fmt: skip


def test_near_symmetry_counts_up_to_symprec():
    structure = CRYSTALS["cubic"][0].copy()
    structure.translate_sites([0], [0.004, 0.0, 0.0], frac_coords=False)
    assert len(point_group_rotations(structure, 0.02)) == 48
    assert len(point_group_rotations(structure, 1e-4)) < 48


def test_violation_of_degenerate_tensors():
    group = point_group_rotations(CRYSTALS["cubic"][0])
    assert symmetry_violation(np.zeros((3, 3)), group) == 0
    assert symmetry_violation(np.diag([1.0, 1.0, 2.0]), group) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="nan"):
        symmetry_violation(np.full((3, 3), np.nan), group)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        symmetry_violation(np.ones(3), group)


def test_bad_structures_are_named():
    salt = CRYSTALS["cubic"][0]
    doubled = salt.copy()
    doubled.append("Na", salt[0].frac_coords)
    broken = Structure(salt.lattice, ["Na"], [[np.nan, 0, 0]])
    alloy = Structure(salt.lattice, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    empty = Structure(salt.lattice, [], [])
    for function in (point_group_rotations, crystal_system, orbits, standard_rotation):
        for structure, message in (
            (doubled, "on top of each other"), (broken, "NaN"), (alloy, "partially occupied"),
            (empty, "no atoms"),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=message):
                function(structure)


def test_names_of_the_systems():
    assert set(CRYSTALS) == set(CRYSTAL_SYSTEMS)
