"""Nequix potentials as encoders: E(3)-equivariant message passing up to l = 3, trained in the open (MIT licence)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from pymatgen.core import Element
from torch import Tensor, nn

from ..features import Features
from .convolution import Convolution
from .graph import Graph
from .open_encoder import DEFAULT_MAX_EDGES, OpenEncoder, rows_of
from .packages import NEQUIX_FILES, files_version, find_weights, import_bare
from .parts import (
    EDGE_CHANNELS,
    default_dtype,
    fixed_mix,
    o3,
    rank2_basis,
    restore_double_constants,
    split_ranks,
)

_ARCHITECTURE = (
    "hidden_irreps", "lmax", "cutoff", "n_layers", "radial_basis_size", "radial_mlp_size", "radial_mlp_layers",
    "radial_polynomial_p", "mlp_init_scale", "index_weights", "layer_norm", "shift", "scale", "avg_n_neighbors",
)  # fmt: skip


class Nequix(OpenEncoder):
    """Encoder of the Nequix family; its features are exactly O(3)-equivariant as they are.

    Layer 0 are the 128 trained scalars that an element brings into the first layer by itself, in which similar
    elements are near each other; layers 1 to 3 have 128 scalars, 64 vectors, 32 tensors (and l = 3, left out); the
    last layer has 128 scalars only. "pft" weights were also trained on force constants, the physics of the ionic part
    of the dielectric tensor.

    Parameters
    ----------
    name : str
        One of `NEQUIX_FILES`.
    dtype, max_edges
        As in `OpenEncoder`; raises what `open_weights.load_open_encoder` does.
    """

    def __init__(self, name: str, dtype: torch.dtype = torch.float32, max_edges: int = DEFAULT_MAX_EDGES):
        if name not in NEQUIX_FILES:
            raise ValueError(f"no Nequix weights are called {name!r}; choose from {list(NEQUIX_FILES)}")
        path = find_weights("nequix", NEQUIX_FILES[name])
        config, state = read_nequix_file(path)
        self.name, self.dtype, self.max_edges = name, dtype, max_edges
        self.version = files_version([path], "v1", str(dtype))
        self.cutoff = float(config["cutoff"])
        self.layers = tuple(range(int(config["n_layers"]) + 1))
        numbers = config["atomic_numbers"]
        self.elements = frozenset(Element.from_Z(z).symbol for z in numbers)
        self._row = rows_of(numbers)
        hidden = o3.Irreps(config["hidden_irreps"])
        scalars = hidden.filter(keep=["0e"])
        self._irreps = dict.fromkeys(self.layers, hidden) | {0: scalars, self.layers[-1]: scalars}
        self.model = _build(config, state, dtype)
        self._to_cartesian = rank2_basis(dtype)

    def channels(self, layer: int) -> tuple[int, int, int]:
        """(Cs, Cv, Ct) of a layer."""
        return tuple(sum(m for m, ir in self._irreps[layer] if ir.l == l) for l in (0, 1, 2))

    def _run(self, graph: Graph, layers: tuple[int, ...], bonds: bool) -> tuple[dict[int, Features], Tensor]:
        rows = self._row[graph.numbers]
        kept: dict[str, Tensor] = {}
        for layer in self.model.layers:
            layer.kernel = not bonds  # `_Sums` instead of the layer's own product, whose messages are the bonds' features
        with default_dtype(self.dtype), self._recording(layers, bonds, kept):
            # its displacements are r[sender] - r[receiver]: from the centre to the neighbour, as in the kit
            neighbour, centre = graph.edge_index
            energies = self.model.node_energies(graph.edge_vectors.to(self.dtype), rows, neighbour, centre)
        blocks: dict[int, Features] = {}
        for n in layers:
            blocks[n] = self._features(graph, n, kept[f"nodes {n}"])
            if bonds and n > 0:
                blocks[n] = self._with_bonds(blocks[n], n, graph, kept[f"messages {n}"], kept["radial"])
        return blocks, energies[:, 0]

    @contextlib.contextmanager
    def _recording(self, layers: tuple[int, ...], bonds: bool, kept: dict[str, Tensor]) -> Iterator[None]:
        """Keep what passes through the network's own forward: node features and, with `bonds`, messages."""
        modules = {f"nodes {n}": self.model.layers[n - 1] for n in layers if n > 0}
        if 0 in layers:
            modules["nodes 0"] = self.model.layers[0].skip  # its scalars, then those that become gates
        if bonds:
            modules |= {f"messages {n}": self.model.layers[n - 1].tp for n in layers if n > 0}
        hooks = [
            module.register_forward_hook(lambda module, inputs, output, key=key: kept.update({key: output}))
            for key, module in modules.items()
        ]
        radial = self.model.layers[0].radial_mlp
        hooks.append(radial.register_forward_pre_hook(lambda module, inputs: kept.update(radial=inputs[0])))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _features(self, graph: Graph, n: int, x: Tensor) -> Features:
        """Split [N, irreps] by rank; l = 3 is left out."""
        ranks = split_ranks(x[:, : self._irreps[n].dim], self._irreps[n])
        tensors = torch.einsum("ncm,mij->ncij", ranks[2], self._to_cartesian)
        return Features(ranks[0][..., 0], ranks[1], tensors, graph.n_atoms)

    def _with_bonds(
        self, features: Features, n: int, graph: Graph, messages: Tensor, radial: Tensor
    ) -> Features:
        ranks = split_ranks(messages, self.model.layers[n - 1].tp.irreps_out)
        scalars, vectors = (
            torch.einsum("ecm,kc->ekm", ranks[l], fixed_mix(ranks[l].shape[1], EDGE_CHANNELS).to(messages))
            for l in (0, 1)
        )
        return Features(
            features.scalars, features.vectors, features.tensors, features.n_atoms, graph.edge_index,
            torch.cat([scalars[..., 0], radial], 1), vectors,  # [E, EDGE_CHANNELS + radial], [E, EDGE_CHANNELS, 3]
        )  # fmt: skip


class _Sums(nn.Module):
    """What a layer asks for in place of its own tensor product and sums: the same numbers, faster."""

    def __init__(self, product: o3.TensorProduct, dtype: torch.dtype):
        super().__init__()
        self.convolution = Convolution(product, dtype)

    def forward(self, features: Tensor, harmonics: Tensor, weights: Tensor, receivers: Tensor, senders: Tensor) -> Tensor:
        """[N, irreps] of features [N, irreps] and, for each bond, its harmonics, weights and ends."""
        return self.convolution(features[None], weights, harmonics, senders, receivers)[0][0]


def read_nequix_file(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Configuration (a first line of JSON) and weights (tensors only: nothing in the file is executed).

    Raises
    ------
    ValueError
        When the file is not made that way.
    """
    try:
        with path.open("rb") as file:
            config = json.loads(file.readline())
            return config, torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the broken file happens to cause
        raise ValueError(
            f"{path}: not a Nequix weights file, which is a line of JSON and tensors "
            f"({type(error).__name__}: {str(error).strip()[:200]}); get it again"
        ) from error


@lru_cache(maxsize=1)
def _nequix_model() -> ModuleType:
    return import_bare("nequix", ["torch_impl.model"])[0]


def _build(config: dict, state: dict[str, Tensor], dtype: torch.dtype) -> nn.Module:
    """The network with its weights; tensor-product constants are computed here rather than read in float32."""
    with default_dtype(dtype):
        model = _nequix_model().NequixTorch(
            n_species=len(config["atomic_numbers"]),
            atom_energies=[config["atom_energies"][str(z)] for z in config["atomic_numbers"]],
            **{key: config[key] for key in _ARCHITECTURE},
        )
    weights = {key: value for key, value in state.items() if ".tp." not in key}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    untrained = sorted(set(missing) & {key for key, _ in model.named_parameters()})
    if untrained or unexpected:
        raise ValueError(
            f"weights do not fit this version of nequix: missing {untrained[:3]}, unknown {unexpected[:3]}; "
            "install the version that the kit names"
        )
    model = model.to(dtype).eval().requires_grad_(False)
    if dtype == torch.float64:
        restore_double_constants(model)
    for layer in model.layers:
        layer.tp_conv = _Sums(layer.tp, dtype)
    return model
