"""The record of one crystal: its structure and its dielectric tensors, in one frame; from and to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pymatgen.core import Structure

from ..base.files import DataFileError
from .structures import InvalidStructureError, structure_from_dict, structure_to_dict

TARGETS = ("electronic", "ionic", "total")
FUNCTIONALS = ("PBE", "PBEsol", "OptB88vdW")
"""Kinds of labels a joint model tells apart; "PBE" stands for PBE and PBE+U."""
LABELLED = {"": 0, "PBE": 0, "PBE+U": 0, "PBEsol": 1, "PBEsol+U": 1}
"""Position in `FUNCTIONALS` of each functional that may train; "" is a published constant of the Materials Project, which names none. No hybrid,
LDA, meta-GGA or van der Waals functional is among them: their labels are not those of PBE."""
APART = {"OptB88vdW": 2}
"""Position in `FUNCTIONALS` of functionals that `data.labels` adds knowingly, as labels of their own kind; `data.cleaning` lets none of them in."""

_KNOWN = frozenset(
    ("id", "mp_id", "formula", "structure", "source", "functional", "code", "flags", "symmetry_violation",
     *(f"eps_{t}" for t in TARGETS))
)  # fmt: skip


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

    def diagonal(self, target: str) -> np.ndarray | None:
        """The diagonal [3] of a target's tensor in the frame of `structure`, also where only that was published; or None."""
        tensor, known = self.tensor(target), self.meta.get(f"eps_{target}_diag")
        if tensor is None and known is not None:
            return np.array(known, dtype=float)
        return None if tensor is None else np.diag(tensor)

    def scalar(self, target: str) -> float | None:
        """Mean diagonal element (Eq. 2) of a target, also where only scalars were published; or None."""
        tensor = self.tensor(target)
        if tensor is not None:
            return float(np.trace(tensor)) / 3
        electronic, total = (self.meta.get(f"eps_{t}_poly") for t in ("electronic", "total"))
        if target != "ionic":
            return electronic if target == "electronic" else total
        return None if electronic is None or total is None else total - electronic


def functional_kind(record: Record) -> int:
    """Position in `FUNCTIONALS` of a record's labels.

    Raises
    ------
    ValueError
        Naming the record, for a functional that is none of `LABELLED` or `APART`.
    """
    kinds = LABELLED | APART
    if record.functional not in kinds:
        raise ValueError(f"record {record.id} ({record.formula}) was computed with {record.functional}: networks learn from {', '.join(filter(None, LABELLED))} only; leave it out")
    return kinds[record.functional]


def record_from_dict(item: Mapping, file: str = "", position: int = 0) -> Record:
    """One record from its JSON form.

    Raises
    ------
    DataFileError
        Naming file, position and id, when the structure or a tensor does not follow the schema.
    """
    if not isinstance(item, Mapping):
        raise DataFileError(f"{file}, record {position}: expected an object, found {type(item).__name__}", file, f"record {position}")
    name = str(item.get("id") or item.get("mp_id") or position)
    where = f"{file}, record {position} ({name})"
    if not isinstance(item.get("structure"), Mapping):
        raise DataFileError(f"{where}: no structure", file, f"record {position}")
    tensors = {f"eps_{t}": _tensor(item.get(f"eps_{t}"), f"{where}: eps_{t}") for t in TARGETS}
    if np.ndim(item["structure"].get("cell", ())) == 1 and "cell" in item["structure"] and any(t is not None for t in tensors.values()):
        raise DataFileError(
            f"{where}: a tensor beside a structure that has lengths and angles only: no common frame"
        )
    try:
        structure = structure_from_dict(item["structure"])
    except InvalidStructureError as error:
        raise DataFileError(f"{where}: {error}", file, f"record {position}") from error
    violation = item.get("symmetry_violation")
    if isinstance(violation, Mapping):
        violation = max((v for v in violation.values() if v is not None), default=None)
    return Record(
        id=name,
        structure=structure,
        formula=structure.composition.reduced_formula,
        **tensors,
        functional=item.get("functional") or "",
        code=item.get("code") or "",
        source=item.get("source") or "",
        mp_id=item.get("mp_id"),
        symmetry_violation=None if violation is None else float(violation),
        flags=tuple(item.get("flags") or ()),
        meta={**{k: v for k, v in item.items() if k not in _KNOWN}, "file": file},
    )


def _tensor(value: Any, where: str) -> np.ndarray | None:
    if value is None:
        return None
    try:
        tensor = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataFileError(f"{where} is not numeric ({error}): {str(value)[:200]}") from error
    if tensor.shape != (3, 3):
        raise DataFileError(f"{where} has shape {tensor.shape}, expected (3, 3)")
    tensor.setflags(write=False)
    return tensor


def record_to_dict(record: Record) -> dict:
    """The JSON form of a record; `record_from_dict` reads it back."""
    tensors = {f"eps_{t}": None if (tensor := record.tensor(t)) is None else tensor.tolist() for t in TARGETS}
    return {
        "id": record.id,
        "mp_id": record.mp_id,
        "formula": record.formula,
        "structure": structure_to_dict(record.structure),
        **tensors,
        "source": record.source,
        "functional": record.functional,
        "code": record.code,
        "symmetry_violation": record.symmetry_violation,
        "flags": list(record.flags),
        **{k: v for k, v in record.meta.items() if k != "file"},
    }
