"""The readout: finite gradients at exact zeros, bonds, checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dtnet_core import links
from dtnet_core.checkpoint import load_network, save_network
from dtnet_core.features import Features, Packed, from_mandel, mandel_outer, to_mandel
from dtnet_core.layers import (
    HAVE_TORCH_SCATTER,
    MLP,
    ChannelDropout,
    Dropout,
    FunctionalShift,
    GatedMLP,
    pooled,
    safe_norm,
    segment_sum,
)
from dtnet_core.readout import DTNet, DTNetConfig

ROOT = Path(__file__).resolve().parents[1]


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


def test_the_defaults_are_the_papers():
    printed = json.loads((ROOT / "data/paper/performance.json").read_text())["hyperparameters"]
    found = DTNetConfig((8, 6, 5))
    assert (found.blocks, found.hidden, found.dropout) == (printed["equivariant_blocks"], printed["hidden"], printed["dropout"]) == (2, 128, 0.2)
    assert found == DTNetConfig((8, 6, 5), None, None, 128, 2, 2, 3, 0.2, True, 1.0, 1, "linear", (1.0, 0.0), 1, 0.0)


@pytest.mark.parametrize("few", [True, False])
def test_below_a_hundred_crystals_no_scale_is_less_than_three_tenths_of_the_typical_one(few):
    n = 99 if few else 100
    features = random_features([1] * n)
    features.scalars[:, 2] *= 1e-3
    features.vectors[:, 1] *= 1e-3
    features.tensors[:, 3] *= 1e-3
    features.edge_scalars[:, 0] *= 1e-3
    features.edge_vectors[:, 2] *= 1e-3
    network = DTNet(DTNetConfig(features.channels, features.edge_channels)).double()
    network.fit_scales(features.pack(), torch.eye(3).double().expand(n, 3, 3) * torch.arange(n)[:, None, None])
    median, edges = (np.sort(x.numpy().std(0))[(x.shape[1] - 1) // 2] for x in (features.scalars, features.edge_scalars))
    for scale, k, least in ((network.scalar_scale, 2, median), (network.vector_scale, 1, median), (network.tensor_scale, 3, median),
                            (network.edge_scalar_scale, 0, edges), (network.edge_vector_scale, 2, edges)):  # fmt: skip
        assert float(scale[k]) == pytest.approx(0.3 * float(least)) if few else scale[k] < 0.01
        assert all(float(v) > 0.5 for j, v in enumerate(scale) if j != k)


def test_channels_that_never_vary_have_the_scale_one():
    scale = torch.tensor([0.0, 0.95e-8, 1.05e-8, 0.2, 2.0], dtype=torch.float64)
    assert links._positive(scale).tolist() == [1, 1, 1.05e-8, 0.2, 2]
    assert links._positive(scale, 0.5).tolist() == [1, 1, 0.5, 0.5, 2]


def with_eigenvalues(*values) -> tuple[np.ndarray, torch.Tensor]:
    """A rotation, and the tensor with these eigenvalues along its columns as [1, 1, 6]."""
    q = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]
    return q, to_mandel(torch.from_numpy(q @ np.diag(values) @ q.T))[None, None]


@pytest.mark.parametrize("floor", [1.0, 0.0])
def test_links_by_hand(floor):
    """The network's units are a mean of 5 and a spread of 2; eigenvalues -3, -1 and 4 are then -1, 3 and 13."""
    q, six = with_eigenvalues(-3.0, -1.0, 4.0)
    tensor = lambda *values: q @ np.diag(values) @ q.T  # noqa: E731

    def said(link, x=six, mean=5.0, training=False):
        network = DTNet(DTNetConfig((2, 2, 2), link=link, floors=(floor, 9.0))).double().train(training)
        network.output_mean.fill_(mean)
        network.output_scale.fill_(2.0)
        return from_mandel(network.dielectric(x))[0, 0].numpy()

    np.testing.assert_allclose(said("linear"), tensor(-1, 3, 13), atol=1e-12)
    np.testing.assert_allclose(said("clip"), tensor(floor, 3, 13), atol=1e-12)
    np.testing.assert_allclose(said("clip", training=True), tensor(-1, 3, 13), atol=1e-12)
    np.testing.assert_allclose(said("clip", mean=20.0), tensor(14, 18, 28), atol=1e-12)  # nothing to clip: untouched
    np.testing.assert_allclose(said("linear", 0 * six), 5 * np.eye(3), atol=1e-12)
    soft = lambda x: np.log1p(np.exp(x))  # noqa: E731
    for training in (True, False):
        np.testing.assert_allclose(said("softplus", 0 * six, training=training), 5 * np.eye(3), atol=1e-12)  # zero is the mean
        start = np.log(np.expm1((5 - floor) / 2))
        np.testing.assert_allclose(said("softplus", training=training), tensor(*(2 * soft(x + start) + floor for x in (-3, -1, 4))), atol=1e-12)
    np.testing.assert_allclose(said("softplus", 0 * six, mean=floor - 3), (floor + 0.1) * np.eye(3), atol=1e-12)  # a mean below the floor


def test_each_output_has_its_own_units_and_floor():
    _, six = with_eigenvalues(0.5, 0.5, 0.5)
    for link, wanted in (("linear", [-2.0, -1.5]), ("clip", [1.0, 0.0])):
        network = DTNet(DTNetConfig((2, 2, 2), outputs=2, link=link)).double().eval()
        network.output_mean.copy_(torch.tensor([-3.0, -3.0]))
        network.output_scale.copy_(torch.tensor([2.0, 3.0]))
        found = from_mandel(network.dielectric(six.expand(1, 2, 6)))[0].numpy()
        np.testing.assert_allclose(found, np.array(wanted)[:, None, None] * np.eye(3), atol=1e-12)
    assert DTNet(DTNetConfig((2, 2, 2))).floors == (1.0,)  # one output, one floor
    with pytest.raises(ValueError, match="choose linear, clip or softplus"):
        DTNet(DTNetConfig((2, 2, 2), link="relu"))


def test_inputs_are_taken_in_the_units_that_were_fitted():
    features = random_features()
    network = DTNet(DTNetConfig(features.channels, features.edge_channels)).double()
    for name, buffer in network.named_buffers():
        if name.endswith(("_mean", "_scale")):
            buffer.copy_(torch.arange(1.0, 1 + len(buffer)) * (1 if name.endswith("mean") else 2))
    packed = features.pack()
    count = lambda n: torch.arange(1.0, n + 1, dtype=torch.float64)  # noqa: E731
    s, v, t, (receiver, b_s, b_v) = network.scaled(packed)
    torch.testing.assert_close(s, (features.scalars - count(8)) / (2 * count(8)))
    torch.testing.assert_close(v, packed.vectors / (2 * count(6)))
    torch.testing.assert_close(t, packed.tensors / (2 * count(5)))
    torch.testing.assert_close(b_s, (features.edge_scalars - count(4)) / (2 * count(4)))
    torch.testing.assert_close(b_v, packed.edges[2] / (2 * count(3)))
    assert torch.equal(receiver, features.edge_index[1])
    assert DTNet(DTNetConfig(features.channels)).double().scaled(packed)[3] is None  # DTNet-simple leaves bonds alone
    assert network.scaled(features.without_bonds().pack())[3] is None


def test_initial_weights_are_glorot_s_and_shifts_are_zero():
    torch.manual_seed(0)
    network = DTNet(DTNetConfig((40, 30, 20), (12, 10), width=(36, 28, 18), functionals=3, outputs=2))
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            n_out, n_in = module.weight.shape
            bound, size = (6 / (n_in + n_out)) ** 0.5, module.weight.abs().max().item()
            assert size <= bound and (n_in * n_out < 100 or size > 0.97 * bound), name
            assert module.bias is None or (module.bias == 0).all(), name
    assert network.functional.weight.shape == (3, 36) and (network.functional.weight == 0).all()
    assert DTNet(DTNetConfig((4, 3, 2))).functional is None and DTNet(DTNetConfig((4, 3, 2), functionals=2)).functional is not None
    assert network.project[0].bias is not None and network.project[1].bias is None and network.project[2].bias is None
    assert [len(network.blocks), len(DTNet(DTNetConfig((4, 3, 2), blocks=4)).blocks)] == [2, 4]


def test_a_functional_shifts_the_scalars_of_its_crystals():
    features = random_features(edges=None)
    packed = features.pack()
    shift = FunctionalShift(3, 8).double()
    shift.weight.data = torch.arange(24.0, dtype=torch.float64).view(3, 8)
    found = shift.of_atoms(replace(packed, functional=torch.tensor([2, 0, 1])))
    assert torch.equal(found, shift.weight[torch.tensor([2, 2, 2, 0, 1, 1, 1, 1])])
    assert torch.equal(shift.of_atoms(packed), shift.weight[torch.zeros(8, dtype=int)])
    network = DTNet(DTNetConfig(features.channels, functionals=3)).double().eval()
    network.functional.weight.data.normal_()
    moved = replace(packed, scalars=packed.scalars + network.functional.weight[1] - network.functional.weight[0])  # without a name it is the first
    torch.testing.assert_close(network(replace(packed, functional=torch.tensor([1, 1, 1]))), network(moved))


def test_norms_and_multilayer_perceptrons_by_hand():
    x = torch.tensor([[3e-6, 4e-6], [3.0, 4.0], [0.0, 1e-6]], dtype=torch.float64)
    torch.testing.assert_close(safe_norm(x, 1), torch.tensor([26**0.5 * 1e-6 - 1e-6, 5 - 1e-6, 2**0.5 * 1e-6 - 1e-6], dtype=torch.float64), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(safe_norm(x.T, 0), safe_norm(x, 1))
    names = lambda k: [type(m).__name__ for m in MLP(4, 7, 2, k, 0.5)]  # noqa: E731
    assert names(1) == ["Linear"] and names(3) == ["Linear", "SiLU", "Dropout", "Linear", "SiLU", "Dropout", "Linear"]
    shapes = [tuple(p.shape) for p in MLP(4, 7, 2, 3, 0.5).parameters()]
    assert shapes == [(7, 4), (7,), (7, 7), (7,), (2, 7), (2,)] and [tuple(p.shape) for p in MLP(4, 7, 2, 1, 0).parameters()] == [(2, 4), (2,)]
    gated, y = GatedMLP(4, 7, 2, 2, 0.5).eval(), torch.randn(5, 4)
    torch.testing.assert_close(gated(y), gated.value(y) / (1 + torch.exp(-gated.gate(y))))
    assert [m.dropped for m in gated.modules() if isinstance(m, Dropout)] == [128, 128]


def test_dropout_uses_one_byte_of_a_word_for_each_number():
    """So a seed gives the same networks as before: eight decisions a word, rounded up, and no word more."""
    layer = Dropout(0.3)
    for columns in (7, 8):  # 21 and 24 numbers: three words both
        x = torch.arange(1.0, 3 * columns + 1).view(3, columns)
        torch.manual_seed(5)
        found, after = layer(x), torch.rand(1)
        torch.manual_seed(5)
        numbers = torch.empty(3, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)[: x.numel()].view(x.shape)
        assert layer.dropped == 77 and torch.equal(found, torch.where(numbers >= 77, x * (256 / 179), 0)) and torch.equal(after, torch.rand(1))
    assert [Dropout(r).dropped for r in (0, 0.001, 0.2, 0.5, 0.7, 0.9999)] == [0, 0, 51, 128, 179, 255]
    torch.manual_seed(5)
    assert torch.equal(Dropout(0.0)(x), x) and torch.equal(Dropout(0.001)(x), x)
    before = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(before, torch.rand(1))  # nothing was drawn where nothing can be dropped
    half = Dropout(0.5)(x.to(torch.float16))
    assert half.dtype == torch.float16
    for rate in (-0.1, 1.0, 1.5):
        with pytest.raises(ValueError, match="from 0 up to, not including, 1"):
            Dropout(rate)


def test_random_numbers_of_a_seed_stay_what_they_were():
    """A shift draws those of a plain embedding, though it starts at zero; dropout of channels that drops none draws none."""
    torch.manual_seed(3)
    FunctionalShift(3, 8)
    after = torch.rand(1)
    torch.manual_seed(3)
    torch.nn.Embedding(3, 8)
    assert torch.equal(after, torch.rand(1))
    x = torch.ones(300, 20)
    assert ChannelDropout(0.0)(x)[0] is x and 0 < (ChannelDropout(1 / 256)(x)[0] == 0).sum() < 100


def test_input_dropout_acts_in_training_only():
    features = random_features((40,), edges=None)
    network = DTNet(DTNetConfig(features.channels, dropout=0.0, input_dropout=0.5)).double()
    assert not torch.allclose(network(features), network(features)) and torch.equal(network.eval()(features), network(features))
    plain = DTNet(DTNetConfig(features.channels, dropout=0.0)).double()
    assert torch.equal(plain(features), plain(features))


def test_divided_differences_of_near_and_far_eigenvalues():
    """The gradient of softplus(T) along the mixing of two eigenvectors is the divided difference of softplus, however near they are."""
    soft = lambda x: np.log1p(np.exp(x))  # noqa: E731
    for a, b in ((0.5, 0.5 + 1e-7), (0.5, 0.5 + 5e-4), (0.5, 0.502), (0.3, 1.7), (-2.0, 3.0)):
        tensor = torch.diag(torch.tensor([a, b, 9.0], dtype=torch.float64)).requires_grad_(True)
        (2 * links.spectral_softplus(tensor)[0, 1]).backward()
        slope = (soft(b) - soft(a)) / (b - a) if b - a > 1e-6 else 1 / (1 + np.exp(-a))
        assert float(tensor.grad[0, 1]) == pytest.approx(slope, rel=1e-6) and float(tensor.grad[1, 0]) == pytest.approx(slope, rel=1e-6)


def test_readout_features_pool_to_invariants_by_hand():
    """Two crystals: weighted means and deviations of scalars, weighted means of norms; a constant channel has no deviation."""
    scalars = torch.tensor([[1.0, 5.0], [3.0, 5.0], [7.0, 1.0]])
    vectors = torch.zeros(3, 3, 1)
    vectors[0, :, 0], vectors[1, :, 0] = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    tensors = torch.zeros(3, 6, 1)
    tensors[2, :, 0] = torch.tensor([2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    packed = Packed(scalars, vectors, tensors, torch.tensor([0, 0, 1]), torch.tensor([0.25, 0.75, 1.0]), 2)
    deviation = (0.25 * 1.5**2 + 0.75 * 0.5**2) ** 0.5
    expected = torch.tensor([[2.5, 5.0, deviation, 0.0, 2.0, 0.0], [7.0, 1.0, 0.0, 0.0, 0.0, 2.0]])
    torch.testing.assert_close(pooled(packed), expected)


def test_readout_dropout_keeps_its_share_to_the_256th():
    torch.manual_seed(0)
    kept = Dropout(0.5).train()(torch.ones(2_000_000))
    assert (kept > 0).double().mean().item() == pytest.approx(0.5, abs=1.5e-3)  # one of 256 more would be 0.004
    assert kept.double().mean().item() == pytest.approx(1.0, abs=3e-3)


def test_readout_units_leave_bonds_alone_that_a_network_does_not_take():
    packed = Packed(torch.randn(3, 2), torch.randn(3, 3, 1), torch.randn(3, 6, 1), torch.tensor([0, 0, 1]), torch.tensor([0.5, 0.5, 1.0]), 2)
    bonded = replace(packed, edges=(torch.tensor([0, 1]), torch.randn(2, 4), torch.randn(2, 3, 1)))
    targets = torch.eye(3).expand(2, 3, 3) * torch.tensor([2.0, 4.0])[:, None, None]
    plain, other = DTNet(DTNetConfig((2, 1, 1))), DTNet(DTNetConfig((2, 1, 1)))
    plain.fit_scales(packed, targets)
    other.fit_scales(bonded, targets)
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), other.buffers(), strict=True))
