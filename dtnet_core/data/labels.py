"""More labels than the tensors of the benchmark: scalars, electronic tensors or their diagonals, and tensors of other functionals.

A joint model trains on them beside the tensors it is tested on; `held_out` keeps out what it may not know.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..crystals.frames import tensor_violations
from ..crystals.record import APART, Record
from .cleaning import SUPPORTED_ELEMENTS, clean
from .loading import load_records, resolve_data_dir

WITH_TOTAL = ("pbesol_tensors", "mp_scalars")
"""Files whose records know the total constant, too."""
LABELS = (*WITH_TOTAL, "naccarato_electronic", "jarvis_electronic")
MAX_ATOMS = 60
"""Larger cells among the crystals with scalars are left out: they cost most of the encoding."""


ELECTRONIC = (1.0, 30.0)
"""Electronic constants that a file of electronic tensors may teach: larger ones come from gaps that nearly close."""
SMALLEST_GAP = 0.3
"""In eV, of labels from independent particles: their constants diverge as the gap closes."""
_VIOLATION = 0.01


def load_auxiliary(tensors: Sequence[Record], data_dir: str | Path | None = None, names: Sequence[str] = WITH_TOTAL) -> list[Record]:
    """Records to train on beside `tensors`, file by file in the order of `LABELS`.

    Parameters
    ----------
    tensors : sequence of Record
        The benchmark's own; a crystal of one of their Materials Project ids has nothing to add, except with another functional.
    data_dir : path, optional
        See `data.loading.resolve_data_dir`.
    names : sequence of str
        Some of `LABELS`.

    Returns
    -------
    list of Record
        `pbesol_tensors`, cleaned as the benchmark is; of `mp_scalars` those with 1 <= electronic <= total <= 100; of
        `naccarato_electronic` (DFPT) and `jarvis_electronic` (independent particles with a van der Waals functional, told apart) those
        with an electronic constant within `ELECTRONIC`, a gap of at least `SMALLEST_GAP` for the latter; of all but the first only
        cells of no more than `MAX_ATOMS` atoms of known elements. An id that an earlier record has gets the name of its file in front.
        A file that the folder does not have gives none, with a warning: one that `download` filled with all tensors of the Materials
        Project needs no scalars of the same crystals.

    Raises
    ------
    ValueError
        For a name that is not among `LABELS`.
    """
    if unknown := [name for name in names if name not in LABELS]:
        raise ValueError(f"labels are {', '.join(unknown)}; choose among {', '.join(LABELS)}")
    known, taken, found = {r.mp_id for r in tensors if r.mp_id}, {r.id for r in tensors}, []
    for name in LABELS:
        for record in _chosen(name, known, data_dir) if name in names else ():
            found.append(replace(record, id=f"{name}:{record.id}") if record.id in taken else record)
            taken.add(found[-1].id)
    return found


def _chosen(name: str, known: set[str], data_dir: str | Path | None) -> list[Record]:
    records = load_if_there(name, data_dir, stacklevel=4)  # the line that asked for labels
    if name == "pbesol_tensors":
        return clean(records)[0]
    if name == "mp_scalars":
        return [r for r in records if r.mp_id not in known and _usable(r)]
    return [_in_its_frame(r) for r in records if (r.functional in APART or r.mp_id not in known) and _teaches_electronic(r)]


def load_if_there(name: str, data_dir: str | Path | None = None, stacklevel: int = 2) -> list[Record]:
    """Records of a file of the data folder; none, with a warning, where the folder does not have it."""
    if (resolve_data_dir("full", data_dir) / f"{name}.json.gz").is_file():
        return load_records("full", name, data_dir)
    warnings.warn(f"no {name}.json.gz in the data folder: this goes on without its labels, and results are not the stored ones", stacklevel=stacklevel)
    return []


def _usable(record: Record) -> bool:
    electronic, total = record.scalar("electronic"), record.scalar("total")
    return electronic is not None and total is not None and 1 <= electronic <= total <= 100 and _encodable(record)


def _teaches_electronic(record: Record) -> bool:
    electronic, gap = record.scalar("electronic"), record.meta.get("band_gap_ev")
    if electronic is None or not ELECTRONIC[0] <= electronic <= ELECTRONIC[1] or not _encodable(record):
        return False
    return record.functional not in APART or (gap is not None and gap >= SMALLEST_GAP)


def _encodable(record: Record) -> bool:
    return len(record.structure) <= MAX_ATOMS and {e.symbol for e in record.structure.composition} <= SUPPORTED_ELEMENTS


def _in_its_frame(record: Record) -> Record:
    """The record; without its tensor and diagonal, only the constant, where the tensor is off the structure's point group."""
    if record.eps_electronic is None or tensor_violations(record)["electronic"] <= _VIOLATION:
        return record
    meta = {k: v for k, v in record.meta.items() if k != "eps_electronic_diag"} | {"eps_electronic_poly": float(np.trace(record.eps_electronic)) / 3}
    return replace(record, eps_electronic=None, meta=meta)
