"""More labels than the tensors of the benchmark: crystals with scalars only, and tensors of a second functional.

A joint model trains on them beside the tensors it is tested on; `held_out` keeps out what it may not know.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from ..crystals.record import Record
from .cleaning import SUPPORTED_ELEMENTS, clean
from .loading import load_records, resolve_data_dir

MAX_ATOMS = 60
"""Larger cells among the crystals with scalars are left out: they cost most of the encoding."""


def load_auxiliary(tensors: Sequence[Record], data_dir: str | Path | None = None) -> list[Record]:
    """Records to train on beside `tensors`: PBEsol tensors, then crystals with scalars that `tensors` does not hold.

    Parameters
    ----------
    tensors : sequence of Record
        The benchmark's own; a crystal of one of their Materials Project ids has nothing to add.
    data_dir : path, optional
        See `data.loading.resolve_data_dir`.

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
