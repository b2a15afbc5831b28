"""Force constants with symmetry, sums over modes, and their store."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.physics import store
from dtnet_core.physics.force_constants import (
    cartesian_operations,
    directions,
    force_constants,
    without_translations,
)
from dtnet_core.physics.modes import PER_VOLUME, polar_modes
from dtnet_core.potentials.open_encoder import OpenEncoder


class Embedded(OpenEncoder):
    """A potential of pairs and of what they embed, smooth at its cutoff."""

    name, version, cutoff, layers, dtype = "embedded", "v1", 5.0, (0,), torch.float64
    elements = frozenset({"Ba", "Ti", "O", "Mg"})

    def channels(self, layer):
        return 0, 0, 0

    def _run(self, graph, layers, bonds):
        neighbour, centre = graph.edge_index
        r = graph.edge_vectors.norm(dim=1)
        z = graph.numbers.double() / 20
        pair = z[neighbour] * z[centre] * torch.exp(-r) * (1 - (r / self.cutoff) ** 2) ** 3
        sums = torch.zeros(len(z), dtype=torch.float64).index_add(0, centre, pair)
        return {}, 10 * sums - 3 * torch.sqrt(sums + 0.01)


def rocksalt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure()


def springs(structure: Structure, seed: int = 0) -> np.ndarray:
    """[3N, 3N]: force constants of a random stable crystal."""
    n = 3 * len(structure)
    a = np.random.default_rng(seed).standard_normal((n, n))
    return without_translations(a @ a.T)


def charges(n: int, seed: int = 1) -> np.ndarray:
    z = np.random.default_rng(seed).standard_normal((n, 3, 3))
    return z - z.mean(0)


def test_one_polar_mode_has_the_textbook_tensor():
    """Two atoms on a spring of constant s: eps = e^2 / (eps_0 V) Z^2 / s for K = s (1, -1; -1, 1)."""
    s, z, volume = 5.0, 2.0, 18.7
    k = np.kron(s * np.array([[1.0, -1.0], [-1.0, 1.0]]), np.eye(3))
    born = np.stack([z * np.eye(3), -z * np.eye(3)])
    np.testing.assert_allclose(polar_modes(k, born, volume).sum(1e-9), PER_VOLUME / volume * z**2 / s * np.eye(3), rtol=1e-6)
    assert pytest.approx(180.9513, abs=1e-3) == PER_VOLUME


def test_the_modes_share_the_sum():
    k = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([1.0, 1.0, 4.0]))
    born = np.stack([2 * np.eye(3), -2 * np.eye(3)])
    first, second, *rest = polar_modes(k, born, 18.7).shares(1e-6)
    assert (first["degenerate"], second["degenerate"]) == (2, 1)
    assert (first["eigenvalue"], second["eigenvalue"]) == pytest.approx((2, 8))  # reduced masses play no part: both atoms move
    assert first["share"] / second["share"] == pytest.approx(2 * 4)
    assert first["charge"] == pytest.approx(2 * np.sqrt(2))
    assert sum(one["share"] for one in rest) == pytest.approx(0)


def test_sums_turn_with_the_crystal_and_do_not_depend_on_the_cell():
    structure = rocksalt()
    k, born = springs(structure), charges(2)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    both = np.kron(np.eye(2), turn)
    turned = polar_modes(both @ k @ both.T, turn @ born @ turn.T, 18.7).sum()
    np.testing.assert_allclose(turned, turn @ polar_modes(k, born, 18.7).sum() @ turn.T, atol=1e-10)
    # a cell twice as large whose halves are coupled: all images that move together give the same sums
    coupling = springs(structure, 3)
    double = np.block([[k + coupling, -coupling], [-coupling, k + coupling]])
    twice = np.concatenate([born, born])
    np.testing.assert_allclose(polar_modes(double, twice, 2 * 18.7).sum(), polar_modes(k, born, 18.7).sum(), atol=1e-9)
    np.testing.assert_allclose(polar_modes(double, twice, 2 * 18.7).numbers(), polar_modes(k, born, 18.7).numbers(), atol=1e-9)


def test_unstable_modes_stay_finite_and_are_called_soft():
    structure = rocksalt()
    k = -springs(structure)
    assert np.isfinite(polar_modes(k, charges(2), 18.7).sum()).all()
    assert polar_modes(k, charges(2), 18.7).numbers()[-1] == pytest.approx(1)


@pytest.mark.parametrize(("group", "fewest"), [("P1", 3), ("P-1", 3), ("Pm", 2), ("P222", 1), ("Pm-3m", 1)])
def test_a_site_asks_for_as_few_directions_as_its_symmetry_allows(group, fewest):
    lattice = {"P1": Lattice.from_parameters(4, 5, 6, 80, 85, 95), "P-1": Lattice.from_parameters(4, 5, 6, 80, 85, 95),
               "Pm": Lattice.monoclinic(4, 5, 6, 100), "P222": Lattice.orthorhombic(4, 5, 6), "Pm-3m": Lattice.cubic(4)}[group]  # fmt: skip
    extra = {"P1": [[0.1, 0.2, 0.3], [0.4, 0.7, 0.6]], "P-1": [[0.13, 0.22, 0.31]], "Pm": [[0.3, 0, 0.6], [0.1, 0, 0.1]], "P222": [[0.1, 0.2, 0.3]], "Pm-3m": []}[group]
    structure = Structure.from_spacegroup(group, lattice, ["Cs", *["Cl"] * len(extra)], [[0, 0, 0], *extra])
    rotations, images = cartesian_operations(structure)
    site = rotations[images[:, 0] == 0]
    chosen = directions(site)
    assert len(chosen) == fewest
    assert np.linalg.matrix_rank(np.concatenate([site @ d for d in chosen])) == 3


def test_what_is_kept_is_read_again_and_what_is_broken_is_not(tmp_path):
    class Named:
        name, version = "springs", "v1"

    structure = rocksalt()
    path = store.path_of(Named, structure, tmp_path)
    store._write(path, springs(structure))
    (found,) = store.stored_force_constants(Named, [structure], tmp_path, False, compute=False)
    np.testing.assert_allclose(found, springs(structure), rtol=1e-6, atol=1e-6)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.warns(UserWarning, match="no force constants to be read"):
        assert store.stored_force_constants(Named, [structure], tmp_path, False, compute=False) == [None]


def test_force_constants_agree_with_differences_of_energies():
    """With all symmetry, against central differences of the energy without any."""
    structure = Structure.from_spacegroup("P4mm", Lattice.tetragonal(3.9, 4.2), ["Ba", "Ti", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.53], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    potential = Embedded()
    k = force_constants(potential, structure)
    assert np.abs(k.reshape(len(structure), 3, -1).sum(0)).max() < 1e-8

    def energy(moves):
        moved = structure.copy()
        for (atom, axis), step in moves:
            moved.translate_sites([atom], step * np.eye(3)[axis], frac_coords=False, to_unit_cell=False)
        return float(potential.energies([moved])[0])

    h = 1e-3
    for (i, a), (j, b) in [((0, 0), (2, 0)), ((1, 2), (1, 2)), ((3, 1), (4, 0)), ((2, 2), (3, 0))]:
        numeric = sum(s * t * energy([((i, a), s * h), ((j, b), t * h)]) for s in (1, -1) for t in (1, -1)) / (4 * h * h)
        assert k[3 * i + a, 3 * j + b] == pytest.approx(numeric, abs=2e-4)
