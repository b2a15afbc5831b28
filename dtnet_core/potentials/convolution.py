"""The convolution of SevenNet's and Nequix' layers, computed faster than the networks' own, and for SevenNet shared by a crystal and its inversion.

A message along a bond is, for every path (l1, l2 -> l3) and channel u,
m_u = w_u sum_ij C_ijk x_ui Y_j: neighbour's feature x, spherical harmonics Y of the bond, learned weight w of its
length, Clebsch-Gordan coefficients C. Here C and Y are contracted first, into one small matrix a bond for all paths
of an l1; a batched matrix product then does every channel at once, and bonds are taken a few hundred at a time, so
that messages stay in the processor's cache. The inverted crystal has the same weights and matrices but for signs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .parts import o3

BONDS_AT_ONCE = 256


@dataclass(frozen=True)
class _Path:
    """One path: its rows of the matrix, its weights, its block of the output, and the parity of l2."""

    rows: slice
    weights: slice
    output: slice
    odd: bool


@dataclass(frozen=True)
class _Group:
    """All paths that start from one block of the input: `channels` irreps of dimension `dim`."""

    input: slice
    channels: int
    dim: int
    matrix: Tensor  # [Y, K * dim]: spherical harmonics of a bond -> its matrix [K, dim]
    paths: tuple[_Path, ...]

    @property
    def n_rows(self) -> int:
        return self.paths[-1].rows.stop

    def of_rows(self, weights: Tensor) -> Tensor:
        """[e, weights] -> [e, K, channels]: the weights of the path of each row."""
        parts = [weights[:, None, p.weights].expand(-1, p.rows.stop - p.rows.start, -1) for p in self.paths]
        return torch.cat(parts, 1)


class Convolution:
    """Messages and their sums of one layer, for a crystal and, if wanted, its inversion at once.

    Parameters
    ----------
    product : e3nn.o3.TensorProduct
        Of neighbours' features and harmonics.
    dtype : torch.dtype
    weight_nn : callable, optional
        Embeddings of bonds [E, radial] to the weights of the product; without it the weights themselves are given.
    denominator : float or Tensor
        By which sums are divided.

    Raises
    ------
    NotImplementedError
        For a product that is not built as this one expects.
    """

    def __init__(self, product: o3.TensorProduct, dtype: torch.dtype, weight_nn: Callable[[Tensor], Tensor] | None = None,
                 denominator: float | Tensor = 1.0):  # fmt: skip
        self.weight_nn, self.denominator, self.irreps_out = weight_nn, denominator, product.irreps_out
        self._groups = _groups(product, dtype)

    def __call__(
        self,
        x: Tensor,
        embedding: Tensor,
        harmonics: Tensor,
        neighbour: Tensor,
        centre: Tensor,
        keep: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Sum the messages that every atom receives.

        Parameters
        ----------
        x : Tensor, [P, N, irreps_in]
            P = 1: the crystal; P = 2: also its inversion.
        embedding, harmonics : Tensor, [E, radial or weights], [E, Y]
            Of the bonds of the crystal.
        neighbour, centre : Tensor, [E] int64
        keep : bool
            Give the messages too.

        Returns
        -------
        sums : Tensor, [P, N, irreps_out]
        messages : Tensor, [P, E, irreps_out], or None
        """
        p, n = x.shape[:2]
        inputs = [_channels_last(x, g) for g in self._groups]  # [N, dim, P * channels] each
        sums = [x.new_zeros(n, g.n_rows, p * g.channels) for g in self._groups]
        kept = x.new_empty(p, len(centre), self.irreps_out.dim) if keep else None
        for start in range(0, len(centre), BONDS_AT_ONCE):
            bonds = slice(start, start + BONDS_AT_ONCE)
            weights = embedding[bonds] if self.weight_nn is None else self.weight_nn(embedding[bonds])  # [e, weights]
            for group, feature, total in zip(self._groups, inputs, sums, strict=True):
                matrix = (harmonics[bonds] @ group.matrix).view(-1, group.n_rows, group.dim)
                source = feature[neighbour[bonds]]  # [e, dim, P * channels]
                messages = (
                    matrix * source if group.dim == 1 else torch.bmm(matrix, source)
                )  # [e, K, P * channels]
                by_image = messages.view(-1, group.n_rows, p, group.channels)
                if by_image.requires_grad:  # on the way back, each change in place would copy the gradients of all paths
                    messages = (by_image * group.of_rows(weights)[:, :, None]).flatten(2)
                else:
                    for path in group.paths:
                        by_image[:, path.rows] *= weights[:, None, None, path.weights]
                total.index_add_(0, centre[bonds], messages)
                if kept is not None:
                    _channels_first(messages, group, kept[:, bonds])
        result = x.new_empty(p, n, self.irreps_out.dim)
        for group, total in zip(self._groups, sums, strict=True):
            _channels_first(total, group, result)
        return result / self.denominator, kept


def _groups(product: o3.TensorProduct, dtype: torch.dtype) -> list[_Group]:
    irreps_in, harmonics, irreps_out = product.irreps_in1, product.irreps_in2, product.irreps_out
    found: dict[int, tuple[list[Tensor], list[_Path]]] = {}
    used = 0
    for path in product.instructions:
        channels = irreps_in[path.i_in1].mul
        if path.connection_mode != "uvu" or not path.has_weight or harmonics[path.i_in2].mul != 1:
            raise NotImplementedError(
                f"a path of {product} is not of the kind this convolution computes: {path}"
            )
        l1, l2, l3 = (i[k].ir.l for i, k in zip((irreps_in, harmonics, irreps_out), path[:3], strict=True))
        coefficients = (
            o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * path.path_weight
        )  # [2 l1 + 1, 2 l2 + 1, 2 l3 + 1]
        full = torch.zeros(harmonics.dim, 2 * l3 + 1, 2 * l1 + 1, dtype=torch.float64)
        full[harmonics.slices()[path.i_in2]] = coefficients.permute(1, 2, 0)
        matrices, paths = found.setdefault(path.i_in1, ([], []))
        row = paths[-1].rows.stop if paths else 0
        paths.append(
            _Path(
                slice(row, row + 2 * l3 + 1),
                slice(used, used + channels),
                irreps_out.slices()[path.i_out],
                l2 % 2 == 1,
            )
        )
        matrices.append(full)
        used += channels
    return [
        _Group(
            irreps_in.slices()[i], irreps_in[i].mul, irreps_in[i].ir.dim,
            torch.cat(matrices, 1).flatten(1).to(dtype), tuple(paths),
        )
        for i, (matrices, paths) in found.items()
    ]  # fmt: skip


def _channels_last(x: Tensor, group: _Group) -> Tensor:
    """[P, N, irreps] -> [N, dim, P * channels] of one block."""
    block = x[:, :, group.input].unflatten(2, (group.channels, group.dim))  # [P, N, channels, dim]
    return block.permute(1, 3, 0, 2).flatten(2).contiguous()


def _channels_first(messages: Tensor, group: _Group, out: Tensor) -> None:
    """[M, K, P * channels] into the blocks of `out` [P, M, irreps_out], the inversion's odd harmonics with their sign."""
    by_image = messages.unflatten(2, (len(out), group.channels)).permute(2, 0, 3, 1)  # [P, M, channels, K]
    for path in group.paths:
        block = by_image[..., path.rows].flatten(2)
        out[0, :, path.output] = block[0]
        if len(out) == 2:
            out[1, :, path.output] = -block[1] if path.odd else block[1]
