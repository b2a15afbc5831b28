"""Command line: ``python -m dtnet_core.matbench --help``. Trains, tests, and writes predictions and scores to `data/results`."""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..base.files import write_atomic
from ..base.results import plain, provenance, write_json
from ..training.joint import RECIPES as ENCODERS
from .model import Network
from .run import DEFAULT_LEARNERS, LEARNERS, Learner, Settings, run
from .scores import PUBLISHED_DIR_VARIABLE, compare, load_published, official_record, where_errors_are
from .task import Task, load_task


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what was not trained before; print and write the scores."""
    parser = argparse.ArgumentParser("python -m dtnet_core.matbench", description="Predict Matbench's refractive index; what was trained before is not trained again.")
    parser.add_argument("--profile", default="full", choices=("mini", "full"))
    parser.add_argument("--features", default=ENCODERS["default"].features, help="encoders and layers, as 7net-0:0-5+7net-l3i5:0-5")
    parser.add_argument("--learners", nargs="+", default=list(DEFAULT_LEARNERS), choices=tuple(LEARNERS), metavar="NAME",
                        help=f"any of {', '.join(LEARNERS)}")  # fmt: skip
    parser.add_argument("--epochs", type=int, help="of the networks' cosine schedule (default 30)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(5)), help="results are written when all five are asked for")
    parser.add_argument("--published", help=f"folder of published predictions (default: {PUBLISHED_DIR_VARIABLE})")
    parser.add_argument("--results", default="data/results", help="folder for matbench.json and matbench_predictions.csv.gz")
    parser.add_argument("--official", help="write the leaderboard's record to this file, too; refused when coverage is incomplete")
    o = parser.parse_args(arguments)
    task = load_task(o.profile)
    published = load_published(task, o.published)
    learners = {name: _with_epochs(LEARNERS[name], o.epochs) for name in o.learners}
    settings = Settings(o.features, learners)
    predictions, summary = run(task, settings, o.seeds, o.folds)
    record = full_record(task, settings, o.seeds, predictions, summary, published, _command(o))
    for fold in record["folds"]:
        print(f"fold {fold['fold']}: MAE {fold['mae']:.4f}, RMSE {fold['rmse']:.3f}, {fold['n']} rows")
    print(f"mean MAE {record['mean_mae']:.4f} ± {record['std_mae']:.4f}, median {record['median_ae']:.4f}, n < 4: {record['mae_n_lt_4']:.4f}")
    for model, found in (record["paired"] or {}).items():
        print(f"against {model}: {found['difference']:+.4f}, 95% interval {found['interval'][0]:+.4f} to {found['interval'][1]:+.4f}")
    if sorted(o.folds) == list(range(len(task.folds))):
        suffix = "" if o.profile == "full" else f"_{o.profile}"
        write_predictions(Path(o.results) / f"matbench{suffix}_predictions.csv.gz", predictions)
        write_json(Path(o.results) / f"matbench{suffix}.json", record)
    if o.official:
        values = dict(zip(predictions.mbid, predictions.prediction, strict=True))
        write_atomic(o.official, json.dumps(official_record(values, task, {"model": record["model"]})))


def full_record(task: Task, settings: Settings, seeds: Sequence[int], predictions: pd.DataFrame, summary: Mapping,
                published: pd.DataFrame | None, command: str) -> dict:  # fmt: skip
    """What `data/results/matbench.json` holds: model, coverage, scores, comparison, and where the numbers come from."""
    model = f"stack of {', '.join(settings.learners)}; {settings.features}"
    return plain(
        {"model": model, "outside_labels": "none", "coverage": task.coverage()}
        | dict(summary)
        | where_errors_are(predictions, task)
        | compare(predictions, task, published)
        | {"seeds": list(seeds), "features": settings.features, "settings": {k: repr(v) for k, v in settings.learners.items()},
           "data_sha256": task.sha256, "command": command, **provenance()}
    )  # fmt: skip


def _with_epochs(learner: Learner, epochs: int | None) -> Learner:
    if epochs is None or not isinstance(learner, Network):
        return learner
    return replace(learner, train=replace(learner.train, max_epochs=epochs, patience=epochs))


def _command(o: argparse.Namespace) -> str:
    """The command line that repeats a run, without names of folders."""
    words = ["python -m dtnet_core.matbench", "--profile", o.profile, "--features", o.features, "--learners", *o.learners]
    words += ["--epochs", str(o.epochs)] if o.epochs else []
    return " ".join([*words, "--seeds", *map(str, o.seeds), "--folds", *map(str, o.folds)])


def write_predictions(path: str | os.PathLike, predictions: pd.DataFrame) -> None:
    """Write mbid, fold, prediction as gzip-compressed CSV, atomically, and byte for byte the same for the same table."""
    text = predictions[["mbid", "fold", "prediction"]].to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_atomic(path, gzip.compress(text.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
