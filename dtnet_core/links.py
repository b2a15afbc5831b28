"""Between a network and the world: units of the training set, and eigenvalues above a floor.

A function of the eigenvalues turns with the tensor, so it keeps a model O(3)-equivariant; it keeps a dielectric
tensor physical (electronic eigenvalues above 1, ionic ones above 0), whatever the network says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .features import Packed, from_mandel, to_mandel

LINKS = ("linear", "clip", "softplus")

FEW_CRYSTALS = 100
SMALLEST_SCALE = 0.3
"""Below `FEW_CRYSTALS` training crystals no input scale is less than this share of the scalars' median one: a few cubic crystals
have almost no vectors, and divided by that, those of the first hexagonal crystal would be enormous."""

_NEAR = 1e-3  # eigenvalues closer than this count as equal


Bonds = tuple[Tensor, Tensor, Tensor]
"""Receiver [E], scalars [E, Cbs], vectors [E, 3, Cbv]."""


class Units(nn.Module):
    """The units of a network: features divided by one number a channel, tensors in units of the training set's spread.

    So a network starts from the training set's typical isotropic tensor instead of from zero.

    Parameters
    ----------
    channels : (Cs, Cv, Ct)
    edge_channels : (Cbs, Cbv) or None
    outputs : int
        Tensors predicted at once, K.
    link : {"linear", "clip", "softplus"}
        What keeps eigenvalues above their floors: nothing; the nearest tensor above it, when not training; a smooth function
        of them, always.
    floors : sequence of K float
        Physical lower bounds of the eigenvalues: 1 of an electronic tensor, 0 of an ionic one.
    """

    scalar_mean: Tensor
    scalar_scale: Tensor
    vector_scale: Tensor
    tensor_scale: Tensor
    output_mean: Tensor
    output_scale: Tensor
    edge_mean: Tensor
    edge_scalar_scale: Tensor
    edge_vector_scale: Tensor

    def __init__(self, channels: tuple[int, int, int], edge_channels: tuple[int, int] | None, outputs: int, link: str,
                 floors: Sequence[float]):  # fmt: skip
        super().__init__()
        if link not in LINKS:
            raise ValueError(f"link is {link!r}; choose {', '.join(LINKS[:-1])} or {LINKS[-1]}")
        self.link, self.floors, self.bonded = link, tuple(floors[:outputs]), edge_channels is not None
        sizes = {"scalar_mean": channels[0], "scalar_scale": channels[0], "vector_scale": channels[1], "tensor_scale": channels[2],
                 "output_mean": outputs, "output_scale": outputs}  # fmt: skip
        if edge_channels is not None:
            sizes |= {"edge_mean": edge_channels[0], "edge_scalar_scale": edge_channels[0], "edge_vector_scale": edge_channels[1]}
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size) if name.endswith("mean") else torch.ones(size))

    @torch.no_grad()
    def fit_scales(self, packed: Packed, targets: Tensor) -> None:
        """Set the input scales from features, and the output's offset and scale from tensors.

        Parameters
        ----------
        packed : Packed
            Of the training crystals; few of them (`FEW_CRYSTALS`) leave no scale below `SMALLEST_SCALE`.
        targets : Tensor, [B, 3, 3] or [B, K, 3, 3]
            Of the training crystals; NaN where one is not known.
        """
        share = SMALLEST_SCALE if packed.n_crystals < FEW_CRYSTALS else 0.0
        spread = packed.scalars.std(0, correction=0)
        least = share * spread.median()
        self.scalar_mean.copy_(packed.scalars.mean(0))
        self.scalar_scale.copy_(_positive(spread, least))
        self.vector_scale.copy_(_positive(_root_mean_square(packed.vectors), least))
        self.tensor_scale.copy_(_positive(_root_mean_square(packed.tensors), least))
        if self.bonded and packed.edges is not None:
            _, b_s, b_v = packed.edges
            spread = b_s.std(0, correction=0)
            least = share * spread.median()
            self.edge_mean.copy_(b_s.mean(0))
            self.edge_scalar_scale.copy_(_positive(spread, least))
            self.edge_vector_scale.copy_(_positive(_root_mean_square(b_v), least))
        isotropic = targets.diagonal(dim1=-2, dim2=-1).mean(-1).view(len(targets), -1)  # [B, K]
        median = isotropic.nanmedian(0).values  # [K]
        self.output_mean.copy_(median)
        self.output_scale.copy_(_positive((isotropic - median).abs().nanmean(0)))

    def scaled(self, packed: Packed) -> tuple[Tensor, Tensor, Tensor, Bonds | None]:
        """Scalars [N, Cs], vectors [N, 3, Cv], tensors [N, 6, Ct] and bonds in the network's units."""
        edges = None
        if self.bonded and packed.edges is not None:
            receiver, b_s, b_v = packed.edges
            edges = (receiver, (b_s - self.edge_mean) / self.edge_scalar_scale, b_v / self.edge_vector_scale)
        s = (packed.scalars - self.scalar_mean) / self.scalar_scale
        return s, packed.vectors / self.vector_scale, packed.tensors / self.tensor_scale, edges

    def dielectric(self, six: Tensor) -> Tensor:
        """Tensors in the network's units -> dielectric tensors, both [B, K, 6] in Mandel's notation."""
        unbounded = self.unbounded(six)
        return unbounded if self.link == "clip" and self.training else self.bound(unbounded)

    def unbounded(self, six: Tensor) -> Tensor:
        """Tensors in the network's units [B, K, 6] in those of the dielectric constant, before the link."""
        return six * self.output_scale[:, None] + self.output_mean[:, None] * _identity(six)

    def bound(self, tensors: Tensor) -> Tensor:
        """Eigenvalues of `unbounded` tensors [B, K, 6] above their floors, as the link says."""
        if self.link == "linear":
            return tensors
        identity, floor = _identity(tensors), tensors.new_tensor(self.floors)[:, None]  # [K, 1]
        if self.link == "clip":
            return to_mandel(spectral_clip(from_mandel(tensors - floor * identity))) + floor * identity
        mean, scale = self.output_mean[:, None], self.output_scale[:, None]  # [K, 1]
        start = inverse_softplus((mean - floor).clamp_min(0.1) / scale)  # the mean comes out as the mean
        return scale * to_mandel(spectral_softplus(from_mandel((tensors - mean * identity) / scale + start * identity))) + floor * identity


def _identity(like: Tensor) -> Tensor:
    return like.new_tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])


def _root_mean_square(values: Tensor) -> Tensor:
    """[N, 3 or 6, C] -> [C]."""
    return values.square().mean((0, 1)).sqrt()


def _positive(scale: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """Replace scales [C] of channels that never vary by one; no other is below `least`."""
    return torch.where(scale > 1e-8, scale.clamp(min=least), torch.ones_like(scale))


class _SpectralSoftplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensors: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(tensors)  # [..., 3], [..., 3, 3]
        images = functional.softplus(values)
        ctx.save_for_backward(values, vectors, images)
        return (vectors * images[..., None, :]) @ vectors.transpose(-1, -2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        values, vectors, images = ctx.saved_tensors
        slopes = torch.sigmoid(values)
        gap = values[..., :, None] - values[..., None, :]  # [..., 3, 3]
        near = gap.abs() < _NEAR
        quotient = (images[..., :, None] - images[..., None, :]) / torch.where(near, torch.ones_like(gap), gap)
        loewner = torch.where(near, (slopes[..., :, None] + slopes[..., None, :]) / 2, quotient)
        inside = vectors.transpose(-1, -2) @ ((gradient + gradient.transpose(-1, -2)) / 2) @ vectors
        return vectors @ (inside * loewner) @ vectors.transpose(-1, -2)


def spectral_clip(tensors: Tensor) -> Tensor:
    """The nearest (Frobenius) positive semidefinite tensors of symmetric ones, [..., 3, 3]; not for training."""
    values, vectors = torch.linalg.eigh(tensors)
    return (vectors * values.clamp_min(0)[..., None, :]) @ vectors.transpose(-1, -2)


def spectral_softplus(tensors: Tensor) -> Tensor:
    """softplus(T) of symmetric tensors [..., 3, 3] by their eigenvalues; positive definite.

    The gradient is the Daleckii-Krein formula with Loewner's matrix of divided differences (Bhatia, Matrix Analysis,
    1997, Theorem V.3.3), so coinciding eigenvalues (cubic and uniaxial crystals) do no harm.
    """
    return _SpectralSoftplus.apply(tensors)


def inverse_softplus(values: Tensor) -> Tensor:
    """x with softplus(x) = values, of positive numbers."""
    return values + torch.log(-torch.expm1(-values))
