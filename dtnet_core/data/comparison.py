"""How far two calculations of the same crystals are apart: what `data/results/dfpt_comparison.json` says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..crystals.record import TARGETS


def percent(crystals: Sequence[Mapping], part: str) -> np.ndarray:
    """Deviations [n, 3] of the diagonals in per cent of the other's tensor; the ionic ones of its total tensor.

    Parameters
    ----------
    crystals : sequence of mappings
        "crystals" of `compare`.
    """
    whole = "total" if part == "ionic" else part
    ours, away, own = (np.array([c[k][p] for c in crystals]) for k, p in (("ours", whole), ("difference", whole), ("difference", part)))
    return 100 * own / (ours - away)


def median_percent(crystals: Sequence[Mapping]) -> dict[str, float]:
    """Median of the absolute deviations by tensor; empty where there are no crystals."""
    return {part: float(np.median(np.abs(percent(crystals, part)))) for part in TARGETS if crystals}
