"""Ionic tensors mended by modes: what stays, what turns, and what the companion may know."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.symmetry import primitive_structure
from dtnet_core.members import raw_spread
from dtnet_core.metrics import scalar_constant
from dtnet_core.physics import ionic
from dtnet_core.physics.companion import MACHINE, fit_companion, load_companion, log_of
from dtnet_core.physics.ionic import SHARE, Modes, mend
from dtnet_core.training.physics import Known

DRAW = np.random.default_rng(0)


def some(n: int, noise: float = 0.05) -> Known:
    """Crystals whose constants are their sums over modes times a factor that their features tell."""
    pooled = DRAW.standard_normal((n, 30))
    logs = DRAW.normal(1.5, 0.7, n)
    numbers = np.concatenate([logs[:, None] + 0.1 * DRAW.standard_normal((n, 5)), DRAW.standard_normal((n, 2))], 1)
    root = DRAW.standard_normal((n, 3, 3))
    sums = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(3)
    constants = np.exp(numbers[:, 2] + 0.2 * pooled[:, 0] + noise * DRAW.standard_normal(n))
    return Known(pooled, Modes(numbers, sums), constants)


def members(n: int) -> np.ndarray:
    root = DRAW.standard_normal((5, n, 3, 3))
    return root @ root.transpose(0, 1, 3, 2) + np.eye(3)


def test_the_companion_learns_what_the_sum_leaves_open():
    known = some(400)
    companion = known.fit(np.arange(300))
    rest = np.arange(300, 400)
    said = companion.log_constant(known.pooled[rest], known.modes.numbers[rest])
    true = log_of(known.constants[rest])
    assert np.abs(said - true).mean() < 0.75 * np.abs(known.modes.numbers[rest, 2] - true).mean()


def test_the_companion_is_the_machine_that_was_fitted_and_comes_back_from_disk(tmp_path):
    from sklearn.svm import SVR

    known = some(120)
    companion = fit_companion(known.pooled, known.modes.numbers, known.constants)
    x = companion.inputs(known.pooled, known.modes.numbers)
    machine = SVR(**MACHINE).fit(x, log_of(known.constants) - known.modes.numbers[:, 2])
    said = companion.log_constant(known.pooled, known.modes.numbers)
    np.testing.assert_allclose(said, machine.predict(x) + known.modes.numbers[:, 2], atol=1e-6)
    companion.save(tmp_path / "c.safetensors")
    np.testing.assert_allclose(load_companion(tmp_path / "c.safetensors").log_constant(known.pooled, known.modes.numbers), said, atol=1e-4)


def test_no_crystal_outside_the_training_set_changes_the_companion():
    known, train = some(200), np.arange(150)
    other = Known(known.pooled.copy(), Modes(known.modes.numbers.copy(), known.modes.sums), known.constants.copy())
    other.constants[150:] = 99.0
    other.pooled[150:] = -7.0
    other.modes.numbers[150:] = 3.0
    one, two = known.fit(train), other.fit(train)
    for name in ("center", "scale", "components", "number_mean", "number_scale", "vectors", "weights"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.intercept == two.intercept


def test_crystals_without_modes_keep_their_tensors():
    known, said = some(6), members(6)
    known.modes.numbers[2:4] = np.nan
    known.modes.sums[2:4] = np.nan
    mended, apart = mend(said, np.full(6, 1.0), known.modes)
    assert np.array_equal(mended[:, 2:4], said[:, 2:4])
    assert (apart[2:4] == 0).all()
    assert not np.allclose(mended[:, [0, 1, 4, 5]], said[:, [0, 1, 4, 5]])


def test_constant_and_shape_are_those_promised():
    known, said, companion = some(5), members(5), DRAW.normal(1, 0.5, 5)
    mended, apart = mend(said, companion, known.modes)
    before, after = scalar_constant(said.mean(0)), scalar_constant(mended.mean(0))
    np.testing.assert_allclose(np.log(after), SHARE * companion + (1 - SHARE) * np.log(before))
    np.testing.assert_allclose(mended.mean(0) / after[:, None, None], known.modes.sums / scalar_constant(known.modes.sums)[:, None, None])
    np.testing.assert_allclose(apart, np.abs(np.exp(companion) - before))
    for one, new in zip(said, mended, strict=True):  # networks keep their opinions of each other
        np.testing.assert_allclose(scalar_constant(new) / after, scalar_constant(one) / before)


def test_mending_turns_with_the_crystal():
    known, said, companion = some(4), members(4), DRAW.normal(1, 0.5, 4)
    turn = np.linalg.qr(DRAW.standard_normal((3, 3)))[0]
    mended, apart = mend(said, companion, known.modes)
    turned, same = mend(turn @ said @ turn.T, companion, Modes(known.modes.numbers, turn @ known.modes.sums @ turn.T))
    np.testing.assert_allclose(turned, turn @ mended @ turn.T, atol=1e-10)
    np.testing.assert_allclose(same, apart, atol=1e-10)


def test_intervals_widen_where_networks_and_modes_differ():
    said = members(3)
    assert (raw_spread(said, 0.1, np.array([0.0, 1.0, 9.0])) - raw_spread(said, 0.1) > [-1e-12, 0, 0.5]).all()


@pytest.mark.parametrize("times", [(2, 1, 1), (1, 2, 2)])
def test_cells_are_reduced_without_being_turned(times):
    structure = Structure(Lattice.orthorhombic(3.1, 4.2, 5.3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.45]])
    assert primitive_structure(structure) is structure
    found = primitive_structure(structure * times)
    assert len(found) == 2
    np.testing.assert_allclose(sorted(found.lattice.abc), [3.1, 4.2, 5.3], atol=1e-8)
    axes = np.abs(found.lattice.matrix) > 1e-6
    assert axes.sum() == 3  # each vector along one axis, as before


def test_large_cells_have_no_modes(monkeypatch):
    """More atoms than `MAX_ATOMS`: no force constants are asked for."""
    asked = []
    monkeypatch.setattr(ionic, "stored_force_constants", lambda encoder, cells, *rest: asked.extend(cells) or [np.eye(3 * len(c)) for c in cells])
    monkeypatch.setattr(ionic, "MAX_ATOMS", 2)

    class Charges:
        features = "7net-0:0-5"

        def predict(self, features):
            return [(np.zeros((n, 3, 3)), np.zeros(n)) for n in features]

    pair = Structure(Lattice.cubic(3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    three = Structure(Lattice.cubic(5), ["Cs", "Cl", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.52], [0.3, 0.1, 0.2]])
    physics = ionic.IonicPhysics(Charges(), None)
    monkeypatch.setattr(ionic.IonicPhysics, "encoder", None)
    found = physics.modes([pair, three], [2, 3])
    assert found.known.tolist() == [True, False]
    assert asked == [pair]
