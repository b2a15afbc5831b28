"""What the paper keeps (Sections 2.3.1 and 5.1), checks it does not mention, and a list of what they found.

The paper keeps a crystal when every element of its total tensor lies in [-10, 100] and the encoder knows its
elements. On top of that every tensor is checked against the point group of its own structure: a tensor that
is not invariant belongs to another frame, or is not converged. Nothing is left out without a line in the
report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.core import Element

from ..crystals.frames import SYMPREC, looks_rotated, tensor_violations
from ..crystals.record import LABELLED
from ..crystals.structures import InvalidStructureError, validate_structure

if TYPE_CHECKING:
    from ..crystals.record import Record

SUPPORTED_ELEMENTS = frozenset(Element.from_Z(z).symbol for z in (*range(1, 84), *range(89, 95)))
"""The 89 elements of the default encoder (7net-0): hydrogen to bismuth, actinium to plutonium."""

REFUSED_FLAGS = frozenset(
    ("incomplete", "not-converged", "charge-not-neutral", "imaginary-mode", "soft-mode", "small-gap",
     "asymmetric-tensor", "unphysical", "metal", "differs_from_published")
)  # fmt: skip
"""Quality flags of calculations (``data/open_dfpt.md``), of read VASP runs and of downloads with which a tensor is not used."""


@dataclass(frozen=True)
class Finding:
    """One line of the report: a record, where it came from, what was found, and how bad it is if that is a number."""

    id: str
    formula: str
    file: str
    reason: str
    detail: str
    value: float | None = None


@dataclass(frozen=True)
class CleaningReport:
    """What `clean` dropped and what it kept with a flag."""

    n_input: int
    n_kept: int
    dropped: tuple[Finding, ...]
    flagged: tuple[Finding, ...]
    settings: dict = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Number of dropped records by reason."""
        return dict(Counter(f.reason for f in self.dropped).most_common())

    def flag_counts(self) -> dict[str, int]:
        """Number of kept records by flag."""
        return dict(Counter(f.reason for f in self.flagged).most_common())

    def table(self) -> pd.DataFrame:
        """Dropped records: id, formula, file, reason, detail, value; as in the file."""
        return _table(self.dropped)

    def flag_table(self) -> pd.DataFrame:
        """Kept records that carry a flag, one row a flag; the worst first."""
        return _table(sorted(self.flagged, key=lambda f: -f.value if f.value is not None else 0.0))

    def to_dict(self) -> dict:
        """For a JSON file."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.n_kept} of {self.n_input} records kept"]
        lines += [f"  dropped {n:5d}  {reason}" for reason, n in self.counts().items()]
        lines += [f"  flagged {n:5d}  {reason}" for reason, n in self.flag_counts().items()]
        return "\n".join(lines)


def _table(findings: Sequence[Finding]) -> pd.DataFrame:
    return pd.DataFrame([asdict(f) for f in findings], columns=[f.name for f in fields(Finding)])


def clean(
    records: Sequence[Record],
    elements: Collection[str] | None = SUPPORTED_ELEMENTS,
    low: float = -10.0,
    high: float = 100.0,
    max_violation: float = 0.01,
    policy: str = "flag",
    require: Collection[str] = ("total",),
    refuse_flags: Collection[str] = REFUSED_FLAGS,
    max_mismatch: float = 0.01,
    max_asymmetry: float = 0.01,
    functionals: Collection[str] | None = LABELLED,
) -> tuple[list[Record], CleaningReport]:
    """Keep what can be trained on, in the order given, and report the rest.

    A record is dropped for the first of: "duplicate id", "unsupported element", "invalid structure", "other
    functional", "quality flag", "missing tensor", "not finite", "inconsistent tensors", "outside window", "rotated frame", and with
    ``policy="refuse"`` also "symmetry violation".

    Parameters
    ----------
    records : sequence of Record
    elements : collection of str or None
        Elements the encoder knows; None allows all.
    low, high : float
        The paper's window for every element of the total tensor (the electronic one where there is no total).
    max_violation : float
        Largest relative deviation from the crystal's point group; see `tensor_violations`.
    policy : {"flag", "refuse"}
        What happens above `max_violation`: the record is kept with the flag "symmetry_violation" (as the
        paper keeps it), or dropped. A record that `looks_rotated` is dropped under both.
    require : collection of str
        Targets every record must have.
    refuse_flags : collection of str
        Flags of the calculation that exclude a record.
    max_mismatch : float
        Largest deviation of total from electronic + ionic, over the largest element of the total tensor.
    max_asymmetry : float
        Largest |T - T^t| over the largest element without the flag "asymmetric".
    functionals : collection of str or None
        Functionals whose labels may be used together; None allows all.

    Returns
    -------
    kept : list of Record
        With `symmetry_violation` computed here (the worst of electronic and total) and the new flags.
    report : CleaningReport

    Raises
    ------
    ValueError
        For an unknown policy.
    """
    if policy not in ("flag", "refuse"):
        raise ValueError(f"policy is {policy!r}; choose 'flag' (keep, with a flag) or 'refuse' (drop)")
    kept, dropped, flagged, seen = [], [], [], set()
    for record in records:
        problem = ("duplicate id", "an earlier record has it") if record.id in seen else None
        seen.add(record.id)
        problem = problem or _structure_problem(record, elements)
        if problem is None and functionals is not None and record.functional not in functionals:
            problem = ("other functional", f"{record.functional} is none of {', '.join(filter(None, functionals))}")
        problem = problem or _tensor_problem(record, require, refuse_flags, low, high, max_mismatch)
        flags: dict[str, tuple] = {}
        if problem is None:
            record, flags, problem = _check_symmetry(record, max_violation, policy, max_asymmetry)
        if problem is not None:
            dropped.append(_finding(record, *problem))
            continue
        kept.append(replace(record, flags=tuple(dict.fromkeys((*record.flags, *flags)))))
        flagged += [_finding(record, name, *found) for name, found in flags.items()]
        flagged += [_finding(record, name, "set in the file") for name in record.flags if name not in flags]
    settings = {
        "window": [low, high], "policy": policy, "max_violation": max_violation, "symprec": SYMPREC,
        "require": sorted(require), "refuse_flags": sorted(refuse_flags), "max_mismatch": max_mismatch,
        "max_asymmetry": max_asymmetry, "elements": None if elements is None else len(elements),
    }  # fmt: skip
    return kept, CleaningReport(len(records), len(kept), tuple(dropped), tuple(flagged), settings)


def _finding(record: Record, reason: str, detail: str, value: float | None = None) -> Finding:
    return Finding(record.id, record.formula, str(record.meta.get("file", "")), reason, detail, value)


def _structure_problem(record: Record, elements: Collection[str] | None) -> tuple[str, str] | None:
    unsupported = sorted({e.symbol for e in record.structure.composition.elements} - set(elements or ()))
    if elements is not None and unsupported:
        return "unsupported element", ", ".join(unsupported)
    try:
        validate_structure(record.structure, name=record.id)
    except InvalidStructureError as error:
        return "invalid structure", str(error)
    return None


def _tensor_problem(
    record: Record,
    require: Collection[str],
    refuse_flags: Collection[str],
    low: float,
    high: float,
    mismatch: float,
) -> tuple | None:
    if refused := sorted(set(record.flags) & set(refuse_flags)):
        return "quality flag", ", ".join(refused)
    if missing := [t for t in require if record.tensor(t) is None]:
        return "missing tensor", ", ".join(missing)
    tensors = {t: record.tensor(t) for t in ("electronic", "ionic", "total") if record.tensor(t) is not None}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            return "not finite", f"{name} holds NaN or inf: {tensor.tolist()}"
    if len(tensors) == 3:
        total = tensors["total"]
        off = np.abs(tensors["electronic"] + tensors["ionic"] - total).max()
        if off > mismatch * np.abs(total).max():
            return (
                "inconsistent tensors",
                f"total differs from electronic + ionic by up to {off:.4g}",
                float(off),
            )
    windowed = tensors.get("total", tensors.get("electronic"))
    if windowed is not None and (windowed.min() < low or windowed.max() > high):
        smallest, largest = float(windowed.min()) + 0.0, float(windowed.max())
        furthest = largest if largest > high else smallest
        return "outside window", f"elements from {smallest:.4g} to {largest:.4g}", furthest
    return None


def _check_symmetry(
    record: Record, max_violation: float, policy: str, max_asymmetry: float
) -> tuple[Record, dict[str, tuple], tuple | None]:
    """The record with its violation, the flags it earns {name: (detail, value)}, and a reason to drop it."""
    flags: dict[str, tuple] = {}
    for name in ("electronic", "total"):
        if (tensor := record.tensor(name)) is not None:
            asymmetry = np.abs(tensor - tensor.T).max() / max(np.abs(tensor).max(), 1e-12)
            if asymmetry > max_asymmetry:
                detail = f"{name}: |T - T^t| up to {asymmetry:.4f} of the largest element"
                flags["asymmetric"] = (detail, float(asymmetry))
    try:
        violations = tensor_violations(record)
    except ValueError as error:
        if policy == "refuse":
            return record, flags, ("symmetry unknown", str(error))
        return record, {**flags, "symmetry_unknown": (str(error),)}, None
    worst = max(violations, key=violations.get)
    record = replace(record, symmetry_violation=violations[worst])
    size = violations[worst]
    detail = f"{worst} tensor off its point group by {size:.4f} of its largest element"
    if looks_rotated(record, violations):
        return (
            record,
            flags,
            ("rotated frame", f"{detail}; its eigenvalues fit: given in another frame", size),
        )
    if size > max_violation:
        if policy == "refuse":
            return record, flags, ("symmetry violation", detail, size)
        flags["symmetry_violation"] = (detail, size)
    return record, flags, None
