"""What the encoders share: precision, ranks of e3nn features, the basis of rank-2 tensors, the mix of bond channels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from .e3nn_build import import_o3

o3 = import_o3()

EDGE_CHANNELS = 16
"""Bond channels kept of each rank; the messages of a layer have hundreds (see `SevenNet.encode_layers`)."""


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Context in which torch makes tensors of `dtype`; the dtype before is restored."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def restore_double_constants(module: torch.nn.Module) -> None:
    """Recompute the Clebsch-Gordan constants that a float32 build rounded."""
    for name, buffer in module.named_buffers():
        leaf = name.rsplit(".", 1)[-1]
        if leaf.startswith("_w3j_"):
            buffer.copy_(o3.wigner_3j(*map(int, leaf.split("_")[2:]), dtype=torch.float64))


def rank2_basis(dtype: torch.dtype) -> Tensor:
    """[5, 3, 3]: the symmetric traceless matrix, of norm one, of each l = 2 component in e3nn's order."""
    return o3.wigner_3j(1, 1, 2, dtype=torch.float64).mul(5**0.5).permute(2, 0, 1).to(dtype)


def split_ranks(x: Tensor, irreps: o3.Irreps) -> list[Tensor]:
    """[N, irreps] -> for l = 0, 1, 2 the channels [N, C, 2l + 1]."""
    parts: list[list[Tensor]] = [[], [], []]
    for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
        if ir.l <= 2:
            parts[ir.l].append(x[:, where].reshape(len(x), mul, ir.dim))
    return [torch.cat(p, 1) if p else x.new_zeros(len(x), 0, 2 * l + 1) for l, p in enumerate(parts)]


@lru_cache(maxsize=16)
def fixed_mix(n_in: int, n_out: int) -> Tensor:
    """[n_out, n_in] with orthonormal rows, the same on every machine."""
    if n_in == 0:
        return torch.zeros(0, 0)
    random = torch.randn(
        n_in, min(n_out, n_in), generator=torch.Generator().manual_seed(n_in), dtype=torch.float64
    )
    return torch.linalg.qr(random).Q.T
