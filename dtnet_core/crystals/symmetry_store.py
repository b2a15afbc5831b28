"""Orbits and point groups on disk: searched once a crystal, found again by content.

`<root>/symmetry/<method>/<tolerance>/<digit>.npz` holds the crystals whose `crystals.structures.crystal_key` begins with that hexadecimal
digit. The method names the versions of both libraries and of this package's own rules. A file is replaced as a whole and under
its lock, so that processes may share a store; each array in it has a checksum, and a file that fails it is set aside.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base.files import locked, write_atomic
from ..base.paths import default_cache_dir
from .structures import crystal_key
from .symmetry import orbits

if TYPE_CHECKING:
    from pymatgen.core import Structure

RULES = 1
"""Raise it with every change of `search` or `symmetry.orbits` that may change an answer."""

Orbits = tuple[np.ndarray, np.ndarray]
"""Representatives [N] and rotations [G, 3, 3] of `symmetry.orbits`; G = 0 where no symmetry was found."""


def stored_orbits(structures: Sequence[Structure], symprec: float, root: str | Path | None = None) -> list[Orbits | None]:
    """`symmetry.orbits` of each structure, from disk where it is there already.

    Parameters
    ----------
    structures : sequence of pymatgen Structure
    symprec : float
        Distance tolerance in angstrom.
    root : path, optional
        Default `default_cache_dir()`.

    Returns
    -------
    list of (representative [N] int64, rotations [G, 3, 3] float64), or None where no symmetry is found
    """
    keys = [crystal_key(s) for s in structures]
    by_digit: dict[str, dict[str, Structure]] = defaultdict(dict)
    for key, structure in zip(keys, structures, strict=True):
        by_digit[key[0]][key] = structure
    found: dict[str, Orbits] = {}
    for digit, members in by_digit.items():
        path = store_folder(symprec, root) / f"{digit}.npz"
        known = _table(path)
        missing = {k: _search(s, symprec) for k, s in members.items() if k not in known}
        if missing:
            with locked(path):
                known = _table(path) | missing
                write_atomic(path, _packed(known))
        found |= {k: known[k] for k in members}
    return [found[k] if len(found[k][1]) else None for k in keys]


def store_folder(symprec: float, root: str | Path | None = None) -> Path:
    """Folder of a tolerance's files."""
    method = f"moyopy-{version('moyopy')}-spglib-{version('spglib')}-rules-{RULES}"
    return Path(root or default_cache_dir()) / "symmetry" / method / f"{symprec:g}"


def _search(structure: Structure, symprec: float) -> Orbits:
    try:
        return orbits(structure, symprec)
    except ValueError:  # no symmetry found
        return np.arange(len(structure)), np.zeros((0, 3, 3))


def _packed(known: dict[str, Orbits]) -> bytes:
    with io.BytesIO() as buffer:
        np.savez(
            buffer, keys=np.array(list(known)),
            atoms=np.array([len(r) for r, _ in known.values()]), operations=np.array([len(g) for _, g in known.values()]),
            representative=np.concatenate([r for r, _ in known.values()]), rotations=np.concatenate([g for _, g in known.values()]),
        )  # fmt: skip
        return buffer.getvalue()


def _table(path: Path) -> dict[str, Orbits]:
    """What a file holds; nothing where there is none. A broken one is set aside with a warning."""
    try:
        status = path.stat()
        return _read(path, status.st_ino, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        return {}
    except Exception as error:  # a broken zip raises many kinds
        aside = path.with_suffix(".corrupt")
        warnings.warn(f"{path}: not readable ({error}); kept as {aside.name}, its crystals are searched anew.", stacklevel=3)
        os.replace(path, aside)
        return {}


@lru_cache(maxsize=64)
def _read(path: Path, *_state: int) -> dict[str, Orbits]:
    with np.load(path) as file:  # the zip's checksums are compared here
        parts = {name: file[name] for name in file.files}
    rows = np.cumsum(parts["atoms"])[:-1], np.cumsum(parts["operations"])[:-1]
    representatives, rotations = np.split(parts["representative"], rows[0]), np.split(parts["rotations"], rows[1])
    return dict(zip(parts["keys"].tolist(), zip(representatives, rotations, strict=True), strict=True))
