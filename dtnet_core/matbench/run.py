"""Matbench's refractive index: official folds, learners stacked inside each training fold, comparison on the same rows.

The headline rule is "no outside labels": whatever predicts a fold's test rows has seen the labels of that fold's training
rows and no others. Potentials were pretrained on energies and forces. Who wants to add labels from elsewhere must pass them
through `without_test_labels` first, and name the number differently.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ..base.files import write_atomic
from ..base.paths import default_cache_dir, sources
from ..data.descriptors import describe, describe_composition
from ..layers import pooled
from ..training.recipes import RECIPES as ENCODERS
from . import model as matbench_model
from .composition import predict_uncovered
from .model import Inputs, Network, Shallow, convex_weights, load_inputs
from .perceptron import Perceptron
from .scores import aligned, evaluate
from .task import Task

INNER_SHARE = 0.1
"""Of a training fold, drawn by seed: chooses epochs and weighs the learners."""
_CODE = {Network: ("features", "layers", "links", "readout", "training.fit", "training.loop", "training.losses", "training.sets"), Shallow: (), Perceptron: ("matbench.perceptron",)}
Learner = Network | Shallow | Perceptron
FURTHER = ("nequix-omat-1:0-4", "nequix-oam-1:0-4")
"""Encoders for networks only; kernels, trees and perceptrons see those of the networks that ship."""
NETWORKS = {f"network-{part.split(':')[0]}-log": Network("direct", features=part) for part in (*ENCODERS["best"].features.split("+"), *FURTHER)}
KERNELS = {
    f"kernel-{quantity}-{share}-{gamma}-{c}": Shallow("kernel", 512, share, {"gamma": gamma, "C": c}, quantity)
    for quantity in ("log", "n") for share in (0.03, 0.3) for gamma in (0.03, 0.1, 0.3) for c in (1.0, 10.0)
}  # fmt: skip
LEARNERS: dict[str, Learner] = {
    "network-direct-log": Network("direct", "log"),
    "network-sqrt-log": Network("sqrt", "log"),
    "network-direct-absolute": Network("direct", "absolute"),
    "network-sqrt-absolute": Network("sqrt", "absolute"),
    **NETWORKS,
    **{name.replace("-log", "-absolute"): replace(network, loss="absolute") for name, network in NETWORKS.items()},
    "extra-trees": Shallow("extra-trees"),
    "boosting": Shallow("boosting"),
    "extra-trees-n": Shallow("extra-trees", quantity="n"),
    "boosting-n": Shallow("boosting", quantity="n"),
    **KERNELS,
    "perceptron": Perceptron(),
    "perceptron-no-dropout": Perceptron(dropout=0.0),
}
"""By name: n itself or the root of the mean eigenvalue, errors of log n or of n; one encoder only; and learners on descriptors and
pooled features, some of which learn log n and some n."""
POOL = (*NETWORKS, *KERNELS, "extra-trees", "boosting", "extra-trees-n", "boosting-n", "perceptron")
"""What a stack is chosen from. Kernels go in steps of about a factor of three around the scale of the columns, whose squared norm is one:
written down, not found by trials. Which of them a fold uses, its own inner validation rows choose (`mixture`)."""


def pool_of(features: str, further: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the learners of `POOL` that need no other encoders than these, and those of networks on `further` ones."""
    found = {name: getattr(LEARNERS[name], "features", None) for name in POOL}
    return tuple(name for name, part in found.items() if part is None or part in (*features.split("+"), *further))


def read_by(learner: Learner, features: str) -> str:
    """Encoders and layers that a learner is given: all of the settings, or its own where these lack it."""
    own = getattr(learner, "features", None)
    return features if own is None or own in features.split("+") else own


@dataclass(frozen=True)
class Settings:
    """What predicts: encoders and layers (see `encoder.parse_features`), and learners by name."""

    features: str = ENCODERS["default"].features
    learners: Mapping[str, Learner] = field(default_factory=lambda: {name: LEARNERS[name] for name in pool_of(ENCODERS["default"].features)})


@dataclass(frozen=True)
class Held:
    """Predictions [v] and [t] of one learner, fold and seed, for its inner validation rows and the fold's test rows; `before`: made by an earlier run."""

    validation: np.ndarray
    test: np.ndarray
    wall_s: float
    before: bool = False


def inner_split(train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and, `INNER_SHARE` of them, to validate on; drawn by seed from a training fold."""
    drawn = np.random.default_rng(seed).permutation(train)
    held = max(1, round(INNER_SHARE * len(train)))
    return np.sort(drawn[held:]), np.sort(drawn[:held])


def predict_fold(task: Task, inputs: Callable[[], Inputs], features: str, learner: Learner, fold: int, seed: int,
                 cache_dir: str | os.PathLike | None = None, progress: bool = True) -> Held:  # fmt: skip
    """Predictions of one learner trained inside a fold; read from the cache when they were made before.

    Parameters
    ----------
    task, features, learner, fold, seed
        Together with the code that makes them they name the stored predictions.
    inputs : callable
        Gives the `Inputs` of the covered rows; called only when something must be computed.
    """
    train, test = task.split(fold)
    fit, validation = inner_split(train, seed)
    digest = _digest(learner, features, task.sha256, fold, seed, train, test)
    path = Path(cache_dir or default_cache_dir()) / "matbench" / f"{task.source}-fold{fold}-seed{seed}-{digest}.npz"
    if (stored := _read_held(path, len(validation), len(test))) is not None:
        return stored
    labels = np.full(len(task.n), np.nan)
    labels[train] = task.n[train]  # no learner can see a label of the test rows
    seen = inputs()
    started = time.monotonic()
    predicted = learner.predict(seen, labels, fit, validation, np.concatenate([validation, test]), seed, progress)
    if not np.isfinite(predicted).all():
        raise FloatingPointError(f"{learner}: fold {fold}, seed {seed}: {np.sum(~np.isfinite(predicted))} predictions are not finite")
    held = Held(predicted[: len(validation)], predicted[len(validation) :], time.monotonic() - started)
    with io.BytesIO() as buffer:
        np.savez(buffer, validation=held.validation, test=held.test, wall_s=held.wall_s)
        write_atomic(path, buffer.getvalue())
    return held


def _digest(learner: Learner, *facts) -> str:
    code = sources(*_CODE[type(learner)])
    m = matbench_model
    shallow = (m.design_matrix, m.Inputs.compressed, m._standardized, m._unit_norm, m._estimator, describe, describe_composition, pooled)
    own = (type(learner), inner_split, m._within, *((m.train_network,) if isinstance(learner, Network) else shallow))
    facts = [f.tobytes() if isinstance(f, np.ndarray) else f for f in facts]
    return hashlib.sha256(repr((learner, facts, code, [inspect.getsource(o) for o in own])).encode()).hexdigest()[:20]


def _read_held(path: Path, n_validation: int, n_test: int) -> Held | None:
    try:
        with np.load(path) as file:
            held = Held(file["validation"], file["test"], float(file["wall_s"]), before=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # a broken zip raises many kinds
        warnings.warn(f"{path}: not readable ({error}); its predictions are computed anew.", stacklevel=3)
        return None
    return held if held.validation.shape == (n_validation,) and held.test.shape == (n_test,) else None


def run(task: Task, settings: Settings | None = None, seeds: Sequence[int] = (0, 1, 2), folds: Sequence[int] = range(5),
        cache_dir: str | os.PathLike | None = None, progress: bool = True) -> tuple[pd.DataFrame, dict]:  # fmt: skip
    """Train, stack and test; what was done before comes from the cache, killed runs go on.

    In each fold the learners are chosen and mixed by their errors on the inner validation rows of all seeds (each predicted by
    learners that were not fitted on them), see `mixture`, and the seeds' mixtures are averaged likewise. Rows without a structure are
    predicted from their composition (`composition.predict_uncovered`).

    Parameters
    ----------
    task : Task
    settings : Settings, optional
    seeds, folds : sequence of int
    cache_dir : path, optional
    progress : bool

    Returns
    -------
    predictions : pandas.DataFrame
        Columns mbid, fold, prediction: the test rows of these folds.
    summary : dict
        `evaluate` of them; `with_structure`: `mean_mae`, `std_mae` and `rows` of those that have one, and of these alone: `weights`
        [folds, learners] and `mixed` ("log" or "n" by fold, see `mixture`); by learner `learners` (mean MAE of the seeds' mean, and
        of single seeds); `mae_by_seed` of the mixture. `wall_s`: sum of all training and predicting, now or earlier.
    """
    settings = settings or Settings()
    loaded: dict[str, Inputs] = {}

    def inputs(features: str) -> Inputs:
        if features not in loaded:
            loaded[features] = load_inputs([row.structure for row in task.covered], features, cache_dir, progress)
        return loaded[features]

    work = [(f, s, name) for f in folds for s in seeds for name in settings.learners]
    held = {}
    for f, s, name in tqdm(work, unit="model", desc=f"matbench {task.source}", disable=not progress):
        reads = read_by(settings.learners[name], settings.features)
        held[f, s, name] = predict_fold(task, partial(inputs, reads), reads, settings.learners[name], f, s, cache_dir, progress=False)
    if progress and (earlier := sum(h.before for h in held.values())):
        tqdm.write(f"{earlier} of {len(held)} models not trained now: their predictions are from {Path(cache_dir or default_cache_dir()) / 'matbench'}", file=sys.stderr)
    names, ids = list(settings.learners), [row.mbid for row in task.covered]
    frames, mixtures, single = [], {}, []
    for f in folds:
        train, test = task.split(f)
        truth = np.concatenate([task.n[inner_split(train, s)[1]] for s in seeds])  # [m]
        validation = np.stack([np.concatenate([held[f, s, name].validation for s in seeds]) for name in names])  # [L, m]
        mix = mixtures[f] = mixture(validation, truth)
        each = np.array([[held[f, s, name].test for name in names] for s in seeds])  # [S, L, t]
        mixed = np.stack([mix.of(one) for one in each])  # [S, t]
        error = lambda x, truth=task.n[test]: np.abs(x - truth).mean(-1)  # noqa: E731
        single.append({"mixture": error(mixed), "mean": error(each.mean(0)), "seeds": error(each).mean(0)})
        found = dict(zip([ids[i] for i in test], mix.mean(mixed), strict=True)) | predict_uncovered(task, f, seeds)
        frames.append(pd.DataFrame({"mbid": list(found), "fold": f, "prediction": list(found.values())}))
    predictions = pd.concat(frames, ignore_index=True).sort_values("mbid", ignore_index=True)
    over_folds = {key: np.mean([s[key] for s in single], 0) for key in single[0]}
    inside = predictions[predictions.mbid.isin(ids)]
    summary = evaluate(*aligned(predictions, task)) | {
        "with_structure": {k: v for k, v in evaluate(*aligned(inside, task)).items() if k in ("mean_mae", "std_mae")} | {"rows": len(inside)},
        "mae_by_seed": over_folds["mixture"].tolist(),
        "learners": {
            name: {"mean_mae": float(over_folds["mean"][i]), "mean_mae_one_seed": float(over_folds["seeds"][i])} for i, name in enumerate(names)
        },
        "weights": {str(f): dict(zip(names, mix.weights.tolist(), strict=True)) for f, mix in mixtures.items()},
        "mixed": {str(f): mix.quantity for f, mix in mixtures.items()},
        "wall_s": round(sum(h.wall_s for h in held.values()), 1),
    }
    return predictions, summary


@dataclass(frozen=True)
class Mixture:
    """Learners mixed with `weights` [L], in log n or in n."""

    quantity: str
    weights: np.ndarray

    def of(self, predictions: np.ndarray) -> np.ndarray:
        """The mixture [m] of predictions [L, m]."""
        return np.exp(self.weights @ np.log(predictions)) if self.quantity == "log" else self.weights @ predictions

    def mean(self, predictions: np.ndarray) -> np.ndarray:
        """The mean [m] of predictions [S, m] in the same quantity."""
        return np.exp(np.log(predictions).mean(0)) if self.quantity == "log" else predictions.mean(0)


def mixture(predictions: np.ndarray, truth: np.ndarray) -> Mixture:
    """What a fold makes of its learners, by rows that none of them was fitted on.

    The weights of least mean absolute error, none negative, for log n and for n; most learners get none. The quantity whose mixture has the
    smaller mean absolute error of n is taken.

    Parameters
    ----------
    predictions : np.ndarray, [L, m]
    truth : np.ndarray, [m]
    """
    found = [Mixture(quantity, convex_weights(scale(predictions), scale(truth))) for quantity, scale in (("log", np.log), ("n", np.asarray))]
    return min(found, key=lambda mix: np.abs(mix.of(predictions) - truth).mean())
