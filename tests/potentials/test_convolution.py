"""The fast convolution against the network's own, for a crystal and its inversion."""

import pytest
import torch

from dtnet_core.potentials import convolution
from dtnet_core.potentials.graph import batches_by_edges
from dtnet_core.potentials.parts import default_dtype
from dtnet_core.potentials.sevennet import SevenNet, _odd_slots


@pytest.mark.parametrize("name", ["7net-0", "7net-l3i5"])
def test_same_sums_and_messages_as_the_network(name, crystals, monkeypatch):
    monkeypatch.setattr(convolution, "BONDS_AT_ONCE", 37)  # several pieces, the last one smaller
    encoder = SevenNet(name, torch.float64)
    graph = next(batches_by_edges(crystals[:2], encoder.cutoff, 10_000))
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        embed = encoder._embed(graph)
        odd = _odd_slots(encoder._modules["edge_embedding"].spherical.irreps_out)
        harmonics = [embed["edge_attr"], torch.where(odd, -embed["edge_attr"], embed["edge_attr"])]
        for n in encoder.layers[1:]:
            module = encoder._modules[f"{n - 1}_convolution"]
            width = module.convolution.irreps_in1.dim
            x = torch.randn(2, len(graph.numbers), width, generator=generator, dtype=torch.float64)
            kept = []
            hook = module.convolution.register_forward_hook(
                lambda m, inputs, output, kept=kept: kept.append(output)
            )
            expected = [module(dict(embed, x=x[i], edge_attr=harmonics[i]))["x"] for i in (0, 1)]
            hook.remove()
            bonds = (
                embed["edge_embedding"],
                embed["edge_attr"],
                embed["edge_index"][1],
                embed["edge_index"][0],
            )
            sums, messages = encoder._convolutions[n](x, *bonds, keep=True)
            torch.testing.assert_close(sums, torch.stack(expected), rtol=1e-11, atol=1e-12)
            torch.testing.assert_close(messages, torch.stack(kept), rtol=1e-11, atol=1e-12)
            alone, nothing = encoder._convolutions[n](x[:1], *bonds)
            torch.testing.assert_close(alone[0], expected[0], rtol=1e-11, atol=1e-12)
            assert nothing is None


@pytest.mark.parametrize("layer", [1, 3])
def test_same_gradients_as_the_network(layer, crystals, monkeypatch):
    """Of a sum with random weights, by features, bonds and learned weights alike."""
    monkeypatch.setattr(convolution, "BONDS_AT_ONCE", 37)
    encoder = SevenNet("7net-0", torch.float64)
    graph = next(batches_by_edges(crystals[:2], encoder.cutoff, 10_000))
    embed, module = encoder._embed(graph), encoder._modules[f"{layer - 1}_convolution"]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, len(graph.numbers), module.convolution.irreps_in1.dim, generator=generator, dtype=torch.float64)
    by = [x, embed["edge_embedding"], embed["edge_attr"], *module.requires_grad_().weight_nn.parameters()]
    for tensor in by:
        tensor.requires_grad_()
    neighbour, centre = embed["edge_index"].flip(0)
    ours, _ = encoder._convolutions[layer](x, embed["edge_embedding"], embed["edge_attr"], neighbour, centre)
    expected = module(dict(embed, x=x[0]))["x"]
    some = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    found, wanted = (torch.autograd.grad((some * sums).sum(), by) for sums in (ours[0], expected))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)


def test_a_product_with_weights_that_are_given():
    """Nequix' kind: parities, l = 3, paths sorted by what they give."""
    from e3nn import o3

    inputs, harmonics = o3.Irreps("4x0e + 3x1o + 2x2e + 2x3o"), o3.Irreps.spherical_harmonics(3)
    paths = [(i, j, ir) for i, (_, a) in enumerate(inputs) for j, (_, b) in enumerate(harmonics) for ir in a * b if ir in inputs]
    outputs, order, _ = o3.Irreps([(inputs[i].mul, ir) for i, _, ir in paths]).sort()
    instructions = sorted((i, j, order[k], "uvu", True) for k, (i, j, _) in enumerate(paths))
    with default_dtype(torch.float64):
        product = o3.TensorProduct(inputs, harmonics, outputs, instructions[::-1], shared_weights=False, internal_weights=False)
    random = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # noqa: E731
    x, y, w, ends = random(5, inputs.dim), random(300, harmonics.dim), random(300, product.weight_numel), torch.arange(600).view(2, 300) % 7 % 5
    expected = torch.zeros(5, outputs.dim, dtype=torch.float64).index_add(0, ends[1], product(x[ends[0]], y, w))
    for weights in (w, w.clone().requires_grad_()):
        torch.testing.assert_close(convolution.Convolution(product, torch.float64)(x[None], weights, y, ends[0], ends[1])[0][0], expected, rtol=1e-11, atol=1e-11)


def test_unknown_kinds_of_paths_are_refused():
    from e3nn import o3

    with pytest.raises(NotImplementedError, match="not of the kind"):
        convolution.Convolution(o3.FullyConnectedTensorProduct("2x0e", "1x0e", "2x0e"), torch.float64)
