"""The benchmark of reach: networks that have seen no crystal of a kind answer for all tested crystals of it.

A fold keeps whole kinds from training (`kinds`), whatever file their records come from, and with them every record of the same
formula or material (`data.held_out`). What the networks say, one by one, is kept in the cache folder, so that ways to
bound, mix and doubt answers can be compared without training again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA

from ..base.files import write_atomic
from ..base.paths import default_cache_dir, sources
from ..base.results import provenance
from ..data.held_out import held_out
from ..data.labels import LABELS, WITH_TOTAL
from ..data.splits import split_by_group
from ..members import both_tensors, with_total
from ..physics.ionic import Modes
from ..readout import DTNet
from ..training.born import SOURCE
from ..training.joint import CODE_OF_A_RUN, Task, fit_member
from ..training.physics import benchmark_modes
from ..training.recipes import RECIPES as SHIPPED
from ..training.recipes import TRAIN, Recipe
from .intervals import Mending
from .kinds import bonding_kinds, clusters, element_pairs, tails

ELECTRONIC_ONLY = frozenset(LABELS) - frozenset(WITH_TOTAL)
TAILS = "tails"
"""Name of the fold whose crystals are out of the ordinary by their labels."""
TOGETHER = 2
"""Clusters held out by one fold."""
SMALL = Recipe(("7net-0:0-5", "7net-l3i5:0-5"), train=replace(TRAIN, max_epochs=15))
"""The recipe "default" with a member of each encoder and half the epochs: a benchmark that is cheap enough to be run for each idea."""
WIDE = replace(SMALL, labels=LABELS, train=replace(TRAIN, max_epochs=10))
"""The same of the recipe "default-wide"."""


class Variant(NamedTuple):
    """What answers for the folds.

    Attributes
    ----------
    recipe : Recipe
    told : bool
        The files of electronic labels may show crystals of a kind, in other formulas than those tested; clusters are then not asked for.
    modes : bool
        Ionic tensors are mended by the crystals' modes, where their force constants are on disk.
    """

    recipe: Recipe
    told: bool = False
    modes: bool = False


SHIPS, BEFORE, TOLD = "labels that ship", "labels of before", "labels that ship, of the kind too"
BEST_TOLD = f"best, {TOLD}"
BEST_MODES = f"{BEST_TOLD}, with modes"
_BEST = replace(WIDE, members=tuple(dict.fromkeys(SHIPPED["best"].members)))
VARIANTS = {SHIPS: Variant(WIDE), BEFORE: Variant(SMALL), TOLD: Variant(WIDE, told=True), BEST_TOLD: Variant(_BEST, told=True), BEST_MODES: Variant(_BEST, told=True, modes=True)}
"""`BEFORE`, networks shipped that had not learned from files of electronic labels. With "best", a member of each encoder of that recipe."""
MENDS = "best-wide"
"""Recipe whose modes mend."""


@dataclass(frozen=True)
class Fold:
    """Crystals kept from training together.

    Attributes
    ----------
    name : str
    kinds : dict of str to np.ndarray, [B] bool
        Which records are of each kind.
    """

    name: str
    kinds: dict[str, np.ndarray]

    def split(self, task: Task, labels: Sequence[str], seed: int = 0, told: bool = False) -> dict[str, np.ndarray]:
        """Positions: "test" (of the benchmark, of a kind), "val" (a tenth of the rest of the benchmark, by formula) and "train".

        With `told`, crystals of a kind, of other formulas than those tested, may train where they come from files of electronic labels.
        """
        out = np.logical_or.reduce(list(self.kinds.values()))
        first = np.flatnonzero(~out[: task.n_benchmark])
        drawn = split_by_group([task.records[i] for i in first], seed, (0.85, 0.1, 0.05))
        drawn = {"train": first[np.concatenate([drawn["train"], drawn["test"]])], "val": first[drawn["val"]], "test": np.flatnonzero(out[: task.n_benchmark])}
        split = held_out(drawn, task.records, task.group, "group")
        train = split["train"][np.isin(split["train"], rows_of_labels(task, labels))]
        shown = np.array([told and file_of(task, i) in ELECTRONIC_ONLY for i in train], dtype=bool)
        return split | {"train": train[shown | ~out[train]]}


def folds_of(variant: Variant, kept: Sequence[Fold]) -> list[Fold]:
    """Those that a variant answers for."""
    return [f for f in kept if not variant.told or not f.name.startswith("clusters")]


def file_of(task: Task, i: int) -> str:
    """Name of the data file of a record, without its ending."""
    return task.records[i].meta.get("file", "").removesuffix(".json.gz")


def rows_of_labels(task: Task, labels: Sequence[str]) -> np.ndarray:
    """Positions of the benchmark's records and of those of some files."""
    return np.array([i for i in range(len(task.records)) if i < task.n_benchmark or file_of(task, i) in labels])


def points(invariants: np.ndarray, dimensions: int = 50) -> np.ndarray:
    """[B, dimensions]: principal components of pooled features [B, D], for `kinds.clusters`."""
    spread = invariants.std(0)
    varies = spread > 1e-8
    return PCA(dimensions, random_state=0).fit_transform(((invariants - invariants.mean(0)) / np.where(varies, spread, 1))[:, varies])


def folds(task: Task, invariants: np.ndarray, cache_dir: str | Path | None = None) -> list[Fold]:
    """Pairs of elements, bonding, tails, and clusters of pooled features [B, D], `TOGETHER` at a time."""
    by_cluster = clusters(points(invariants))
    names = sorted(by_cluster)
    some = [names[i : i + TOGETHER] for i in range(0, len(names), TOGETHER)]
    return [
        Fold("pairs", element_pairs(task.records)),
        Fold("bonding", bonding_kinds(task.records, cache_dir)),
        Fold(TAILS, tails(task.records, task.n_benchmark)),
        *(Fold("clusters " + " ".join(n.split()[1] for n in chosen), {n: by_cluster[n] for n in chosen}) for chosen in some),
    ]


def both_of(networks: Sequence[DTNet], recipe: Recipe, task: Task, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Electronic, ionic and total tensors of some crystals by each network of a recipe, with its link and before it: two [M, b, 3, 3, 3]."""
    each = [both_tensors(n, task.of(f).batch(torch.as_tensor(rows))) for n, f in zip(networks, recipe.members, strict=True)]
    bounded, unbounded = (with_total(np.stack(tensors)) for tensors in zip(*each, strict=True))
    return bounded, unbounded


def answers(task: Task, fold: Fold, variant: Variant, cache_dir: str | Path | None = None, progress: bool = True) -> dict[str, np.ndarray]:
    """What the networks of a variant, trained without a fold, say of its crystals and of the validation crystals; modes are not looked at.

    Returns
    -------
    dict
        "train", "val", "test": positions. "val_bounded", "val_unbounded", "test_bounded", "test_unbounded": electronic, ionic and
        total tensors [M, b, 3, 3, 3]. "commit" that trained them.
    """
    recipe = variant.recipe
    split = fold.split(task, recipe.labels, told=variant.told)
    key = hashlib.sha256(repr((recipe, task.checksum, sources(*CODE_OF_A_RUN), *map(bytes, split.values()))).encode()).hexdigest()[:16]
    path = Path(cache_dir or default_cache_dir()) / "domain" / f"{fold.name.replace(' ', '-')}-{key}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return dict(stored)
    networks = [fit_member(recipe, task, split, 0, m, cache_dir, progress).model for m in range(len(recipe.members))]
    found = dict(split)
    for part in ("val", "test"):
        found[f"{part}_bounded"], found[f"{part}_unbounded"] = both_of(networks, recipe, task, split[part])
    found["commit"] = np.array(provenance()["commit"])
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    write_atomic(path, buffer.getvalue())
    return found


def mending_of(task: Task, train: np.ndarray, cache_dir: str | Path | None = None, progress: bool = True) -> Mending:
    """How the crystals' modes mend answers, by Born charges and a companion that were fitted to the crystals at the positions `train` alone."""
    born = [task.records[i] for i in train if file_of(task, i) == SOURCE and task.records[i].meta.get("born_charges")]
    known = benchmark_modes(MENDS, task, cache_dir, progress, born)
    companion = known.fit(train[train < task.n_benchmark])

    def mending(rows: np.ndarray, bounded: np.ndarray, unbounded: np.ndarray, apart: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Modes]:
        mended, raw, from_modes = known.mended(companion, bounded, unbounded, rows)
        modes = known.modes.of(rows)
        return mended, raw, modes.apart(apart, from_modes), modes

    return mending
