"""Eigenvalues and principal axes of an ensemble's tensors, and how certain each of them is.

Everything is told by how far the networks differ: eigenvalues in order of size, and the angles between axes of the same place
in that order. Neither changes when the crystal turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FIXED = 0.1
"""Degrees: where networks differ by less about an axis, symmetry fixes it."""
UNDETERMINED = 90.0
"""Degrees: nothing is known of the direction of an axis whose eigenvalue may be another's."""


@dataclass(frozen=True)
class Principal:
    """Of B tensors.

    Attributes
    ----------
    values : np.ndarray, [B, 3]
        Eigenvalues, ascending.
    axes : np.ndarray, [B, 3, 3]
        `axes[b, k]` is the unit vector of `values[b, k]`, of either sign.
    std, wide : np.ndarray, [B, 3]
        Half widths of the intervals that hold 68 and 90 % of the true eigenvalues. NaN for networks that were not calibrated for it.
    angle : np.ndarray, [B, 3]
        Degrees that 68 % of the true axes are within; `UNDETERMINED` where two eigenvalues are the same within the 68 % interval of their
        difference, and next to nothing where symmetry fixes the axis.
    """

    values: np.ndarray
    axes: np.ndarray
    std: np.ndarray
    wide: np.ndarray
    angle: np.ndarray

    def of(self, i: int) -> Principal:
        """The same of tensor i alone, B = 1."""
        return Principal(*(x[i : i + 1] for x in (self.values, self.axes, self.std, self.wide, self.angle)))


def decompose(tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [..., 3], ascending, and axes [..., 3, 3], one a row, of symmetric tensors [..., 3, 3]; NaN where a tensor is NaN."""
    good = np.isfinite(tensors).all((-2, -1), keepdims=True)
    values, columns = np.linalg.eigh(np.where(good, tensors, np.eye(3)))
    return np.where(good[..., 0], values, np.nan), np.where(good, np.swapaxes(columns, -1, -2), np.nan)


def between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angles [...] in degrees, 0 to 90, between axes [..., 3] of either sign."""
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other), axis=-1), np.abs((one * other).sum(-1))))


def spread(members: np.ndarray, base: float) -> np.ndarray:
    """Deviation of each eigenvalue among networks, and a share `base` of it: [M, B, 3, 3] -> [B, 3]; `members.raw_spread` of eigenvalues."""
    values = decompose(members)[0]  # [M, B, 3]
    return np.hypot(values.std(0, ddof=min(1, len(values) - 1)), base * values.mean(0))


def disagreement(members: np.ndarray) -> np.ndarray:
    """Root mean square angle between the axes of each network and those of their mean, [M, B, 3, 3] -> [B, 3] in degrees."""
    return np.sqrt(np.square(between(decompose(members)[1], decompose(members.mean(0))[1])).mean(0))


def axis_spread(angle: np.ndarray, alike: float) -> np.ndarray:
    """What told angles are proportional to, [B, 3] in degrees: `disagreement` and, where symmetry does not fix an axis, by how much networks are wrong together."""
    return np.where(angle < FIXED, angle, np.hypot(angle, alike))


def gaps(values: np.ndarray) -> np.ndarray:
    """Differences [B, 2] of neighbouring eigenvalues [B, 3]."""
    return np.diff(values, axis=-1)


def principal(members: np.ndarray, unbounded: np.ndarray, calibration: Mapping[str, float] | None, wider: np.ndarray | float = 1.0) -> Principal:
    """Eigenvalues and axes of the mean of networks, with their uncertainty.

    Parameters
    ----------
    members, unbounded : np.ndarray, [M, B, 3, 3]
        Tensors of each network with its link, and before it: a bound must hide no disagreement.
    calibration : mapping, optional
        `base`; "0.68" and "0.9", factors of the intervals; `gap` and `angle`, those of differences and of angles; `alike`, of
        `axis_spread`. See `training.principal`.
    wider : np.ndarray, [B], or float
        Factor by which intervals are wider, see `trust.reach.Reach.wider`.
    """
    values, axes = decompose(members.mean(0))
    if calibration is None:
        unknown = np.full(values.shape, np.nan)
        return Principal(values, axes, unknown, unknown, unknown)
    raw = np.maximum(*(spread(x, calibration["base"]) for x in (members, unbounded))) * np.broadcast_to(wider, len(values))[:, None]  # [B, 3]
    near = gaps(values) < calibration["gap"] * np.maximum(raw[:, 1:], raw[:, :-1])  # [B, 2]
    unclear = np.concatenate([near[:, :1], near.any(1, keepdims=True), near[:, 1:]], 1)  # [B, 3]
    angle = np.minimum(calibration["angle"] * axis_spread(disagreement(unbounded), calibration["alike"]), UNDETERMINED)
    angle = np.where(np.isfinite(values), np.where(unclear, UNDETERMINED, angle), np.nan)
    return Principal(values, axes, calibration["0.68"] * raw, calibration["0.9"] * raw, angle)
