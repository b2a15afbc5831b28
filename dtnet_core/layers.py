"""Small layers of the readout: sums over atoms and bonds, a norm with a gradient at zero, dropout, the MLPs of Eqs. 11 and 12."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .features import Packed

try:  # an optional compiled kernel; torch's own operation gives the same sums
    from torch_scatter import scatter_sum as _scatter_sum
except ImportError:
    _scatter_sum = None

HAVE_TORCH_SCATTER = _scatter_sum is not None


def segment_sum(values: Tensor, index: Tensor, size: int, kernel: str | None = None) -> Tensor:
    """Sum the rows of `values` that share an index.

    Parameters
    ----------
    values : Tensor, [N, ...]
    index : Tensor, [N] int64
        Segment of each row, in [0, size).
    size : int
        Number of segments; empty ones give zeros.
    kernel : {"torch", "torch_scatter"}, optional
        Which implementation; default torch-scatter where it is installed, else torch.

    Returns
    -------
    Tensor, [size, ...]

    Raises
    ------
    ImportError
        For ``kernel="torch_scatter"`` where that package is missing.
    """
    if kernel is None:
        kernel = "torch_scatter" if HAVE_TORCH_SCATTER else "torch"
    if kernel == "torch":
        return values.new_zeros((size, *values.shape[1:])).index_add(0, index, values)
    if not HAVE_TORCH_SCATTER:
        raise ImportError("torch-scatter is not installed: pip install --no-build-isolation torch-scatter")
    return _scatter_sum(values, index, dim=0, dim_size=size)

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


class ChannelDropout(nn.Module):
    """Dropout of channels: single scalars, whole vectors, whole tensors, so that nothing loses its direction."""

    def __init__(self, rate: float):
        super().__init__()
        self.single = Dropout(rate)

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Each [N, ..., C]: every atom and channel kept or left out."""
        if not self.training or self.single.dropped == 0:
            return parts
        masks = [self.single(x.new_ones(len(x), *[1] * (x.dim() - 2), x.shape[-1])) for x in parts]
        return tuple(x * mask for x, mask in zip(parts, masks, strict=True))


class FunctionalShift(nn.Embedding):
    """A shift of the scalars for each density functional that labels come from; it starts at zero."""

    def reset_parameters(self) -> None:
        super().reset_parameters()  # its random numbers keep runs of a seed what they were
        nn.init.zeros_(self.weight)

    def of_atoms(self, packed: Packed) -> Tensor:
        """[N, C]: the shift of each atom; of the first functional where the batch names none."""
        which = packed.functional
        which = torch.zeros_like(packed.crystal[:1]).expand(packed.n_crystals) if which is None else which  # [B]
        return self(which)[packed.crystal]


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


def pooled(packed: Packed) -> Tensor:
    """Invariants of each crystal, [B, 2 Cs + Cv + Ct]: means and deviations of scalars, means of norms of vectors and tensors.

    The same for every cell of a crystal; atoms left out by symmetry count through the weights of those kept.
    """
    mean = lambda x: segment_sum(x * packed.weights[:, None], packed.crystal, packed.n_crystals)  # noqa: E731
    center = mean(packed.scalars)  # [B, Cs]
    spread = mean((packed.scalars - center[packed.crystal]) ** 2).clamp_min(0).sqrt()
    return torch.cat([center, spread, mean(packed.vectors.norm(dim=1)), mean(packed.tensors.norm(dim=1))], 1)
