"""PaiNN (Schütt, Unke, Gastegger 2021) of schnetpack, with the tensor head of the paper's Eq. 7: rank-1 outer products.

Eq. 7 multiplies each atom's vector with its position r_i. Molecules have positions; in a crystal they depend on which
images of the atoms the cell lists. The head as printed therefore turns with the crystal, but does not see the crystal
alone: move an atom by a lattice vector and the tensor changes. "PaiNN" is that head. "PaiNN-local" puts the mean of an
atom's bonds in the place of its position, and keeps all symmetries. Neither sees the anisotropy around an atom that is
a centre of inversion: its vectors are zero, and Eq. 7 has nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor, nn

from ..features import to_mandel
from ..layers import segment_sum
from ..potentials.packages import import_bare
from ..training.scratch.orbit_graph import OrbitGraph
from .network import TensorNetwork, isotropic, mean_over_atoms

POSITIONS = ("cell", "bonds")


@lru_cache(maxsize=1)
def schnetpack() -> tuple[ModuleType, ModuleType]:
    """schnetpack's building blocks and its PaiNN, without its training framework.

    Raises
    ------
    ImportError
        When it is not installed, with the command that installs it.
    """
    return tuple(import_bare("schnetpack", ["nn", "representation.painn"]))


class PaiNN(TensorNetwork):
    """PaiNN with outer products of vectors.

    Parameters
    ----------
    width : int
        Scalars, and vectors, of an atom.
    layers : int
    radial : int
        Bessel functions.
    reach : float
        Cutoff in angstrom.
    positions : {"cell", "bonds"}
        What stands for r_i in Eq. 7: the position in the cell, from the mean of its atoms, or the mean bond vector.

    Raises
    ------
    ValueError
        For other `positions`.
    """

    def __init__(self, width: int = 128, layers: int = 3, radial: int = 20, reach: float = 5.0, positions: str = "cell"):
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f"positions is {positions!r}; choose one of {', '.join(POSITIONS)}")
        parts, painn = schnetpack()
        self.reach, self.positions, self.symmetrized = reach, positions, positions == "bonds"
        self.core = painn.PaiNN(width, layers, parts.BesselRBF(radial, reach), parts.CosineCutoff(reach))
        self.head = parts.build_gated_equivariant_mlp(width, 1)

    def features(self, graph: OrbitGraph) -> tuple[Tensor, Tensor]:
        """Scalars [A, C] and vectors [A, 3, C] of the kept atoms: schnetpack's layers, in the order of its own forward.

        Its interaction takes senders and receivers from one list of atoms. Here that list is the kept atoms, which
        receive, and behind them the images of all atoms, which send.
        """
        core, kept = self.core, len(graph.numbers)
        lengths, vectors = (x.to(self.dtype) for x in (graph.lengths[:, None], graph.vectors))
        envelope = core.cutoff_fn(lengths)  # [E, 1]
        filters = core.filter_net(core.radial_basis(lengths)) * envelope[..., None]  # [E, 1, 3 C layers]
        sender = kept + graph.neighbour
        q = core.embedding(graph.numbers)[:, None]  # [A, 1, C]
        mu = q.new_zeros(kept, 3, core.n_atom_basis)
        for interaction, mixing, weights in zip(
            core.interactions, core.mixing, torch.split(filters, 3 * core.n_atom_basis, dim=-1), strict=True
        ):
            both = [torch.cat([x, y]) for x, y in ((q, q[graph.row]), (mu, self._turned(graph, mu)))]  # [A + N, ...]
            q, mu = interaction(*both, weights, vectors / lengths, graph.receiver, sender, kept + len(graph.row))
            q, mu = mixing(q[:kept], mu[:kept])
        return q[:, 0], mu

    def raw(self, graph: OrbitGraph) -> Tensor:
        """Eq. 7, as a mean over atoms: the sum that is printed would grow with the cell. [B, 6]"""
        q, mu = self.features(graph)
        s, v = self.head((q, mu))  # [A, 1], [A, 3, 1]
        if self.positions == "bonds":
            return mean_over_atoms(isotropic(s) + _outer(v[..., 0], self._mean_bond(graph)), graph)
        crystal = graph.crystal[graph.row]  # [N]
        products = _outer(self._turned(graph, v)[..., 0], graph.positions.to(v))  # [N, 6]
        share = graph.n_atoms[crystal, None].to(v)
        return mean_over_atoms(isotropic(s), graph) + segment_sum(products / share, crystal, len(graph.n_atoms))

    def _mean_bond(self, graph: OrbitGraph) -> Tensor:
        """[A, 3]: mean of the vectors to the neighbours, each weighted by the cutoff function; zero without neighbours."""
        weight = self.core.cutoff_fn(graph.lengths[:, None].to(self.dtype))  # [E, 1]
        sums = segment_sum(torch.cat([weight * graph.vectors.to(weight), weight], 1), graph.receiver, len(graph.numbers))
        return sums[:, :3] / sums[:, 3:].clamp(min=torch.finfo(weight.dtype).tiny)

    @staticmethod
    def _turned(graph: OrbitGraph, vectors: Tensor) -> Tensor:
        """Vectors of kept atoms [A, 3, C] -> of all atoms [N, 3, C]."""
        vectors = vectors[graph.row]
        return vectors if graph.rotations is None else torch.bmm(graph.rotations.to(vectors), vectors)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """[n, 3] twice -> a b^t + b a^t in Mandel's notation, [n, 6]."""
    product = a[:, :, None] * b[:, None]
    return to_mandel(product + product.transpose(1, 2))


def build_painn(**settings) -> nn.Module:
    """PaiNN with the head as printed."""
    return PaiNN(**settings)


def build_painn_local(**settings) -> nn.Module:
    """PaiNN with mean bonds in the place of positions."""
    return PaiNN(**{"positions": "bonds"} | settings)
