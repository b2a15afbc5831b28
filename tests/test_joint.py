"""Several targets, several kinds of labels: physical outputs, the loss, what must not be trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.encoder import encode, load_encoder
from dtnet_core.features import from_mandel, to_mandel
from dtnet_core.labels import material_groups, without_relatives
from dtnet_core.layers import ChannelDropout
from dtnet_core.metrics import mae_ten
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.record import Record
from dtnet_core.spectral import inverse_softplus, spectral_softplus
from dtnet_core.training import joint_errors
from tests.conftest import CRYSTALS, random_rotation, turn
from tests.test_readout import random_features


def test_spectral_softplus_turns_and_has_a_gradient_where_eigenvalues_coincide():
    q = torch.from_numpy(random_rotation(3))
    for values in ([1.0, 1.0, 1.0], [-2.0, 0.5, 0.5], [-1.0, 0.3, 4.0], [0.5, 0.5 + 1e-9, 2.0]):
        values = torch.tensor(values, dtype=torch.float64)
        tensor = (q @ torch.diag(values) @ q.T).requires_grad_(True)
        image = spectral_softplus(tensor)
        expected = q @ torch.diag(torch.nn.functional.softplus(values)) @ q.T
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(torch.diag(inverse_softplus(torch.nn.functional.softplus(values))), torch.diag(values))
        symmetric = lambda six: spectral_softplus(from_mandel(six))  # noqa: E731
        assert torch.autograd.gradcheck(symmetric, to_mandel(tensor.detach()).requires_grad_(True), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_joint_network_is_equivariant_and_physical(dtype):
    """Encoder and readout together, with every option of a joint model."""
    encoder = load_encoder("7net-0")
    crystals = [make() for make in CRYSTALS.values()]
    q = -random_rotation(4)
    torch.manual_seed(0)
    before = encode(encoder, crystals, 4)
    config = DTNetConfig(before.channels, width=(24, 12, 8), outputs=2, link="softplus", functionals=2, input_dropout=0.1)
    network = DTNet(config).to(dtype).eval()
    torch.nn.init.normal_(network.functional.weight)
    network.fit_scales(before.pack(), torch.eye(3).expand(4, 2, 3, 3) * torch.tensor([2.0, 8.0, 5.0, 3.0]).view(4, 1, 1, 1))
    cast = lambda f: type(f)(*(x.to(dtype) for x in (f.scalars, f.vectors, f.tensors)), f.n_atoms)  # noqa: E731
    with torch.no_grad():
        tensors = network(cast(before)).numpy()  # [4, 2, 3, 3]
        turned = network(cast(encode(encoder, [turn(c, q) for c in crystals], 4))).numpy()
    np.testing.assert_allclose(turned, q @ tensors @ q.T, atol=3e-5 * np.abs(tensors).max())  # the encoder's float32
    eigenvalues = np.linalg.eigvalsh(tensors)
    assert (eigenvalues[:, 0] >= 1).all() and (eigenvalues[:, 1] >= 0).all()
    assert np.ptp(eigenvalues[1:], axis=-1).min() > 1e-3


def test_functionals_are_told_apart():
    features = random_features(edges=None)
    network = DTNet(DTNetConfig(features.channels, functionals=2, outputs=2)).double().eval()
    packed = features.pack()
    plain = network(packed)
    packed = replace(packed, functional=torch.tensor([0, 1, 1]))
    torch.testing.assert_close(network(packed), plain)  # at first they are the same
    torch.nn.init.normal_(network.functional.weight)
    assert (network(packed) - plain).abs().amin((1, 2, 3)).max() > 1e-6


def test_channel_dropout_keeps_directions_and_the_mean():
    torch.manual_seed(0)
    layer = ChannelDropout(0.25)
    s, v, t = layer(torch.ones(500, 90), torch.ones(500, 3, 40), torch.ones(500, 6, 30))
    for x in (s, v, t):
        assert abs(x.mean() - 1) < 0.02 and abs((x == 0).float().mean() - 0.25) < 0.02
    assert (v.std(1) == 0).all() and (t.std(1) == 0).all()
    assert layer.eval()(s)[0] is s


def test_loss_of_a_tensor_and_of_a_scalar():
    g = np.random.default_rng(0)
    a, b = (x + x.swapaxes(-1, -2) for x in g.normal(size=(2, 5, 2, 3, 3)))
    mandel = [to_mandel(torch.from_numpy(x)) for x in (a, b)]
    errors = joint_errors(*mandel, torch.tensor([False, False, False, True, True])).numpy()
    for k, (x, y) in enumerate([(a[:, 0], b[:, 0]), (a[:, 1], b[:, 1]), (a.sum(1), b.sum(1))]):
        assert errors[:3, k].mean() == pytest.approx(mae_ten(y[:3], x[:3]))
        mean = [np.trace(z[3:], axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3) for z in (x, y)]
        assert errors[3:, k].mean() == pytest.approx(mae_ten(*mean))


def test_same_material_found_in_any_cell_and_not_trained_on():
    halite = lambda a: Structure.from_spacegroup(225, Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])  # noqa: E731
    cesium_type = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    other_functional = turn(halite(5.7).get_primitive_structure(), random_rotation(1))
    structures = {"a": halite(5.64), "b": cesium_type, "c": other_functional, "d": CRYSTALS["cubic"](), "e": CRYSTALS["chiral"]()}
    records = [Record(k, s, s.composition.reduced_formula, mp_id="mp-1" if k in "de" else None) for k, s in structures.items()]
    records.append(Record("f", CRYSTALS["cubic"]() * (1, 1, 2), "MgO", mp_id="mp-2"))
    group = material_groups(records)
    same = group[:, None] == group[None]
    expected = np.eye(6, dtype=bool)
    for i, j in ((0, 2), (3, 5)):
        expected[i, j] = expected[j, i] = True
    assert (same == expected).all()
    assert without_relatives(np.array([2, 3, 4, 5]), np.array([0, 1]), group).tolist() == [3, 4, 5]
