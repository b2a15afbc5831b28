"""What ships from the benchmark of reach: the training crystals as points, a limit, doubts, growing intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..base.files import read_json
from ..base.paths import WEIGHTS
from ..base.results import write_json
from ..crystals.record import TARGETS
from ..ensemble import KNOWN, load_ensemble
from ..metrics import scalar_constant
from ..training.calibration import narrowed
from ..training.joint import Task
from ..training.ship import SHIPPED_SEED
from ..trust.doubts import FILE, Chance, Doubts, fit_tail
from ..trust.verdict import COVERAGES
from .benchmark import BEST_MODES, SHIPS, VARIANTS, rows_of_labels
from .intervals import reach_of

LIMIT = 0.98
"""Share of validation crystals of a random split that are called in the domain."""


def ship_reach(task: Task, invariants: np.ndarray, truth: np.ndarray, variants: Mapping[str, Mapping], weights: str | Path | None) -> dict:
    """Points of what the shipped networks learned from, and doubts; typical distance and limit are those of their validation crystals."""
    folder, split, powers = Path(weights or WEIGHTS), task.split(SHIPPED_SEED), variants[SHIPS]["growth_leaning"]
    train = np.intersect1d(split["train"], rows_of_labels(task, VARIANTS[SHIPS].recipe.labels))
    reach = reach_of(task, train, invariants)
    away = {part: reach.nearest(reach.place(invariants[split[part]]))[0] for part in ("val", "test")}
    reach = replace(reach, limit=float(np.quantile(away["val"], LIMIT)), typical=float(np.median(away["val"])))
    reach.save(folder / KNOWN)
    doubts = doubts_of(truth, train, variants)
    doubts.save(folder / FILE)
    told = {p.parent.name: _recalibrate(p, task, split, away, powers, doubts) for p in sorted(folder.glob("*/calibration.json")) if "networks" not in read_json(p)}
    return {"n": len(train), "limit": reach.limit, "typical": reach.typical, "test_in_domain": float((away["test"] <= reach.limit).mean()),
            "n_test": len(split["test"]), "growth": dict(powers), "covered": {name: one[0] for name, one in told.items()}, "doubted": {name: one[1] for name, one in told.items()}}  # fmt: skip


def doubts_of(truth: np.ndarray, train: np.ndarray, variants: Mapping[str, Mapping]) -> Doubts:
    """What ships: the tails of the tensors [n, 3, 3, 3] of those of the benchmark's n crystals that train (positions), and chances of the variants of the record, with modes and without."""
    learned = truth[train[train < len(truth)]]
    chances = {name: {t: Chance(**c) for t, c in variants.get(name, {}).get("chances", {}).items()} for name in (SHIPS, BEST_MODES)}
    return Doubts({t: fit_tail(learned[:, k]) for k, t in enumerate(TARGETS)}, chances[SHIPS], chances[BEST_MODES])


def _recalibrate(path: Path, task: Task, split: Mapping, away: Mapping, powers: Mapping[str, float], doubts: Doubts) -> tuple[dict, dict]:
    """Make a variant's intervals grow, and narrow their factors so that the shipped networks' validation crystals are covered as before, leaning and growing included.

    The factors of `training.ship`, from many splits, stay in the file as "flat". Returned are the coverage of the test crystals, and what `doubts` say of them.
    """
    about, found, doubted = read_json(path), {}, {}
    for target in TARGETS:
        mine = about["targets"][target]
        mine.setdefault("flat", {str(c): mine[str(c)] for c in COVERAGES})
        ensemble = load_ensemble(target, path.parent.name, path.parent.parent)
        reach, ratio = ensemble.reach, {}
        ensemble.calibration = {"base": mine["base"], **dict.fromkeys(mine["flat"], 1.0)}
        for way, kept in (("flat", None), ("leaning", reach)):
            ensemble.reach = kept
            for part in ("val", "test"):
                said = ensemble.predict([task.records[i].structure for i in split[part]], progress=False)
                true = scalar_constant(np.stack([task.records[i].tensor(target) for i in split[part]]))
                ratio[way, part] = np.abs(scalar_constant(said.tensors) - true) / said.std
        wider = {part: reach.wider(away[part], powers[target]) for part in ("val", "test")}
        for c in mine["flat"]:
            mine[c] = mine["flat"][c] * narrowed(ratio["flat", "val"], ratio["leaning", "val"] / wider["val"], float(c))
        mine["growth"] = powers[target]
        found[target] = {c: {"flat": float((ratio["flat", "test"] <= mine["flat"][c]).mean()), "growing": float((ratio["leaning", "test"] <= mine[c] * wider["test"]).mean())} for c in mine["flat"]}
        doubted[target] = doubts.of(target, said.tensors, mine[str(COVERAGES[-1])] * said.std * wider["test"]).scores(said.tensors, true)
    write_json(path, about)
    return found, doubted
