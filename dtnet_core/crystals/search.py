"""The symmetry search: moyopy where the answer is clear, spglib where it hangs on the tolerance.

moyopy is ten times as fast as spglib. Both find the same operations in a crystal whose atoms map onto each other either much
better than the tolerance or much worse. In between the two differ; there spglib decides.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # its C code prints retries that succeed; failures still raise

import moyopy
import numpy as np
import spglib

if TYPE_CHECKING:
    from pymatgen.core import Structure

logging.getLogger("moyo").setLevel(logging.ERROR)  # it reports what is normal in supercells and in relaxed crystals

Cell = tuple[np.ndarray, np.ndarray, list[int]]

MARGIN = 3.0
"""The answer is clear when a tolerance this many times larger gives operations that hold within one this many times smaller."""


def spglib_cell(structure: Structure) -> Cell:
    """The structure as spglib's (lattice rows [3, 3] angstrom, fractional positions [N, 3], numbers [N]).

    Raises
    ------
    ValueError
        For an empty or disordered structure, and for numbers that are not finite.
    """
    if len(structure) == 0:
        raise ValueError("the structure has no atoms; check the file it was read from")
    if not structure.is_ordered:
        raise ValueError(
            f"{structure.composition.formula}: sites are partially occupied, so the crystal has no single "
            "point group; give an ordered structure"
        )
    lattice, positions = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    if not (np.isfinite(lattice).all() and np.isfinite(positions).all()):
        raise ValueError(f"{structure.composition.formula}: the lattice or a coordinate is NaN or infinite")
    return lattice, positions, [site.specie.Z for site in structure]


def clear_search(cell: Cell, symprec: float) -> moyopy.MoyoDataset | None:
    """What moyopy finds, where it does not hang on the tolerance; else None.

    Parameters
    ----------
    cell : tuple
        See `spglib_cell`.
    symprec : float
        Distance tolerance in angstrom.
    """
    lattice, positions, numbers = cell
    given = moyopy.Cell(lattice.tolist(), positions.tolist(), numbers)
    try:
        found = moyopy.MoyoDataset(given, symprec=MARGIN * symprec)
    except Exception:  # moyopy's own kinds; spglib then says what is wrong
        return None
    if found.symprec != MARGIN * symprec:  # it went on with another tolerance
        return None
    return found if 2 * _distance_to_ideal(found, cell) < symprec / MARGIN else None


def _distance_to_ideal(found: moyopy.MoyoDataset, cell: Cell) -> float:
    """Angstrom by which atoms, or ends of lattice vectors, are off the places that the found symmetry gives them.

    A pair of atoms that map onto each other then misses by at most twice as much.
    """
    linear, ideal = np.array(found.prim_std_linear), found.prim_std_cell
    lattice = linear.T @ cell[0]  # [3, 3], primitive vectors as rows
    metric, exact = lattice @ lattice.T, np.array(ideal.basis)
    lengths = np.sqrt(metric.diagonal())
    strain = np.abs(metric - exact @ exact.T) / lengths.max()  # [3, 3]: twice a length's change, a shear's shift
    moved = np.linalg.solve(linear, (cell[1] - found.prim_std_origin_shift).T).T  # [N, 3]
    apart = moved - np.array(ideal.positions)[found.mapping_std_prim]
    apart = (apart - np.round(apart)) @ lattice
    apart -= apart.mean(0)
    return max(float(np.sqrt((apart**2).sum(1).max())), float(strain.max()))


def spglib_search(name: str, structure: Structure, cell: Cell, symprec: float, **options):
    """Call `spglib.<name>`; a failed search becomes a ValueError that names the crystal."""
    reason = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # older error handling: returns None
            found = getattr(spglib, name)(cell, symprec=symprec, **options)
    except spglib.SpglibError as error:
        found, reason = None, f" ({error})"
    if found is None:
        raise ValueError(
            f"{structure.composition.formula}: no symmetry found at symprec={symprec} angstrom{reason}; "
            "check for two atoms on top of each other, or lower symprec below the shortest bond"
        )
    return found


def primitive_operations(found: moyopy.MoyoDataset, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """The primitive cell of moyopy's answer, as it lies in the given one, and its point group.

    Returns
    -------
    columns : np.ndarray, [3, 3]
        Lattice vectors in angstrom.
    rotations : np.ndarray, [G, 3, 3] int
        Of fractional coordinates in these vectors.
    """
    return cell[0].T @ np.array(found.prim_std_linear), _rotations_of(found.number)


@lru_cache(maxsize=230)
def _rotations_of(number: int) -> np.ndarray:
    return sorted_rotations(np.array(moyopy.operations_from_number(number, primitive=True).rotations))


def sorted_rotations(rotations: np.ndarray) -> np.ndarray:
    """Integer matrices [n, 3, 3], each once, the identity first."""
    each = np.unique(rotations, axis=0)
    identity = (each == np.eye(3, dtype=int)).all(axis=(1, 2))
    return np.concatenate([each[identity], each[~identity]])
