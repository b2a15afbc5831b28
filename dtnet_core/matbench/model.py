"""Learners of the refractive index, and how they are stacked.

Two kinds. `Network`: a DTNet on equivariant features whose electronic tensor gives n, trained on n itself. `Shallow`: trees or a
kernel machine on numbers that describe composition and cell (matminer) and on the potential's features, pooled over atoms
and compressed. Every learner gets the labels of its training fold only: all others are NaN in the array it is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from ..crystals.record import Record
from ..data.descriptors import compute_descriptors
from ..features import to_mandel
from ..potentials.store import compute_features
from ..readout import DTNet, DTNetConfig
from ..training.fit import TrainConfig, fit
from ..training.joint import channels_of, select_parts
from ..training.recipes import OPTIONS, TRAIN
from ..training.sets import CrystalSet, build_set, pooled_invariants

_CHUNK = 1000
"""Crystals whose features are in memory unpacked at a time."""


@dataclass(frozen=True)
class Inputs:
    """What learners see of B crystals.

    Attributes
    ----------
    crystals : CrystalSet
        Equivariant features, without targets.
    pooled : np.ndarray, [B, 2 Cs + Cv + Ct]
        See `training.sets.pooled_invariants`.
    descriptors : np.ndarray, [B, D]
        See `describe`.
    parts : mapping of str to three slices
        Where each encoder's channels are in `crystals`; see `joint.channels_of`.
    """

    crystals: CrystalSet
    pooled: np.ndarray
    descriptors: np.ndarray
    parts: Mapping[str, tuple[slice, slice, slice]] = field(default_factory=dict)
    _compressed: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def compressed(self, train: np.ndarray, components: int) -> np.ndarray:
        """Principal components [B, k] of the pooled features, by the training rows; those asked for last are kept, for many learners share them."""
        key = (train.tobytes(), components)
        if key not in self._compressed:
            from sklearn.decomposition import PCA

            pooled = _standardized(self.pooled.astype(float), train)
            self._compressed.clear()
            self._compressed[key] = PCA(components, svd_solver="randomized", random_state=0).fit(pooled[train]).transform(pooled)
        return self._compressed[key]


def load_inputs(structures: Sequence[Structure], features: str, cache_dir: str | Path | None = None,
                progress: bool = True) -> Inputs:  # fmt: skip
    """Encode and describe crystals, through the stores on disk; `features` as for `encoder.parse_features`."""
    sets = []
    for first in range(0, len(structures), _CHUNK):
        chunk = list(structures[first : first + _CHUNK])
        records = [Record(str(i), s, s.composition.reduced_formula) for i, s in enumerate(chunk)]
        sets.append(build_set(compute_features(features, chunk, False, cache_dir, progress), records, cache_dir=cache_dir))
    crystals = join_sets(sets)
    parts = channels_of(features, structures[0], cache_dir)
    return Inputs(crystals, pooled_invariants(crystals), compute_descriptors(structures, cache_dir, progress), parts)


def join_sets(sets: Sequence[CrystalSet]) -> CrystalSet:
    """Sets without bonds, targets and functionals as one, in order."""
    joined = {k: torch.cat([getattr(s, k) for s in sets]) for k in ("scalars", "vectors", "tensors", "weights", "projectors")}
    counts = torch.cat([s.start.diff() for s in sets])
    return CrystalSet(**joined, start=torch.cat([counts.new_zeros(1), counts.cumsum(0)]))


@dataclass(frozen=True)
class Network:
    """A DTNet that predicts n.

    Attributes
    ----------
    quantity : {"sqrt", "direct"}
        n is the root of the mean eigenvalue of the predicted tensor (then the electronic one), or that mean itself.
    loss : {"log", "absolute"}
        Mean of |log n_pred - log n|, or of |n_pred - n|. Both are least at the conditional median; the first weighs
        relative errors.
    train : TrainConfig
    options : dict
        Arguments of `readout.DTNetConfig` other than its channels and outputs.
    features : str, optional
        Some of the encoders of the `Inputs`; None: all of them.
    """

    quantity: str = "sqrt"
    loss: str = "log"
    train: TrainConfig = field(default_factory=lambda: replace(TRAIN, weights=()))
    options: dict = field(default_factory=lambda: {k: v for k, v in OPTIONS.items() if k != "link"})
    features: str | None = None

    def __post_init__(self):
        if self.quantity not in ("sqrt", "direct") or self.loss not in ("log", "absolute"):
            raise ValueError(f"quantity is {self.quantity!r}, loss {self.loss!r}; choose sqrt or direct, log or absolute")

    def predict(self, inputs: Inputs, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, wanted: np.ndarray,
                seed: int, progress: bool = True) -> np.ndarray:  # fmt: skip
        """Refractive index [w] of the crystals `wanted`, within the range of the training labels; see `train_network`."""
        crystals = inputs.crystals if self.features is None else select_parts(inputs.crystals, inputs.parts, self.features)
        network = train_network(self, crystals, labels, train, validation, seed, progress)
        with torch.inference_mode():
            found = [self.index(network.forward_mandel(crystals.batch(rows))) for rows in torch.split(torch.as_tensor(wanted), 256)]
        return _within(torch.cat(found).double().numpy(), labels[train])

    def index(self, tensors: Tensor) -> Tensor:
        """n [b] of tensors [b, 1, 6] in Mandel's notation."""
        mean = tensors[:, 0, :3].mean(-1)
        return mean.sqrt() if self.quantity == "sqrt" else mean

    def error(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """The loss of n [b] against n [b]."""
        return (predicted.log() - truth.log() if self.loss == "log" else predicted - truth).abs().mean()


def train_network(spec: Network, crystals: CrystalSet, labels: np.ndarray, train: np.ndarray, validation: np.ndarray,
                  seed: int, progress: bool = True) -> DTNet:  # fmt: skip
    """`training.fit` with a loss on n.

    Parameters
    ----------
    spec : Network
    crystals : CrystalSet
    labels : np.ndarray, [B]
        Refractive indices; NaN where they may not be seen.
    train, validation : np.ndarray of int
        Positions; validation crystals choose the epoch.
    seed : int

    Raises
    ------
    ValueError
        When a label of `train` or `validation` is NaN or below 1, or the two overlap.
    FloatingPointError
        When the loss is no longer finite.
    """
    _check_labels(labels, train, validation)
    truth = torch.as_tensor(labels).to(crystals.scalars)  # [B]
    isotropic = to_mandel(torch.eye(3).to(truth))
    data = replace(crystals, targets=(truth**2 if spec.quantity == "sqrt" else truth)[:, None, None] * isotropic)  # [B, 1, 6]
    shape = DTNetConfig(crystals.channels, outputs=1, link="softplus", **spec.options)
    loss = lambda predicted, target: spec.error(spec.index(predicted), spec.index(target))  # noqa: E731
    return fit(data, train, validation, seed, shape, spec.train, progress=progress, loss=loss).model


def _within(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Nobody predicts beyond what was seen: a crystal unlike all others may come out anywhere."""
    return np.clip(predicted, labels.min(), labels.max())


def _check_labels(labels: np.ndarray, train: np.ndarray, validation: np.ndarray) -> None:
    shared = np.intersect1d(train, validation)
    if len(shared):
        raise ValueError(f"{len(shared)} crystals are in both training and validation, the first is number {shared[0]}")
    for name, rows in (("training", train), ("validation", validation)):
        bad = rows[~(labels[rows] >= 1)]
        if len(rows) == 0 or len(bad):
            what = f"label {labels[bad[0]]} of crystal {bad[0]}" if len(bad) else "no crystals"
            raise ValueError(f"{name}: {what}; each needs at least one crystal, and a refractive index of 1 or more")


@dataclass(frozen=True)
class Shallow:
    """Trees or a kernel machine for log n or n, on descriptors and compressed pooled features.

    Attributes
    ----------
    kind : {"extra-trees", "boosting", "kernel"}
        Extremely randomised trees; histogram gradient boosting of the absolute error; support vector regression.
    components : int
        Principal components of the pooled features; 0: descriptors only.
    share : float
        Weight of the descriptors' squared distance beside that of the features (trees do not mind).
    options : dict
        Further arguments of the scikit-learn estimator.
    quantity : {"log", "n"}
        What it learns: relative errors count alike, or absolute ones do, so that large indices count for more.
    """

    kind: str = "boosting"
    components: int = 64
    share: float = 0.03
    options: dict = field(default_factory=dict)
    quantity: str = "log"

    def __post_init__(self):
        if self.quantity not in ("log", "n"):
            raise ValueError(f"quantity is {self.quantity!r}; choose log or n")

    def predict(self, inputs: Inputs, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, wanted: np.ndarray,
                seed: int, progress: bool = True) -> np.ndarray:  # fmt: skip
        """Refractive index [w] of the crystals `wanted`, within the range of the training labels; no other labels [B] are used."""
        _check_labels(labels, train, validation)
        x = design_matrix(inputs, train, self.components, self.share)
        there, back = (np.log, np.exp) if self.quantity == "log" else (np.asarray, np.asarray)
        estimator = _estimator(self.kind, seed, self.options).fit(x[train], there(labels[train]))
        return _within(back(estimator.predict(x[wanted])), labels[train])


def _estimator(kind: str, seed: int, options: dict):
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
    from sklearn.svm import SVR

    if kind == "extra-trees":
        return ExtraTreesRegressor(**{"n_estimators": 400, "max_features": 0.3, "random_state": seed} | options)
    if kind == "boosting":
        defaults = {"loss": "absolute_error", "max_iter": 600, "learning_rate": 0.05, "min_samples_leaf": 10, "max_features": 0.3,
                    "early_stopping": False, "random_state": seed}  # fmt: skip
        return HistGradientBoostingRegressor(**defaults | options)
    if kind == "kernel":
        return SVR(**{"C": 3.0, "epsilon": 0.01, "gamma": 0.1} | options)
    raise ValueError(f"kind is {kind!r}; choose extra-trees, boosting or kernel")


def design_matrix(inputs: Inputs, train: np.ndarray, components: int, share: float) -> np.ndarray:
    """Columns for `Shallow`, [B, D + k]: descriptors, then principal components of the pooled features.

    Each column is first taken in units of its spread and clipped at 5; then the components have a mean squared norm
    of one and the descriptors of `share`, so that kernels mostly compare what the potential knows. Medians for gaps, means,
    spreads and components come from the training rows alone; k is `components` or what the rows allow.
    """
    x = np.where(np.isfinite(inputs.descriptors), inputs.descriptors, np.nan)
    medians = np.nan_to_num(_nanmedian(x[train]))
    described = _unit_norm(_standardized(np.where(np.isnan(x), medians, x), train), train)
    k = min(components, len(train) - 1, inputs.pooled.shape[1])
    if k < 1:
        return described
    return np.concatenate([share**0.5 * described, _unit_norm(inputs.compressed(train, k), train)], 1)


def _unit_norm(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Rows in units of the root of their mean squared norm over the training rows."""
    return x / np.sqrt(max((x[train] ** 2).sum(1).mean(), 1e-12))


def _nanmedian(x: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        return np.nanmedian(x, 0)


def _standardized(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    spread = x[train].std(0)
    return np.clip((x - x[train].mean(0)) / np.where(spread > 1e-8, spread, 1), -5, 5)


def convex_weights(predictions: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights [L] of least mean absolute error of the mixture, none negative, summing to one: a linear programme.

    Parameters
    ----------
    predictions : np.ndarray, [L, m]
        Of L learners, for rows none of them was fitted on.
    truth : np.ndarray, [m]
    """
    learners, m = predictions.shape
    if learners == 1:
        return np.ones(1)
    cost = np.concatenate([np.zeros(learners), np.full(m, 1 / m)])  # weights, then the error of each row
    rows, eye = sparse.csr_matrix(predictions.T), sparse.identity(m)
    bounds = sparse.vstack([sparse.hstack([rows, -eye]), sparse.hstack([-rows, -eye])])
    total = sparse.csr_matrix(np.concatenate([np.ones(learners), np.zeros(m)])[None])
    solved = linprog(cost, bounds, np.concatenate([truth, -truth]), total, [1.0], method="highs")
    if not solved.success:
        raise RuntimeError(f"no weights found for {learners} learners and {m} rows: {solved.message}")
    weights = np.clip(solved.x[:learners], 0, None)
    return weights / weights.sum()
