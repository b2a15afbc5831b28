"""What is stored of a run of the benchmark: settings, scores, predictions, and the command that repeats it."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from ..base.files import write_atomic
from ..base.results import plain, provenance
from .model import Network
from .run import LEARNERS, Learner, Settings, read_by
from .scores import compare, where_errors_are
from .task import Task


def settings_of(features: str, learners: Sequence[str], epochs: int | None = None) -> Settings:
    """Settings with learners of these names; `epochs` replaces the length of the networks' schedule."""
    return Settings(features, {name: _with_epochs(LEARNERS[name], epochs) for name in learners})


def _with_epochs(learner: Learner, epochs: int | None) -> Learner:
    if epochs is None or not isinstance(learner, Network):
        return learner
    return replace(learner, train=replace(learner.train, max_epochs=epochs, patience=epochs))


def command(profile: str, features: str, further: Sequence[str] | None, learners: Sequence[str] | None, epochs: int | None, seeds: Sequence[int], folds: Sequence[int]) -> str:
    """The command line that repeats a run, without names of folders."""
    words = ["dtnet matbench", "--profile", profile, "--features", features]
    words += ["--further", *further] if further else []
    words += [*(["--learners", *learners] if learners else []), *(["--epochs", str(epochs)] if epochs else [])]
    return " ".join([*words, "--seeds", *map(str, seeds), "--folds", *map(str, folds)])


def full_record(task: Task, settings: Settings, seeds: Sequence[int], predictions: pd.DataFrame, summary: Mapping,
                published: pd.DataFrame | None, command: str) -> dict:  # fmt: skip
    """What `data/results/matbench.json` holds: model, coverage, scores, comparison, and where the numbers come from."""
    encoders = dict.fromkeys([settings.features, *(read_by(learner, settings.features) for learner in settings.learners.values())])
    model = f"stack chosen in each fold from {len(settings.learners)} learners; {'+'.join(encoders)}"
    return plain(
        {"model": model, "outside_labels": "none", "coverage": task.coverage()}
        | dict(summary)
        | where_errors_are(predictions, task)
        | compare(predictions, task, published)
        | {"seeds": list(seeds), "features": settings.features, "settings": {k: repr(v) for k, v in settings.learners.items()},
           "data_sha256": task.sha256, "command": command, **provenance()}
    )  # fmt: skip


def summary_lines(record: Mapping) -> list[str]:
    """The scores of a record for people: each fold, the mean, and the published models on the same rows."""
    lines = [f"fold {fold['fold']}: MAE {fold['mae']:.4f}, RMSE {fold['rmse']:.3f}, {fold['n']} rows" for fold in record["folds"]]
    lines.append(f"mean MAE {record['mean_mae']:.4f} ± {record['std_mae']:.4f}, median {record['median_ae']:.4f}, n < 4: {record['mae_n_lt_4']:.4f}")
    for model, found in (record["paired"] or {}).items():
        lines.append(f"against {model}: {found['difference']:+.4f}, 95% interval {found['interval'][0]:+.4f} to {found['interval'][1]:+.4f}")
    return lines


def write_predictions(path: str | os.PathLike, predictions: pd.DataFrame) -> None:
    """Write mbid, fold, prediction as gzip-compressed CSV, atomically, and byte for byte the same for the same table."""
    text = predictions[["mbid", "fold", "prediction"]].to_csv(index=False, float_format="%.6f", lineterminator="\n")
    write_atomic(path, gzip.compress(text.encode(), compresslevel=9, mtime=0))
