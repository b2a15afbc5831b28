"""References that keep everyone honest: a median, a forest on descriptors, linear maps of pooled features.

Each is prepared once for a list of records, then fitted to some of them and asked for others: `fit(labels, train, validation,
seed)` with dielectric tensors [B, 3, 3] of all records and positions in them, `predict(rows)` -> [b, 3, 3]. What there is to
choose is chosen on the validation crystals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from ..crystals.record import Record
from ..crystals.structures import crystal_systems
from ..data.descriptors import compute_descriptors
from ..features import from_mandel, to_mandel
from ..metrics import mae_ten, scalar_constant
from ..potentials.store import compute_features

POOLED = "7net-0:0-5"
"""Features that the ridge regression pools; what DTNet-simple reads in its standard form."""
TREES = 300
PENALTIES = np.logspace(-2, 5, 15)


class Reference(Protocol):
    """What a reference does; `inputs` are its values of "encoder" and "layer" in a results file."""

    inputs: tuple[str | None, str | None]
    settings: dict

    def fit(self, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, seed: int) -> None: ...
    def predict(self, rows: np.ndarray) -> np.ndarray: ...


class SystemMedian:
    """The median scalar constant of the training crystals of the same crystal system, as an isotropic tensor."""

    inputs = (None, None)

    def __init__(self, records: Sequence[Record], cache_dir: str | Path | None = None, progress: bool = True):
        self.systems = np.array(crystal_systems([r.structure for r in records]))
        self.settings: dict = {}

    def fit(self, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, seed: int) -> None:
        """Medians of the training crystals; the one of all where a system has none."""
        scalars = scalar_constant(labels[train])
        self.all = float(np.median(scalars))
        self.medians = {s: float(np.median(scalars[self.systems[train] == s])) for s in set(self.systems[train])}

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """[b, 3, 3]"""
        return _isotropic(np.array([self.medians.get(s, self.all) for s in self.systems[rows]]))


class Forest:
    """A random forest on matminer's descriptors for the scalar constant, as an isotropic tensor."""

    inputs = ("matminer", None)

    def __init__(self, records: Sequence[Record], cache_dir: str | Path | None = None, progress: bool = True):
        self.columns = compute_descriptors([r.structure for r in records], cache_dir, progress)
        self.settings = {"trees": TREES, "max_features": 1 / 3}

    def fit(self, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, seed: int) -> None:
        """Of the logarithm, so that a few huge constants do not decide."""
        self.model = RandomForestRegressor(TREES, max_features=1 / 3, random_state=seed, n_jobs=1)
        self.model.fit(self.columns[train], _log(scalar_constant(labels[train])))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """[b, 3, 3]"""
        return _isotropic(np.expm1(self.model.predict(self.columns[rows])))


class PooledRidge:
    """Linear maps of features averaged over atoms: scalars to the scalar constant, rank-2 features to the traceless part.

    The second map has one weight a channel and no constant, so the tensor turns with the crystal.
    """

    inputs = tuple(POOLED.split(":"))

    def __init__(self, records: Sequence[Record], cache_dir: str | Path | None = None, progress: bool = True):
        found = compute_features(POOLED, [r.structure for r in records], False, cache_dir, progress)
        self.scalars = np.stack([f.scalars.double().mean(0).numpy() for f in found])  # [B, Cs]
        self.tensors = _traceless(np.stack([f.tensors.double().mean(0).numpy() for f in found]))  # [B, Ct, 3, 3]
        self.settings: dict = {}

    def fit(self, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, seed: int) -> None:
        """The scalar map is of the logarithm; both penalties are those with the lowest validation error."""
        scaler = StandardScaler().fit(self.scalars[train])
        inputs, wanted = scaler.transform(self.scalars), scalar_constant(labels[train])
        ends = wanted.min(), wanted.max()
        truth = scalar_constant(labels)

        def scalar_map(penalty: float) -> tuple[float, np.ndarray]:
            model = Ridge(penalty).fit(inputs[train], _log(wanted))
            found = np.expm1(model.predict(inputs)).clip(*ends)
            return float(np.abs(found - truth)[validation].mean()), found

        self.constants = self._best("scalar_penalty", scalar_map)
        size = np.sqrt(np.square(self.tensors[train]).mean((0, 2, 3)))  # [Ct]
        channels = _six(self.tensors) / np.where(size > 0, size, 1)[None, :, None]  # [B, Ct, 6]
        traceless, base = _six(_traceless(labels)), _isotropic(self.constants)

        def tensor_map(penalty: float) -> tuple[float, np.ndarray]:
            model = Ridge(penalty, fit_intercept=False)
            model.fit(channels[train].transpose(0, 2, 1).reshape(-1, len(size)), traceless[train].reshape(-1))
            found = base + from_mandel(torch.from_numpy(np.einsum("bci,c->bi", channels, model.coef_))).numpy()
            return mae_ten(labels[validation], found[validation]), found

        self.found = self._best("tensor_penalty", tensor_map)

    def _best(self, name: str, solve) -> np.ndarray:
        results = [solve(penalty) for penalty in PENALTIES]
        best = int(np.argmin([error for error, _ in results]))
        self.settings[name] = float(PENALTIES[best])
        return results[best][1]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """[b, 3, 3]"""
        return self.found[rows]


REFERENCES: dict[str, type] = {"median": SystemMedian, "forest": Forest, "ridge": PooledRidge}
"""Name -> what makes it from records, a cache folder and whether to show progress."""


def _isotropic(scalars: np.ndarray) -> np.ndarray:
    """[b] -> [b, 3, 3]"""
    return scalars[:, None, None] * np.eye(3)


def _traceless(tensors: np.ndarray) -> np.ndarray:
    """[..., 3, 3] without their isotropic part."""
    return tensors - np.trace(tensors, axis1=-2, axis2=-1)[..., None, None] / 3 * np.eye(3)


def _six(tensors: np.ndarray) -> np.ndarray:
    """[..., 3, 3] -> Mandel's notation [..., 6]."""
    return to_mandel(torch.from_numpy(np.ascontiguousarray(tensors))).numpy()


def _log(scalars: np.ndarray) -> np.ndarray:
    """log(1 + x); the few negative constants, which are artefacts, count as zero."""
    return np.log1p(np.maximum(scalars, 0))
