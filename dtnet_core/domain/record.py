"""The stored record of the benchmark of reach."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..base.files import read_json
from ..base.paths import RESULTS
from ..base.results import plain, provenance, write_json
from ..training.joint import Task, load_task
from ..training.sets import pooled_invariants
from ..trust import guess
from ..trust.reach import FEATURES
from .benchmark import SHIPS, VARIANTS, Fold, answers, file_of, folds, folds_of, mending_of, rows_of_labels
from .intervals import judge_fold, reach_of, truth_of
from .scores import curves, fit_chances, kind_scores, pooled_auroc, powers_of
from .shipping import LIMIT, ship_reach


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
                   "shipped": ship_reach(task, invariants, truth, found, weights), "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(path, plain(record))
    return record
