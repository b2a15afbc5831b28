"""The stored record of the benchmark of reach, and what ships from it: the training crystals as points, a limit, growing intervals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from ..base.files import read_json
from ..base.paths import RESULTS, WEIGHTS
from ..base.results import plain, provenance, write_json
from ..crystals.record import TARGETS
from ..ensemble import COVERAGES, KNOWN, load_ensemble
from ..metrics import scalar_constant
from ..training.calibration import narrowed
from ..training.joint import Task, load_task
from ..training.sets import pooled_invariants
from ..training.ship import SHIPPED_SEED
from ..trust.reach import FEATURES, Reach
from .benchmark import RECIPES, SMALL, Fold, answers, file_of, folds, rows_of_labels
from .intervals import covered, judge_fold, reach_of, smallest_power, truth_of

LIMIT = 0.98
"""Share of validation crystals of a random split that are called in the domain."""


def kind_scores(fold: Fold, judged: Mapping, rows: np.ndarray, powers: Mapping[str, float]) -> dict[str, dict]:
    """Kind -> scores over its tested crystals; `powers` were fitted without this fold."""
    found = {}
    for kind, of_kind in fold.kinds.items():
        mine = of_kind[rows]
        entry: dict = {"n": int(mine.sum()), "distance": float(np.median(judged["distance"][mine]))}
        for target in TARGETS:
            j = {k: v[mine] if isinstance(v, np.ndarray) else v for k, v in judged[target].items()}
            distance = judged["distance"][mine]
            off, doubt = j["off"], distance**2  # what is far is doubted
            entry[target] = {
                "mae_ten": j["error"].mean(), "median": np.median(j["error"]), "worst_percentile": np.quantile(j["error"], 0.99),
                "off_by_25": off.mean(), "at_bound": j["at_bound"].mean(),
                "auroc_distance": roc_auc_score(off, doubt) if 0 < off.sum() < len(off) else None,
                "covered": {str(c): covered(j["ratio"], distance, j["factors"][str(c)], 0.0).mean() for c in COVERAGES},
                "covered_growing": {str(c): covered(j["ratio"], distance, j["factors"][str(c)], powers[target]).mean() for c in COVERAGES},
            }  # fmt: skip
        found[kind] = entry
    return found


def run_domain(names: Sequence[str] = tuple(RECIPES), results: str | Path | None = None, weights: str | Path | None = None,
               data_dir: str | Path | None = None, cache_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Run the benchmark, write `data/results/domain.json`, and the shipped networks' `trust.reach.Reach` beside the weights.

    The power with which intervals grow is fitted, for the figures of a fold, on all other folds; what ships is fitted on all.
    """
    started = time.monotonic()
    task = load_task(RECIPES[names[-1]], data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    invariants, truth = pooled_invariants(task.of(FEATURES)).astype(float), truth_of(task)
    kept, found, powers = folds(task, invariants, cache_dir), [], {}
    for name in names:
        judged, rows, commits = [], [], set()
        for fold in tqdm(kept, unit="fold", desc=name, disable=not progress):
            answer = answers(task, fold, RECIPES[name], cache_dir, progress)
            judged.append(judge_fold(answer, truth, reach_of(task, answer["train"], invariants), invariants))
            rows.append(answer["test"])
            commits.add(str(answer["commit"]))
        kinds = {}
        for i, fold in enumerate(kept):
            others = [j for k, j in enumerate(judged) if k != i]
            kinds |= kind_scores(fold, judged[i], rows[i], {t: smallest_power(others, t) for t in TARGETS})
        powers[name] = {t: smallest_power(judged, t) for t in TARGETS}
        found.append({"labels": name, "recipe": asdict(RECIPES[name]), "kinds": kinds, "growth": powers[name],
                      "records": dict(Counter(file_of(task, i) for i in rows_of_labels(task, RECIPES[name].labels))), "trained_at": sorted(commits)})
    record = {"variants": found, "command": "dtnet results domain", "data_sha256": task.checksum,
              "shipped": _ship(task, invariants, powers[names[0]], weights), "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(results or RESULTS / "domain.json", plain(record))
    return record


def _ship(task: Task, invariants: np.ndarray, growth: Mapping[str, float], weights: str | Path | None) -> dict:
    """Points of what the shipped networks learned from; typical distance and limit are those of their validation crystals."""
    folder, split = Path(weights or WEIGHTS), task.split(SHIPPED_SEED)
    train = np.intersect1d(split["train"], rows_of_labels(task, SMALL.labels))
    reach = reach_of(task, train, invariants)
    away = {part: reach.nearest(reach.place(invariants[split[part]]))[0] for part in ("val", "test")}
    reach = replace(reach, limit=float(np.quantile(away["val"], LIMIT)), typical=float(np.median(away["val"])))
    reach.save(folder / KNOWN)
    covered_by = {p.parent.name: _recalibrate(p, task, split, reach, away, growth) for p in sorted(folder.glob("*/calibration.json")) if "networks" not in read_json(p)}
    return {"n": len(train), "limit": reach.limit, "typical": reach.typical, "test_in_domain": float((away["test"] <= reach.limit).mean()),
            "n_test": len(split["test"]), "growth": dict(growth), "covered": covered_by}  # fmt: skip


def _recalibrate(path: Path, task: Task, split: Mapping, reach: Reach, away: Mapping, growth: Mapping[str, float]) -> dict:
    """Make a variant's intervals grow, and narrow their factors so that the shipped networks' validation crystals are covered as before.

    The factors of `training.ship`, from many splits, stay in the file as "flat". Returned is the coverage of the test crystals.
    """
    about, found = read_json(path), {}
    for target in TARGETS:
        mine = about["targets"][target]
        mine.setdefault("flat", {str(c): mine[str(c)] for c in COVERAGES})
        ensemble, ratio = load_ensemble(target, path.parent.name, path.parent.parent), {}
        ensemble.reach, ensemble.calibration = None, {"base": mine["base"], **dict.fromkeys(mine["flat"], 1.0)}
        for part in ("val", "test"):
            said = ensemble.predict([task.records[i].structure for i in split[part]], progress=False)
            true = scalar_constant(np.stack([task.records[i].tensor(target) for i in split[part]]))
            ratio[part] = np.abs(scalar_constant(said.tensors) - true) / said.std
        wider = {part: reach.wider(away[part], growth[target]) for part in ratio}
        for c in mine["flat"]:
            mine[c] = mine["flat"][c] * narrowed(ratio["val"], wider["val"], float(c))
        mine["growth"] = growth[target]
        found[target] = {c: {"flat": float((ratio["test"] <= mine["flat"][c]).mean()), "growing": float((ratio["test"] <= mine[c] * wider["test"]).mean())} for c in mine["flat"]}
    write_json(path, about)
    return found
