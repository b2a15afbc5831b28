"""The readout against the printed equations: a plain reading of Eqs. 8-27 with the same weights, same tensors."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import Record
from dtnet_core.encoder import encode
from dtnet_core.features import Features, split_crystals
from dtnet_core.potentials.sevennet import SevenNet
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.training.sets import build_set

_PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "plain_readout.py"
_SPEC = importlib.util.spec_from_file_location("plain_readout", _PATH)
plain_readout = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(plain_readout)

CHANNELS, EDGE_CHANNELS = (12, 7, 5), (9, 4)


def random_features(seed=0, n_atoms=(3, 1, 6), n_bonds=40) -> Features:
    """Features in float64 with unsymmetric tensors, zero vectors on some atoms, and atoms without bonds."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    n = sum(n_atoms)
    cs, cv, ct = CHANNELS
    vectors = draw(n, cv, 3)
    vectors[3] = 0.0
    index = torch.randint(0, n - 1, (2, n_bonds), generator=g)
    return Features(draw(n, cs), vectors, draw(n, ct, 3, 3), torch.tensor(n_atoms), index,
                    draw(n_bonds, EDGE_CHANNELS[0]), draw(n_bonds, EDGE_CHANNELS[1], 3))  # fmt: skip


def pair(config: DTNetConfig, features: Features):
    """A DTNet with random weights, biases and fitted scales, and the plain model with the same, in evaluation mode."""
    torch.manual_seed(1)
    model = DTNet(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases start at zero, which would hide them
    targets = torch.randn(len(features.n_atoms), 3, 3, dtype=torch.float64) + 5 * torch.eye(3)
    mine = features.without_bonds() if config.edge_channels is None else features
    model.fit_scales(mine.pack(), targets)
    plain = plain_readout.PlainDTNet(config).double().load_weights(model.state_dict())
    return model.eval(), plain.eval()


@torch.no_grad()
def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


CASES = [
    dict(edge_channels=edge, residual=residual, width=width, k_block=k, k_readout=3, blocks=blocks)
    for edge, residual, width, k, blocks in [
        (None, True, None, 2, 2),
        (None, False, None, 2, 2),
        (EDGE_CHANNELS, True, None, 2, 2),
        (EDGE_CHANNELS, False, None, 3, 1),
        (EDGE_CHANNELS, True, (16, 6, 4), 1, 3),
        (None, False, (16, 6, 4), 2, 2),
    ]
]


@pytest.mark.parametrize("options", CASES, ids=lambda o: "-".join(map(str, o.values())))
def test_readout_is_the_printed_equations(options):
    features = random_features()
    model, plain = pair(DTNetConfig(CHANNELS, hidden=16, **options), features)
    expected = plain(features)
    assert relative(model(features), expected) < 1e-13
    assert expected.shape == (3, 3, 3)
    eye = torch.eye(3, dtype=torch.float64)
    assert (
        expected - expected.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * eye
    ).abs().max() > 1e-2  # anisotropic
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("options", CASES, ids=lambda o: "-".join(map(str, o.values())))
def test_gradients_agree_and_are_finite_at_zero_vectors(options):
    features = random_features(2)
    model, plain = pair(DTNetConfig(CHANNELS, hidden=16, dropout=0.0, **options), features)
    weight = torch.randn(3, 3, 3, dtype=torch.float64)
    weight = weight + weight.transpose(1, 2)
    for network in (model, plain):
        network.train()
        (network(features) * weight).sum().backward()
    gradients = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        places = plain_readout._places(name)
        theirs = torch.cat([gradients[place].grad for place in places])
        assert torch.isfinite(parameter.grad).all(), name
        assert torch.allclose(parameter.grad, theirs, rtol=1e-9, atol=1e-11), name


def test_a_changed_equation_is_noticed():
    """The comparison above would fail if, say, the norms were left out or the gates exchanged."""
    features = random_features()
    model, plain = pair(DTNetConfig(CHANNELS, EDGE_CHANNELS, hidden=16), features)
    expected = plain(features)
    for name in ("l_av1", "l_at1", "l_av2", "l_at2", "l_bv1"):
        weight = getattr(plain.blocks[1], name).weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.01)
            assert relative(plain(features), expected) > 1e-8, name
            weight.copy_(kept)
    assert relative(model(features), plain(features)) < 1e-13


def test_weights_of_another_shape_are_refused():
    model = DTNet(DTNetConfig(CHANNELS, hidden=16))
    with pytest.raises(ValueError, match=r"no place of that shape"):
        plain_readout.PlainDTNet(DTNetConfig(CHANNELS, hidden=8)).load_weights(model.state_dict())
    with pytest.raises(ValueError, match=r"no weights for .*l_bv1"):
        plain_readout.PlainDTNet(DTNetConfig(CHANNELS, EDGE_CHANNELS, hidden=16)).load_weights(
            model.state_dict()
        )


@pytest.mark.parametrize("bonds", [False, True])
def test_symmetry_reduction_gives_the_mean_over_all_atoms(bonds):
    """Real crystals: inequivalent atoms and projectors against every atom of the cell, plainly averaged."""
    quartz = Structure.from_spacegroup(
        "P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 0], [0.4135, 0.2669, 0.1191]]
    )
    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    shaken = quartz.copy()
    for i, shift in enumerate(np.random.default_rng(0).uniform(-0.01, 0.01, (len(quartz), 3))):
        shaken.translate_sites(i, shift)
    structures = [quartz, rutile, shaken]
    encoder = SevenNet("7net-0", torch.float64)
    features = encode(encoder, structures, 4, bonds=bonds)
    config = DTNetConfig(features.channels, features.edge_channels)
    model, plain = pair(config, features)
    records = [Record(str(i), s, s.composition.reduced_formula) for i, s in enumerate(structures)]
    reduced = build_set(split_crystals(features), records)
    assert len(reduced.scalars) < sum(map(len, structures))
    expected = plain(features)
    found = model(reduced.batch(torch.arange(3)))
    assert relative(found, expected) < 1e-6  # as exact as the crystals are symmetric
    assert relative(model(features), expected) < 1e-12
    assert np.isfinite(expected.detach().numpy()).all()


def test_training_benchmark_compares_equal_models(monkeypatch):
    """What `make bench` times is the kit's own training and a plain one of the same model; no times are judged here."""
    monkeypatch.syspath_prepend(str(_PATH.parent))
    from training_step import measure_training

    structure = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    structures = [structure, structure.get_primitive_structure()]
    features = split_crystals(encode(SevenNet("7net-0"), structures, 4))
    records = [Record(str(i), s, "MgO", eps_total=10 * np.eye(3)) for i, s in enumerate(structures)]
    found = measure_training(features, records, repeats=1, batch_size=2)
    assert found["largest_difference_of_tensors"] < 1e-5
    assert (found["atoms_a_step"], found["kept_atoms_a_step"]) == (10, 4)
    assert min(found[k] for k in ("plain_step_ms", "kit_all_atoms_step_ms", "kit_step_ms")) > 0
    with pytest.raises(ValueError, match="do not fill one batch of 64"):
        measure_training(features, records, repeats=1)
