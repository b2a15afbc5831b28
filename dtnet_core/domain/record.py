"""The stored record of the benchmark of reach, and what ships from it: the training crystals as points, a limit, growing intervals."""

from __future__ import annotations

import shlex
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
from ..trust import guess
from ..trust.doubts import FILE, Chance, Doubts, fit_chance, fit_tail
from ..trust.reach import FEATURES, growth
from .benchmark import (
    BEST_MODES,
    SHIPS,
    TAILS,
    VARIANTS,
    Fold,
    answers,
    file_of,
    folds,
    folds_of,
    mending_of,
    rows_of_labels,
)
from .intervals import covered, judge_fold, reach_of, smallest_power, truth_of

LIMIT = 0.98
"""Share of validation crystals of a random split that are called in the domain."""


def kind_scores(fold: Fold, alone: Mapping, leaning: Mapping, rows: np.ndarray, powers: Mapping[str, Mapping[str, float]], limit: float, chances: Mapping[str, Chance]) -> dict[str, dict]:
    """Kind -> scores over its tested crystals, of the networks alone and of answers that lean on the guess; `powers` and `chances` were fitted without this fold."""
    found = {}
    for kind, of_kind in fold.kinds.items():
        mine = of_kind[rows]
        distance = leaning["distance"][mine]
        entry: dict = {"n": int(mine.sum()), "distance": float(np.median(distance)), "marked": float((distance > limit).mean())}
        for target in TARGETS:
            before, after = ({k: v[mine] if isinstance(v, np.ndarray) else v for k, v in judged[target].items()} for judged in (alone, leaning))
            entry[target] = _errors(before) | {
                "auroc_distance": _auroc(before["off"], distance),
                "covered": {str(c): covered(before["ratio"], distance, before["factors"][str(c)], 0.0).mean() for c in COVERAGES},
                "covered_growing": {str(c): covered(before["ratio"], distance, before["factors"][str(c)], powers["networks"][target]).mean() for c in COVERAGES},
            }  # fmt: skip
            power, marked = powers["leaning"][target], distance > limit
            inside = {str(c): covered(after["ratio"], distance, after["factors"][str(c)], power) for c in COVERAGES}
            wide, held = wide_of(after, distance, after["factors"], power), inside[str(COVERAGES[-1])]
            chance, extreme = chances[target].of(after["constant"], wide), after["tail"].reached(after["tensors"], wide).any(1)
            entry[target]["leaning"] = _errors(after) | {
                "bias": np.median(after["bias"]), "auroc": _auroc(after["off"], chance), "auroc_width": _auroc(after["off"], wide / after["constant"]), "chance": chance.mean(),
                "covered": {c: within.mean() for c, within in inside.items()}, "covered_or_marked": (held | marked).mean(), "extreme": extreme.mean(),
                "covered_or_told": (held | marked | extreme).mean(), "missed_at_bound": (after["at_bound"] & ~held).mean(),
                "sparsification": sparsification(after["error"], wide).mean() / after["error"].mean(),
            }  # fmt: skip
        found[kind] = entry
    return found


def wide_of(judged: Mapping, distance: np.ndarray, factors: Mapping, power: float) -> np.ndarray:
    """[b]: half widths of the 90 % intervals of one target of `intervals.judge_fold`."""
    return factors[str(COVERAGES[-1])] * judged["spread"] * growth(distance, power)


def fit_chances(judged: Sequence[Mapping], vals: Sequence[np.ndarray], powers: Mapping[str, float], without: np.ndarray) -> dict[str, Chance]:
    """By target: `Chance` fitted to the validation crystals (`vals`, positions) of all folds together, but for those at the positions `without`."""
    kept, found = [~np.isin(rows, without) for rows in vals], {}
    for target in TARGETS:
        parts = [(j[target]["val"], wide_of(j[target]["val"], j["val_distance"], j[target]["factors"], powers[target]), mine) for j, mine in zip(judged, kept, strict=True)]
        found[target] = fit_chance(*(np.concatenate(x) for x in zip(*((val["constant"][mine], wide[mine], val["off"][mine]) for val, wide, mine in parts), strict=True)))
    return found


def pooled_auroc(judged: Sequence[Mapping], powers: Sequence[Mapping[str, float]], chances: Sequence[Mapping[str, Chance]]) -> dict[str, dict[str, float | None]]:
    """By target: does the chance, or the relative width of the interval, tell the answers that are off by more than 25 % from the others, among the tested crystals of all folds?"""
    found = {}
    for target in TARGETS:
        wide, (off, constant) = half_widths(judged, powers, target), (np.concatenate([j[target][key] for j in judged]) for key in ("off", "constant"))
        ends = np.cumsum([len(j["distance"]) for j in judged])[:-1]
        chance = [c[target].of(*one) for c, *one in zip(chances, np.split(constant, ends), np.split(wide, ends), strict=True)]
        found[target] = {"chance": _auroc(off, np.concatenate(chance)), "width": _auroc(off, wide / constant)}
    return found


def half_widths(judged: Sequence[Mapping], powers: Sequence[Mapping[str, float]], target: str) -> np.ndarray:
    """[b]: of the 90 % intervals of all tested crystals of all folds."""
    return np.concatenate([wide_of(j[target], j["distance"], j[target]["factors"], p[target]) for j, p in zip(judged, powers, strict=True)])


def _errors(judged: Mapping[str, np.ndarray]) -> dict[str, float]:
    error = judged["error"]
    return {"mae_ten": error.mean(), "median": np.median(error), "worst_percentile": np.quantile(error, 0.99), "off_by_25": judged["off"].mean(), "at_bound": judged["at_bound"].mean()}


def _auroc(off: np.ndarray, doubt: np.ndarray) -> float | None:
    return roc_auc_score(off, doubt) if 0 < off.sum() < len(off) else None


KEPT = np.linspace(1, 0.05, 20)
"""Shares of the crystals of which sparsification keeps the least doubtful."""


def sparsification(error: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Mean error [b] of the crystals that are left when the most doubtful are taken away, for each of `KEPT`."""
    ordered = error[np.argsort(doubt, kind="stable")]
    return np.array([ordered[: max(1, round(share * len(ordered)))].mean() for share in KEPT])


def curves(judged: Sequence[Mapping], powers: Sequence[Mapping[str, float]]) -> dict[str, dict[str, np.ndarray]]:
    """By target: `sparsification` of all tested crystals of all folds by the width of the interval, by the distance, and by the error itself."""
    found = {}
    for target in TARGETS:
        error = np.concatenate([j[target]["error"] for j in judged])
        distance = np.concatenate([j["distance"] for j in judged])
        wide = half_widths(judged, powers, target)
        found[target] = {"kept": KEPT} | {name: sparsification(error, doubt) for name, doubt in (("interval", wide), ("distance", distance), ("error", error))}
    return found


def judge_variant(name: str, task: Task, every: Sequence[Fold], invariants: np.ndarray, truth: np.ndarray, cache_dir: str | Path | None = None, progress: bool = True) -> dict:
    """What the answers of one of `benchmark.VARIANTS` are worth for the folds that they answer for. Powers of the distance and chances are fitted, for the figures of a fold, without it."""
    started, variant = time.monotonic(), VARIANTS[name]
    kept = folds_of(variant, every)
    judged: dict[str, list] = {"networks": [], "leaning": []}
    rows, vals, commits, limits = [], [], set(), []
    for fold in tqdm(kept, unit="fold", desc=name, disable=not progress):
        answer = answers(task, fold, variant, cache_dir, progress)
        mending = mending_of(task, answer["train"], cache_dir, progress) if variant.modes else None
        reach = reach_of(task, answer["train"], invariants)
        judged["leaning"].append(judge_fold(answer, truth, reach, invariants, mending))
        judged["networks"].append(judge_fold(answer, truth, replace(reach, guess=None), invariants, mending))
        near = reach.nearest(reach.place(invariants[answer["val"]]))[0]
        limits.append(float(np.quantile(near, LIMIT) / np.median(near)))
        rows.append(answer["test"])
        vals.append(answer["val"])
        commits.add(str(answer["commit"]))
    names = [fold.name for fold in kept]
    without = [{way: powers_of(js, names, i) for way, js in judged.items()} for i in range(len(kept))]
    chances = [fit_chances(judged["leaning"], vals, without[i]["leaning"], rows[i]) for i in range(len(kept))]
    kinds = {}
    for i, fold in enumerate(kept):
        kinds |= kind_scores(fold, judged["networks"][i], judged["leaning"][i], rows[i], without[i], limits[i], chances[i])
    powers = {way: powers_of(js, names) for way, js in judged.items()}
    return {"labels": name, "recipe": asdict(variant.recipe), "kinds": kinds, "growth": powers["networks"], "growth_leaning": powers["leaning"],
            "curves": curves(judged["leaning"], [w["leaning"] for w in without]), "auroc": pooled_auroc(judged["leaning"], [w["leaning"] for w in without], chances),
            "chances": {t: c._asdict() for t, c in fit_chances(judged["leaning"], vals, powers["leaning"], np.zeros(0, dtype=int)).items()},
            "records": dict(Counter(file_of(task, i) for i in rows_of_labels(task, variant.recipe.labels))), "trained_at": sorted(commits), "wall_s": round(time.monotonic() - started, 1)}  # fmt: skip


def powers_of(judged: Sequence[Mapping], names: Sequence[str], but: int | None = None) -> dict[str, float]:
    """By target: the power of the distance with which intervals grow, fitted on all folds but one and `benchmark.TAILS`.

    Crystals of these are out of the ordinary by their labels and as near as any, so a power that were to hold them would only widen the intervals of others.
    """
    return {t: smallest_power([j for i, (j, name) in enumerate(zip(judged, names, strict=True)) if i != but and name != TAILS], t) for t in TARGETS}


def run_domain(names: Sequence[str] = tuple(VARIANTS), ship: bool = True, results: str | Path | None = None, weights: str | Path | None = None,
               data_dir: str | Path | None = None, cache_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Run the benchmark, write `data/results/domain.json`, and the shipped networks' `trust.reach.Reach` beside the weights.

    Variants of `benchmark.VARIANTS` that are not among `names` stay in the file as they are. What ships grows its intervals with a power fitted on the
    folds of `benchmark.SHIPS`, which is run, too; without `ship` nothing that ships is touched.
    """
    started, path = time.monotonic(), Path(results or RESULTS / "domain.json")
    before = read_json(path) if path.is_file() else {"variants": []}
    chosen = list(dict.fromkeys((SHIPS, *names) if ship else names))
    members = tuple(dict.fromkeys(m for name in chosen for m in VARIANTS[name].recipe.members))
    task = load_task(replace(VARIANTS[SHIPS].recipe, members=members), data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    invariants, truth = pooled_invariants(task.of(FEATURES)).astype(float), truth_of(task)
    every, found = folds(task, invariants, cache_dir), {v["labels"]: v for v in before["variants"]}
    for name in chosen:
        found[name] = judge_variant(name, task, every, invariants, truth, cache_dir, progress)
        if not ship:
            command = f"dtnet results domain --no-ship {' '.join(f'--labels {shlex.quote(n)}' for n in chosen)}"
            found[name] |= {"command": command, "data_sha256": task.checksum, **provenance()}
    record = before | {"variants": [found[name] for name in VARIANTS if name in found]}
    if ship:
        record |= {"command": "dtnet results domain", "data_sha256": task.checksum, "guess": guess.settings(),
                   "shipped": _ship(task, invariants, truth, found, weights), "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(path, plain(record))
    return record


def _ship(task: Task, invariants: np.ndarray, truth: np.ndarray, variants: Mapping[str, Mapping], weights: str | Path | None) -> dict:
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
