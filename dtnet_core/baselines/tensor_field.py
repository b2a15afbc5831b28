"""Tensor field networks from e3nn's layers: MatTen's design and AnisoNet's.

Both are spherical-harmonics networks: features of every order l, bonds as spherical harmonics, tensor products with weights
from the bond's length (Thomas et al. 2018). They differ in orders, radial functions and widths. What the layers compute is
e3nn's `v2106.Convolution`; only the neighbours' features are turned from the atom that stands for their orbit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn.models.v2106.gate_points_message_passing import MessagePassing
from torch import Tensor, nn

from ..features import to_mandel
from ..layers import segment_sum
from ..potentials.parts import rank2_basis
from ..training.scratch.orbit_graph import OrbitGraph
from .network import TensorNetwork, isotropic, mean_over_atoms


@dataclass(frozen=True)
class TensorFieldConfig:
    """Shape of a tensor field network.

    Attributes
    ----------
    hidden : str
        Features of an atom between the layers, in e3nn's notation.
    harmonics : int
        Largest order of a bond's spherical harmonics.
    layers : int
        Gated convolutions; one more makes the output.
    radial : int
        Radial functions.
    basis : {"bessel", "smooth_finite"}
        Their kind, see `e3nn.math.soft_one_hot_linspace`.
    neurons : tuple of int
        Hidden layers of the network from a bond's length to its weights.
    species : int
        Numbers that describe an element.
    reach : float
        Cutoff in angstrom.
    neighbours : float
        Typical number of bonds of an atom, which sums are scaled by.
    """

    hidden: str
    harmonics: int
    layers: int
    radial: int
    basis: str
    neurons: tuple[int, ...]
    species: int
    reach: float = 5.0
    neighbours: float = 35.0


MATTEN = TensorFieldConfig("32x0e+32x0o+16x1o+16x1e+4x2e+4x2o", 2, 3, 8, "bessel", (32, 32), 16)
"""MatTen (Wen et al. 2024) with its published widths, and the orders that a rank-2 tensor needs. Without its batch
normalization: a crystal's tensor would depend on the batch it is trained in."""
ANISONET = TensorFieldConfig("24x0e+24x0o+16x1o+16x1e+8x2e+8x2o+4x3o+4x3e", 3, 2, 15, "smooth_finite", (64,), 48)
"""The design of AnisoNet (Lou, Ganose 2024): two gated layers, orders up to 3, smooth finite radial functions. Narrower than the
published network, which was made for a GPU."""


class TensorField(TensorNetwork):
    """A tensor field network whose atoms' scalars and l = 2 features are averaged to a tensor.

    Parameters
    ----------
    config : TensorFieldConfig
    """

    def __init__(self, config: TensorFieldConfig):
        super().__init__()
        self.config, self.reach = config, config.reach
        harmonics = o3.Irreps.spherical_harmonics(config.harmonics)
        species = f"{config.species}x0e"
        self.species = nn.Embedding(119, config.species)
        self.core = MessagePassing(
            [species, *[config.hidden] * config.layers, "0e+2e"], species, harmonics, [config.radial, *config.neurons], config.neighbours
        )
        self.harmonics = o3.SphericalHarmonics(harmonics, normalize=True, normalization="component")
        self.register_buffer("basis", rank2_basis(torch.float64), persistent=False)

    def raw(self, graph: OrbitGraph) -> Tensor:
        """Mean over atoms of l = 0 and l = 2 outputs, [B, 6]."""
        mean = mean_over_atoms(self.features(graph), graph)  # [B, 1 + 5]
        anisotropic = torch.einsum("bm,mij->bij", mean[:, 1:], self.basis.to(mean))
        return isotropic(mean[:, :1]) + to_mandel(anisotropic)

    def features(self, graph: OrbitGraph) -> Tensor:
        """Output of the last layer for the kept atoms, [A, 6]."""
        radial, harmonics = self.bonds(graph.lengths, graph.vectors)
        attributes = x = self.species(graph.numbers)  # [A, species]
        for layer in self.core.layers:
            convolution, gate = (layer.first, layer.second) if hasattr(layer, "first") else (layer, nn.Identity())
            x = gate(self._convolve(convolution, graph, x, attributes, radial, harmonics))
        return x

    def bonds(self, lengths: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Radial functions [E, radial] and spherical harmonics [E, ...] of bonds, which vanish at the cutoff."""
        config, lengths, vectors = self.config, lengths.to(self.dtype), vectors.to(self.dtype)
        radial = soft_one_hot_linspace(lengths, 0.0, config.reach, config.radial, config.basis, cutoff=True)
        envelope = _envelope(lengths / config.reach)[:, None]
        return radial * config.radial**0.5 * envelope, self.harmonics(vectors) * envelope

    @staticmethod
    def _convolve(layer: nn.Module, graph: OrbitGraph, x: Tensor, attributes: Tensor, radial: Tensor, harmonics: Tensor) -> Tensor:
        """One convolution of e3nn, step by step as in its forward, for the kept atoms: [A, in] -> [A, out]."""
        sent = turn_images(layer.lin1(x, attributes), layer.irreps_node_input, graph)  # [N, in]
        messages = layer.tp(sent[graph.neighbour], harmonics, layer.fc(radial))
        received = segment_sum(messages, graph.receiver, len(graph.numbers)) / layer.num_neighbors**0.5
        mask = layer.sc.output_mask
        gain = (1 - mask) + layer.alpha(received, attributes) * mask
        return layer.sc(x, attributes) + gain * layer.lin2(received, attributes)


def _envelope(x: Tensor, p: int = 6) -> Tensor:
    """Polynomial that falls from 1 at x = 0 to 0 at x = 1, with two derivatives (Gasteiger et al. 2020)."""
    inside = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return inside * (x < 1)


@lru_cache(maxsize=8)
def _directions(l: int) -> tuple[Tensor, Tensor]:
    """Fixed directions [K, 3], and the pseudo-inverse [K, 2l + 1] of their spherical harmonics of order l."""
    points = torch.randn(4 * l + 8, 3, generator=torch.Generator().manual_seed(l), dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True)
    return points, torch.linalg.pinv(o3.spherical_harmonics(l, points, True, "component")).T


def wigner(l: int, rotations: Tensor) -> Tensor:
    """[n, 2l + 1, 2l + 1]: how features of order l and parity (-1)^l turn under orthogonal matrices [n, 3, 3].

    From what spherical harmonics do: Y(R r) = D(R) Y(r) for enough directions r. Reflections included.
    """
    points, inverse = (x.to(rotations) for x in _directions(l))
    turned = o3.spherical_harmonics(l, points @ rotations.transpose(1, 2), True, "component")  # [n, K, 2l + 1]
    return torch.einsum("nkp,kq->npq", turned, inverse)


def turn_images(x: Tensor, irreps: o3.Irreps, graph: OrbitGraph) -> Tensor:
    """Features of kept atoms [A, irreps] -> of all atoms [N, irreps]."""
    x = x.index_select(0, graph.row)
    if graph.rotations is None:
        return x
    turn, turns, parts = graph.rotations.to(x), {}, []
    sign = torch.linalg.det(turn)  # [N]
    for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
        part = x[:, where]
        if ir.l > 0:
            if ir.l not in turns:
                turns[ir.l] = wigner(ir.l, turn).transpose(1, 2)
            part = torch.bmm(part.unflatten(1, (mul, ir.dim)), turns[ir.l]).flatten(1)
        if ir.p != (-1) ** ir.l:
            part = part * sign[:, None]
        parts.append(part)
    return torch.cat(parts, 1)
