"""The architecture of 7net-0 with random weights, to train from scratch: built by sevenn, exactly
O(3)-equivariant.

7net-0 was trained with labels that do not tell parities apart, and the frozen encoder restores them by
encoding every crystal and its inversion (`dtnet_core.potentials.sevennet`). A network that is trained anew
need not: here vectors are declared odd ("1o" instead of "1e") and the paths that would mix parities are not
there. Layers, channels, cutoff, radial networks and constants are 7net-0's; one pass is exact and costs half.
Of its parameters 97 % remain, as the missing paths have none.
"""

from __future__ import annotations

import warnings

import torch
from e3nn import o3
from torch import Tensor, nn

from ...features import Packed, to_mandel
from ...potentials.parts import default_dtype, rank2_basis, split_ranks
from .orbit_graph import OrbitGraph

_NAME = "7net-0"


class FreshSevenNet(nn.Module):
    """Trainable encoder with the layers of 7net-0 and random weights (drawn from torch's global generator).

    Parameters
    ----------
    depth : int
        Layers that are built, 1 to 5. The fifth has scalars only and comes with the fourth's vectors and
        tensors, as the frozen encoder's.

    Raises
    ------
    ValueError
        For another depth.
    """

    edge_channels = None

    def __init__(self, depth: int = 5):
        super().__init__()
        with warnings.catch_warnings(), default_dtype(torch.float32):
            warnings.simplefilter("ignore")
            from sevenn.model_build import build_E3_equivariant_model  # slow import, noisy
            from sevenn.util import load_checkpoint

            config = dict(load_checkpoint(_NAME).config)
            layers = int(config["num_convolution_layer"])
            if not 1 <= depth <= layers:
                raise ValueError(f"depth is {depth}; {_NAME} has layers 1 to {layers}")
            config["is_parity"] = True
            config["irreps_manual"] = [str(x).replace("1e", "1o") for x in config["irreps_manual"]]
            config["conv_denominator"] = [x**0.5 for x in config["avg_num_neigh"]]  # not trained in 7net-0
            whole = build_E3_equivariant_model(config)
        self.depth, self.layers, self.reach = depth, layers, float(config["cutoff"])
        modules = dict(whole.named_children())
        wanted = ("edge_embedding", "onehot_idx_to_onehot", "onehot_to_feature_x")
        self.first = nn.ModuleDict({k: modules[k] for k in wanted})
        self.rest = nn.ModuleDict(
            {k: m for k, m in modules.items() if k.split("_")[0] in map(str, range(depth))}
        )
        self.register_buffer("index", whole.z_to_onehot_tensor.clone(), persistent=False)
        self._irreps = [o3.Irreps(x) for x in config["irreps_manual"]]
        self.register_buffer("basis", rank2_basis(torch.float32), persistent=False)
        self.channels = tuple(
            sum(m for m, ir in self._irreps[depth if l == 0 else min(depth, layers - 1)] if ir.l == l)
            for l in (0, 1, 2)
        )

    def packed(self, graph: OrbitGraph, bonds: bool = False) -> Packed:
        """Features of the kept atoms after the last layer that was built, in the layout the readout computes
        in.

        Raises
        ------
        ValueError
            With `bonds`: this network keeps no features on bonds. For an element that 7net-0 does not know.
        """
        if bonds:
            raise ValueError("7net-0 keeps no bond features to train: use DTNet-simple")
        rows = self.index[graph.numbers]
        if (rows < 0).any():
            unknown = graph.numbers[rows < 0].unique().tolist()
            raise ValueError(
                f"{_NAME} does not know the elements with atomic numbers {unknown}: leave them out"
            )
        graph = graph.cut(self.reach)
        data = {
            "x": rows, "edge_vec": graph.vectors.float(),
            "edge_index": torch.stack([graph.receiver, graph.neighbour]), "atomic_numbers": graph.numbers,
        }  # fmt: skip
        for module in self.first.values():
            data = module(data)
        states = [data["x"]]  # [A, irreps] after every layer
        for name, module in self.rest.items():
            if name.endswith("_convolution"):
                data["x"] = self._images(graph, data["x"], self._irreps[int(name[0])])  # [N, irreps]
            data = module(data)
            if name.endswith("_convolution"):
                data["x"] = data["x"][: len(graph.numbers)]  # receivers are numbered as kept atoms
            if name.endswith("_equivariant_gate"):
                states.append(data["x"])
        ranks = min(self.depth, self.layers - 1)
        scalars = split_ranks(states[-1], self._irreps[self.depth])[0][..., 0]
        _, vectors, tensors = split_ranks(states[ranks], self._irreps[ranks])
        tensors = to_mandel(torch.einsum("ncm,mij->ncij", tensors, self.basis))  # [A, Ct, 6]
        return Packed(
            scalars=scalars, vectors=vectors.transpose(1, 2), tensors=tensors.transpose(1, 2),
            crystal=graph.crystal, weights=graph.weights.to(scalars), n_crystals=len(graph.n_atoms),
            projectors=graph.projectors.to(scalars) if graph.rotations is not None else None,
        )  # fmt: skip

    def _images(self, graph: OrbitGraph, x: Tensor, irreps: o3.Irreps) -> Tensor:
        """Features of kept atoms [A, irreps] -> of all atoms [N, irreps]."""
        x = x.index_select(0, graph.row)
        if graph.rotations is None:
            return x
        turn = graph.rotations.to(x)  # [N, 3, 3]
        turns = {
            1: turn,
            2: torch.einsum("pij,nia,njb,qab->npq", self.basis, turn, turn, self.basis),  # [N, 5, 5]
        }
        parts = []
        for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
            part = x[:, where]
            if ir.l > 0:
                part = torch.bmm(part.unflatten(1, (mul, ir.dim)), turns[ir.l].transpose(1, 2)).flatten(1)
            parts.append(part)
        return torch.cat(parts, 1)
