"""Joint models and what ships, with made-up networks: who gets which crystals, seeds and labels, and what the records say."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dtnet_core.base.files import read_json
from dtnet_core.base.results import load_results, plain
from dtnet_core.checkpoint import load_network
from dtnet_core.data.labels import WITH_TOTAL
from dtnet_core.metrics import mae_ten
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.training import joint, recipes, ship
from dtnet_core.training.calibration import calibrate, spread_ratios
from dtnet_core.training.fit import TrainConfig
from dtnet_core.training.joint import Task
from dtnet_core.training.recipes import Recipe
from dtnet_core.trust.verdict import COVERAGES
from tests.blindness import CHANNELS, MadeUp, no_orbits, small_records

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Recipe(("a:0", "b:1", "a:0+b:1"), WITH_TOTAL, TrainConfig(3e-3, max_epochs=3, weights=(2.0, 1.0, 1.0)), {"width": (8, 6, 4), "hidden": 8, "link": "clip"})


def as_today(settings: dict) -> dict:
    """Settings of a stored run; once they told only whether there were further labels, and nothing of relative errors."""
    settings = {"relative": 0.0} | settings
    if "auxiliary" not in settings:
        return settings
    return {k: v for k, v in settings.items() if k != "auxiliary"} | {"labels": list(WITH_TOTAL) if settings["auxiliary"] else []}


def test_recipes_are_those_of_the_stored_results():
    """What is shown for a joint model was trained with just these settings."""
    runs = [r for r in load_results(ROOT / "data/results/tensors.json") if r["model"] in (recipes.JOINT, recipes.MORE_LABELS)]
    for name, recipe in recipes.RECIPES.items():
        mine = [r for r in runs if r["model"] == recipe.model and r["command"].startswith(f"dtnet train joint --recipe {name} ")]
        assert len(mine) >= (6 if name.endswith("-wide") else 15) and all(as_today(r["settings"]) == plain(asdict(recipe)) for r in mine)
        assert all(r["members"] == list(recipe.members) and len(r["best_epoch"]) == len(recipe.members) for r in mine)
    assert recipes.RECIPES["default"].features == "7net-0:0-5+7net-l3i5:0-5" and joint.PARTS == ("electronic", "ionic")
    assert {name: recipes.RECIPES[recipes.RECIPE_OF[name]].labels for name in ("default", "best")} == dict.fromkeys(("default", "best"), recipes.LABELS)
    assert RECIPE.features == "a:0+b:1" and Recipe(("b:1", "a:0")).features == "b:1+a:0"


@pytest.fixture
def made_up(monkeypatch) -> MadeUp:
    found = MadeUp()
    monkeypatch.setattr("dtnet_core.training.sets.stored_orbits", no_orbits)
    monkeypatch.setattr(joint, "compute_features", found.features)
    monkeypatch.setitem(recipes.RECIPES, "small", RECIPE)
    monkeypatch.setitem(recipes.RECIPE_OF, "small", "small")
    monkeypatch.setattr(joint, "near_twins", lambda *_: [])
    return found


@pytest.fixture
def task(made_up, monkeypatch, tmp_path) -> Task:
    """Thirty records of the benchmark and four with a second functional."""
    records = small_records(30)
    extra = [replace(r, id=f"sol-{r.id}", mp_id=None, functional="PBEsol") for r in small_records(34)[30:]]
    monkeypatch.setattr(joint, "load_clean", lambda profile, folder: (records, f"sum of {profile}"))
    monkeypatch.setattr(joint, "load_auxiliary", lambda benchmark, folder, names: extra if benchmark is records and names == RECIPE.labels else None)
    return joint.load_task(RECIPE, cache_dir=tmp_path / "cache", progress=False)


def test_a_task_is_the_benchmark_then_what_else_may_train(task, tmp_path):
    assert len(task.records) == 34 and task.n_benchmark == 30 and task.checksum == "sum of full" and len(task.data) == 34
    assert [r.id for r in task.records[30:]] == [f"sol-{r.id}" for r in small_records(34)[30:]] and task.data.functional.tolist() == [0] * 30 + [1] * 4
    for recipe, profile in ((RECIPE, "mini"), (replace(RECIPE, labels=()), "full")):
        assert len(joint.load_task(recipe, profile, cache_dir=tmp_path / "cache", progress=False).records) == 30
    wanted = np.array([[r.eps_electronic, r.eps_ionic] for r in task.records])
    np.testing.assert_allclose(task.data.target_tensors(), wanted, rtol=1e-5, atol=1e-5)
    split = task.split(3)
    assert max(*split["val"], *split["test"]) < 30 and {30, 31, 32, 33} <= set(split["train"])
    assert not set(split["train"]) & {*split["val"], *split["test"]}
    assert {part: rows.tolist() for part, rows in task.split(3, "group").items()} != {part: rows.tolist() for part, rows in split.items()}


def test_channels_of_each_encoder_are_found_again(task, made_up, monkeypatch):
    s, v, t = CHANNELS
    assert task.parts == {"a:0": (slice(0, s), slice(0, v), slice(0, t)), "b:1": (slice(s, 2 * s), slice(v, 2 * v), slice(t, 2 * t))}
    structure = task.records[0].structure
    assert list(joint.channels_of("b:1+a:0+c:2", structure)) == ["b:1", "a:0", "c:2"]
    assert joint.channels_of("b:1+a:0+c:2", structure)["c:2"][1] == slice(2 * v, 3 * v)
    assert task.of("a:0+b:1") is task.data
    second, turned = task.of("b:1"), task.of("b:1+a:0")
    for name, n in (("scalars", s), ("vectors", v), ("tensors", t)):
        whole = getattr(task.data, name)
        assert torch.equal(getattr(second, name), whole[..., n:])
        assert torch.equal(getattr(turned, name), torch.cat([whole[..., n:], whole[..., :n]], -1))
    assert second.channels == CHANNELS and torch.equal(second.targets, task.data.targets)
    monkeypatch.setattr(joint, "compute_features", lambda text, given, bonds, cache, progress: asked.append((bonds, progress)) or made_up.features(text, given))
    asked: list = []
    assert joint.channels_of("a:0+b:1", structure) == task.parts and asked == [(False, False)] * 2  # atoms only, and quietly
    alone = made_up.features("b:1", [structure])[0]
    assert torch.equal(second.scalars[: len(structure)], alone.scalars)
    with pytest.raises(ValueError, match="c:2, d:3: not among the encoded features, which are a:0, b:1"):
        task.of("c:2+a:0+d:3")


def test_what_was_found_once_is_kept_for_these_records_only(task, monkeypatch, tmp_path):
    calls, records = [], task.records[:5]
    found = lambda rows, name="x": joint._stored(name, rows, tmp_path / "kept", lambda: calls.append(1) or np.arange(len(rows)))  # noqa: E731
    assert found(records).tolist() == found(records).tolist() == [0, 1, 2, 3, 4] and len(calls) == 1
    for k, rows in enumerate((records[::-1], records[:4], [replace(records[0], eps_total=2 * records[0].eps_total), *records[1:]])):
        assert len(found(rows)) == len(rows) and len(calls) == 2 + k
    found(records, "y")
    assert len(calls) == 5 and found(records).dtype == int
    monkeypatch.setattr(joint, "near_twins", lambda *given: calls.append(given) or [(3, 1), (4, 0)])
    assert task.twins(tmp_path / "kept").tolist() == task.twins(tmp_path / "kept").tolist() == [[3, 1], [4, 0]]
    assert calls[5:] == [(task.records, tmp_path / "kept", False)]


def test_members_differ_by_seed_and_features(task, monkeypatch, tmp_path):
    """What reaches the training: a network of two tensors and two functionals, the split's crystals, a checkpoint of its own."""
    seen = []
    monkeypatch.setattr(joint, "fit", lambda *a, **k: seen.append((*a, k)) or "trained")
    split = task.split(0)

    def given(seed=0, member=0, recipe=RECIPE, task=task, split=split):
        assert joint.fit_member(recipe, task, split, seed, member, tmp_path, False) == "trained"
        return seen[-1]

    data, train, val, seed, shape, config, checkpoint, more = given(2, 1)
    assert torch.equal(data.scalars, task.of("b:1").scalars) and train is split["train"] and val is split["val"] and seed == 1002
    assert shape == DTNetConfig(CHANNELS, outputs=2, functionals=2, **RECIPE.options) and config is RECIPE.train and more == {"progress": False, "relative": 0.0}
    assert checkpoint.parent == tmp_path / "runs" and re.fullmatch(r"joint-seed2-1-[0-9a-f]{20}\.pt", checkpoint.name) and given(2, 1)[6] == checkpoint
    assert given(2, 2)[0] is task.data and [given(0, 2)[3], given(3, 0)[3]] == [2000, 3]
    labels = replace(task, data=replace(task.data, targets=task.data.targets + 1e-3))
    other = split | {"train": split["train"][1:]}
    kept = replace(task, data=replace(task.data, start=task.data.start + 1))
    variants = [given(2, 1, replace(RECIPE, train=replace(RECIPE.train, batch_size=32))), given(2, 1, replace(RECIPE, options=RECIPE.options | {"hidden": 9})), given(2, 1, replace(RECIPE, relative=0.5)),
                given(2, 1, task=labels), given(2, 1, split=other), given(2, 1, task=replace(task, checksum="x")), given(2, 1, task=kept), given(3, 1), given(2, 0)]  # fmt: skip
    assert len({checkpoint, *(v[6] for v in variants)}) == 1 + len(variants)


def test_predictions_of_members_and_their_sum(task, monkeypatch):
    """Each network sees its own channels; the total is the sum, of the labels too."""
    rows, parts = np.array([4, 0, 7]), np.arange(54.0).reshape(3, 2, 3, 3)
    channels = {1: CHANNELS, 2: CHANNELS, 3: tuple(2 * c for c in CHANNELS)}
    monkeypatch.setattr(joint, "predict", lambda network, data, wanted: network * parts if data.channels == channels[network] and wanted is rows else None)
    found, truth = joint.predict_members([1, 2, 3], RECIPE, task, rows)
    assert found.shape == (3, 3, 3, 3, 3) and truth.shape == (3, 3, 3, 3) and truth.dtype == np.float64
    np.testing.assert_allclose(found[1], 2 * np.concatenate([parts, parts.sum(1, keepdims=True)], 1))
    for k, i in enumerate(rows):
        r = task.records[i]
        np.testing.assert_allclose(truth[k], [r.eps_electronic, r.eps_ionic, r.eps_electronic + r.eps_ionic], rtol=1e-5, atol=1e-5)


def fitted(recipe, task, split, seed, member, cache_dir, progress):
    """Stands in for `fit_member`: a small network, and a history that says which it was."""
    torch.manual_seed(100 * seed + member)
    model = DTNet(DTNetConfig((2, 2, 2), width=(4, 3, 2), hidden=4, outputs=2, functionals=2))
    return SimpleNamespace(model=model, best_epoch=10 * seed + member, history={"validation": [9.0, 1.0 + member, 5.0]})


def opinions(offsets, isotropic=0.0):
    """Stands in for `predict_members`: the truth times 1 + a made-up error of each member and crystal, and a share of that error itself."""

    def told(networks, recipe, task, rows):
        truth = np.array([[r.eps_electronic, r.eps_ionic, r.eps_total] for r in (task.records[i] for i in rows)])
        errors = np.array([[offsets(m, int(i)) for i in rows] for m in range(len(networks))])
        return truth + errors[..., None, None, None] * (truth + isotropic * np.eye(3)), truth

    return told


def test_records_of_a_run_by_hand(task, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(joint, "fit_member", lambda *a: calls.append((a[3], a[4])) or fitted(*a))
    monkeypatch.setattr(joint, "predict_members", opinions(lambda m, i: (0.1, 0.2, -0.9)[m] + 0.01 * (i % 2)))
    split = task.split(1)
    twin = split["test"][1]
    monkeypatch.setattr(joint, "near_twins", lambda *_: [(int(twin), int(split["train"][0]))])
    results = tmp_path / "results.json"
    runs = joint.run_joint("small", [1, 0], results=results, cache_dir=tmp_path / "cache", progress=False)
    assert calls == [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1), (0, 2)]
    assert [(r["seed"], r["target"]) for r in runs] == [(s, t) for s in (1, 0) for t in ("electronic", "ionic", "total")]
    records = [task.records[i] for i in split["test"]]
    one = fitted(RECIPE, task, split, 1, 0, None, False).model
    for run, name in zip(runs, ("eps_electronic", "eps_ionic", "eps_total"), strict=False):
        truth = np.array([getattr(r, name) for r in records])
        factor = np.array([1 - 0.2 + 0.01 * (i % 2) for i in split["test"]])[:, None, None]
        assert run["mae_ten"] == pytest.approx(mae_ten(truth, factor * truth))
        assert run["members_mae_ten"] == pytest.approx([mae_ten(truth, (factor + x) * truth) for x in (0.3, 0.4, -0.7)])
        rest = split["test"] != twin
        assert run["n_near_twins"] == 1 and run["mae_ten_without_near_twins"] == pytest.approx(mae_ten(truth[rest], (factor * truth)[rest]))
        assert run["best_epoch"] == [10, 11, 12] and run["validation_loss"] == [1.0, 2.0, 3.0] and run["members"] == list(RECIPE.members)
        assert run["parameters"] == 3 * sum(p.numel() for p in one.parameters())
        assert [run[f"n_{part}"] for part in ("train", "val", "test")] == [len(split[part]) for part in ("train", "val", "test")]
        assert (run["model"], run["split"], run["profile"], run["data_sha256"]) == ("DTNet-joint", "record", "full", "sum of full") and 0 <= run["wall_s"] < 1000
        assert run["command"] == "dtnet train joint --recipe small --split record --profile full --seeds 1" and run["settings"] == plain(asdict(RECIPE))
    assert joint.run_joint("small", [0, 1], results=results, cache_dir=tmp_path / "cache", progress=False) == runs[3:] + runs[:3] and len(calls) == 6
    stored = [r for r in load_results(results) if (r["seed"], r["target"]) != (0, "ionic")]
    results.write_text(json.dumps(stored))
    joint.run_joint("small", [0, 1], results=results, cache_dir=tmp_path / "cache", progress=False)
    assert calls[6:] == [(0, 0), (0, 1), (0, 2)] and len(load_results(results)) == 6  # a target that is missing is run again
    joint.run_joint("small", [0], "group", results=results, cache_dir=tmp_path / "cache", progress=False)
    assert len(calls) == 12 and len(load_results(results)) == 9 and load_results(results)[0]["split"] == "group"


def test_intervals_are_fitted_on_validation_crystals_and_tested_on_others(task, monkeypatch, tmp_path):
    """Members err by 10 % on validation crystals and by 30 % on test crystals of every split: intervals that had seen these would hold them."""
    splits = {seed: task.split(seed) for seed in (0, 2)}
    tested = {int(i) for split in splits.values() for i in split["test"]}
    known = {int(i) for split in splits.values() for i in split["val"]}
    offsets = lambda m, i: (0.1 if i in known - tested else 0.3) + 0.02 * (m - 1) + 0.001 * i  # noqa: E731
    told = opinions(offsets, 0.5)  # some crystals have no ionic part
    monkeypatch.setattr(ship, "load_task", lambda recipe, profile, **_: task)
    monkeypatch.setattr(ship, "fit_member", fitted)
    monkeypatch.setattr(ship, "predict_members", told)
    results, shown = tmp_path / "calibration.json", []
    results.write_text('[{"variant": "small", "old": 1}, {"variant": "large", "kept": 1}]')
    records = ship.ship("small", [0, 2], results, tmp_path / "weights", "mini", tmp_path, False, lambda *a: shown.append(a))
    about = read_json(tmp_path / "weights/small/calibration.json")
    assert about["members"] == list(RECIPE.members) and list(about["targets"]) == ["electronic", "ionic", "total"]
    every = {part: [told([0, 1, 2], RECIPE, task, split[part]) for split in splits.values()] for part in ("val", "test")}
    for k, (record, target) in enumerate(zip(records, about["targets"], strict=True)):
        members, truth = ({part: np.concatenate([f[j] for f in found], 1 - j) for part, found in every.items()} for j in (0, 1))
        val, test = members["val"][:, :, k], members["test"][:, :, k]
        assert about["targets"][target] == pytest.approx(calibrate(val, truth["val"][:, k], COVERAGES))
        factors = calibrate(val, truth["val"][:, k], ship.LEVELS)
        ratios = spread_ratios(test, truth["test"][:, k], factors["base"])
        assert record["coverage"] == pytest.approx([np.mean(ratios <= factors[str(level)]) for level in ship.LEVELS]) and record["levels"] == ship.LEVELS
        assert (record["variant"], record["target"], record["seeds"], record["n_val"], record["n_test"]) == ("small", target, [0, 2], val.shape[1], test.shape[1])
        assert shown[k][0] == target and np.allclose(shown[k][1], truth["test"][:, k]) and np.allclose(shown[k][2], test.mean(0))
        assert record["data_sha256"] == "sum of full" and record["command"] == "dtnet train ship --recipe small --seeds 0 2"
    assert records[0]["coverage"][ship.LEVELS.index(0.5)] < 0.2
    stored = load_results(results)
    assert [r["variant"] for r in stored] == ["large", "small", "small", "small"] and stored[1:] == plain(records)
    for m in range(3):
        network, metadata = load_network(tmp_path / f"weights/small/{m}.safetensors")
        wanted = fitted(RECIPE, task, splits[0], 0, m, None, False).model  # of seed 0, whatever seeds calibrate
        assert metadata == {"features": RECIPE.members[m], "seed": str(1000 * m)}
        assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), wanted.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match=r"seeds are \[1, 2\]; 0, whose networks ship, is not among them"):
        ship.ship("small", [1, 2], results)
    assert ship.LEVELS == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95) and set(COVERAGES) <= set(ship.LEVELS)
