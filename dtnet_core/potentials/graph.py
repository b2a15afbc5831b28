"""Periodic neighbour graphs of crystals, and batches of them bounded by their number of edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matscipy.neighbours import neighbour_list
from pymatgen.core import Structure
from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """Directed bonds within a cutoff, for one crystal or a batch.

    Attributes
    ----------
    numbers : Tensor, [N] int64
        Atomic numbers.
    edge_index : Tensor, [2, E] int64
        Row 0: neighbour j, row 1: centre i, in this order everywhere in the kit.
    edge_vectors : Tensor, [E, 3] float64
        r_j - r_i in angstrom, periodic images included.
    n_atoms, n_edges : Tensor, [B] int64
    """

    numbers: Tensor
    edge_index: Tensor
    edge_vectors: Tensor
    n_atoms: Tensor
    n_edges: Tensor

    @property
    def crystal(self) -> Tensor:
        """[N] int64: which crystal each atom is of."""
        return torch.repeat_interleave(torch.arange(len(self.n_atoms)), self.n_atoms)


def build_graph(structure: Structure, cutoff: float) -> Graph:
    """Graph of one crystal; every atom pair closer than `cutoff` (angstrom), both directions, all images."""
    lattice = np.ascontiguousarray(structure.lattice.matrix)
    positions = structure.frac_coords @ lattice  # [N, 3]
    numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    centre, neighbour, vectors = neighbour_list("ijD", cutoff=float(cutoff), positions=positions, cell=lattice,
                                                pbc=np.ones(3, dtype=bool), numbers=numbers.astype(np.int32))  # fmt: skip
    edge_index = np.stack([neighbour, centre]).astype(np.int64)  # the library gives 32-bit indices
    return Graph(
        torch.from_numpy(numbers), torch.from_numpy(edge_index), torch.from_numpy(vectors.reshape(-1, 3)),
        torch.tensor([len(numbers)]), torch.tensor([len(centre)]),
    )  # fmt: skip


def merge_graphs(graphs: Sequence[Graph]) -> Graph:
    """One batch out of several graphs; atoms and bonds keep their order."""
    n_atoms = torch.cat([g.n_atoms for g in graphs])
    starts = np.cumsum([0] + [len(g.numbers) for g in graphs])
    return Graph(
        torch.cat([g.numbers for g in graphs]),
        torch.cat([g.edge_index + int(s) for g, s in zip(graphs, starts, strict=False)], 1),
        torch.cat([g.edge_vectors for g in graphs]),
        n_atoms,
        torch.cat([g.n_edges for g in graphs]),
    )


def batches_by_edges(structures: Iterable[Structure], cutoff: float, max_edges: int) -> Iterator[Graph]:
    """Batches of graphs, in order, of at most `max_edges` bonds each.

    The cost and the memory of message passing go with the bonds, not with the crystals. A crystal that exceeds the
    bound on its own makes a batch of its own.
    """
    waiting: list[Graph] = []
    edges = 0
    for structure in structures:
        graph = build_graph(structure, cutoff)
        size = int(graph.n_edges.sum())
        if waiting and edges + size > max_edges:
            yield merge_graphs(waiting)
            waiting, edges = [], 0
        waiting.append(graph)
        edges += size
    if waiting:
        yield merge_graphs(waiting)
