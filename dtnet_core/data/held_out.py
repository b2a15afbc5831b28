"""What may train, given the crystals to test and to validate on: the one place that decides it.

Nothing that trains may be the material of a validation or a test crystal, and no validation crystal that of a test crystal:
`material_groups` says which records are the same material. Where crystals are split by formula, nothing that trains may have
the formula of one of them either, whatever set it comes from. `near_twins` finds what neither rule sees: stackings and small
distortions of a test crystal, which no split by record keeps apart; scores are given with and without them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from ..crystals.record import Record
from ..potentials.store import compute_features

TWIN_FEATURES = "7net-0:1-5"
TWIN_DISTANCE = 0.07
"""Root mean square difference of two crystals' mean scalars, each in units of its deviation over all crystals, below which two
crystals of a formula are near twins: 46 % of the pairs that `material_groups` finds are that near, polytypes are at 0.01."""


def held_out(drawn: Mapping[str, np.ndarray], records: Sequence[Record], group: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """A drawn split without what its crystals to test and validate on forbid, and with all further records that may train.

    Parameters
    ----------
    drawn : mapping
        Positions "train", "val", "test" in `records`, as `splits.draw_split` gives them.
    records : sequence of Record
        Those that were split, then further ones.
    group : np.ndarray, [B]
        Of `material_groups(records)`.
    kind : {"record", "group"}
        "group": formulas are kept apart, too.

    Returns
    -------
    dict
        "train" (further records included), "val", "test"; the test crystals are those that were drawn.
    """
    split = np.concatenate([drawn[part] for part in ("train", "val", "test")])
    candidates = np.concatenate([drawn["train"], np.setdiff1d(np.arange(len(records)), split)])
    keys = [group] if kind == "record" else [group, np.unique([r.formula for r in records], return_inverse=True)[1]]
    val, train = drawn["val"], candidates
    for key in keys:
        val = without_relatives(val, drawn["test"], key)
        train = without_relatives(train, np.concatenate([drawn["val"], drawn["test"]]), key)
    return {"train": train, "val": val, "test": drawn["test"]}


def without_relatives(candidates: np.ndarray, others: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Of the positions `candidates` those whose group is none of the positions `others`."""
    return candidates[~np.isin(group[candidates], group[others])]


def material_groups(records: Sequence[Record]) -> np.ndarray:
    """Number [B] of the material of each record: equal for equal ids, and for equal formulas with matching structures.

    Structures are compared by pymatgen's StructureMatcher (primitive cells, volumes scaled, its default tolerances), in either
    order, so that relaxations with different functionals match.
    """
    group = np.arange(len(records))
    named: dict[str, int] = {}
    for i, record in enumerate(records):
        if record.mp_id and (first := named.setdefault(record.mp_id, i)) != i:
            group[group == group[i]] = group[first]
    matcher = StructureMatcher(primitive_cell=True, scale=True)
    cells: dict[int, Structure] = {}
    for i, j in _pairs(records):
        if group[i] == group[j]:
            continue
        for k in {i, j} - set(cells):
            cells[k] = records[k].structure.get_primitive_structure()
        a, b = cells[i], cells[j]
        if len(a) == len(b) and (matcher.fit(a, b) or matcher.fit(b, a)):
            group[group == group[i]] = group[j]
    return group


def near_twins(records: Sequence[Record], cache_dir: str | Path | None = None, progress: bool = True) -> list[tuple[int, int]]:
    """Pairs of positions that are the same material but for a looser rule, or nearly so for a potential.

    Same formula, and either the StructureMatcher with wider tolerances (cells of any size; still too narrow for rocksalt and zincblende), or mean scalars of
    `TWIN_FEATURES` nearer than `TWIN_DISTANCE`.
    """
    found = compute_features(TWIN_FEATURES, [r.structure for r in records], False, cache_dir, progress)
    means = np.stack([f.scalars.double().mean(0).numpy() for f in found])  # [B, C]
    means /= np.maximum(means.std(0), 1e-12)
    matcher = StructureMatcher(ltol=0.3, stol=0.4, angle_tol=7.5, primitive_cell=True, scale=True)
    twins = []
    for i, j in _pairs(records):
        near = np.sqrt(np.square(means[i] - means[j]).mean()) < TWIN_DISTANCE
        if near or matcher.fit(records[i].structure, records[j].structure) or matcher.fit(records[j].structure, records[i].structure):
            twins.append((i, j))
    return twins


def with_twin(rows: np.ndarray, others: np.ndarray, twins: Sequence[tuple[int, int]] | np.ndarray) -> np.ndarray:
    """[len(rows)] bool: whether a position of `rows` has a near twin among the positions `others`."""
    wanted, known = set(rows.tolist()), set(others.tolist())
    marked = {a for pair in map(tuple, twins) for a, b in (pair, pair[::-1]) if a in wanted and b in known}
    return np.array([i in marked for i in rows.tolist()], dtype=bool)


def _pairs(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Positions (later, earlier) of every two records of a formula."""
    by_formula: dict[str, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        by_formula[record.formula].append(position)
    return [(i, j) for members in by_formula.values() for place, i in enumerate(members) for j in members[:place]]
