"""What an encoder gives and a readout takes: equivariant features of a batch of crystals.

`Features` is the public contract (Cartesian axes last, as the paper writes a_s, a_v, a_t, b_s, b_v). `Packed` is the
same in the layout the readout computes in: channels last, so that every channel mixing is one matrix product, and
symmetric tensors as six numbers whose Euclidean norm is the Frobenius norm (Mandel's notation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

_ROW = torch.tensor([0, 1, 2, 1, 0, 0])
_COLUMN = torch.tensor([0, 1, 2, 2, 2, 1])
_WEIGHT = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], dtype=torch.float64).sqrt()
_FULL = torch.tensor([[0, 5, 4], [5, 1, 3], [4, 3, 2]])


def to_mandel(tensors: Tensor) -> Tensor:
    """Symmetric part of tensors [..., 3, 3] as [..., 6]: xx, yy, zz, and sqrt(2) times yz, xz, xy."""
    symmetric = (tensors + tensors.transpose(-1, -2)) / 2
    return symmetric[..., _ROW, _COLUMN] * _WEIGHT.to(tensors)


def from_mandel(six: Tensor) -> Tensor:
    """Inverse of `to_mandel`: [..., 6] to symmetric [..., 3, 3]."""
    return (six / _WEIGHT.to(six))[..., _FULL]


def mandel_outer(vectors: Tensor) -> Tensor:
    """v v^t of vectors [..., 3] in Mandel's notation [..., 6]."""
    return vectors[..., _ROW] * vectors[..., _COLUMN] * _WEIGHT.to(vectors)


@dataclass(frozen=True)
class Features:
    """Features of N atoms in B crystals, and of E directed bonds where the encoder has them.

    Attributes
    ----------
    scalars : Tensor, [N, Cs]
    vectors : Tensor, [N, Cv, 3]
        Odd under inversion, exactly.
    tensors : Tensor, [N, Ct, 3, 3]
        Even under inversion, exactly.
    n_atoms : Tensor, [B] int64
    edge_index : Tensor, [2, E] int64, optional
        Row 0: the neighbour, row 1: the atom that receives the bond's message.
    edge_scalars : Tensor, [E, Cbs], optional
    edge_vectors : Tensor, [E, Cbv, 3], optional
    """

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor
    n_atoms: Tensor
    edge_index: Tensor | None = None
    edge_scalars: Tensor | None = None
    edge_vectors: Tensor | None = None

    def __post_init__(self) -> None:
        n = int(self.n_atoms.sum())
        shapes = {"scalars": (2, ()), "vectors": (3, (3,)), "tensors": (4, (3, 3))}
        for name, (dim, tail) in shapes.items():
            value = getattr(self, name)
            if value.dim() != dim or len(value) != n or tuple(value.shape[2:]) != tail:
                wanted = ", ".join(["N", "C", *map(str, tail)])
                raise ValueError(f"{name}: expected [{wanted}] with N = {n} atoms, got {tuple(value.shape)}")

    @property
    def channels(self) -> tuple[int, int, int]:
        """(Cs, Cv, Ct)."""
        return self.scalars.shape[1], self.vectors.shape[1], self.tensors.shape[1]

    @property
    def bonds(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Index [2, E], scalars [E, Cbs] and vectors [E, Cbv, 3] of the bonds, or None without bonds."""
        if self.edge_index is None or self.edge_scalars is None or self.edge_vectors is None:
            return None
        return self.edge_index, self.edge_scalars, self.edge_vectors

    @property
    def edge_channels(self) -> tuple[int, int] | None:
        """(Cbs, Cbv), or None without bonds."""
        return None if self.bonds is None else (self.bonds[1].shape[1], self.bonds[2].shape[1])

    def to(self, *args, **kwargs) -> Features:
        """Move or cast the floating-point parts, as torch.Tensor.to; indices only move."""
        values = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                moved = value.to(*args, **kwargs)
                values[field.name] = moved if value.is_floating_point() else moved.to(torch.int64)
        return replace(self, **values)

    def without_bonds(self) -> Features:
        """The same without bond features (for DTNet-simple)."""
        return replace(self, edge_index=None, edge_scalars=None, edge_vectors=None)

    def pack(self) -> Packed:
        """The layout the readout computes in."""
        counts = self.n_atoms
        crystal = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)  # [N]
        weights = (1.0 / counts.to(self.scalars)).repeat_interleave(counts)  # [N]
        edges = None
        if self.bonds is not None:
            index, b_s, b_v = self.bonds
            edges = (index[1], b_s, b_v.transpose(1, 2).contiguous())
        return Packed(
            self.scalars,
            self.vectors.transpose(1, 2).contiguous(),  # [N, 3, Cv]
            to_mandel(self.tensors).transpose(1, 2).contiguous(),  # [N, 6, Ct]
            crystal, weights, len(counts), None, edges,
        )  # fmt: skip


@dataclass(frozen=True)
class Packed:
    """Features in the readout's own layout.

    Attributes
    ----------
    scalars, vectors, tensors : Tensor, [N, Cs], [N, 3, Cv], [N, 6, Ct]
        Channels last; tensors in Mandel's notation.
    crystal : Tensor, [N] int64
        Which crystal each atom is of.
    weights : Tensor, [N]
        Weight of each atom in its crystal's mean; they sum to one over a crystal. When only symmetry-inequivalent
        atoms are kept, an atom carries the weight of all atoms it stands for.
    n_crystals : int
    projectors : Tensor, [B, 6, 6], optional
        Mean over the crystal's point group of T -> R T R^t in Mandel's notation; needed exactly when atoms were left out.
    edges : (receiver [E] int64, scalars [E, Cbs], vectors [E, 3, Cbv]), optional
    functional : Tensor, [B] int64, optional
        Position of the label's density functional in `crystals.record.FUNCTIONALS`; None: the first.
    """

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor
    crystal: Tensor
    weights: Tensor
    n_crystals: int
    projectors: Tensor | None = None
    edges: tuple[Tensor, Tensor, Tensor] | None = None
    functional: Tensor | None = None


def concatenate_channels(parts: Sequence[Features]) -> Features:
    """Features of several layers or encoders, for the same atoms, side by side.

    Bond features are concatenated too; every part that has them must have the same bonds.

    Raises
    ------
    ValueError
        When the parts describe different crystals or bonds.
    """
    first = parts[0]
    for part in parts[1:]:
        if not torch.equal(part.n_atoms, first.n_atoms):
            raise ValueError(
                f"crystals differ: {first.n_atoms.tolist()[:5]}... and {part.n_atoms.tolist()[:5]}... atoms"
            )
    bonded = [p.bonds for p in parts if p.bonds is not None]
    for index, _, _ in bonded[1:]:
        if not torch.equal(index, bonded[0][0]):
            raise ValueError(
                "bonds differ between the parts (other cutoffs?): drop them with without_bonds()"
            )
    edges = (bonded[0][0], *(torch.cat([b[k] for b in bonded], 1) for k in (1, 2))) if bonded else (None, None, None)
    scalars, vectors, tensors = (
        torch.cat([getattr(p, k) for p in parts], 1) for k in ("scalars", "vectors", "tensors")
    )
    return Features(scalars, vectors, tensors, first.n_atoms, *edges)


def concatenate_crystals(parts: Sequence[Features]) -> Features:
    """One batch out of several batches with the same channels."""
    scalars, vectors, tensors, n_atoms = (torch.cat([getattr(p, k) for p in parts]) for k in ("scalars", "vectors", "tensors", "n_atoms"))
    bonded = [p.bonds for p in parts if p.bonds is not None]
    if len(bonded) < len(parts):
        return Features(scalars, vectors, tensors, n_atoms)
    starts = torch.tensor([0, *(len(p.scalars) for p in parts)]).cumsum(0).tolist()
    index = torch.cat([b[0] + start for b, start in zip(bonded, starts, strict=False)], 1)
    return Features(scalars, vectors, tensors, n_atoms, index, *(torch.cat([b[k] for b in bonded]) for k in (1, 2)))


def split_crystals(features: Features) -> list[Features]:
    """The batch as one Features per crystal (views where possible)."""
    counts = features.n_atoms.tolist()
    atoms = [torch.split(getattr(features, k), counts) for k in ("scalars", "vectors", "tensors")]
    edges: list[tuple[Tensor, ...]] = [() for _ in counts]
    if features.bonds is not None:
        index, b_s, b_v = features.bonds
        starts = torch.tensor([0, *counts]).cumsum(0)
        crystal = torch.bucketize(index[1], starts[1:], right=True)  # [E]
        for i in range(len(counts)):
            mine = crystal == i
            edges[i] = (index[:, mine] - starts[i], b_s[mine], b_v[mine])
    return [
        Features(s, v, t, torch.tensor([n]), *e) for s, v, t, n, e in zip(*atoms, counts, edges, strict=True)
    ]
