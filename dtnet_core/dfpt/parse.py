"""Make a record of a finished DFPT run and judge it: numbers of a good run, flags for a bad one.

Tensors are Cartesian (xyz), dimensionless, in the frame of the relaxed structure; lengths in angstrom, energies in
eV, frequencies in cm^-1 (negative = imaginary), Born charges in units of e, `born[atom, field, displacement]`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from ..crystals.structures import structure_to_dict
from ..crystals.symmetry import point_group_rotations, symmetry_violation
from . import abinit, qe
from .inputs import DFPTError

ENGINES = {"qe": qe, "abinit": abinit}
LIMITS = {  # flag -> largest (or smallest) value that is let through
    "charge-not-neutral": 0.05,  # e, largest element of |sum of Born charges|
    "acoustic-sum": 0.1,  # change of a squared frequency by the sum rule, over the lowest squared polar frequency
    "imaginary-mode": -5.0,  # cm^-1, lowest optical frequency
    "soft-mode": 40.0,  # cm^-1 of a polar mode: the ionic sum amplifies every error
    "small-gap": 0.3,  # eV
    "asymmetric-tensor": 0.01,  # relative violation of the point group
    "unphysical": 100.0,  # largest element of eps_total
}


_NEEDS = {"charge-not-neutral": "born_charges", "acoustic-sum": "acoustic_shift_cm1",
          "imaginary-mode": "gamma_frequencies_cm1", "soft-mode": "gamma_frequencies_cm1"}  # fmt: skip


def acoustic_shift(raw: list[float], imposed: list[float]) -> float:
    """How far imposing the acoustic sum rule moves the modes [cm^-1]: root of the largest change of a square."""
    if len(raw) != len(imposed):
        raise DFPTError(f"{len(raw)} frequencies before the acoustic sum rule, {len(imposed)} after: incomplete output.")
    squares = [np.sort(np.sign(x) * np.square(x)) for x in (np.array(raw), np.array(imposed))]
    return float(np.sqrt(np.abs(squares[0] - squares[1]).max()))


def judge(record: dict) -> list[str]:
    """Flags of a record; an empty list means that the numbers can be used.

    Every limit is in `LIMITS`. `not-converged` is set by the reader of the outputs and kept. What a record has no
    numbers for cannot be checked: see `unchecked`.
    """
    flags = [f for f in record.get("flags", []) if f not in LIMITS]
    electronic, total = (np.array(record[f"eps_{k}"], dtype=float) for k in ("electronic", "total"))
    if total.shape != (3, 3) or not np.isfinite([electronic, total]).all():
        flags.append("incomplete")
        total = electronic
    values = _values(record, electronic, total)
    if not np.isfinite(list(values.values())).all():
        flags.append("incomplete")
    smallest = ("imaginary-mode", "soft-mode", "small-gap")
    bad = (k for k, v in values.items() if (v < LIMITS[k] if k in smallest else v > LIMITS[k]))
    no_insulator = np.isfinite(electronic).all() and np.linalg.eigvalsh((electronic + electronic.T) / 2).min() < 1
    return sorted({*flags, *bad, *(["unphysical"] if no_insulator else [])})


def unchecked(record: dict) -> list[str]:
    """Flags that `judge` cannot set on a record because the numbers for them are missing."""
    return sorted(name for name, field in _NEEDS.items() if record.get(field) is None)


def _values(record: dict, electronic: np.ndarray, total: np.ndarray) -> dict[str, float]:
    """What `LIMITS` limits; harmless where the record has no numbers."""
    modes = record.get("gamma_frequencies_cm1") or []
    strengths = record.get("infrared_strengths") or [1.0] * len(modes)  # unknown: every mode may be polar
    optical = sorted(modes, key=abs)[3:]
    strongest = max(map(abs, strengths), default=0.0)
    polar = [f for f, s in zip(modes, strengths, strict=True) if abs(s) > 1e-3 * strongest and f in optical]
    lowest = min(map(abs, polar or optical or [1e9]))
    return {
        "charge-not-neutral": np.abs(np.sum(record.get("born_charges") or 0.0, axis=0)).max(),
        "acoustic-sum": ((record.get("acoustic_shift_cm1") or 0.0) / max(lowest, 1e-6)) ** 2,
        "imaginary-mode": min(optical, default=1e9),
        "soft-mode": min(polar, default=1e9),
        "small-gap": record["gap_ev"],
        "asymmetric-tensor": record["symmetry_violation"],
        "unphysical": np.abs(total).max(),
    }


def parse(folder: Path, settings: dict, occupied: int) -> dict:
    """Read a finished run folder into one record (without id, command and wall time).

    Parameters
    ----------
    settings : what the run used; `settings["engine"]` chooses the reader.
    occupied : number of occupied bands.

    Raises
    ------
    DFPTError : an output is missing or was cut off.
    """
    engine, texts = ENGINES[settings["engine"]], {}
    for stage in engine.STAGES:
        path = folder / f"{stage}{engine.SUFFIX}"
        texts[stage] = path.read_text(errors="replace") if path.is_file() else ""
        if not engine.completed(texts[stage]):
            raise DFPTError(f"{path} is missing or has no end: run the calculation again, it starts at this stage.")
    relaxed = json.loads((folder / "relaxed.json").read_text())
    structure = Structure.from_dict(relaxed["structure"])
    data = engine.read(structure, folder, texts, occupied)
    electronic, total = ((data[k] + data[k].T) / 2 for k in ("eps_electronic", "eps_total"))  # [3, 3]
    rotations = point_group_rotations(structure, symprec=1e-3)
    record = {
        "mp_id": None,
        "formula": structure.composition.reduced_formula,
        "structure": structure_to_dict(structure),
        "spacegroup": SpacegroupAnalyzer(structure, symprec=1e-3).get_space_group_number(),
        "eps_electronic": electronic.round(5).tolist(),
        "eps_ionic": (total - electronic).round(5).tolist(),
        "eps_total": total.round(5).tolist(),
        "source": "open-dfpt",
        "functional": "PBE",
        "code": data["version"],
        "symmetry_violation": round(max(symmetry_violation(t, rotations) for t in (electronic, total)), 6),
        "born_charges": data["born"].round(5).tolist(),
        "gamma_frequencies_cm1": np.round(data["frequencies"], 2).tolist(),
        "acoustic_shift_cm1": round(acoustic_shift(data["raw_frequencies"], data["frequencies"]), 2),
        "infrared_strengths": data["strengths"],
        "gap_ev": round(min(relaxed["gap"], data.get("gap", np.inf)), 3),
        "settings": settings,
        "flags": [] if relaxed["converged"] and all(map(engine.converged, texts.values())) else ["not-converged"],
    }
    record["flags"] = judge(record)
    return record
