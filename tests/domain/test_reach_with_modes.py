"""The benchmark of reach with modes: what may train charges and companion, and how mended answers are judged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dtnet_core.domain import benchmark as module
from dtnet_core.domain.intervals import judge_fold
from dtnet_core.members import raw_spread, with_total
from dtnet_core.physics.ionic import Modes
from dtnet_core.report.new_kinds import (
    BEFORE,
    BEST,
    MODES,
    TOLD,
    domain_table,
    gains_text,
    modes_table,
    told_text,
)
from dtnet_core.training.calibration import calibrate
from dtnet_core.trust.doubts import fit_tail
from dtnet_core.trust.reach import fit_reach


def test_charges_and_companion_learn_from_training_crystals_of_the_fold_alone(monkeypatch):
    """Of six records four train: a benchmark crystal, one with charges, one whose file has none to learn from, one without charges."""
    files = ["mp_tensors", "mp_tensors", "pbesol_tensors", "pbesol_tensors", "jarvis_electronic", "pbesol_tensors"]
    records = [SimpleNamespace(id=str(i), meta={"file": f"{f}.json.gz", "born_charges": None if i == 5 else [i]}) for i, f in enumerate(files)]
    asked, numbers = [], np.array([[1.0] * 7, [np.nan] * 7])

    def known(name, task, cache_dir, progress, born):
        asked.append((name, [r.id for r in born]))
        return SimpleNamespace(fit=lambda rows: ("companion", rows.tolist()), modes=Modes(numbers, np.zeros((2, 3, 3))),
                               mended=lambda companion, bounded, unbounded, rows: (bounded + 1, (companion, unbounded), np.array([7.0, 8.0])))  # fmt: skip

    monkeypatch.setattr(module, "benchmark_modes", known)
    mending = module.mending_of(SimpleNamespace(records=records, n_benchmark=2), np.array([1, 2, 4, 5]))
    assert asked == [("best-wide", ["2"])]
    bounded, (companion, unbounded), apart, modes = mending(np.array([0, 1]), np.zeros(2), "before links", np.ones((2, 3)))
    assert companion == ("companion", [1]) and unbounded == "before links" and bounded.tolist() == [1.0, 1.0]
    assert apart.tolist() == [[1.0, 7.0, 7.0], [1.0, 1.0, 1.0]]  # the electronic tensor, and a crystal without modes, keep what the guess says
    assert modes.known.tolist() == [True, False]


def test_answers_are_mended_after_they_lean_and_before_they_are_judged():
    rng = np.random.default_rng(0)
    invariants, n = rng.normal(size=(60, 6)), 12
    rows = {"train": np.arange(30), "val": np.arange(30, 48), "test": np.arange(48, 60)}
    truth = with_total(np.einsum("nk,ij->nkij", rng.uniform(2, 9, (60, 2)), np.eye(3)))
    said = {f"{part}_{kind}": truth[rows[part]] * rng.normal(1.0, 0.2, (3, len(rows[part]), 1, 1, 1)) for part in ("val", "test") for kind in ("bounded", "unbounded")}
    reach = fit_reach(invariants[rows["train"]], ["x"] * 30, ["NaCl"] * 30)
    seen, numbers = [], rng.uniform(0, 2, (60, 7))
    numbers[::5] = np.nan
    modes = Modes(numbers, np.zeros((60, 3, 3)))

    def mending(asked, bounded, unbounded, apart):
        seen.append((asked, bounded, unbounded, apart))
        return bounded * 1.5, unbounded * 1.4, apart + 2.0, modes.of(asked)

    plainly, mended = judge_fold(rows | said, truth, reach, invariants), judge_fold(rows | said, truth, reach, invariants, mending)
    assert [part.tolist() for part, *_ in seen] == [rows["val"].tolist(), rows["test"].tolist()]
    assert np.array_equal(seen[1][1], said["test_bounded"]) and np.array_equal(seen[1][2], said["test_unbounded"]) and not seen[1][3].any()  # no guess here: nothing leans
    for k, target in enumerate(("electronic", "ionic", "total")):
        answer, opinions = 1.5 * said["test_bounded"][:, :, k], 1.4 * said["test_unbounded"][:, :, k]
        mine = None if target == "electronic" else modes  # whose intervals do not know of modes
        factors = calibrate(1.4 * said["val_unbounded"][:, :, k], truth[rows["val"], k], apart=np.full(18, 2.0), modes=mine and mine.of(rows["val"]))
        assert ("doubt" in factors) == (mine is not None)
        found = mended[target]
        assert found["factors"] == factors and found["error"].shape == (n,)
        constant = np.trace(answer.mean(0), axis1=1, axis2=2) / 3
        wrong = np.abs(constant - np.trace(truth[rows["test"], k], axis1=1, axis2=2) / 3)
        spread = np.maximum(raw_spread(opinions, factors["base"], 2.0), raw_spread(answer, factors["base"], 2.0)) * (1 if mine is None else mine.of(rows["test"]).wider(factors["doubt"]))
        assert found["tail"] == fit_tail(truth[:30, k]) and np.allclose(found["tensors"], answer.mean(0)) and found["val"]["constant"].shape == (18,)
        assert found["bias"] == pytest.approx(constant / (np.trace(truth[rows["test"], k], axis1=1, axis2=2) / 3))
        assert found["constant"] == pytest.approx(constant) and found["ratio"] == pytest.approx(wrong / spread) and found["spread"] == pytest.approx(spread)
        assert not np.allclose(found["error"], plainly[target]["error"])


def told(name: str, mae: float, off: float = 0.5) -> dict:
    kinds = ("Zr Nb Mo Hf Ta W with Se Te", "Tl with an anion", "Ag with an anion", "rare earth with N P As Sb Bi", "molecules", "chains", "layers", "largest constants", "largest anisotropy")
    leaning = {"mae_ten": mae, "off_by_25": off, "covered": {"0.9": 0.875}, "covered_or_told": 0.9, "auroc": 0.7, "chance": 0.3, "extreme": 0.1}
    return {"labels": name, "kinds": {k: {"n": 2, **{t: {"mae_ten": mae, "leaning": leaning} for t in ("electronic", "total")}} for k in kinds}}


def test_what_modes_bring_is_told_of_the_total_tensor_only():
    record = {"variants": [told("labels that ship", 4.0), told(BEFORE, 4.0), told(TOLD, 3.0), told(BEST, 2.0, 0.6), told(MODES, 1.0, 0.25)]}
    text = gains_text(record, "total")
    assert "these and modes -75 % (new pairs of elements), -75 % (new ways of bonding), -75 % (tails), -75 % (all of these)" in text and "modes" not in gains_text(record)
    assert "with modes" not in domain_table(record)
    head, _, first, *_ = modes_table(record).splitlines()
    cells = dict(zip(map(str.strip, head.split("|")), map(str.strip, first.split("|")), strict=True))
    assert (cells["labels of before"], cells["`best`, of the kind too"], cells["with modes"], cells["off by more than 25 %, without modes"], cells["with"]) == ("4.00", "2.00", "1.00", "60 %", "25 %")
    assert (cells["chance told"], cells["90 % intervals hold"], cells["extreme"], cells["held, or told"], cells["AUROC"]) == ("30 %", "88 %", "10 %", "90 %", "0.70")


def test_the_report_knows_the_variants_by_their_names():
    """It may not import what trains, so the names stand there once more."""
    assert (BEFORE, TOLD, BEST, MODES) == (module.BEFORE, module.TOLD, module.BEST_TOLD, module.BEST_MODES)


def test_the_weakest_kind_is_named():
    best, modes = told(BEST, 2.0) | {"auroc": {"electronic": {"chance": 0.6}}}, told(MODES, 1.0) | {"auroc": {"total": {"chance": 0.5}}}
    best["kinds"]["chains"]["electronic"] = {"leaning": {"covered_or_told": 0.81, "auroc": None}}
    best["kinds"]["layers"]["electronic"] = {"leaning": {"covered_or_told": 0.95, "auroc": 0.9}}
    text = told_text({"variants": [best, modes]})
    assert "the electronic constant is held by its 90 % interval, or the answer is told to be out of the domain or extreme, for 81 % or more of each kind (least: chains); the chance tells what is off by more than 25 % with an AUROC of 0.70 to 0.90 within a kind, 0.70 for the median kind, 0.60 over all" in text
    assert "the total constant with modes is held by its 90 % interval, or the answer is told to be out of the domain or extreme, for 90 % or more" in text and "0.50 over all of them together." in text
