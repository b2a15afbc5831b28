"""Baselines: the same symmetries as DTNet, the numbers of the libraries they come from, runs that survive a kill."""

import json
import mmap
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from e3nn import o3
from pymatgen.core import Lattice, Structure

from dtnet_core.base.cost import forget_peak_memory, peak_memory_mb
from dtnet_core.base.results import load_results
from dtnet_core.baselines import experiment as module
from dtnet_core.baselines import price, search
from dtnet_core.baselines.experiment import NETWORKS, BaselineExperiment, Shared, run_baseline
from dtnet_core.baselines.m3gnet import M3GNet, matgl
from dtnet_core.baselines.painn import PaiNN
from dtnet_core.baselines.same_material import measure
from dtnet_core.baselines.tensor_field import MATTEN, TensorField, TensorFieldConfig, wigner
from dtnet_core.crystals.symmetry import CRYSTAL_SYSTEMS
from dtnet_core.data.splits import draw_split
from dtnet_core.metrics import metrics_by_system, scalar_constant
from dtnet_core.potentials.packages import import_bare
from dtnet_core.potentials.parts import restore_double_constants
from dtnet_core.report import figures
from dtnet_core.report.table2 import budgets, cells, missing, table2, verdict, wins, with_ends
from dtnet_core.training.loop import Run, TrainConfig
from dtnet_core.training.scratch.fit import ScratchNet
from dtnet_core.training.scratch.orbit_graph import OrbitGraph, build_orbit_graph, merge_orbit_graphs
from dtnet_core.training.scratch.teanet import TeaNet
from tests.command import dtnet
from tests.conftest import CRYSTALS, random_rotation, turn

_FIELD = TensorFieldConfig("8x0e+8x0o+4x1o+4x1e+3x2e+3x2o+2x3o+2x3e", 3, 2, 6, "smooth_finite", (16,), 8)
SMALL = {
    "PaiNN": lambda: PaiNN(16),
    "PaiNN-local": lambda: PaiNN(16, positions="bonds"),
    "M3GNet": lambda: M3GNet(16),
    "MatTen": lambda: TensorField(replace(MATTEN, hidden="8x0e+8x0o+4x1o+4x1e+3x2e+3x2o")),
    "AnisoNet": lambda: TensorField(_FIELD),
}
"""Each with all its kinds of paths, and small."""
DTYPES = (torch.float64, torch.float32)
SINGLE = {"PaiNN": 1e-5, "PaiNN-local": 1e-5, "M3GNet": 1e-5, "MatTen": 2e-4, "AnisoNet": 1e-5}


def tolerance(name: str, dtype: torch.dtype) -> float:
    """Largest error over the largest element that rounding may make, with some room.

    In float32 as DTNet's, but for MatTen, whose sums over thirty bonds of both signs cancel to small tensors.
    """
    return 1e-12 if dtype == torch.float64 else SINGLE[name]


REDUCED = 1e-6  # crystals are symmetric to this accuracy only: 0.4697 and the like are rounded positions
EXACT = [name for name in SMALL if name != "PaiNN"]


def graph_of(structures, reduce=False):
    return merge_orbit_graphs([build_orbit_graph(s, 6.0, reduce) for s in structures])


def make(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(1)
    network = SMALL[name]().to(dtype).eval()
    if dtype == torch.float64:
        restore_double_constants(network)
    for part in network.modules():
        if hasattr(part, "alpha"):  # e3nn starts with half of the paths at zero
            torch.nn.init.normal_(part.alpha.weight, std=0.5)
    return network


@pytest.fixture(scope="module", params=list(SMALL))
def networks(request) -> dict:
    return {dtype: make(request.param, dtype) for dtype in DTYPES} | {"name": request.param}


def predict(network, structures, reduce=False) -> np.ndarray:
    with torch.inference_mode():
        return network(graph_of(structures, reduce)).numpy()


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_turns_with_the_crystal(networks, crystals, dtype):
    network, largest = networks[dtype], tolerance(networks["name"], dtype)
    tensors = predict(network, crystals)
    for matrix in (random_rotation(7), -random_rotation(8), np.diag([1.0, -1.0, 1.0])):
        turned = predict(network, [turn(c, matrix) for c in crystals])
        for before, after in zip(tensors, turned, strict=True):
            assert relative(after, matrix @ before @ matrix.T) < largest
            assert relative(after, after.T) < largest
    assert np.ptp(np.linalg.eigvalsh(tensors[0])) < 1e-4 * np.abs(tensors[0]).max()  # cubic
    assert np.ptp(np.linalg.eigvalsh(tensors[3])) > 1e-3 * np.abs(tensors[3]).max()  # and not isotropic by accident


def descriptions(crystal: Structure) -> dict[str, Structure]:
    """The same crystal, written down in other ways."""
    order = np.random.default_rng(1).permutation(len(crystal))
    species, x = crystal.species, crystal.frac_coords
    shear = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])  # unimodular: another primitive cell
    return {
        "permuted": Structure(crystal.lattice, [species[i] for i in order], x[order]),
        "shifted": Structure(crystal.lattice, species, (x + np.array([0.31, -0.17, 2.63])) % 1.0),
        "other cell": Structure(Lattice(shear @ crystal.lattice.matrix), species, (x @ np.linalg.inv(shear)) % 1.0),
        "supercell": crystal.make_supercell((2, 1, 2), in_place=False),
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sees_the_crystal_not_its_description(networks, crystals, dtype):
    network, name = networks[dtype], networks["name"]
    largest = tolerance(name, dtype)
    for crystal in crystals:
        tensor, *others = predict(network, [crystal, *descriptions(crystal).values()])
        errors = {k: relative(t, tensor) for k, t in zip(descriptions(crystal), others, strict=True)}
        assert relative(predict(network, [crystal])[0], tensor) < largest  # alone or in a batch
        if name == "PaiNN":  # what Eq. 7 as printed keeps
            errors = {k: errors[k] for k in ("permuted", "supercell")}
        assert max(errors.values()) < largest, errors


def test_the_printed_head_depends_on_how_the_cell_lists_its_atoms():
    """Why PaiNN-local exists; should this ever fail, the notebook's remark on Eq. 7 is wrong."""
    crystal = CRYSTALS["triclinic"]()
    tensor, *others = predict(make("PaiNN", torch.float64), [crystal, *descriptions(crystal).values()])
    errors = dict(zip(descriptions(crystal), [relative(t, tensor) for t in others], strict=True))
    assert errors["shifted"] > 1e-3 and errors["other cell"] > 1e-3
    assert max(errors["permuted"], errors["supercell"]) < tolerance("PaiNN", torch.float64)


def test_one_atom_an_orbit_gives_the_tensor_of_all_atoms(networks, crystals):
    network = networks[torch.float64]
    cells = [turn(c, -random_rotation(5)) for c in [*crystals, crystals[1] * (1, 2, 1)]]
    assert len(graph_of(cells, True).lengths) < 0.6 * len(graph_of(cells).lengths)
    for all_atoms, reduced in zip(predict(network, cells), predict(network, cells, True), strict=True):
        assert relative(reduced, all_atoms) < REDUCED


def test_wigner_matrices_are_e3nns():
    rotations = torch.stack([torch.from_numpy(random_rotation(i)) for i in range(4)])
    for l in (1, 2, 3):
        irrep = o3.Irrep(l, (-1) ** l)
        expected = torch.stack([irrep.D_from_matrix(r) for r in rotations])
        found = wigner(l, rotations)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # e3nn's angles have single precision
        torch.testing.assert_close(wigner(l, -rotations), (-1) ** l * found, rtol=1e-10, atol=1e-10)
        identity = torch.eye(2 * l + 1, dtype=torch.float64).expand(4, -1, -1)
        torch.testing.assert_close(found @ found.transpose(1, 2), identity, rtol=1e-10, atol=1e-10)


def test_painn_is_schnetpacks(crystals):
    network, graph = make("PaiNN"), graph_of(crystals).cut(5.0)
    inputs = {
        "_atomic_numbers": graph.numbers, "_Rij": graph.vectors.float(), "_idx_i": graph.receiver, "_idx_j": graph.neighbour,
    }  # fmt: skip
    with torch.no_grad():
        theirs, (q, mu) = network.core(inputs), network.features(graph)
    torch.testing.assert_close(q, theirs["scalar_representation"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mu, theirs["vector_representation"], rtol=1e-4, atol=1e-5)


def test_the_tensor_field_network_is_e3nns(crystals):
    network, graph = make("AnisoNet"), graph_of(crystals).cut(5.0)
    with torch.no_grad():
        species = network.species(graph.numbers)
        radial, harmonics = network.bonds(graph.lengths, graph.vectors)
        theirs = network.core(species, species, graph.neighbour, graph.receiver, harmonics, radial)
        torch.testing.assert_close(network.features(graph), theirs, rtol=1e-4, atol=1e-4)


def test_m3gnets_tensor_is_the_strain_derivative_of_matgls_scalar(crystals):
    """By finite differences of the energy that matgl's own forward gives for strained positions and cells."""
    network = make("M3GNet", torch.float64)

    def energies(strain: np.ndarray) -> np.ndarray:
        found = []
        for crystal in crystals:
            strained = Structure(Lattice(crystal.lattice.matrix @ (np.eye(3) + strain)), crystal.species, crystal.frac_coords)
            graph = build_orbit_graph(crystal, 5.0, reduce=False)  # the bonds of the crystal at rest
            order = torch.argsort(graph.receiver, stable=True)
            pair = torch.stack([graph.receiver, graph.neighbour])[:, order]
            at_rest, moved = (torch.from_numpy(s.cart_coords) for s in (crystal, strained))
            shift = graph.vectors[order] - (at_rest[pair[1]] - at_rest[pair[0]])
            data = SimpleNamespace(node_type=graph.numbers - 1, pos=moved, edge_index=pair, pbc_offshift=shift @ torch.from_numpy(np.eye(3) + strain))
            with torch.no_grad():
                found.append(float(network.core(data)) / len(crystal))
        return np.array(found)

    h, tensors = 1e-5, predict(network, crystals)
    for i, j in ((0, 0), (1, 2)):
        step = np.zeros((3, 3))
        step[i, j] += h / 2
        step[j, i] += h / 2
        slope = (energies(step) - energies(-step)) / (2 * h)
        np.testing.assert_allclose(tensors[:, i, j], slope, rtol=1e-4, atol=1e-6 * np.abs(tensors).max())
    assert matgl()[0].__name__ == "matgl.models._m3gnet" and "matgl" not in sys.modules


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Shared:
    """Twenty crystals of the kit's own set."""
    found = Shared("mini", cache_dir=tmp_path_factory.mktemp("cache"), progress=False)
    found.records = found.records[:20]
    return found


def test_graphs_are_kept_on_disk(shared):
    again = Shared("mini", cache_dir=shared.cache_dir, progress=False)
    again.records, first = shared.records, shared.graphs
    (path,) = (shared.cache_dir / "graphs").iterdir()
    for a, b in zip(first, again.graphs, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    path.write_bytes(path.read_bytes()[:100])
    again = Shared("mini", cache_dir=shared.cache_dir, progress=False)
    again.records = shared.records
    with pytest.warns(UserWarning, match="built anew"):
        assert len(again.graphs) == 20


@pytest.mark.parametrize("name", [*(n for n in NETWORKS if n != "M3GNet"), "TeaNet"])
def test_trains_on_another_device(crystals, monkeypatch, name):
    """On torch's "meta" device, where an operation with a tensor left on the CPU fails. (matgl's line graphs count, which it cannot.)"""
    graph = graph_of(crystals[:2], reduce=True)
    network = ScratchNet(TeaNet(depth=2), bonds=True) if name == "TeaNet" else SMALL[name]()
    monkeypatch.setattr(OrbitGraph, "within", lambda graph, _: len(graph.lengths))
    six = network.to("meta").forward_mandel(graph.cut(network.reach).to("meta"))
    six.sum().backward()
    assert (six.device.type, six.shape) == ("meta", (2, 1, 6))
    assert any(p.grad is not None and p.grad.device.type == "meta" for p in network.parameters())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_learns_a_few_crystals_and_survives_a_kill(shared, tmp_path, monkeypatch, name):
    monkeypatch.setitem(module.NETWORKS, name, SMALL[name])
    experiment = BaselineExperiment(name, train=TrainConfig(3e-3, batch_size=8, max_epochs=12))
    results, one_epoch = tmp_path / "results.json", Run.one_epoch

    def dies_in_epoch_3(self, *rest):
        if self.epoch == 2:
            raise KeyboardInterrupt
        one_epoch(self, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "one_epoch", dies_in_epoch_3)
        run_baseline(experiment, [0], shared, results)
    (run,) = run_baseline(experiment, [0], shared, results)
    assert run["history"]["train"][-1] < 0.9 * run["history"]["train"][0]
    assert (run["model"], run["encoder"], run["split"], run["epochs"]) == (name, None, "record", 12)
    assert run["budget"]["ended_by"] == "epochs" and run["cost"]["peak_memory_mb"] > 100
    assert run["mae_ten"] == run["by_system"]["all"]["mae_ten"] > 0
    assert run_baseline(experiment, [0], None, results) == [run]  # from the file, nothing trained
    # The whole run at once: the same numbers as the one that was killed.
    (again,) = run_baseline(experiment, [0], shared, resume=False)
    assert again["history"] == run["history"] and again["mae_ten"] == run["mae_ten"]


def test_references_and_shares_of_the_training_set(shared, tmp_path):
    labels = np.array([r.tensor("total") for r in shared.records])
    for name, kind in module.REFERENCES.items():
        whole, half = (BaselineExperiment(name, fraction=f) for f in (1.0, 0.5))
        (run,) = run_baseline(whole, [1], shared, tmp_path / "r.json")
        (part,) = run_baseline(half, [1], shared, tmp_path / "r.json")
        assert (run["n_train"], part["n_train"]) == (16, 8) and part["split"] == "record:0.5"
        assert (run["encoder"], run["layer"]) == kind.inputs
        assert set(half.parts(shared.records, 1)["train"]) < set(whole.parts(shared.records, 1)["train"])
        reference = shared.reference(name)
        reference.fit(labels, np.arange(18), np.arange(18, 20), 0)
        known = reference.predict(np.arange(18))
        error = np.abs(scalar_constant(known) - scalar_constant(labels[:18])).mean()
        spread = np.abs(scalar_constant(labels[:18]) - np.median(scalar_constant(labels[:18]))).mean()
        assert error < spread
    assert len(load_results(tmp_path / "r.json")) == 6


def test_the_ridge_turns_with_the_crystal(shared, crystals):
    """Fitted on the crystals as they are, asked for them turned."""
    matrix = -random_rotation(3)
    records = [replace(r, structure=s) for r, s in zip(shared.records, crystals * 2, strict=False)]
    records = records[:4] + [replace(r, structure=turn(s, matrix)) for r, s in zip(records[:4], crystals, strict=True)]
    ridge = module.REFERENCES["ridge"](records, shared.cache_dir, False)
    labels = np.array([r.tensor("total") for r in records])
    ridge.fit(labels, np.arange(3), np.array([3]), 0)
    before, after = ridge.predict(np.arange(4)), ridge.predict(np.arange(4, 8))
    for a, b in zip(before, after, strict=True):
        assert relative(b, matrix @ a @ matrix.T) < 1e-4


def test_search_is_a_function_of_its_seed_and_prices_buy_epochs(shared, tmp_path, monkeypatch):
    monkeypatch.setitem(module.NETWORKS, "PaiNN", SMALL["PaiNN"])
    experiment = BaselineExperiment("PaiNN", train=TrainConfig(batch_size=8, max_epochs=2))
    first = search.search(experiment, 3, shared)
    again = search.search(experiment, 3, shared)  # from the checkpoints
    assert first["trials"] == again["trials"] and len(first["trials"]) == 3
    best = min(first["trials"], key=lambda t: t["validation_mae_ten"])
    assert first["learning_rate"] == best["learning_rate"]
    path = tmp_path / "search.json"
    for _ in range(2):
        search.keep(first, path)
    assert len(load_results(path)) == 1
    assert search.tuned("PaiNN", "ionic", "mini", path) == first["learning_rate"]
    assert search.tuned("M3GNet", "ionic", "mini", path) == module.TRAIN.learning_rate

    monkeypatch.setattr(search, "search", lambda *_: pytest.fail("a finished search is repeated"))
    search.keep(first | {"train": asdict(replace(module.TRAIN, max_epochs=2, patience=2))}, path)
    assert dtnet("baselines", "search", "--model", "PaiNN", "--profile", "mini", "--trials", "3", "--max-epochs", "2", "--results", path) == 0

    record = price.measure("PaiNN", "mini", shared=shared)
    assert record["parameters"] > 0 and record["seconds_per_epoch"] > 0
    path.write_text(json.dumps([record | {"seconds_per_epoch": 36.0}]))
    assert dtnet("baselines", "price", "--model", "PaiNN", "--profile", "mini", "--results", path) == 0  # known: not measured again
    assert price.epochs_within("PaiNN", 0.5, "mini", path=path) == 50
    assert price.epochs_within("PaiNN", 0.5, "mini", 0.25, path) == 200
    assert price.epochs_within("PaiNN", 100, "mini", path=path) == price.MOST_EPOCHS
    with pytest.raises(ValueError, match=r"no measurement of M3GNet.*dtnet baselines price"):
        price.epochs_within("M3GNet", 1, "mini", path=path)
    assert price.parse_budget("7 epochs", "M3GNet", "mini", path) == 7
    assert price.parse_budget("0.5 hours", "PaiNN", "mini", path) == 50
    for text in ("7", "seven epochs", "-1 hours"):
        with pytest.raises(ValueError, match=r"0\.25 hours"):
            price.parse_budget(text, "PaiNN", "mini", path)


def test_table2_beside_the_papers():
    systems = [*CRYSTAL_SYSTEMS, *CRYSTAL_SYSTEMS]
    truth = np.random.default_rng(0).uniform(2, 9, (14, 1, 1)) * np.eye(3)

    def run(model, target, seed, error, **more):
        by_system = metrics_by_system(truth, truth + error * (1 + seed) * np.eye(3), systems)
        by_system["cubic"]["mae_ten"] = None if seed else by_system["cubic"]["mae_ten"]  # no cubic crystal in that test set
        return {"model": model, "target": target, "seed": seed, "n_train": 10 * (1 + seed), "mae_ten": error, "by_system": by_system} | more

    runs = [run("DTNet-joint", t, s, 1.0, stopped_early=True) for t in ("ionic", "total") for s in (0, 1)]
    runs += [run("PaiNN", t, s, 2.0 if t == "total" else 0.2, budget={"ended_by": "hours"}) for t in ("ionic", "total") for s in (0, 1)]
    found = cells(runs).set_index(["target", "system", "model"])
    assert found.loc[("total", "all", "DTNet-joint"), "mean"] == pytest.approx(0.75)  # of 1/2 and 2/2
    assert found.loc[("total", "cubic", "PaiNN"), "seeds"] == 1 and found.loc[("total", "all", "PaiNN"), "budget"] == "hours"
    assert found.loc[("total", "all", "DTNet-joint"), "budget"] == ""
    paper = json.loads((Path(__file__).resolve().parents[2] / "data/paper/table2.json").read_text())
    shown = table2(runs, paper, "total")
    assert shown.loc["all", "DTNet-joint"] == "0.750 ± 0.354 (1.911)" and shown.loc["all", "PaiNN"].endswith("(3.427)")
    assert {"DTNet-joint, electronic", "MatTen, total", "ridge, ionic"} <= set(missing(cells(runs), seeds=2))
    assert not {"DTNet-joint, total", "PaiNN, ionic"} & set(missing(cells(runs), seeds=2))
    won = wins(cells(runs), "DTNet-joint", ["PaiNN"])
    assert verdict(cells(runs)).count("of 0") == 2  # nothing of M3GNet and MatTen
    assert won.loc["total", "wins"].all() and not won.loc["ionic", "wins"].any() and len(won) == 16
    assert len(wins(cells(runs), "DTNet-joint", ["MatTen"])) == 0  # nothing to compare yet
    trained = {"settings": {"train": {"batch_size": 4}}, "best_epoch": 9, "wall_s": 36.0, "history": {"train": [2.0, 21.0, 1.0]}}
    given = budgets([run("DTNet-joint", "total", 0, 1.0, wall_s=36.0), run("PaiNN", "total", 0, 1.0, epochs=10, **trained), run("PaiNN", "total", 1, 1.0, epochs=20, stopped_early=True, **trained)])
    assert given.loc["PaiNN"].to_dict() == pytest.approx(  # 3 and 5 steps an epoch
        {"runs": 2, "n_train": 15, "epochs": 15, "steps": 65, "hours": 0.01, "late": 0.0, "jumps": 1.0})  # fmt: skip
    assert np.isnan(given.loc["DTNet-joint", "epochs"])
    share, own = run("PaiNN", "total", 1, 3.0, split="record:0.1"), run("PaiNN", "total", 1, 3.0, split="record")
    assert with_ends([share], runs) == [share, next(r for r in runs if (r["model"], r["target"], r["seed"]) == ("PaiNN", "total", 1))]
    assert with_ends([share, own], runs) == [share, own]
    assert len(figures.table2_dots(cells(runs), paper).axes) == 2
    assert len(figures.data_efficiency(runs).axes) == 2
    cost = [{"model": "PaiNN", "parameters": 10_000, "seconds_per_epoch": 2.0, "peak_memory_mb": 700.0}]
    assert len(figures.training_cost(cost).axes) == 3


def test_command_line_repeats_a_record(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(module.NETWORKS, "PaiNN", SMALL["PaiNN"])
    monkeypatch.setattr(module, "Shared", lambda profile: shared)
    path = tmp_path / "results.json"
    experiment = BaselineExperiment("PaiNN", "electronic", fraction=0.5, train=replace(module.TRAIN, learning_rate=2e-3, max_epochs=1))
    words = experiment.command(3).split()[1:]
    assert dtnet(*words, "--results", path) == 0
    assert "record:0.5" in capsys.readouterr().out
    (run,) = load_results(path)
    assert run["command"] == experiment.command(3) and run["seed"] == 3
    assert run["settings"]["train"]["learning_rate"] == 2e-3

    assert dtnet(*words, "--results", path) == 0
    assert load_results(path) == [run]  # found, not trained again
    assert dtnet(*words, "--max-epochs", "2", "--results", path) == 0
    (longer,) = load_results(path)
    assert longer["epochs"] == 2 and longer["command"] == run["command"].replace("--max-epochs 1", "--max-epochs 2")

    # a network that diverges is named, and stops no other
    assert dtnet(*words, "--learning-rate", "1e30", "--max-epochs", "3", "--model", "PaiNN", "median", "--results", path) == 1
    assert "not finished:" in (said := capsys.readouterr()).err and "the loss is nan" in said.err and "median" in said.out


def test_refuses_what_it_cannot_do(monkeypatch, shared):
    with pytest.raises(ValueError, match="profile full, the shared records are of mini"):
        run_baseline(BaselineExperiment("median", profile="full"), [0], shared)
    with pytest.raises(ValueError, match="PaiNN, M3GNet"):
        BaselineExperiment("SchNet")
    with pytest.raises(ValueError, match="magnetic"):
        BaselineExperiment(target="magnetic")
    with pytest.raises(ValueError, match=r"fraction is 1\.5"):
        BaselineExperiment(fraction=1.5)
    with pytest.raises(ValueError, match="cell, bonds"):
        PaiNN(positions="molecule")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install --no-deps schnetpack==2\.1\.1"):
        import_bare("schnetpack", ["nn"])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_the_peak_of_memory_can_start_anew():
    with mmap.mmap(-1, 320_000_000) as block:
        for page in range(0, len(block), mmap.PAGESIZE):  # none is there before it is written to
            block[page] = 1
        high = peak_memory_mb()
    forget_peak_memory()
    assert peak_memory_mb() < high - 200  # of the block's 320 MB


def test_what_a_copy_of_a_test_crystal_is_worth(tmp_path):
    """A crystal of the training set stands for a test crystal's material: it is left out, and nothing else is."""
    shared = Shared("mini", cache_dir=tmp_path / "cache", progress=False)
    drawn = draw_split(shared.records, 0)
    test, train = shared.records[drawn["test"][0]], int(drawn["train"][0])
    shared.records = [replace(test, id=r.id, mp_id=None) if i == train else r for i, r in enumerate(shared.records)]
    found = measure([0], "median", shared, tmp_path / "found.json")
    before = measure([0], "median", Shared("mini", cache_dir=tmp_path / "cache", progress=False), tmp_path / "before.json")
    left = {name: {row["left_out"] for row in record["rows"]} for name, record in (("found", found), ("before", before))}
    assert left["found"] == {next(iter(left["before"])) + 1} and len(left["before"]) == 1
    assert any(row["mae_ten"] != row["mae_ten_left_out"] for row in found["rows"]) and len(found["rows"]) == 3
