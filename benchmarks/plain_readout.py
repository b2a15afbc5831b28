"""DTNet written down as its equations read, without any optimisation: the yardstick of speed and of correctness.

Channels come second and Cartesian axes last, every tensor is a full 3x3 matrix, every equation is one statement, every
atom of the cell is computed, and the mean of Eq. 27 is a loop over the crystals. It shares no code with
`dtnet_core.readout`, takes the weights of such a model (`load_weights`), and must then give the same tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

NORM_FLOOR = 1e-6


def norm(x: Tensor) -> Tensor:
    """Frobenius norm over the Cartesian axes of [N, C, 3] or [N, C, 3, 3], with a gradient (of zero) at zero.

    sqrt(x.x + c^2) - c with c = 1e-6 stands for the norm of Eq. 20, which has no gradient at zero.
    """
    squares = (x * x).flatten(2).sum(2)  # [N, C]
    return torch.sqrt(squares + NORM_FLOOR**2) - NORM_FLOOR


class Mixing(nn.Module):
    """L of Eq. 8 on vectors or tensors: W_k x over the channels, the same for every Cartesian component."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        if self.weight.numel():
            nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("oc,nc...->no...", self.weight, x)


class Perceptrons(nn.Module):
    """xi^K of Eq. 11: K perceptrons (Eq. 9), SiLU (Eq. 10) and dropout after all but the last."""

    def __init__(self, n_in: int, hidden: int, n_out: int, k: int, dropout: float):
        super().__init__()
        widths = [n_in] + [hidden] * (k - 1) + [n_out]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(k))
        self.dropout = nn.Dropout(dropout)
        for layer in self.layers:
            nn.init.zeros_(layer.bias)
            if layer.weight.numel():
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x)
            x = x * torch.sigmoid(x)
            x = self.dropout(x)
        return self.layers[-1](x)


class PlainBlock(nn.Module):
    """Eqs. 13-23, with the concatenation of Eq. 20 and, if `residual`, the input added to each rank at the end."""

    def __init__(self, channels, edge_channels, hidden: int, k: int, dropout: float, residual: bool):
        super().__init__()
        cs, cv, ct = self.channels = tuple(channels)
        self.residual = residual
        self.xi_as1 = Perceptrons(cs, hidden, hidden, k, dropout)
        self.l_av1, self.l_at1 = Mixing(cv, cv), Mixing(ct, ct)
        self.l_av2, self.l_at2 = Mixing(cv, cv), Mixing(ct, ct)
        self.xi_as3 = Perceptrons(hidden + cv + ct, hidden, cs + cv + ct, k, dropout)
        self.has_bonds = edge_channels is not None
        if self.has_bonds:
            self.xi_bs1 = Perceptrons(edge_channels[0], hidden, hidden, k, dropout)
            self.l_bv1 = Mixing(edge_channels[1], cv)

    def forward(self, a_s, a_v, a_t, receiver=None, b_s=None, b_v=None):
        """[N, Cs], [N, Cv, 3], [N, Ct, 3, 3] and bonds ([E], [E, Cbs], [E, Cbv, 3]) -> the first three again."""
        a_s1 = self.xi_as1(a_s)  # Eq. 13, [N, hidden]
        a_v1 = self.l_av1(a_v)  # Eq. 15, [N, Cv, 3]
        a_t1 = self.l_at1(a_t)  # Eq. 16, [N, Ct, 3, 3]
        a_s2, a_v2, a_t2 = a_s1, a_v1, a_t1
        if self.has_bonds:
            b_s1 = self.xi_bs1(b_s)  # Eq. 14, [E, hidden]
            b_v1 = self.l_bv1(b_v)  # Eq. 17, [E, Cv, 3]
            a_s2 = a_s1 + torch.zeros_like(a_s1).index_add(0, receiver, b_s1)  # Eq. 18
            a_v2 = a_v1 + torch.zeros_like(a_v1).index_add(0, receiver, b_v1)  # Eq. 19
        a_s3 = self.xi_as3(torch.cat([a_s2, norm(a_v2), norm(a_t2)], dim=1))  # Eq. 20, [N, Cs + Cv + Ct]
        a_s4, a_v3, a_t3 = torch.split(a_s3, self.channels, dim=1)  # Eq. 21
        a_v4 = torch.sigmoid(a_v3)[:, :, None] * self.l_av2(a_v)  # Eq. 22
        a_t4 = torch.sigmoid(a_t3)[:, :, None, None] * self.l_at2(a_t)  # Eq. 23
        if self.residual:
            return a_s + a_s4, a_v + a_v4, a_t + a_t4
        return a_s4, a_v4, a_t4


class PlainDTNet(nn.Module):
    """DTNet of Eqs. 13-27 on every atom of every crystal.

    Parameters
    ----------
    config : dtnet_core.readout.DTNetConfig
        Or anything with its attributes.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        cs, cv, ct = config.channels
        inside = tuple(config.width or config.channels)
        for name, size in (
            ("scalar_mean", cs),
            ("scalar_scale", cs),
            ("vector_scale", cv),
            ("tensor_scale", ct),
        ):
            self.register_buffer(name, torch.zeros(size) if name.endswith("mean") else torch.ones(size))
        self.register_buffer("output_mean", torch.zeros(1))
        self.register_buffer("output_scale", torch.ones(1))
        if config.edge_channels is not None:
            self.register_buffer("edge_mean", torch.zeros(config.edge_channels[0]))
            self.register_buffer("edge_scalar_scale", torch.ones(config.edge_channels[0]))
            self.register_buffer("edge_vector_scale", torch.ones(config.edge_channels[1]))
        if config.width is not None:
            self.project_s = nn.Linear(cs, inside[0])
            self.project_v, self.project_t = Mixing(cv, inside[1]), Mixing(ct, inside[2])
        self.blocks = nn.ModuleList(
            PlainBlock(
                inside, config.edge_channels, config.hidden, config.k_block, config.dropout, config.residual
            )
            for _ in range(config.blocks)
        )
        self.phi_value = Perceptrons(inside[0], config.hidden, 1, config.k_readout, config.dropout)
        self.phi_gate = Perceptrons(inside[0], config.hidden, 1, config.k_readout, config.dropout)
        self.l_av3, self.l_at3 = Mixing(inside[1], 1), Mixing(inside[2], 1)

    def forward(self, features) -> Tensor:
        """Dielectric tensors [B, 3, 3] of `dtnet_core.features.Features` (or anything with its attributes)."""
        a_s = (features.scalars - self.scalar_mean) / self.scalar_scale  # [N, Cs]
        a_v = features.vectors / self.vector_scale[:, None]  # [N, Cv, 3]
        symmetric = (features.tensors + features.tensors.transpose(2, 3)) / 2
        a_t = symmetric / self.tensor_scale[:, None, None]  # [N, Ct, 3, 3]
        bonds = ()
        if self.config.edge_channels is not None:
            b_s = (features.edge_scalars - self.edge_mean) / self.edge_scalar_scale  # [E, Cbs]
            b_v = features.edge_vectors / self.edge_vector_scale[:, None]  # [E, Cbv, 3]
            bonds = (features.edge_index[1], b_s, b_v)
        if self.config.width is not None:
            a_s, a_v, a_t = self.project_s(a_s), self.project_v(a_v), self.project_t(a_t)
        for block in self.blocks:
            a_s, a_v, a_t = block(a_s, a_v, a_t, *bonds)
        scalar = self.phi_value(a_s) * torch.sigmoid(self.phi_gate(a_s))  # Eq. 24 with Eq. 12, [N, 1]
        vector = self.l_av3(a_v)[:, 0]  # Eq. 25, [N, 3]
        tensor = self.l_at3(a_t)[:, 0]  # Eq. 26, [N, 3, 3]
        identity = torch.eye(3, dtype=scalar.dtype)
        outer = torch.einsum("ni,nj->nij", vector, vector)
        atoms = scalar[:, :, None] * identity + outer + tensor  # the sum's terms of Eq. 27, [N, 3, 3]
        means, start = [], 0
        for n in features.n_atoms.tolist():
            means.append(atoms[start : start + n].mean(0))
            start += n
        return torch.stack(means) * self.output_scale + self.output_mean * identity

    @torch.no_grad()
    def load_weights(self, state: Mapping[str, Tensor]) -> PlainDTNet:
        """Take the parameters and scales of a `dtnet_core.readout.DTNet`.

        Parameters
        ----------
        state : mapping of str to Tensor
            Its ``state_dict()``.

        Raises
        ------
        ValueError
            When a tensor of `state` has no place here, or one here is not in `state`; it is named.
        """
        mine = dict(self.named_parameters()) | dict(self.named_buffers())
        unset = set(mine)
        for name, value in state.items():
            targets = _places(name)
            pieces = value.chunk(2, dim=0) if len(targets) == 2 else (value,)
            for target, piece in zip(targets, pieces, strict=True):
                if target not in mine or mine[target].shape != piece.shape:
                    raise ValueError(f"{name} {tuple(value.shape)} has no place of that shape at {target}")
                mine[target].copy_(piece)
                unset.discard(target)
        if unset:
            raise ValueError(f"the other model has no weights for {sorted(unset)}")
        return self


_BLOCK = {
    "scalars": ("xi_as1",), "edge_scalars": ("xi_bs1",), "mix": ("xi_as3",), "edge_vectors": ("l_bv1",),
    "vectors": ("l_av1", "l_av2"), "tensors": ("l_at1", "l_at2"),
}  # fmt: skip
_TOP = {
    "project.0": "project_s", "project.1": "project_v", "project.2": "project_t", "scalar_out.value": "phi_value",
    "scalar_out.gate": "phi_gate", "vector_out": "l_av3", "tensor_out": "l_at3",
}  # fmt: skip


def _places(name: str) -> list[str]:
    """Names here of a tensor of DTNet's state: two for the maps it keeps fused, which lie one above the other."""
    parts = name.split(".")
    if parts[0] == "blocks":
        stems = [".".join((*parts[:2], stem)) for stem in _BLOCK[parts[2]]]
        rest = parts[3:]
    else:
        known = [old for old in _TOP if name.startswith(old + ".")]
        if not known:
            return [name]  # a scale
        stems, rest = [_TOP[known[0]]], name[len(known[0]) + 1 :].split(".")
    if len(rest) == 2:  # position among linear layers, activations and dropouts -> number of the perceptron
        rest = ["layers", str(int(rest[0]) // 3), rest[1]]
    return [".".join((stem, *rest)) for stem in stems]
