"""Training, joint models, shipping and searches do not look at test crystals: not at their labels, nor at their features."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dtnet_core import links
from dtnet_core.base.files import read_json
from dtnet_core.crystals.record import Record
from dtnet_core.data import held_out
from dtnet_core.data.held_out import material_groups
from dtnet_core.data.labels import WITH_TOTAL
from dtnet_core.data.splits import draw_split
from dtnet_core.training import experiment, joint, recipes, search, sets, ship
from dtnet_core.training.experiment import Experiment, run_experiment
from dtnet_core.training.fit import TrainConfig, fit
from dtnet_core.training.joint import run_joint
from dtnet_core.training.recipes import Recipe
from dtnet_core.training.sets import build_set
from tests.blindness import (
    MadeUp,
    Watch,
    differences,
    folder,
    no_orbits,
    only_scores,
    other_labels,
    small_records,
)

TRAIN = TrainConfig(3e-3, batch_size=8, max_epochs=4, ema=0.9)
RECIPE = Recipe(("a:0", "b:1", "a:0+b:1"), WITH_TOTAL, replace(TRAIN, max_epochs=3, weights=(2.0, 1.0, 1.0)), {"width": (8, 6, 4), "hidden": 8, "link": "clip"})


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return small_records()


@pytest.fixture
def made_up(monkeypatch) -> MadeUp:
    """Features that need no encoder, on every road."""
    found = MadeUp()
    monkeypatch.setattr(sets, "stored_orbits", no_orbits)
    for module in (experiment, joint, held_out):
        monkeypatch.setattr(module, "compute_features", found.features)
    return found


def essence(found) -> tuple:
    """What a training gives."""
    return found.model, found.history, found.best_epoch


@pytest.mark.parametrize("few", [100, 10])
def test_fit_sees_no_other_crystal(records, made_up, monkeypatch, few):
    """With few and with many crystals: input scales once came from all crystals where few were trained on."""
    monkeypatch.setattr(links, "FEW_CRYSTALS", few)
    rows = np.random.default_rng(0).permutation(len(records))
    train, validation, test = rows[:24], rows[24:32], rows[32:]

    def trained(records):
        data = build_set(made_up.features("a:0", [r.structure for r in records]), records, "total")
        return essence(fit(data, train, validation, 1, config=TRAIN, progress=False))

    before = trained(records)
    assert not differences(before, trained(other_labels(records, test)))
    assert "1.validation.0" in differences(before, trained(other_labels(records, validation)))
    made_up.change(records[i].structure for i in test)
    assert not differences(before, trained(records))
    made_up.change(records[i].structure for i in validation)
    after = trained(records)
    scales = [{k: v for k, v in model.state_dict().items() if k.endswith(("_scale", "_mean"))} for model, *_ in (before, after)]
    assert len(scales[0]) == 6 and not differences(*scales) and differences(before, after)


def test_an_experiment_scores_its_test_crystals_and_nothing_else(records, made_up, monkeypatch, tmp_path):
    watch, split = Watch(monkeypatch, experiment, "fit", essence), draw_split(records, 0)["test"]
    options = {"seeds": [0], "progress": False}

    def runs(records, name):
        monkeypatch.setattr(experiment, "load_clean", lambda *_: (records, "one file"))
        found = run_experiment(Experiment("total", "a:0", train=TRAIN), cache_dir=tmp_path / name, **options)
        files = {re.sub("-[0-9a-f]{16}", "", path): content for path, content in folder(tmp_path / name).items()}  # names know the labels
        return found[0], watch.take(), files

    before = runs(records, "before")
    after = runs(other_labels(records, split), "labels")
    assert only_scores(before[0], after[0]) and not differences(before[1:], after[1:])
    made_up.change(records[i].structure for i in split)
    after = runs(records, "features")
    assert only_scores(before[0], after[0]) and not differences(before[1:], after[1:])


@pytest.fixture(scope="module")
def family(records):
    """Forty records of the benchmark, then auxiliary relatives: copies of the first fifteen in other cells and a second functional, and
    other structures of all formulas; and the material of each.
    """
    copies = [replace(r, id=f"copy-{r.id}", mp_id=None, structure=r.structure * (1, 1, 2), functional="PBEsol", eps_total=1.1 * r.eps_total,
                      eps_electronic=1.1 * r.eps_electronic, eps_ionic=1.1 * r.eps_ionic) for r in records[:15]]  # fmt: skip
    others = [replace(r, id=f"other-{r.id}", mp_id=None, structure=r.structure.apply_strain([0.6, 0, -0.3], inplace=False)) for r in records]
    everything = [*records, *copies, *others]
    return everything, material_groups(everything)


@pytest.fixture
def world(family, made_up, monkeypatch):
    """A function that sets the labels, the records and their materials; the small recipe among the named ones."""
    everything, group = family
    monkeypatch.setitem(recipes.RECIPES, "small", RECIPE)
    monkeypatch.setitem(recipes.RECIPE_OF, "small", "small")
    monkeypatch.setattr(joint, "material_groups", lambda _: group)
    monkeypatch.setattr(joint, "near_twins", lambda *_: [])

    def tell(labelled):
        monkeypatch.setattr(joint, "load_clean", lambda *_: (list(labelled[:40]), "one file"))
        monkeypatch.setattr(joint, "load_auxiliary", lambda *_: list(labelled[40:]))

    return tell, everything, group


def relatives(everything, group, kind: str) -> np.ndarray:
    """Positions of all records that are a test crystal's material or, in the split by formula, of its formula."""
    test = draw_split(everything[:40], 0, kind)["test"]
    formulas = {everything[i].formula for i in test} if kind == "group" else set()
    return np.array([i for i, r in enumerate(everything) if group[i] in group[test] or r.formula in formulas])


@pytest.mark.parametrize("kind", ["record", "group"])
def test_joint_models_know_no_relative_of_a_test_crystal(world, made_up, monkeypatch, tmp_path, kind):
    tell, everything, group = world
    watch, hidden = Watch(monkeypatch, joint, "fit", essence), relatives(everything, group, kind)
    test = draw_split(everything[:40], 0, kind)["test"]
    assert (hidden >= 40).sum() >= 1 and (kind == "record" or not set(group[hidden]) <= set(group[test]))  # auxiliary relatives, too

    def runs(records, name):
        tell(records)
        return run_joint("small", [0], kind, cache_dir=tmp_path / name, progress=False), watch.take()

    before, trained = runs(everything, "before")
    for name, records in (("labels", other_labels(everything, hidden)), ("features", everything)):
        if name == "features":
            made_up.change(everything[i].structure for i in hidden)
        after, again = runs(records, name)
        assert len(again) == 3 and not differences(trained, again)
        assert all(only_scores(a, b) for a, b in zip(before, after, strict=True))
    shown = [i for i in range(len(everything)) if i not in hidden]
    assert differences(trained, runs(other_labels(everything, shown[-3:]), "shown")[1])  # auxiliary labels do count


def test_shipped_networks_and_intervals_are_no_matter_of_test_labels(world, made_up, tmp_path):
    """Factors stay; the coverage that is reported is that of the test crystals, so strange labels leave none."""
    tell, everything, group = world
    hidden = relatives(everything, group, "record")

    def shipped(records, name):
        tell(records)
        return ship.ship("small", [0], tmp_path / f"{name}.json", tmp_path / name, cache_dir=tmp_path / f"cache-{name}", progress=False)

    before, after = shipped(everything, "before"), shipped(other_labels(everything, hidden, 1e6), "labels")
    assert len(folder(tmp_path / "before")) == 4 and not differences(folder(tmp_path / "before"), folder(tmp_path / "labels"))
    for a, b in zip(before, after, strict=True):
        assert only_scores(a, b, {"coverage"}) and max(b["coverage"]) == 0 < max(a["coverage"])
    made_up.change(everything[i].structure for i in hidden)
    shipped(everything, "features")
    assert not differences(folder(tmp_path / "before"), folder(tmp_path / "features"))
    watched = draw_split(everything[:40], 0)["val"]
    factors = [read_json(tmp_path / name / "small" / "calibration.json") for name in ("before", "validation")
               if name == "before" or shipped(other_labels(everything, watched, 1e6), name)]  # fmt: skip
    assert differences(*factors)  # and of the validation crystals they are


def test_roads_and_searches_see_validation_crystals_only(world, made_up, tmp_path):
    tell, everything, group = world
    hidden = relatives(everything, group, "record")

    def judged(records, name):
        tell(records)
        task = joint.load_task(RECIPE, cache_dir=tmp_path / name, progress=False)
        return [search.validate(RECIPE, search.narrow(task, more), (0,), tmp_path / name, False) for more in (True, False)]

    before = judged(everything, "before")
    assert before[0] != before[1] and not differences(before, judged(other_labels(everything, hidden), "labels"))
    made_up.change(everything[i].structure for i in hidden)
    assert not differences(before, judged(everything, "features"))
    assert differences(before, judged(other_labels(everything, draw_split(everything[:40], 0)["val"]), "validation"))
