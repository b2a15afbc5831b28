"""Matbench: what predicts a fold's test rows, and what weighs the learners, knows neither their labels nor their features."""

from dataclasses import replace

import numpy as np
import pytest

from dtnet_core.matbench import model
from dtnet_core.matbench import run as matbench
from dtnet_core.matbench.model import Network, Shallow, design_matrix, load_inputs
from dtnet_core.matbench.perceptron import Perceptron, half_whitened
from dtnet_core.matbench.run import Settings, inner_split, run
from dtnet_core.matbench.task import Row, Task, five_folds
from dtnet_core.training import joint, sets
from dtnet_core.training.fit import TrainConfig
from tests.blindness import MadeUp, Watch, differences, no_orbits, small_records

LEARNERS = {
    "network": Network("sqrt", "log", TrainConfig(1e-2, max_epochs=2, ema=0.5), {"width": (6, 5, 4), "hidden": 8}),
    "kernel": Shallow("kernel", 4),
    "extra-trees": Shallow("extra-trees", 0, options={"n_estimators": 5}),
    "boosting": Shallow("boosting", 3, options={"max_iter": 5, "min_samples_leaf": 3}),
    "perceptron": Perceptron(4, width=8, epochs=2, members=2),
}


@pytest.fixture
def made_up(monkeypatch) -> MadeUp:
    """Features and descriptors that need no encoder."""
    found = MadeUp()
    monkeypatch.setattr(sets, "stored_orbits", no_orbits)
    monkeypatch.setattr(model, "compute_descriptors", found.descriptors)
    for module in (model, joint):
        monkeypatch.setattr(module, "compute_features", found.features)
    return found


@pytest.fixture(scope="module")
def task() -> Task:
    rows = tuple(Row(r.id, r.formula, float(np.sqrt(r.scalar("electronic"))), "mini", r.structure) for r in small_records(40))
    return Task(rows, five_folds([row.mbid for row in rows]), "mini", "one file")


def other_n(task: Task, rows: np.ndarray) -> Task:
    """The task with the indices of these rows handed on in a circle and stretched."""
    n = dict(zip([task.covered[i].mbid for i in rows], 1.5 * np.roll(task.n[rows], 1), strict=True))
    return replace(task, rows=tuple(replace(row, n=float(n.get(row.mbid, row.n))) for row in task.rows))


def test_learners_and_stack_know_nothing_of_the_test_fold(task, made_up, monkeypatch, tmp_path):
    held, (train, test) = Watch(monkeypatch, matbench, "predict_fold"), task.split(2)

    def runs(task, name):
        predictions, summary = run(task, Settings("a:0", LEARNERS), (0, 1), (2,), tmp_path / name, progress=False)
        return summary["weights"], predictions.prediction.to_numpy(), held.take(), summary["mean_mae"]

    before, after = runs(task, "before"), runs(other_n(task, test), "labels")
    assert len(before[2]) == 2 * len(LEARNERS) and differences(before, after) == {"3"}
    made_up.change(task.covered[i].structure for i in test)
    after = runs(task, "features")
    assert differences(before[1], after[1]) and not differences(before[0], after[0])
    assert not differences([h.validation for h in before[2]], [h.validation for h in after[2]])
    assert differences(before[0], runs(other_n(task, inner_split(train, 0)[1]), "validation")[0])  # these do weigh the learners


def test_scaling_gaps_and_components_are_those_of_the_training_rows(task, made_up):
    structures, rows = [row.structure for row in task.covered], np.random.default_rng(0).permutation(40)
    train, others = rows[:25], rows[25:]

    def matrices() -> tuple:
        inputs = load_inputs(structures, "a:0", progress=False)
        inputs.descriptors[rows[::7], 2] = np.nan  # gaps on both sides
        x = design_matrix(inputs, train, 4, 0.03)
        return x, half_whitened(x, train)

    before = matrices()
    made_up.change(structures[i] for i in others)
    after = matrices()
    assert before[0].shape == (40, 7 + 4) and np.isfinite(before[0]).all()
    for a, b in zip(before, after, strict=True):
        assert not differences(a[train], b[train]) and (a[others] != b[others]).any(1).all()
