"""Baselines and the search for their learning rates do not look at test crystals."""

from dataclasses import replace

import pytest

from dtnet_core.baselines import experiment as module
from dtnet_core.baselines import references, search
from dtnet_core.baselines.experiment import BaselineExperiment, Shared, run_baseline
from dtnet_core.baselines.painn import PaiNN
from dtnet_core.data.splits import draw_split
from dtnet_core.training.fit import TrainConfig
from dtnet_core.training.scratch import experiment as scratch
from dtnet_core.training.scratch.experiment import ScratchExperiment, run_scratch
from dtnet_core.training.scratch.fit import ScratchNet, build_graphs
from dtnet_core.training.scratch.teanet import TeaNet
from tests.blindness import MadeUp, Watch, differences, only_scores, other_labels, small_records

TRAIN = TrainConfig(3e-3, batch_size=8, max_epochs=2)


@pytest.fixture(scope="module")
def world():
    """Twenty crystals, their graphs, the positions of the test crystals and of the validation crystals."""
    records = small_records(20)
    split = draw_split(records, 0)
    return records, build_graphs([r.structure for r in records], False), split["test"], split["val"]


def moved(graphs, rows):
    """The graphs with other bonds around the atoms of these rows."""
    return [replace(g, vectors=1.2 * g.vectors, lengths=1.2 * g.lengths) if i in rows else g for i, g in enumerate(graphs)]


def shared(records, graphs, cache_dir) -> Shared:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_clean", lambda *_: (records, "one file"))
        found = Shared("mini", cache_dir=cache_dir, progress=False)
    found.__dict__["graphs"] = graphs
    return found


def essence(found) -> tuple:
    """What a training gives."""
    return found.model, {k: v for k, v in found.history.items() if k != "seconds"}, found.best_epoch, found.best


@pytest.mark.parametrize("network", ["baseline", "scratch"])
def test_networks_score_their_test_crystals_and_nothing_else(world, monkeypatch, tmp_path, network):
    records, graphs, test, _ = world
    monkeypatch.setitem(module.NETWORKS, "PaiNN", lambda: PaiNN(8))
    monkeypatch.setattr(ScratchExperiment, "make", lambda self: ScratchNet(TeaNet(depth=1)))
    watch = Watch(monkeypatch, scratch, "fit_scratch", essence)

    def runs(records, graphs, name):
        if network == "scratch":
            (run,) = run_scratch(ScratchExperiment(layer=1, train=TRAIN), [0], records, graphs, "one file", None, tmp_path / name, False)
        else:
            (run,) = run_baseline(BaselineExperiment("PaiNN", train=TRAIN), [0], shared(records, graphs, tmp_path / name))
        return run, watch.take()

    before = runs(records, graphs, "before")
    for after in (runs(other_labels(records, test), graphs, "labels"), runs(records, moved(graphs, test), "features")):
        assert only_scores(before[0], after[0]) and not differences(before[1], after[1])


@pytest.mark.parametrize("name", list(module.REFERENCES))
def test_references_know_no_test_crystal(world, monkeypatch, tmp_path, name):
    records, graphs, test, _ = world
    made_up = MadeUp()
    monkeypatch.setattr(references, "compute_features", made_up.features)
    monkeypatch.setattr(references, "compute_descriptors", made_up.descriptors)

    def predicted(records, rows):
        around = shared(records, graphs, tmp_path)
        (run,) = run_baseline(BaselineExperiment(name), [0], around)
        return run, around.reference(name).predict(rows)

    known = [i for i in range(len(records)) if i not in test]
    before, after = predicted(records, test), predicted(other_labels(records, test), test)
    assert only_scores(before[0], after[0]) and not differences(before[1], after[1])
    before = predicted(records, known)
    made_up.change(records[i].structure for i in test)
    after = predicted(records, known)
    assert not differences(before[1], after[1]) and not differences(before[0]["settings"], after[0]["settings"])
    if name != "median":
        assert only_scores(before[0], after[0])


def test_learning_rates_are_chosen_without_test_crystals(world, monkeypatch, tmp_path):
    records, graphs, test, val = world
    monkeypatch.setitem(module.NETWORKS, "PaiNN", lambda: PaiNN(8))

    def found(records, graphs, name):
        return search.search(BaselineExperiment("PaiNN", train=replace(TRAIN, max_epochs=1)), 2, shared(records, graphs, tmp_path / name))

    before = found(records, graphs, "before")
    assert not differences(before, found(other_labels(records, test), graphs, "labels"))
    assert not differences(before, found(records, moved(graphs, test), "features"))
    assert differences(before, found(other_labels(records, val), graphs, "validation"))
