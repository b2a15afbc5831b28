"""Does a tensor belong to the frame of its structure?

A dielectric tensor must be invariant under the point group of its own crystal (Neumann's principle). One that
is not was given in another frame - databases like to store tensors in standard axes - or is not converged.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .symmetry import symmetry_violation

import spglib  # isort: skip  # after .symmetry, which sets its environment

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from .record import Record

SYMPREC, ANGLE_TOLERANCE = 0.05, 5.0
"""Tolerances of the point-group check in angstrom and degrees.

Wide enough to see the symmetry that a relaxed cell printed with six decimals has; at 0.01 angstrom a few
pseudo- symmetric crystals pass for lower symmetry, at 0.1 crystals that truly are of lower symmetry begin to
fail.
"""

STRAIN = 0.01
"""Change of squared lengths above which an operation is no symmetry of a cell but one that a strain has broken: a rock salt sheared by a
percent is triclinic, and so is its tensor. Rounded coordinates, which `SYMPREC` is for, leave the cell alone."""

ROTATED_VIOLATION = 0.1
"""Violation above which a tensor whose eigenvalues fit the crystal is taken for one in another frame."""


def cell_rotations(structure: Structure, primitive: bool = True) -> np.ndarray:
    """Point-group operations as Cartesian matrices in the frame of `structure`, for checking a tensor.

    They are not made orthogonal: for a cell that only nearly has a symmetry, the matrix carries the strain,
    and so does the violation computed with it. Operations that strain the cell by more than `STRAIN` are left out.

    Parameters
    ----------
    structure : pymatgen Structure
    primitive : bool
        Of the crystal (default) rather than of this cell; they differ where a supercell breaks a symmetry of
        the crystal, as the magnetic cell of an antiferromagnet does.

    Returns
    -------
    np.ndarray, [G, 3, 3] float64

    Raises
    ------
    ValueError
        When the symmetry search finds nothing.
    """
    cell: Any = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = spglib.get_symmetry_dataset(cell, SYMPREC, ANGLE_TOLERANCE)
        if primitive and dataset is not None and max(dataset.mapping_to_primitive) + 1 < len(structure):
            smaller = spglib.standardize_cell(cell, True, True, SYMPREC, ANGLE_TOLERANCE)
            again = spglib.get_symmetry_dataset(smaller, SYMPREC, ANGLE_TOLERANCE) if smaller else None
            cell, dataset = (smaller, again) if again is not None else (cell, dataset)
    if dataset is None:
        raise ValueError(f"{structure.composition.reduced_formula}: no symmetry found at {SYMPREC} angstrom")
    columns = np.asarray(cell[0]).T  # lattice vectors as columns
    operations = columns @ np.unique(dataset.rotations, axis=0) @ np.linalg.inv(columns)  # [G, 3, 3]
    strains = np.abs(operations.transpose(0, 2, 1) @ operations - np.eye(3)).max((1, 2))
    return operations[strains <= STRAIN]


def turned(structure: Structure, rotation: np.ndarray) -> Structure:
    """The same crystal in another orientation; its tensor T becomes R T R^t.

    Parameters
    ----------
    structure : pymatgen Structure
    rotation : array, [3, 3]
        Orthogonal matrix R: a rotation, a reflection or both.

    Returns
    -------
    pymatgen Structure
        Cell and atoms at R r.
    """
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(structure.lattice.matrix @ np.asarray(rotation).T), structure.species_and_occu, structure.frac_coords)


def tensor_violations(record: Record, primitive: bool = True) -> dict[str, float]:
    """Largest change of each tensor under its structure's point group, over the tensor's largest element.

    Returns
    -------
    dict
        Of "electronic" and "total" those the record has (the ionic tensor is their difference, and may be
        nothing but noise); "ionic" where it has neither.
    """
    rotations = cell_rotations(record.structure, primitive)
    names = [t for t in ("electronic", "total") if record.tensor(t) is not None] or ["ionic"]
    return {t: symmetry_violation(tensor, rotations) for t in names if (tensor := record.tensor(t)) is not None}


def looks_rotated(record: Record, violations: dict[str, float]) -> bool:
    """Is this a good tensor in the wrong frame, rather than a tensor that is not converged?

    Only the directions are wrong then: the eigenvalues still are as degenerate as the crystal asks (a quarter
    of the violation at most), and the electronic tensor, the easy one to converge, is violated along with the
    rest.
    """
    worst = max(violations, key=lambda t: violations[t])
    if violations[worst] <= ROTATED_VIOLATION or violations.get("electronic", 1.0) <= ROTATED_VIOLATION / 10:
        return False
    tensor, rotations = np.asarray(record.tensor(worst)), cell_rotations(record.structure)
    eigenvalues = np.linalg.eigvalsh((tensor + tensor.T) / 2)  # [3], ascending
    gaps, scale = np.diff(eigenvalues), np.abs(eigenvalues).max()
    orders = {_order(q) for q in rotations}
    threefold = sum(_order(q) == 3 for q in rotations if np.linalg.det(q) > 0)
    two_equal = gaps.min() if orders & {3, 4, 6} else 0.0  # an axis of order 3, 4 or 6
    misfit = gaps.max() if threefold > 2 else two_equal  # four threefold axes: cubic, all three equal
    return bool(misfit / scale < violations[worst] / 4)


def _order(matrix: np.ndarray) -> int:
    """Order of the proper rotation that `matrix` [3, 3] is, up to the inversion."""
    trace = float(np.trace(matrix)) * np.sign(np.linalg.det(matrix))
    return {-1: 2, 0: 3, 1: 4, 2: 6, 3: 1}[int(np.clip(round(trace), -1, 3))]
