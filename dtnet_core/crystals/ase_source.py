"""Files that ASE reads, frame by frame, and its Atoms as crystals."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from ..base.reading import DataFileError, say
from .layouts import Row, refuse_open

FORMATS = {
    ".extxyz": "extxyz", ".xyz": "extxyz", ".traj": "traj", ".xsf": "xsf", ".cell": "castep-cell", ".gen": "gen", ".res": "res", ".cfg": "cfg",
    ".pwi": "espresso-in", ".pwo": "espresso-out", ".cube": "cube", ".castep": "castep-castep", ".xtl": "xtl", ".xv": "siesta-xv", ".gro": "gromacs",
    ".v_sim": "v-sim", ".struct": "struct", ".abinit": "abinit-in", ".pdb": "proteindatabank", ".shelx": "res", ".ins": "res",
}  # fmt: skip
"""ASE's name of a format by the file's ending; none of them runs code of the file."""

GUESSED = (".in", ".out", ".log")
"""Endings of several programs, for which the content tells."""

NAMES = {"XDATCAR": "vasp-xdatcar", "OUTCAR": "vasp-out"}

_SAFE = {*FORMATS.values(), *NAMES.values(), "aims", "aims-output", "abinit-out"}


def guessed_frames(path: Path) -> Iterator[tuple[object, object]]:
    """Frames of a file of several programs' ending, see `ase_frames`."""
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        kind = filetype(str(path))
    except UnknownFileTypeError:
        kind = ""
    if kind not in _SAFE:
        raise DataFileError(f"no kind of file with crystals that is known ({kind or 'unknown to ASE'})", path)
    yield from ase_frames(path, kind)


def ase_frames(path: Path, kind: str) -> Iterator[tuple[object, object]]:
    """Frames of a file as ASE Atoms; several are named by their numbers.

    Raises
    ------
    DataFileError
        When ASE cannot read the file, or a frame of it: frames behind cannot be found then.
    """
    from ase.io import iread

    before, count = None, 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = _frames(iread, path, kind)
        for number, frame in enumerate(frames):
            if before is not None:
                yield f"{count}", before
            before, count = frame, number
        notes = [str(w.message).split("\n")[0][:200] for w in caught if "castep" not in str(w.message).lower()]  # that no CASTEP is installed
    if before is not None:
        yield (f"{count}" if count else None), before
    say(notes, path)


def _frames(iread, path: Path, kind: str) -> Iterator[Row | Exception]:
    try:
        for number, atoms in enumerate(iread(path, index=":", format=kind)):
            shares = (atoms.info or {}).get("occupancy")
            if shares and any(abs(v - 1) > 1e-3 for site in shares.values() for v in site.values()):
                yield DataFileError("partially occupied or disordered; give an ordered structure", path, f"frame {number}")
                continue
            atoms.calc, atoms.info = None, {}
            yield Row({"structure": atoms}, str(path), f"frame {number}")
    except Exception as error:  # its parsers raise whatever the broken line happens to cause
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise
        yield DataFileError(f"ASE cannot read it as {kind} ({type(error).__name__}: {str(error)[:300]})", path)


def from_atoms(atoms) -> Structure:
    """ASE Atoms as a structure, atoms in their order, in their frame.

    Raises
    ------
    ValueError
        Without a cell, not periodic along three vectors, or with atoms that are no elements.
    """
    cell = np.asarray(atoms.cell)
    if np.linalg.matrix_rank(cell, tol=1e-6) < 3:
        raise ValueError(f"no cell (its vectors are {cell.tolist()}): a crystal needs three")
    refuse_open(atoms.pbc)
    if (unknown := [int(z) for z in atoms.numbers if not 0 < z < 119]):
        raise ValueError(f"{len(unknown)} atoms are no elements (atomic number {unknown[0]})")
    species = [Element.from_Z(int(z)) for z in atoms.numbers]
    return Structure(Lattice(cell), species, np.asarray(atoms.positions), coords_are_cartesian=True)
