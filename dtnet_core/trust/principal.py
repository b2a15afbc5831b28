"""Eigenvalues and principal axes of an ensemble's tensors, and how certain each of them is.

Everything is told by how far the networks differ. What symmetry fixes they have in common, whatever they think of the eigenvalues: an
axis, such as c of a tetragonal crystal, and that eigenvalues are equal, such as the two across it. Eigenvalues of such axes are compared
along the axis, all others in order of size, as are angles between axes. None of it changes when the crystal turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FIXED = 0.1
"""Degrees: where networks differ by less about an axis, symmetry fixes it."""
SAME = 1e-3
"""Share of a tensor's largest element: eigenvalues that differ by less in every network are equal by symmetry, and elements below it are none."""
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
        Half widths of the intervals that hold 68 and 90 % of the true eigenvalues, the same for eigenvalues that symmetry makes equal. NaN for networks that were not calibrated for it.
    angle : np.ndarray, [B, 3]
        Degrees that 68 % of the true axes are within: next to nothing where symmetry fixes the axis, which says nothing of the place of its eigenvalue
        among the others. Else `UNDETERMINED` where two eigenvalues are equal by symmetry, whose axes are any of their plane, or the same within the 68 %
        interval of their difference.
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


def symmetry(members: np.ndarray, unbounded: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What all networks have in common, which is what symmetry leaves no choice about; nothing, where there is one network only.

    Parameters
    ----------
    members, unbounded : np.ndarray, [M, B, 3, 3]
    axes : np.ndarray, [B, 3, 3]
        Of their mean.

    Returns
    -------
    fixed : np.ndarray, [B, 3] bool
        Axes that networks have, too: no element of theirs off the diagonal is above `SAME`, and most have an axis, of whatever place in the order, within `FIXED`.
    equal : np.ndarray, [B, 2] bool
        Neighbouring eigenvalues that are one in every network: its part in the plane of both axes is the same in all directions.
    """
    both = np.concatenate([members, unbounded])
    if len(members) < 2:
        return np.zeros(axes.shape[:2], dtype=bool), np.zeros((len(axes), 2), dtype=bool)
    seen = axes @ both @ np.swapaxes(axes, -1, -2)  # [2M, B, 3, 3], on the axes of the mean
    least = SAME * np.abs(both).max((-2, -1))[..., None]  # [2M, B, 1]
    diagonal, off = np.diagonal(seen, axis1=-2, axis2=-1), np.abs(seen * (1 - np.eye(3)))
    equal = ((np.abs(np.diff(diagonal)) < least) & (off[..., [0, 1], [1, 2]] < least)).all(0)
    nearest = between(decompose(unbounded)[1][:, :, None], axes[:, :, None]).min(-1)  # [M, B, 3]
    fixed = (off.max(-1) < least).all(0) & (np.median(nearest, 0) < FIXED)
    return fixed & ~_in_group(equal), equal


def _in_group(equal: np.ndarray) -> np.ndarray:
    """[B, 2] of neighbours -> [B, 3]: one of an eigenvalue's neighbours is marked."""
    return np.concatenate([equal[:, :1], equal.any(1, keepdims=True), equal[:, 1:]], 1)


def _spread_along(members: np.ndarray, axes: np.ndarray, base: float) -> np.ndarray:
    """`spread` of what networks say along axes [B, 3, 3], instead of by order."""
    values = np.einsum("bki,mbij,bkj->mbk", axes, members, axes)
    return np.hypot(values.std(0, ddof=min(1, len(values) - 1)), base * values.mean(0))


def _share(widths: np.ndarray, equal: np.ndarray) -> np.ndarray:
    """Widths [B, 3] with their root mean square for eigenvalues that are equal."""
    square, found = np.square(widths), widths.copy()
    for k in (0, 1):
        found[equal[:, k], k : k + 2] = np.sqrt(square[equal[:, k], k : k + 2].mean(1, keepdims=True))
    found[equal.all(1)] = np.sqrt(square[equal.all(1)].mean(1, keepdims=True))
    return found


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

    Notes
    -----
    Widths of what symmetry fixes are those along its axes: by order, a network that takes the c axis for the lowest eigenvalue and
    not the highest would give the two equal ones across it different widths. Factors are fitted on the same (`training.principal.fit`).
    """
    values, axes = decompose(members.mean(0))
    if calibration is None:
        unknown = np.full(values.shape, np.nan)
        return Principal(values, axes, unknown, unknown, unknown)
    fixed, equal = symmetry(members, unbounded, axes)
    by_order, along = (np.maximum(*(how(x) for x in (members, unbounded))) for how in (lambda x: spread(x, calibration["base"]), lambda x: _spread_along(x, axes, calibration["base"])))
    raw = _share(np.where(fixed | _in_group(equal), along, by_order), equal) * np.broadcast_to(wider, len(values))[:, None]  # [B, 3]
    near = gaps(values) < calibration["gap"] * np.maximum(raw[:, 1:], raw[:, :-1])  # [B, 2]
    angle = np.minimum(calibration["angle"] * axis_spread(disagreement(unbounded), calibration["alike"]), UNDETERMINED)
    angle = np.where(_in_group(near | equal), UNDETERMINED, angle)
    return Principal(values, axes, calibration["0.68"] * raw, calibration["0.9"] * raw, np.where(np.isfinite(values), np.where(fixed, 0.0, angle), np.nan))
