"""A graph convolution of the TeaNet-style encoder: bonds learn from their atoms, atoms from their bonds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...features import mandel_outer
from ...layers import MLP, safe_norm, segment_sum
from .orbit_graph import OrbitGraph

NUMBER_DENSITY = 0.062
"""Atoms in a cubic angstrom, of the Materials Project's dielectric crystals: the scale of sums over bonds."""
_SHORTEST_BOND = 0.7  # angstrom, where the radial basis starts


@dataclass(frozen=True)
class TeaNetConfig:
    """Shape of the encoder.

    Attributes
    ----------
    scalars, vectors, tensors : int
        Channels on atoms.
    bond_scalars, bond_vectors : int
        Channels on bonds; atoms exchange `bond_vectors` channels of vectors and tensors.
    hidden : int
        Latent width of what is computed for a bond and for an atom.
    radial : int
        Gaussians that the length of a bond is expanded in.
    cutoffs : tuple of float
        Reach of each convolution in angstrom, never decreasing (Section 5.2).
    scalar_last : bool
        The last convolution renews the scalars of atoms and bonds only, as PFP's, whose fifth layer takes its
        vectors and tensors from the fourth (Section 2.3.2).
    """

    scalars: int = 64
    vectors: int = 32
    tensors: int = 16
    bond_scalars: int = 32
    bond_vectors: int = 16
    hidden: int = 64
    radial: int = 12
    cutoffs: tuple[float, ...] = (3.0, 3.0, 4.0, 6.0, 6.0)
    scalar_last: bool = True

    def __post_init__(self) -> None:
        if (
            not self.cutoffs
            or list(self.cutoffs) != sorted(self.cutoffs)
            or self.cutoffs[0] <= _SHORTEST_BOND
        ):
            raise ValueError(f"cutoffs are {self.cutoffs}; give lengths in angstrom that never decrease")


def envelope(lengths: Tensor, cutoff: float) -> Tensor:
    """(1 - (d / Rc)^2)^2 below the cutoff: one at zero; zero, with its first derivative, at the cutoff."""
    return (1 - (lengths / cutoff).clamp(max=1).square()).square()


@dataclass(frozen=True)
class Atoms:
    """Features of the kept atoms, channels last: [A, Cs], [A, 3, Cv], [A, 6, Ct] in Mandel's notation."""

    s: Tensor
    v: Tensor
    t: Tensor


@dataclass(frozen=True)
class Bonds:
    """Geometry and features of the bonds of a batch, sorted by length; features reach as far as the layer
    that made them.

    `unit` [E, 3], `lengths` [E]; `product` [E, 3, 6] takes a tensor in Mandel's notation to its product with
    the unit vector, and its transpose a vector to the symmetric outer product; `s` [E', Cbs], `v` [E', 3,
    Cbv], E' <= E.
    """

    unit: Tensor
    lengths: Tensor
    product: Tensor
    s: Tensor
    v: Tensor


class Convolution(nn.Module):
    """One graph convolution: bonds learn from their two atoms, atoms from their bonds.

    Parameters
    ----------
    config : TeaNetConfig
    cutoff : float
        In angstrom.
    first : bool
        There are no vectors, tensors and bond features yet, so nothing that acts on them.
    scalars_only : bool
        Renew the scalars only.
    """

    def __init__(self, config: TeaNetConfig, cutoff: float, first: bool = False, scalars_only: bool = False):
        super().__init__()
        c, k, hidden = config, config.bond_vectors, config.hidden
        self.cutoff, self.first, self.scalars_only, self.k = cutoff, first, scalars_only, k
        neighbours = 4 / 3 * math.pi * cutoff**3 * NUMBER_DENSITY
        self.sum_scale = neighbours**-0.5
        self.register_buffer("centres", torch.linspace(_SHORTEST_BOND, cutoff, c.radial), persistent=False)
        self.width = (cutoff - _SHORTEST_BOND) / max(c.radial - 1, 1)
        self.receiver = nn.Linear(c.scalars, hidden)
        self.sender = nn.Linear(c.scalars, hidden, bias=False)
        self.radial = nn.Linear(c.radial, hidden, bias=False)
        if not first:
            self.bond = nn.Linear(c.bond_scalars, hidden, bias=False)
            self.vector_ends = nn.Linear(c.vectors, 2 * k, bias=False)  # of the receiver and of the sender
            self.tensor_ends = nn.Linear(c.tensors, 2 * k, bias=False)
            self.angles = nn.Linear(7 * k, hidden, bias=False)
        gates = (0 if scalars_only else 3 if first else 8) * k
        self.sizes = (c.bond_scalars, c.scalars, gates)
        self.message = nn.Linear(hidden, sum(self.sizes))
        n_norms = 0
        if not scalars_only:
            parts = (1, 2) if first else (2, 3)  # sums that vectors and tensors are renewed from
            self.new_vectors = nn.Linear(parts[0] * k + (0 if first else c.vectors), c.vectors, bias=False)
            self.new_tensors = nn.Linear(parts[1] * k + (0 if first else c.tensors), c.tensors, bias=False)
            n_norms = c.vectors + c.tensors
        self.outputs = (c.scalars, *((c.vectors, c.tensors) if n_norms else ()))
        self.update = MLP(2 * c.scalars + n_norms, hidden, sum(self.outputs), 2, 0.0)

    def forward(self, graph: OrbitGraph, atoms: Atoms, bonds: Bonds) -> tuple[Atoms, Bonds]:
        """Atoms and bonds after this layer; the bonds' features now reach this layer's cutoff."""
        e = graph.within(self.cutoff)
        i, j = graph.receiver[:e], graph.neighbour[:e]
        unit, product = bonds.unit[:e], bonds.product[:e]  # [e, 3], [e, 3, 6]
        b_s, b_v = (
            nn.functional.pad(x, [0, 0] * (x.dim() - 1) + [0, e - len(x)]) for x in (bonds.s, bonds.v)
        )
        fade = envelope(bonds.lengths[:e], self.cutoff)[:, None]  # [e, 1]
        gaussians = torch.exp(-0.5 * ((bonds.lengths[:e, None] - self.centres) / self.width).square())

        sent, v_own, v_sent, t_sent, angles = self._ends(graph, atoms, unit, product, b_v, i, j)
        hidden = self.receiver(atoms.s).index_select(0, i) + sent + self.radial(gaussians)
        if not self.first:
            hidden = hidden + self.bond(b_s) + self.angles(angles)
        new_b_s, to_s, gates = (self.message(nn.functional.silu(hidden)) * fade).split(self.sizes, -1)
        b_s = b_s + new_b_s
        sums = segment_sum(to_s, i, len(atoms.s)) * self.sum_scale  # [A, Cs]
        if self.scalars_only:
            s = atoms.s + self.update(torch.cat([atoms.s, sums], -1))
            return replace(atoms, s=s), replace(bonds, s=b_s, v=b_v)

        g = [x[:, None] for x in gates.split(self.k, -1)]  # [e, 1, k] each
        along = unit[..., None]  # [e, 3, 1]
        pairs = mandel_outer(unit)[..., None]  # [e, 6, 1]
        if self.first:
            b_v = g[0] * along
            to_v = [g[1] * along]
            to_t = [g[2] * pairs, torch.bmm(product.transpose(1, 2), b_v * fade[..., None])]
        else:
            pointed = torch.bmm(product, t_sent)  # the sender's tensors times the direction, [e, 3, k]
            b_v = b_v + g[0] * along + g[1] * v_own + g[2] * v_sent + g[3] * pointed
            to_v = [g[4] * b_v, g[5] * v_sent]
            to_t = [g[6] * pairs, g[7] * t_sent, torch.bmm(product.transpose(1, 2), b_v * fade[..., None])]
        v_sum = segment_sum(torch.cat(to_v, -1), i, len(sums)) * self.sum_scale  # [A, 3, parts * k]
        t_sum = segment_sum(torch.cat(to_t, -1), i, len(sums)) * self.sum_scale  # [A, 6, parts * k]
        v = self.new_vectors(v_sum if self.first else torch.cat([atoms.v, v_sum], -1))  # [A, 3, Cv]
        t = self.new_tensors(t_sum if self.first else torch.cat([atoms.t, t_sum], -1))  # [A, 6, Ct]
        invariants = torch.cat([atoms.s, sums, safe_norm(v, 1), safe_norm(t, 1)], -1)
        s_new, v_gate, t_gate = self.update(invariants).split(self.outputs, -1)
        renewed = Atoms(
            atoms.s + s_new,
            atoms.v + torch.sigmoid(v_gate)[:, None] * v,
            atoms.t + torch.sigmoid(t_gate)[:, None] * t,
        )
        return renewed, replace(bonds, s=b_s, v=b_v)

    def _ends(self, graph, atoms, unit, product, b_v, i, j):
        """What the two ends of each bond bring: sender's scalars [e, hidden]; vectors of the receiver and the
        sender [e, 3, k], tensors of the sender [e, 6, k]; invariants of all of them with the direction, [e, 7
        k]."""
        sent = self.sender(atoms.s)  # [A, hidden]
        if self.first:
            return sent[graph.row].index_select(0, j), None, None, None, None
        v_own, v_other = self.vector_ends(atoms.v).chunk(2, -1)  # [A, 3, k] each
        t_own, t_other = self.tensor_ends(atoms.t).chunk(2, -1)  # [A, 6, k] each
        sent, v_sent, t_sent = (x.index_select(0, j) for x in graph.images(sent, v_other, t_other))
        v_own, t_own = v_own.index_select(0, i), t_own.index_select(0, i)
        along, pairs = unit[..., None], mandel_outer(unit)[..., None]
        angles = torch.cat(
            [(v_own * along).sum(1), (v_sent * along).sum(1), (b_v * along).sum(1), (v_own * v_sent).sum(1),
             (t_own * pairs).sum(1), (t_sent * pairs).sum(1), (t_own * t_sent).sum(1)], -1,
        )  # fmt: skip
        return sent, v_own, v_sent, t_sent, angles
