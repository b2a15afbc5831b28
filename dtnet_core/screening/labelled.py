"""Crystals with known tensors, as a study needs them: with gaps, each once, and some hidden.

What is hidden is drawn by formula, so that no polymorph of a hidden crystal is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..base.files import read_json
from ..crystals.record import Record
from ..crystals.structures import crystal_key
from ..data.loading import load_clean, resolve_data_dir
from .selection import band_gap, gaps_of, task_values


def with_gaps(records: Sequence[Record], profile: str, data_dir: str | Path | None = None) -> list[Record]:
    """Records whose file has no gap get the one that ``mp_scalars`` has for their Materials Project id (profile "full")."""
    if profile != "full":
        return list(records)
    path = resolve_data_dir(profile, data_dir) / "mp_scalars.json.gz"
    known = {item["mp_id"]: item.get("band_gap_ev") for item in read_json(path)} if path.exists() else {}
    missing = {r.id: known.get(r.mp_id) for r in records if band_gap(r) is None}
    return [r if missing.get(r.id) is None else replace(r, meta=r.meta | {"band_gap_ev": missing[r.id]}) for r in records]


def load_labelled(profile: str = "mini", data_dir: str | Path | None = None) -> tuple[list[Record], str]:
    """Labelled records, each crystal once, with gaps where known; and the SHA-256 of the data."""
    records, checksum = load_clean(profile, data_dir)
    return list({crystal_key(r.structure): r for r in reversed(with_gaps(records, profile, data_dir))}.values())[::-1], checksum


def asked(task: str, records: Sequence[Record]) -> list[Record]:
    """The records that a task can be asked of: all, or for the figure of merit those with a gap above zero."""
    return [r for r in records if task == "anisotropy" or (band_gap(r) or 0) > 0]


def true_values(task: str, records: Sequence[Record]) -> np.ndarray:
    """What a task measures on the records' own total tensors [B] (NaN: no gap, or not positive definite)."""
    return task_values(task, np.array([r.eps_total for r in records]), gaps_of(records))


def hide(records: Sequence[Record], known: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Known and hidden records, drawn by formula so that no polymorph of a hidden crystal is known."""
    formulas = sorted({r.formula for r in records})
    shown: set[str] = set()
    counts = {f: 0 for f in formulas}
    for r in records:
        counts[r.formula] += 1
    size = 0
    for position in np.random.default_rng(seed).permutation(len(formulas)):
        if size >= known:
            break
        shown.add(formulas[position])
        size += counts[formulas[position]]
    if size == len(records):
        raise ValueError(f"{known} known of {len(records)} records leave nothing to hide; lower `known`")
    return [r for r in records if r.formula in shown], [r for r in records if r.formula not in shown]


def formula_folds(records: Sequence[Record], folds: int, seed: int) -> np.ndarray:
    """Number of the fold [B] of each record; all records of a formula share one."""
    formulas = sorted({r.formula for r in records})
    place = np.random.default_rng(seed).permutation(len(formulas)) % folds
    fold = dict(zip(formulas, place.tolist(), strict=True))
    return np.array([fold[r.formula] for r in records])
