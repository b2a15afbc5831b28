"""Intervals of an ensemble, fitted by split conformal prediction on crystals that no member was trained on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from ..members import raw_spread
from ..metrics import scalar_constant
from ..physics.ionic import Modes
from ..trust.verdict import COVERAGES

_T = TypeVar("_T")


def spread_ratios(members: np.ndarray, truth: np.ndarray, base: float, apart: np.ndarray | float = 0.0, wider: np.ndarray | float = 1.0) -> np.ndarray:
    """[B]: error of the constant in units of `raw_spread` times `wider`; its quantiles are the factors of the intervals."""
    return np.abs(scalar_constant(members.mean(0)) - scalar_constant(truth)) / (raw_spread(members, base, apart) * wider)


def calibrate(members: np.ndarray, truth: np.ndarray, coverages: Sequence[float] = COVERAGES,
              apart: np.ndarray | float = 0.0, modes: Modes | None = None) -> dict:  # fmt: skip
    """Fit `base` and the factors of the intervals on crystals that no member was trained on.

    Parameters
    ----------
    members : np.ndarray, [M, B, 3, 3]
    truth : np.ndarray, [B, 3, 3]
    coverages : sequence of float
    apart : np.ndarray, [B], optional
        See `members.raw_spread`.
    modes : physics.ionic.Modes, optional
        Of the crystals, where modes mended the tensors.

    Returns
    -------
    dict
        `base` and, with modes, `doubt` of `physics.ionic.Modes.wider` (the largest Laplace likelihood of the errors), and for each coverage, as text, the
        factor that split conformal prediction gives (Papadopoulos et al., ECML 2002): a quantile of `spread_ratios`.
    """
    errors = np.abs(scalar_constant(members.mean(0)) - scalar_constant(truth))
    spreads = {base: raw_spread(members, base, apart) for base in SHARES.tolist()}
    doubts = [None] if modes is None else [{"soft": soft, "without": without} for soft, without in itertools.product(SOFT_RATES, WITHOUT)]
    wider = [1.0 if modes is None else modes.wider(doubt) for doubt in doubts]
    base, i = _likeliest(lambda key: spreads[key[0]] * wider[key[1]], errors, itertools.product(spreads, range(len(doubts))))
    found = {str(c): conformal(spread_ratios(members, truth, base, apart, wider[i]), c) for c in coverages}
    return {"base": base} | found | ({} if modes is None else {"doubt": doubts[i]})


SHARES = np.geomspace(0.005, 0.5, 41)
SOFT_RATES, WITHOUT = tuple(np.linspace(0, 2, 9).tolist()), tuple(np.geomspace(0.5, 4, 7).tolist())
"""What is tried as "soft" and "without" of `physics.ionic.Modes.wider`."""


def best_base(spread: Callable[[float], np.ndarray], errors: np.ndarray, tried: Sequence[float] | np.ndarray = SHARES) -> float:
    """The part of a spread that networks do not show, of those `tried`, with the largest Laplace likelihood of errors; `spread` gives the spread for a part."""
    return float(_likeliest(spread, errors, tried))


def _likeliest(spread: Callable[[_T], np.ndarray], errors: np.ndarray, tried: Iterable[_T]) -> _T:
    def cost(key: _T) -> float:
        return float(np.log(spread(key)).mean() + np.log((errors / spread(key)).mean()))

    return min(tried, key=cost)


def conformal(ratios: np.ndarray, coverage: float) -> float:
    """The quantile of errors over spreads that split conformal prediction takes for a coverage."""
    ordered = np.sort(ratios, axis=None)
    n = len(ordered)
    return float(ordered[min(int(np.ceil(coverage * (n + 1))), n) - 1])


def narrowed(flat: np.ndarray, wider: np.ndarray, coverage: float) -> float:
    """By how much a factor shrinks when errors over wider intervals are `wider` [B] instead of `flat` [B], so that validation crystals are covered as before."""
    return float(np.quantile(wider, coverage) / np.quantile(flat, coverage))
