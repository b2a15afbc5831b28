"""The chance that an answer is off, and what is extreme: by hand, on made-up answers, and as it ships."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.paths import WEIGHTS
from dtnet_core.base.reading import DataFileError
from dtnet_core.crystals.record import TARGETS
from dtnet_core.ensemble import load_ensemble
from dtnet_core.trust.doubts import FILE, OFF, TAIL, Chance, Doubts, Tail, fit_chance, fit_tail, load_doubts
from tests.conftest import CRYSTALS


def test_the_chance_by_hand():
    """Even odds where the half width is the constant and that is 1; four times the constant, at the same relative width, changes the odds by a power of four."""
    found = Chance(0.0, 2.0, 0.5).of(np.array([1.0, 1.0, 4.0, np.nan]), np.array([1.0, 0.5, 4.0, 1.0]))
    assert found[:3] == pytest.approx([1 / 2, 1 / 5, 2 / 3]) and np.isnan(found[3])
    assert np.isfinite(Chance(0.0, 2.0, 0.5).of(np.array([0.0, -1.0]), np.array([1.0, 1.0]))).all()  # an ionic constant may be none


def test_chances_that_are_fitted_are_met():
    """Errors that are normal with the told width: of answers that are told 20 % as many are off, on others than those of the fit."""
    g = np.random.default_rng(0)
    constants, relative = g.uniform(2, 20, 40_000), g.uniform(0.05, 1.0, 40_000)
    off = np.abs(g.normal(size=40_000)) * relative > 1.5 * OFF
    fitted = fit_chance(constants[:20_000], (relative * constants)[:20_000], off[:20_000])
    chance = fitted.of(constants[20_000:], (relative * constants)[20_000:])
    for low, high in ((0.05, 0.2), (0.2, 0.4), (0.4, 0.7)):
        some = (chance > low) & (chance < high)
        assert off[20_000:][some].mean() == pytest.approx(chance[some].mean(), abs=0.05) and some.sum() > 1000
    assert fitted.width > 1 and abs(fitted.constant) < 0.1


def turned(values, seed=0) -> np.ndarray:
    """[B, 3, 3] with eigenvalues [B, 3]."""
    g = np.random.default_rng(seed)
    turns = np.linalg.qr(g.normal(size=(len(values), 3, 3)))[0]
    return turns * np.asarray(values, float)[:, None] @ turns.transpose(0, 2, 1)


def test_extremes_by_hand():
    """Largest eigenvalues and ratios above those of all but a twentieth of the training crystals, at the upper end of the interval; whatever the axes."""
    largest = np.linspace(1, 101, 101)
    tail = fit_tail(turned(np.stack([np.full(101, 2.0), largest + 1, largest + 1], 1)))
    assert TAIL == 0.05 and tail == pytest.approx((97.0, 48.5))
    assert Tail(0.5, 3.0).reached(turned([[0.2, 0.3, 0.4], [0.2, 0.2, 0.8]]), np.zeros(2)).tolist() == [[False, False], [True, True]]  # ionic ones may be small
    tail = Tail(10.0, 3.0)
    asked = turned([[2, 4, 5], [8, 9, 9], [8, 9, 11], [3, 3, 8.9], [3, 3, 9.1], [0, 0, 0.1]], 1)
    assert tail.reached(asked, np.zeros(6)).tolist() == [[False, False], [False, False], [True, False], [False, False], [False, True], [False, False]]
    wide = np.array([0.5, 0.3, 0.3, 0.3, 0.3, 0.3]) * np.trace(asked, axis1=1, axis2=2) / 3
    assert tail.reached(asked, wide).tolist() == [[False, True], [True, False], [True, False], [True, True], [True, True], [False, False]]
    assert tail.reached(turned([[3, 3, 3], [3, 3, 3.05], [3, 3, 3.1]]), np.full(3, 6.5)).tolist() == [[False, False], [False, False], [False, True]]  # symmetry keeps the first one isotropic


def test_doubts_of_refused_answers_and_without_a_file(tmp_path):
    doubts = Doubts({"total": Tail(11.0, 3.0)}, {"total": Chance(0.0, 1.0, 0.0)}, {"total": Chance(5.0, 0.0, 0.0)})
    tensors, wide = turned([[5, 5, 5], [4, 4, 12], [np.nan] * 3]), np.array([5.0, 1.0, np.nan])
    found, mended = doubts.of("total", tensors, wide), doubts.of("total", tensors, wide, mended=True)
    assert found.chance[:2] == pytest.approx([0.5, 0.15 / 1.15]) and np.isnan(found.chance[2]) and mended.chance[:2] == pytest.approx(1 / (1 + np.exp(-5)))
    assert found.extreme.tolist() == [False, True, False] and [len(w) for w in found.words] == [0, 1, 0]
    assert found.words[1][0].startswith("extreme: the total tensor may have an eigenvalue above 11 and a ratio of eigenvalues above 3, as 5 % of the training crystals do")
    doubts.save(tmp_path / FILE)
    assert load_doubts(tmp_path / FILE) == doubts
    (tmp_path / "part.json").write_text('{"chances": {"total": {"intercept": 0, "width": 1, "constant": 0}}}')
    assert load_doubts(tmp_path / "part.json") == Doubts(chances=doubts.chances)
    (tmp_path / "odd.json").write_text('{"chances": {"total": {"intercepts": 0}}}')
    with pytest.raises(DataFileError, match="odd"):
        load_doubts(tmp_path / "odd.json")
    nothing = load_doubts(tmp_path / "absent.json").of("total", tensors, wide)
    assert np.isnan(nothing.chance).all() and not nothing.extreme.any() and nothing.words == ((), (), ())
    assert doubts.of("ionic", tensors, wide).words == ((), (), ()) and len(doubts.of("total", tensors[:0], wide[:0]).chance) == 0


def test_scores_by_hand():
    doubted = Doubts({"total": Tail(10.0, 9.0)}, {"total": Chance(0.0, 1.0, 0.0)}).of("total", turned([[5] * 3, [5] * 3, [20] * 3, [20] * 3]), np.array([1.0, 2.0, 5.0, 10.0]))
    found = doubted.scores(turned([[5] * 3, [5] * 3, [20] * 3, [20] * 3]), np.array([5.0, 10.0, 20.0, 40.0]))
    assert (found["off"], found["auroc"], found["extreme"], found["extreme_off"]) == (0.5, 1.0, 0.5, 0.5)
    assert found["chance"] == pytest.approx(np.mean([1 / 6, 2 / 7, 1 / 5, 1 / 3]))
    assert doubted.scores(turned([[5] * 3] * 4), np.full(4, 5.0))["auroc"] is None
    some = Doubts(chances={"total": Chance(0.0, 1.0, 0.0)}).of("total", turned([[5] * 3] * 2), np.array([1.0, np.nan]))
    assert some.scores(turned([[5] * 3] * 2), np.array([5.0, 10.0]))["auroc"] is None  # a chance that is not known orders nothing


def test_doubts_that_ship():
    """A wider interval is never less doubtful; argon, which is unlike all training crystals, is doubted more than rock salt."""
    shipped = load_doubts(WEIGHTS / FILE)
    assert set(shipped.tails) == set(shipped.chances) == set(shipped.with_modes) == set(TARGETS)
    assert all(c.width > 0 for chances in (shipped.chances, shipped.with_modes) for c in chances.values())
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.31), ["Ar"], [[0, 0, 0]])
    for target in TARGETS:
        found = load_ensemble(target).predict([CRYSTALS["cubic"](), argon], progress=False)
        assert 0 < found.chance[0] < found.chance[1] < 1 and not found.extreme[0]
        assert np.allclose(found.chance, shipped.of(target, found.tensors, found.wide).chance)
        assert any("extreme" in words for words in found.warnings[1]) == found.extreme[1]
        mended = load_ensemble(target, "default-physics").predict(CRYSTALS["cubic"](), progress=False)
        assert np.allclose(mended.chance, shipped.of(target, mended.tensors, mended.wide, mended=target != "electronic").chance)
        assert (mended.chance[0] == pytest.approx(found.chance[0], rel=1e-3)) == (target == "electronic")  # which no mode changes; stored features are rounded
        one = found.of(1)
        assert (one.chance[0], one.extreme[0]) == (found.chance[1], found.extreme[1])
