"""JARVIS's crystals as electronic labels: its list of materials (`dft_3d`) -> `jarvis_electronic.json.gz` of a data folder.

JARVIS has the diagonal of the electronic tensor (OptB88vdW, independent particles) in the frame of its structure. Where diagonal and point
group fix the whole tensor, the record has it; elsewhere the diagonal stands alone. See Choudhary et al., npj Comput. Mater. 6, 173 (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..base.files import DataFileError, write_json_gz
from ..crystals.frames import cell_rotations
from ..crystals.json_source import json_items
from ..crystals.layouts import structure_of
from ..crystals.record import Record, record_to_dict
from ..crystals.symmetry import symmetrize

FILE = "jarvis_electronic.json.gz"
KEYS = ("epsx", "epsy", "epsz")
SMALLEST_GAP, LARGEST = 0.1, 40.0
"""In eV, and of an element: other labels are left out, as independent particles without a gap have no finite constant."""
_OFF = 0.01  # of the largest element, by which a diagonal may miss the point group
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def whole_tensor(diagonal: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray | None, float]:
    """The tensor [3, 3] that a diagonal [3] and a point group [G, 3, 3] fix, or None where they leave an element open; and by how much of its largest element the diagonal misses the group."""
    basis = np.zeros((6, 3, 3))
    for k, (i, j) in enumerate(_PAIRS):
        basis[k, i, j] = basis[k, j, i] = 1.0
    invariant = np.stack([symmetrize(b, rotations) for b in basis]).reshape(6, 9)
    _, size, rows = np.linalg.svd(invariant)  # a projection: sizes are near 0, or 1 and more
    free = rows[: (size > 0.5).sum()].reshape(-1, 3, 3)  # [d, 3, 3]: all tensors that the group leaves alone
    diagonals = np.einsum("dii->id", free)  # [3, d]
    weights = np.linalg.lstsq(diagonals, diagonal, rcond=None)[0]
    missed = float(np.abs(diagonals @ weights - diagonal).max() / np.abs(diagonal).max())
    fixed = np.linalg.matrix_rank(diagonals, 0.1) == len(free)
    return (np.tensordot(weights, free, 1) if fixed else None), missed


def jarvis_record(item: Mapping) -> Record:
    """One material of JARVIS as a record.

    Raises
    ------
    ValueError
        With the reason, in words that are the same for all such materials.
    """
    try:
        diagonal, gap = np.array([float(item[k]) for k in KEYS]), float(item["optb88vdw_bandgap"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("no constants with a gap") from None
    if not gap > SMALLEST_GAP:
        raise ValueError(f"a gap of {SMALLEST_GAP:g} eV or less")
    if not ((diagonal >= 1) & (diagonal < LARGEST)).all():
        raise ValueError(f"constants outside of 1 to {LARGEST:g}")
    try:
        structure = structure_of(item["atoms"])
        tensor, missed = whole_tensor(diagonal, cell_rotations(structure))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError("a structure that cannot be read") from error
    meta = {"eps_electronic_poly": float(diagonal.mean()), "band_gap_ev": gap}
    if missed <= _OFF:
        meta["eps_electronic_diag"] = diagonal.tolist()
    else:
        tensor = None
    name = str(item.get("jid") or "")
    return Record(name, structure, structure.composition.reduced_formula, tensor, functional="OptB88vdW", code="VASP", source="jarvis-dft", meta=meta)


def convert_jarvis(path: str | Path, folder: str | Path, progress: bool = True) -> tuple[Path, int, dict[str, int]]:
    """Write `FILE` in a data folder from JARVIS's list of materials.

    Parameters
    ----------
    path : path
        JSON list of dictionaries with `jid`, `atoms`, `epsx`, `epsy`, `epsz`, `optb88vdw_bandgap`; may be gzipped.
    folder : path
        For `DTNET_DATA_DIR`.

    Returns
    -------
    (path, records, reasons)
        How many records it has, and how many materials were left out for each reason.

    Raises
    ------
    DataFileError
        Naming the file, when no material has what is needed.
    """
    found, left = [], {}
    for _, item in tqdm(json_items(Path(path)), unit="material", disable=not progress):
        try:
            found.append(record_to_dict(jarvis_record(item if isinstance(item, Mapping) else {})))
        except ValueError as error:
            left[str(error)] = left.get(str(error), 0) + 1
    if not found:
        raise DataFileError(f"{path}: none of {sum(left.values())} materials has {', '.join(KEYS)} and a gap; is it JARVIS's list dft_3d?")
    target = Path(folder) / FILE
    write_json_gz(target, found)
    return target, len(found), left
