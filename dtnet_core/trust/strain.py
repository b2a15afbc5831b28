"""Has a crystal the size that it has at rest? Networks learned from relaxed crystals, and do not know what pressure does to a tensor.

A linear estimate from the pooled features, which are there anyway, tells who may be strained; of these the energies of the potential say by how much.
All lattice constants are scaled alike: shear, strain along one axis, gaps between layers or molecules and atoms that are out of place are not looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pymatgen.core import Structure

from ..base.arrays import read_arrays, write_arrays
from ..potentials.graph import build_graph
from ..potentials.open_encoder import OpenEncoder
from ..potentials.registry import load_encoder

FILE = "strain.safetensors"
"""Beside the file of a `trust.reach.Reach`."""
POTENTIAL = "7net-0"
SUSPECT = 0.0125
"""Estimated strain from which on energies are asked."""
LIMIT = 0.03
"""Strain from which on a crystal is not in the domain. Relaxed crystals have less than 0.01, measured lattices 0 to -0.03, most for heavy atoms and molecules: PBE makes crystals too large."""
STRIDE, FARTHEST = 0.02, 0.2
"""Scalings of the cell on the way downhill, and where that ends."""
RIDGE = 300.0


@dataclass(frozen=True)
class Estimate:
    """Strain, linear in pooled features; `fit_estimate` makes one, `load_estimate` reads one.

    Attributes
    ----------
    center, scale, weights : np.ndarray, [D]
    intercept : float
    """

    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: float

    def of(self, invariants: np.ndarray) -> np.ndarray:
        """[B], of crystals with pooled features [B, D]."""
        return np.clip((invariants - self.center) / self.scale, -8, 8) @ self.weights + self.intercept

    def save(self, path: str | Path) -> None:
        """Write a safetensors file in single precision."""
        write_arrays(path, "strain", {k: getattr(self, k) for k in _ARRAYS}, {"intercept": self.intercept})


_ARRAYS = ("center", "scale", "weights")


def load_estimate(path: str | Path) -> Estimate:
    """Read what `Estimate.save` wrote; see `base.arrays.read_arrays`."""
    arrays, about = read_arrays(path, "strain", _ARRAYS)
    return Estimate(**arrays, **about)


def fit_estimate(invariants: np.ndarray, strains: np.ndarray) -> Estimate:
    """From pooled features [N, D] of crystals with known strains [N]."""
    from sklearn.linear_model import Ridge

    center, spread = invariants.mean(0), invariants.std(0)
    scale = np.where(spread > 1e-8, spread, np.inf)
    fitted = Ridge(alpha=RIDGE).fit((invariants - center) / scale, strains)
    return Estimate(center, scale, fitted.coef_, float(fitted.intercept_))


def scaled(structure: Structure, strain: float) -> Structure:
    """The same crystal with all lattice constants longer by a share."""
    grown = structure.copy()
    grown.scale_lattice(structure.volume * (1 + strain) ** 3)
    return grown


def strain_of(structure: Structure, encoder: OpenEncoder | None = None) -> float:
    """By what share the lattice constants are longer (shorter: negative) than where the potential's energy is least, when the cell is scaled and the atoms keep their places in it.

    Downhill from the cell as it is, in strides, and at the end the lowest point of the parabola through three of them. Infinite where that is farther than `FARTHEST`.
    """
    potential = encoder or cast(OpenEncoder, load_encoder(POTENTIAL))

    @cache
    def energy(stride: int) -> float:
        with torch.no_grad():
            return float(potential.node_energies(build_graph(scaled(structure, STRIDE * stride), potential.cutoff)).double().sum())

    way = 1 if energy(1) < energy(0) else -1
    here = 0
    while energy(here + way) < energy(here):
        here += way
        if abs(here) * STRIDE >= FARTHEST:
            return -way * np.inf
    below, middle, above = (energy(here + x) for x in (-1, 0, 1))
    lowest = here - (above - below) / max(2 * (above + below - 2 * middle), 1e-12)  # none of both is below the middle
    return 1 / (1 + STRIDE * lowest) - 1


def strains_of(estimate: Estimate | None, structures: Sequence[Structure], invariants: np.ndarray) -> np.ndarray:
    """[B]: `strain_of` those that an estimate suspects, given their pooled features [B, D]; 0 for the others, and without an estimate."""
    if estimate is None:
        return np.zeros(len(structures))
    return np.array([strain_of(s) if abs(guess) > SUSPECT else 0.0 for s, guess in zip(structures, estimate.of(invariants), strict=True)])


def strained(strain: float) -> str:
    """Doubt in words about a crystal that is not at rest; else ""."""
    if abs(strain) <= LIMIT:
        return ""
    by = f"{100 * abs(strain):.0f} % {'shorter' if strain < 0 else 'longer'} than" if np.isfinite(strain) else "far from what they are"
    return (f"strained: its lattice constants are {by} at rest for the potential {POTENTIAL}; "
            "networks learned from relaxed crystals and do not know what pressure does, so the tensor is a guess")  # fmt: skip
