"""The crystals that are measured: a profile's own, and as many strained copies of them as are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import Record
from dtnet_core.data.cleaning import clean
from dtnet_core.data.loading import load_records

_GOLDEN = 0.6180339887498949
LARGEST_STRAIN = 0.03


def crystals(profile: str, n: int, data_dir: str | None = None) -> list[Record]:
    """`n` different crystals, the same every time.

    The records of the profile come in a shuffled order of fixed seed. When they are used up, copies follow whose
    lattice is scaled by up to 3 %: these keep their symmetry, and are new crystals to encoder and feature store. They
    keep their tensors, which is of no importance for speed.

    Raises
    ------
    FileNotFoundError
        When the profile's data is not there.
    """
    records = clean(load_records(profile, data_dir=data_dir))[0]
    order = np.random.default_rng(0).permutation(len(records))
    return [_copy(records[order[i % len(order)]], i // len(order)) for i in range(n)]


def _copy(record: Record, number: int) -> Record:
    if number == 0:
        return record
    scale = 1 + LARGEST_STRAIN * (2 * (number * _GOLDEN % 1) - 1)
    old = record.structure
    structure = Structure(Lattice(old.lattice.matrix * scale), old.species, old.frac_coords)
    return replace(record, id=f"{record.id}-copy{number}", structure=structure)
