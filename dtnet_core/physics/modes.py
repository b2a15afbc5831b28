"""The ionic tensor as a sum over modes of force constants and Born charges, and numbers that say how soft it is.

The modes are eigenvectors u of the force constants K with eigenvalues w; masses play no part in a static tensor::

    eps_ionic = e^2 / (eps_0 V) sum_modes q q^T / w,    q = u^T Z

All numbers here are of the form Z^T f(K) Z: they do not depend on the choice of cell, and modes without a charge have no part in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import constants

PER_VOLUME = constants.e / constants.epsilon_0 * 1e10
"""e^2 / eps_0 in eV angstrom."""
DAMPINGS = (0.05, 0.15, 0.3, 0.6, 1.2)
"""In eV/angstrom^2: what `PolarModes.numbers` adds to eigenvalues."""
SOFT = 0.5
"""Eigenvalue in eV/angstrom^2 below which a mode is called soft."""


@dataclass(frozen=True)
class PolarModes:
    """Modes of a crystal and their charges; `polar_modes` finds them.

    Attributes
    ----------
    values : np.ndarray, [3N]
        Eigenvalues of the force constants in eV/angstrom^2.
    charges : np.ndarray, [3N, 3]
        Of the modes, in e.
    volume : float
        Of the cell in cubic angstrom.
    """

    values: np.ndarray
    charges: np.ndarray
    volume: float

    def sum(self, damping: float = 0.05) -> np.ndarray:
        """Ionic part of the dielectric tensor [3, 3]: dimensionless, symmetric, no eigenvalue below 0.

        With a `damping` in eV/angstrom^2, 1/w becomes 1/sqrt(w^2 + damping^2), so that soft modes stay finite; unstable ones (w < 0) count as w = 0.
        """
        return PER_VOLUME / self.volume * (self.charges.T * self._weights(damping)) @ self.charges

    def numbers(self) -> np.ndarray:
        """What a learner is told of the modes, [len(DAMPINGS) + 2].

        Logarithms of the mean diagonal element of `sum` at each of `DAMPINGS`; logarithm of the squared charge per volume, in the same units; and the
        share of the squared charge that soft modes (below `SOFT`, unstable ones included) carry.
        """
        sums = [np.trace(self.sum(d)) / 3 for d in DAMPINGS]
        total = max(float(self._squared.sum()), 1e-9)
        return np.array([*np.log(np.maximum(sums, 1e-6)), np.log(PER_VOLUME / self.volume * total / 3), self._share_below(SOFT)])

    def unstable(self, least: float = -0.01) -> float:
        """Share of the squared charge in modes with eigenvalues below `least` in eV/angstrom^2: the potential has the crystal distort along them."""
        return self._share_below(least)

    def shares(self, damping: float, together: float = 1e-3) -> list[dict[str, float]]:
        """The modes, the one with the largest share of the trace of `sum` first.

        Returns
        -------
        list of dict
            `eigenvalue` in eV/angstrom^2, `degenerate` (how many modes within `together` of it), `charge` of each in e, `share` of the trace of all of them.
        """
        parts = self._squared * self._weights(damping)
        groups = np.split(np.arange(len(self.values)), np.flatnonzero(np.diff(self.values) > together) + 1)
        found = [{"eigenvalue": float(self.values[g].mean()), "degenerate": len(g), "charge": float(np.sqrt(self._squared[g].mean())),
                  "share": float(parts[g].sum() / max(parts.sum(), 1e-12))} for g in groups]  # fmt: skip
        return sorted(found, key=lambda one: -one["share"])

    @property
    def _squared(self) -> np.ndarray:
        return np.square(self.charges).sum(1)  # [3N]

    def _weights(self, damping: float) -> np.ndarray:
        return 1 / np.sqrt(np.maximum(self.values, 0) ** 2 + damping**2)  # [3N]

    def _share_below(self, value: float) -> float:
        return float(self._squared[self.values < value].sum() / max(self._squared.sum(), 1e-9))


def polar_modes(k: np.ndarray, charges: np.ndarray, volume: float) -> PolarModes:
    """Modes of a crystal.

    Parameters
    ----------
    k : np.ndarray, [3N, 3N]
        Force constants in eV/angstrom^2, as `force_constants.force_constants` gives them.
    charges : np.ndarray, [N, 3, 3]
        Born charges in e: polarisation (last axis) by displacement, without a net charge.
    volume : float
        Of the cell in cubic angstrom.
    """
    values, vectors = np.linalg.eigh(k)
    return PolarModes(values, vectors.T @ np.asarray(charges, float).reshape(-1, 3), volume)
