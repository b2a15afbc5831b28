"""Eigenvalues and axes with their uncertainty: by hand, the same for a turned crystal, honest on made-up networks."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dtnet_core.crystals.record import TARGETS
from dtnet_core.ensemble import load_ensemble
from dtnet_core.training import principal as module
from dtnet_core.training.principal import fit, matched, scores
from dtnet_core.trust.principal import (
    UNDETERMINED,
    Principal,
    between,
    decompose,
    disagreement,
    principal,
    symmetry,
)

from ..conftest import CRYSTALS, random_rotation, turn

FACTORS = {"base": 0.1, "0.68": 2.0, "0.9": 4.0, "gap": 1.0, "alike": 4.0, "angle": 3.0}


def about_z(degrees: float) -> np.ndarray:
    return Rotation.from_euler("z", degrees, degrees=True).as_matrix()


def made_up(values, degrees=0.0) -> np.ndarray:
    """[3, 3] with these eigenvalues, turned about z."""
    q = about_z(degrees)
    return q @ np.diag(values).astype(float) @ q.T


def test_widths_and_angles_by_hand():
    """Two networks, the eigenvalues 2 and 8 of one axis each and a third that they turn against each other by 2 x 3 degrees."""
    members = np.stack([made_up([2, 8, 20], 3), made_up([2, 8, 24], -3)])[:, None]
    found = principal(members, members, FACTORS, np.array([1.5]))
    mean = np.array([5 - 3 * np.cos(np.radians(6)), 5 + 3 * np.cos(np.radians(6)), 22])  # 2x2 block: 5 +- 3 at angles 2 x 3
    np.testing.assert_allclose(found.values, mean[None])
    np.testing.assert_allclose(np.abs(found.axes[0]), np.eye(3), atol=1e-12)
    raw = 1.5 * np.hypot([0, 0, np.std([20, 24], ddof=1)], 0.1 * np.array([2, 8, 22]))
    np.testing.assert_allclose(found.std[0], 2 * raw)
    np.testing.assert_allclose(found.wide[0], 4 * raw)
    np.testing.assert_allclose(found.angle[0], [3 * 5] * 2 + [0], atol=1e-5)
    unbounded = np.concatenate([members[:1] - 3 * np.eye(3), members[1:]])  # what a bound hides is not forgotten
    assert (principal(members, unbounded, FACTORS).std > principal(members, members, FACTORS).std).all()


def test_axes_of_eigenvalues_that_may_be_the_same_are_not_told():
    near, apart, alike = made_up([2, 2.15, 9], 40), made_up([2, 4, 9], 40), 3 * np.eye(3)
    found = principal(np.stack([near, apart, alike])[None], np.stack([near, apart, alike])[None], FACTORS)
    undetermined = found.angle == UNDETERMINED
    assert undetermined.tolist() == [[True, True, False], [False] * 3, [True] * 3]  # 0.15 < 10 % of 2.15 in the first


def uniaxial(across, along) -> np.ndarray:
    """[M, 1, 3, 3]: networks' tensors of a crystal with the axis z; each takes another pair of orthogonal axes of the plane."""
    return np.stack([made_up([a, a, c], 20 * m) for m, (a, c) in enumerate(zip(across, along, strict=True))])[:, None]


ACROSS, ALONG = [32.5, 47.6, 47.2, 51.4, 42.2], [53.2, 58.3, 68.5, 52.2, 34.9]
"""Of five networks; the last takes the eigenvalue along the axis for the lowest one, and eigenvalues may be the same in all."""


@pytest.mark.parametrize("place", [0, 5])
def test_the_axis_of_a_uniaxial_crystal_is_certain_and_its_plane_is_not(place):
    """Whatever order networks have the eigenvalues in, and however the crystal lies."""
    members = uniaxial(ACROSS, ALONG)
    q = random_rotation(place) if place else np.eye(3)
    found = principal(q @ members @ q.T, q @ members @ q.T, FACTORS)
    assert found.angle.tolist() == [[UNDETERMINED, UNDETERMINED, 0]]
    assert between(found.axes[0, 2], q @ [0, 0, 1]) < 1e-5
    width = [2 * np.hypot(np.std(x, ddof=1), 0.1 * np.mean(x)) for x in (ACROSS, ALONG)]
    np.testing.assert_allclose(found.std[0], [width[0], width[0], width[1]])
    assert found.std[0, 0] == found.std[0, 1] and found.wide[0, 0] == found.wide[0, 1]
    tilt = Rotation.from_euler("x", 5, degrees=True).as_matrix()
    tilted = np.concatenate([members[:-1], tilt @ members[-1:] @ tilt.T])  # a disagreement before the link is one about the crystal
    assert symmetry(members, tilted, np.eye(3)[None])[0].tolist() == [[True, False, False]]  # x is still common to all


def test_equal_eigenvalues_have_one_width_and_free_axes_no_certainty():
    cubic = np.stack([a * np.eye(3) for a in ACROSS])[:, None]
    found = principal(cubic, cubic, FACTORS)
    assert (found.angle == UNDETERMINED).all() and len(set(found.std[0])) == 1
    noise = np.random.default_rng(3).normal(scale=1e-5, size=(5, 1, 3, 3))  # of float32
    noisy = uniaxial(ACROSS, ALONG) + noise + np.swapaxes(noise, -1, -2)
    found = principal(noisy, noisy, FACTORS)
    assert found.angle.tolist() == [[UNDETERMINED, UNDETERMINED, 0]] and found.std[0, 0] == found.std[0, 1]
    orthorhombic = np.stack([np.diag([a, a + 1, c]) for a, c in zip(ACROSS, ALONG, strict=True)])[:, None]
    assert principal(orthorhombic, orthorhombic, FACTORS).angle.tolist() == [[0, 0, 0]]
    monoclinic = np.stack([made_up([4, 8, 6.5], 3 * m) for m in range(5)])[:, None]  # 6.5, of the axis z, is in the middle
    found = principal(monoclinic, monoclinic, FACTORS)
    assert found.angle[0, 1] == 0 and (found.angle[0, [0, 2]] > 4).all() and symmetry(monoclinic, monoclinic, found.axes)[0].tolist() == [[False, True, False]]
    assert not symmetry(monoclinic[:1], monoclinic[:1], found.axes)[0].any()  # one network agrees with itself about everything


def test_truth_is_held_against_the_axis_that_is_told():
    """Of a crystal whose axis z is told as that of the highest eigenvalue and truly is that of the lowest."""
    fixed, truth = np.array([[False, False, True]]), np.diag([5.0, 4, 2])[None]
    values, axes = matched(truth, np.eye(3)[None], fixed)
    assert values.tolist() == [[4, 5, 2]] and between(axes[0], np.eye(3)[[1, 0, 2]]).max() < 1e-6
    assert matched(truth, np.eye(3)[None], ~fixed | True)[0].tolist() == [[5, 4, 2]] and matched(truth, np.eye(3)[None], fixed & False)[0].tolist() == [[2, 4, 5]]
    said = Principal(np.array([[4.0, 4, 6]]), np.eye(3)[None], np.full((1, 3), 0.5), np.full((1, 3), 2.0), np.array([[UNDETERMINED, UNDETERMINED, 0]]))
    found = scores(said, truth, FACTORS)
    assert (found["covered_68"], found["covered_90"], found["fixed"], found["fixed_within_1"]) == pytest.approx((1 / 3, 2 / 3, 1, 1))


def test_refused_and_uncalibrated_tensors_have_no_widths():
    members = np.stack([np.full((3, 3), np.nan), np.diag([2.0, 3, 4])])[None]
    found = principal(members, np.nan_to_num(members), FACTORS)
    assert all(np.isnan(x[0]).all() and np.isfinite(x[1]).all() for x in (found.values, found.std, found.wide, found.angle))
    bare = principal(members[:, 1:], members[:, 1:], None)
    assert bare.values.tolist() == [[2, 3, 4]] and np.isnan([bare.std, bare.wide, bare.angle]).all() and bare.of(0).axes.shape == (1, 3, 3)


def test_a_turned_tensor_has_the_same_widths_and_angles_and_turned_axes():
    g = np.random.default_rng(0)
    members = g.normal(size=(4, 1, 3, 3)) + np.diag([3, 8, 20])
    members = members + np.swapaxes(members, -1, -2)
    q = random_rotation(5)
    one, other = (principal(x, x, FACTORS) for x in (members, q @ members @ q.T))
    for name in ("values", "std", "wide", "angle"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    assert between(one.axes @ q.T, other.axes).max() < 1e-5
    np.testing.assert_allclose(np.swapaxes(one.axes, -1, -2) * one.values[:, None] @ one.axes, members.mean(0), atol=1e-9)


@pytest.fixture(scope="module")
def populations():
    """True tensors, and networks that are all off by the same and each by its own, for fitting and for testing."""
    g = np.random.default_rng(1)

    def draw(n):
        truth = np.stack([q @ np.diag(np.sort(g.uniform(2, 12, 3))) @ q.T for q in Rotation.random(n, random_state=g).as_matrix()])
        wrong = lambda size: (lambda x: x + np.swapaxes(x, -1, -2))(g.normal(scale=size, size=(n, 3, 3)))  # noqa: E731
        together = wrong(0.15)
        return np.stack([truth + together + wrong(0.15) for _ in range(5)]), truth

    return draw(600), draw(600)


def test_what_is_fitted_on_some_crystals_holds_for_others(populations):
    (members, truth), (others, test) = populations
    factors = fit(members, members, truth)
    found = scores(principal(others, others, factors), test, factors)
    assert found["covered_68"] == pytest.approx(0.68, abs=0.04) and found["covered_90"] == pytest.approx(0.9, abs=0.03)
    assert found["free_covered_68"] == pytest.approx(0.68, abs=0.06) and found["fixed"] == 0 and 0.05 < found["undetermined"] < 0.5
    swapped = np.take(test, np.roll(np.arange(len(test)), 1), 0)  # tensors of other crystals
    assert scores(principal(others, others, factors), swapped, factors)["covered_90"] < 0.5


def test_scores_by_hand():
    """Four crystals: errors as large as the widths; axes that are free; fixed ones half a degree off; fixed ones two degrees off."""
    values, width = np.tile([2.0, 4, 9], (4, 1)), np.full((4, 3), 0.5)
    angle = np.array([[UNDETERMINED] * 3, [4, 20, 30], [0.05] * 3, [0.05] * 3])
    said = Principal(values, np.tile(np.eye(3), (4, 1, 1)), width, 2 * width, angle)
    truth = np.stack([np.diag([2.5, 5, 11]), made_up([2, 4, 9], 15), made_up([2, 4, 9], 0.5), made_up([2, 4, 9], 2)])
    found = scores(said, truth, FACTORS | {"alike": 4.0, "angle": 1.0})
    assert found == pytest.approx({
        "n": 4, "covered_68": 10 / 12, "covered_90": 11 / 12, "half_width_68": 0.125, "undetermined": 3 / 12,
        "fixed": 6, "fixed_within_1": 4 / 6, "free": 3, "free_covered_68": 2 / 3, "free_angle": 20,
    })  # fmt: skip
    nothing = scores(replace(said, angle=np.full((4, 3), UNDETERMINED)), truth, FACTORS)
    assert [nothing[k] for k in ("fixed", "fixed_within_1", "free", "free_covered_68", "free_angle")] == [0, None, 0, None, None]


def test_angles_are_fitted_on_axes_that_are_told_apart_and_free():
    """Two networks 3 degrees to either side of an axis that is 12 degrees off. The third axis is fixed by symmetry, and of a crystal with
    two eigenvalues that may be the same the axes are 75 degrees off; of a uniaxial one any. None of these says what an angle is worth."""
    kinds = [([2, 6, 20], 12, 3, 0), ([2, 2.0005, 20], 80, 5, 5), ([3, 3, 9], 30, 8, 0)]
    members = np.stack([np.stack([made_up(v, at + s * off) for v, at, off, _ in kinds] * 30) for s in (1, -1)])
    truth = np.stack([made_up(v, t) for v, _, _, t in kinds] * 30)
    factors = fit(members, members, truth)
    said = principal(members, members, factors)
    assert (said.angle == UNDETERMINED).tolist() == [[False] * 3, [True, True, False], [True, True, False]] * 30
    assert factors["angle"] == pytest.approx(12 / np.hypot(3, factors["alike"]), rel=1e-6)
    c, a = np.cos(np.radians(6)), np.cos(np.radians(10))
    spreads = factors["base"] * np.array([4 + 2 * c, 20, 20, 9])  # of the larger eigenvalue of each gap; networks differ in directions only
    wrong = np.array([4 - 4 * c, 2 - 2 * c, 0.00025 - 0.00025 * a, 0]) / spreads  # first gaps that are next to nothing count as none
    assert factors["gap"] == pytest.approx(np.sort(np.repeat(wrong, 30))[int(np.ceil(0.68 * 121)) - 1], rel=1e-4)


def test_factors_come_from_validation_crystals_and_figures_from_test_crystals(populations, tmp_path, monkeypatch):
    """Of the stored split of the seed that ships."""
    (val, real), (test, truth) = populations
    split = {"kind": "record", "seed": 0, "val": ["v1", "v2"], "test": ["t1"]}
    stored = {"splits": [split | {"kind": "group", "val": ["t1"], "test": ["v1"]}, split, split | {"seed": 1, "val": ["t1"]}]}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/calibration.json").write_text(json.dumps({"members": [], "targets": {t: {"base": 0.5} for t in TARGETS}}))
    (tmp_path / "mp_tensors.json.gz").write_bytes(b"")
    real_json = module.read_json
    monkeypatch.setattr(module, "read_json", lambda path: stored if path.name == "splits.json" else real_json(path))
    monkeypatch.setattr(module, "load_records", lambda *_, **__: [SimpleNamespace(id=i) for i in ("v1", "v2", "t1", "other")])
    monkeypatch.setattr(module, "load_ensemble", lambda *_: None)
    asked = {("v1", "v2"): (val, val, real, 1.0), ("t1",): (test, test, truth, 1.0)}
    monkeypatch.setattr(module, "answers", lambda ensemble, records, *_: asked[tuple(r.id for r in records)])
    record = module.run_principal(["mine"], tmp_path / "principal.json", tmp_path, tmp_path)
    expected = fit(val, val, real)
    found = json.loads((tmp_path / "mine/calibration.json").read_text())["targets"]["total"]
    assert found == {"base": 0.5, "principal": expected} and expected != fit(test, test, truth)
    assert record["variants"]["mine"]["ionic"]["test"] == scores(principal(test, test, expected), truth, expected)
    assert (record["n_val"], record["n_test"], record["seed"]) == (2, 1, 0) and 0 <= record["wall_s"] < 1000


def test_shipped_networks_tell_the_same_of_a_turned_crystal(tmp_path):
    """A crystal of low symmetry and a hexagonal one, whose axis symmetry fixes and whose plane has no direction."""
    crystals = [CRYSTALS["triclinic"](), CRYSTALS["hexagonal"]()]
    q = random_rotation(2)
    ensemble = load_ensemble("electronic")
    one = ensemble.predict(crystals, tmp_path, False).principal
    other = ensemble.predict([turn(s, q) for s in crystals], tmp_path, False).principal
    np.testing.assert_allclose(one.values, other.values, rtol=2e-3)
    np.testing.assert_allclose(one.std, other.std, rtol=2e-2)
    np.testing.assert_allclose(one.angle, other.angle, rtol=5e-2, atol=0.5)
    assert (one.std > 0).all() and (one.wide > one.std).all()
    clear = (one.angle < UNDETERMINED) & (other.angle < UNDETERMINED)
    assert between(one.axes @ q.T, other.axes)[clear].max(initial=0) < 1
    plane = np.argsort(np.diff(one.values[1]))[0]
    assert (one.angle[1, plane : plane + 2] == UNDETERMINED).all() and one.std[1, plane] == one.std[1, plane + 1]
    assert one.angle[1, 2 - 2 * plane] == 0 and between(one.axes[1, 2 - 2 * plane], crystals[1].lattice.matrix[2] / crystals[1].lattice.c) < 0.1
    assert disagreement(np.stack([np.diag([1.0, 2, 3])] * 2)[:, None]).max() == 0 and decompose(np.eye(3))[0].tolist() == [1, 1, 1]
