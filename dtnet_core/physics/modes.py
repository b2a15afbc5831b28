"""The ionic tensor as a sum over modes of force constants and Born charges, and numbers that say how soft it is.

The modes are eigenvectors u of the force constants K with eigenvalues w; masses play no part in a static tensor::

    eps_ionic = e^2 / (eps_0 V) sum_modes q q^T / w,    q = u^T Z

All numbers here are of the form Z^T f(K) Z: they do not depend on the choice of cell, and modes without a charge have no part in them.
"""

from __future__ import annotations

import numpy as np
from scipy import constants

PER_VOLUME = constants.e / constants.epsilon_0 * 1e10
"""e^2 / eps_0 in eV angstrom."""
DAMPINGS = (0.05, 0.15, 0.3, 0.6, 1.2)
"""In eV/angstrom^2: what `mode_numbers` adds to eigenvalues."""
SOFT = 0.5
"""Eigenvalue in eV/angstrom^2 below which a mode is called soft."""


def mode_sum(k: np.ndarray, charges: np.ndarray, volume: float, damping: float = 0.05) -> np.ndarray:
    """Ionic part of the dielectric tensor.

    Parameters
    ----------
    k : np.ndarray, [3N, 3N]
        Force constants in eV/angstrom^2, as `force_constants.force_constants` gives them.
    charges : np.ndarray, [N, 3, 3]
        Born charges in e: polarisation (last axis) by displacement, without a net charge.
    volume : float
        Of the cell in cubic angstrom.
    damping : float
        In eV/angstrom^2: 1/w becomes 1/sqrt(w^2 + damping^2), so that soft modes stay finite; unstable ones (w < 0) count as w = 0.

    Returns
    -------
    np.ndarray, [3, 3]
        Dimensionless, symmetric, no eigenvalue below 0.
    """
    values, polar = polar_modes(k, charges)
    return _sum(values, polar, volume, damping)


def polar_modes(k: np.ndarray, charges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [3N] of the force constants in eV/angstrom^2 and the charges [3N, 3] of their modes in e."""
    values, vectors = np.linalg.eigh(k)
    return values, vectors.T @ np.asarray(charges, float).reshape(-1, 3)


def unstable_share(k: np.ndarray, charges: np.ndarray, least: float = -0.01) -> float:
    """Share of the squared charge in modes with eigenvalues below `least` in eV/angstrom^2: the potential has the crystal distort along them."""
    values, polar = polar_modes(k, charges)
    squared = (polar**2).sum(1)
    return float(squared[values < least].sum() / max(squared.sum(), 1e-9))


def mode_shares(k: np.ndarray, charges: np.ndarray, damping: float, together: float = 1e-3) -> list[dict[str, float]]:
    """The polar modes, the one with the largest share of `mode_sum`'s trace first.

    Returns
    -------
    list of dict
        `eigenvalue` in eV/angstrom^2, `degenerate` (how many modes within `together` of it), `charge` of each in e, `share` of the trace of all of them.
    """
    values, polar = polar_modes(k, charges)
    squared = (polar**2).sum(1)
    parts = squared / np.sqrt(np.maximum(values, 0) ** 2 + damping**2)
    groups = np.split(np.arange(len(values)), np.flatnonzero(np.diff(values) > together) + 1)
    found = [{"eigenvalue": values[g].mean(), "degenerate": len(g), "charge": np.sqrt(squared[g].mean()), "share": parts[g].sum() / max(parts.sum(), 1e-12)} for g in groups]
    return sorted(({k: float(v) if k != "degenerate" else int(v) for k, v in one.items()} for one in found), key=lambda one: -one["share"])


def _sum(values: np.ndarray, polar: np.ndarray, volume: float, damping: float) -> np.ndarray:
    weights = 1 / np.sqrt(np.maximum(values, 0) ** 2 + damping**2)
    return PER_VOLUME / volume * (polar.T * weights) @ polar


def mode_numbers(k: np.ndarray, charges: np.ndarray, volume: float) -> np.ndarray:
    """What a learner is told of a crystal's modes.

    Parameters
    ----------
    k, charges, volume
        As of `mode_sum`.

    Returns
    -------
    np.ndarray, [len(DAMPINGS) + 2]
        Logarithms of the mean diagonal element of `mode_sum` at each of `DAMPINGS`; logarithm of the squared charge per volume, in the same units; and the
        share of the squared charge that soft modes (below `SOFT`, unstable ones included) carry.
    """
    values, polar = polar_modes(k, charges)
    sums = [np.trace(_sum(values, polar, volume, d)) / 3 for d in DAMPINGS]
    squared = (polar**2).sum(1)  # [3N]
    total = max(float(squared.sum()), 1e-9)
    return np.array([*np.log(np.maximum(sums, 1e-6)), np.log(PER_VOLUME / volume * total / 3), squared[values < SOFT].sum() / total])
