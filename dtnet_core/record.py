"""The record of one crystal: its structure and its dielectric tensors, in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymatgen.core import Structure

TARGETS = ("electronic", "ionic", "total")
FUNCTIONALS = ("PBE", "PBEsol")
"""Kinds of labels a joint model tells apart; "PBE" stands for PBE and PBE+U."""


@dataclass(frozen=True, eq=False)
class Record:
    """A crystal and its dielectric tensors in the Cartesian frame of `structure`.

    Attributes
    ----------
    id : str
        Unique in its file.
    structure : pymatgen Structure
        Lengths in angstrom.
    formula : str
        Reduced formula.
    eps_electronic, eps_ionic, eps_total : np.ndarray [3, 3] float64 or None
        Relative permittivity, dimensionless, read-only; total = electronic + ionic.
    functional, code, source : str
        How the tensors were computed, and who published them.
    mp_id : str or None
        Materials Project id.
    symmetry_violation : float or None
        Largest relative deviation from the structure's point group; see `frames.tensor_violations`.
    flags : tuple of str
        Doubts about the record.
    meta : dict
        All other fields of the file, and "file", the name of the file.
    """

    id: str
    structure: Structure
    formula: str
    eps_electronic: np.ndarray | None = None
    eps_ionic: np.ndarray | None = None
    eps_total: np.ndarray | None = None
    functional: str = ""
    code: str = ""
    source: str = ""
    mp_id: str | None = None
    symmetry_violation: float | None = None
    flags: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def tensor(self, target: str) -> np.ndarray | None:
        """The [3, 3] tensor of a target ("electronic", "ionic", "total"), or None."""
        if target not in TARGETS:
            raise ValueError(f"target is {target!r}; choose one of {', '.join(TARGETS)}")
        return getattr(self, f"eps_{target}")

    def scalar(self, target: str) -> float | None:
        """Mean diagonal element (Eq. 2) of a target, also where only scalars were published; or None."""
        tensor = self.tensor(target)
        if tensor is not None:
            return float(np.trace(tensor)) / 3
        known = {t: self.meta.get(f"eps_{t}_poly") for t in ("electronic", "total")}
        if target != "ionic":
            return known[target]
        return None if None in known.values() else known["total"] - known["electronic"]
