"""What answers for kinds of crystals that networks had not seen are worth: errors, what intervals hold, and whether doubts find the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from ..crystals.record import TARGETS
from ..trust.doubts import Chance, fit_chance
from ..trust.reach import growth
from ..trust.verdict import COVERAGES
from .benchmark import TAILS, Fold
from .intervals import covered, smallest_power


def kind_scores(fold: Fold, alone: Mapping, leaning: Mapping, rows: np.ndarray, powers: Mapping[str, Mapping[str, float]], limit: float, chances: Mapping[str, Chance]) -> dict[str, dict]:
    """Kind -> scores over its tested crystals, of the networks alone and of answers that lean on the guess; `powers` and `chances` were fitted without this fold."""
    found = {}
    for kind, of_kind in fold.kinds.items():
        mine = of_kind[rows]
        distance = leaning["distance"][mine]
        entry: dict = {"n": int(mine.sum()), "distance": float(np.median(distance)), "marked": float((distance > limit).mean())}
        for target in TARGETS:
            before, after = ({k: v[mine] if isinstance(v, np.ndarray) else v for k, v in judged[target].items()} for judged in (alone, leaning))
            entry[target] = _errors(before) | {
                "auroc_distance": _auroc(before["off"], distance),
                "covered": {str(c): covered(before["ratio"], distance, before["factors"][str(c)], 0.0).mean() for c in COVERAGES},
                "covered_growing": {str(c): covered(before["ratio"], distance, before["factors"][str(c)], powers["networks"][target]).mean() for c in COVERAGES},
            }  # fmt: skip
            power, marked = powers["leaning"][target], distance > limit
            inside = {str(c): covered(after["ratio"], distance, after["factors"][str(c)], power) for c in COVERAGES}
            wide, held = wide_of(after, distance, power), inside[str(COVERAGES[-1])]
            chance, extreme = chances[target].of(after["constant"], wide), after["tail"].reached(after["tensors"], wide).any(1)
            entry[target]["leaning"] = _errors(after) | {
                "bias": np.median(after["bias"]), "auroc": _auroc(after["off"], chance), "auroc_width": _auroc(after["off"], wide / after["constant"]), "chance": chance.mean(),
                "covered": {c: within.mean() for c, within in inside.items()}, "covered_or_marked": (held | marked).mean(), "extreme": extreme.mean(),
                "covered_or_told": (held | marked | extreme).mean(), "missed_at_bound": (after["at_bound"] & ~held).mean(),
                "sparsification": sparsification(after["error"], wide).mean() / after["error"].mean(),
            }  # fmt: skip
        found[kind] = entry
    return found


def wide_of(judged: Mapping, distance: np.ndarray, power: float) -> np.ndarray:
    """[b]: half widths of the 90 % intervals of one target of `intervals.judge_fold`, of the tested or of the validation crystals."""
    return judged["factors"][str(COVERAGES[-1])] * judged["spread"] * growth(distance, power)


def fit_chances(judged: Sequence[Mapping], vals: Sequence[np.ndarray], powers: Mapping[str, float], without: np.ndarray) -> dict[str, Chance]:
    """By target: `Chance` fitted to the validation crystals (`vals`, positions) of all folds together, but for those at the positions `without`."""
    found = {}
    for target in TARGETS:
        told: dict[str, list] = {"constant": [], "wide": [], "off": []}
        for j, rows in zip(judged, vals, strict=True):
            val, kept = j[target]["val"], ~np.isin(rows, without)
            each = {"constant": val["constant"], "wide": wide_of(val, j["val_distance"], powers[target]), "off": val["off"]}
            for name, of in told.items():
                of.append(each[name][kept])
        found[target] = fit_chance(*(np.concatenate(of) for of in told.values()))
    return found


def pooled_auroc(judged: Sequence[Mapping], powers: Sequence[Mapping[str, float]], chances: Sequence[Mapping[str, Chance]]) -> dict[str, dict[str, float | None]]:
    """By target: does the chance, or the relative width of the interval, tell the answers that are off by more than 25 % from the others, among the tested crystals of all folds?"""
    found = {}
    for target in TARGETS:
        wide, off, constant = half_widths(judged, powers, target), *(np.concatenate([j[target][key] for j in judged]) for key in ("off", "constant"))
        chance = [c[target].of(j[target]["constant"], wide_of(j[target], j["distance"], p[target])) for j, p, c in zip(judged, powers, chances, strict=True)]
        found[target] = {"chance": _auroc(off, np.concatenate(chance)), "width": _auroc(off, wide / constant)}
    return found


def half_widths(judged: Sequence[Mapping], powers: Sequence[Mapping[str, float]], target: str) -> np.ndarray:
    """[b]: of the 90 % intervals of all tested crystals of all folds."""
    return np.concatenate([wide_of(j[target], j["distance"], p[target]) for j, p in zip(judged, powers, strict=True)])


def _errors(judged: Mapping[str, np.ndarray]) -> dict[str, float]:
    error = judged["error"]
    return {"mae_ten": error.mean(), "median": np.median(error), "worst_percentile": np.quantile(error, 0.99), "off_by_25": judged["off"].mean(), "at_bound": judged["at_bound"].mean()}


def _auroc(off: np.ndarray, doubt: np.ndarray) -> float | None:
    return roc_auc_score(off, doubt) if 0 < off.sum() < len(off) else None


KEPT = np.linspace(1, 0.05, 20)
"""Shares of the crystals of which sparsification keeps the least doubtful."""


def sparsification(error: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Mean error [b] of the crystals that are left when the most doubtful are taken away, for each of `KEPT`."""
    ordered = error[np.argsort(doubt, kind="stable")]
    return np.array([ordered[: max(1, round(share * len(ordered)))].mean() for share in KEPT])


def curves(judged: Sequence[Mapping], powers: Sequence[Mapping[str, float]]) -> dict[str, dict[str, np.ndarray]]:
    """By target: `sparsification` of all tested crystals of all folds by the width of the interval, by the distance, and by the error itself."""
    found = {}
    for target in TARGETS:
        error = np.concatenate([j[target]["error"] for j in judged])
        distance = np.concatenate([j["distance"] for j in judged])
        wide = half_widths(judged, powers, target)
        found[target] = {"kept": KEPT} | {name: sparsification(error, doubt) for name, doubt in (("interval", wide), ("distance", distance), ("error", error))}
    return found


def powers_of(judged: Sequence[Mapping], names: Sequence[str], but: int | None = None) -> dict[str, float]:
    """By target: the power of the distance with which intervals grow, fitted on all folds but one and `benchmark.TAILS`.

    Crystals of these are out of the ordinary by their labels and as near as any, so a power that were to hold them would only widen the intervals of others.
    """
    return {t: smallest_power([j for i, (j, name) in enumerate(zip(judged, names, strict=True)) if i != but and name != TAILS], t) for t in TARGETS}
