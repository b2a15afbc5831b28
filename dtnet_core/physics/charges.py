"""Born effective charges of every atom from a potential's features: a Gaussian process whose kernel turns with the crystal.

The isotropic part of a charge is a function of invariants q of the atom; the symmetric traceless part is a combination of the atom's own
tensor channels t_c whose factors are such functions::

    Z = z(q) 1 + sum_c g_c(q) t_c,    z(q) = sum_j k(q, q_j) a_j,    g_c(q) = sum_j k(q, q_j) a_jc

k is Matern's kernel (nu = 5/2). The a_jc come from the process with covariance k(q_i, q_j) t_i . t_j, so Z is exactly equivariant. The
small antisymmetric part that sites of low symmetry may have is left out. The mean over the atoms is taken off: charges of a cell sum to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve

from ..base.arrays import read_arrays, write_arrays
from ..base.kernel import project, scaled, squared_distances, units
from ..features import Features, from_mandel, to_mandel

COMPONENTS = 256
CHANNELS = 64
NOISE = {"isotropic": 3e-4, "tensor": 1e-2}
"""Variances added to the diagonals of the two covariances, whose own diagonals are about 1."""
_SMALL = 1e-3  # of the median size of the tensors of an atom: symmetry lets it have none
_TRACELESS = np.linalg.svd(np.eye(6) - np.outer([1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]) / 3)[0][:, :5]  # Mandel's notation


@dataclass(frozen=True)
class ChargeModel:
    """A fitted process; `fit_charges` makes one, `load_charges` reads one.

    Attributes
    ----------
    features : str
        Encoder and layers, as of `encoder.parse_features`.
    center, scale : np.ndarray, [D]
    components : np.ndarray, [D, P]
        From invariants of an atom to the space in which the kernel measures distances.
    mix : np.ndarray, [Ct, C]
        Tensor channels that are used, as mixtures of the features'.
    points : np.ndarray, [n, P]
    isotropic : np.ndarray, [n]
    tensor : np.ndarray, [n, C]
    mean, length : float
        Mean isotropic charge; length of the kernel.
    spread : float
        Half width in e of the interval of 68 % for an atom unlike all others; see `ChargeModel.predict`.
    """

    features: str
    center: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    mix: np.ndarray
    points: np.ndarray
    isotropic: np.ndarray
    tensor: np.ndarray
    mean: float
    length: float
    spread: float = 1.0

    def predict(self, features: Sequence[Features]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Charges [N, 3, 3] in e of each crystal, and the half width [N] of the interval for the mean diagonal element of each atom.

        The interval holds 68 % of atoms; it grows as the kernel's largest value between the atom and those that the model
        was fitted to falls.
        """
        return [self._one(f) for f in features]

    def _one(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        kernel = matern(self.place(invariants(features)), self.points, self.length)  # [N, n]
        channels = tensor_channels(features) @ self.mix  # [N, 6, C]
        six = np.einsum("npc,nc->np", channels, kernel @ self.tensor)
        charges = from_mandel(torch.from_numpy(six)).numpy() + (kernel @ self.isotropic + self.mean)[:, None, None] * np.eye(3)
        return charges - charges.mean(0), self.spread * doubt(kernel)

    def place(self, invariant: np.ndarray) -> np.ndarray:
        """Points [N, P] of atoms with these invariants [N, D]."""
        return project(invariant, self.center, self.scale, self.components)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; points in half precision, in which they were fitted."""
        about = {"features": self.features, "mean": self.mean, "length": self.length, "spread": self.spread}
        write_arrays(path, "charges", {k: getattr(self, k) for k in _ARRAYS}, about, half=("points",))


_ARRAYS = ("center", "scale", "components", "mix", "points", "isotropic", "tensor")


def load_charges(path: str | Path) -> ChargeModel:
    """Read what `ChargeModel.save` wrote; see `base.arrays.read_arrays`."""
    arrays, about = read_arrays(path, "charges", _ARRAYS)
    return ChargeModel(**arrays, **about)


def doubt(kernel: np.ndarray) -> np.ndarray:
    """[N]: from 0.1 (an atom just like one of those fitted) to 1 (unlike all), by the kernel's values [N, n]."""
    return np.sqrt(1 - 0.99 * kernel.max(1).clip(0, 1) ** 2)


def invariants(features: Features) -> np.ndarray:
    """[N, Cs + Cv + Ct]: scalars and norms of each atom."""
    parts = (features.scalars, features.vectors.norm(dim=-1), features.tensors.flatten(2).norm(dim=-1))
    return torch.cat(parts, -1).double().numpy()


def tensor_channels(features: Features) -> np.ndarray:
    """[N, 6, Ct]: in Mandel's notation."""
    return to_mandel(features.tensors.double()).transpose(1, 2).numpy()


def matern(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Matern's kernel with nu = 5/2 (Rasmussen and Williams 2006, Eq. 4.17) between points [n, P] and [m, P]: [n, m]."""
    r = np.sqrt(5 * squared_distances(a, b)) / length
    return (1 + r + r**2 / 3) * np.exp(-r)


def fit_charges(features: str, crystals: Sequence[Features], charges: Sequence[np.ndarray], representatives: Sequence[np.ndarray],
                spread: float = 1.0) -> ChargeModel:  # fmt: skip
    """Fit the process to crystals with known charges.

    Parameters
    ----------
    features : str
        What `crystals` were encoded with.
    crystals : sequence of Features
        One each.
    charges : sequence of np.ndarray, [N, 3, 3]
    representatives : sequence of np.ndarray, [N] int
        For each atom, an equivalent one (`crystals.symmetry.orbits`): one of each orbit is fitted.
    spread : float
        See `ChargeModel`; `training.born` finds it on crystals that were not fitted.
    """
    kept = [np.unique(r) for r in representatives]
    invariant = np.concatenate([invariants(f)[k] for f, k in zip(crystals, kept, strict=True)])
    channels = np.concatenate([tensor_channels(f)[k] for f, k in zip(crystals, kept, strict=True)])  # [n, 6, Ct]
    known = np.concatenate([np.asarray(z, float)[k] for z, k in zip(charges, kept, strict=True)])  # [n, 3, 3]
    center, scale = units(invariant)
    inner = scaled(invariant, center, scale)
    components = _principal(inner.T @ inner, COMPONENTS)
    points = (inner @ components).astype(np.float16).astype(float)
    some = points[:: max(1, len(points) // 500)]
    length = float(np.median(np.sqrt(np.square(some[:, None] - some).sum(-1))))
    kernel = matern(points, points, length)
    values = np.trace(known, axis1=1, axis2=2) / 3
    isotropic = _solve(kernel, values - values.mean(), NOISE["isotropic"])
    mix = _tensor_mix(channels)
    six = to_mandel(torch.from_numpy((known + known.transpose(0, 2, 1)) / 2 - values[:, None, None] * np.eye(3))).numpy()
    return ChargeModel(features, center, scale, components, mix, points, isotropic, _fit_tensors(kernel, channels @ mix, six), float(values.mean()), length, spread)


def _principal(covariance: np.ndarray, number: int) -> np.ndarray:
    """[D, number]: eigenvectors of the largest eigenvalues."""
    return np.linalg.eigh(covariance)[1][:, ::-1][:, :number]


def _tensor_mix(channels: np.ndarray) -> np.ndarray:
    """[Ct, C]: principal mixtures of tensor channels [n, 6, Ct], each channel in units of its size, of unit size together."""
    size = np.sqrt(np.square(channels).mean((0, 1)))
    inverse = np.where(size > 1e-8, 1 / np.maximum(size, 1e-8), 0.0)
    flat = (channels * inverse).reshape(-1, channels.shape[-1])
    mix = _principal(flat.T @ flat, CHANNELS)
    return inverse[:, None] * mix / np.sqrt(np.square(flat @ mix).sum() / len(flat) * 6 / 5)


def _solve(matrix: np.ndarray, values: np.ndarray, noise: float) -> np.ndarray:
    matrix[np.diag_indices(len(matrix))] += noise
    found = cho_solve(cho_factor(matrix, lower=True), values)
    matrix[np.diag_indices(len(matrix))] -= noise
    return found


def _fit_tensors(kernel: np.ndarray, channels: np.ndarray, six: np.ndarray) -> np.ndarray:
    """[n, C]: factors a_jc from the covariance k(q_i, q_j) t_i . t_j, over atoms that may have a tensor; in single precision, as it is large."""
    size = np.sqrt(np.square(channels).sum((1, 2)))
    may = size > _SMALL * np.median(size)
    t = np.einsum("npc,pe->nec", channels[may], _TRACELESS).astype(np.float32)  # [m, 5, C]
    flat = torch.from_numpy(t.reshape(-1, t.shape[-1]))
    covariance = (flat @ flat.T).view(len(t), 5, len(t), 5)
    covariance *= torch.from_numpy(kernel[np.ix_(may, may)].astype(np.float32))[:, None, :, None]
    covariance = covariance.view(len(flat), len(flat))
    covariance.diagonal().add_(NOISE["tensor"])
    known = torch.from_numpy((six[may] @ _TRACELESS).astype(np.float32).reshape(-1, 1))
    torch.linalg.cholesky(covariance, out=covariance)
    solved = torch.cholesky_solve(known, covariance).view(-1, 5).numpy()
    found = np.zeros((len(channels), channels.shape[-1]))
    found[may] = np.einsum("nec,ne->nc", t, solved)
    return found
