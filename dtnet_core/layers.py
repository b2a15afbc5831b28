"""Small layers of the readout: a norm with a gradient at zero, dropout, the MLPs of Eqs. 11 and 12."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORM_FLOOR = 1e-6


def safe_norm(x: Tensor, dim: int) -> Tensor:
    """Euclidean norm sqrt(x.x + c^2) - c with c = 1e-6: zero at zero, with gradient zero there instead of NaN."""
    return (x.square().sum(dim) + NORM_FLOOR**2).sqrt() - NORM_FLOOR


class Dropout(nn.Module):
    """Dropout with eight decisions from one random number, as drawing them takes longer than the layers do.

    The rate is rounded to 1/256; the scale follows the rounded rate, so means are kept.
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"the dropout rate is {rate}; give a number from 0 up to, not including, 1")
        self.dropped = min(round(256 * rate), 255)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropped == 0:
            return x
        random = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = (random.view(torch.uint8)[: x.numel()] >= self.dropped).view(x.shape).to(x.device)
        return x * (keep * (256 / (256 - self.dropped))).to(x.dtype)


class ChannelDropout(Dropout):
    """Dropout of channels: single scalars, whole vectors, whole tensors, so that nothing loses its direction."""

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Each [N, ..., C]: every atom and channel kept or left out."""
        if not self.training or self.dropped == 0:
            return parts
        masks = [super(ChannelDropout, self).forward(x.new_ones(len(x), *[1] * (x.dim() - 2), x.shape[-1])) for x in parts]
        return tuple(x * mask for x, mask in zip(parts, masks, strict=True))


class MLP(nn.Sequential):
    """xi^K of Eq. 11: K linear layers, SiLU (and dropout) between them, none after the last."""

    def __init__(self, n_in: int, hidden: int, n_out: int, k: int, dropout: float):
        layers: list[nn.Module] = []
        for i in range(k):
            layers.append(nn.Linear(n_in if i == 0 else hidden, n_out if i == k - 1 else hidden))
            if i < k - 1:
                layers += [nn.SiLU(), Dropout(dropout)]
        super().__init__(*layers)


class GatedMLP(nn.Module):
    """phi^K of Eq. 12: an MLP times the sigmoid of another."""

    def __init__(self, n_in: int, hidden: int, n_out: int, k: int, dropout: float):
        super().__init__()
        self.value = MLP(n_in, hidden, n_out, k, dropout)
        self.gate = MLP(n_in, hidden, n_out, k, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * torch.sigmoid(self.gate(x))
