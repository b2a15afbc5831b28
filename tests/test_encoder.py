"""Encoders: which layers there are, what they give, what they refuse."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.structures import InvalidStructureError
from dtnet_core.encoder import Encoder, encode
from dtnet_core.features import Features, concatenate_channels, split_crystals
from dtnet_core.potentials.graph import batches_by_edges, build_graph
from dtnet_core.potentials.registry import load_encoder


@pytest.fixture(scope="module")
def sevennet():
    return load_encoder("7net-0")


def test_every_layer_has_the_documented_channels(sevennet, crystals):
    assert isinstance(sevennet, Encoder)
    blocks = sevennet.encode_layers(crystals, sevennet.layers)
    expected = {0: (128, 0, 0), 5: (128, 0, 0)} | dict.fromkeys((1, 2, 3, 4), (128, 64, 32))
    assert {n: f.channels for n, f in blocks.items()} == expected
    assert {n: sevennet.channels(n) for n in sevennet.layers} == expected
    assert all(f.n_atoms.tolist() == [len(c) for c in crystals] for f in blocks.values())


def test_last_layer_borrows_vectors_and_tensors(sevennet, crystals):
    last, fourth = encode(sevennet, crystals, 5), encode(sevennet, crystals, 4)
    assert torch.equal(last.vectors, fourth.vectors)
    assert torch.equal(last.tensors, fourth.tensors)
    assert not torch.equal(last.scalars, fourth.scalars)


def test_layers_and_encoders_concatenate(sevennet, crystals):
    together = encode(sevennet, crystals[:1], (0, 2, 5))
    parts = [sevennet.encode_layers(crystals[:1], [n])[n] for n in (0, 2, 5)]
    assert together.channels == (384, 64, 32)
    torch.testing.assert_close(together.scalars, torch.cat([p.scalars for p in parts], 1))
    with pytest.raises(ValueError, match="crystals differ"):
        concatenate_channels([encode(sevennet, crystals[:1], 4), encode(sevennet, crystals[1:2], 4)])


def test_reproduces_the_potential(sevennet, crystals):
    """The first layer is that of the potential itself, parity and all; its energy follows from the last layer."""
    from sevenn.calculator import SevenNetCalculator

    atoms = crystals[1].to_ase_atoms()
    calculator = SevenNetCalculator("7net-0", device="cpu")
    state = {}
    for n in (1, 5):
        module = calculator.model.get_submodule(f"{n - 1}_equivariant_gate")
        module.register_forward_hook(lambda module, inputs, output, n=n: state.__setitem__(n, output["x"].detach()))
    own = calculator.get_potential_energy(atoms)
    found = float(sevennet.node_energies(build_graph(crystals[1], sevennet.cutoff)).sum())
    assert abs(found - own) < 2e-3 * len(atoms)  # in eV: the mean of both hands of the crystal
    first = sevennet.encode_layers(crystals[1:2], [1])[1]
    torch.testing.assert_close(first.scalars, state[1][:, :128], rtol=1e-4, atol=1e-5)
    flat = first.vectors.flatten(1)
    torch.testing.assert_close(flat, state[1][:, 128 : 128 + 192], rtol=1e-4, atol=1e-5)
    last = sevennet.encode_layers(crystals[1:2], [5])[5].scalars  # parity-even part: within the few percent of the rest
    assert (last - state[5]).norm() < 0.05 * state[5].norm()


def test_bonds(sevennet, crystals):
    features = encode(sevennet, crystals, 4, bonds=True)
    edges = sum(int(build_graph(c, sevennet.cutoff).n_edges) for c in crystals)
    assert features.edge_scalars.shape[0] == features.edge_vectors.shape[0] == features.edge_index.shape[1] == edges
    alone = split_crystals(features)[2]
    again = encode(sevennet, crystals[2:3], 4, bonds=True)
    assert torch.equal(alone.edge_index, again.edge_index)
    torch.testing.assert_close(alone.edge_vectors, again.edge_vectors, rtol=1e-3, atol=1e-5)


def test_batches_are_bounded_by_edges(crystals):
    bound = 150
    batches = list(batches_by_edges(crystals * 3, 5.0, bound))
    assert sum(len(b.n_atoms) for b in batches) == 12
    assert all(int(b.n_edges.sum()) <= bound or len(b.n_atoms) == 1 for b in batches)


def test_graph_is_symmetric_and_within_the_cutoff(crystal):
    graph = build_graph(crystal, 5.0)
    assert graph.edge_index.dtype == torch.int64
    assert graph.edge_vectors.norm(dim=1).max() <= 5.0
    assert torch.bincount(graph.edge_index[0]).equal(torch.bincount(graph.edge_index[1]))
    neighbour, centre = graph.edge_index
    positions = torch.from_numpy(crystal.cart_coords)
    image = graph.edge_vectors - positions[neighbour] + positions[centre]
    shifts = image.numpy() @ np.linalg.inv(crystal.lattice.matrix)
    assert np.abs(shifts - shifts.round()).max() < 1e-9


@pytest.mark.parametrize(
    ("species", "coordinates", "message"),
    [
        (["Po", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], "Po"),
        ([{"Mg": 0.5, "Ca": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], "occup"),
        (["Mg", "O"], [[0, 0, 0], [0.5, np.nan, 0.5]], "(?i)nan|finite"),
        (["Mg", "O"], [[0, 0, 0], [0.05, 0, 0]], "0.2.*angstrom"),
    ],
    ids=["element", "occupancy", "nan", "overlap"],
)
def test_refuses_what_it_cannot_encode(sevennet, crystals, species, coordinates, message):
    bad = Structure(Lattice.cubic(4.2), species, coordinates)
    with pytest.raises(InvalidStructureError, match=message) as error:
        encode(sevennet, [crystals[0], bad], 4)
    assert "structure 1" in str(error.value)


def test_refuses_layers_and_names_it_does_not_have(sevennet, crystals):
    with pytest.raises(ValueError, match="has layers"):
        encode(sevennet, crystals, 6)
    with pytest.raises(ValueError, match="7net"):
        load_encoder("no-such-potential")
    with pytest.raises(ValueError, match="vectors"):
        Features(torch.zeros(2, 4), torch.zeros(3, 4, 3), torch.zeros(2, 4, 3, 3), torch.tensor([2]))


@pytest.mark.parametrize("bonds", [False, True])
def test_no_crystals_and_one_crystal(sevennet, crystals, bonds):
    some, none = encode(sevennet, crystals[0], (2, 4), bonds), encode(sevennet, [], (2, 4), bonds)
    assert some.n_atoms.tolist() == [len(crystals[0])] and none.n_atoms.tolist() == []
    assert none.channels == some.channels and none.edge_channels == some.edge_channels and len(none.scalars) == 0
    same = encode(sevennet, (c.to_ase_atoms() for c in crystals[:1]), (2, 4), bonds)
    torch.testing.assert_close(same.tensors, some.tensors)
