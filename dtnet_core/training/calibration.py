"""Intervals of an ensemble, fitted by split conformal prediction on crystals that no member was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ensemble import COVERAGES
from ..members import raw_spread
from ..metrics import scalar_constant


def spread_ratios(members: np.ndarray, truth: np.ndarray, base: float, apart: np.ndarray | float = 0.0) -> np.ndarray:
    """[B]: error of the constant in units of `raw_spread`; its quantiles are the factors of the intervals."""
    return np.abs(scalar_constant(members.mean(0)) - scalar_constant(truth)) / raw_spread(members, base, apart)


def calibrate(members: np.ndarray, truth: np.ndarray, coverages: Sequence[float] = COVERAGES,
              apart: np.ndarray | float = 0.0) -> dict[str, float]:  # fmt: skip
    """Fit `base` and the factors of the intervals on crystals that no member was trained on.

    Parameters
    ----------
    members : np.ndarray, [M, B, 3, 3]
    truth : np.ndarray, [B, 3, 3]
    coverages : sequence of float
    apart : np.ndarray, [B], optional
        See `members.raw_spread`.

    Returns
    -------
    dict
        `base` (the largest Laplace likelihood of the errors), and for each coverage, as text, the factor that split
        conformal prediction gives (Papadopoulos et al., ECML 2002): a quantile of `spread_ratios`.
    """
    base = best_base(lambda base: raw_spread(members, base, apart), np.abs(scalar_constant(members.mean(0)) - scalar_constant(truth)))
    return {"base": base} | {str(c): conformal(spread_ratios(members, truth, base, apart), c) for c in coverages}


SHARES = np.geomspace(0.005, 0.5, 41)


def best_base(spread: Callable[[float], np.ndarray], errors: np.ndarray, tried: Sequence[float] | np.ndarray = SHARES) -> float:
    """The part of a spread that networks do not show, of those `tried`, with the largest Laplace likelihood of errors; `spread` gives the spread for a part."""

    def cost(base: float) -> float:
        return float(np.log(spread(base)).mean() + np.log((errors / spread(base)).mean()))

    return float(min(tried, key=cost))


def conformal(ratios: np.ndarray, coverage: float) -> float:
    """The quantile of errors over spreads that split conformal prediction takes for a coverage."""
    ordered = np.sort(ratios, axis=None)
    n = len(ordered)
    return float(ordered[min(int(np.ceil(coverage * (n + 1))), n) - 1])


def narrowed(flat: np.ndarray, wider: np.ndarray, coverage: float) -> float:
    """By how much a factor shrinks when errors over wider intervals are `wider` [B] instead of `flat` [B], so that validation crystals are covered as before."""
    return float(np.quantile(wider, coverage) / np.quantile(flat, coverage))
