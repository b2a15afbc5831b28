"""What encoders of open weights that no wheel carries share: checks, batches, energies.

`nequix` (MIT licence) and `tensornet` (BSD-3) build on it; both are exactly O(3)-equivariant in one pass.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
from pymatgen.core import Structure
from torch import Tensor

from ..crystals.structures import validate_structure
from ..features import Features, concatenate_crystals
from .graph import Graph, batches_by_edges

DEFAULT_MAX_EDGES = 1_000


def rows_of(numbers: Sequence[int]) -> Tensor:
    """[120] int64: place of each atomic number in `numbers`, the order of an embedding; -1 where it is not known."""
    rows = torch.full((120,), -1)
    rows[torch.tensor(numbers)] = torch.arange(len(numbers))
    return rows


class OpenEncoder(abc.ABC):
    """What the encoders here share: checks, batches, and the energy the potential itself was trained on.

    Attributes
    ----------
    name, version, cutoff, elements, layers
        As in `dtnet_core.encoder.Encoder`.
    dtype : torch.dtype
        float32, or float64 for tests of equivariance (constants are then computed in double).
    max_edges : int
        Bonds in a batch.
    """

    name: str
    version: str
    cutoff: float
    elements: frozenset[str]
    layers: tuple[int, ...]
    dtype: torch.dtype
    max_edges: int = DEFAULT_MAX_EDGES

    @abc.abstractmethod
    def channels(self, layer: int) -> tuple[int, int, int]:
        """(Cs, Cv, Ct) of a layer."""

    @abc.abstractmethod
    def _run(self, graph: Graph, layers: tuple[int, ...], bonds: bool) -> tuple[dict[int, Features], Tensor]:
        """Features of the layers, and the energy of each atom [N] in eV, from one pass of the network."""

    def encode_layers(
        self, structures: Sequence[Structure], layers: Sequence[int], bonds: bool = False
    ) -> dict[int, Features]:
        """Features of each of `layers`, for all crystals as one batch.

        These networks keep no features on bonds. With `bonds`, a layer's stand-ins are its messages before they are
        summed, of each rank mixed down to 16 channels by a fixed matrix, and the radial basis among the scalars.
        Layers that pass no messages (the embedding, TensorNet's readout) have none.

        Raises
        ------
        structures.InvalidStructureError
            For a structure with unsupported elements, disorder, overlapping atoms, no atoms, NaN.
        """
        parts: dict[int, list[Features]] = {n: [] for n in layers}
        for graph in self._batches(structures):
            with torch.inference_mode():
                blocks, _ = self._run(graph, tuple(layers), bonds)
            for n, features in blocks.items():
                parts[n].append(features)
        return {n: concatenate_crystals(p) for n, p in parts.items()}

    def energies(self, structures: Sequence[Structure]) -> Tensor:
        """Potential energy [B] of the cells in eV, from the pass that gives the features.

        Not a feature: it is how to see that the network does what its authors published.
        """
        found = []
        for graph in self._batches(structures):
            with torch.inference_mode():
                _, atoms = self._run(graph, (), False)  # [N]
            cells = torch.zeros(len(graph.n_atoms), dtype=atoms.dtype)
            found.append(cells.index_add(0, graph.crystal, atoms))
        return torch.cat(found)

    def node_energies(self, graph: Graph) -> Tensor:
        """Energy of each atom [N] in eV, differentiable by the graph's edge vectors."""
        return self._run(graph, (), False)[1]

    def _batches(self, structures: Sequence[Structure]):
        for position, structure in enumerate(structures):
            validate_structure(structure, elements=self.elements, name=f"structure {position}")
        return batches_by_edges(structures, self.cutoff, self.max_edges)
