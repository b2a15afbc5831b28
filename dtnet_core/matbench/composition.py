"""Rows whose structure nobody could find: their refractive index from the composition alone.

A leaderboard's record must have every row. These few are predicted by trees on numbers that describe a composition, trained on all
labelled rows of the fold, with or without a structure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Composition

from ..data.descriptors import describe_composition
from .model import Shallow, _estimator, _within
from .task import Row, Task

TREES = Shallow("extra-trees")


def predict_uncovered(task: Task, fold: int, seeds: Sequence[int]) -> dict[str, float]:
    """Refractive indices, by id, of a fold's test rows without a structure: the mean over the seeds of log n.

    Only labels of the fold's training rows are used.
    """
    wanted = task.uncovered(task.folds[fold].test)
    if not wanted:
        return {}
    inside = set(task.folds[fold].train)
    rows = [row for row in task.rows if row.mbid in inside]
    x, n = _describe(rows), np.array([row.n for row in rows])
    logs = [_estimator(TREES.kind, seed, TREES.options).fit(x, np.log(n)).predict(_describe(wanted)) for seed in seeds]
    return dict(zip([row.mbid for row in wanted], _within(np.exp(np.mean(logs, 0)), n).tolist(), strict=True))


def _describe(rows: Sequence[Row]) -> np.ndarray:
    """[B, D]; a value that no table has is a zero, which trees can tell apart."""
    return np.nan_to_num(np.stack([describe_composition(Composition(row.formula)) for row in rows]))
