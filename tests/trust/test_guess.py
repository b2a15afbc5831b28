"""A guess that cannot run away: by hand, turned, from a file, and in the ensembles that ship."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from scipy.stats import ortho_group

from dtnet_core.ensemble import load_ensemble
from dtnet_core.metrics import SMALLEST_CONSTANT, scalar_constant
from dtnet_core.potentials.store import compute_features
from dtnet_core.trust.guess import RAMPS, Ramps, fit_guess, lean, leaning, load_guess
from dtnet_core.trust.reach import FEATURES, invariants_of

FAR, MOST, APART = RAMPS
RNG = np.random.default_rng(5)


def members_of(electronic, ionic) -> np.ndarray:
    """[M, 1, 2, 3, 3] of isotropic tensors with these constants, one a network."""
    return np.array([[[e * np.eye(3), i * np.eye(3)]] for e, i in zip(electronic, ionic, strict=True)], dtype=float)


def constants(members) -> list[float]:
    return (np.trace(members.mean(0)[0], axis1=1, axis2=2) / 3).tolist()


def test_near_answers_on_which_networks_agree_keep_their_bits():
    said = members_of([3.0, 3.1], [2.0, 2.1])
    found, apart = lean(said, said, np.log([[6.0, 1.0]]), np.array([FAR[0]]))
    assert np.array_equal(found, said) and apart[0] == pytest.approx([6.0 - 3.05, 2.05 - 1.0])


def test_far_answers_go_half_way_in_logarithms():
    said = members_of([4.0, 4.0], [9.0, 9.0])
    found, _ = lean(said, said, np.log([[16.0, 1.0]]), np.array([FAR[1]]))
    assert MOST == 0.5 and constants(found) == pytest.approx([8.0, 3.0])
    halfway, _ = lean(said, said, np.log([[16.0, 1.0]]), np.array([(FAR[0] + FAR[1]) / 2]))
    assert constants(halfway) == pytest.approx([4 * 4**0.25, 9 * 9**-0.25])


def test_networks_that_differ_by_much_count_for_nothing():
    """Before the link they are at -9 and 9; with it one is at empty space."""
    said, before = members_of([1.0, 3.0], [0.5, 1.5]), members_of([-9.0, 9.0], [-5.0, 5.0])
    found, apart = lean(said, before, np.log([[9.0, 4.0]]), np.zeros(1))
    assert constants(found) == pytest.approx([9.0, 4.0]) and apart[0] == pytest.approx([7.0, 3.0])
    assert found[1, 0, 0, 0, 0] / found[0, 0, 0, 0, 0] == pytest.approx(3.0)  # they differ as before
    assert leaning(np.zeros(3), np.array([0.0, np.mean(APART), 9.0])).tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_other_ramps():
    said = members_of([4.0, 4.0], [9.0, 9.0])
    found, _ = lean(said, said, np.log([[16.0, 1.0]]), np.array([1.5]), Ramps(far=(1.0, 2.0), most=1.0))
    assert constants(found) == pytest.approx([8.0, 3.0])


def test_no_eigenvalue_falls_below_empty_space():
    tensors = np.diag([1.0, 2.0, 9.0])
    said = np.array([[[tensors, tensors - np.eye(3)]]] * 2)
    found, _ = lean(said, said + 50 * np.array([1, -1])[:, None, None, None, None], np.log([[0.5, 0.01]]), np.zeros(1))
    eigenvalues = np.linalg.eigvalsh(found)
    assert eigenvalues[:, 0, 0].min() >= 1 - 1e-12 and eigenvalues[:, 0, 1].min() >= 0
    assert constants(found) == pytest.approx([1.0, SMALLEST_CONSTANT])


def test_an_ionic_part_of_nothing_can_grow():
    said = members_of([3.0, 3.0], [0.0, 0.0])
    found, _ = lean(said, members_of([3.0, 3.0], [-2.0, 2.0]), np.log([[3.0, 5.0]]), np.zeros(1))
    assert constants(found) == pytest.approx([3.0, 5.0])


def test_turning_and_leaning_commute():
    q = ortho_group.rvs(3, random_state=3)
    said = RNG.normal(size=(4, 6, 2, 3, 3))
    said = said + said.swapaxes(-1, -2) + 6 * np.eye(3)
    before, guess, distance = said - 4 * RNG.random((4, 6, 1, 1, 1)), RNG.normal(size=(6, 2)), np.linspace(0, 4, 6)
    found, apart = lean(said, before, guess, distance)
    turned, again = lean(q @ said @ q.T, q @ before @ q.T, guess, distance)
    assert np.allclose(turned, q @ found @ q.T, atol=1e-12) and np.allclose(apart, again, atol=1e-12)
    assert (found != said).any() and (found[:, 0] == said[:, 0]).all(axis=(-1, -2)).any()


@pytest.fixture(scope="module")
def machine():
    pooled = RNG.normal(size=(300, 20))
    known = np.exp(np.stack([0.3 * pooled[:, 0] + 1.2, 0.5 * pooled[:, 1] + 0.5], 1))
    return fit_guess(pooled[:250], known[:250]), pooled, known


def test_the_guess_learns_each_constant_and_comes_back_from_a_file(machine, tmp_path):
    guess, pooled, known = machine
    for k in (0, 1):
        off = guess.log_constants(pooled[250:])[:, k] - np.log(known[250:, k])
        assert np.sqrt((off**2).mean()) < 0.6 * np.log(known[250:, k]).std()
    guess.save(tmp_path / "guess.safetensors")
    assert np.allclose(load_guess(tmp_path / "guess.safetensors").log_constants(pooled), guess.log_constants(pooled), atol=1e-5)


def test_far_away_the_guess_returns_to_its_intercept(machine):
    guess, pooled, known = machine
    away = guess.log_constants(1e6 * pooled[:20])
    assert np.abs(away - guess.intercepts).max() < 0.1 and np.abs(guess.intercepts - np.log(known).mean(0)).max() < 0.3


def test_shipped_networks_lean_on_it_outside_of_the_domain_only(tmp_path):
    """MgO's answer has the same bits without a guess, copper's moves towards it; MoTe2's, of a formula that no network saw, is of the size of DFPT's 8 to 10."""
    ensemble = load_ensemble("electronic")
    assert ensemble.reach.guess is not None
    alone = load_ensemble("electronic")
    alone.reach = replace(alone.reach, guess=None)
    rocksalt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure()
    layers = Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(3.52, 13.97), ["Mo", "Te"], [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]])
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]]).get_primitive_structure()
    with_guess, without = (e.predict([rocksalt, copper, layers], tmp_path, progress=False) for e in (ensemble, alone))
    assert np.array_equal(with_guess.tensors[0], without.tensors[0])
    place = ensemble.reach.locate(invariants_of(compute_features(FEATURES, [copper], False, tmp_path, False)))
    guessed = np.exp(ensemble.reach.guess.log_constants(place.invariants)[0, 0])
    off = [abs(np.log(scalar_constant(found.tensors)[1] / guessed)) for found in (with_guess, without)]
    assert not with_guess.in_domain[1] and 0.4 * off[1] < off[0] < 0.99 * off[1]
    assert abs(scalar_constant(with_guess.tensors)[2] - 9) < with_guess.wide[2] and 6 < scalar_constant(with_guess.tensors)[2] < 15
