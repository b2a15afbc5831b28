"""Force constants on disk: found once a crystal, found again by content.

`<root>/<encoder>/<version>/gamma/<key>.npy` holds the lower triangle in single precision (`crystals.structures.crystal_key`). Each file is written whole, so a killed
run loses the crystal it was at; one that cannot be read or has another length is computed anew, with a warning.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from tqdm import tqdm

from ..base.files import write_atomic
from ..base.paths import default_cache_dir
from ..crystals.structures import crystal_key
from ..potentials.open_encoder import OpenEncoder
from .force_constants import force_constants


def stored_force_constants(encoder: OpenEncoder, structures: Sequence[Structure], root: str | Path | None = None,
                           progress: bool = True, compute: bool = True) -> list[np.ndarray | None]:  # fmt: skip
    """`force_constants` of each structure, from disk where they are there already.

    Parameters
    ----------
    encoder : OpenEncoder
    structures : sequence of pymatgen Structure
    root : path, optional
        Default `default_cache_dir()`.
    progress : bool
    compute : bool
        False: None for what is not on disk.

    Returns
    -------
    list of np.ndarray [3N, 3N], in eV/angstrom^2
    """
    found = []
    for structure in tqdm(structures, unit="crystal", desc=f"force constants {encoder.name}", disable=not progress):
        path = path_of(encoder, structure, root)
        k = _read(path, 3 * len(structure))
        if k is None and compute:
            k = force_constants(encoder, structure).astype(np.float32)
            _write(path, k)
        found.append(None if k is None else k.astype(float))
    return found


def path_of(encoder: OpenEncoder, structure: Structure, root: str | Path | None = None) -> Path:
    """Where a crystal's force constants are kept."""
    return Path(root or default_cache_dir()) / encoder.name / encoder.version / "gamma" / f"{crystal_key(structure)}.npy"


def _read(path: Path, size: int) -> np.ndarray | None:
    """[size, size], or None where there is none to be read."""
    if not path.is_file():
        return None
    try:
        flat = np.load(path, allow_pickle=False)
        if flat.shape != (size * (size + 1) // 2,) or not np.isfinite(flat).all():
            raise ValueError(f"{flat.shape} numbers for {size} coordinates, or some that are not finite")
    except (ValueError, OSError, EOFError) as error:
        warnings.warn(f"{path}: no force constants to be read ({error}); they are computed anew", stacklevel=3)
        return None
    return unpack(flat)


def unpack(flat: np.ndarray) -> np.ndarray:
    """[size, size]: the symmetric matrix whose lower triangle, by rows, is given [size (size + 1) / 2]."""
    size = int((np.sqrt(8 * len(flat) + 1) - 1) / 2)
    k = np.zeros((size, size), dtype=flat.dtype)
    k[np.tril_indices(size)] = flat
    return k + np.tril(k, -1).T


def _write(path: Path, k: np.ndarray) -> None:
    """Keep [size, size]; where that cannot be done, they are computed again next time."""
    buffer = io.BytesIO()
    np.save(buffer, k[np.tril_indices(len(k))].astype(np.float32), allow_pickle=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        warnings.warn(f"{path}: force constants cannot be kept there ({error})", stacklevel=3)
