"""Several targets, several kinds of labels: physical outputs, the loss, what must not be trained on."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dtnet_core.base.results import load_results
from dtnet_core.crystals.record import Record
from dtnet_core.data.held_out import material_groups
from dtnet_core.data.labels import load_auxiliary
from dtnet_core.data.loading import load_clean
from dtnet_core.data.splits import split_by_record
from dtnet_core.encoder import encode
from dtnet_core.ensemble import load_ensemble
from dtnet_core.features import from_mandel, to_mandel
from dtnet_core.layers import ChannelDropout
from dtnet_core.links import inverse_softplus, spectral_softplus
from dtnet_core.metrics import mae_ten
from dtnet_core.potentials.registry import load_encoder
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.training import joint, recipes, search
from dtnet_core.training.calibration import calibrate, spread_ratios
from dtnet_core.training.fit import TrainConfig
from dtnet_core.training.joint import Task, run_joint
from dtnet_core.training.loop import Run
from dtnet_core.training.losses import joint_errors, lighter, mean_of_known
from dtnet_core.training.recipes import Recipe
from dtnet_core.training.search import validate
from dtnet_core.training.sets import build_set
from dtnet_core.training.ship import SHIPPED_SEED, ship
from tests.blindness import MadeUp
from tests.conftest import CRYSTALS, random_rotation, turn
from tests.test_readout import random_features

ROOT = Path(__file__).resolve().parents[2]


def test_spectral_softplus_turns_and_has_a_gradient_where_eigenvalues_coincide():
    q = torch.from_numpy(random_rotation(3))
    for values in ([1.0, 1.0, 1.0], [-2.0, 0.5, 0.5], [-1.0, 0.3, 4.0], [0.5, 0.5 + 1e-9, 2.0]):
        values = torch.tensor(values, dtype=torch.float64)
        tensor = (q @ torch.diag(values) @ q.T).requires_grad_(True)
        image = spectral_softplus(tensor)
        expected = q @ torch.diag(torch.nn.functional.softplus(values)) @ q.T
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(torch.diag(inverse_softplus(torch.nn.functional.softplus(values))), torch.diag(values))
        symmetric = lambda six: spectral_softplus(from_mandel(six))  # noqa: E731
        assert torch.autograd.gradcheck(symmetric, to_mandel(tensor.detach()).requires_grad_(True), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize("link", ["clip", "softplus"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_joint_network_is_equivariant_and_physical(dtype, link):
    """Encoder and readout together, with every option of a joint model."""
    encoder = load_encoder("7net-0")
    crystals = [make() for make in CRYSTALS.values()]
    q = -random_rotation(4)
    torch.manual_seed(0)
    before = encode(encoder, crystals, 4)
    config = DTNetConfig(before.channels, width=(24, 12, 8), outputs=2, link=link, functionals=2, input_dropout=0.1)
    network = DTNet(config).to(dtype).eval()
    torch.nn.init.normal_(network.functional.weight)
    network.fit_scales(before.pack(), torch.eye(3).expand(4, 2, 3, 3) * torch.tensor([2.0, 8.0, 5.0, 3.0]).view(4, 1, 1, 1))
    cast = lambda f: type(f)(*(x.to(dtype) for x in (f.scalars, f.vectors, f.tensors)), f.n_atoms)  # noqa: E731
    with torch.no_grad():
        tensors = network(cast(before)).numpy()  # [4, 2, 3, 3]
        turned = network(cast(encode(encoder, [turn(c, q) for c in crystals], 4))).numpy()
    np.testing.assert_allclose(turned, q @ tensors @ q.T, atol=3e-5 * np.abs(tensors).max())  # the encoder's float32
    eigenvalues = np.linalg.eigvalsh(tensors)
    assert (eigenvalues[:, 0] >= 1 - 1e-5).all() and (eigenvalues[:, 1] >= -1e-5).all()
    assert np.ptp(eigenvalues[1:], axis=-1).min() > 1e-3


def test_functionals_are_told_apart_and_none_is_the_first():
    features = random_features(edges=None)
    network = DTNet(DTNetConfig(features.channels, functionals=2, outputs=2)).double().eval()
    torch.nn.init.normal_(network.functional.weight)  # as after training, when no shift is zero
    first, mixed = (network(replace(features.pack(), functional=torch.tensor(which))) for which in ([0, 0, 0], [0, 1, 1]))
    torch.testing.assert_close(network(features), first)
    torch.testing.assert_close(mixed[0], first[0])
    assert (mixed - first).abs().amin((1, 2, 3))[0] == 0 and (mixed - first).abs().amax((1, 2, 3))[1:].min() > 1e-6


def test_a_folder_without_further_labels_trains_on_the_benchmark_alone(tmp_path):
    with pytest.warns(UserWarning, match="labels") as caught:
        assert load_auxiliary([], tmp_path) == []
    assert [str(w.message).split(".json")[0] for w in caught] == ["no pbesol_tensors", "no mp_scalars"]


def test_channel_dropout_keeps_directions_and_the_mean():
    torch.manual_seed(0)
    layer = ChannelDropout(0.25)
    s, v, t = layer(torch.ones(500, 90), torch.ones(500, 3, 40), torch.ones(500, 6, 30))
    for x in (s, v, t):
        assert abs(x.mean() - 1) < 0.02 and abs((x == 0).float().mean() - 0.25) < 0.02
    assert (v.std(1) == 0).all() and (t.std(1) == 0).all()
    assert layer.eval()(s)[0] is s


def test_loss_of_a_tensor_and_of_a_scalar():
    g = np.random.default_rng(0)
    a, b = (x + x.swapaxes(-1, -2) for x in g.normal(size=(2, 5, 2, 3, 3)))
    mandel = [to_mandel(torch.from_numpy(x)) for x in (a, b)]
    errors, known = (x.numpy() for x in joint_errors(*mandel, torch.tensor([0, 0, 0, 1, 1])))
    assert known.all()
    for k, (x, y) in enumerate([(a[:, 0], b[:, 0]), (a[:, 1], b[:, 1]), (a.sum(1), b.sum(1))]):
        assert errors[:3, k].mean() == pytest.approx(mae_ten(y[:3], x[:3]))
        mean = [np.trace(z[3:], axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3) for z in (x, y)]
        assert errors[3:, k].mean() == pytest.approx(mae_ten(*mean))
    mandel[1][1, 1], form = float("nan"), torch.tensor([2, 0, 0, 1, 1])
    again, known = joint_errors(*mandel, form)
    diagonal = np.abs(np.diagonal(a[0, 0] - b[0, 0])).sum() / 6  # three of six elements, the others right
    assert again[0, 0].item() == pytest.approx(diagonal) and known[1].tolist() == [True, False, False] and again[1, 1:].tolist() == [0, 0]
    np.testing.assert_allclose(mean_of_known(again, known), [again[:, 0].mean(), *(again[[0, 2, 3, 4], k].mean() for k in (1, 2))], rtol=1e-12)


def test_errors_of_large_tensors_count_less():
    """By hand: constants 2 and 6 beside typical ones of 2 and 3; what is not known counts as it did."""
    target = torch.stack([to_mandel(x * torch.eye(3)) for x in (2.0, 6.0)])[None].repeat(2, 1, 1)
    target[1, 1] = float("nan")
    typical = torch.tensor([2.0, 3.0])
    assert lighter(target, typical, 1.0).tolist() == [pytest.approx([1, 6 / 9, 10 / 13]), [1, 1, 1]]
    assert lighter(target, typical, 0.5)[0].tolist() == pytest.approx([1, (6 / 9) ** 0.5, (10 / 13) ** 0.5]) and (lighter(target, typical, 0.0) == 1).all()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tiny recipe among the named ones, and a cache for its features and runs."""
    recipe = Recipe(("7net-0:1", "7net-0:2", "7net-0:1+7net-0:2"), (), TrainConfig(1e-3, batch_size=16, max_epochs=12, ema=0.9), {"width": (16, 8, 4), "initial_anisotropy": 0.1, "link": "softplus"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "small", recipe)
        patch.setitem(recipes.RECIPE_OF, "small", "small")
        yield recipe, tmp_path_factory.mktemp("cache")


def test_joint_runs_end_to_end_and_ships(small, tmp_path, crystals):
    recipe, cache = small
    results = tmp_path / "results.json"
    runs = run_joint("small", [0, 1], profile="mini", results=results, cache_dir=cache, progress=False)
    assert [(r["seed"], r["target"]) for r in runs] == [(s, t) for s in (0, 1) for t in ("electronic", "ionic", "total")]
    assert load_results(results) == sorted(runs, key=lambda r: (r["target"], r["seed"]))
    assert run_joint("small", [0, 1], profile="mini", results=results, cache_dir=cache, progress=False) == runs  # stored
    for run in runs:
        assert run["mae_ten"] <= np.mean(run["members_mae_ten"]) + 1e-9  # a mean is no worse than its members are on average
        assert len(run["members"]) == 3 and run["by_system"]["all"]["n"] == run["n_test"]
    drawn = []
    records = ship("small", [0, 1], tmp_path / "calibration.json", tmp_path / "weights", "mini", cache, False, lambda *shown: drawn.append(shown))
    assert [r["target"] for r in records] == ["electronic", "ionic", "total"]
    assert [target for target, *_ in drawn] == ["electronic", "ionic", "total"] and all(a.shape == b.shape for _, a, b in drawn)
    for record in records:
        assert record["coverage"] == sorted(record["coverage"]) and record["coverage"][0] >= 0 and record["coverage"][-1] <= 1

    task = joint.load_task(recipe, "mini", cache_dir=cache, progress=False)
    rows = task.split(0)["test"]
    total = load_ensemble("total", "small", tmp_path / "weights").predict([task.records[i].structure for i in rows], cache)
    reference = np.array([task.records[i].eps_total for i in rows])
    assert mae_ten(reference, total.members.mean(0)) == pytest.approx(runs[2]["mae_ten"], rel=1e-5)  # what ships is what was tested
    parts = [load_ensemble(t, "small", tmp_path / "weights").predict(crystals, cache) for t in ("electronic", "ionic", "total")]
    np.testing.assert_allclose(parts[0].members + parts[1].members, parts[2].members, atol=1e-6)
    q = -random_rotation(11)
    turned = load_ensemble("total", "small", tmp_path / "weights").predict([turn(c, q) for c in crystals], cache)
    np.testing.assert_allclose(turned.members, q @ parts[2].members @ q.T, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(turned.std, parts[2].std, rtol=1e-3)
    assert (parts[2].std > 0).all() and (parts[2].wide >= parts[2].std).all()
    with pytest.raises(ValueError, match="has small"):
        load_ensemble("total", "large", tmp_path / "weights")
    with pytest.raises(ValueError, match="electronic, ionic, total"):
        load_ensemble("magnetic", "small", tmp_path / "weights")
    (tmp_path / "weights" / "small" / "2.safetensors").unlink()
    with pytest.raises(ValueError, match="3 networks were calibrated, 2 are there"):
        load_ensemble("total", "small", tmp_path / "weights")


def test_no_relative_of_a_held_out_crystal_is_trained_on(small):
    """Also not of the auxiliary records, in any cell, nor within the benchmark."""
    recipe, cache = small
    task = joint.load_task(recipe, "mini", cache_dir=cache, progress=False)
    copies = [replace(r, id=f"copy-{r.id}", structure=r.structure * (1, 1, 2), eps_total=None) for r in task.records[:40]]
    together = replace(task, records=[*task.records, *copies], group=material_groups([*task.records, *copies]))
    for seed in range(3):
        split = together.split(seed)
        held_out = {together.group[i] for part in ("val", "test") for i in split[part]}
        assert not held_out & {together.group[i] for i in split["train"]}
        assert max(*split["val"], *split["test"]) < task.n_benchmark
        n_copies = (split["train"] >= task.n_benchmark).sum()
        assert 20 < n_copies == 40 - sum(i < 40 for part in ("val", "test") for i in split[part])


def test_intervals_keep_their_promise_on_new_crystals():
    g = np.random.default_rng(0)
    truth = np.eye(3) * g.uniform(2, 20, (4000, 1, 1))
    sigma = 0.05 * truth * g.lognormal(0, 0.7, (4000, 1, 1))
    centre = truth + np.eye(3) * g.laplace(0, 1, (4000, 1, 1)) * sigma
    members = np.stack([centre + np.eye(3) * g.normal(0, 1, (4000, 1, 1)) * sigma for _ in range(4)])
    fitted = calibrate(members[:, :2000], truth[:2000])
    ratios = spread_ratios(members[:, 2000:], truth[2000:], fitted["base"])
    for level in (0.68, 0.9):
        assert (ratios <= fitted[str(level)]).mean() == pytest.approx(level, abs=0.03)


def test_roads_are_judged_by_validation_crystals_only(small, monkeypatch):
    recipe, cache = small
    task = joint.load_task(recipe, "mini", cache_dir=cache, progress=False)
    seen = []
    whole = Task.split

    def watched(self, *arguments):
        found = whole(self, *arguments)
        seen.append(found)
        return found

    monkeypatch.setattr(Task, "split", watched)
    scores = validate(search.changed(recipe, max_epochs=2, dropout=0.1), task, (0, 1), cache, progress=False)
    assert all(len(v) == 2 and np.isfinite(v).all() for v in scores.values())
    assert [sorted(s) for s in seen] == [["train", "val"]] * 2  # the test crystals were put away
    for changes in search.ROADS.values():
        road = search.changed(search.PLAIN, **changes)
        DTNet(DTNetConfig((8, 4, 2), outputs=2, **road.options))
        assert all(changes[k] in (getattr(road, k, None), getattr(road.train, k, None), road.options.get(k)) for k in changes)


@pytest.mark.parametrize("variant", ["default", "best"])
def test_the_shipped_files_are_the_networks_that_were_tested(variant):
    """Errors of the files on the test crystals of their split, against the stored record; needs the full data."""
    try:
        records = load_clean("full")[0]
    except FileNotFoundError as error:
        pytest.skip(str(error))
    recipe = recipes.RECIPES[recipes.RECIPE_OF[variant]]
    try:
        for part in recipe.features.split("+"):
            load_encoder(part.split(":")[0])
    except (ImportError, FileNotFoundError) as error:
        pytest.skip(str(error))
    rows = split_by_record([r.id for r in records], SHIPPED_SEED)["test"]
    stored = load_results(Path(__file__).resolve().parents[2] / "data/results/tensors.json")
    wanted = joint._identity(recipe, "total", "record", SHIPPED_SEED, "full").items()
    (run,) = [r for r in stored if wanted <= r.items()]
    ensemble = load_ensemble("total", variant)
    ensemble.reach = None  # the networks alone
    found = ensemble.predict([records[i].structure for i in rows], progress=False)
    assert mae_ten(np.array([records[i].eps_total for i in rows]), found.tensors) == pytest.approx(run["mae_ten"], rel=1e-4)


def test_quantiles_are_the_order_statistics_that_conformal_prediction_asks_for():
    """Errors of 0.1, 0.2, ... on constants of 10, members of one opinion: the ratios are multiples of 0.01 / base."""
    for n, ranks in ((200, {"0.68": 137, "0.9": 181, "0.5": 101}), (30, {"0.68": 22, "0.9": 28, "0.5": 16}), (4, {"0.68": 4, "0.9": 4, "0.5": 3})):
        errors = 0.1 * np.random.default_rng(n).permutation(np.arange(1, n + 1)) * np.where(np.arange(n) % 2, 1, -1)
        q = random_rotation(n)
        members = np.broadcast_to(q @ np.diag([5.0, 10, 15]) @ q.T, (3, n, 3, 3))
        fitted = calibrate(members, members[0] + errors[:, None, None] * np.eye(3), (0.68, 0.9, 0.5))
        assert {c: fitted[c] * fitted["base"] for c in ranks} == pytest.approx({c: 0.01 * rank for c, rank in ranks.items()})  # ceil(c (n + 1))


def test_intervals_lean_on_the_members_where_these_know():
    """Errors as large as the members' deviation need no share of the constant; errors that it says nothing of need one."""
    g = np.random.default_rng(1)
    deviation = g.lognormal(-2, 1, 500)
    pair = np.array([-1, 1])[:, None] * deviation / 2**0.5  # sample deviation of two: `deviation`
    members = (8 + pair)[..., None, None] * np.eye(3)
    knowing = calibrate(members, (8 + deviation * g.choice([-1, 1], 500))[:, None, None] * np.eye(3))
    blind = calibrate(members, (8 + g.choice([-1, 1], 500))[:, None, None] * np.eye(3))
    assert knowing["base"] == pytest.approx(0.005) and knowing["0.9"] == pytest.approx(1, abs=0.01) and blind["base"] > 0.1
    ratio = spread_ratios(members, np.broadcast_to(9.5 * np.eye(3), (500, 3, 3)), 0.3)
    np.testing.assert_allclose(ratio, 1.5 / np.hypot(deviation, 0.3 * 8))


def test_weights_of_the_loss_are_electronic_ionic_total():
    """Their mean does not matter; the sum's error is in units of the sum of both scales."""
    network = SimpleNamespace(output_scale=torch.tensor([2.0, 3.0]), forward_mandel=lambda batch: batch)
    target = to_mandel(torch.eye(3).expand(2, 2, 3, 3) * torch.tensor([4.0, 10.0])[None, :, None, None])
    data = SimpleNamespace(targets=target, form=None, batch=lambda rows: target[rows] + to_mandel(torch.eye(3) * torch.tensor([0.4, 1.2])[:, None, None]))
    errors = np.array([0.4 / 2 / 2, 1.2 / 2 / 3, 1.6 / 2 / 5])  # half of an isotropic error, in units of the spreads
    for weights in ((5.0, 1.0, 0.5), (), (1.0, 1.0, 9.0)):
        run = Run.__new__(Run)
        run.network, run.criterion, run.weights, run.relative = network, None, weights, 0.0
        expected = np.array(weights or (1, 1, 1)) / np.mean(weights or 1)
        assert run.loss(data, torch.arange(2)).item() == pytest.approx((expected * errors).mean(), rel=1e-5)
    # constants of 4, 10 and 14 beside typical ones of 4, 30 and 34: the first counts as it did, the others by 60/40 and 68/48; and not in validation
    network.output_mean, run.weights, run.relative = torch.tensor([4.0, 30.0]), (), 2.0
    assert run.loss(data, torch.arange(2)).item() == pytest.approx((errors * [1, 1.5**2, (68 / 48) ** 2]).mean(), rel=1e-5)
    assert run.loss(data, torch.arange(2), network).item() == pytest.approx(errors.mean(), rel=1e-5)
    found = next(t for t in json.loads((ROOT / "data/results/search.json").read_text())["trials"] if t["number"] == 2)
    assert recipes.TRAIN.weights == pytest.approx((found["params"]["electronic"], 1.0, 1.0), abs=0.02)


def test_sets_say_whose_labels_they_hold():
    """Functional and scalar flags of a set, and that a batch takes those of its crystals."""
    tensor = np.diag([2.0, 3.0, 4.0])
    crystals = [CRYSTALS["triclinic"]()] * 4
    kinds = [("PBE", tensor), ("PBEsol", tensor), ("PBEsol", None), ("PBE+U", tensor)]
    records = [Record(str(i), s, "X", eps_electronic=t, eps_ionic=t, eps_total=None if t is None else 2 * t, functional=name,
                      meta={"eps_electronic_poly": 5.0, "eps_total_poly": 12.0}) for i, (s, (name, t)) in enumerate(zip(crystals, kinds, strict=True))]  # fmt: skip
    features = MadeUp().features("a", crystals)
    data = build_set(features, records, ("electronic", "ionic"), scalars=True)
    assert data.functional.tolist() == [0, 1, 1, 0] and data.form.tolist() == [0, 0, 1, 0]
    assert data.batch(torch.tensor([2, 0])).functional.tolist() == [1, 0]
    np.testing.assert_allclose(data.target_tensors()[2], [5 * np.eye(3), 7 * np.eye(3)])
    np.testing.assert_allclose(data.target_tensors()[0], [tensor, tensor])
    plain = build_set(features[:2], records[:2], "total")
    assert plain.functional is None and plain.form is None
    with pytest.raises(ValueError, match=r"record 2 .* has no electronic tensor"):
        build_set(features, records, "electronic")


def test_base_is_sought_between_half_a_percent_and_a_half():
    """41 values, evenly spaced in their logarithm. Errors that are a share of the constant want all of it; a mixed case wants one between."""
    g, grid = np.random.default_rng(2), 0.005 * 100 ** (np.arange(41) / 40)
    constant, deviation = g.uniform(4, 30, 600), g.lognormal(-1, 1, 600)
    pair = constant + np.array([-1, 1])[:, None] * deviation / 2**0.5
    members = pair[..., None, None] * np.eye(3)
    fitted = lambda errors: calibrate(members, (constant + errors)[:, None, None] * np.eye(3))["base"]  # noqa: E731
    assert fitted(0.2 * constant * g.choice([-1, 1], 600)) == pytest.approx(0.5)
    mixed = np.hypot(deviation, 0.05 * constant) * g.choice([-1, 1], 600)
    found = fitted(mixed)
    assert 0.02 < found < 0.1 and np.isclose(grid, found, rtol=1e-9).sum() == 1
    costs = [np.log(np.hypot(deviation, b * constant)).mean() + np.log((np.abs(mixed) / np.hypot(deviation, b * constant)).mean()) for b in grid]
    assert found == pytest.approx(grid[np.argmin(costs)])  # the likeliest of them for errors of Laplace's law
