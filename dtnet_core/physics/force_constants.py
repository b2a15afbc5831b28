"""Force constants at Gamma from a potential, by automatic differentiation and with all of the crystal's symmetry.

One product of the Hessian with a displacement costs about two evaluations of the forces. Symmetry says which are needed: those of one
atom of each orbit, and of that atom only as many directions as the operations that keep it in place do not turn into each other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from pymatgen.core import Structure

from ..crystals.symmetry import cell_operations
from ..potentials.graph import build_graph
from ..potentials.open_encoder import OpenEncoder

SYMPREC = 0.01
"""Distance in angstrom within which atoms count as equivalent."""
_TRIALS = 24
_CONDITION = 0.25
"""Least singular value that makes a set of directions good enough; three axes alone have 1."""


def force_constants(encoder: OpenEncoder, structure: Structure, symprec: float = SYMPREC) -> np.ndarray:
    """Second derivatives of the energy of a cell by the positions of its atoms, all images of an atom moving together.

    Parameters
    ----------
    encoder : OpenEncoder
        A potential whose energies torch can differentiate, such as "nequix-oam-1-pft".
    structure : pymatgen Structure
        N atoms.
    symprec : float
        Distance tolerance of the symmetry search in angstrom.

    Returns
    -------
    np.ndarray, [3N, 3N] float64
        In eV/angstrom^2, symmetric, without net force when all atoms move together (acoustic sum rule).
    """
    n = len(structure)
    products = _Hessian(encoder, structure)
    rotations, images = cartesian_operations(structure, symprec)
    found = np.full((n, 3, n, 3), np.nan)
    for i in np.unique(images.min(0)):
        found[i] = _rows(products, i, rotations[images[:, i] == i], images[images[:, i] == i])
        for rotation, image in zip(rotations, images, strict=True):
            if np.isnan(found[image[i], 0, 0, 0]):
                found[image[i]][:, image] = np.einsum("ab,bjc,dc->ajd", rotation, found[i], rotation)
    k = found.reshape(3 * n, 3 * n)
    return without_translations((k + k.T) / 2)


def without_translations(k: np.ndarray) -> np.ndarray:
    """[3N, 3N] with the acoustic sum rule imposed by projection."""
    blocks = k.reshape(len(k) // 3, 3, -1, 3)
    blocks = blocks - blocks.mean(0, keepdims=True)
    return (blocks - blocks.mean(2, keepdims=True)).reshape(k.shape)


def cartesian_operations(structure: Structure, symprec: float = SYMPREC) -> tuple[np.ndarray, np.ndarray]:
    """Operations of the cell, pure translations included.

    Returns
    -------
    rotations : np.ndarray, [G, 3, 3]
        Orthogonal, in the frame of `structure`.
    images : np.ndarray, [G, N] int
        Which atom each atom goes to.
    """
    matrix, places = structure.lattice.matrix, structure.frac_coords
    fractional, shifts = cell_operations(structure, symprec)
    u, _, vt = np.linalg.svd(matrix.T @ fractional @ np.linalg.inv(matrix.T))
    moved = np.einsum("gab,nb->gna", fractional, places) + shifts[:, None]  # [G, N, 3]
    images = []
    for one in moved:
        apart = one[:, None] - places
        images.append(np.linalg.norm((apart - np.round(apart)) @ matrix, axis=-1).argmin(1))
    return u @ vt, np.array(images)


def effort(encoder: OpenEncoder, structure: Structure, symprec: float = SYMPREC) -> int:
    """What `force_constants` costs: products with the Hessian, times bonds. A thousand take about a second of one core with Nequix."""
    rotations, images = cartesian_operations(structure, symprec)
    products = sum(len(directions(rotations[images[:, i] == i])) for i in np.unique(images.min(0)))
    return products * len(build_graph(structure, encoder.cutoff).edge_vectors)


def directions(rotations: np.ndarray) -> np.ndarray:
    """[k, 3]: the fewest unit vectors (k = 1, 2 or 3) that a site's rotations [G, 3, 3] turn into vectors along all axes."""
    draw = np.random.default_rng(0)
    for k in (1, 2):
        trial = draw.standard_normal((_TRIALS, k, 3))
        trial /= np.linalg.norm(trial, axis=-1, keepdims=True)
        turned = np.einsum("gab,tkb->tgka", rotations, trial).reshape(_TRIALS, -1, 3)
        if turned.shape[1] < 3:
            continue
        least = np.linalg.svd(turned / np.sqrt(turned.shape[1] / 3), compute_uv=False)[:, -1]
        if least.max() > _CONDITION:
            return trial[least.argmax()]
    return np.eye(3)


class _Hessian:
    """Products of a crystal's Hessian with displacements of one atom."""

    def __init__(self, encoder: OpenEncoder, structure: Structure):
        graph = build_graph(structure, encoder.cutoff)
        self.shift = torch.zeros(len(structure), 3, dtype=torch.float64, requires_grad=True)
        neighbour, centre = graph.edge_index
        vectors = graph.edge_vectors + self.shift[neighbour] - self.shift[centre]
        energy = encoder.node_energies(replace(graph, edge_vectors=vectors)).sum()
        (self.gradient,) = torch.autograd.grad(energy, self.shift, create_graph=True)

    def product(self, atom: int, direction: np.ndarray) -> np.ndarray:
        """[N, 3]: change of all gradients, eV/angstrom^2, when an atom moves along a unit vector."""
        (row,) = torch.autograd.grad(self.gradient[atom] @ torch.as_tensor(direction), self.shift, retain_graph=True)
        return row.numpy()


def _rows(hessian: _Hessian, atom: int, rotations: np.ndarray, images: np.ndarray) -> np.ndarray:
    """[3, N, 3]: the rows of an atom, from as few products as the operations that keep it [S, 3, 3], [S, N] allow."""
    chosen = directions(rotations)
    along, rows = [], []
    for direction in chosen:
        row = hessian.product(atom, direction)
        turned = np.empty((len(rotations), *row.shape))
        for g, (rotation, image) in enumerate(zip(rotations, images, strict=True)):
            turned[g][image] = row @ rotation.T
        along.append(rotations @ direction)
        rows.append(turned)
    solved, *_ = np.linalg.lstsq(np.concatenate(along), np.concatenate(rows).reshape(-1, 3 * images.shape[1]), rcond=None)
    return solved.reshape(3, -1, 3)
