"""From what a network gives to dielectric tensors: units of the training set, and eigenvalues above a floor.

A function of the eigenvalues turns with the tensor, so it keeps a model O(3)-equivariant; it keeps a dielectric
tensor physical (electronic eigenvalues above 1, ionic ones above 0), whatever the network says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .features import from_mandel, to_mandel

LINKS = ("linear", "clip", "softplus")

_NEAR = 1e-3  # eigenvalues closer than this count as equal


def apply_link(six: Tensor, mean: Tensor, scale: Tensor, floors: Sequence[float], link: str, training: bool) -> Tensor:
    """Tensors of K outputs in a network's units -> dielectric tensors, both [B, K, 6] in Mandel's notation.

    Parameters
    ----------
    six : Tensor, [B, K, 6]
        Zero stands for the isotropic tensor `mean`, one for `scale` more.
    mean, scale : Tensor, [K]
    floors : sequence of K float
        Physical lower bounds of the eigenvalues: 1 of an electronic tensor, 0 of an ionic one.
    link : {"linear", "clip", "softplus"}
        No bound; the nearest tensor above the floor, when not training; a smooth function above it, always.
    training : bool
    """
    identity = six.new_tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    mean, scale = mean[:, None], scale[:, None]  # [K, 1]
    linear = six * scale + mean * identity
    if link == "linear" or (link == "clip" and training):
        return linear
    floor = six.new_tensor(floors[: len(mean)])[:, None]  # [K, 1]
    if link == "clip":
        return to_mandel(spectral_clip(from_mandel(linear - floor * identity))) + floor * identity
    offset = inverse_softplus((mean - floor).clamp_min(0.1) / scale)  # zero comes out as the mean
    return scale * to_mandel(spectral_softplus(from_mandel(six + offset * identity))) + floor * identity


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
