"""How doubtful is an answer: the chance that it is off by a quarter, and whether it is among the largest that the networks have learned from.

Both were fitted in the benchmark of reach (`domain.record`) to validation crystals, which no network was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base.files import read_json, write_atomic
from ..base.reading import DataFileError
from ..metrics import SMALLEST_CONSTANT, eigenvalues, log_of, scalar_constant

FILE = "doubts.json"
"""Of a weights folder, for all its variants."""
OFF = 0.25
"""Share of the true constant by which an answer is off that `Chance` is of."""
ISOTROPIC = 1.02
"""A tensor with a smaller ratio of eigenvalues, as all of cubic crystals, counts as isotropic."""
TAIL = 0.05
"""Share of the training crystals that are called the largest, or the most anisotropic."""


class Chance(NamedTuple):
    """Logistic regression: the chance that a constant is off by more than `OFF`, for crystals like the training crystals.

    Attributes
    ----------
    intercept, width, constant : float
        The log odds are `intercept` plus `width` times the logarithm of the 90 % interval's half width over the constant, plus `constant` times the logarithm of the constant.
    """

    intercept: float
    width: float
    constant: float

    def of(self, constants: np.ndarray, wide: np.ndarray) -> np.ndarray:
        """[B] in 0 to 1, for answers [B] with half widths [B]; NaN where one is."""
        odds = self.intercept + self.width * np.log(wide / np.maximum(constants, SMALLEST_CONSTANT)) + self.constant * log_of(constants)
        return 1 / (1 + np.exp(-odds))


class Tail(NamedTuple):
    """What all but `TAIL` of the training crystals are below: the largest eigenvalue of a tensor, and its ratio to the smallest."""

    eigenvalue: float
    anisotropy: float

    def reached(self, tensors: np.ndarray, wide: np.ndarray) -> np.ndarray:
        """[B, 2] bool: do eigenvalue and ratio of tensors [B, 3, 3] get there, if the largest eigenvalue is larger by as much as the upper end of the constant's interval (half width [B]) is? What is isotropic stays so."""
        values = _largest(tensors)
        grown = values * (1 + wide / np.maximum(scalar_constant(tensors), SMALLEST_CONSTANT))[:, None]
        return np.where(values < [0.0, ISOTROPIC], False, grown > np.array(self))


def _largest(tensors: np.ndarray) -> np.ndarray:
    values = eigenvalues(tensors)
    return np.stack([values[:, 2], values[:, 2] / np.maximum(values[:, 0], SMALLEST_CONSTANT)], 1)


def fit_tail(tensors: np.ndarray) -> Tail:
    """Of the training crystals' tensors [N, 3, 3]."""
    return Tail(*np.quantile(_largest(tensors), 1 - TAIL, axis=0).tolist())


def fit_chance(constants: np.ndarray, wide: np.ndarray, off: np.ndarray) -> Chance:
    """From answers [N] with half widths [N] and whether each was off, [N] bool; some were and some were not."""
    from sklearn.linear_model import LogisticRegression

    told = np.stack([np.log(wide / np.maximum(constants, SMALLEST_CONSTANT)), log_of(constants)], 1)
    fitted = LogisticRegression(C=np.inf).fit(told, off)
    return Chance(float(fitted.intercept_[0]), *fitted.coef_[0].tolist())


class Doubted(NamedTuple):
    """Of B answers: `chance` [B] that the constant is off by more than `OFF` (NaN where unknown), `extreme` [B] bool, and `words` of each, () for none."""

    chance: np.ndarray
    extreme: np.ndarray
    words: tuple[tuple[str, ...], ...]

    def scores(self, tensors: np.ndarray, constants: np.ndarray) -> dict[str, float | None]:
        """Of answers [B, 3, 3] whose true constants [B] are known: the share that is off, the mean `chance`, the AUROC with which it tells those that are off; the share of extreme ones, and how many of these are off."""
        from sklearn.metrics import roc_auc_score

        off = np.abs(scalar_constant(tensors) - constants) > OFF * constants
        known = 0 < off.sum() < len(off) and np.isfinite(self.chance).all()
        return {"off": float(off.mean()), "chance": float(self.chance.mean()), "auroc": float(roc_auc_score(off, self.chance)) if known else None,
                "extreme": float(self.extreme.mean()), "extreme_off": float(off[self.extreme].mean()) if self.extreme.any() else None}  # fmt: skip


@dataclass(frozen=True)
class Doubts:
    """What `Doubts.of` asks; one without contents doubts nothing.

    Attributes
    ----------
    tails : mapping of str to Tail
        By target.
    chances : mapping of str to Chance
        By target.
    with_modes : mapping of str to Chance
        The same for tensors that modes have mended.
    """

    tails: Mapping[str, Tail] = field(default_factory=dict)
    chances: Mapping[str, Chance] = field(default_factory=dict)
    with_modes: Mapping[str, Chance] = field(default_factory=dict)

    def of(self, target: str, tensors: np.ndarray, wide: np.ndarray, mended: bool = False) -> Doubted:
        """Doubts about tensors [B, 3, 3] of a target, half widths [B] of the 90 % intervals of their constants; NaN where an answer is refused."""
        chance, reached = np.full(len(wide), np.nan), np.zeros((len(wide), 2), dtype=bool)
        told, tail, fitted = np.isfinite(wide), self.tails.get(target), (self.with_modes if mended else self.chances).get(target)
        if fitted is not None and told.any():
            chance[told] = fitted.of(scalar_constant(tensors[told]), wide[told])
        if tail is not None and told.any():
            reached[told] = tail.reached(tensors[told], wide[told])
        return Doubted(chance, np.asarray(reached.any(1)), tuple(() if not any(which) or tail is None else (_words(target, which, tail),) for which in reached))

    def save(self, path: str | Path) -> None:
        """Write a JSON file."""
        named = {of: {target: one._asdict() for target, one in each.items()} for of, each in vars(self).items()}
        write_atomic(path, json.dumps(named, indent=1) + "\n")


def load_doubts(path: str | Path) -> Doubts:
    """Read what `Doubts.save` wrote; one without contents where there is no file."""
    if not Path(path).is_file():
        return Doubts()
    found, kinds = read_json(path), {"tails": Tail, "chances": Chance, "with_modes": Chance}
    try:
        return Doubts(**{of: {target: kind(**numbers) for target, numbers in found.get(of, {}).items()} for of, kind in kinds.items()})
    except (AttributeError, TypeError) as error:
        raise DataFileError(f"not what the kit writes ({error}): check it out again", Path(path)) from error


def _words(target: str, which: np.ndarray, tail: Tail) -> str:
    reasons = [f"{what} {limit:.3g}" for what, limit, hit in zip(("an eigenvalue above", "a ratio of eigenvalues above"), tail, which, strict=True) if hit]
    return f"extreme: the {target} tensor may have {' and '.join(reasons)}, as {100 * TAIL:.0f} % of the training crystals do; such answers are off more often than others"
