"""Encoding against the bare potential, and crystals a second from structure to tensor."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence

import torch
from timing import alternate, busyness, median_ratio, median_seconds

from dtnet_core.crystals.record import Record
from dtnet_core.crystals.structures import validate_structure
from dtnet_core.encoder import Encoder, encode
from dtnet_core.features import concatenate_crystals
from dtnet_core.potentials.graph import Graph, batches_by_edges
from dtnet_core.potentials.store import FeatureStore
from dtnet_core.readout import DTNet, DTNetConfig


def bare_potential(name: str) -> torch.nn.Module:
    """The potential as its package builds it, without its module of forces and stress: energies only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.util import load_checkpoint

        model = load_checkpoint(name).build_model()
    model.delete_module_by_key("force_output")
    model.key_grad = None  # else positions ask for gradients
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def bare_energies(model: torch.nn.Module, graphs: Sequence[Graph]) -> torch.Tensor:
    """Energies [B] in eV of the crystals of ready-made graphs: one forward pass of the potential, nothing else."""
    parts = []
    for graph in graphs:
        data = {
            "atomic_numbers": graph.numbers, "edge_vec": graph.edge_vectors.float(), "batch": graph.crystal,
            "edge_index": graph.edge_index.flip(0), "num_atoms": graph.n_atoms,
        }  # fmt: skip
        parts.append(model(data)["inferred_total_energy"])
    return torch.cat(parts)


def measure_encoding(encoder: Encoder, records: Sequence[Record], repeats: int, layer: int = 4) -> dict:
    """Encoding of one layer and of all, from structures to features, against two passes of the bare potential.

    The kit's time includes validation, graphs, both passes and the features; the bare potential gets the graphs for
    nothing, in the same batches. `overhead_beyond_second_pass` is t_kit / (2 t_bare) - 1. The kit leaves out what
    features do not need (energies, layers after the wanted one, the second pass of the first layer); so
    `outside_the_network`, the kit's time for validation and graphs over all its time, is given beside it.
    """
    structures = [r.structure for r in records]
    n_atoms = sum(map(len, structures))
    model = bare_potential(encoder.name)
    graphs = list(batches_by_edges(structures, encoder.cutoff, encoder.max_edges))
    energies = bare_energies(model, graphs)
    if not torch.isfinite(energies).all():
        raise FloatingPointError("the bare potential gives energies that are not finite: wrong input")

    def prepare() -> None:
        for structure in structures:
            validate_structure(structure, elements=encoder.elements)
        list(batches_by_edges(structures, encoder.cutoff, encoder.max_edges))

    times = alternate(
        {
            "bare": lambda: bare_energies(model, graphs),
            "kit_layer": lambda: encode(encoder, structures, layer),
            "kit_all": lambda: encode(encoder, structures, encoder.layers),
            "prepare": prepare,
        },
        repeats,
    )
    result = {
        "encoder": encoder.name, "crystals": len(structures), "atoms": n_atoms, "max_edges": encoder.max_edges,
        "bonds": sum(int(g.n_edges.sum()) for g in graphs), "batches": len(graphs), "repeats": repeats,
        "bare_forward_energy_only": {"atoms_per_s": n_atoms / median_seconds(times, "bare")},
        "wall_over_cpu": busyness(times),
    }  # fmt: skip
    for key, name in ((f"kit_layer_{layer}", "kit_layer"), ("kit_all_layers", "kit_all")):
        result[key] = {
            "atoms_per_s": n_atoms / median_seconds(times, name),
            "crystals_per_s": len(structures) / median_seconds(times, name),
            "time_over_bare": median_ratio(times, name, "bare"),
            "overhead_beyond_second_pass": median_ratio(times, name, "bare") / 2 - 1,
            "overhead_beyond_second_pass_cpu": median_ratio(times, name, "bare", "cpu") / 2 - 1,
            "outside_the_network": median_ratio(times, "prepare", name),
        }
    return result


def measure_end_to_end(encoder: Encoder, records: Sequence[Record], repeats: int, layer: int = 4) -> dict:
    """Crystals a second from structure to tensor: all at once, one by one, and with features from the store.

    The model is a DTNet-simple of the paper's shape with untrained weights. Files of the store are in the system's
    file cache.
    """
    structures = [r.structure for r in records]
    n_atoms = sum(map(len, structures))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(encoder, folder)
        store.add(structures, (layer,), progress=False)
        model = DTNet(DTNetConfig(store.features(structures[:1], layer, progress=False)[0].channels)).eval()

        @torch.inference_mode()
        def from_structures() -> torch.Tensor:
            return model(encode(encoder, structures, layer))

        @torch.inference_mode()
        def one_by_one() -> torch.Tensor:
            return torch.cat([model(encode(encoder, [s], layer)) for s in structures])

        @torch.inference_mode()
        def from_store() -> torch.Tensor:
            return model(concatenate_crystals(FeatureStore(encoder, folder).features(structures, layer)))

        def read() -> None:
            FeatureStore(encoder, folder).features(structures, layer)

        expected = from_structures()
        for other in (one_by_one(), from_store()):
            torch.testing.assert_close(other, expected, rtol=1e-3, atol=1e-3)
        times = alternate(
            {"structures": from_structures, "one_by_one": one_by_one, "store": from_store, "read": read},
            repeats,
        )
    result = {
        "crystals": len(structures),
        "atoms": n_atoms,
        "repeats": repeats,
        "wall_over_cpu": busyness(times),
    }
    for key, name in (("structure_to_tensor", "structures"), ("structure_to_tensor_one_by_one", "one_by_one"),
                      ("store_to_tensor", "store"), ("read_from_store", "read")):  # fmt: skip
        seconds = median_seconds(times, name)
        result[key] = {"crystals_per_s": len(structures) / seconds, "atoms_per_s": n_atoms / seconds}
    return result
