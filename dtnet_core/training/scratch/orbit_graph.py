"""Neighbour graphs for trainable encoders: bonds to one atom of each symmetry orbit, and how the others
follow from it.

An equivariant network gives symmetry-equivalent atoms features that the symmetry operation maps onto each
other. So only one atom of each orbit has to receive messages; what a neighbour sends is its representative's
feature, turned. On the Materials Project's crystals that is a third of the bonds. Exact up to the distance
within which the atoms map, and optional: with ``reduce=False`` every atom represents itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor

from ...crystals.symmetry import cell_operations
from ...features import from_mandel, to_mandel
from ...potentials.graph import build_graph

ORBIT_SYMPREC = 1e-3
"""Distance in angstrom within which atoms must map onto each other to be treated as equivalent."""
_ANGLE_TOLERANCE = 5.0  # degrees, pymatgen's


@dataclass(frozen=True)
class OrbitGraph:
    """Bonds of the A kept atoms of B crystals with N atoms.

    Attributes
    ----------
    numbers, weights : Tensor, [A] int64, [A] float64
        Atomic numbers of the kept atoms, and the share of its crystal's atoms that each stands for.
    neighbour, receiver : Tensor, [E] int64
        Sender in [0, N) and kept atom in [0, A) of each directed bond. Bonds are sorted by length, so that
        those within a shorter cutoff come first.
    vectors, lengths : Tensor, [E, 3], [E] float64
        r_neighbour - r_receiver and its length in angstrom.
    row : Tensor, [N] int64
        The kept atom that represents each atom.
    rotations, mandel : Tensor, [N, 3, 3], [N, 6, 6] float64, or None
        What turns the vectors and the tensors (in Mandel's notation) of the representative into those of the
        atom; None: every atom represents itself.
    projectors : Tensor, [B, 6, 6] float64
        Mean over the symmetry operations of T -> R T R^t in Mandel's notation.
    n_kept, n_atoms : Tensor, [B] int64
    positions : Tensor, [N, 3] float64
        Of the atoms as their cell lists them, from the mean of the cell's atoms, in angstrom.
    """

    numbers: Tensor
    weights: Tensor
    neighbour: Tensor
    receiver: Tensor
    vectors: Tensor
    lengths: Tensor
    row: Tensor
    rotations: Tensor | None
    mandel: Tensor | None
    projectors: Tensor
    n_kept: Tensor
    n_atoms: Tensor
    positions: Tensor

    def within(self, cutoff: float) -> int:
        """Number of bonds shorter than `cutoff` in angstrom: they are the first ones."""
        return int(torch.searchsorted(self.lengths, self.lengths.new_tensor(cutoff)))

    def cut(self, cutoff: float) -> OrbitGraph:
        """The graph without the bonds that are not shorter than `cutoff` in angstrom."""
        e = self.within(cutoff)
        return replace(
            self, **{k: getattr(self, k)[:e] for k in ("neighbour", "receiver", "vectors", "lengths")}
        )

    def to(self, device: str | torch.device) -> OrbitGraph:
        """The graph on another device."""
        return replace(self, **{k: x.to(device) for k, x in vars(self).items() if x is not None})

    def images(self, scalars: Tensor, vectors: Tensor, tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of kept atoms [A, C], [A, 3, C], [A, 6, C] -> of all atoms [N, ...], channels last."""
        s, v, t = (x.index_select(0, self.row) for x in (scalars, vectors, tensors))
        if self.rotations is not None:
            v, t = torch.bmm(self.rotations.to(v), v), torch.bmm(self.mandel.to(t), t)
        return s, v, t

    @property
    def crystal(self) -> Tensor:
        """[A] int64: which crystal each kept atom is of."""
        return torch.repeat_interleave(torch.arange(len(self.n_kept), device=self.n_kept.device), self.n_kept, output_size=len(self.numbers))


def build_orbit_graph(structure: Structure, cutoff: float, reduce: bool = True) -> OrbitGraph:
    """Graph of one crystal.

    Parameters
    ----------
    structure : pymatgen Structure
    cutoff : float
        In angstrom; all periodic images are included.
    reduce : bool
        Keep one atom of each orbit only; a crystal without symmetry, or in which none is found, keeps all.
    """
    graph = build_graph(structure, cutoff)
    n = len(graph.numbers)
    row, rotations = np.arange(n), np.tile(np.eye(3), (n, 1, 1))
    group = np.eye(3)[None]
    if reduce:
        row, rotations, group = site_images(structure)
    kept, position = np.unique(row, return_inverse=True)
    place = torch.full((n,), -1)
    place[torch.from_numpy(kept)] = torch.arange(len(kept))
    receiver = place[graph.edge_index[1]]
    lengths = torch.linalg.norm(graph.edge_vectors, dim=1)
    order = torch.argsort(lengths, stable=True)
    order = order[receiver[order] >= 0]
    turns = torch.from_numpy(rotations)
    return OrbitGraph(
        numbers=graph.numbers[torch.from_numpy(kept)],
        weights=torch.from_numpy(np.bincount(position) / n),
        neighbour=graph.edge_index[0][order], receiver=receiver[order],
        vectors=graph.edge_vectors[order], lengths=lengths[order],
        row=torch.from_numpy(position),
        rotations=turns if reduce else None, mandel=mandel_rotations(turns) if reduce else None,
        projectors=mandel_rotations(torch.from_numpy(group)).mean(0, keepdim=True),
        n_kept=torch.tensor([len(kept)]), n_atoms=torch.tensor([n]),
        positions=torch.from_numpy(structure.cart_coords - structure.cart_coords.mean(0)),
    )  # fmt: skip


def merge_orbit_graphs(graphs: Sequence[OrbitGraph]) -> OrbitGraph:
    """One batch out of several graphs, all reduced or none; atoms keep their order."""
    joined = {
        name: torch.cat([getattr(g, name) for g in graphs])
        for name in ("numbers", "weights", "vectors", "lengths", "projectors", "n_kept", "n_atoms", "positions")
    }
    atoms = _starts([len(g.row) for g in graphs])
    kept = _starts([len(g.numbers) for g in graphs])
    neighbour = torch.cat([g.neighbour + start for g, start in zip(graphs, atoms, strict=True)])
    receiver = torch.cat([g.receiver + start for g, start in zip(graphs, kept, strict=True)])
    order = torch.argsort(joined["lengths"], stable=True)
    joined |= {name: joined[name][order] for name in ("vectors", "lengths")}
    reduced = all(g.rotations is not None for g in graphs)
    return OrbitGraph(
        neighbour=neighbour[order], receiver=receiver[order],
        row=torch.cat([g.row + start for g, start in zip(graphs, kept, strict=True)]),
        rotations=torch.cat([g.rotations for g in graphs]) if reduced else None,
        mandel=torch.cat([g.mandel for g in graphs]) if reduced else None,
        **joined,
    )  # fmt: skip


def site_images(
    structure: Structure, symprec: float = ORBIT_SYMPREC
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each atom its orbit's representative and the rotation that maps that one onto it.

    Parameters
    ----------
    structure : pymatgen Structure
        Ordered, N atoms.
    symprec : float
        In angstrom.

    Returns
    -------
    representative : np.ndarray, [N] int64
        Representatives point at themselves.
    rotations : np.ndarray, [N, 3, 3]
        Cartesian, proper or improper; the identity for representatives.
    group : np.ndarray, [G, 3, 3]
        Rotations of all operations of the cell, translations counted singly; only the identity when no
        symmetry is found.
    """
    n = len(structure)
    representative, rotations = np.arange(n), np.tile(np.eye(3), (n, 1, 1))
    lattice, x = structure.lattice.matrix, structure.frac_coords
    try:
        w, shifts = cell_operations(structure, symprec, _ANGLE_TOLERANCE)  # [G, 3, 3], [G, 3]
    except ValueError:  # no symmetry found: nothing to leave out
        return representative, rotations, np.eye(3)[None]
    u, _, vt = np.linalg.svd(lattice.T @ w @ np.linalg.inv(lattice.T))
    group = u @ vt  # [G, 3, 3], the nearest orthogonal matrices
    numbers = np.array([site.specie.Z for site in structure])
    free = np.ones(n, dtype=bool)
    for r in range(n):
        if not free[r]:
            continue
        apart = (w @ x[r] + shifts)[:, None] - x[None]  # [G, N, 3]
        distances = np.linalg.norm((apart - np.round(apart)) @ lattice, axis=-1)  # [G, N]
        mine = free & (distances.min(0) < 2 * symprec) & (numbers == numbers[r])
        mine[r] = True
        representative[mine] = r
        rotations[mine] = group[distances.argmin(0)[mine]]
        rotations[r] = np.eye(3)
        free &= ~mine
    return representative, rotations, group


def mandel_rotations(rotations: Tensor) -> Tensor:
    """[G, 6, 6]: T -> R T R^t in Mandel's notation, of rotations [G, 3, 3]."""
    basis = from_mandel(torch.eye(6, dtype=rotations.dtype))  # [6, 3, 3]
    turned = torch.einsum("gia,mab,gjb->gmij", rotations, basis, rotations)
    return to_mandel(turned).transpose(1, 2).contiguous()  # column m: image of basis tensor m


def _starts(counts: Sequence[int]) -> list[int]:
    return np.cumsum([0, *counts])[:-1].tolist()
