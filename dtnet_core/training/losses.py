"""Losses in Mandel's notation: MAE_ten (Eq. 3), and what a joint model is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

_OFF_DIAGONAL = 2**-0.5


def mae_ten_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """MAE_ten (Eq. 3) of tensors in Mandel's notation [..., 6]: mean over the six independent components."""
    return _components_mean(predicted - target).mean()


def _components_mean(difference: Tensor) -> Tensor:
    """[..., 6] in Mandel's notation -> [...]: mean of the absolute values of the six independent elements."""
    difference = difference.abs()
    return (difference[..., :3].sum(-1) + _OFF_DIAGONAL * difference[..., 3:].sum(-1)) / 6


def joint_errors(predicted: Tensor, target: Tensor, scalar_only: Tensor | None) -> Tensor:
    """Error of each crystal and target, the sum of all targets added as one more: [B, K, 6] twice -> [B, K + 1].

    MAE_ten, and where only the mean diagonal is known, half the error of that: what MAE_ten is of an isotropic error.
    """
    predicted, target = (torch.cat([x, x.sum(1, keepdim=True)], 1) for x in (predicted, target))
    errors = _components_mean(predicted - target)
    if scalar_only is None:
        return errors
    isotropic = (predicted - target)[..., :3].mean(-1).abs() / 2
    return torch.where(scalar_only[:, None], isotropic, errors)
