"""SevenNet potentials as encoders with exact O(3) features (weights inside the `sevenn` wheel, MIT licence)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence

import torch
from pymatgen.core import Element, Structure
from torch import Tensor

from ..crystals.structures import validate_structure
from ..features import Features, concatenate_crystals
from .convolution import Convolution
from .e3nn_build import quick_build
from .graph import Graph, batches_by_edges
from .parts import (
    EDGE_CHANNELS,
    default_dtype,
    fixed_mix,
    o3,
    rank2_basis,
    restore_double_constants,
    split_ranks,
)

SEVENNET_NAMES = ("7net-0", "7net-l3i5", "7net-mf-0")
DEFAULT_MAX_EDGES = 2_000
_PER_ATOM = {"batch", "node_attr", "atomic_numbers", "atom_type"}
_ENERGY = ("reduce_input_to_hidden", "reduce_hidden_to_energy", "rescale_atomic_energy")
"""Modules that make an atom's energy of its last features."""


def _weights_version(model: torch.nn.Module, *extra: str) -> str:
    """Short hash of every parameter: the address of features computed with these weights."""
    digest = hashlib.sha256("|".join(extra).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


class SevenNet:
    """Encoder of the SevenNet family (MIT licence), with exact O(3) features.

    These networks are trained with SO(3) labels and mix parities: a deep layer's vectors carry a few percent of
    pseudovector. Features here are (f(R) + (-1)^l f(-R)) / 2, computed from the crystal and its inversion, so vectors
    are exactly odd and tensors exactly even. The first layer is exact as it is and is computed once.

    Parameters
    ----------
    name : {"7net-0", "7net-l3i5", "7net-mf-0"}
    dtype : torch.dtype
        float32, or float64 for tests of equivariance (constants are then rebuilt in double).
    modality : str, optional
        For multi-fidelity weights: "PBE" (default) or "R2SCAN".
    max_edges : int
        Bonds in a batch; 2,000 to 4,000 are fastest, as the convolution takes them in smaller pieces anyway.

    Raises
    ------
    ValueError
        For an unknown name or modality.
    """

    def __init__(self, name: str = "7net-0", dtype: torch.dtype = torch.float32, modality: str | None = None,
                 max_edges: int = DEFAULT_MAX_EDGES):  # fmt: skip
        if name not in SEVENNET_NAMES:
            raise ValueError(
                f"no SevenNet weights called {name!r} come with the wheel; choose from {SEVENNET_NAMES}"
            )
        with warnings.catch_warnings(), default_dtype(torch.float32), quick_build():
            warnings.simplefilter("ignore")
            from sevenn.util import load_checkpoint  # slow import, noisy

            checkpoint = load_checkpoint(name)
            model = checkpoint.build_model()
        self.name, self.dtype, self.max_edges = name, dtype, max_edges
        self.cutoff = float(checkpoint.config["cutoff"])
        n_layers = int(checkpoint.config["num_convolution_layer"])
        self.layers = tuple(range(n_layers + 1))
        modalities = model.modal_map or {}
        self.modality = (modality or "PBE") if modalities else None
        if modality is not None and modality not in modalities:
            raise ValueError(f"{name} has modalities {sorted(modalities) or 'none'}, not {modality!r}")
        self._modal = modalities.get(self.modality)
        self._index = (
            model.z_to_onehot_tensor
        )  # [120] atomic number -> row of the embedding, -1 where unsupported
        self.elements = frozenset(Element.from_Z(int(z)).symbol for z in model.type_map)
        self.version = _weights_version(model, "v1", str(dtype), str(self.modality))
        self._irreps = {n: _out_irreps(model, n) for n in self.layers}
        modules = dict(model.named_children())
        self._modules = {k: m.to(dtype).eval().requires_grad_(False) for k, m in modules.items()}
        if dtype == torch.float64:
            for module in self._modules.values():
                restore_double_constants(module)
        own = {n: self._modules[f"{n - 1}_convolution"] for n in self.layers if n > 0}
        self._convolutions = {n: Convolution(m.convolution, dtype, m.weight_nn, m.denominator) for n, m in own.items()}
        self._to_cartesian = rank2_basis(dtype)

    def channels(self, layer: int) -> tuple[int, int, int]:
        """(Cs, Cv, Ct) of a layer."""
        return tuple(sum(m for m, ir in self._irreps[layer] if ir.l == l) for l in (0, 1, 2))

    def encode_layers(
        self, structures: Sequence[Structure], layers: Sequence[int], bonds: bool = False
    ) -> dict[int, Features]:
        """Features of each of `layers`, for all crystals as one batch.

        Bonds have no lasting state in these networks. Their stand-in for layer n are the messages of its convolution
        before they are summed (with the radial basis values among the scalars), of each rank mixed down to
        `EDGE_CHANNELS` channels by a fixed random orthogonal matrix, which commutes with rotations.

        Parameters
        ----------
        structures : sequence of pymatgen Structure
        layers : sequence of int
            Of `self.layers`; 0 is the embedding, without vectors, tensors and bonds.
        bonds : bool

        Returns
        -------
        dict of int to Features

        Raises
        ------
        structures.InvalidStructureError
            For a structure with unsupported elements, disorder, overlapping atoms, no atoms, NaN.
        """
        for position, structure in enumerate(structures):
            validate_structure(structure, elements=self.elements, name=f"structure {position}")
        parts: dict[int, list[Features]] = {n: [] for n in layers}
        with torch.inference_mode():
            for graph in batches_by_edges(structures, self.cutoff, self.max_edges):
                for n, features in self._encode_graph(graph, tuple(layers), bonds).items():
                    parts[n].append(features)
        return {n: concatenate_crystals(p) for n, p in parts.items()}

    def _encode_graph(self, graph: Graph, layers: tuple[int, ...], bonds: bool) -> dict[int, Features]:
        embed = self._embed(graph)
        blocks: dict[int, Features] = {}
        if 0 in layers:
            blocks[0] = self._features(graph, 0, embed["x"])
        images = embed["x"][None]  # [1, N, irreps]: scalars are the same for the inverted crystal
        for n in range(1, max(layers) + 1):
            images, messages = self._layer(n, images, embed, bonds and n in layers)
            if n in layers:
                clean = _project_parity(images, self._irreps[n])
                blocks[n] = self._features(graph, n, clean)
                if messages is not None:
                    blocks[n] = self._with_bonds(blocks[n], n, graph, embed, messages)
            if n == 1:
                images = self._with_inversion(images)
        return blocks

    def _with_inversion(self, images: Tensor) -> Tensor:
        """[2, N, irreps] of the first layer's [1, N, irreps], which is exact: scalars go in, so that the inversion only changes signs."""
        return torch.cat([images, torch.where(_odd_slots(self._irreps[1]), -images, images)])

    def _repeated(self, embed: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
        """What the network's modules take for all images at once."""
        data = dict(embed, x=images.flatten(0, 1))
        for key in _PER_ATOM & data.keys():
            data[key] = torch.cat([embed[key]] * len(images))
        return data

    def node_energies(self, graph: Graph) -> Tensor:
        """Energy of each atom [N] in eV, the mean of the crystal's and its inversion's, differentiable by the graph's edge vectors."""
        embed = self._embed(graph)
        images = embed["x"][None]
        for n in self.layers[1:]:
            images, _ = self._layer(n, images, embed, False)
            if n == 1:
                images = self._with_inversion(images)
        data = self._repeated(embed, images)
        for name in _ENERGY:
            data = self._modules[name](data)
        return data["atomic_energy"].view(2, -1).mean(0)

    def _embed(self, graph: Graph) -> dict[str, Tensor]:
        """Run what comes before the layers: spherical harmonics, radial basis, embedding of the elements."""
        rows = self._index[graph.numbers]
        data = {
            "x": rows, "edge_vec": graph.edge_vectors.to(self.dtype), "edge_index": graph.edge_index.flip(0),
            "batch": graph.crystal, "atomic_numbers": graph.numbers,
        }  # fmt: skip
        if self._modal is not None:
            data["modal_type"] = torch.full((len(graph.n_atoms),), self._modal)
        for name, module in self._modules.items():
            data = module(data)
            for key in ("x", "node_attr"):
                if key in data and data[key].is_floating_point():
                    data[key] = data[key].to(self.dtype)  # the one-hot is float32 whatever the model is
            if name == "onehot_to_feature_x":
                return data
        raise RuntimeError(f"{self.name}: this version of sevenn names its modules differently")

    def _layer(
        self, n: int, images: Tensor, embed: dict[str, Tensor], keep_messages: bool
    ) -> tuple[Tensor, Tensor | None]:
        """One message-passing layer: [P, N, irreps] of the crystal (and its inversion) in and out, and messages [P, E, irreps]."""
        p, messages = len(images), None
        data = self._repeated(embed, images)
        for name, module in self._modules.items():
            if name == f"{n - 1}_convolution":
                sums, messages = self._convolutions[n](
                    data["x"].unflatten(0, (p, -1)), embed["edge_embedding"], embed["edge_attr"],
                    embed["edge_index"][1], embed["edge_index"][0], keep_messages,
                )  # fmt: skip
                data["x"] = sums.flatten(0, 1)
            elif name.startswith(f"{n - 1}_"):
                data = module(data)
        return data["x"].unflatten(0, (p, -1)), messages

    def _features(self, graph: Graph, n: int, x: Tensor) -> Features:
        """Split [N, irreps] by rank; l = 3 and higher are left out."""
        ranks = split_ranks(x, self._irreps[n])
        tensors = torch.einsum("ncm,mij->ncij", ranks[2], self._to_cartesian)
        return Features(ranks[0][..., 0], ranks[1], tensors, graph.n_atoms)

    def _with_bonds(
        self, features: Features, n: int, graph: Graph, embed: dict, messages: Tensor
    ) -> Features:
        irreps = self._convolutions[n].irreps_out
        clean = _project_parity(messages, irreps)
        ranks = split_ranks(clean, irreps)
        mixed = [
            torch.einsum("ecm,kc->ekm", ranks[l], fixed_mix(ranks[l].shape[1], EDGE_CHANNELS).to(clean))
            for l in (0, 1)
        ]
        scalars = torch.cat([mixed[0][..., 0], embed["edge_embedding"]], 1)  # [E, EDGE_CHANNELS + radial]
        return Features(
            features.scalars,
            features.vectors,
            features.tensors,
            features.n_atoms,
            graph.edge_index,
            scalars,
            mixed[1],
        )


def _out_irreps(model: torch.nn.Module, layer: int) -> o3.Irreps:
    if layer == 0:
        return o3.Irreps(str(model.get_submodule("onehot_to_feature_x").linear.irreps_out))
    return o3.Irreps(str(model.get_submodule(f"{layer - 1}_equivariant_gate").gate.irreps_out))


def _odd_slots(irreps: o3.Irreps) -> Tensor:
    """[irreps.dim] bool: components that change sign when all positions do (odd l)."""
    return torch.cat([torch.full((m * ir.dim,), ir.l % 2 == 1) for m, ir in irreps])


def _project_parity(images: Tensor, irreps: o3.Irreps) -> Tensor:
    """(f(R) + (-1)^l f(-R)) / 2 of f(R) and f(-R) [2, N, irreps]; [1, N, irreps] has the right parity already."""
    if len(images) == 1:
        return images[0]
    return (images[0] + torch.where(_odd_slots(irreps), -images[1], images[1])) / 2
