"""Intervals of an ensemble, fitted by split conformal prediction on crystals that no member was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ensemble import COVERAGES
from ..members import raw_spread
from ..metrics import scalar_constant


def spread_ratios(members: np.ndarray, truth: np.ndarray, base: float) -> np.ndarray:
    """[B]: error of the constant in units of `raw_spread`; its quantiles are the factors of the intervals."""
    return np.abs(scalar_constant(members.mean(0)) - scalar_constant(truth)) / raw_spread(members, base)


def calibrate(members: np.ndarray, truth: np.ndarray, coverages: Sequence[float] = COVERAGES) -> dict[str, float]:
    """Fit `base` and the factors of the intervals on crystals that no member was trained on.

    Parameters
    ----------
    members : np.ndarray, [M, B, 3, 3]
    truth : np.ndarray, [B, 3, 3]
    coverages : sequence of float

    Returns
    -------
    dict
        `base` (the largest Laplace likelihood of the errors), and for each coverage, as text, the factor that split
        conformal prediction gives (Papadopoulos et al., ECML 2002): a quantile of `spread_ratios`.
    """

    def cost(base: float) -> float:
        return float(np.log(raw_spread(members, base)).mean() + np.log(spread_ratios(members, truth, base).mean()))

    base = float(min(np.geomspace(0.005, 0.5, 41), key=cost))
    ratios = np.sort(spread_ratios(members, truth, base))
    n = len(ratios)
    return {"base": base} | {str(c): float(ratios[min(int(np.ceil(c * (n + 1))), n) - 1]) for c in coverages}


