"""Features of one crystal as the arrays that a store keeps, and back."""

from __future__ import annotations

import zlib

import torch

from ..features import Features, from_mandel, to_mandel


def checksum(*tensors: torch.Tensor) -> int:
    """CRC-32 of the bytes of tensors."""
    value = 0
    for tensor in tensors:
        value = zlib.crc32(tensor.numpy().data, value)
    return value


def flatten(features: Features) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], dict]:
    """Features of one crystal as [N, Cs + 3 Cv + 6 Ct], and bonds as [2, E] and [E, Cbs + 3 Cbv]."""
    parts = (features.scalars, features.vectors.flatten(1), to_mandel(features.tensors).flatten(1))
    about = {"channels": features.channels, "edges": features.edge_channels}
    edges: tuple[torch.Tensor, ...] = ()
    if features.edge_channels:
        edges = (
            features.edge_index.contiguous(),
            torch.cat([features.edge_scalars, features.edge_vectors.flatten(1)], 1).contiguous(),
        )
    return torch.cat(parts, 1).contiguous(), edges, about


def unflatten(flat: torch.Tensor, about: dict, edges: tuple) -> Features:
    """Features out of what `flatten` gave."""
    cs, cv, ct = about["channels"]
    scalars, vectors, tensors = torch.split(flat, [cs, 3 * cv, 6 * ct], dim=1)
    more = {}
    if edges:
        bs, bv = about["edges"]
        s, v = torch.split(edges[1], [bs, 3 * bv], dim=1)
        more = {"edge_index": edges[0], "edge_scalars": s, "edge_vectors": v.unflatten(1, (bv, 3))}
    return Features(
        scalars,
        vectors.unflatten(1, (cv, 3)),
        from_mandel(tensors.unflatten(1, (ct, 6))),
        torch.tensor([len(flat)]),
        **more,
    )
