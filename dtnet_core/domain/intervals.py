"""How much wider must intervals be far from the training crystals? Fitted on kinds of crystals that networks had not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..crystals.record import TARGETS
from ..ensemble import COVERAGES
from ..members import raw_spread, with_total
from ..metrics import SMALLEST_CONSTANT, mae_ten, scalar_constant
from ..physics.ionic import Modes
from ..training.calibration import calibrate
from ..training.joint import Task
from ..trust.guess import FLOORS, fit_guess
from ..trust.reach import Reach, fit_reach, growth

AT_BOUND = 0.02
"""An answer whose lowest eigenvalue is nearer to its floor counts as at the bound."""
POWERS = tuple(np.arange(0, 4.01, 0.25).tolist())


Mending = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, Modes]]
"""From positions [b], tensors of networks with their links and before them [M, b, 3, 3, 3], and `apart` [b, 3], to the same three, mended by modes, and these."""


def judge_fold(found: Mapping[str, np.ndarray], truth: np.ndarray, reach: Reach, invariants: np.ndarray, mending: Mending | None = None) -> dict[str, dict]:
    """Errors and interval ratios of a fold's tested crystals, for the answers of `reach` with its guess, or of the networks alone without.

    Parameters
    ----------
    found : mapping
        Of `benchmark.answers`.
    truth : np.ndarray, [n, 3, 3, 3]
        Electronic, ionic and total tensors of the benchmark's crystals.
    reach : Reach
        Of `reach_of` the fold's training crystals.
    invariants : np.ndarray, [B, D]
    mending : Mending, optional
        What modes do to the answers, after they lean.

    Returns
    -------
    dict
        "distance": of the test crystals, over the median of the validation crystals. By target, arrays over the test crystals: "error" (MAE_ten), "off" (constant wrong by
        more than 25 %), "ratio" (error of the constant over the spread), "spread" (`raw_spread` of the unbounded members, or of the bounded ones, whichever is larger), "constant" (predicted), "at_bound",
        and "factors" of `calibrate` on the validation crystals.
    """
    place = {part: reach.locate(invariants[found[part]]) for part in ("val", "test")}
    reach = replace(reach, typical=float(np.median(place["val"].distance)))
    result: dict[str, dict] = {"distance": place["test"].distance / reach.typical}
    said, apart, opinions = {}, {}, {}
    modes: dict[str, Modes | None] = {"val": None, "test": None}
    for part in ("val", "test"):
        opinions[part] = found[f"{part}_unbounded"]
        said[part], apart[part] = reach.lean(found[f"{part}_bounded"], opinions[part], place[part])
        if mending is not None:
            said[part], opinions[part], apart[part], modes[part] = mending(found[part], said[part], opinions[part], apart[part])
    for k, target in enumerate(TARGETS):
        raw = {part: opinions[part][:, :, k] for part in ("val", "test")}
        mean = {part: said[part][:, :, k].mean(0) for part in ("val", "test")}
        true = {part: truth[found[part], k] for part in ("val", "test")}
        told = {part: m if target != "electronic" else None for part, m in modes.items()}  # no mode changes that tensor
        factors = calibrate(raw["val"], true["val"], apart=apart["val"][:, k], modes=told["val"])
        constant, wrong = scalar_constant(true["test"]), np.abs(scalar_constant(mean["test"]) - scalar_constant(true["test"]))
        each = np.array([mae_ten(t[None], p[None]) for t, p in zip(true["test"], mean["test"], strict=True)])
        spread = np.maximum(*(raw_spread(x, factors["base"], apart["test"][:, k]) for x in (raw["test"], said["test"][:, :, k])))
        if told["test"] is not None:
            spread = spread * told["test"].wider(factors["doubt"])
        result[target] = {
            "error": each, "off": wrong > 0.25 * constant, "ratio": wrong / spread, "factors": factors,
            "spread": spread, "constant": np.maximum(scalar_constant(mean["test"]), SMALLEST_CONSTANT), "at_bound": np.linalg.eigvalsh(mean["test"])[:, 0] < (*FLOORS, sum(FLOORS))[k] + AT_BOUND,
        }  # fmt: skip
    return result


def covered(ratio: np.ndarray, distance: np.ndarray, factor: np.ndarray | float, power: float) -> np.ndarray:
    """[b] bool: whether an interval that grows with a power of the distance holds the truth."""
    return ratio <= factor * growth(distance, power)


def smallest_power(folds: Sequence[Mapping], target: str, coverage: float = COVERAGES[1]) -> float:
    """The smallest of `POWERS` with which the intervals hold their share of the test crystals of every fold given, on average over folds."""
    for power in POWERS:
        shares = [covered(f[target]["ratio"], f["distance"], f[target]["factors"][str(coverage)], power).mean() for f in folds]
        if np.mean(shares) >= coverage:
            return power
    return POWERS[-1]


def truth_of(task: Task) -> np.ndarray:
    """[n, 3, 3, 3]: electronic, ionic and total tensors of the benchmark's crystals."""
    return with_total(task.data.target_tensors(torch.arange(task.n_benchmark)).double().numpy())


def reach_of(task: Task, rows: np.ndarray, invariants: np.ndarray) -> Reach:
    """Of the records at these positions, with a guess that is fitted to those of them whose electronic and ionic constants are known."""
    constants = np.array([[np.nan if (x := task.records[i].scalar(t)) is None else x for t in TARGETS[:2]] for i in rows], dtype=float)
    known = np.isfinite(constants).all(1)
    reach = fit_reach(invariants[rows], [task.records[i].id for i in rows], [task.records[i].formula for i in rows])
    return replace(reach, guess=fit_guess(invariants[rows[known]], constants[known]))
