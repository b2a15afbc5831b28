"""The readout: finite gradients at exact zeros, bonds, checkpoints."""

import numpy as np
import pytest
import torch

from dtnet_core import links
from dtnet_core.checkpoint import load_network, save_network
from dtnet_core.features import Features, from_mandel, mandel_outer, to_mandel
from dtnet_core.layers import HAVE_TORCH_SCATTER, Dropout, safe_norm, segment_sum
from dtnet_core.readout import DTNet, DTNetConfig


def random_features(n_atoms=(3, 1, 4), channels=(8, 6, 5), edges=(4, 3), seed=0, dtype=torch.float64) -> Features:
    g = torch.Generator().manual_seed(seed)
    n, (cs, cv, ct) = sum(n_atoms), channels
    make = lambda *shape: torch.randn(*shape, generator=g, dtype=dtype)  # noqa: E731
    tensors = make(n, ct, 3, 3)
    bonds = {}
    if edges is not None:
        index = torch.randint(0, n, (2, 5 * n), generator=g)
        bonds = {"edge_index": index, "edge_scalars": make(5 * n, edges[0]), "edge_vectors": make(5 * n, edges[1], 3)}
    return Features(make(n, cs), make(n, cv, 3), tensors + tensors.transpose(-1, -2), torch.tensor(n_atoms), **bonds)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("edges", [None, (4, 3)], ids=["simple", "bonds"])
def test_gradients_are_finite_where_vectors_are_exactly_zero(edges, residual):
    features = random_features(edges=edges)
    features.vectors[:] = 0
    features.tensors[1:3] = 0
    if edges is not None:
        features.edge_vectors[:] = 0
    inputs = [features.scalars, features.vectors, features.tensors]
    for x in inputs:
        x.requires_grad_(True)
    network = DTNet(DTNetConfig(features.channels, edges, residual=residual)).double()
    network(features).square().sum().backward()
    for gradient in [x.grad for x in inputs] + [p.grad for p in network.parameters()]:
        assert gradient is not None
        assert torch.isfinite(gradient).all()
    zero = torch.zeros(2, 3, requires_grad=True)
    safe_norm(zero, 1).sum().backward()
    assert (safe_norm(zero, 1) == 0).all()
    assert (zero.grad == 0).all()


def test_bonds_change_the_answer_and_are_required():
    features = random_features()
    network = DTNet(DTNetConfig(features.channels, features.edge_channels)).double().eval()
    moved = Features(**{**vars(features), "edge_vectors": 2 * features.edge_vectors})
    assert (network(features) - network(moved)).abs().max() > 1e-6
    with pytest.raises(ValueError, match="bonds=True"):
        network(features.without_bonds())
    with pytest.raises(ValueError, match="channels"):
        network(random_features(channels=(8, 6, 4)))


def test_output_is_a_mean_over_atoms():
    features = random_features(edges=None)
    network = DTNet(DTNetConfig(features.channels)).double().eval()
    doubled = Features(*(torch.cat([x, x]) for x in (features.scalars, features.vectors, features.tensors)),
                       torch.tensor([3, 1, 4, 3, 1, 4]))  # fmt: skip
    one = Features(*(torch.cat([x, x]) for x in (features.scalars[:3], features.vectors[:3], features.tensors[:3])), torch.tensor([6]))
    torch.testing.assert_close(network(doubled)[:3], network(features))
    torch.testing.assert_close(network(one)[0], network(features)[0])


def test_initial_anisotropy_scales_only_what_is_not_isotropic():
    features, answers = random_features(edges=None), []
    for factor in (1.0, 0.1, 0.0):
        torch.manual_seed(0)
        network = DTNet(DTNetConfig(features.channels, initial_anisotropy=factor)).double().eval()
        answers.append(network(features).detach())
    deviator = [a - a.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(3) for a in answers]
    sizes = [float(d.abs().max()) for d in deviator]
    assert sizes[0] > 5 * sizes[1] > 0 and sizes[2] < 1e-12


def test_mandel_keeps_norms_and_tensors():
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    symmetric = (x + x.transpose(1, 2)) / 2
    torch.testing.assert_close(from_mandel(to_mandel(x)), symmetric)
    torch.testing.assert_close(to_mandel(x).norm(dim=1), symmetric.flatten(1).norm(dim=1))
    v = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(from_mandel(mandel_outer(v)), v[:, :, None] * v[:, None, :])


def test_dropout_keeps_the_mean_and_its_rate():
    torch.manual_seed(0)
    layer, ones = Dropout(0.2), torch.ones(1000, 333)
    dropped = layer(ones)
    assert abs((dropped == 0).float().mean() - 0.2) < 0.004
    assert abs(dropped.mean() - 1) < 0.005
    assert torch.equal(layer.eval()(ones), ones)
    with pytest.raises(ValueError, match="dropout"):
        Dropout(1.0)


def test_checkpoint_round_trip(tmp_path):
    features = random_features()
    network = DTNet(DTNetConfig(features.channels, features.edge_channels, width=(7, 5, 3), blocks=1)).double().eval()
    save_network(network, tmp_path / "a.safetensors", features="7net-0:4")
    again, metadata = load_network(tmp_path / "a.safetensors")
    assert again.config == network.config
    assert metadata == {"features": "7net-0:4"}
    torch.testing.assert_close(again.double()(features), network(features))
    (tmp_path / "b.safetensors").write_bytes(b"not a checkpoint at all")
    with pytest.raises(ValueError, match=r"b\.safetensors"):
        load_network(tmp_path / "b.safetensors")
    with pytest.raises(FileNotFoundError, match=r"c\.safetensors"):
        load_network(tmp_path / "c.safetensors")


def test_segment_sum():
    values, index = torch.randn(20, 3), torch.randint(0, 4, (20,))
    expected = np.zeros((5, 3), dtype=np.float32)
    np.add.at(expected, index.numpy(), values.numpy())
    torch.testing.assert_close(segment_sum(values, index, 5, kernel="torch"), torch.from_numpy(expected))
    if not HAVE_TORCH_SCATTER:
        with pytest.raises(ImportError, match="torch-scatter"):
            segment_sum(values, index, 5, kernel="torch_scatter")


@pytest.mark.scatter
@pytest.mark.skipif(not HAVE_TORCH_SCATTER, reason="the optional torch-scatter is not installed")
def test_torch_scatter_agrees_with_torch():
    values, index = torch.randn(200, 3, 5, dtype=torch.float64), torch.randint(0, 40, (200,))
    for x in (values, values[:, 0, 0]):
        torch.testing.assert_close(segment_sum(x, index, 41, "torch_scatter"), segment_sum(x, index, 41, "torch"))


@pytest.mark.parametrize("few", [False, True])
def test_scales_by_hand(monkeypatch, few):
    """Of anisotropic tensors the mean diagonal counts, not elements off it; few crystals leave no scale below a share of the scalars'."""
    monkeypatch.setattr(links, "FEW_CRYSTALS", 4 if few else 3)
    features = random_features()
    features.scalars[:, 0] = 7.0
    features.vectors[:, 1] *= 1e-4
    network = DTNet(DTNetConfig(features.channels, features.edge_channels, outputs=2)).double()
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    values = np.array([[[1, 2, 3], [2, 4, 9]], [[4, 6, 20], [1, 1, 1]], [[0, 1, 2], [5, 6, 13]]], float)  # [B, K, 3]
    targets = q @ (values[..., None] * np.eye(3)) @ q.T
    assert np.abs(targets[0, :, 0, 1]).min() > 1e-3
    network.fit_scales(features.pack(), torch.from_numpy(targets))
    torch.testing.assert_close(network.output_mean, torch.tensor([2.0, 5.0]).double())  # of 2, 10, 1 and of 5, 1, 8
    torch.testing.assert_close(network.output_scale, torch.tensor([9 / 3, 7 / 3]).double())
    s, v, t = (x.numpy() for x in (features.scalars, features.vectors, features.tensors))
    spread = s.std(0)
    least = links.SMALLEST_SCALE * np.sort(spread)[3] if few else 0.0
    floor = lambda x, least=least: np.maximum(x, least)  # noqa: E731
    np.testing.assert_allclose(network.scalar_mean, s.mean(0))
    np.testing.assert_allclose(network.scalar_scale, [1.0, *floor(spread)[1:]])
    np.testing.assert_allclose(network.vector_scale, floor(np.sqrt((v**2).mean((0, 2)))))
    np.testing.assert_allclose(network.tensor_scale, floor(np.sqrt((t**2).sum((2, 3)).mean(0) / 6)))
    np.testing.assert_allclose(network.edge_mean, features.edge_scalars.mean(0))
    np.testing.assert_allclose(network.edge_scalar_scale, features.edge_scalars.numpy().std(0))
    np.testing.assert_allclose(network.edge_vector_scale, np.sqrt((features.edge_vectors.numpy() ** 2).mean((0, 2))))
    assert (network.vector_scale[1] < 1e-3) != few


def test_units_before_they_are_fitted_change_nothing():
    network = DTNet(DTNetConfig((2, 2, 2), (2, 2)))
    assert all((v == (0 if k.endswith("_mean") else 1)).all() for k, v in network.named_buffers() if k.endswith(("_mean", "_scale")))


def test_softplus_of_many_tensors_has_the_gradients_of_each():
    tensors = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tensors, weights = tensors + tensors.transpose(-1, -2), torch.arange(9.0, dtype=torch.float64).view(3, 3)

    def gradient(x):
        x = x.clone().requires_grad_(True)
        (links.spectral_softplus(x) * weights).sum().backward()
        return x.grad

    each = torch.stack([gradient(x) for x in tensors.view(-1, 3, 3)]).view_as(tensors)
    torch.testing.assert_close(gradient(tensors), each)
