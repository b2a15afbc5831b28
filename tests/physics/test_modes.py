"""Force constants with symmetry, sums over modes, and their store."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from dtnet_core.physics import store
from dtnet_core.physics.force_constants import (
    cartesian_operations,
    directions,
    effort,
    force_constants,
    without_translations,
)
from dtnet_core.physics.modes import DAMPINGS, PER_VOLUME, polar_modes
from dtnet_core.potentials.graph import build_graph
from dtnet_core.potentials.open_encoder import OpenEncoder
from dtnet_core.potentials.registry import load_encoder
from tests.conftest import CRYSTALS, random_rotation, turn


class Embedded(OpenEncoder):
    """A potential of pairs and of what they embed, smooth at its cutoff."""

    name, version, cutoff, layers, dtype = "embedded", "v1", 5.0, (0,), torch.float64
    elements = frozenset({"Ba", "Ti", "O", "Mg", "Zn", "Si", "Na", "Nb"})

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


def test_a_charge_is_by_displacement_and_then_by_polarisation():
    """Atoms that go along x and polarise the crystal along z alone: the spring is that of x, and the tensor has zz alone."""
    k = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([2.0, 3.0, 5.0]))
    born = np.zeros((2, 3, 3))
    born[:, 0, 2] = 1.5, -1.5
    found = polar_modes(k, born, 20.0).sum(1e-9)
    np.testing.assert_allclose(found, np.diag([0, 0, PER_VOLUME / 20 * 1.5**2 / 2]), atol=1e-9)


def soft_and_stiff():
    """Two atoms with Z = +-2 on springs with the eigenvalues -0.3, 0.4 and 5, and 3 modes without charge; each polar mode has q^2 = 2 x 2^2."""
    k = np.kron(np.array([[0.5, -0.5], [-0.5, 0.5]]), np.diag([-0.3, 0.4, 5.0]))
    return polar_modes(k, np.stack([2 * np.eye(3), -2 * np.eye(3)]), 20.0)


@pytest.mark.parametrize("damping", [0.05, 0.7])
def test_damped_sums_by_hand(damping):
    factor = PER_VOLUME / 20 * 8
    wanted = factor * np.diag([1 / damping, 1 / np.hypot(0.4, damping), 1 / np.hypot(5, damping)])
    np.testing.assert_allclose(soft_and_stiff().sum(damping), wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(soft_and_stiff().sum(), factor * np.diag([20, 1 / np.hypot(0.4, 0.05), 1 / np.hypot(5, 0.05)]), rtol=1e-9, atol=1e-9)


def test_numbers_and_shares_by_hand():
    modes, factor = soft_and_stiff(), PER_VOLUME / 20 * 8
    wanted = [np.log(factor * sum(1 / np.hypot([0, 0.4, 5], d)) / 3) for d in (0.05, 0.15, 0.3, 0.6, 1.2)]
    np.testing.assert_allclose(modes.numbers(), [*wanted, np.log(factor), 2 / 3], rtol=1e-9)
    assert DAMPINGS == (0.05, 0.15, 0.3, 0.6, 1.2)
    assert modes.unstable() == pytest.approx(1 / 3) and modes.unstable(-0.4) == 0 and modes.unstable(1.0) == pytest.approx(2 / 3)
    barely = polar_modes(np.kron(np.array([[0.5, -0.5], [-0.5, 0.5]]), np.diag([-0.005, 0.49, 0.51])), np.stack([2 * np.eye(3), -2 * np.eye(3)]), 20.0)
    assert barely.unstable() == 0 and barely.numbers()[-1] == pytest.approx(2 / 3)  # a rounding below 0 is none; 0.5 divides soft from stiff
    total = sum(1 / np.hypot([0, 0.4, 5], 0.3))
    said = [(one["eigenvalue"], one["degenerate"], one["charge"], one["share"]) for one in modes.shares(0.3)]
    for one, w in zip(said, (-0.3, 0.4, 5), strict=False):
        assert one == pytest.approx((w, 1, np.sqrt(8), 1 / np.hypot(max(w, 0), 0.3) / total))
    assert len(said) == 4 and said[3] == pytest.approx((0, 3, 0, 0), abs=1e-7)  # all atoms together


def test_a_crystal_without_charges_has_finite_numbers():
    modes = polar_modes(springs(rocksalt()), np.zeros((2, 3, 3)), 20.0)
    np.testing.assert_allclose(modes.numbers(), [*[np.log(1e-6)] * 5, np.log(PER_VOLUME / 20 * 1e-9 / 3), 0])
    assert (modes.sum() == 0).all() and all(one["share"] == 0 for one in modes.shares(0.3))


def test_modes_that_are_as_stiff_are_told_together():
    """Eigenvalues that differ by less than `together` from their neighbour; the charge is of each of them."""
    k = np.kron(np.array([[0.5, -0.5], [-0.5, 0.5]]), np.diag([3.0, 3.0004, 3.1]))
    born = np.stack([np.diag([1.0, 2, 3]), -np.diag([1.0, 2, 3])])
    found = {one["degenerate"]: one for one in polar_modes(k, born, 20.0).shares(0.3)[:2]}
    assert set(found) == {1, 2} and found[2]["eigenvalue"] == pytest.approx(3.0002) and found[2]["charge"] == pytest.approx(np.sqrt(2 * (1 + 4) / 2))
    apart = polar_modes(k, born, 20.0).shares(0.3, 1e-4)
    assert [one["degenerate"] for one in apart[:3]] == [1, 1, 1] and [one["share"] for one in apart] == sorted((one["share"] for one in apart), reverse=True)


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
    q = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    both = np.kron(np.eye(2), q)
    turned = polar_modes(both @ k @ both.T, q @ born @ q.T, 18.7).sum()
    np.testing.assert_allclose(turned, q @ polar_modes(k, born, 18.7).sum() @ q.T, atol=1e-10)
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


def test_directions_are_unit_vectors_that_resolve_all_axes():
    """Also where one direction would do but badly: what they turn into has no small singular value."""
    for rotations, fewest in ((np.eye(3)[None], 3), (CUBIC, 1), (about((0, 0, 1), 3), 1), (about((1, 2, 2), 4), 1), (about((1, 2, 2), 2), 2), (np.stack([np.eye(3), -np.eye(3)]), 3)):
        found = directions(rotations)
        assert len(found) == fewest
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
        turned = np.concatenate([rotations @ d for d in found])
        assert np.linalg.svd(turned, compute_uv=False)[-1] ** 2 >= 0.25**2 * len(turned) / 3 - 1e-12


def about(axis, fold: int) -> np.ndarray:
    """[fold, 3, 3]: turns about an axis."""
    axis = np.asarray(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec([2 * np.pi * i / fold * axis for i in range(fold)]).as_matrix()


CUBIC = Rotation.create_group("O").as_matrix()


def test_the_sum_rule_is_imposed_by_projection():
    """P K P with P = 1 - (all atoms together): no net force, and nothing changes that has none."""
    raw = np.random.default_rng(5).standard_normal((12, 12))
    p = np.eye(12) - np.kron(np.full((4, 4), 0.25), np.eye(3))
    found = without_translations(raw + raw.T)
    np.testing.assert_allclose(found, p @ (raw + raw.T) @ p, atol=1e-12)
    np.testing.assert_allclose(without_translations(found), found, atol=1e-12)
    np.testing.assert_allclose(without_translations(raw), p @ raw @ p, atol=1e-12)


@pytest.mark.parametrize(("name", "number"), [("cubic", 48), ("hexagonal", 12), ("chiral", 6), ("triclinic", 1), ("doubled", 24)])
def test_operations_map_the_crystal_onto_itself(name, number):
    """A cell doubled along one vector of the face-centred lattice keeps the twelve operations of that axis, each with two translations."""
    structure = CRYSTALS["cubic"]() * (2, 1, 1) if name == "doubled" else CRYSTALS[name]()
    rotations, images = cartesian_operations(structure)
    assert len(rotations) == len(images) == len(np.unique(np.concatenate([rotations.reshape(-1, 9).round(6) + 0.0, images], 1), axis=0)) == number
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-10)
    places, inverse = structure.cart_coords, np.linalg.inv(structure.lattice.matrix)
    for rotation, image in zip(rotations, images, strict=True):
        assert sorted(image) == list(range(len(structure))) and all(structure[i].species == structure[j].species for i, j in enumerate(image))
        apart = places @ rotation.T - places[image]  # one shift for all atoms, up to lattice vectors
        off = (apart - apart[0]) @ inverse
        np.testing.assert_allclose(off, np.round(off), atol=1e-4)


def hessian(potential: Embedded, structure: Structure) -> np.ndarray:
    """[3N, 3N]: all second derivatives of the energy, without any symmetry."""
    graph = build_graph(structure, potential.cutoff)
    neighbour, centre = graph.edge_index

    def energy(flat):
        shift = flat.view(-1, 3)
        return potential.node_energies(replace(graph, edge_vectors=graph.edge_vectors + shift[neighbour] - shift[centre])).sum()

    return torch.autograd.functional.hessian(energy, torch.zeros(3 * len(structure), dtype=torch.float64)).numpy()


@pytest.mark.parametrize("name", ["cubic", "hexagonal", "chiral", "triclinic", "doubled", "turned"])
def test_symmetry_changes_no_force_constant(name):
    """Against the whole Hessian: screw axes, centring translations, sites of every symmetry, and frames that no axis is along."""
    structure = CRYSTALS[{"doubled": "hexagonal", "turned": "chiral"}.get(name, name)]()
    if name == "doubled":
        structure = structure * (2, 1, 1)
    if name == "turned":
        structure = turn(structure, Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix())
    potential = Embedded()
    whole, found = hessian(potential, structure), force_constants(potential, structure)
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(found, whole, atol=1e-5 * np.abs(whole).max())
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(found.reshape(len(structure), 3, -1).sum(0), 0, atol=1e-10)


@pytest.mark.parametrize(("name", "axes"), [("hexagonal", random_rotation(3)), ("triclinic", -random_rotation(4))])
def test_sevennet_gives_force_constants_that_turn_with_the_crystal(name, axes):
    """Its own energies change a little with the handedness of a crystal; the mean of both does not, nor do its derivatives."""
    structure, potential = CRYSTALS[name](), load_encoder("7net-0", torch.float64)
    found, every = force_constants(potential, structure), np.kron(np.eye(len(structure)), axes)
    np.testing.assert_allclose(found, hessian(potential, structure), atol=1e-5 * np.abs(found).max())
    np.testing.assert_allclose(force_constants(potential, turn(structure, axes)), every @ found @ every.T, atol=1e-7 * np.abs(found).max())


def test_effort_is_products_times_bonds():
    potential = Embedded()
    for name, products in (("cubic", 2), ("triclinic", 12), ("hexagonal", 2), ("chiral", 5)):  # one for each orbit; three for each of four atoms; two for silicon on its axis, three for oxygen
        structure = CRYSTALS[name]()
        assert effort(potential, structure) == products * len(build_graph(structure, potential.cutoff).edge_vectors)


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


def test_the_lower_triangle_is_kept_by_rows():
    np.testing.assert_array_equal(store.unpack(np.arange(1.0, 7)), [[1, 2, 4], [2, 3, 5], [4, 5, 6]])
    assert store.unpack(np.zeros(0)).shape == (0, 0) and store.unpack(np.ones(1)).tolist() == [[1]]
    assert store.unpack(np.ones(120 * 121 // 2)).shape == (120, 120)


def test_force_constants_are_computed_once_and_each_crystal_gets_its_own(tmp_path, monkeypatch, capsys):
    """Those of files that hold no numbers, or of another crystal's size, anew; in single precision, so that it makes no difference who computed them."""
    potential, calls = Embedded(), []
    monkeypatch.setattr(store, "force_constants", lambda encoder, structure: calls.append(structure) or force_constants(encoder, structure))
    crystals = [CRYSTALS["hexagonal"](), rocksalt(), CRYSTALS["triclinic"]()]
    ask = lambda some, **more: store.stored_force_constants(potential, some, tmp_path, False, **more)  # noqa: E731
    first = ask(crystals[:2])
    assert calls == crystals[:2] and [len(k) for k in first] == [12, 6]
    for k, structure in zip(first, crystals, strict=False):
        np.testing.assert_array_equal(k, force_constants(potential, structure).astype(np.float32).astype(float))
    again = ask(crystals[::-1], compute=False)
    assert again[0] is None and len(calls) == 2
    for k, kept in zip(again[:0:-1], first, strict=True):
        np.testing.assert_allclose(k, kept, atol=1e-6)
    path = store.path_of(potential, crystals[1], tmp_path)
    assert path.parent == tmp_path / "embedded/v1/gamma" and len(list(path.parent.iterdir())) == 2
    for broken in (np.full(21, np.nan, np.float32), np.zeros(20, np.float32), np.zeros((6, 6), np.float32)):
        np.save(path, broken)
        with pytest.warns(UserWarning, match="no force constants to be read") as told:
            (mended,) = ask(crystals[1:2])
        assert told[0].filename == __file__  # whoever asked
        np.testing.assert_array_equal(mended, first[1])
    assert len(calls) == 5 and ask(crystals[1:2])[0] is not None and len(calls) == 5 and not capsys.readouterr().err
    assert store.stored_force_constants(potential, crystals[1:2], tmp_path) and "force constants embedded: 100%" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "embedded").write_text("a file in the folder's place")
    with pytest.warns(UserWarning, match="force constants cannot be kept there"):
        (found,) = store.stored_force_constants(Embedded(), [rocksalt()], tmp_path, False)
    np.testing.assert_allclose(found, force_constants(Embedded(), rocksalt()), atol=1e-6)


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
