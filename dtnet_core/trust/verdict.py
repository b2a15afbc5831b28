"""All that is said of answers beside the tensors: where crystals stand, intervals, chances, extremes. One place decides it, whoever asked: `Ensemble.predict` or a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..crystals.record import TARGETS
from ..members import raw_spread
from .reach import Place, Reach
from .standing import Standing, stand

if TYPE_CHECKING:
    from ..physics.ionic import Modes

COVERAGES = (0.68, 0.90)
"""Share of crystals in the two intervals of an `ensemble.Prediction`."""


class Judged(NamedTuple):
    """Of B answers: where the crystals stand, and `std`, `wide`, `chance`, `extreme` of an `ensemble.Prediction`; `wider` [B], the factor by which distance and modes widen intervals."""

    where: Standing
    std: np.ndarray
    wide: np.ndarray
    wider: np.ndarray
    chance: np.ndarray
    extreme: np.ndarray


def judge(ensemble, crystals: Sequence, flags: Sequence[str], place: Place | None, members: np.ndarray, unbounded: np.ndarray, apart: np.ndarray, modes: Modes | None = None) -> Judged:
    """All that is said of the answers of an ensemble beside the tensors.

    Parameters
    ----------
    ensemble : Ensemble, or anything with its `target`, `calibration`, `reach` and `doubts`
    crystals : sequence of B pymatgen Structure
    flags : sequence of B str
    place, members, unbounded, apart
        Of `ensemble.Ensemble.opinions`, mended; members that are refused are NaN.
    modes : physics.ionic.Modes, optional
    """
    k = TARGETS.index(ensemble.target)
    where = stand(ensemble.reach, crystals, place, unbounded, flags)
    if modes is not None:
        where = where.also(modes.words(), modes.doubtful)
    std, wide, wider = half_widths(ensemble.calibration, ensemble.reach, members[:, :, k], unbounded[:, :, k], apart[:, k], where.distance, modes)
    doubted = ensemble.doubts.of(ensemble.target, members[:, :, k].mean(0), wide, modes is not None)
    return Judged(where.also(doubted.words), std, wide, wider, doubted.chance, doubted.extreme)


def half_widths(calibration: Mapping, reach: Reach | None, members: np.ndarray, raw: np.ndarray, apart: np.ndarray, distance: np.ndarray,
                modes: Modes | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Half widths of the intervals of constants that hold 68 and 90 %, and the factor by which distance and modes widen them: [B] each.

    Parameters
    ----------
    calibration : mapping
        Of `ensemble.Ensemble`.
    reach : trust.reach.Reach, optional
    members, raw : np.ndarray, [M, B, 3, 3]
        Tensors of one target by each network, with the links and before them: a bound must hide no disagreement. NaN where the answer is refused.
    apart : np.ndarray, [B]
        See `members.raw_spread`.
    distance : np.ndarray, [B]
        Not looked at without `reach`.
    modes : physics.ionic.Modes, optional
    """
    kept, spread = np.isfinite(members).all((0, 2, 3)), np.full(members.shape[1], np.nan)
    spread[kept] = np.maximum(*(raw_spread(x[:, kept], calibration["base"], apart[kept]) for x in (members, raw)))
    wider = np.ones(len(spread)) if reach is None else reach.wider(distance, calibration.get("growth", 0.0))
    if modes is not None:
        wider = wider * modes.wider(calibration.get("doubt"))
    std, wide = (calibration[str(c)] * spread * wider for c in COVERAGES)
    return std, wide, wider
