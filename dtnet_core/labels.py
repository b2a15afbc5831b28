"""More labels than the tensors of the benchmark: crystals with scalars only, and tensors of a second functional.

A joint model trains on them beside the tensors it is tested on. Nothing it trains on may be a material it is tested or
tuned on: `material_groups` says which records are the same material, `without_relatives` keeps them out.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from .cleaning import SUPPORTED_ELEMENTS, clean
from .data import load_records, resolve_data_dir
from .record import Record

MAX_ATOMS = 60
"""Larger cells among the crystals with scalars are left out: they cost most of the encoding."""


def load_auxiliary(tensors: Sequence[Record], data_dir: str | Path | None = None) -> list[Record]:
    """Records to train on beside `tensors`: PBEsol tensors, then crystals with scalars that `tensors` does not hold.

    Parameters
    ----------
    tensors : sequence of Record
        The benchmark's own; a crystal of one of their Materials Project ids has nothing to add.
    data_dir : path, optional
        See `data.resolve_data_dir`.

    Returns
    -------
    list of Record
        `pbesol_tensors`, cleaned as the benchmark is, and of `mp_scalars` those with 1 <= electronic <= total <= 100 and
        no more than `MAX_ATOMS` atoms of known elements. A file that the folder does not have gives none, with a warning: one that
        `download` filled with all tensors of the Materials Project needs no scalars of the same crystals.
    """
    known = {r.mp_id for r in tensors if r.mp_id}
    second = clean(load_if_there("pbesol_tensors", data_dir))[0]
    scalars = [r for r in load_if_there("mp_scalars", data_dir) if r.mp_id not in known and _usable(r)]
    return [*second, *scalars]


def load_if_there(name: str, data_dir: str | Path | None = None) -> list[Record]:
    """Records of a file of the data folder; none, with a warning, where the folder does not have it."""
    if (resolve_data_dir("full", data_dir) / f"{name}.json.gz").is_file():
        return load_records("full", name, data_dir)
    warnings.warn(f"no {name}.json.gz in the data folder: this goes on without its labels, and results are not the stored ones", stacklevel=3)
    return []


def _usable(record: Record) -> bool:
    electronic, total = record.scalar("electronic"), record.scalar("total")
    if electronic is None or total is None or not 1 <= electronic <= total <= 100:
        return False
    return len(record.structure) <= MAX_ATOMS and {e.symbol for e in record.structure.composition} <= SUPPORTED_ELEMENTS


def material_groups(records: Sequence[Record]) -> np.ndarray:
    """Number [B] of the material of each record: equal for equal ids, and for equal formulas with matching structures.

    Structures are compared by pymatgen's StructureMatcher (primitive cells, volumes scaled, its default tolerances), so
    that relaxations with different functionals match.
    """
    by_formula: dict[str, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        by_formula[record.formula].append(position)
    group = np.arange(len(records))
    matcher = StructureMatcher(primitive_cell=True, scale=True)
    cells = {i: r.structure.get_primitive_structure() for i, r in enumerate(records) if len(by_formula[r.formula]) > 1}
    for members in by_formula.values():
        for place, i in enumerate(members):
            for j in members[:place]:
                if group[i] != group[j] and _same(matcher, records[i], records[j], cells[i], cells[j]):
                    group[group == group[i]] = group[j]
    return group


def _same(matcher: StructureMatcher, a: Record, b: Record, cell_a, cell_b) -> bool:
    if a.mp_id and a.mp_id == b.mp_id:
        return True
    return len(cell_a) == len(cell_b) and matcher.fit(cell_a, cell_b)


def without_relatives(candidates: np.ndarray, held_out: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Of the positions `candidates` those whose material is none of the positions `held_out`."""
    return candidates[~np.isin(group[candidates], group[held_out])]
