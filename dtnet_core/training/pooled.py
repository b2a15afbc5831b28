"""The tests of several splits together, beside the simplest guess."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..crystals.record import Record
from ..data.splits import draw_split
from ..metrics import scalar_constant
from ..potentials.store import compute_features
from .experiment import Experiment, load_run
from .fit import predict
from .sets import build_set


def pooled_test(experiment: Experiment, seeds: Sequence[int], records: Sequence[Record],
                cache_dir: str | Path | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Tensors of the test crystals of all splits: computed ones, those of the trained networks, and a constant.

    Parameters
    ----------
    experiment : Experiment
        That has run for these seeds.
    seeds : sequence of int
    records : sequence of Record
        The cleaned records of its profile.

    Returns
    -------
    reference, predicted, constant : arrays [B, 3, 3]
        The constant is the isotropic tensor with the median constant of each split's training crystals.
    """
    data = build_set(compute_features(experiment.features, [r.structure for r in records], cache_dir=cache_dir), records, experiment.target)
    reference, predicted, constant = [], [], []
    for seed in seeds:
        split = draw_split(records, seed)
        truth, train = (np.array([records[i].tensor(experiment.target) for i in split[part]]) for part in ("test", "train"))
        reference.append(truth)
        predicted.append(predict(load_run(experiment, seed, cache_dir), data, split["test"]))
        constant.append(np.median(scalar_constant(train)) * np.broadcast_to(np.eye(3), truth.shape))
    return np.concatenate(reference), np.concatenate(predicted), np.concatenate(constant)
