"""Training, validation and test sets: by record, as the paper splits, and by formula, which is harder.

The same compound appears under several ids, and its polymorphs are alike: a split by record lets a model see
a test compound's sister in training. A split by group keeps all records of a reduced formula on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..crystals.record import Record

FRACTIONS = (0.8, 0.1, 0.1)
"""Training, validation, test (paper, Section 2.3.1)."""

PARTS = ("train", "val", "test")
SPLITS = ("record", "group")


def split_by_record(
    ids: Sequence[str], seed: int, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, np.ndarray]:
    """Random split of records.

    The ids are sorted, then shuffled with `seed`; the test set is taken first, then the validation set. So
    the split depends on the set of ids and the seed, not on the order of the records.

    Parameters
    ----------
    ids : sequence of str
        Unique ids.
    seed : int
    fractions : (float, float, float)
        Training, validation, test; they add up to 1.

    Returns
    -------
    dict of str to np.ndarray
        "train", "val", "test": int64 positions in `ids`, each in shuffled order; every position once.

    Raises
    ------
    ValueError
        For repeated ids, fractions that do not add up to 1, or fewer than 3 ids.
    """
    ids = list(ids)
    if len(set(ids)) != len(ids):
        repeated = next(i for i in ids if ids.count(i) > 1)
        raise ValueError(f"id {repeated!r} appears more than once; drop duplicates before splitting")
    _, n_val, n_test = _sizes(len(ids), fractions)
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    order = order[np.random.default_rng(seed).permutation(len(ids))]
    return {"train": order[n_test + n_val :], "val": order[n_test : n_test + n_val], "test": order[:n_test]}


def split_by_group(
    records: Sequence[Record],
    seed: int,
    fractions: tuple[float, float, float] = FRACTIONS,
    key: Callable[[Any], str] = lambda record: record.formula,
) -> dict[str, np.ndarray]:
    """Random split that never divides a group (by default: the records of one reduced formula).

    The groups are sorted, then shuffled with `seed`, and fill the test set up to its share, then the
    validation set, then the training set; a set ends above its share by less than one group.

    Parameters
    ----------
    records : sequence of Record
    seed : int
    fractions : (float, float, float)
        Training, validation, test; they add up to 1.
    key : callable
        Group of a record.

    Returns
    -------
    dict of str to np.ndarray
        As `split_by_record`, positions in `records`.

    Raises
    ------
    ValueError
        For fractions that do not add up to 1, fewer than 3 groups, or a group so large that it leaves a set
        empty.
    """
    members: dict[str, list[int]] = {}
    for position in sorted(range(len(records)), key=lambda i: records[i].id):
        members.setdefault(key(records[position]), []).append(position)
    _sizes(len(members), fractions)
    _, n_val, n_test = _sizes(len(records), fractions)
    groups = sorted(members)
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for g in np.random.default_rng(seed).permutation(len(groups)):
        part = "test" if len(parts["test"]) < n_test else "val" if len(parts["val"]) < n_val else "train"
        parts[part] += members[groups[g]]
    if empty := [part for part in PARTS if not parts[part]]:
        largest = max(groups, key=lambda g: len(members[g]))
        raise ValueError(
            f"the {empty[0]} set is empty: group {largest!r} has {len(members[largest])} of {len(records)} "
            "records; use more records or another key"
        )
    return {part: np.array(parts[part], dtype=np.int64) for part in PARTS}


def draw_split(records: Sequence[Record], seed: int, kind: str = "record", fraction: float = 1.0) -> dict[str, np.ndarray]:
    """`split_by_record` or `split_by_group`, with a share of the training set.

    Parameters
    ----------
    records : sequence of Record
    seed : int
    kind : {"record", "group"}
    fraction : float
        The first of the shuffled training crystals are kept, so that a smaller share is part of a larger one.

    Returns
    -------
    dict of str to np.ndarray
        As `split_by_record`, positions in `records`.
    """
    drawn = split_by_group(records, seed) if kind == "group" else split_by_record([r.id for r in records], seed)
    return drawn | {"train": drawn["train"][: max(1, round(fraction * len(drawn["train"])))]}


def spell_split(split: str, fraction: float) -> str:
    """A run's kind of split in a results file: "record", or "record:0.25" for a quarter of the training set.

    Raises
    ------
    ValueError
        For a fraction that is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; give a share of the training set above 0, at most 1")
    return split if fraction == 1 else f"{split}:{fraction:g}"


def _sizes(n: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    """Numbers of training, validation and test items; at least one each."""
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions are {fractions}; give three positive numbers that add up to 1")
    if n < 3:
        raise ValueError(
            f"{n} items cannot be divided into training, validation and test sets; give at least 3"
        )
    n_val, n_test = max(1, round(n * fractions[1])), max(1, round(n * fractions[2]))
    return n - n_val - n_test, n_val, n_test
