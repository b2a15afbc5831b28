"""Read what ABINIT and anaddb wrote, and judge it: numbers of a finished run, flags for a bad one.

Tensors are Cartesian (xyz), dimensionless, in the frame of the relaxed structure; lengths in angstrom, energies in
eV, frequencies in cm^-1 (negative = imaginary), Born charges in units of e, `born[atom, field, displacement]`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from pymatgen.core import Element, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from .dfpt_inputs import BOHR, SYMPREC, DFPTError

HARTREE_EV = 27.211386245988
THZ_CM1 = 33.35640951981521
LIMITS = {  # flag -> largest (or smallest) value that is let through
    "charge-not-neutral": 0.05,  # e, largest element of |sum of Born charges|
    "imaginary-mode": -5.0,  # cm^-1, lowest optical frequency
    "soft-mode": 40.0,  # cm^-1 of a polar mode: the ionic sum amplifies every error
    "small-gap": 0.3,  # eV
    "asymmetric-tensor": 0.01,  # relative violation of the point group
    "unphysical": 100.0,  # largest element of eps_total
}
_NUMBER = r"[-+]?\d+\.?\d*(?:[EeDd][-+]?\d+)?"


def completed(path: Path) -> bool:
    """Has the program written its closing words into this output file?"""
    if not path.is_file():
        return False
    tail = path.read_text(errors="replace")[-3000:]
    return "Calculation completed" in tail or "the run completed succesfully" in tail


def converged(text: str) -> bool:
    """Did every self-consistent cycle, and the relaxation if there is one, reach its tolerance?"""
    relaxed = "Broyd/MD step" not in text or "gradients are converged" in text
    return relaxed and not re.search(r"was not enough (\S+ ){0,2}(cycles|iterations|steps) to converge", text)


def _floats(text: str) -> list[float]:
    return [float(x.replace("D", "E").replace("d", "e")) for x in re.findall(_NUMBER, text)]


def read_structure(text: str) -> Structure:
    """Final cell and atoms: the variables that ABINIT echoes after the computation.

    Raises
    ------
    DFPTError : the echo is missing (a run that did not end).
    """
    parts = text.split("-outvars: echo values of variables after computation")
    if len(parts) < 2:
        raise DFPTError("no 'echo values of variables after computation' in the output: the run did not end.")
    echo = parts[-1]

    def values(name: str, default: list[float] | None = None) -> list[float]:
        found = re.search(rf"^[-P ]*{name}\s+((?:{_NUMBER}[ \t\n]*)+)", echo, re.M)
        if not found and default is None:
            raise DFPTError(f"variable {name} is not in the echo of the output")
        return _floats(found.group(1)) if found else default

    scale = values("acell")[:3]
    lattice = np.reshape(values("rprim", list(np.eye(3).ravel()))[:9], (3, 3)) * np.reshape(scale, (3, 1)) * BOHR
    kinds = [int(i) for i in values("typat", [1] * int(values("natom", [1])[0]))]
    species = [Element.from_Z(round(values("znucl")[i - 1])).symbol for i in kinds]
    coords = np.reshape(values("xred", [0.0] * 3)[: 3 * len(kinds)], (-1, 3))
    return Structure(lattice, species, coords)


def read_gap(eig_text: str, occupied: int) -> float:
    """Fundamental gap [eV] on the k-points of an eigenvalue file; negative when bands overlap."""
    blocks = re.split(r"kpt#.*?\n", eig_text)[1:]
    bands = np.array([_floats(b)[: occupied + 1] for b in blocks])  # [K, occupied + 1]
    unit = HARTREE_EV if "(hartree)" in eig_text.split("kpt#")[0].lower() else 1.0
    return float((bands[:, occupied].min() - bands[:, occupied - 1].max()) * unit)


def _matrix_elements(block: str) -> list[tuple[list[int], float]]:
    rows = re.findall(r"^\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(" + _NUMBER + r")\s+" + _NUMBER, block, re.M)
    return [([int(i) for i in r[:4]], float(r[4])) for r in rows]


def read_response(text: str, natom: int) -> tuple[np.ndarray, np.ndarray]:
    """Electronic tensor [3, 3] and raw Born charges [natom, 3, 3] of the linear-response output.

    The charges are those of the electric-field response, before neutrality is imposed.
    """
    pieces = text.split("Dielectric tensor, in cartesian coordinates")
    if len(pieces) < 2 or "Effective charges, in cartesian coordinates" not in pieces[-1]:
        raise DFPTError("no dielectric tensor or effective charges in the response output: the run did not end.")
    tensor_text, charge_text = pieces[-1].split("Effective charges, in cartesian coordinates")[:2]
    eps = np.full((3, 3), np.nan)
    for (i, _, j, _), value in _matrix_elements(tensor_text):
        eps[i - 1, j - 1] = value
    born = np.full((natom, 3, 3), np.nan)
    for (direction, atom, field, _), value in _matrix_elements(charge_text):
        if atom <= natom:
            born[atom - 1, field - 1, direction - 1] = value
    return eps, born


def read_anaddb(text: str) -> dict:
    """Electronic and relaxed-ion tensors [3, 3] and the Gamma frequencies [cm^-1] of an anaddb output."""
    def tensor(title: str) -> np.ndarray:
        found = re.search(title + rf"\s*\n((?:\s+{_NUMBER}){{9}})", text)
        if not found:
            raise DFPTError(f"'{title}' is missing in the anaddb output: the run did not end.")
        return np.reshape(_floats(found.group(1)), (3, 3))

    found = re.search(r"Phonon frequencies in Thz\s*:\s*\n((?:-[^\n]*\n)+)", text)
    frequencies = [x for line in found.group(1).splitlines() for x in _floats(line[1:])] if found else []
    strength = [float(x) for x in re.findall(r"^-\s+\d+\s+Real.*?(\S+)\s*$", text, re.M)]
    return {
        "eps_electronic": tensor("Electronic dielectric tensor"),
        "eps_total": tensor("Relaxed ion dielectric tensor"),
        "frequencies": [x * THZ_CM1 for x in frequencies],
        "strengths": strength,
    }


def version(text: str) -> str:
    """Version of the program that wrote an output."""
    found = re.search(r"\.Version\s+(\S+)\s+of\s+(\w+)", text)
    return f"{found.group(2)} {found.group(1)}" if found else "unknown"


def symmetry_violation(structure: Structure, tensor: np.ndarray) -> float:
    """Largest deviation of `tensor` [3, 3] from invariance under the point group, relative to its largest element."""
    operations = SpacegroupAnalyzer(structure, symprec=1e-3).get_point_group_operations(cartesian=True)
    turned = [op.rotation_matrix @ tensor @ op.rotation_matrix.T for op in operations]
    return float(max(np.abs(t - tensor).max() for t in turned) / np.abs(tensor).max())


def judge(record: dict) -> list[str]:
    """Flags of a record; an empty list means that the numbers can be used.

    Every limit is in `LIMITS`. `not-converged` is set by the reader of the outputs and kept.
    """
    flags = [f for f in record.get("flags", []) if f not in LIMITS]
    born = np.array(record["born_charges"])
    total = np.array(record["eps_total"])
    optical = sorted(record["gamma_frequencies_cm1"], key=abs)[3:]
    polar = [f for f, s in zip(record["gamma_frequencies_cm1"], record["oscillator_strengths"], strict=True)
             if abs(s) > 1e-9 and f in optical]
    if not np.isfinite(born).all() or not np.isfinite(total).all():
        return sorted({*flags, "incomplete"})
    checks = {
        "charge-not-neutral": np.abs(born.sum(0)).max() > LIMITS["charge-not-neutral"],
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

    Raises
    ------
    DFPTError : an output is missing or was cut off.
    """
    texts = {}
    for stage in ("relax", "ground", "bands", "ddk", "response", "anaddb"):
        path = folder / f"{stage}.abo"
        if not completed(path):
            raise DFPTError(f"{path} is missing or has no end: run the calculation again, it starts at this stage.")
        texts[stage] = path.read_text(errors="replace")
    structure = read_structure(texts["relax"])
    eps, born = read_response(texts["response"], len(structure))
    static = read_anaddb(texts["anaddb"])
    if np.abs(static["eps_electronic"] - eps).max() > 1e-3 * np.abs(eps).max():
        raise DFPTError(f"{folder}: the electronic tensors of abinit and anaddb differ: remove the folder, run again.")
    total = (static["eps_total"] + static["eps_total"].T) / 2
    electronic = (eps + eps.T) / 2
    gaps = [read_gap(p.read_text(), occupied) for p in (folder / "relaxo_EIG", folder / "run_o_DS2_EIG")]
    not_converged = [s for s in ("relax", "ground", "bands", "ddk", "response") if not converged(texts[s])]
    record = {
        "mp_id": None,
        "formula": structure.composition.reduced_formula,
        "structure": {
            "lattice": structure.lattice.matrix.round(8).tolist(),
            "species": [s.specie.symbol for s in structure],
            "frac_coords": structure.frac_coords.round(8).tolist(),
        },
        "spacegroup": SpacegroupAnalyzer(structure, symprec=SYMPREC * 10).get_space_group_number(),
        "eps_electronic": electronic.round(5).tolist(),
        "eps_ionic": (total - electronic).round(5).tolist(),
        "eps_total": total.round(5).tolist(),
        "source": "open-dfpt",
        "functional": "PBE",
        "code": version(texts["response"]),
        "symmetry_violation": max(symmetry_violation(structure, t) for t in (electronic, total)),
        "born_charges": born.round(5).tolist(),
        "gamma_frequencies_cm1": np.round(static["frequencies"], 2).tolist(),
        "oscillator_strengths": static["strengths"],
        "gap_ev": round(min(gaps), 3),
        "settings": settings,
        "flags": ["not-converged"] if not_converged else [],
    }
    record["flags"] = judge(record)
    return record
