"""Data sets and training: exact symmetry reduction, determinism, resumption, experiments end to end."""

import numpy as np
import pytest
import torch

from dtnet_core.crystals.record import Record
from dtnet_core.crystals.symmetry import point_group_rotations, symmetrize
from dtnet_core.data.loading import save_records
from dtnet_core.encoder import encode
from dtnet_core.features import from_mandel, split_crystals, to_mandel
from dtnet_core.metrics import mae_ten
from dtnet_core.potentials.registry import load_encoder, parse_features, spell_features
from dtnet_core.potentials.store import compute_features
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.training import experiment as experiment_module
from dtnet_core.training.experiment import Experiment, load_run, run_experiment
from dtnet_core.training.fit import TrainConfig, fit, predict
from dtnet_core.training.losses import mae_ten_loss
from dtnet_core.training.sets import build_set, group_projector
from tests.command import dtnet
from tests.conftest import random_rotation, turn


@pytest.fixture(scope="module")
def records(request) -> list[Record]:
    """Twelve crystals with tensors that their point groups allow."""
    from tests.conftest import CRYSTALS

    made = []
    for i in range(3):
        for name, make in CRYSTALS.items():
            structure = turn(make().apply_strain(0.02 * i, inplace=False), random_rotation(i))
            noise = np.random.default_rng(len(made)).normal(size=(3, 3))
            tensor = symmetrize(4 * np.eye(3) + 0.3 * (noise + noise.T), point_group_rotations(structure))
            made.append(Record(f"{name}-{i}", structure, structure.composition.reduced_formula, tensor, tensor, 2 * tensor))
    return made


@pytest.fixture(scope="module")
def features(records):
    return split_crystals(encode(load_encoder("7net-0"), [r.structure for r in records], 4, bonds=True))


@pytest.mark.parametrize("bonds", [False, True])
def test_one_atom_an_orbit_gives_the_tensor_of_all_atoms(records, features, bonds):
    parts = features if bonds else [f.without_bonds() for f in features]
    reduced, whole = build_set(parts, records, "total"), build_set(parts, records, "total", reduce=False)
    assert len(reduced.scalars) < 0.6 * len(whole.scalars)
    torch.manual_seed(0)
    model = DTNet(DTNetConfig(whole.channels, whole.edge_channels))
    model.fit_scales(whole.batch(torch.arange(len(whole))), whole.target_tensors())
    direct = model.eval()(encode(load_encoder("7net-0"), [r.structure for r in records], 4, bonds)).detach().numpy()
    np.testing.assert_allclose(predict(model, whole), direct, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(predict(model, reduced), direct, rtol=1e-3, atol=2e-4)
    order = np.array([7, 0, 3])
    np.testing.assert_allclose(predict(model, reduced, order), predict(model, reduced)[order], rtol=1e-4, atol=1e-5)


def test_group_projector_is_the_group_mean(records):
    for record in records[:4]:
        rotations = point_group_rotations(record.structure)
        tensor = np.random.default_rng(0).normal(size=(3, 3))
        tensor += tensor.T
        projected = from_mandel(group_projector(rotations) @ to_mandel(torch.from_numpy(tensor)))
        np.testing.assert_allclose(projected.numpy(), symmetrize(tensor, rotations), atol=1e-12)


def test_loss_is_equation_3():
    a, b = torch.randn(2, 7, 3, 3, dtype=torch.float64)
    a, b = a + a.transpose(1, 2), b + b.transpose(1, 2)
    assert mae_ten_loss(to_mandel(a), to_mandel(b)).item() == pytest.approx(mae_ten(a.numpy(), b.numpy()))


def states_equal(a: DTNet, b: DTNet) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_same_seed_same_bits_also_after_a_kill(records, features, tmp_path, monkeypatch, ema):
    data = build_set(features, records, "total")
    train, validation = np.arange(8), np.arange(8, 12)
    config = TrainConfig(learning_rate=1e-3, batch_size=3, max_epochs=8, ema=ema)
    whole = fit(data, train, validation, 3, config=config, progress=False)
    assert whole.history["train"][-1] < whole.history["train"][0]
    again = fit(data, train, validation, 3, config=config, progress=False)
    assert states_equal(whole.model, again.model)
    assert not states_equal(whole.model, fit(data, train, validation, 4, config=config, progress=False).model)

    from dtnet_core.training import fit as training

    one_epoch, epochs = training.Run.one_epoch, []

    def dies_in_epoch_6(self, *rest):
        if len(epochs) == 5:
            raise KeyboardInterrupt
        epochs.append(1)
        one_epoch(self, *rest)

    checkpoint = tmp_path / "run.pt"
    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "one_epoch", dies_in_epoch_6)
        with pytest.raises(KeyboardInterrupt):
            fit(data, train, validation, 3, config=config, checkpoint=checkpoint, checkpoint_every=2, progress=False)
    resumed = fit(data, train, validation, 3, config=config, checkpoint=checkpoint, checkpoint_every=2, progress=False)
    assert states_equal(whole.model, resumed.model)
    assert resumed.history == whole.history
    with pytest.raises(ValueError, match=r"run\.pt.*other data, settings or seed"):
        fit(data, train, validation, 4, config=config, checkpoint=checkpoint, progress=False)
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"run\.pt.*delete it"):
        fit(data, train, validation, 3, config=config, checkpoint=checkpoint, progress=False)


def test_stops_early_and_keeps_the_best_epoch(records, features):
    data = build_set([f.without_bonds() for f in features], records, "ionic")
    config = TrainConfig(learning_rate=3e-2, batch_size=4, max_epochs=200, patience=4)
    found = fit(data, np.arange(8), np.arange(8, 12), 0, config=config, progress=False)
    losses = found.history["validation"]
    assert found.stopped_early
    assert len(losses) == found.best_epoch + 4
    assert min(losses) == losses[found.best_epoch - 1]
    rows = torch.arange(8, 12)
    reference = data.target_tensors(rows)[:, 0].numpy()
    assert mae_ten(reference, predict(found.model, data, rows.numpy())) == pytest.approx(min(losses), rel=1e-4)


def test_refuses_bad_splits_and_missing_targets(records, features):
    data = build_set(features, records, "total")
    with pytest.raises(ValueError, match="both training and validation"):
        fit(data, np.arange(8), np.arange(7, 12), 0, progress=False)
    with pytest.raises(ValueError, match="at least one"):
        fit(data, np.arange(8), np.arange(0), 0, progress=False)
    without = [*records[:-1], Record("bare", records[-1].structure, "X")]
    with pytest.raises(ValueError, match="bare"):
        build_set(features, without, "total")


def test_experiment_end_to_end(records, tmp_path, monkeypatch):
    save_records(records, tmp_path / "open_dfpt.json.gz")
    experiment = Experiment("electronic", "7net-0:0-2,4", train=TrainConfig(max_epochs=3))
    options = {"seeds": [0, 1], "results": tmp_path / "results.json", "cache_dir": tmp_path, "data_dir": tmp_path, "progress": False}
    runs = run_experiment(experiment, **options)
    assert [r["seed"] for r in runs] == [0, 1]
    for run in runs:
        assert run["n_train"] + run["n_val"] + run["n_test"] == 12
        assert run["mae_ten"] == run["by_system"]["all"]["mae_ten"] > 0
        assert {"commit", "hardware", "data_sha256", "command", "wall_s", "mae_eig", "n_test"} <= set(run)
    assert run_experiment(experiment, **options) == runs  # from the file, nothing trained
    again = run_experiment(experiment, **options | {"results": None, "resume": False})
    assert [r["mae_ten"] for r in again] == [r["mae_ten"] for r in runs]
    model = load_run(experiment, 1, tmp_path, tmp_path)
    found = predict(model, build_set(compute_features("7net-0:0-2,4", [records[0].structure], cache_dir=tmp_path), records[:1]))
    assert found.shape == (1, 3, 3)
    monkeypatch.setattr("dtnet_core.training.experiment.load_clean", lambda *_: (records[:-1], runs[0]["data_sha256"]))
    with pytest.raises(FileNotFoundError):  # the same file, cleaned by another rule: another run
        load_run(experiment, 1, tmp_path, tmp_path)
    assert run_experiment(experiment, **options | {"results": None, "seeds": [1]})[0]["n_train"] < runs[1]["n_train"] + runs[1]["n_val"]


def test_feature_texts():
    assert parse_features("7net-0:0-2,4+7net-l3i5:3") == [("7net-0", (0, 1, 2, 4)), ("7net-l3i5", (3,))]
    assert spell_features("a:0,1,2+b-c:4+d:1,3") == ("a+b-c+d", "0-2+4+1,3")
    for text in ("7net-0", "7net-0:", "7net-0:a", ":4"):
        with pytest.raises(ValueError, match="ENCODER:LAYERS"):
            parse_features(text)
    with pytest.raises(ValueError, match="choose one of"):
        Experiment(target="magnetic")


def test_shares_of_the_training_set_get_as_many_steps(monkeypatch):
    asked = []
    monkeypatch.setattr(experiment_module, "run_experiment", lambda experiment, *_, **__: asked.append(experiment) or [])
    assert dtnet("train", "experiment", "--fraction", "0.1", "1", "--seeds", "0") == 0
    assert dtnet("train", "experiment", "--fraction", "0.1", "--max-epochs", "7", "--seeds", "0") == 0
    assert [(e.train.max_epochs, e.train.patience) for e in asked] == [(3000, 2000), (300, 200), (7, 200)]
