"""DTNet's equivariant readout: features of atoms (and bonds) in, a symmetric 3x3 tensor a crystal out (Eqs. 8-27).

Everything acts on channels; Cartesian components are never mixed except by norms, products with invariants and the
outer product of Eq. 27. So the output turns with the crystal, exactly, for every rotation and reflection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .features import Features, Packed, from_mandel, mandel_outer
from .layers import MLP, ChannelDropout, FunctionalShift, GatedMLP, safe_norm, segment_sum
from .links import Units


class EquivariantBlock(nn.Module):
    """Interaction of ranks 0, 1 and 2 at each atom, with its bonds where there are any (Eqs. 13-23).

    Where the paper leaves room, this is what is done:

    - Eq. 20 prints plus signs inside `concat`: the scalars and the norms are concatenated.
    - Eq. 21 names a_v3 twice: the second is the gate of the tensors, a_t3 of Eq. 23.
    - Eq. 20 takes norms of a_t2, which no equation defines: there are no rank-2 bond features, so a_t2 = a_t1.
    - The norms of Eq. 20 have no gradient at zero, where symmetry puts many vectors: `safe_norm`.
    - A residual connection on all three ranks, as in the authors' released readout, though no equation shows it;
      ``residual=False`` gives the equations to the letter.
    - Dropout acts on hidden scalars only; on vectors or tensors it would be allowed channel-wise but is not used.

    Parameters
    ----------
    channels : (Cs, Cv, Ct)
    edge_channels : (Cbs, Cbv), optional
        Without it Eqs. 14 and 17-19 fall away (DTNet-simple).
    hidden : int
    k : int
        Layers of each MLP.
    dropout : float
    residual : bool
    """

    def __init__(self, channels: tuple[int, int, int], edge_channels: tuple[int, int] | None, hidden: int, k: int,
                 dropout: float, residual: bool):  # fmt: skip
        super().__init__()
        cs, cv, ct = self.channels = tuple(channels)
        self.residual = residual
        self.scalars = MLP(cs, hidden, hidden, k, dropout)  # Eq. 13
        self.vectors = nn.Linear(cv, 2 * cv, bias=False)  # L_av1 of Eq. 15 and L_av2 of Eq. 22
        self.tensors = nn.Linear(ct, 2 * ct, bias=False)  # L_at1 of Eq. 16 and L_at2 of Eq. 23
        self.mix = MLP(hidden + cv + ct, hidden, cs + cv + ct, k, dropout)  # Eq. 20
        if edge_channels is not None:
            self.edge_scalars = MLP(edge_channels[0], hidden, hidden, k, dropout)  # Eq. 14
            self.edge_vectors = nn.Linear(edge_channels[1], cv, bias=False)  # Eq. 17

    def forward(
        self, s: Tensor, v: Tensor, t: Tensor, edges: tuple[Tensor, Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[N, Cs], [N, 3, Cv], [N, 6, Ct] and bonds (receiver [E], [E, Cbs], [E, 3, Cbv]) -> the same three shapes."""
        inner = self.scalars(s)  # [N, hidden]
        v_norm, v_gated = self.vectors(v).chunk(2, dim=-1)  # [N, 3, Cv] each
        t_norm, t_gated = self.tensors(t).chunk(2, dim=-1)  # [N, 6, Ct] each
        if edges is not None:  # Eqs. 18 and 19
            receiver, b_s, b_v = edges
            inner = inner + segment_sum(self.edge_scalars(b_s), receiver, len(s))
            v_norm = v_norm + segment_sum(self.edge_vectors(b_v), receiver, len(s))
        mixed = self.mix(torch.cat([inner, safe_norm(v_norm, 1), safe_norm(t_norm, 1)], -1))  # Eq. 20
        s_new, v_gate, t_gate = mixed.split(self.channels, dim=-1)  # Eq. 21
        v_new = torch.sigmoid(v_gate)[:, None] * v_gated  # Eq. 22
        t_new = torch.sigmoid(t_gate)[:, None] * t_gated  # Eq. 23
        if self.residual:
            return s + s_new, v + v_new, t + t_new
        return s_new, v_new, t_new


@dataclass(frozen=True)
class DTNetConfig:
    """Shape of a DTNet; the defaults are the paper's (Section 5.3).

    Attributes
    ----------
    channels : (Cs, Cv, Ct)
        Of the encoder's features.
    edge_channels : (Cbs, Cbv) or None
        Of the bonds: given, the model is the paper's DTNet; None, its DTNet-simple.
    width : (Cs, Cv, Ct) or None
        Channels inside; other than the encoder's, a linear map per rank comes first. None: the encoder's.
    hidden, blocks, k_block, k_readout, dropout, residual
        Latent width, number of equivariant blocks, K of the blocks' and the readout's MLPs, dropout, residuals.
    initial_anisotropy : float
        Factor on the initial weights of Eqs. 25 and 26. Cubic crystals have no vectors and tensors to train these on: where
        they are most of a small training set, a value like 0.1 keeps predictions for other crystals near isotropic.
    outputs : int
        Tensors predicted at once: K of them make the result [B, K, 3, 3].
    link : {"linear", "clip", "softplus"}
        What keeps eigenvalues above `floors`, one a tensor (1 for electronic, 0 for ionic ones): nothing; "clip", when not
        training, the nearest tensor with such eigenvalues; "softplus", in training too, a smooth function of them.
    functionals : int
        Density functionals that the labels come from, told apart by a learned shift of the scalars; see `Packed.functional`.
    input_dropout : float
        Share of the encoder's channels that each atom loses in training, whole vectors and tensors at a time.
    """

    channels: tuple[int, int, int]
    edge_channels: tuple[int, int] | None = None
    width: tuple[int, int, int] | None = None
    hidden: int = 128
    blocks: int = 2
    k_block: int = 2
    k_readout: int = 3
    dropout: float = 0.2
    residual: bool = True
    initial_anisotropy: float = 1.0
    outputs: int = 1
    link: str = "linear"
    floors: tuple[float, ...] = (1.0, 0.0)
    functionals: int = 1
    input_dropout: float = 0.0


class DTNet(Units):
    """The dielectric tensor network: Features -> [B, 3, 3], symmetric, O(3)-equivariant, intensive.

    `links.Units` divides features and tensors by numbers fitted to the training set, which does not touch equivariance.

    Parameters
    ----------
    config : DTNetConfig
    """

    def __init__(self, config: DTNetConfig):
        super().__init__(config.channels, config.edge_channels, config.outputs, config.link, config.floors)
        self.config = config
        cs, cv, ct = config.channels
        inside = config.width or config.channels
        self.project = None
        if config.width is not None:
            self.project = nn.ModuleList(
                [nn.Linear(cs, inside[0]), nn.Linear(cv, inside[1], False), nn.Linear(ct, inside[2], False)]
            )
        self.blocks = nn.ModuleList(
            EquivariantBlock(
                inside, config.edge_channels, config.hidden, config.k_block, config.dropout, config.residual
            )
            for _ in range(config.blocks)
        )
        self.input_dropout = ChannelDropout(config.input_dropout)
        outputs = config.outputs
        self.scalar_out = GatedMLP(inside[0], config.hidden, outputs, config.k_readout, config.dropout)  # Eq. 24
        self.vector_out = nn.Linear(inside[1], outputs, bias=False)  # Eq. 25
        self.tensor_out = nn.Linear(inside[2], outputs, bias=False)  # Eq. 26
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.weight.numel():
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.vector_out.weight.mul_(config.initial_anisotropy)
            self.tensor_out.weight.mul_(config.initial_anisotropy)
        self.functional = FunctionalShift(config.functionals, inside[0]) if config.functionals > 1 else None

    def forward(self, features: Features | Packed) -> Tensor:
        """Dielectric tensors (dimensionless), in the Cartesian frame of the features: [B, 3, 3], or [B, K, 3, 3] of K outputs.

        Raises
        ------
        ValueError
            When the features' channels are not the model's.
        """
        packed = features.pack() if isinstance(features, Features) else features
        tensors = from_mandel(self.forward_mandel(packed))
        return tensors[:, 0] if self.config.outputs == 1 else tensors

    def forward_mandel(self, packed: Packed) -> Tensor:
        """The same as [B, K, 6] in Mandel's notation."""
        return self.dielectric(self.in_units(packed))

    def in_units(self, packed: Packed) -> Tensor:
        """The same in the network's units, before `links.Units.dielectric`."""
        self._check(packed)
        s, v, t, edges = self.scaled(packed)  # [N, Cs], [N, 3, Cv], [N, 6, Ct]
        s, v, t = self.input_dropout(s, v, t)
        if self.project is not None:
            s, v, t = (linear(x) for linear, x in zip(self.project, (s, v, t), strict=True))
        if self.functional is not None:
            s = s + self.functional.of_atoms(packed)
        for block in self.blocks:
            s, v, t = block(s, v, t, edges)
        a_s = self.scalar_out(s)[..., None]  # [N, K, 1]
        a_v = self.vector_out(v).transpose(1, 2)  # [N, K, 3]
        a_t = self.tensor_out(t).transpose(1, 2)  # [N, K, 6]
        identity = a_s.new_tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        atoms = (a_s * identity + mandel_outer(a_v) + a_t) * packed.weights[:, None, None]  # Eq. 27, [N, K, 6]
        six = segment_sum(atoms.flatten(1), packed.crystal, packed.n_crystals).view(-1, self.config.outputs, 6)
        if packed.projectors is not None:
            six = torch.einsum("bij,bkj->bki", packed.projectors, six)
        return six

    def _check(self, packed: Packed) -> None:
        channels = (packed.scalars.shape[-1], packed.vectors.shape[-1], packed.tensors.shape[-1])
        if channels != tuple(self.config.channels):
            raise ValueError(
                f"the model takes {tuple(self.config.channels)} scalar, vector and tensor channels, the features have "
                f"{channels}: were they made with the same encoder and layers?"
            )
        if self.config.edge_channels is not None and packed.edges is None:
            raise ValueError(
                "this DTNet takes bond features: encode with bonds=True, or use DTNet-simple (edge_channels=None)"
            )
