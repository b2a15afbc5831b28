"""Matbench's learners and their mixture on numbers small enough to work out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dtnet_core.features import to_mandel
from dtnet_core.matbench import model
from dtnet_core.matbench import run as matbench
from dtnet_core.matbench.model import (
    Inputs,
    Network,
    Shallow,
    convex_weights,
    design_matrix,
    join_sets,
    train_network,
)
from dtnet_core.matbench.perceptron import Perceptron
from dtnet_core.matbench.run import (
    FURTHER,
    KERNELS,
    LEARNERS,
    POOL,
    Held,
    Settings,
    inner_split,
    pool_of,
    predict_fold,
    read_by,
    run,
)
from dtnet_core.matbench.task import Row, Task, five_folds
from dtnet_core.training import joint, recipes, sets
from dtnet_core.training.sets import CrystalSet, pooled_invariants
from tests.blindness import MadeUp, differences, no_orbits, small_records


def crystal_set(*sizes, seed=0) -> CrystalSet:
    """Atoms of unequal weights."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    n = sum(sizes)
    weights = torch.cat([torch.arange(1.0, k + 1, dtype=torch.float64) * 2 / (k * (k + 1)) for k in sizes])
    return CrystalSet(draw(n, 4), draw(n, 3, 3), draw(n, 6, 2), weights, torch.tensor([0, *np.cumsum(sizes)]), draw(len(sizes), 6, 6))


def test_pooled_features_are_weighted_means_spreads_and_norms():
    crystals = crystal_set(1, 3, 2)
    found = pooled_invariants(crystals)
    assert found.shape == (3, 2 * 4 + 3 + 2)
    for b, (start, end) in enumerate(((0, 1), (1, 4), (4, 6))):
        s, v, t, w = (x[start:end].numpy() for x in (crystals.scalars, crystals.vectors, crystals.tensors, crystals.weights))
        mean = np.average(s, axis=0, weights=w)
        wanted = [mean, np.sqrt(np.average((s - mean) ** 2, axis=0, weights=w)), *(np.average(np.linalg.norm(x, axis=1), axis=0, weights=w) for x in (v, t))]
        np.testing.assert_allclose(found[b], np.concatenate(wanted), atol=1e-12)


def test_joined_sets_are_their_crystals_in_order():
    one, other = crystal_set(1, 3), crystal_set(2, 1, 4, seed=1)
    both = join_sets([one, other])
    assert both.start.tolist() == [0, 1, 4, 6, 7, 11] and len(both) == 5 and both.targets is None
    for name in ("scalars", "vectors", "tensors", "weights", "projectors"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(other, name)]))
    assert join_sets([one]).start.tolist() == [0, 1, 4]


def test_crystals_may_be_encoded_in_any_portions(monkeypatch):
    made, structures = MadeUp(), [r.structure for r in small_records(11)]
    monkeypatch.setattr(sets, "stored_orbits", no_orbits)
    monkeypatch.setattr(model, "compute_descriptors", made.descriptors)
    for module in (model, joint):
        monkeypatch.setattr(module, "compute_features", made.features)
    whole = model.load_inputs(structures, "a:0+b:1", progress=False)
    assert len(whole.crystals) == 11 and set(whole.parts) == {"a:0", "b:1"} and len(whole.descriptors) == 11
    for portion in (4, 11, 1):
        monkeypatch.setattr(model, "_CHUNK", portion)
        found = model.load_inputs(structures, "a:0+b:1", progress=False)
        assert not differences(whole.crystals, found.crystals) and not differences(whole.descriptors, found.descriptors)


def test_a_networks_index_and_its_error():
    """Trace 12: n is the root of 4, or 4; errors of 1.5 against 2 and of 4 against 2."""
    tensors = to_mandel(torch.tensor([[[2.0, 1, 0], [1, 4, 0], [0, 0, 6]], [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]]))[:, None]
    assert Network("sqrt").index(tensors).tolist() == [2, 1] and Network("direct").index(tensors).tolist() == [4, 1]
    predicted, truth = torch.tensor([1.5, 4.0]), torch.tensor([2.0, 2.0])
    assert Network(loss="absolute").error(predicted, truth).item() == pytest.approx((0.5 + 2) / 2)
    assert Network(loss="log").error(predicted, truth).item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    plain = Network()
    assert (plain.quantity, plain.loss, plain.train) == ("sqrt", "log", replace(recipes.TRAIN, weights=())) and plain.features is None
    assert plain.options == {k: v for k, v in recipes.OPTIONS.items() if k != "link"}
    for wrong in ({"quantity": "root"}, {"loss": "square"}):
        with pytest.raises(ValueError, match="choose sqrt or direct, log or absolute"):
            Network(**wrong)


@pytest.mark.parametrize("quantity", ["sqrt", "direct"])
def test_what_a_network_is_trained_on(monkeypatch, quantity):
    """Isotropic tensors of n squared, or of n; a loss on n; eigenvalues always above 1."""
    seen, labels = {}, np.array([1.5, 2.0, 3.0, np.nan])
    monkeypatch.setattr(model, "fit", lambda data, *a, **k: seen.update(data=data, arguments=a, **k) or SimpleNamespace(model="trained"))
    crystals, train, validation = crystal_set(1, 2, 1, 1), np.array([2, 0]), np.array([1])
    spec = Network(quantity, "absolute")
    assert train_network(spec, crystals, labels, train, validation, 7, False) == "trained"
    n = labels**2 if quantity == "sqrt" else labels
    np.testing.assert_allclose(seen["data"].target_tensors(torch.arange(3))[:, 0], n[:3, None, None] * np.eye(3))
    rows, others, seed, shape, config = seen["arguments"]
    assert rows is train and others is validation and seed == 7 and config == spec.train and seen["progress"] is False
    assert (shape.channels, shape.outputs, shape.link, shape.floors[0], shape.width) == ((4, 3, 2), 1, "softplus", 1.0, recipes.OPTIONS["width"])
    loss = seen["loss"](3 * seen["data"].targets[:2], seen["data"].targets[:2]).item()
    assert loss == pytest.approx(((3**0.5 - 1) if quantity == "sqrt" else 2) * 1.75)  # of 1.5 and 2.0


def test_predictions_stay_within_the_training_labels(monkeypatch):
    crystals, labels = crystal_set(*[1] * 300), np.full(300, np.nan)
    labels[[0, 5, 9]] = 1.2, 2.0, 3.5
    answers = lambda batch: to_mandel(torch.eye(3) * batch.scalars[:, :1, None])[:, None]  # noqa: E731
    monkeypatch.setattr(model, "train_network", lambda *a: SimpleNamespace(forward_mandel=answers))
    inputs = Inputs(replace(crystals, scalars=torch.linspace(1, 25, 300)[:, None]), np.zeros((300, 1)), np.zeros((300, 1)))
    wanted = np.arange(300)[::-1].copy()
    found = Network("sqrt").predict(inputs, labels, np.array([0, 9]), np.array([5]), wanted, 0, False)
    np.testing.assert_allclose(found, np.clip(np.sqrt(np.linspace(1, 25, 300)[::-1]), 1.2, 3.5), rtol=1e-6)


@pytest.mark.parametrize("learner", [Shallow("kernel", 0), Perceptron(0, epochs=1, members=1, width=4)])
def test_labels_must_be_indices_and_sets_apart(learner):
    inputs = Inputs(crystal_set(*[1] * 6), np.random.default_rng(0).normal(size=(6, 3)), np.random.default_rng(1).normal(size=(6, 2)))
    labels, train, held = np.array([1.0, 2.0, 3.0, 1.5, 0.999, np.nan]), np.arange(3), np.array([3])
    assert learner.predict(inputs, labels, train, held, held, 0, False).shape == (1,)  # 1 itself is an index
    for rows, others, words in ((np.array([0, 4]), held, "training: label 0.999 of crystal 4"), (train, np.array([3, 5]), "validation: label nan of crystal 5"),
                                (train[:0], held, "training: no crystals"), (train, train[:0], "validation: no crystals"),
                                (train, np.array([3, 2]), "1 crystals are in both training and validation, the first is number 2")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            learner.predict(inputs, labels, rows, others, held, 0, False)


def test_columns_by_hand():
    """Two descriptors of four training rows and one other; the first has a gap, and the other row lies far out."""
    gap = np.array([[1.0, 5.0], [np.nan, 5.0], [3.0, 5.0], [8.0, 5.0], [1e9, 7.0]])
    inputs, train = Inputs(crystal_set(*[1] * 5), np.zeros((5, 3)), gap), np.arange(4)
    x = np.array([1.0, 3.0, 3.0, 8.0])  # the median of 1, 3 and 8 fills the gap
    z = (x - x.mean()) / x.std()
    found = design_matrix(inputs, train, 0, 0.5)  # descriptors only: the share does not matter
    np.testing.assert_allclose(found[:4, 0], z)
    np.testing.assert_allclose(found[:, 1], [0, 0, 0, 0, 2])  # a column that never varies keeps its units
    assert found.shape == (5, 2) and found[4, 0] == pytest.approx(5)  # clipped at five spreads
    far = design_matrix(replace(inputs, descriptors=np.where(gap > 1e8, -1e9, gap)), train, 0, 0.5)
    assert far[4, 0] == pytest.approx(-5)
    infinite = design_matrix(replace(inputs, descriptors=np.where(gap > 1e8, np.inf, gap)), train, 0, 0.5)
    assert infinite[4, 0] == pytest.approx((3 - x.mean()) / x.std())  # infinite is a gap too
    empty = design_matrix(replace(inputs, descriptors=np.column_stack([gap, np.full(5, np.nan)])), train, 0, 0.5)
    np.testing.assert_array_equal(empty[:, 2], 0)


def test_components_and_descriptors_have_their_shares():
    rng = np.random.default_rng(0)
    inputs = Inputs(crystal_set(*[1] * 12), rng.normal(size=(12, 4)) * [9, 5, 2, 1] + 3, rng.normal(size=(12, 3)))
    train = np.arange(8)
    for components, k in ((2, 2), (9, 4)):
        x = design_matrix(inputs, train, components, 0.03)
        assert x.shape == (12, 3 + k)
        assert (x[train, :3] ** 2).sum(1).mean() == pytest.approx(0.03) and (x[train, 3:] ** 2).sum(1).mean() == pytest.approx(1)
    assert design_matrix(inputs, train[:3], 9, 0.03).shape == (12, 3 + 2)  # three rows have two components
    standard = (inputs.pooled - inputs.pooled[train].mean(0)) / inputs.pooled[train].std(0)
    assert np.abs(standard).max() < 5
    _, _, axes = np.linalg.svd(standard[train], full_matrices=False)
    scores = standard @ axes.T
    scores /= np.sqrt((scores[train] ** 2).sum(1).mean())
    np.testing.assert_allclose(np.abs(design_matrix(inputs, train, 4, 0.03)[:, 3:]), np.abs(scores), atol=1e-9)
    plain = design_matrix(inputs, train, 0, 0.03)
    np.testing.assert_allclose((plain**2).sum(1)[train].mean(), 1)


def test_shallow_learners_are_those_that_were_tuned():
    trees, boosting, kernel = (model._estimator(kind, 3, {}).get_params() for kind in ("extra-trees", "boosting", "kernel"))
    assert {k: trees[k] for k in ("n_estimators", "max_features", "random_state")} == {"n_estimators": 400, "max_features": 0.3, "random_state": 3}
    wanted = {"loss": "absolute_error", "max_iter": 600, "learning_rate": 0.05, "min_samples_leaf": 10, "max_features": 0.3, "early_stopping": False, "random_state": 3}
    assert {k: boosting[k] for k in wanted} == wanted
    assert {k: kernel[k] for k in ("C", "epsilon", "gamma")} == {"C": 3.0, "epsilon": 0.01, "gamma": 0.1}
    assert model._estimator("kernel", 0, {"C": 5.0}).C == 5 and model._estimator("boosting", 0, {"max_iter": 7}).max_iter == 7 and model._estimator("extra-trees", 0, {"n_estimators": 9}).n_estimators == 9
    with pytest.raises(ValueError, match="'forest'; choose extra-trees, boosting or kernel"):
        model._estimator("forest", 0, {})
    assert Shallow() == Shallow("boosting", 64, 0.03, {})
    with pytest.raises(ValueError, match="'eps'; choose log or n"):
        Shallow(quantity="eps")
    grid = {(v.quantity, v.share, v.options["gamma"], v.options["C"], v.components) for v in KERNELS.values()}
    assert grid == {(q, s, g, c, 512) for q in ("log", "n") for s in (0.03, 0.3) for g in (0.03, 0.1, 0.3) for c in (1.0, 10.0)} and len(KERNELS) == 24
    assert set(POOL) <= set(LEARNERS) and LEARNERS["perceptron-no-dropout"].dropout == 0
    networks = [name for name in pool_of("7net-0:0-5+other:1") if name.startswith("network")]
    assert networks == ["network-7net-0-log"] and set(KERNELS) <= set(pool_of("other:1"))
    assert list(Settings().learners) == list(pool_of(Settings().features)) and len(pool_of(recipes.RECIPES["best"].features, FURTHER)) == len(POOL)
    assert set(pool_of("7net-0:0-5", FURTHER[:1])) - set(pool_of("7net-0:0-5")) == {"network-nequix-omat-1-log"}
    own = LEARNERS["network-nequix-omat-1-log"]
    assert read_by(own, "7net-0:0-5") == own.features and read_by(own, f"a:1+{own.features}") == f"a:1+{own.features}" and read_by(Shallow(), "a:1") == "a:1"


def test_a_kernel_machine_learns_the_logarithm():
    x = np.linspace(-1, 1, 40)[:, None]
    inputs, labels = Inputs(crystal_set(*[1] * 40), np.zeros((40, 1)), x), np.exp(1 + 0.8 * x[:, 0])
    wanted = np.array([33, 7])
    rows = np.setdiff1d(np.arange(40), [*wanted, 20])
    found = Shallow("kernel", 0).predict(inputs, np.where(np.isin(np.arange(40), wanted), np.nan, labels), rows, np.array([20]), wanted, 0)
    np.testing.assert_allclose(found, labels[wanted], rtol=0.02)


def test_weights_of_a_case_with_one_answer():
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(convex_weights(np.stack([truth + 3, truth - 1]), truth), [0.25, 0.75], atol=1e-9)
    np.testing.assert_allclose(convex_weights(np.stack([truth + 1, truth + 2, truth + 9]), truth), [1, 0, 0], atol=1e-9)  # the nearest corner


def test_a_tenth_of_a_fold_is_held_back_by_seed():
    train = np.array([50, 3, 17, 8, 90, 41, 66, 72, 29, 11, 95, 60, 34, 2, 81])
    drawn = np.random.default_rng(4).permutation(train)
    fit, held = inner_split(train, 4)
    assert held.tolist() == sorted(drawn[:2]) and fit.tolist() == sorted(drawn[2:])  # 1.5 is two
    assert [len(inner_split(np.arange(n), 0)[1]) for n in (2, 5, 24, 26, 100)] == [1, 1, 2, 3, 10]


def little_task(n=10) -> Task:
    structure = small_records(1)[0].structure
    ids = [f"row-{i}" for i in range(n)]
    return Task(tuple(Row(i, "X", 1.5 + 0.25 * k, "A", structure) for k, i in enumerate(ids)), five_folds(ids), "little", "sum")


def test_a_fold_is_mixed_scored_and_summed_by_hand(monkeypatch):
    """Three learners, two seeds, two folds; two of them err in opposite ways, so that the mean of their logarithms knows the truth of the validation rows."""
    task, factors = little_task(40), {"right": (1.5, 1.0), "high": (3.0, 1.4), "low": (1 / 1.5, 0.6)}  # of n for validation rows, for test rows
    learners = {"right": Shallow("kernel"), "high": Shallow("kernel", 8), "low": Perceptron()}
    names = {id(v): k for k, v in learners.items()}

    def held(task, inputs, features, learner, fold, seed, cache_dir, progress):
        v, t = factors[names[id(learner)]]
        train, test = task.split(fold)
        rows = inner_split(train, seed)[1]
        turns = 1 if v == 3.0 else np.where(np.arange(len(rows)) % 2, -1, 1)  # up and down, row by row
        return Held(v**turns * task.n[rows], t * (1 + 0.1 * seed) * task.n[test], 2.0)

    monkeypatch.setattr(matbench, "predict_fold", held)
    predictions, summary = run(task, Settings("a:0", learners), (0, 1), (3, 1), progress=False)
    weights = {"right": 1 / 2, "high": 0.0, "low": 1 / 2}
    for fold in ("3", "1"):
        assert summary["weights"][fold] == pytest.approx(weights, abs=1e-6)
    one = np.exp(sum(w * np.log(factors[k][1]) for k, w in weights.items()))  # the mixture over the truth, seed 0
    both = one * 1.1**0.5
    rows = predictions.set_index("mbid")
    assert set(rows.index) == {*task.folds[3].test, *task.folds[1].test} and len(predictions) == 16 and predictions.mbid.is_monotonic_increasing
    assert (rows.loc[list(task.folds[3].test)].fold == 3).all()
    n = dict(zip((row.mbid for row in task.rows), task.n, strict=True))
    truth = rows.index.map(n).to_numpy()
    np.testing.assert_allclose(rows.prediction, both * truth, rtol=1e-6)
    typical = np.mean([np.mean([n[i] for i in task.folds[f].test]) for f in (3, 1)])
    assert summary["mean_mae"] == pytest.approx(abs(both - 1) * typical, rel=1e-5)
    assert summary["mae_by_seed"] == pytest.approx([abs(one - 1) * typical, abs(1.1 * one - 1) * typical], rel=1e-5)
    for name, (_, t) in factors.items():
        assert summary["learners"][name]["mean_mae"] == pytest.approx(abs(1.05 * t - 1) * typical)
        assert summary["learners"][name]["mean_mae_one_seed"] == pytest.approx((abs(t - 1) + abs(1.1 * t - 1)) / 2 * typical)
    assert summary["wall_s"] == 24.0
    whole, summary = run(task, Settings("a:0", learners), progress=False)  # all folds, three seeds
    assert sorted(whole.mbid) == sorted(n) and list(summary["weights"]) == list("01234") and len(summary["mae_by_seed"]) == 3
    assert [f["n"] for f in summary["folds"]] == [8] * 5


class Echo(Shallow):
    """Says what it was given."""

    def predict(self, inputs, labels, train, validation, wanted, seed, progress=True):
        self.options["seen"] = (labels.copy(), train, validation, wanted, seed)
        return np.where(np.isin(wanted, self.options.get("holes", [])), np.nan, wanted + 1.0)


def test_stored_predictions_are_those_of_this_fold_learner_and_labels(monkeypatch, tmp_path):
    task, learner, calls = little_task(30), Echo("kernel", options={}), []
    monkeypatch.setitem(matbench._CODE, Echo, ())
    inputs = lambda: calls.append(1) or "inputs"  # noqa: E731
    train, test = task.split(2)
    fit, held = inner_split(train, 5)
    found = predict_fold(task, inputs, "a:0", learner, 2, 5, tmp_path, False)
    labels, rows, validation, wanted, seed = learner.options.pop("seen")
    assert np.flatnonzero(~np.isnan(labels)).tolist() == sorted(train) and (labels[train] == task.n[train]).all() and seed == 5
    assert rows.tolist() == fit.tolist() and validation.tolist() == held.tolist() and wanted.tolist() == [*held, *test]
    assert found.validation.tolist() == (held + 1.0).tolist() and found.test.tolist() == (test + 1.0).tolist() and found.wall_s >= 0
    again = predict_fold(task, inputs, "a:0", learner, 2, 5, tmp_path, False)
    assert len(calls) == 1 and not differences(found.test, again.test) and not differences(found.validation, again.validation)
    assert again.wall_s == found.wall_s and "seen" not in learner.options
    others = [(task, "a:0", learner, 2, 6), (task, "b:0", learner, 2, 5), (task, "a:0", replace(learner, share=0.04), 2, 5), (task, "a:0", learner, 3, 5),
              (replace(task, sha256="other"), "a:0", learner, 2, 5), (replace(task, source="other"), "a:0", learner, 2, 5)]  # fmt: skip
    for k, (other, features, one, fold, seed) in enumerate(others):
        predict_fold(other, inputs, features, one, fold, seed, tmp_path, False)
        learner.options.pop("seen", None)
        assert len(calls) == 2 + k
    (path,) = (p for p in (tmp_path / "matbench").glob("little-fold2-seed5-*") if np.load(p)["wall_s"] == found.wall_s)
    for validation, test_rows in ((found.validation[1:], found.test), (found.validation, found.test[1:])):
        np.savez(path, validation=validation, test=test_rows, wall_s=1.0)
        n = len(calls)
        predict_fold(task, inputs, "a:0", learner, 2, 5, tmp_path, False)
        learner.options.pop("seen")
        assert len(calls) == n + 1  # of other rows: computed anew
    learner.options["holes"] = [test[1]]
    with pytest.raises(FloatingPointError, match="fold 2, seed 5: 1 predictions are not finite"):
        predict_fold(task, inputs, "a:0", learner, 2, 5, tmp_path, False)
