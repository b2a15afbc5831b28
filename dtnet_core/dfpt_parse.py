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

from . import dfpt_abinit, dfpt_qe
from .dfpt_inputs import DFPTError

ENGINES = {"qe": dfpt_qe, "abinit": dfpt_abinit}
LIMITS = {  # flag -> largest (or smallest) value that is let through
    "charge-not-neutral": 0.05,  # e, largest element of |sum of Born charges|
    "acoustic-sum": 0.1,  # change of a squared frequency by the sum rule, over the lowest squared polar frequency
    "imaginary-mode": -5.0,  # cm^-1, lowest optical frequency
    "soft-mode": 40.0,  # cm^-1 of a polar mode: the ionic sum amplifies every error
    "small-gap": 0.3,  # eV
    "asymmetric-tensor": 0.01,  # relative violation of the point group
    "unphysical": 100.0,  # largest element of eps_total
}


def symmetry_violation(structure: Structure, tensor: np.ndarray) -> float:
    """Largest deviation of `tensor` [3, 3] from invariance under the point group, relative to its largest element."""
    operations = SpacegroupAnalyzer(structure, symprec=1e-3).get_point_group_operations(cartesian=True)
    turned = [op.rotation_matrix @ tensor @ op.rotation_matrix.T for op in operations]
    return float(max(np.abs(t - tensor).max() for t in turned) / np.abs(tensor).max())


def acoustic_shift(raw: list[float], imposed: list[float]) -> float:
    """How far imposing the acoustic sum rule moves the modes [cm^-1]: root of the largest change of a square."""
    if len(raw) != len(imposed):
        raise DFPTError(f"{len(raw)} frequencies before the acoustic sum rule, {len(imposed)} after: incomplete output.")
    squares = [np.sort(np.sign(x) * np.square(x)) for x in (np.array(raw), np.array(imposed))]
    return float(np.sqrt(np.abs(squares[0] - squares[1]).max()))


def judge(record: dict) -> list[str]:
    """Flags of a record; an empty list means that the numbers can be used.

    Every limit is in `LIMITS`. `not-converged` is set by the reader of the outputs and kept.
    """
    flags = [f for f in record.get("flags", []) if f not in LIMITS]
    born = np.array(record["born_charges"])
    total = np.array(record["eps_total"])
    optical = sorted(record["gamma_frequencies_cm1"], key=abs)[3:]
    strongest = max(map(abs, record["infrared_strengths"]), default=0.0)
    polar = [f for f, s in zip(record["gamma_frequencies_cm1"], record["infrared_strengths"], strict=True)
             if abs(s) > 1e-3 * strongest and f in optical]
    if not all(np.isfinite(x).all() for x in (born, total, np.array(record["eps_electronic"]))):
        return sorted({*flags, "incomplete"})
    checks = {
        "charge-not-neutral": np.abs(born.sum(0)).max() > LIMITS["charge-not-neutral"],
        "acoustic-sum": record["acoustic_shift_cm1"] ** 2 > LIMITS["acoustic-sum"] * min(map(abs, polar or optical or [1e9])) ** 2,
        "imaginary-mode": bool(optical) and min(optical) < LIMITS["imaginary-mode"],
        "soft-mode": bool(polar) and min(polar) < LIMITS["soft-mode"],
        "small-gap": record["gap_ev"] < LIMITS["small-gap"],
        "asymmetric-tensor": record["symmetry_violation"] > LIMITS["asymmetric-tensor"],
        "unphysical": np.abs(total).max() > LIMITS["unphysical"]
        or min(np.linalg.eigvalsh((np.array(record["eps_electronic"]) + np.array(record["eps_electronic"]).T) / 2)) < 1,
    }
    return sorted({*flags, *(name for name, bad in checks.items() if bad)})


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
    record = {
        "mp_id": None,
        "formula": structure.composition.reduced_formula,
        "structure": {
            "lattice": structure.lattice.matrix.round(8).tolist(),
            "species": [s.specie.symbol for s in structure],
            "frac_coords": structure.frac_coords.round(8).tolist(),
        },
        "spacegroup": SpacegroupAnalyzer(structure, symprec=1e-3).get_space_group_number(),
        "eps_electronic": electronic.round(5).tolist(),
        "eps_ionic": (total - electronic).round(5).tolist(),
        "eps_total": total.round(5).tolist(),
        "source": "open-dfpt",
        "functional": "PBE",
        "code": data["version"],
        "symmetry_violation": round(max(symmetry_violation(structure, t) for t in (electronic, total)), 6),
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
