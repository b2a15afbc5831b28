"""The benchmark of reach: networks that have seen no crystal of a kind answer for all tested crystals of it.

A fold keeps whole kinds from training (`kinds`), whatever file their records come from, and with them every record of the same
formula or material (`data.held_out`). What the networks say, unbounded and one by one, is kept in the cache folder, so that ways to
bound, mix and doubt answers can be compared without training again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from tqdm import tqdm

from ..base.files import write_atomic
from ..base.paths import default_cache_dir
from ..data.held_out import held_out
from ..data.labels import LABELS
from ..data.splits import split_by_group
from ..ensemble import unbounded_tensors
from ..layers import pooled
from ..training.joint import TRAIN, Recipe, Task, fit_member
from .kinds import bonding_kinds, clusters, element_pairs, tails

TOGETHER = 2
"""Clusters held out by one fold."""
SMALL = Recipe(("7net-0:0-5", "7net-l3i5:0-5"), train=replace(TRAIN, max_epochs=15))
"""The recipe "default" with a member of each encoder and half the epochs: a benchmark that is cheap enough to be run for each idea."""
RECIPES = {"labels that ship": SMALL, "with further electronic labels": replace(SMALL, labels=LABELS)}


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

    def split(self, task: Task, labels: Sequence[str], seed: int = 0) -> dict[str, np.ndarray]:
        """Positions: "test" (of the benchmark, of a kind), "val" (a tenth of the rest of the benchmark, by formula) and "train"."""
        out = np.logical_or.reduce(list(self.kinds.values()))
        first = np.flatnonzero(~out[: task.n_benchmark])
        drawn = split_by_group([task.records[i] for i in first], seed, (0.85, 0.1, 0.05))
        drawn = {"train": first[np.concatenate([drawn["train"], drawn["test"]])], "val": first[drawn["val"]], "test": np.flatnonzero(out[: task.n_benchmark])}
        split = held_out(drawn, task.records, task.group, "group")
        from_file = np.array([r.meta.get("file", "").removesuffix(".json.gz") for r in task.records])
        allowed = ~out & ((np.arange(len(out)) < task.n_benchmark) | np.isin(from_file, labels))
        return split | {"train": split["train"][allowed[split["train"]]]}


def points(task: Task, features: str = "7net-0:0-5", dimensions: int = 50) -> np.ndarray:
    """[B, dimensions]: principal components of the pooled features of all records, for `kinds.clusters`."""
    data = task.of(features)
    numbers = torch.cat([pooled(data.batch(rows)) for rows in torch.split(torch.arange(len(data)), 1000)]).double().numpy()
    spread = numbers.std(0)
    return PCA(dimensions, random_state=0).fit_transform((numbers - numbers.mean(0))[:, spread > 1e-8] / spread[spread > 1e-8])


def folds(task: Task, cache_dir: str | Path | None = None) -> list[Fold]:
    """Pairs of elements, bonding, tails, and clusters, `TOGETHER` at a time."""
    by_cluster = clusters(points(task))
    names = sorted(by_cluster)
    some = [names[i : i + TOGETHER] for i in range(0, len(names), TOGETHER)]
    return [
        Fold("pairs", element_pairs(task.records)),
        Fold("bonding", bonding_kinds(task.records, cache_dir)),
        Fold("tails", tails(task.records, task.n_benchmark)),
        *(Fold("clusters " + " ".join(n.split()[1] for n in chosen), {n: by_cluster[n] for n in chosen}) for chosen in some),
    ]


def answers(task: Task, fold: Fold, recipe: Recipe, cache_dir: str | Path | None = None, progress: bool = True) -> dict[str, np.ndarray]:
    """What a recipe's networks, trained without a fold, say of its crystals and of the validation crystals.

    Returns
    -------
    dict
        "train", "val", "test": positions. "val_members", "test_members": unbounded electronic and ionic tensors [M, b, 2, 3, 3].
    """
    split = fold.split(task, recipe.labels)
    key = hashlib.sha256(repr((recipe, task.checksum, *map(bytes, split.values()))).encode()).hexdigest()[:16]
    path = Path(cache_dir or default_cache_dir()) / "domain" / f"{fold.name.replace(' ', '-')}-{key}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return dict(stored)
    networks = [fit_member(recipe, task, split, 0, m, cache_dir, progress).model for m in range(len(recipe.members))]
    found = dict(split)
    for part in ("val", "test"):
        each = [unbounded_tensors(n, task.of(f).batch(torch.as_tensor(split[part]))) for n, f in zip(networks, recipe.members, strict=True)]
        found[f"{part}_members"] = np.stack(each)
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    write_atomic(path, buffer.getvalue())
    return found


def run_all(task: Task, recipe: Recipe, cache_dir: str | Path | None = None, progress: bool = True) -> Iterator[tuple[Fold, dict[str, np.ndarray]]]:
    """`answers` of every fold, trained where they are not stored."""
    for fold in tqdm(folds(task, cache_dir), unit="fold", disable=not progress):
        yield fold, answers(task, fold, recipe, cache_dir, progress)
