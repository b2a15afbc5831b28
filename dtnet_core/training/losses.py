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


def joint_errors(predicted: Tensor, target: Tensor, form: Tensor | None) -> tuple[Tensor, Tensor]:
    """Error of each crystal and target, the sum of all targets added as one more: [B, K, 6] twice -> [B, K + 1], and where it is known.

    MAE_ten (Eq. 3). Where only the mean diagonal or the diagonal is known (`sets.FORMS`), half the mean absolute error of that: what
    MAE_ten is when nothing else is wrong. Errors against NaN are 0 and not known.
    """
    predicted, target = (torch.cat([x, x.sum(1, keepdim=True)], 1) for x in (predicted, target))
    known = target[..., 0].isfinite()  # [B, K + 1]
    difference = torch.where(known[..., None], predicted - target.nan_to_num(), 0.0)
    errors = _components_mean(difference)
    if form is not None:
        diagonal = difference[..., :3]
        errors = torch.where(form[:, None] == 1, diagonal.mean(-1).abs() / 2, errors)
        errors = torch.where(form[:, None] == 2, diagonal.abs().mean(-1) / 2, errors)
    return errors, known


def lighter(target: Tensor, typical: Tensor, power: float) -> Tensor:
    """Weights of the errors of `joint_errors`, by which those of large tensors count less: [B, K, 6], and a typical constant of each target [K], -> [B, K + 1].

    (2 t / (t + c))^power for a constant c, where t is the typical one: between errors as they are (power 0) and errors relative to t + c (power 1). 1 where c is not known.
    """
    constants = torch.cat([target, target.sum(1, keepdim=True)], 1)[..., :3].mean(-1).clamp_min(0)
    typical = torch.cat([typical, typical.sum(0, keepdim=True)])
    return ((2 * typical / (typical + constants)) ** power).nan_to_num(1.0)


def mean_of_known(errors: Tensor, known: Tensor) -> Tensor:
    """[B, K] -> [K]: mean over the crystals whose label is known, 0 where none is."""
    return errors.sum(0) / known.sum(0).clamp_min(1)
