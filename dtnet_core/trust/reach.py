"""Is a crystal like those that the networks learned from? Distances in the space of a potential's pooled features, and the nearest crystals.

The features of a crystal are pooled over its atoms (`layers.pooled`), divided by their deviation among the training crystals, clipped and
projected on principal components. A crystal's distance is the mean distance to its `NEIGHBOURS` nearest training crystals, in units
of the median of that among the training crystals themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Structure

from ..base.arrays import read_arrays, write_arrays
from ..base.kernel import fit_projection, project
from ..features import Features, concatenate_crystals
from ..layers import pooled
from ..members import with_total
from .guess import Guess, lean, load_guess
from .strain import FILE as STRAIN
from .strain import Estimate, load_estimate

FEATURES = "7net-0:0-5"
"""Encoder and layers; every shipped variant takes them anyway."""
GUESS = "guess.safetensors"
"""Beside the file of a `Reach`."""
NEIGHBOURS = 5
COMPONENTS = 64
_BATCH = 64  # crystals


@dataclass(frozen=True)
class Place:
    """Of B crystals; `Reach.locate` finds it, once for all who ask.

    Attributes
    ----------
    invariants : np.ndarray, [B, D]
        Pooled features.
    distance : np.ndarray, [B]
    rows : np.ndarray, [B, NEIGHBOURS]
        The nearest training crystals, nearest first.
    """

    invariants: np.ndarray
    distance: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Reach:
    """What the networks learned from, as points.

    Attributes
    ----------
    center, scale : np.ndarray, [D]
    components : np.ndarray, [D, P]
    points : np.ndarray, [N, P]
        Of the training crystals.
    ids, formulas : tuple of N str
    unit : float
        Median of the training crystals' distances, before division.
    limit : float
        Largest `distance` of what is called in the domain.
    typical : float
        Median distance of crystals like the training crystals.
    guess : trust.guess.Guess, optional
        What answers far away lean on.
    strain : trust.strain.Estimate, optional
        What tells crystals that are not at rest.
    """

    center: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    points: np.ndarray
    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    unit: float = 1.0
    limit: float = np.inf
    typical: float = 1.0
    guess: Guess | None = None
    strain: Estimate | None = None

    def place(self, invariants: np.ndarray) -> np.ndarray:
        """Pooled features [B, D] -> points [B, P]."""
        return project(invariants, self.center, self.scale, self.components)

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances [B], and rows of the nearest training crystals [B, NEIGHBOURS], nearest first."""
        order, found = np.zeros((len(points), NEIGHBOURS), dtype=int), np.zeros(len(points))
        for i, point in enumerate(points):
            away = np.sqrt(np.square(self.points - point).sum(1))
            order[i] = np.argsort(away, kind="stable")[:NEIGHBOURS]
            found[i] = away[order[i]].mean() / self.unit
        return found, order

    def wider(self, distance: np.ndarray, power: float) -> np.ndarray:
        """[B]: factor, at least 1, by which intervals are wider at these distances [B]: a power of the distance beyond `typical`."""
        return growth(np.asarray(distance) / self.typical, power)

    def locate(self, invariants: np.ndarray) -> Place:
        """Where crystals with pooled features [B, D] (`invariants_of`) are."""
        return Place(invariants, *self.nearest(self.place(invariants)))

    def lean(self, members: np.ndarray, unbounded: np.ndarray, where: Place) -> tuple[np.ndarray, np.ndarray]:
        """Tensors of networks that lean on `guess` where these cannot be trusted, and how far it is from them.

        Parameters
        ----------
        members, unbounded : np.ndarray, [M, B, 3, 3, 3]
            Electronic, ionic and total tensors with the networks' links, and before them.
        where : Place
            Of `locate`.

        Returns
        -------
        leaning : np.ndarray, [M, B, 3, 3, 3]
        apart : np.ndarray, [B, 3]
            Of the constants, see `trust.guess.lean`; 0 without a guess.
        """
        if self.guess is None or not members.shape[1]:
            return members, np.zeros(members.shape[1:3])
        leaning, apart = lean(members[:, :, :2], unbounded[:, :, :2], self.guess.log_constants(where.invariants), where.distance / self.typical)
        return with_total(leaning), np.concatenate([apart, np.hypot(*apart.T)[:, None]], 1)

    def new_pairs(self, structure: Structure) -> list[str]:
        """Pairs of a crystal's elements that no training crystal has together, such as "Mo with Te"."""
        symbols = sorted(e.symbol for e in structure.composition)
        pairs = [(a, b) for i, a in enumerate(symbols) for b in symbols[i + 1 :]] or [(symbols[0], symbols[0])]
        return [f"{a} with {b}" if a != b else a for a, b in pairs if not any(a in known and b in known for known in self._elements)]

    def doubts(self, structure: Structure, distance: float, nearest: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """What is new about a crystal at a distance, in words that name the nearest (id, formula)."""
        formulas, told = ", ".join(dict.fromkeys(formula for _, formula in nearest)), []
        if pairs := self.new_pairs(structure):
            told.append(f"no training crystal has {' or '.join(pairs)}; nearest: {formulas}")
        if distance > self.limit:
            told.append(f"outside of the domain: unlike the training crystals (nearest: {formulas}), so the tensor is a guess")
        return tuple(told)

    @cached_property
    def _elements(self) -> frozenset[frozenset[str]]:
        return frozenset(frozenset(e.symbol for e in Composition(f)) for f in set(self.formulas))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, points in half precision, and guess and estimate of strain beside it."""
        for beside, name in ((self.guess, GUESS), (self.strain, STRAIN)):
            if beside is not None:
                beside.save(Path(path).with_name(name))
        about = {"ids": self.ids, "formulas": self.formulas, "unit": self.unit, "limit": self.limit, "typical": self.typical, "features": FEATURES}
        write_arrays(path, "reach", {k: getattr(self, k) for k in _ARRAYS}, about, half=("points",))


_ARRAYS = ("center", "scale", "components", "points")


def growth(distance: np.ndarray, power: float) -> np.ndarray:
    """[B]: by how much intervals are wider at distances [B] in units of the typical one."""
    return np.maximum(1.0, distance) ** power


def load_reach(path: str | Path) -> Reach:
    """Read what `Reach.save` wrote, with guess and estimate of strain beside it; see `base.arrays.read_arrays`."""
    arrays, about = read_arrays(path, "reach", _ARRAYS)
    about.pop("features")
    beside, size = {name: Path(path).with_name(name) for name in (GUESS, STRAIN)}, len(arrays["center"])
    guess = load_guess(beside[GUESS]) if beside[GUESS].is_file() else None
    strain = load_estimate(beside[STRAIN]) if beside[STRAIN].is_file() else None
    if strain is not None and len(strain.weights) != size:
        raise ValueError(f"{beside[STRAIN]}: made for {len(strain.weights)} features, {path} has {size}")
    return Reach(**arrays, **(about | {"ids": tuple(about["ids"]), "formulas": tuple(about["formulas"]), "guess": guess, "strain": strain}))


def fit_reach(invariants: np.ndarray, ids: Sequence[str], formulas: Sequence[str]) -> Reach:
    """The space of training crystals with pooled features [N, D]; at least `NEIGHBOURS` + 1 of them."""
    if len(invariants) <= NEIGHBOURS:
        raise ValueError(f"{len(invariants)} crystals; give at least {NEIGHBOURS + 1}")
    center, scale, axes = fit_projection(invariants, COMPONENTS)
    found = Reach(center, scale, axes, project(invariants, center, scale, axes), tuple(ids), tuple(formulas))
    some = found.points[:: max(1, len(invariants) // 1000)]
    away = [np.sort(np.sqrt(np.square(found.points - p).sum(1)))[1 : NEIGHBOURS + 1].mean() for p in some]
    return replace(found, unit=float(np.median(away)))


def invariants_of(features: Sequence[Features]) -> np.ndarray:
    """Pooled features [B, D] of crystals encoded one by one."""
    parts = [pooled(concatenate_crystals(features[i : i + _BATCH]).pack()).double().numpy() for i in range(0, len(features), _BATCH)]
    return np.concatenate(parts)
