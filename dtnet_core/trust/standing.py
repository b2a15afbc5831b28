"""Where crystals stand to what an ensemble has learned from, and what is doubtful about the answers for them, in words.

One place decides it, whoever asked: `Ensemble.predict` or a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure

from ..metrics import raw_constant
from .judge import below_empty_space
from .reach import Place, Reach
from .strain import strained, strains_of


@dataclass(frozen=True)
class Standing:
    """Of B crystals; `ensemble.Prediction` tells what each is.

    Attributes
    ----------
    in_domain : np.ndarray, [B] bool
    distance : np.ndarray, [B]
    nearest : tuple of B tuples of (id, formula)
    warnings : tuple of B tuples of str
    """

    in_domain: np.ndarray
    distance: np.ndarray
    nearest: tuple[tuple[tuple[str, str], ...], ...]
    warnings: tuple[tuple[str, ...], ...]

    def row(self, i: int) -> dict[str, bool | float | str | None]:
        """Crystal i as columns of a table: `nearest` as "id formula, ...", `warnings` joined by "; "; None where a distance is not known."""
        away = float(self.distance[i])
        return {"in_domain": bool(self.in_domain[i]), "distance": None if np.isnan(away) else away,
                "nearest": ", ".join(f"{name} {formula}" for name, formula in self.nearest[i]), "warnings": "; ".join(self.warnings[i])}  # fmt: skip

    def also(self, words: Sequence[tuple[str, ...]], doubtful: np.ndarray | bool = False) -> Standing:
        """The same with further doubts: `words` are added to the warnings of each, and what is `doubtful` [B] is not in the domain."""
        told = tuple((*mine, *more) for mine, more in zip(self.warnings, words, strict=True))
        return Standing(self.in_domain & ~np.asarray(doubtful), self.distance, self.nearest, told)


COLUMNS = ("in_domain", "distance", "nearest", "warnings")
"""Of `Standing.row`."""


def stand(reach: Reach | None, crystals: Sequence[Structure], where: Place | None, unbounded: np.ndarray, flags: Sequence[str]) -> Standing:
    """Where crystals stand.

    Parameters
    ----------
    reach : Reach, optional
        Without, distances are NaN and every crystal is in the domain that no network takes below empty space.
    crystals : sequence of B pymatgen Structure
    where : Place
        Of `reach.locate`; not looked at without `reach` or crystals.
    unbounded : np.ndarray, [M, B, 3, 3, 3]
        Electronic, ionic and total tensor by each network, before its link.
    flags : sequence of B str
        Doubts from elsewhere, "" for none.
    """
    lowest = raw_constant(unbounded[:, :, 0]).min(0)  # [B]
    doubts = [below_empty_space(value) for value in lowest]
    inside = np.array([not doubt for doubt in doubts], dtype=bool)
    if reach is None or where is None or not crystals:
        told = tuple(tuple(filter(None, pair)) for pair in zip(flags, doubts, strict=True))
        return Standing(inside, np.full(len(crystals), np.nan), tuple(() for _ in crystals), told)
    nearest = tuple(tuple((reach.ids[k], reach.formulas[k]) for k in row) for row in where.rows)
    new = [reach.doubts(*each) for each in zip(crystals, where.distance, nearest, strict=True)]
    pressed = [strained(strain) for strain in strains_of(reach.strain, crystals, where.invariants)]
    told = tuple(tuple(filter(None, (flag, doubt, *words, strain))) for flag, doubt, words, strain in zip(flags, doubts, new, pressed, strict=True))
    return Standing(inside & (where.distance <= reach.limit) & np.array([not words for words in pressed], dtype=bool), where.distance, nearest, told)
