"""What a sum over modes leaves open, learned: a support vector machine on a crystal's features and the numbers of its modes.

The sum over modes errs where charges or soft modes do, and how much is a matter of the kind of crystal. The machine learns the logarithm of the
ratio between the true ionic constant and the sum, from pooled features of the potential and `modes.PolarModes.numbers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.arrays import read_arrays, write_arrays
from ..base.kernel import fit_projection, gaussian, project
from ..metrics import log_of
from .modes import DAMPINGS

COMPONENTS = 64
"""Principal components of the pooled features."""
DAMPING = 0.3
"""In eV/angstrom^2, of the sum whose ratio to the truth is learned and that gives the tensor its shape."""
MACHINE = {"C": 5.0, "epsilon": 0.05, "gamma": 0.05}


@dataclass(frozen=True)
class Companion:
    """A fitted machine; `fit_companion` makes one, `load_companion` reads one.

    Attributes
    ----------
    center, scale : np.ndarray, [D]
    components : np.ndarray, [D, P]
        From pooled features to principal components, in units of the first one's deviation.
    number_mean, number_scale : np.ndarray, [7]
        Of `modes.PolarModes.numbers`.
    vectors : np.ndarray, [S, P + 7]
        Support vectors.
    weights : np.ndarray, [S]
    intercept : float
    """

    center: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    number_mean: np.ndarray
    number_scale: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray
    intercept: float

    def log_constant(self, pooled: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Logarithm of the ionic constant [B] of crystals with pooled features [B, D] (`trust.reach.invariants_of`) and numbers of modes [B, 7]."""
        x = self.inputs(pooled, numbers)
        return gaussian(x, self.vectors, MACHINE["gamma"]) @ self.weights + self.intercept + numbers[:, DAMPINGS.index(DAMPING)]

    def inputs(self, pooled: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """[B, P + 7]."""
        points = project(pooled, self.center, self.scale, self.components)
        return np.concatenate([points, (numbers - self.number_mean) / self.number_scale], 1)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file in single precision."""
        write_arrays(path, "companion", {k: getattr(self, k) for k in _ARRAYS}, {"intercept": self.intercept})


_ARRAYS = ("center", "scale", "components", "number_mean", "number_scale", "vectors", "weights")


def load_companion(path: str | Path) -> Companion:
    """Read what `Companion.save` wrote; see `base.arrays.read_arrays`."""
    arrays, about = read_arrays(path, "companion", _ARRAYS)
    return Companion(**arrays, **about)


def fit_companion(pooled: np.ndarray, numbers: np.ndarray, constants: np.ndarray) -> Companion:
    """Fit the machine to crystals with pooled features [n, D], numbers of modes [n, 7] and known ionic constants [n]."""
    from sklearn.svm import SVR

    center, scale, axes = fit_projection(pooled, COMPONENTS)
    components = axes / project(pooled, center, scale, axes)[:, 0].std(ddof=1)
    empty = Companion(center, scale, components, numbers.mean(0), np.maximum(numbers.std(0), 1e-6), np.zeros((0, 0)), np.zeros(0), 0.0)
    machine = SVR(**MACHINE, cache_size=500).fit(empty.inputs(pooled, numbers), log_of(constants) - numbers[:, DAMPINGS.index(DAMPING)])
    return Companion(center, scale, components, empty.number_mean, empty.number_scale, machine.support_vectors_, machine.dual_coef_[0], float(machine.intercept_[0]))
