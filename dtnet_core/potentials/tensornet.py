"""TensorNet potentials of MatGL as encoders: Cartesian 3x3 features, the nearest open relative of TeaNet (BSD-3)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import torch
from pymatgen.core import Element
from torch import Tensor, nn

from ..features import Features
from .graph import Graph
from .open_encoder import DEFAULT_MAX_EDGES, OpenEncoder, rows_of
from .packages import TENSORNET_FOLDERS, files_version, find_weights, import_bare
from .parts import EDGE_CHANNELS, default_dtype, fixed_mix

_FILES = ("state.pt", "model.json")


class TensorNet(OpenEncoder):
    """Encoder of MatGL's TensorNet; its features are exactly O(3)-equivariant as they are.

    An atom carries a 3x3 matrix X = t I + A + S in each of 128 channels: a scalar t, a symmetric traceless tensor S,
    and an antisymmetric A, which is a vector a: A b = a x b. A starts from bond directions, which are odd under
    inversion. Every later product is an anticommutator or a square of whole matrices, where A with A gives a symmetric
    and A with S an antisymmetric matrix: so a stays odd, a true vector and not an axial one.

    Layer 0 is the embedding of the elements (scalars); layer 1 the embedding of the neighbourhood and layers 2, 3 the
    interactions, each with 128 scalars, vectors and tensors; layer 4 are the 128 trained invariants that the energy is
    read from (scalars only).

    Parameters
    ----------
    name : str
        One of `TENSORNET_FOLDERS`.
    dtype, max_edges
        As in `OpenEncoder`; raises what `open_weights.load_open_encoder` does.
    """

    def __init__(self, name: str, dtype: torch.dtype = torch.float32, max_edges: int = DEFAULT_MAX_EDGES):
        if name not in TENSORNET_FOLDERS:
            raise ValueError(
                f"no TensorNet weights are called {name!r}; choose from {list(TENSORNET_FOLDERS)}"
            )
        folder = find_weights("matgl", TENSORNET_FOLDERS[name])
        config, state = read_tensornet_folder(folder)
        self.name, self.dtype, self.max_edges = name, dtype, max_edges
        self.version = files_version([folder / file for file in _FILES], "v1", str(dtype))
        self.cutoff = float(config["cutoff"])
        self.elements = frozenset(config["element_types"])
        numbers = [Element(symbol).Z for symbol in config["element_types"]]
        self._row = rows_of(numbers)
        self._units = int(config["units"])
        self.layers = tuple(range(int(config["nblocks"]) + 3))
        self._mean, self._std = float(state.pop("data_mean")), float(state.pop("data_std"))
        self._references = state.pop("element_refs.property_offset").to(dtype)  # [elements], eV
        self.model = _build(config, state, dtype)

    def channels(self, layer: int) -> tuple[int, int, int]:
        """(Cs, Cv, Ct) of a layer."""
        units = self._units
        return (units, 0, 0) if layer in (0, self.layers[-1]) else (units, units, units)

    def _run(self, graph: Graph, layers: tuple[int, ...], bonds: bool) -> tuple[dict[int, Features], Tensor]:
        rows = self._row[graph.numbers]
        with default_dtype(self.dtype), _recording(self.model, bonds) as messages:
            states, radial = self.model.states(
                rows, graph.edge_index.flip(0), graph.edge_vectors.to(self.dtype)
            )
            invariants = self.model.invariants(states[-1])  # [N, C]
            energies = self._std * self.model.final_layer(invariants)[:, 0] + self._references[rows]
        scalars = {0: self.model.tensor_embedding.emb(rows), self.layers[-1]: invariants}
        blocks: dict[int, Features] = {}
        for n in layers:
            if n in scalars:
                no_rank = scalars[n].new_zeros(len(rows), 0, 3, 3)
                blocks[n] = Features(scalars[n], no_rank[..., 0], no_rank, graph.n_atoms)
                continue
            blocks[n] = Features(*split_cartesian(states[n - 1]), graph.n_atoms)
            if bonds:
                blocks[n] = _with_bonds(blocks[n], graph, *messages[n - 1][:2], radial)
        return blocks, energies + self._mean / graph.n_atoms[graph.crystal]


def split_cartesian(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices [N, C, 3, 3] as scalars [N, C], vectors [N, C, 3] and symmetric traceless tensors [N, C, 3, 3].

    X = t I + A + S with A b = a x b: t is a third of the trace, a the vector.
    """
    scalars = x.diagonal(dim1=-2, dim2=-1).mean(-1)
    skew = (x - x.transpose(-1, -2)) / 2
    vectors = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    symmetric = (x + x.transpose(-1, -2)) / 2
    return scalars, vectors, symmetric - scalars[..., None, None] * torch.eye(3, dtype=x.dtype)


def _with_bonds(features: Features, graph: Graph, traces: Tensor, skews: Tensor, radial: Tensor) -> Features:
    """Messages' isotropic and antisymmetric parts [E, C, 3, 3] as bond scalars and vectors."""
    mix = fixed_mix(traces.shape[1], EDGE_CHANNELS).to(traces)
    scalars = traces[..., 0, 0] @ mix.T  # [E, EDGE_CHANNELS]
    vectors = torch.einsum("ecm,kc->ekm", split_cartesian(skews)[1], mix)
    return Features(
        features.scalars, features.vectors, features.tensors, features.n_atoms, graph.edge_index,
        torch.cat([scalars, radial], 1), vectors,
    )  # fmt: skip


@contextlib.contextmanager
def _recording(model: nn.Module, wanted: bool) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """The messages (isotropic, antisymmetric, symmetric; [E, C, 3, 3] each) of every layer, in order."""
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def keeping(message: Callable) -> Callable:
        def run(*args, **kwargs):
            kept.append(message(*args, **kwargs))
            return kept[-1]

        return run

    passing = [model.tensor_embedding, *model.layers] if wanted else []
    for module in passing:
        module.message = keeping(module.message)
    try:
        yield kept
    finally:
        for module in passing:
            del module.message  # the class's own method is seen again


def read_tensornet_folder(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """Arguments of the network (model.json) and weights (state.pt, tensors only: nothing in it is executed).

    Until its version 3, MatGL summed the embedding's messages at the other end of the bond. Weights of those days
    (model version 1) come out as the present code needs them: with the two halves of the matrix that mixes the two
    atoms of a bond exchanged. (Bond directions change sign with it, on which energies do not depend.) Loaded as they
    are into version 4 they give a potential in which MgO has no minimum.

    Raises
    ------
    ValueError
        When the folder does not hold a TensorNet.
    """
    try:
        described = json.loads((folder / "model.json").read_text())["kwargs"]["model"]
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        if described["@class"] != "TensorNet":
            raise ValueError(f"it holds a {described['@class']}")
        config, model_version = described["init_args"], int(described["@model_version"])
        if model_version < 2:
            key = "model.tensor_embedding.emb2.weight"  # [C, 2 C]
            state[key] = torch.cat(state[key].chunk(2, 1)[::-1], 1)
    except Exception as error:  # whatever the broken files happen to cause
        raise ValueError(
            f"{folder}: not a TensorNet of MatGL ({type(error).__name__}: {str(error).strip()[:200]}); get it again"
        ) from error
    return config, state


@lru_cache(maxsize=1)
def _matgl() -> SimpleNamespace:
    """The parts of MatGL that make up a TensorNet, without the rest of the package."""
    files = ["layers._bond", "layers._embedding", "layers._graph_convolution", "layers._readout_torch"]
    files += ["layers._activations", "utils.maths"]
    bond, embedding, convolution, readout, activations, maths = import_bare(
        "matgl", files, float_th=torch.float32, int_th=torch.int32
    )
    return SimpleNamespace(
        BondExpansion=bond.BondExpansion, TensorEmbedding=embedding.TensorEmbedding,
        TensorNetInteraction=convolution.TensorNetInteraction, WeightedReadOut=readout.WeightedReadOut,
        ActivationFunction=activations.ActivationFunction, maths=maths,
    )  # fmt: skip


class _Network(nn.Module):
    """MatGL's layers wired as its TensorNet wires them, with every state at hand; names as in its weights."""

    def __init__(self, config: dict):
        super().__init__()
        parts, units, cutoff = _matgl(), config["units"], config["cutoff"]
        activation = parts.ActivationFunction[config["activation_type"]].value()
        self.bond_expansion = parts.BondExpansion(
            cutoff=cutoff, rbf_type=config["rbf_type"], final=cutoff + 1.0, num_centers=config["num_rbf"],
            width=config["width"], smooth=config["use_smooth"], max_n=config["max_n"], max_l=config["max_l"],
        )  # fmt: skip
        radial = self.bond_expansion(torch.ones(1)).shape[1]
        group = config["equivariance_invariance_group"]
        if group != "O(3)":
            raise ValueError(f"this TensorNet is equivariant under {group} only: its vectors have no parity")
        dtype = torch.get_default_dtype()
        self.tensor_embedding = parts.TensorEmbedding(
            units, radial, activation, len(config["element_types"]), cutoff, dtype
        )
        self.layers = nn.ModuleList(
            parts.TensorNetInteraction(radial, units, activation, cutoff, group, dtype)
            for _ in range(config["nblocks"])
        )
        self.out_norm = nn.LayerNorm(3 * units)
        self.linear = nn.Linear(3 * units, units)
        self.final_layer = parts.WeightedReadOut(units, [units, units], 1)

    def states(self, rows: Tensor, edge_index: Tensor, edge_vectors: Tensor) -> tuple[list[Tensor], Tensor]:
        """X [N, C, 3, 3] after the embedding and each interaction, and the radial basis [E, R].

        `edge_index` [2, E] has centres in row 0 here, neighbours in row 1; `edge_vectors` point to the neighbours.
        """
        distances = torch.linalg.norm(edge_vectors, dim=1)  # [E]
        radial = self.bond_expansion(distances)
        x, _ = self.tensor_embedding(rows, edge_index, radial, distances, edge_vectors)
        states = [x]
        for layer in self.layers:
            states.append(layer(edge_index, distances, radial, states[-1]))
        return states, radial

    def invariants(self, x: Tensor) -> Tensor:
        """Squared norms of the three parts of X [N, C, 3, 3], normalised and mixed to [N, C]."""
        maths = _matgl().maths
        norms = torch.cat([maths.tensor_norm(part) for part in maths.decompose_tensor(x)], -1)  # [N, 3 C]
        return self.linear(self.out_norm(norms))


def _build(config: dict, state: dict[str, Tensor], dtype: torch.dtype) -> nn.Module:
    with default_dtype(dtype):
        model = _Network(config)
    weights = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    model.load_state_dict(weights)
    return model.to(dtype).eval().requires_grad_(False)
