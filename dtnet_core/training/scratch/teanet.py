"""A trainable encoder in the style of TeaNet: scalars, vectors and rank-2 tensors on atoms, scalars and
vectors on bonds.

Written from what the publications say, for training from random weights (the paper's Fig. 5a-b). The paper's
encoder is PFP, whose weights are not public; its architecture is TeaNet's: five graph convolutions that reach
3, 3, 4, 6 and 6 angstrom, bonds that keep features of their own from layer to layer (Section 5.2). Vectors
are only ever made from bond directions and vectors, tensors only from pairs of vectors: so vectors are odd
and tensors even under inversion, exactly.

Sources: S. Takamoto, S. Izumi, J. Li, Comput. Mater. Sci. 207, 111280 (2022); S. Takamoto et al., Nat.
Commun. 13, 2991 (2022). Differences: bonds are directed, angles enter through contractions of atom features
with the bond (no Morse-style two-body term, which serves energies), and the nonlinearity of vectors and
tensors is a gate.
"""

from __future__ import annotations

import torch
from torch import nn

from ...features import Features, Packed, from_mandel
from .convolution import Atoms, Bonds, Convolution, TeaNetConfig
from .orbit_graph import OrbitGraph

MAX_ATOMIC_NUMBER = 118


class TeaNet(nn.Module):
    """Encoder with features on atoms and bonds after each of its convolutions, for training from random
    weights.

    Parameters
    ----------
    config : TeaNetConfig, optional
    depth : int, optional
        Convolutions that are built, the first ones of `config.cutoffs`; default all.

    Raises
    ------
    ValueError
        For a depth that the configuration does not have.
    """

    def __init__(self, config: TeaNetConfig | None = None, depth: int | None = None):
        super().__init__()
        self.config = config = config or TeaNetConfig()
        n = len(config.cutoffs)
        self.depth = n if depth is None else depth
        if not 1 <= self.depth <= n:
            raise ValueError(f"depth is {depth}; the configuration has convolutions 1 to {n}")
        self.embedding = nn.Embedding(MAX_ATOMIC_NUMBER + 1, config.scalars)
        self.convolutions = nn.ModuleList(
            Convolution(config, cutoff, m == 0, config.scalar_last and m == n - 1 > 0)
            for m, cutoff in enumerate(config.cutoffs[: self.depth])
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def reach(self) -> float:
        """Cutoff in angstrom that graphs need for all convolutions of this encoder."""
        return self.config.cutoffs[self.depth - 1]

    @property
    def channels(self) -> tuple[int, int, int]:
        """(Cs, Cv, Ct)."""
        return self.config.scalars, self.config.vectors, self.config.tensors

    @property
    def edge_channels(self) -> tuple[int, int]:
        """(Cbs, Cbv)."""
        return self.config.bond_scalars, self.config.bond_vectors

    def packed(self, graph: OrbitGraph, layer: int | None = None, bonds: bool = False) -> Packed:
        """Features of the kept atoms after a layer, in the layout the readout computes in.

        Parameters
        ----------
        graph : OrbitGraph
            Built with at least the cutoff of that layer.
        layer : int, optional
            1 to `depth`; only the convolutions up to it run. Default: the last.
        bonds : bool
            With bond features.

        Raises
        ------
        ValueError
            For a layer the encoder does not have.
        """
        atoms, found = self._run(graph, layer)
        edges = (graph.receiver[: len(found.s)], found.s, found.v) if bonds else None
        projectors = graph.projectors.to(atoms.s) if graph.rotations is not None else None
        return Packed(
            scalars=atoms.s, vectors=atoms.v, tensors=atoms.t, crystal=graph.crystal,
            weights=graph.weights.to(atoms.s), n_crystals=len(graph.n_atoms),
            projectors=projectors, edges=edges,
        )  # fmt: skip

    def forward(self, graph: OrbitGraph, layer: int | None = None) -> Features:
        """Features of all atoms and bonds after a layer.

        Parameters
        ----------
        graph : OrbitGraph
            Built with ``reduce=False``, so that it has every bond.
        layer : int, optional
            As in `packed`.

        Raises
        ------
        ValueError
            For a layer the encoder does not have, and for a graph with one atom an orbit.
        """
        if graph.rotations is not None:
            raise ValueError(
                "the graph holds one atom of each orbit: build it with reduce=False, or use packed()"
            )
        atoms, bonds = self._run(graph, layer)
        e = len(bonds.s)
        return Features(
            scalars=atoms.s, vectors=atoms.v.transpose(1, 2), tensors=from_mandel(atoms.t.transpose(1, 2)),
            n_atoms=graph.n_atoms, edge_index=torch.stack([graph.neighbour[:e], graph.receiver[:e]]),
            edge_scalars=bonds.s, edge_vectors=bonds.v.transpose(1, 2),
        )  # fmt: skip

    def _run(self, graph: OrbitGraph, layer: int | None) -> tuple[Atoms, Bonds]:
        layer = self.depth if layer is None else layer
        if not 1 <= layer <= self.depth:
            raise ValueError(f"layer is {layer}; this encoder has layers 1 to {self.depth}")
        s = self.embedding(graph.numbers)  # [A, Cs]
        atoms = Atoms(
            s, s.new_zeros(len(s), 3, self.config.vectors), s.new_zeros(len(s), 6, self.config.tensors)
        )
        unit = (graph.vectors / graph.lengths[:, None]).to(s)  # [E, 3]
        product = torch.einsum("kia,ea->eik", from_mandel(torch.eye(6, dtype=s.dtype, device=s.device)), unit)
        none = s.new_zeros(0, self.config.bond_scalars), s.new_zeros(0, 3, self.config.bond_vectors)
        bonds = Bonds(unit, graph.lengths.to(s), product, *none)
        for convolution in self.convolutions[:layer]:
            atoms, bonds = convolution(graph, atoms, bonds)
        return atoms, bonds
