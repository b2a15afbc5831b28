"""The trainable encoders: equivariance, smoothness, which weights train, runs that survive a kill."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.base.results import load_results
from dtnet_core.data.cleaning import clean
from dtnet_core.data.loading import load_records
from dtnet_core.features import split_crystals
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.training.loop import Run, TrainConfig
from dtnet_core.training.scratch.convolution import TeaNetConfig
from dtnet_core.training.scratch.experiment import ScratchExperiment, run_scratch
from dtnet_core.training.scratch.fit import ScratchNet, build_graphs, predict_scratch
from dtnet_core.training.scratch.orbit_graph import build_orbit_graph, merge_orbit_graphs
from dtnet_core.training.scratch.sevennet import FreshSevenNet
from dtnet_core.training.scratch.teanet import TeaNet
from tests.conftest import CRYSTALS, random_rotation, turn

SMALL = TeaNetConfig(scalars=16, vectors=8, tensors=6, bond_scalars=8, bond_vectors=5, hidden=16, radial=8)
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
}  # largest error over the largest element of the tensor


def graph_of(structures, reduce=False, cutoff=6.0):
    return merge_orbit_graphs([build_orbit_graph(s, cutoff, reduce) for s in structures])


@pytest.fixture(scope="module", params=["float64", "float32"])
def dtype(request) -> torch.dtype:
    return getattr(torch, request.param)


@pytest.fixture(scope="module", params=[("DTNet", 5), ("DTNet", 4), ("DTNet-simple", 2)], ids=str)
def predict(request, dtype):
    """A function from structures to tensors [B, 3, 3], with random weights and every path active."""
    model, layer = request.param
    torch.manual_seed(0)
    encoder = TeaNet(SMALL).to(dtype)
    readout = DTNet(DTNetConfig(encoder.channels, encoder.edge_channels if model == "DTNet" else None, initial_anisotropy=3.0))
    readout = readout.to(dtype).eval()
    with torch.no_grad():
        examples = encoder(graph_of([make() for make in CRYSTALS.values()]), layer)
        values = torch.tensor([[2.0] * 3, [4.0] * 3, [9.0] * 3, [5.0] * 3])
        readout.fit_scales(examples.pack(), torch.diag_embed(values))

    def from_structures(structures):
        with torch.no_grad():
            return readout(encoder(graph_of(structures), layer)).numpy()

    return from_structures


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_turns_with_the_crystal(predict, dtype, crystals):
    turns = [random_rotation(7), -random_rotation(8), np.diag([1.0, -1.0, 1.0]), -np.eye(3)]
    tensors = predict(crystals)
    for matrix in turns:
        turned = predict([turn(c, matrix) for c in crystals])
        for before, after in zip(tensors, turned, strict=True):
            assert relative(after, matrix @ before @ matrix.T) < TOLERANCE[dtype]
            assert relative(after, after.T) < TOLERANCE[dtype]
    assert np.ptp(np.linalg.eigvalsh(tensors[0])) < 1e-4 * np.abs(tensors[0]).max()  # cubic
    for tensor in tensors[1:]:  # equivariance would be easy to pass with isotropic output
        assert np.ptp(np.linalg.eigvalsh(tensor)) > 1e-3 * np.abs(tensor).max()


def test_sees_the_crystal_not_its_description(predict, dtype, crystal):
    order = np.random.default_rng(1).permutation(len(crystal))
    species, x = crystal.species, crystal.frac_coords
    permuted = Structure(crystal.lattice, [species[i] for i in order], x[order])
    shifted = Structure(crystal.lattice, species, x + np.array([0.31, -0.17, 2.63]))
    shear = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])  # unimodular: another primitive cell
    other = Structure(Lattice(shear @ crystal.lattice.matrix), species, x @ np.linalg.inv(shear))
    supercell = crystal.make_supercell((2, 1, 2), in_place=False)
    tensor, *others = predict([crystal, permuted, shifted, other, supercell])
    for again in others:
        assert relative(again, tensor) < TOLERANCE[dtype]
    assert relative(predict([crystal])[0], tensor) < TOLERANCE[dtype]  # alone or in a batch


def test_features_are_odd_and_even_under_inversion(crystals):
    torch.manual_seed(0)
    encoder = TeaNet(SMALL).double()
    for layer in range(1, 6):
        before = encoder(graph_of(crystals), layer)
        after = encoder(graph_of([turn(c, -np.eye(3)) for c in crystals]), layer)
        assert before.channels == encoder.channels and before.edge_channels == encoder.edge_channels
        for part, sign in (("scalars", 1), ("vectors", -1), ("tensors", 1)):
            torch.testing.assert_close(
                getattr(after, part), sign * getattr(before, part), rtol=1e-9, atol=1e-11
            )
        bonds = split_crystals(before)[3]
        assert bonds.edge_index.max() < 4 and bonds.edge_vectors.abs().max() > 1e-3
        for part in ("edge_scalars", "edge_vectors"):  # no bond is its own inverse: compare sums
            sums = [getattr(f, part).sum(0) for f in (before, after)]
            sign = -1 if part == "edge_vectors" else 1
            torch.testing.assert_close(sums[1], sign * sums[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [lambda: TeaNet(SMALL), FreshSevenNet], ids=["teanet", "7net-0"])
def test_one_atom_an_orbit_gives_the_tensor_of_all_atoms(make, crystals):
    """Also in another frame, and for a supercell, whose translations are operations as well."""
    torch.manual_seed(0)
    network = ScratchNet(make()).eval()
    matrix = -random_rotation(5)
    cells = [turn(c, matrix) for c in [*crystals, crystals[1] * (1, 2, 1), crystals[0] * (2, 2, 2)]]
    whole, reduced = graph_of(cells), graph_of(cells, reduce=True)
    assert len(reduced.lengths) < 0.5 * len(whole.lengths)
    with torch.no_grad():
        network.readout.fit_scales(
            network.packed(whole), torch.eye(3).repeat(6, 1, 1) * torch.arange(1, 7)[:, None, None]
        )
        first, second = network(whole), network(reduced)
        originals = network(graph_of(crystals))
    for a, b in zip(first, second, strict=True):
        assert relative(b.numpy(), a.numpy()) < 1e-3
    for a, b in zip(originals, second[:4], strict=True):  # and turns, with all reflections
        assert relative(matrix.T @ b.numpy() @ matrix, a.numpy()) < 1e-3
    for a, b in ((0, 5), (1, 4)):
        assert relative(second[b].numpy(), second[a].numpy()) < 1e-3


@pytest.mark.parametrize("cutoff", [3.0, 4.0, 6.0])
def test_smooth_where_an_atom_crosses_a_cutoff(cutoff):
    """What a bond adds vanishes as the square of its distance from the cutoff, bond features included."""
    torch.manual_seed(0)
    encoder = TeaNet(SMALL).double()

    def features(distance):
        pair = Structure(Lattice.cubic(30), ["Na", "Cl", "O"], [[0, 0, 0], [distance, 0, 0], [0, 1.9, 0.3]],
                         coords_are_cartesian=True)  # fmt: skip
        with torch.no_grad():
            f = encoder(graph_of([pair]))
        bonds = [torch.zeros(3, *x.shape[1:], dtype=x.dtype).index_add(0, f.edge_index[1], x)
                 for x in (f.edge_scalars, f.edge_vectors)]  # fmt: skip
        return torch.cat([x.flatten() for x in (f.scalars, f.vectors, f.tensors, *bonds)])

    h = 1e-4
    below, at, above = features(cutoff - h), features(cutoff), features(cutoff + h)
    slope_below, slope_above = (at - below) / h, (above - at) / h
    assert (above - below).abs().max() < 100 * h
    assert (slope_above - slope_below).abs().max() < 100 * h  # the first derivative has no step
    assert (features(cutoff - 0.5) - at).abs().max() > 1e-4  # the distance does matter


def test_a_layer_trains_itself_and_those_before_it(crystals):
    torch.manual_seed(0)
    encoder, graph = TeaNet(SMALL), graph_of(crystals)
    for layer in range(1, 6):
        encoder.zero_grad()
        f = encoder(graph, layer)
        parts = (f.scalars, f.vectors, f.tensors, f.edge_scalars, f.edge_vectors)
        sum((x * torch.randn_like(x)).sum() for x in parts).backward()
        for name, parameter in encoder.named_parameters():
            used = name.startswith("embedding") or int(name.split(".")[1]) < layer
            has = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
            assert has == used, (layer, name)
    with pytest.raises(ValueError, match="layer is 6"):
        encoder(graph, 6)
    with pytest.raises(ValueError, match="reduce=False"):
        encoder(graph_of(crystals, reduce=True))


def test_atoms_without_neighbours():
    lone = Structure(Lattice.cubic(20), ["Ar"], [[0, 0, 0]])
    torch.manual_seed(0)
    encoder = TeaNet(SMALL).double()
    alone, batch = encoder(graph_of([lone])), encoder(graph_of([lone, CRYSTALS["cubic"]()]))
    assert alone.edge_index.shape == (2, 0) and alone.vectors.abs().max() == 0
    torch.testing.assert_close(alone.scalars[0], batch.scalars[0])


@pytest.fixture(scope="module")
def mini():
    records = clean(load_records("mini"))[0][:20]
    return records, build_graphs([r.structure for r in records], progress=False)


@pytest.mark.parametrize("encoder, model", [("teanet", "DTNet"), ("7net-0", "DTNet-simple")])
def test_a_killed_run_goes_on_to_the_same_weights(mini, tmp_path, monkeypatch, encoder, model):
    records, graphs = mini
    experiment = ScratchExperiment(
        "total", encoder, 2, model, train=TrainConfig(1e-3, batch_size=8, max_epochs=3)
    )
    where = {"results": tmp_path / "results.json", "progress": False}
    (whole,) = run_scratch(experiment, [0], records, graphs, "sum", cache_dir=tmp_path / "a", **where)
    assert whole["encoder"] == f"{encoder}-scratch" and whole["layer"] == "2" and whole["epochs"] == 3
    assert whole["budget"]["ended_by"] == "epochs" and not whole["stopped_early"]
    assert whole["mae_ten"] == whole["by_system"]["all"]["mae_ten"] > 0
    assert whole["history"]["train"][-1] < whole["history"]["train"][0]
    assert run_scratch(experiment, [0], records, graphs, "sum", cache_dir=tmp_path / "b", **where) == [whole]
    assert load_results(where["results"]) == [whole]

    one_epoch = Run.one_epoch

    def dies_in_epoch_2(self, *rest):
        if self.epoch == 1:
            raise KeyboardInterrupt
        one_epoch(self, *rest)

    again = {"cache_dir": tmp_path / "b", "progress": False}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "one_epoch", dies_in_epoch_2)
        run_scratch(experiment, [0], records, graphs, "sum", **again)
    (resumed,) = run_scratch(experiment, [0], records, graphs, "sum", **again)
    assert resumed["history"] == whole["history"] and resumed["mae_ten"] == whole["mae_ten"]
    states = [torch.load(next((tmp_path / k / "runs").glob("*.pt")), weights_only=True) for k in "ab"]
    for part in ("network", "best_state"):
        for x, y in zip(states[0][part].values(), states[1][part].values(), strict=True):
            assert torch.equal(x, y)


def test_the_clock_ends_a_run_and_more_time_goes_on(mini, tmp_path):
    records, graphs = mini
    experiment = ScratchExperiment(
        layer=1, train=TrainConfig(1e-3, batch_size=8, max_epochs=3), max_hours=0.0
    )
    (short,) = run_scratch(experiment, [0], records, graphs, "sum", cache_dir=tmp_path, progress=False)
    assert (short["epochs"], short["budget"]["ended_by"]) == (1, "hours")
    longer = replace(experiment, max_hours=None)
    (run,) = run_scratch(longer, [0], records, graphs, "sum", cache_dir=tmp_path, progress=False)
    assert run["epochs"] == 3 and run["history"]["train"][0] == short["history"]["train"][0]
    tensors = predict_scratch(ScratchNet(TeaNet(depth=1)), graphs[:3], batch_size=2)
    assert tensors.shape == (3, 3, 3)


def test_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="teanet, 7net-0"):
        ScratchExperiment(encoder="PFP")
    with pytest.raises(ValueError, match="never decrease"):
        TeaNetConfig(cutoffs=(3.0, 6.0, 4.0))
    with pytest.raises(ValueError, match="DTNet-simple"):
        ScratchNet(FreshSevenNet(1), bonds=True)
    with pytest.raises(ValueError, match="layers 1 to 5"):
        FreshSevenNet(6)
