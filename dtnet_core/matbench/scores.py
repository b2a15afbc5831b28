"""Scores of predicted refractive indices: Matbench's own, where the errors are, comparison with published predictions, official record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from ..base.results import plain
from .task import NAME, Task

PUBLISHED_DIR_VARIABLE = "DTNET_PUBLISHED_DIR"
RIVALS = ("DTNet", "MODNet@MatterVial")
"""Columns of the published predictions that the paired bootstrap compares with."""
N_EDGES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, np.inf)
"""Ranges of n in which errors are told apart."""


def aligned(predictions: pd.DataFrame, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, true values and folds [m] of a table with columns mbid, fold, prediction.

    Raises
    ------
    ValueError
        For a duplicated or unknown row, or one that the fold does not test.
    """
    truth = {row.mbid: row.n for row in task.rows}
    tests = {i: k for k, fold in enumerate(task.folds) for i in fold.test}
    if (twice := predictions.mbid[predictions.mbid.duplicated()]).size:
        raise ValueError(f"predictions hold row {twice.iloc[0]} twice")
    for mbid, fold in zip(predictions.mbid, predictions.fold, strict=True):
        if tests.get(mbid) != fold:
            raise ValueError(f"predictions hold row {mbid} in fold {fold}, which tests it in fold {tests.get(mbid)}")
    return predictions.prediction.to_numpy(float), predictions.mbid.map(truth).to_numpy(float), predictions.fold.to_numpy(int)


def evaluate(predicted: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> dict:
    """Matbench's scores, and those of typical rows.

    Parameters
    ----------
    predicted, truth : np.ndarray, [m]
        Refractive indices, dimensionless.
    fold : np.ndarray, [m]
        Fold that tests each row.

    Returns
    -------
    dict
        `folds`: for each {fold, mae, rmse, max, n}; `mean_mae`, `std_mae` (over folds, as Matbench: divided by their number),
        `mean_rmse`; over all rows `median_ae`, and `mae_n_lt_4` where n < 4 (NaN without such rows).
    """
    error = np.abs(np.asarray(predicted) - truth)
    folds = [
        {"fold": int(k), "mae": float(e.mean()), "rmse": float(np.sqrt((e**2).mean())), "max": float(e.max()), "n": len(e)}
        for k in np.unique(fold)
        if len(e := error[fold == k])
    ]
    mae, common = np.array([f["mae"] for f in folds]), np.asarray(truth) < 4
    return {
        "folds": folds,
        "mean_mae": float(mae.mean()),
        "std_mae": float(mae.std()),
        "mean_rmse": float(np.mean([f["rmse"] for f in folds])),
        "median_ae": float(np.median(error)),
        "mae_n_lt_4": float(error[common].mean()) if common.any() else float("nan"),
    }


def errors_by_n(predicted: np.ndarray, truth: np.ndarray) -> list[dict]:
    """Ranges of n: `low`, `high`, number of `rows`, their `mae`, and the `share` they add to the MAE of all rows; all [m]."""
    error, truth = np.abs(np.asarray(predicted) - truth), np.asarray(truth)
    inside = {(low, high): error[(truth >= low) & (truth < high)] for low, high in pairwise(N_EDGES)}
    return [
        {"low": low, "high": high, "rows": len(e), "mae": float(e.mean()), "share": float(e.sum() / len(error))}
        for (low, high), e in inside.items()
        if len(e)
    ]


def where_errors_are(predictions: pd.DataFrame, task: Task) -> dict:
    """`by_n` (see `errors_by_n`), `by_tier`, the rows with n = 1 exactly (a failed calculation), and the ten worst rows.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Columns mbid, fold, prediction.
    """
    predicted, truth, _ = aligned(predictions, task)
    rows, error = {row.mbid: row for row in task.rows}, np.abs(predicted - truth)
    group = lambda inside: {"rows": int(inside.sum()), "mae": float(error[inside].mean()) if inside.any() else None}  # noqa: E731
    tier = predictions.mbid.map(lambda i: rows[i].tier).to_numpy()
    worst = np.argsort(-error, kind="stable")[:10]
    return {
        "by_n": errors_by_n(predicted, truth),
        "by_tier": {name: group(tier == name) for name in sorted(set(tier))},
        "n_is_one": group(truth == 1),
        "worst": [
            {"mbid": row.mbid, "formula": row.formula, "tier": row.tier, "n": row.n, "prediction": float(predicted[i])}
            for i in worst
            if (row := rows[predictions.mbid.iloc[i]])
        ],
    }


def paired_bootstrap(a: np.ndarray, b: np.ndarray, truth: np.ndarray, n: int = 10_000, seed: int = 0,
                     fold: np.ndarray | None = None) -> dict:  # fmt: skip
    """Mean of |a - truth| - |b - truth| over rows (negative: a is better) and its 95% percentile interval.

    Parameters
    ----------
    a, b, truth : np.ndarray, [m]
    n : int
        Resamples of the rows, drawn with replacement.
    seed : int
    fold : np.ndarray, [m], optional
        Then `by_fold`, too: the same for the rows of each fold.

    Returns
    -------
    dict
        `difference`, `interval` [low, high], `rows`.
    """
    difference = np.abs(np.asarray(a) - truth) - np.abs(np.asarray(b) - truth)
    rng, m = np.random.default_rng(seed), len(difference)
    means = np.concatenate([difference[rng.integers(0, m, (len(part), m))].mean(1) for part in np.array_split(np.arange(n), max(1, n // 200))])
    found = {"difference": float(difference.mean()), "interval": np.percentile(means, [2.5, 97.5]).tolist(), "rows": m}
    if fold is not None:
        found["by_fold"] = {str(k): paired_bootstrap(*(x[fold == k] for x in (np.asarray(a), np.asarray(b), truth)), n, seed) for k in np.unique(fold)}
    return found


def load_published(task: Task, folder: str | os.PathLike | None = None) -> pd.DataFrame | None:
    """Published predictions of the task's rows, one column a model, indexed by mbid; None without a folder.

    Parameters
    ----------
    task : Task
    folder : path, optional
        With ``matbench_dielectric_predictions.csv.gz`` (mbid, fold, n, then models); default `PUBLISHED_DIR_VARIABLE`.

    Raises
    ------
    FileNotFoundError
    ValueError
        When the file's rows, true values or folds are not the task's.
    """
    folder = folder or os.environ.get(PUBLISHED_DIR_VARIABLE)
    if not folder or task.source == "mini":
        return None
    table = pd.read_csv(Path(folder).expanduser() / f"{NAME}_predictions.csv.gz")
    ids = [row.mbid for row in task.rows]
    if missing := sorted(set(ids) - set(table.mbid)):
        raise ValueError(f"{folder}: {len(missing)} rows have no published prediction, the first is {missing[0]}")
    ours = table[table.mbid.isin(ids)]
    _, truth, _ = aligned(ours.rename(columns={"n": "prediction"}), task)
    if len(wrong := ours.mbid[np.abs(ours.n - truth) > 1e-4]):
        raise ValueError(f"{folder}: {len(wrong)} true values differ from the task's, the first is {wrong.iloc[0]}")
    return ours.set_index("mbid").drop(columns=["n"])


def compare(predictions: pd.DataFrame, task: Task, published: pd.DataFrame | None) -> dict:
    """`paired` (bootstrap against `RIVALS`) and `published` (scores of all models), on the rows of `predictions`; null without any."""
    if published is None:
        return {"paired": None, "published": None}
    ours, truth, fold = aligned(predictions, task)
    theirs = published.loc[predictions.mbid].drop(columns="fold")
    keys = ("mean_mae", "std_mae", "mean_rmse", "median_ae", "mae_n_lt_4")
    scores = {model: {k: evaluate(theirs[model].to_numpy(), truth, fold)[k] for k in keys} for model in theirs}
    for model in scores:
        scores[model]["by_n"] = errors_by_n(theirs[model].to_numpy(), truth)
    paired = {model: paired_bootstrap(ours, theirs[model].to_numpy(), truth, fold=fold) for model in RIVALS if model in theirs}
    return {"paired": paired, "published": scores}


def official_record(predictions: Mapping[str, float], task: Task, parameters: Mapping | None = None) -> dict:
    """The record of the leaderboard, made and validated by the `matbench` package, offline.

    Rows without a structure count like all others: their prediction comes from the composition, and the metadata say how many they are.

    Parameters
    ----------
    predictions : mapping
        mbid to refractive index, for all rows.
    task : Task
    parameters : mapping, optional
        Plain values that describe the model, kept with each fold.

    Returns
    -------
    dict
        To be written as JSON.

    Raises
    ------
    ValueError
        When a row of the benchmark has no prediction, or one that is not finite: such a record is not official.
    """
    coverage = task.coverage()
    lacking = [row.mbid for row in task.rows if not np.isfinite(predictions.get(row.mbid, np.nan))]
    if lacking or task.source == "mini":
        raise ValueError(
            f"an official record needs a prediction for each row of {NAME}: {len(lacking)} of {coverage['rows']} lack one "
            f"(the first: {lacking[0] if lacking else '-'}; source: {task.source}); "
            f"`python -c \"from matbench.data_ops import load; load('{NAME}')\"` downloads the official dataset"
        )
    from matbench.bench import MatbenchBenchmark

    benchmark = MatbenchBenchmark(autoload=False, subset=[NAME])
    official = benchmark.tasks_map[NAME]
    official.df = pd.DataFrame({"structure": [r.structure for r in task.rows], "n": [r.n for r in task.rows]}, index=[r.mbid for r in task.rows])
    parameters = dict(parameters or {}) | {"rows_without_structure": coverage["rows"] - coverage["with_structure"]}
    for fold in official.folds:
        test = official.validation[official.folds_map[fold]].test
        official.record(fold, [float(predictions[i]) for i in test], params=plain(parameters))
    official.validate()
    benchmark.add_metadata({"source": task.source, "data_sha256": task.sha256})
    return benchmark.as_dict()
