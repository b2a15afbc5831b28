"""What the networks that are trained from random weights share: graphs in, symmetric tensors out."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from ..features import from_mandel
from ..layers import segment_sum
from ..training.scratch.orbit_graph import OrbitGraph

_ISOTROPIC = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)


class TensorNetwork(nn.Module, abc.ABC):
    """A network with a tensor head, behind the interface of `scratch_training`.

    Networks receive graphs in which one atom stands for its symmetry orbit (see `orbit_graph`), and average over the
    point group at the end: the same tensors as from all atoms, from a third of the bonds.

    Attributes
    ----------
    reach : float
        Cutoff in angstrom; bonds beyond it are not looked at.
    symmetrized : bool
        Average over the point group. Only a head that sees no more than the crystal may do so without changing its answer.
    """

    reach: float
    symmetrized = True
    scale_sample = 64  # crystals in the batch that `fit_scales` is given

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("output_mean", torch.zeros(()))
        self.register_buffer("output_scale", torch.ones(()))

    @abc.abstractmethod
    def raw(self, graph: OrbitGraph) -> Tensor:
        """Tensors of a batch in Mandel's notation, [B, 6], in units of the labels' spread, from their median."""

    @property
    def dtype(self) -> torch.dtype:
        """float32, or float64 in tests."""
        return next(self.parameters()).dtype

    def forward_mandel(self, graph: OrbitGraph) -> Tensor:
        """Dielectric tensors of a batch in Mandel's notation, [B, 1, 6]."""
        graph = graph.cut(self.reach)
        six = self.raw(graph)
        if graph.rotations is not None and self.symmetrized:
            six = torch.einsum("bij,bj->bi", graph.projectors.to(six), six)
        return (self.output_scale * six + self.output_mean * six.new_tensor(_ISOTROPIC))[:, None]

    def forward(self, graph: OrbitGraph) -> Tensor:
        """Dielectric tensors [B, 3, 3] (dimensionless), in the frames of the structures."""
        return from_mandel(self.forward_mandel(graph)[:, 0])

    @torch.no_grad()
    def fit_scales(self, graph: OrbitGraph, targets: Tensor) -> None:
        """Set the output's offset and scale from the training tensors [B, 3, 3]: median and mean deviation of the mean diagonal."""
        isotropic = targets.diagonal(dim1=-2, dim2=-1).mean(-1).flatten()
        self.output_mean.copy_(isotropic.median())
        deviation = (isotropic - isotropic.median()).abs().mean()
        self.output_scale.copy_(deviation if deviation > 0 else torch.ones(()))


def mean_over_atoms(values: Tensor, graph: OrbitGraph) -> Tensor:
    """[A, C] of kept atoms -> [B, C]: mean over all atoms of each crystal."""
    return segment_sum(values * graph.weights.to(values)[:, None], graph.crystal, len(graph.n_atoms))


def isotropic(values: Tensor) -> Tensor:
    """Scalars [..., 1] -> multiples of the identity in Mandel's notation, [..., 6]."""
    return values * values.new_tensor(_ISOTROPIC)
