"""Features and their packed layout, element by element: batches joined and taken apart, bonds with their atoms."""

from dataclasses import replace

import pytest
import torch

from dtnet_core.features import (
    Features,
    concatenate_channels,
    concatenate_crystals,
    split_crystals,
    to_mandel,
)
from tests.test_readout import random_features

FIELDS = ("scalars", "vectors", "tensors", "n_atoms", "edge_index", "edge_scalars", "edge_vectors")


def equal(a: Features, b: Features) -> bool:
    return all((x is None and y is None) or torch.equal(x, y) for x, y in ((getattr(a, k), getattr(b, k)) for k in FIELDS))


def bonded(n_atoms, seed=0) -> Features:
    """With bonds inside each crystal only; the second crystal has none."""
    found, starts = random_features(n_atoms, seed=seed), torch.tensor([0, *n_atoms]).cumsum(0).tolist()
    pairs = [(starts[c] + i, starts[c] + (i + 1) % n) for c, n in enumerate(n_atoms) if c != 1 for i in range(n)]
    index = torch.tensor(pairs).T
    return replace(found, edge_index=index, edge_scalars=found.edge_scalars[: len(pairs)], edge_vectors=found.edge_vectors[: len(pairs)])


def test_mandel_components_have_their_places():
    six = to_mandel(torch.tensor([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]], dtype=torch.float64))
    torch.testing.assert_close(six, torch.tensor([1, 2, 3, 4 * 2**0.5, 5 * 2**0.5, 6 * 2**0.5], dtype=torch.float64))
    torch.testing.assert_close(to_mandel(torch.tensor([[0.0, 2, 0], [0, 0, 0], [0, 0, 0]])), torch.tensor([0, 0, 0, 0, 0, 2**0.5]))  # the symmetric part


def test_the_packed_layout_is_the_same_numbers():
    features = bonded((3, 1, 4))
    packed = features.pack()
    assert packed.crystal.tolist() == [0, 0, 0, 1, 2, 2, 2, 2] and packed.n_crystals == 3
    assert packed.projectors is None and packed.functional is None
    torch.testing.assert_close(packed.weights, torch.tensor([1 / 3] * 3 + [1] + [1 / 4] * 4, dtype=torch.float64))
    assert torch.equal(packed.scalars, features.scalars)
    for atom in range(8):
        for c in range(6):
            assert torch.equal(packed.vectors[atom, :, c], features.vectors[atom, c])
        for c in range(5):
            assert torch.equal(packed.tensors[atom, :, c], to_mandel(features.tensors[atom, c]))
    receiver, b_s, b_v = packed.edges
    assert torch.equal(receiver, features.edge_index[1]) and torch.equal(b_s, features.edge_scalars)
    assert torch.equal(b_v[2, :, 1], features.edge_vectors[2, 1])
    assert features.without_bonds().pack().edges is None


def test_a_batch_is_its_crystals():
    features = bonded((3, 1, 4))
    parts = split_crystals(features)
    assert [len(p.scalars) for p in parts] == [p.n_atoms.item() for p in parts] == [3, 1, 4]
    assert [p.edge_index.tolist() for p in parts] == [[[0, 1, 2], [1, 2, 0]], [[], []], [[0, 1, 2, 3], [1, 2, 3, 0]]]
    assert torch.equal(parts[2].edge_vectors, features.edge_vectors[3:]) and torch.equal(parts[2].tensors, features.tensors[4:])
    assert equal(concatenate_crystals(parts), features)
    assert equal(concatenate_crystals([features]), features)
    bare = concatenate_crystals([parts[0], parts[2].without_bonds()])  # bonds of some crystals are the bonds of none
    assert bare.bonds is None and bare.edge_channels is None and torch.equal(bare.vectors, features.vectors[[0, 1, 2, 4, 5, 6, 7]])
    assert all(p.bonds is None for p in split_crystals(features.without_bonds()))
    assert equal(concatenate_crystals(split_crystals(features.without_bonds())), features.without_bonds())


def test_channels_stand_side_by_side():
    one, other = bonded((3, 1, 4)), bonded((3, 1, 4), seed=1)
    both = concatenate_channels([one, other])
    assert both.channels == (16, 12, 10) and both.edge_channels == (8, 6) and torch.equal(both.edge_index, one.edge_index)
    for name in ("scalars", "vectors", "tensors", "edge_scalars", "edge_vectors"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(other, name)], 1)), name
    half = concatenate_channels([one.without_bonds(), other])
    assert half.edge_channels == (4, 3) and torch.equal(half.edge_scalars, other.edge_scalars)
    assert concatenate_channels([one.without_bonds(), other.without_bonds()]).bonds is None
    moved = replace(other, edge_index=other.edge_index.flip(0))
    with pytest.raises(ValueError, match="bonds differ"):
        concatenate_channels([one, moved])
    with pytest.raises(ValueError, match="crystals differ"):
        concatenate_channels([one, bonded((4, 1, 3))])


def test_bonds_are_there_when_all_of_them_is():
    features = bonded((3, 1, 4))
    assert features.bonds is not None and features.edge_channels == (4, 3)
    for name in ("edge_index", "edge_scalars", "edge_vectors"):
        part = replace(features, **{name: None})
        assert part.bonds is None and part.edge_channels is None and part.pack().edges is None


def test_casting_leaves_counts_and_indices():
    features = bonded((3, 1, 4)).to(torch.float32)
    kinds = {name: getattr(features, name).dtype for name in FIELDS}
    assert kinds == dict.fromkeys(FIELDS, torch.float32) | {"n_atoms": torch.int64, "edge_index": torch.int64}
    assert bonded((3, 1, 4)).without_bonds().to(torch.float32).bonds is None


@pytest.mark.parametrize("name", ["scalars", "vectors", "tensors"])
def test_shapes_that_do_not_fit_are_named(name):
    features = bonded((3, 1, 4))
    value = getattr(features, name)
    wrong = [value[:-1], value[..., None]] + ([value[..., :2]] if name != "scalars" else [])
    for bad in wrong:
        with pytest.raises(ValueError, match=rf"{name}: expected \[N, C.*N = 8 atoms, got"):
            replace(features, **{name: bad})
