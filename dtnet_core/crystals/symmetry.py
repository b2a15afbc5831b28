"""Crystal symmetry in the Cartesian frame of a structure: point group, orbits, crystal system.

A dielectric tensor is only meaningful together with the frame its crystal was given in. Everything here
therefore works with the structure as it stands: no standard setting, no rotation. `search` finds the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .search import Cell, clear_search, primitive_operations, sorted_rotations, spglib_cell, spglib_search

if TYPE_CHECKING:
    from pymatgen.core import Structure

CRYSTAL_SYSTEMS = ("cubic", "hexagonal", "monoclinic", "orthorhombic", "tetragonal", "triclinic", "trigonal")
"""The seven crystal systems in the order of the paper's Table 2."""

_LAST_SPACE_GROUP = (
    (2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"),
    (167, "trigonal"), (194, "hexagonal"), (230, "cubic"),
)  # fmt: skip


def _orthogonal(matrices: np.ndarray) -> np.ndarray:
    """Nearest orthogonal matrix of each of `matrices` [G, 3, 3] (polar decomposition)."""
    u, _, vt = np.linalg.svd(matrices)
    return u @ vt


def point_group_rotations(structure: Structure, symprec: float = 0.01) -> np.ndarray:
    """Cartesian matrices of the crystal's point group, in the frame of `structure`.

    The search runs on the primitive cell, left in its orientation, so that every cell of the same crystal
    (supercells of any shape, too) gives the same group.

    Parameters
    ----------
    structure : pymatgen Structure
        Ordered crystal; lengths in angstrom.
    symprec : float
        Distance tolerance of the symmetry search in angstrom.

    Returns
    -------
    np.ndarray, [G, 3, 3] float64
        Proper and improper rotations, the identity first, orthogonal to rounding; 1 <= G <= 48.

    Raises
    ------
    ValueError
        For an empty or disordered structure, non-finite numbers, or when spglib finds no symmetry.
    """
    cell = spglib_cell(structure)
    return _point_group(structure, cell, symprec, clear_search(cell, symprec))


def _point_group(structure: Structure, cell: Cell, symprec: float, found) -> np.ndarray:
    """[G, 3, 3]: the point group by what `clear_search` found, or by spglib where that is None."""
    if found is not None:
        columns, fractional = primitive_operations(found, cell)
    else:
        primitive = spglib_search("standardize_cell", structure, cell, symprec, to_primitive=True, no_idealize=True)
        columns = np.asarray(primitive[0]).T  # lattice vectors as columns
        fractional = sorted_rotations(spglib_search("get_symmetry", structure, primitive, symprec)["rotations"])
    return _orthogonal(columns @ fractional @ np.linalg.inv(columns))


def cell_operations(structure: Structure, symprec: float, angle_tolerance: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """All symmetry operations of the cell as it is given, pure translations included.

    Parameters
    ----------
    structure : pymatgen Structure
    symprec : float
        Distance tolerance in angstrom.
    angle_tolerance : float
        spglib's, in degrees; negative: from `symprec`.

    Returns
    -------
    rotations, translations : np.ndarray, [G, 3, 3], [G, 3]
        Of fractional coordinates: x -> rotation x + translation.

    Raises
    ------
    ValueError
        As `point_group_rotations`.
    """
    cell = spglib_cell(structure)
    found = clear_search(cell, symprec)
    if found is not None:
        return np.array(found.operations.rotations), np.array(found.operations.translations)
    dataset = spglib_search("get_symmetry_dataset", structure, cell, symprec, angle_tolerance=angle_tolerance)
    return np.asarray(dataset.rotations), np.asarray(dataset.translations)


def space_group_number(structure: Structure, symprec: float = 0.01, angle_tolerance: float = -1.0) -> int:
    """Number of the space group in the International Tables; parameters and errors as `cell_operations`."""
    cell = spglib_cell(structure)
    found = clear_search(cell, symprec)
    if found is not None:
        return found.number
    return int(spglib_search("get_symmetry_dataset", structure, cell, symprec, angle_tolerance=angle_tolerance).number)


def primitive_structure(structure: Structure, symprec: float = 0.01) -> Structure:
    """The primitive cell of a crystal, as it lies in the given one: not turned, not idealised. The structure itself where it is primitive.

    Parameters and errors as `point_group_rotations`.
    """
    from pymatgen.core import Lattice
    from pymatgen.core import Structure as Crystal

    rotations, _ = cell_operations(structure, symprec)
    if (rotations == np.eye(3, dtype=int)).all((1, 2)).sum() == 1:
        return structure
    lattice, positions, numbers = spglib_search("standardize_cell", structure, spglib_cell(structure), symprec, to_primitive=True, no_idealize=True)
    return Crystal(Lattice(lattice), numbers, positions)


def symmetrize(tensor: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Project a tensor on the form a point group allows (Neumann's principle, Table 1): mean of R T R^t.

    Parameters
    ----------
    tensor : np.ndarray, [3, 3] or [..., 3, 3]
    rotations : np.ndarray, [G, 3, 3]

    Returns
    -------
    np.ndarray, same shape as `tensor`
    """
    tensor, rotations = np.asarray(tensor, dtype=float), np.asarray(rotations, dtype=float)
    return np.einsum("gia,...ab,gjb->...ij", rotations, tensor, rotations, optimize=True) / len(rotations)


def symmetry_violation(tensor: np.ndarray, rotations: np.ndarray) -> float:
    """How far a tensor is from being invariant under a point group.

    Parameters
    ----------
    tensor : np.ndarray, [3, 3]
    rotations : np.ndarray, [G, 3, 3]
        Cartesian, in the tensor's frame; see `point_group_rotations`.

    Returns
    -------
    float
        max_g max_ij |R T R^t - T| / max_ij |T|, dimensionless; 0 for the zero tensor. A tensor given in
        another frame than its structure shows up here, typically above 0.05.

    Raises
    ------
    ValueError
        When `tensor` is not a finite [3, 3] array.
    """
    tensor, rotations = np.asarray(tensor, dtype=float), np.asarray(rotations, dtype=float)
    if tensor.shape != (3, 3) or not np.isfinite(tensor).all():
        raise ValueError(f"expected a finite (3, 3) tensor, got shape {tensor.shape}: {tensor.tolist()}")
    largest = np.abs(tensor).max()
    if largest == 0:
        return 0.0
    rotated = rotations @ tensor @ rotations.transpose(0, 2, 1)  # [G, 3, 3]
    return float(np.abs(rotated - tensor).max() / largest)


def crystal_system(structure: Structure, symprec: float = 0.01) -> str:
    """One of `CRYSTAL_SYSTEMS`, from the space-group number (trigonal: 143-167, hexagonal: 168-194).

    Parameters
    ----------
    structure : pymatgen Structure
    symprec : float
        Distance tolerance in angstrom.

    Raises
    ------
    ValueError
        As `point_group_rotations`.
    """
    number = space_group_number(structure, symprec)
    return next(system for last, system in _LAST_SPACE_GROUP if number <= last)


def orbits(structure: Structure, symprec: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Which atoms are images of each other, and the point group that maps them.

    With a per-atom equivariant tensor T_i, the mean over the atoms needs the representatives only::

        mean_i T_i = symmetrize(sum_r w_r T_r, rotations),   w_r = (atoms represented by r) / N

    exact up to the distance `symprec` by which equivalent atoms may differ.

    Parameters
    ----------
    structure : pymatgen Structure
        N atoms.
    symprec : float
        Distance tolerance in angstrom; tight, as it bounds the error of the formula above.

    Returns
    -------
    representative : np.ndarray, [N] int64
        Index of the representative of every atom; representatives point at themselves.
    rotations : np.ndarray, [G, 3, 3] float64
        `point_group_rotations(structure, symprec)`.

    Raises
    ------
    ValueError
        As `point_group_rotations`.
    """
    cell = spglib_cell(structure)
    found = clear_search(cell, symprec)
    if found is not None:
        labels = np.array(found.orbits)  # [N], equivalence of the primitive cell's symmetry
    else:
        labels = np.asarray(spglib_search("get_symmetry_dataset", structure, cell, symprec).crystallographic_orbits)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64), _point_group(structure, cell, symprec, found)


def standard_rotation(structure: Structure, symprec: float = 0.01) -> np.ndarray:
    """Rotation from the frame of `structure` to the standard axes, in which Table 1 shows the tensors.

    The unique axis lies along z (tetragonal, trigonal, hexagonal) or y (monoclinic), a along x. The Materials
    Project publishes its tensors in the similar IEEE axes, whose order can differ; so the paper's errors by
    element (Eqs. 3, 5, 6), which depend on orientation, refer to such axes. Use `R @ tensor @ R.T` on
    reference and prediction alike.

    Parameters
    ----------
    structure : pymatgen Structure
    symprec : float
        Distance tolerance in angstrom.

    Returns
    -------
    np.ndarray, [3, 3] float64
        Orthogonal; rows are the standard axes in the frame of `structure` (spglib's standard setting).

    Raises
    ------
    ValueError
        As `point_group_rotations`.
    """
    dataset = spglib_search("get_symmetry_dataset", structure, spglib_cell(structure), symprec)
    return _orthogonal(np.asarray(dataset.std_rotation_matrix))
