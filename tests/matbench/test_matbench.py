"""Matbench's task: folds that match, labels that stay inside, scores by hand, runs that go on where they were killed."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dtnet_core.base.files import DataFileError, read_json, write_json_gz
from dtnet_core.base.paths import RESULTS
from dtnet_core.crystals.record import Record
from dtnet_core.crystals.structures import structure_to_dict
from dtnet_core.data import descriptors
from dtnet_core.matbench import model, scores
from dtnet_core.matbench import record as record_module
from dtnet_core.matbench import run as matbench
from dtnet_core.matbench import run as run_module
from dtnet_core.matbench import task as task_module
from dtnet_core.matbench import task as tasks
from dtnet_core.matbench.composition import predict_uncovered
from dtnet_core.matbench.model import Network, Shallow, convex_weights
from dtnet_core.matbench.perceptron import Perceptron
from dtnet_core.matbench.run import Settings, run
from dtnet_core.matbench.scores import evaluate, paired_bootstrap
from dtnet_core.matbench.task import Row, Task
from dtnet_core.report.figures import matbench as figures
from dtnet_core.training.fit import TrainConfig
from tests.command import dtnet
from tests.conftest import CRYSTALS

TINY = {
    "network": Network("sqrt", "log", TrainConfig(1e-2, max_epochs=3, patience=3, ema=0.5), {"width": (8, 4, 4), "hidden": 8}),
    "kernel": Shallow("kernel", 4),
    "extra-trees": Shallow("extra-trees", 0, {"n_estimators": 5}),
    "perceptron": Perceptron(4, width=8, epochs=4, members=2),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Features and descriptors of the small task, computed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def task() -> Task:
    """Thirty small crystals of the mini profile in five folds."""
    mini = tasks.load_task("mini")
    rows = sorted(mini.rows, key=lambda row: (len(row.structure), row.mbid))[:30]
    return replace(mini, rows=tuple(rows), folds=tasks.five_folds([row.mbid for row in rows]))


def rows_of(ids, structure=None):
    return tuple(Row(i, "MgO", 1.7, "A", structure) for i in ids)


IDS = tuple(f"mb-dielectric-{i:04d}" for i in range(1, 11))
FOLDS = tasks.five_folds(IDS)


@pytest.mark.parametrize(
    ("ids", "folds", "message"),
    [
        (IDS[1:], FOLDS, "1 rows of fold 0 are missing in the data, the first is mb-dielectric-0001"),
        ((*IDS, IDS[3]), FOLDS, "1 rows are duplicated in the data, the first is mb-dielectric-0004"),
        ((*IDS, "mb-dielectric-0011"), FOLDS, "1 rows of the data are in neither part of fold 0, the first is mb-dielectric-0011"),
        (tuple("x" + i for i in IDS), FOLDS, "10 rows of fold 0 are missing in the data"),
        (IDS, (replace(FOLDS[0], train=IDS), *FOLDS[1:]), "2 rows are in both training and test of fold 0"),
        (IDS, (replace(FOLDS[0], train=(*FOLDS[0].train, FOLDS[0].train[0])), *FOLDS[1:]), "1 rows are named twice in fold 0"),
        (IDS, (FOLDS[0], *FOLDS), "2 rows are tested in more than one fold"),
        (IDS, FOLDS[1:], "2 rows are tested in no fold"),
    ],
)
def test_rows_and_folds_that_do_not_match_are_refused(ids, folds, message):
    with pytest.raises(ValueError, match=message):
        Task(rows_of(ids), folds, "joined", "")


def test_official_folds_are_a_partition_that_their_seed_draws_again():
    folds = tasks.official_folds()
    ids = sorted({i for fold in folds for i in fold.test})
    assert len(ids) == 4764 and len(folds) == 5
    assert [(set(a.train), set(a.test)) for a in folds] == [(set(b.train), set(b.test)) for b in tasks.five_folds(ids)]
    tasks.check_folds(ids, folds)


def test_joined_and_official_files_give_the_same_rows(tmp_path, monkeypatch):
    import matminer.datasets

    monkeypatch.setattr(tasks, "official_folds", lambda: FOLDS)
    monkeypatch.setenv("MATMINER_DATA", str(tmp_path / "official"))
    mgo = CRYSTALS["cubic"]()
    items = [{"mbid": i, "n": 1.7, "composition": "Mg1 O1", "tier": "A", "structure": structure_to_dict(mgo)} for i in IDS]
    items[2] = {"mbid": IDS[2], "n": 1.7, "composition": "Mg2 O2", "tier": "X"}
    write_json_gz(tmp_path / "matbench_dielectric.json.gz", items)
    joined = tasks.load_task("full", tmp_path)
    assert joined.coverage() == {"rows": 10, "with_structure": 9, "tiers": {"A": 9, "X": 1}, "source": "joined"}
    assert IDS[2] not in {joined.covered[i].mbid for fold in range(5) for part in joined.split(fold) for i in part}
    assert [row.mbid for row in joined.uncovered(IDS)] == [IDS[2]] and not joined.uncovered(IDS[3:])
    settled = {**items[2], "tier": "I", "structure": structure_to_dict(mgo)}
    write_json_gz(tmp_path / tasks.SETTLED, [settled])
    better = tasks.load_task("full", tmp_path)
    assert better.coverage() == {"rows": 10, "with_structure": 10, "tiers": {"A": 9, "I": 1}, "source": "joined"}
    assert [r.mbid for r in better.rows] == list(IDS) and better.sha256 != joined.sha256
    for wrong in ({"n": 1.8}, {"mbid": "mb-dielectric-0011"}, {"structure": None}):
        write_json_gz(tmp_path / tasks.SETTLED, [settled | wrong])
        with pytest.raises(DataFileError, match="has no structure, or is no row"):
            tasks.load_task("full", tmp_path)
    write_json_gz(tmp_path / tasks.SETTLED, [settled, settled])
    with pytest.raises(DataFileError, match=f"holds row {IDS[2]} twice"):
        tasks.load_task("full", tmp_path)
    (tmp_path / tasks.SETTLED).unlink()
    table = {"index": list(range(10)), "columns": ["structure", "n"], "data": [[mgo.as_dict(), 1.7]] * 10}
    write_json_gz(tmp_path / "official/matbench_dielectric.json.gz", table)
    with pytest.raises(DataFileError, match="SHA-256 is"):
        tasks.load_task("full", tmp_path)
    digest = hashlib.sha256((tmp_path / "official/matbench_dielectric.json.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(matminer.datasets, "get_dataset_attribute", lambda _, key: {"hash": digest, "file_type": "json.gz"}[key])
    official = tasks.load_task("full", tmp_path)
    assert official.source == "official" and len(official.covered) == 10
    assert [(r.mbid, r.formula, r.n) for r in official.rows] == [(r.mbid, r.formula, r.n) for r in joined.rows]
    items[0].pop("n")
    write_json_gz(tmp_path / "matbench_dielectric.json.gz", items)
    monkeypatch.delenv("MATMINER_DATA")
    with pytest.raises(DataFileError, match="record 0: KeyError: 'n'"):
        tasks.load_task("full", tmp_path)


def test_labels_of_test_rows_do_not_come_in_from_outside():
    from pymatgen.core import Lattice, Structure

    mgo = CRYSTALS["cubic"]()
    strained = mgo.copy().make_supercell(2).scale_lattice(8 * 1.03 * mgo.volume)  # another functional, another cell
    cesium_chloride = Structure(Lattice.cubic(2.7), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])  # another polymorph
    outside = [Record(name, s, s.composition.reduced_formula) for name, s in
               (("same", mgo), ("strained", strained), ("polymorph", cesium_chloride), ("zno", CRYSTALS["hexagonal"]()))]  # fmt: skip
    kept = lambda **row: [r.id for r in tasks.without_test_labels(outside, [Row("a", "MgO", 1.7, **row)])]  # noqa: E731
    assert kept(tier="A", structure=mgo) == ["polymorph", "zno"]
    assert kept(tier="B", structure=mgo) == ["zno"]  # perhaps the other polymorph's structure
    assert kept(tier="X") == ["zno"]
    assert [r.id for r in tasks.without_test_labels(outside, [])] == [r.id for r in outside]


def test_scores_are_those_computed_by_hand():
    predicted, truth = np.array([1.5, 2.0, 9.0, 3.0, 2.5]), np.array([1.0, 2.25, 5.0, 3.0, 2.0])
    scores = evaluate(predicted, truth, np.array([0, 0, 1, 1, 1]))
    assert scores["folds"][0] == {"fold": 0, "mae": 0.375, "rmse": np.sqrt((0.25 + 0.0625) / 2), "max": 0.5, "n": 2}
    assert scores["folds"][1] == {"fold": 1, "mae": 1.5, "rmse": pytest.approx(np.sqrt(16.25 / 3)), "max": 4.0, "n": 3}
    assert scores["mean_mae"] == 0.9375 and scores["std_mae"] == 0.5625
    assert scores["median_ae"] == 0.5 and scores["mae_n_lt_4"] == (0.5 + 0.25 + 0 + 0.5) / 4


def test_bootstrap_finds_the_mean_difference_and_its_spread():
    rng = np.random.default_rng(0)
    truth = rng.normal(3, 1, 400)
    a, b = truth + rng.normal(0, 0.1, 400), truth + rng.normal(0, 0.2, 400)
    found = paired_bootstrap(a, b, truth, 4000, 1, np.arange(400) % 2)
    difference = np.abs(a - truth) - np.abs(b - truth)
    assert found["difference"] == pytest.approx(difference.mean()) and found["interval"][1] < 0
    expected = difference.mean() + np.array([-1.96, 1.96]) * difference.std() / 20
    np.testing.assert_allclose(found["interval"], expected, atol=0.1 * np.ptp(expected))
    assert found["by_fold"]["0"]["rows"] == 200
    assert found["difference"] == pytest.approx(np.mean([found["by_fold"][k]["difference"] for k in "01"]))
    assert paired_bootstrap(a, b, truth, 4000, 1)["interval"] == found["interval"]
    assert paired_bootstrap(a, a, truth, 100) == {"difference": 0.0, "interval": [0.0, 0.0], "rows": 400}


def test_mixture_weights_are_convex_and_of_least_error():
    rng = np.random.default_rng(1)
    truth = rng.lognormal(1, 0.5, 300)
    good, other = truth + rng.normal(0, 0.2, 300), truth + rng.normal(0, 0.2, 300)
    learners = np.stack([good, other, np.full(300, 40.0)])
    weights = convex_weights(learners, truth)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1) and weights[2] < 0.01
    error = lambda w: np.abs(w @ learners - truth).mean()  # noqa: E731
    assert error(weights) <= min(error(np.array([t, 1 - t, 0])) for t in np.linspace(0, 1, 101)) + 1e-12
    assert convex_weights(learners[:1], truth).tolist() == [1.0]


def test_run_goes_on_is_repeatable_and_never_sees_a_test_label(task, cache, tmp_path, monkeypatch, capsys):
    seen = []
    plain = Network.predict

    def watched(self, inputs, labels, train, validation, wanted, seed, progress=True):
        seen.append((labels.copy(), train, validation, wanted))
        return plain(self, inputs, labels, train, validation, wanted, seed, progress)

    monkeypatch.setattr(Network, "predict", watched)
    settings, folds = Settings("7net-0:2", TINY), (0, 3)
    predictions, summary = run(task, settings, [0, 1], folds, cache, progress=False)
    assert len(seen) == 4 and set(predictions.mbid) == {*task.folds[0].test, *task.folds[3].test}
    for k, (labels, train, validation, wanted) in enumerate(seen):
        train_rows, test = task.split(folds[k // 2])
        assert np.isnan(labels[test]).all() and set(test) == set(wanted) - set(validation)
        assert set(train) | set(validation) == set(train_rows) and not set(train) & set(validation)
    assert (predictions.prediction > 1).all() and len(summary["mae_by_seed"]) == 2 and set(summary["learners"]) == set(TINY)
    first = next((cache / "matbench").glob("*fold3-seed1*"))
    capsys.readouterr()
    again, _ = run(task, settings, [0, 1], folds, cache, progress=True)  # nothing is left to do, and that is said
    assert len(seen) == 4 and again.equals(predictions) and f"16 of 16 models not trained now: their predictions are from {cache / 'matbench'}" in capsys.readouterr().err
    for path in (cache / "matbench").glob("*fold3-seed1*"):
        path.unlink()
    again, _ = run(task, settings, [0, 1], folds, cache, progress=False)  # one fold and seed are: the same comes out
    assert len(seen) == 5 and again.equals(predictions)
    first.write_bytes(b"broken")
    with pytest.warns(UserWarning, match="computed anew"):
        assert run(task, settings, [0, 1], folds, cache, progress=False)[0].equals(predictions)
    other, _ = run(task, settings, [2], folds, cache, progress=False)
    assert not np.allclose(other.prediction, predictions.prediction)
    record_module.write_predictions(tmp_path / "a.csv.gz", predictions)
    record_module.write_predictions(tmp_path / "b.csv.gz", predictions.copy())
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    np.testing.assert_allclose(pd.read_csv(tmp_path / "a.csv.gz").prediction, predictions.prediction, atol=1e-6)


def test_command_line_writes_record_and_predictions(task, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DTNET_CACHE_DIR", str(cache))
    monkeypatch.setattr(task_module, "load_task", lambda profile: task)
    for module in (run_module, record_module):
        monkeypatch.setattr(module, "LEARNERS", TINY)
    common = ["matbench", "--profile", "mini", "--features", "7net-0:2", "--learners", "kernel", "extra-trees", "--seeds", "0", "--results", str(tmp_path)]
    assert dtnet(*common, "--folds", "0") == 0
    assert not list(tmp_path.iterdir())  # one fold is no result
    assert dtnet(*common) == 0
    assert "mean MAE" in capsys.readouterr().out
    record = json.loads((tmp_path / "matbench_mini.json").read_text())
    predictions = pd.read_csv(tmp_path / "matbench_mini_predictions.csv.gz")
    assert record["coverage"]["with_structure"] == len(predictions) == 30 and record["paired"] is None
    found = evaluate(*scores.aligned(predictions, task))
    assert record["mean_mae"] == pytest.approx(found["mean_mae"], abs=1e-5) and len(record["folds"]) == 5
    worst = record["worst"][0]
    assert abs(worst["n"] - worst["prediction"]) == pytest.approx(max(f["max"] for f in record["folds"]))
    assert sum(t["rows"] for t in record["by_tier"].values()) == 30
    assert {"model", "std_mae", "median_ae", "mae_n_lt_4", "seeds", "commit", "hardware", "data_sha256", "command", "wall_s"} <= set(record)
    assert dtnet(*common, "--official", tmp_path / "record.json") == 1
    assert "official record needs" in capsys.readouterr().err
    with pytest.raises(ValueError, match="twice"):
        scores.aligned(pd.concat([predictions, predictions[:1]]), task)
    with pytest.raises(ValueError, match="tests it in fold"):
        scores.aligned(predictions.assign(fold=0), task)


def test_published_predictions_are_compared_on_the_same_rows(tmp_path):
    structure, rng = CRYSTALS["cubic"](), np.random.default_rng(2)
    rows = tuple(replace(row, n=float(n)) for row, n in zip(rows_of(IDS, structure), rng.uniform(1.2, 6, 10), strict=True))
    task = Task((*rows[:9], replace(rows[9], structure=None)), FOLDS, "joined", "")
    tests = {i: k for k, fold in enumerate(FOLDS) for i in fold.test}
    table = pd.DataFrame({"mbid": IDS, "fold": [tests[i] for i in IDS], "n": [r.n for r in rows], "DTNet": [r.n + 1 for r in rows]})
    table.to_csv(tmp_path / "matbench_dielectric_predictions.csv.gz", index=False)
    ours = table[["mbid", "fold"]].assign(prediction=table.n + 0.5)
    found = scores.compare(ours, task, scores.load_published(task, tmp_path))
    assert found["paired"]["DTNet"]["difference"] == pytest.approx(-0.5) and found["published"]["DTNet"]["mean_mae"] == pytest.approx(1)
    table.assign(n=table.n + 0.1).to_csv(tmp_path / "matbench_dielectric_predictions.csv.gz", index=False)
    with pytest.raises(ValueError, match="true values differ"):
        scores.load_published(task, tmp_path)
    table[1:].to_csv(tmp_path / "matbench_dielectric_predictions.csv.gz", index=False)
    with pytest.raises(ValueError, match="1 rows have no published prediction, the first is mb-dielectric-0001"):
        scores.load_published(task, tmp_path)


def test_rows_without_a_structure_are_predicted_from_their_composition_and_training_labels_alone(task):
    lone = {task.folds[1].test[0], task.folds[1].train[0]}
    with_gaps = replace(task, rows=tuple(replace(r, structure=None) if r.mbid in lone else r for r in task.rows))
    found = predict_uncovered(with_gaps, 1, (0, 1))
    assert set(found) == {task.folds[1].test[0]} and set(predict_uncovered(with_gaps, 0, (0,))) == lone & set(task.folds[0].test)
    train = [r.n for r in task.rows if r.mbid in task.folds[1].train]
    assert min(train) <= found[task.folds[1].test[0]] <= max(train)
    other = lambda ids: replace(with_gaps, rows=tuple(replace(r, n=r.n * 1.5) if r.mbid in ids else r for r in with_gaps.rows))  # noqa: E731
    assert predict_uncovered(other(task.folds[1].test), 1, (0, 1)) == found
    assert predict_uncovered(other(task.folds[1].train), 1, (0, 1)) != found
    assert predict_uncovered(with_gaps, 1, (2,)) != found and predict_uncovered(task, 1, (0,)) == {}


def test_each_fold_mixes_what_is_better_by_its_own_rows():
    rng = np.random.default_rng(5)
    truth = rng.lognormal(1, 0.5, 400)
    predictions = np.stack([truth * np.exp(rng.normal(0, 0.1 + 0.02 * k, 400)) for k in (3, 0, 5)] + [np.full(400, 30.0)])
    mix = matbench.mixture(predictions, truth)
    assert mix.weights.sum() == pytest.approx(1) and mix.weights.argmax() == 1 and mix.weights[3] < 1e-3
    assert np.abs(mix.of(predictions) - truth).mean() < np.abs(predictions[1] - truth).mean()
    np.testing.assert_allclose(matbench.Mixture("log", np.array([0.25, 0.75])).of(np.array([[1.0], [16.0]])), [8.0])
    np.testing.assert_allclose(matbench.Mixture("n", np.array([0.25, 0.75])).of(np.array([[1.0], [5.0]])), [4.0])
    assert matbench.Mixture("log", np.ones(1)).mean(np.array([[1.0], [4.0]])) == [2.0] and matbench.Mixture("n", np.ones(1)).mean(np.array([[1.0], [4.0]])) == [2.5]
    turns = np.where(np.arange(400) % 2, -1, 1)  # up and down, row by row
    sums, products = np.stack([truth - 0.3 * turns, truth + 0.3 * turns]), np.stack([truth * 1.4**turns, truth / 1.4**turns])
    assert matbench.mixture(sums, truth).quantity == "n" and matbench.mixture(products, truth).quantity == "log"


def test_official_record_is_validated_by_matbench_and_refused_when_incomplete():
    from matbench.bench import MatbenchBenchmark

    folds, rng = tasks.official_folds(), np.random.default_rng(3)
    ids = sorted({i for fold in folds for i in fold.test})
    structure = CRYSTALS["cubic"]()
    rows = tuple(replace(row, n=float(n)) for row, n in zip(rows_of(ids, structure), rng.uniform(1, 5, len(ids)), strict=True))
    task = Task(rows, folds, "official", "")
    predictions = pd.DataFrame({"mbid": ids, "fold": [0] * len(ids), "prediction": task.n + rng.normal(0, 0.1, len(ids))})
    values = dict(zip(ids, predictions.prediction, strict=True))
    record = scores.official_record(values, task, {"model": "test"})
    scored = MatbenchBenchmark.from_dict(json.loads(json.dumps(record))).matbench_dielectric.scores.mae
    tests = {i: k for k, fold in enumerate(folds) for i in fold.test}
    ours = evaluate(*scores.aligned(predictions.assign(fold=predictions.mbid.map(tests)), task))
    assert scored["mean"] == pytest.approx(ours["mean_mae"]) and scored["std"] == pytest.approx(ours["std_mae"])
    values.pop(ids[7])
    with pytest.raises(ValueError, match=r"1 of 4764 lack one \(the first: mb-dielectric-0008"):
        scores.official_record(values, task)
    values[ids[7]] = 1.0
    gap = scores.official_record(values, replace(task, rows=(replace(rows[0], structure=None), *rows[1:])))
    assert "'rows_without_structure': 1" in str(gap) and "'rows_without_structure': 0" in str(record)
    with pytest.raises(ValueError, match="1 of 4764 lack one"):
        scores.official_record(values | {ids[7]: np.nan}, task)


def test_the_shipped_record_is_official_and_scores_what_is_told():
    from matbench.bench import MatbenchBenchmark

    told = read_json(RESULTS / "matbench.json")
    record = read_json(RESULTS / "matbench_official.json.gz")
    benchmark = MatbenchBenchmark.from_dict(record)
    assert benchmark.is_valid and all(benchmark.matbench_dielectric.is_recorded.values())
    assert benchmark.matbench_dielectric.scores.mae["mean"] == pytest.approx(told["mean_mae"], abs=1e-6)
    lacking = told["coverage"]["rows"] - told["coverage"]["with_structure"]
    assert f"'rows_without_structure': {lacking}" in str(record) and 0 < lacking < 0.02 * told["coverage"]["rows"]
    table = pd.read_csv(RESULTS / "matbench_predictions.csv.gz").set_index("mbid").prediction
    found = {i: v for fold in record["tasks"]["matbench_dielectric"]["results"].values() for i, v in fold["data"].items()}
    assert set(found) == set(table.index) and max(abs(found[i] - table[i]) for i in found) < 1e-5


def test_pooled_features_and_descriptors_do_not_depend_on_the_cell(tmp_path):
    crystals = [CRYSTALS["hexagonal"](), CRYSTALS["hexagonal"]().make_supercell([2, 1, 1])]
    inputs = model.load_inputs(crystals, "7net-0:0-2", tmp_path, progress=False)
    np.testing.assert_allclose(inputs.pooled[0], inputs.pooled[1], atol=1e-4 * np.abs(inputs.pooled[0]).max())
    np.testing.assert_allclose(inputs.descriptors[0], inputs.descriptors[1], atol=1e-8)
    assert inputs.descriptors.shape == (2, len(descriptors.descriptor_names())) and np.isfinite(inputs.descriptors).all()
    stored = next((tmp_path / "descriptors").glob("*.npz"))
    stored.write_bytes(b"broken")
    with pytest.warns(UserWarning, match="computed anew"):
        again = descriptors.compute_descriptors(crystals, tmp_path, progress=False)
    np.testing.assert_array_equal(again, inputs.descriptors)


def test_network_learns_n_and_reads_it_as_told(task, cache):
    inputs = model.load_inputs([row.structure for row in task.covered], "7net-0:2", cache, progress=False)
    train, held = np.arange(24), np.arange(24, 30)
    for quantity, loss in (("sqrt", "absolute"), ("direct", "log")):
        spec = replace(TINY["network"], quantity=quantity, loss=loss, train=TrainConfig(1e-2, max_epochs=40, patience=40))
        network = model.train_network(spec, inputs.crystals, task.n, train, held, 0, progress=False)
        with torch.no_grad():
            rows = torch.as_tensor(train)
            n, tensors = spec.index(network.forward_mandel(inputs.crystals.batch(rows))), network(inputs.crystals.batch(rows))
        mean = torch.linalg.eigvalsh(tensors).mean(-1)
        torch.testing.assert_close(n, mean.sqrt() if quantity == "sqrt" else mean, rtol=1e-5, atol=1e-5)
        median = np.abs(task.n[train] - np.median(task.n[train])).mean()
        assert np.abs(n.numpy() - task.n[train]).mean() < 0.7 * median and n.min() > 1
    labels = task.n.copy()
    labels[3] = np.nan
    for learner in TINY.values():
        with pytest.raises(ValueError, match="training: label nan of crystal 3"):
            learner.predict(inputs, labels, train, held, held, 0, progress=False)
    with pytest.raises(ValueError, match="both training and validation"):
        TINY["kernel"].predict(inputs, task.n, train, train[:2], held, 0)
    with pytest.raises(ValueError, match="choose sqrt or direct"):
        Network("root")


def test_a_network_of_one_encoder_is_that_of_its_channels_alone(task, cache):
    crystals = [row.structure for row in task.covered]
    both, one = (model.load_inputs(crystals, text, cache, progress=False) for text in ("7net-0:1+7net-0:2", "7net-0:2"))
    train, held = np.arange(24), np.arange(24, 30)
    chosen = replace(TINY["network"], features="7net-0:2").predict(both, task.n, train, held, held, 0, progress=False)
    np.testing.assert_array_equal(chosen, TINY["network"].predict(one, task.n, train, held, held, 0, progress=False))
    with pytest.raises(ValueError, match="7net-0:5: not among the encoded features"):
        replace(TINY["network"], features="7net-0:5").predict(both, task.n, train, held, held, 0, progress=False)


def test_figures_show_every_model():
    leaderboard = {"models": [{"model": "DTNet", "mae": 0.2371, "std": 0.077}, {"model": "CGCNN", "mae": 0.599, "std": None}]}
    fig = figures.leaderboard_bars(leaderboard, {"mean_mae": 0.24, "std_mae": 0.05})
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["DTNet", "this kit", "CGCNN"]
    assert [bar.get_width() for bar in fig.axes[0].patches] == [0.2371, 0.24, 0.599]
    rng = np.random.default_rng(0)
    truth = rng.lognormal(0.8, 0.5, 200) + 0.5
    tables = {"a": scores.errors_by_n(truth + 0.1, truth), "b": scores.errors_by_n(truth - 0.2, truth)}
    assert sum(row["rows"] for row in tables["a"]) == 200 and sum(row["share"] for row in tables["b"]) == pytest.approx(0.2)
    assert len(figures.errors_by_n(tables).axes) == 2 and len(figures.parity_of_n(truth * 1.1, truth).axes) == 1
