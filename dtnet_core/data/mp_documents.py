"""Materials Project documents to records, each tensor in the frame of its structure.

The published tensors are turned into standard (IEEE) axes, the published structures are not. So each tensor
is taken from the calculation it came from, together with that calculation's structure; where that is not to
be had, the published tensor is turned back with the rotation that the structure defines, and the record is
flagged "frame_reconstructed". Every tensor is then checked against its structure's point group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.core.tensors import Tensor

from ..crystals.frames import looks_rotated, tensor_violations
from ..crystals.record import Record
from ..crystals.structures import validate_structure

DIELECTRIC_FIELDS = ["material_id", "electronic", "ionic", "origins"]
SUMMARY_FIELDS = ["material_id", "structure", "band_gap", "energy_above_hull"]
TASK_FIELDS = ["task_id", "structure", "run_type", "output.epsilon_static", "output.epsilon_ionic"]
MAX_VIOLATION, MAX_DIFFERENCE = 0.01, 0.05
_FUNCTIONALS = {"GGA": "PBE", "GGA+U": "PBE+U", "PBESol": "PBEsol"}


def make_record(material: str, published: Any, summary: Any, task: Any, version: str = "") -> Record:
    """Join the documents of one material into a record whose tensors are in the frame of its structure.

    Parameters
    ----------
    material : str
        Materials Project id.
    published : DielectricDoc or dict
        Tensors in IEEE axes, and the id of the calculation they came from.
    summary : SummaryDoc or dict or None
        Structure, band gap (eV), energy above hull (eV / atom).
    task : CoreTaskDoc or dict or None, or a sequence of them
        The calculations that may be the tensors' own: structure and tensors in one frame. The first that agrees with the published
        tensors is taken; where none does, the first of the same formula, with the flag "differs_from_published".
    version : str
        Database version.

    Raises
    ------
    ValueError
        When there is no structure, no tensor, no number in one, or no frame in which they agree.
    """
    if published is None:
        raise ValueError(f"{material}: no dielectric document")
    expected = [_published(published, part) for part in ("electronic", "ionic")]
    task, flags = _own_calculation(task, expected, get_field(summary, "structure"))
    if task is not None:
        frame, structure = "calculation", _structure(get_field(task, "structure"))
        electronic, ionic = _tensors(task)
    else:
        frame, structure = "reconstructed", _structure(get_field(summary, "structure"))
        electronic, ionic = (from_ieee(tensor, structure) for tensor in expected)
        flags.append("frame_reconstructed")
    validate_structure(structure, name=material)
    total = electronic + ionic
    run_type = get_field(task, "run_type")
    run_type = str(getattr(run_type, "value", run_type) or "")
    meta = {
        "band_gap_ev": get_field(summary, "band_gap"),
        "energy_above_hull_ev": get_field(summary, "energy_above_hull"),
        "frame": frame,
        "database_version": version,
    }
    record = Record(
        material, structure, structure.composition.reduced_formula, electronic, ionic, total,
        _FUNCTIONALS.get(run_type, run_type), "VASP", "materials-project", material, None, tuple(flags), meta,
    )  # fmt: skip
    violations = tensor_violations(record)
    if looks_rotated(record, violations):
        flags.append("rotated_frame")
    elif max(violations.values()) > MAX_VIOLATION:
        flags.append("symmetry_violation")
    return replace(record, symmetry_violation=max(violations.values()), flags=tuple(flags))


def make_candidate(material: str, summary: Any, version: str = "") -> Record:
    """A record without tensors from a summary document, its structure in the cell and frame of the document.

    Parameters
    ----------
    material, summary, version
        See `make_record`.

    Raises
    ------
    ValueError
        When there is no structure, no gap, or the material is not on the convex hull.
    """
    structure = _structure(get_field(summary, "structure"))
    gap, hull = get_field(summary, "band_gap"), get_field(summary, "energy_above_hull")
    if gap is None or gap <= 0 or hull is None or hull > 0:
        raise ValueError(f"{material}: gap {gap} eV, {hull} eV/atom above the hull: no stable material with a gap")
    meta = {"band_gap_ev": gap, "energy_above_hull_ev": hull, "database_version": version}
    return Record(material, structure, structure.composition.reduced_formula, source="materials-project", mp_id=material, meta=meta)


def from_ieee(tensor: Any, structure: Structure) -> np.ndarray:
    """Turn a tensor [3, 3] from the IEEE axes of a structure into the frame the structure is given in."""
    if tensor is None:
        raise ValueError("no tensor in the document")
    # rows: the standard axes, in the given frame
    rotation = np.asarray(Tensor.get_ieee_rotation(structure))  # [3, 3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-6:
        raise ValueError(f"no IEEE axes for {structure.composition.reduced_formula}: {rotation.tolist()}")
    return rotation.T @ np.asarray(tensor, dtype=float) @ rotation


def _own_calculation(tasks: Any, expected: Sequence[np.ndarray], crystal: Any) -> tuple[Any, list[str]]:
    """The calculation that tensors in IEEE axes come from, or None; and flags."""
    tasks = tasks if isinstance(tasks, list | tuple) else [tasks]
    formula = None if crystal is None else _structure(crystal).composition.reduced_formula
    whole = [t for t in tasks if _tensors(t) is not None and get_field(t, "structure") is not None]
    fitting = [t for t in whole if formula in (None, _structure(get_field(t, "structure")).composition.reduced_formula)]
    own = next((t for t in fitting if _agree(_tensors(t), expected)), None)
    if own is not None or not fitting:
        return own, ["origin_of_another_material"] if whole and not fitting else []
    return fitting[0], ["differs_from_published"]


def _agree(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> bool:
    """Whether electronic and ionic tensors are the same up to a rotation, which their eigenvalues tell."""
    scale = MAX_DIFFERENCE * np.abs(expected[0] + expected[1]).max()
    return all(np.abs(_eigenvalues(a) - _eigenvalues(b)).max() <= scale for a, b in zip(found, expected, strict=True))


def _tensors(task: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Electronic and ionic tensor [3, 3] of a calculation, None where it has not both as numbers."""
    output = get_field(task, "output")
    found = [_matrix(get_field(output, f"epsilon_{part}")) for part in ("static", "ionic")]
    return None if any(tensor is None for tensor in found) else (found[0], found[1])


def _published(document: Any, part: str) -> np.ndarray:
    """The published tensor [3, 3] in IEEE axes, which a calculation is held against."""
    tensor = _matrix(get_field(document, part))
    if tensor is None:
        raise ValueError(f"the published {part} tensor is no 3 x 3 matrix of numbers: {str(get_field(document, part))[:200]}")
    return tensor


def _matrix(value: Any) -> np.ndarray | None:
    """[3, 3] of finite numbers, or None."""
    try:
        tensor = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return tensor if tensor.shape == (3, 3) and np.isfinite(tensor).all() else None


def _eigenvalues(tensor: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh((tensor + tensor.T) / 2)


def get_field(document: Any, name: str) -> Any:
    """A field of a document, be it a dictionary or one of the client's models; None where it is missing."""
    return document.get(name) if isinstance(document, Mapping) else getattr(document, name, None)


def _structure(value: Any) -> Structure:
    if value is None:
        raise ValueError("no structure in the documents")
    return value if isinstance(value, Structure) else Structure.from_dict(value)


def origin_ids(document: Any) -> list[str]:
    """Ids of the calculations a dielectric document may have come from, those it says so of first."""
    origins = get_field(document, "origins") or []
    ordered = [o for o in origins if get_field(o, "name") == "dielectric"] + [o for o in origins if get_field(o, "name") != "dielectric"]
    return list(dict.fromkeys(str(get_field(o, "task_id")) for o in ordered if get_field(o, "task_id")))


def same_id(identifier: Any) -> str:
    """One spelling for an id that the server may write as a number or in letters (mp-149, mp-aaaaaaft)."""
    prefix, _, tail = str(identifier).rpartition("-")
    number = 0
    for letter in tail:
        if letter.isdigit():
            number = 10 * number + int(letter)
        elif "a" <= letter <= "z":
            number = 26 * number + ord(letter) - ord("a")
        else:
            return str(identifier)
    return f"{prefix or 'mp'}-{number}"
