"""How much wider must intervals be far from the training crystals? Fitted on kinds of crystals that networks had not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..crystals.record import TARGETS
from ..members import raw_spread, with_total
from ..metrics import SMALLEST_CONSTANT, mae_ten, scalar_constant
from ..physics.ionic import Modes
from ..training.calibration import calibrate
from ..training.joint import Task
from ..trust.doubts import OFF, fit_tail
from ..trust.guess import FLOORS, fit_guess
from ..trust.reach import Reach, fit_reach, growth
from ..trust.verdict import COVERAGES

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
        "distance", "val_distance": of the test and the validation crystals, over the median of the latter. By target, arrays over the test crystals: "error" (MAE_ten), "off" (constant wrong by
        more than `trust.doubts.OFF`), "ratio" (error of the constant over the spread), "spread" (`raw_spread` of the unbounded members, or of the bounded ones, whichever is larger), "tensors" [b, 3, 3] and
        "constant" (predicted), "bias" (predicted over true constant), "at_bound"; "factors" of `calibrate` on the validation crystals; "val", the same over these; "tail" of the training crystals.
    """
    place = {part: reach.locate(invariants[found[part]]) for part in ("val", "test")}
    reach = replace(reach, typical=float(np.median(place["val"].distance)))
    result: dict[str, dict] = {"distance": place["test"].distance / reach.typical, "val_distance": place["val"].distance / reach.typical}
    said, apart, opinions = {}, {}, {}
    modes: dict[str, Modes | None] = {"val": None, "test": None}
    for part in ("val", "test"):
        opinions[part] = found[f"{part}_unbounded"]
        said[part], apart[part] = reach.lean(found[f"{part}_bounded"], opinions[part], place[part])
        if mending is not None:
            said[part], opinions[part], apart[part], modes[part] = mending(found[part], said[part], opinions[part], apart[part])
    learned = truth[found["train"][found["train"] < len(truth)]]
    for k, target in enumerate(TARGETS):
        told = {part: m if target != "electronic" else None for part, m in modes.items()}  # no mode changes that tensor
        factors = calibrate(opinions["val"][:, :, k], truth[found["val"], k], apart=apart["val"][:, k], modes=told["val"])
        floor = (*FLOORS, sum(FLOORS))[k]
        of = {part: _judged(said[part][:, :, k], opinions[part][:, :, k], truth[found[part], k], apart[part][:, k], factors, told[part], floor) for part in ("val", "test")}
        result[target] = of["test"] | {"val": of["val"], "tail": fit_tail(learned[:, k])}
    return result


def _judged(said: np.ndarray, raw: np.ndarray, true: np.ndarray, apart: np.ndarray, factors: Mapping, modes: Modes | None, floor: float) -> dict:
    """Of answers [M, b, 3, 3] for one target, and what was said before they were bounded: the arrays of `judge_fold`."""
    mean = said.mean(0)
    constant = scalar_constant(true)
    wrong = np.abs(scalar_constant(mean) - constant)
    spread = np.maximum(*(raw_spread(x, factors["base"], apart) for x in (raw, said)))
    if modes is not None:
        spread = spread * modes.wider(factors["doubt"])
    predicted = np.maximum(scalar_constant(mean), SMALLEST_CONSTANT)
    return {"error": np.array([mae_ten(t[None], p[None]) for t, p in zip(true, mean, strict=True)]), "off": wrong > OFF * constant, "ratio": wrong / spread, "spread": spread, "tensors": mean, "factors": factors,
            "constant": predicted, "bias": predicted / np.maximum(constant, SMALLEST_CONSTANT), "at_bound": np.linalg.eigvalsh(mean)[:, 0] < floor + AT_BOUND}  # fmt: skip


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
