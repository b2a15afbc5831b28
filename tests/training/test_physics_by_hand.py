"""The variant with modes, on made-up features, modes and networks: what its companion and intervals may know, and what its records say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dtnet_core.base.files import read_json
from dtnet_core.base.results import load_results, write_json
from dtnet_core.crystals.structures import crystal_key
from dtnet_core.ensemble import KNOWN
from dtnet_core.metrics import mae_ten, scalar_constant
from dtnet_core.physics.companion import fit_companion, load_companion
from dtnet_core.physics.ionic import MIXES, Modes, mend_all, modes_of
from dtnet_core.training import joint, recipes
from dtnet_core.training import physics as module
from dtnet_core.training import physics_intervals as intervals
from dtnet_core.training.calibration import calibrate, narrowed, spread_ratios
from dtnet_core.training.principal import fit as fit_principal
from dtnet_core.trust.reach import FEATURES as REACH_FEATURES
from dtnet_core.trust.reach import fit_reach, invariants_of, load_reach
from dtnet_core.trust.verdict import COVERAGES
from tests.blindness import MadeUp, no_orbits, small_records

N = 110
GROWTH = {"electronic": 0.0, "ionic": 0.7, "total": 1.3}


def seeded(name: str, structure) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(f"{name}{crystal_key(structure)}".encode(), "big") % 2**63)


def springs(structure) -> np.ndarray | None:
    """[3N, 3N] of a made-up crystal: three of ten have none, half of the others have soft modes."""
    g, n = seeded("springs", structure), 3 * len(structure)
    a, least = g.standard_normal((n, n)), g.choice([0.0, 5.0])
    return None if g.random() < 0.3 else a @ a.T + least * np.eye(n)


def charges(structure) -> np.ndarray:
    z = seeded("charges", structure).standard_normal((len(structure), 3, 3))
    return z - z.mean(0)


class World:
    """Everything that the module asks others for. Networks say what they say whatever the labels of the records are."""

    def __init__(self, monkeypatch, tmp_path, variant="best"):
        self.variant, self.name, self.mended = variant, f"{variant}-wide", {"best": "physics", "default": "default-physics"}[variant]
        self.encoder, self.layers = {"best": ("nequix-oam-1-pft", "nequix-oam-1-pft:0-4"), "default": ("7net-0", "7net-l3i5:0-5")}[variant]
        self.recipe = recipes.RECIPES[self.name]
        self.records, self.features, self.fitted, self.shipped = small_records(N), MadeUp(), [], []
        self.known, self.springs, self.weights = list(self.records), springs, tmp_path / "weights"
        extra = [replace(r, id=f"sol-{r.id}", mp_id=None, functional="PBEsol") for r in small_records(N + 4)[N:]]
        monkeypatch.setattr("dtnet_core.training.sets.stored_orbits", no_orbits)
        monkeypatch.setattr(joint, "compute_features", self.features.features)
        monkeypatch.setattr(joint, "load_clean", lambda *_: (self.records, "sum"))
        monkeypatch.setattr(joint, "load_auxiliary", lambda *_: extra)
        monkeypatch.setattr(joint, "near_twins", lambda *_: [(int(self.split()["test"][0]), int(self.split()["train"][0]))])
        monkeypatch.setattr(intervals, "compute_features", self.features.features)
        monkeypatch.setattr(module, "load_encoder", lambda name: name)
        monkeypatch.setattr(module, "stored_force_constants", lambda encoder, structures, *_, compute: [self.springs(s) for s in structures] if encoder == self.encoder and not compute else None)
        monkeypatch.setattr(module, "charges_out_of_fold", lambda features, records, **_: [charges(r.structure) for r in records] if features == self.layers else None)
        monkeypatch.setattr(module, "fit_member", lambda recipe, task, split, seed, m, *_: self.fitted.append((seed, m)) or SimpleNamespace(model=m))
        monkeypatch.setattr(module, "load_network", lambda path: self.shipped.append(path) or (int(path.stem), {}))
        monkeypatch.setattr(module, "predict_members", self.told)
        reach = fit_reach(invariants_of(self.features.features(REACH_FEATURES, [r.structure for r in self.records[:40]])), ["a"] * 40, ["MgO"] * 40)
        replace(reach, typical=0.9).save(self.weights / KNOWN)
        write_json(self.weights / variant / "calibration.json", {"members": ["x"], "targets": {t: {"base": 0.5, "growth": growth} for t, growth in GROWTH.items()}})
        self.cache, self.results = tmp_path / "cache", tmp_path / "physics.json"

    def task(self):
        return joint.load_task(self.recipe, cache_dir=self.cache, progress=False)

    def split(self, seed=0, kind="record"):
        return joint.draw_split(self.records, seed, kind)

    def told(self, networks, recipe, task, rows):
        """Each network is off by a factor of its own for each crystal, and by a part that is not the tensor's shape."""
        answers = []
        for m in networks:
            assert recipe is self.recipe
            for i in rows:
                r, g = self.known[i], np.random.default_rng([m, i])
                parts = np.stack([r.eps_electronic, r.eps_ionic]) * g.normal(1.1, 0.2, (2, 1, 1)) + np.diag(g.uniform(0.1, 0.5, 3))
                answers.append(np.concatenate([parts, parts.sum(0, keepdims=True)]))
        truth = np.array([[r.eps_electronic, r.eps_ionic, r.eps_electronic + r.eps_ionic] for r in (task.records[i] for i in rows)])
        return np.array(answers).reshape(len(networks), len(rows), 3, 3, 3), truth

    def run(self, seeds, **more):
        return module.run_physics(seeds, results=self.results, weights=self.weights, cache_dir=self.cache, progress=False, **{"name": self.name} | more)

    def expected(self, seed=0):
        """Companion of the split, and for validation and test crystals (plain, mended, apart, truth, numbers of modes), all from their definitions."""
        task = self.task()
        split, benchmark = task.split(seed), [r.structure for r in self.records]
        modes = modes_of([self.springs(s) for s in benchmark], [charges(s) for s in benchmark], [s.volume for s in benchmark])
        pooled = invariants_of(self.features.features(self.layers, benchmark))
        mine = np.array([i for i in split["train"] if i < N and modes.known[i]])
        constants = scalar_constant(np.stack([r.eps_ionic for r in self.records]))
        companion, said = fit_companion(pooled[mine], modes.numbers[mine], constants[mine]), {}
        for part in ("val", "test"):
            rows = split[part]
            plain, truth = self.told(range(len(self.recipe.members)), self.recipe, task, rows)
            mended, _, apart = mend_all(companion, plain, plain, pooled[rows], Modes(modes.numbers[rows], modes.sums[rows]), MIXES[self.variant])
            said[part] = plain, mended, apart, truth, modes.numbers[rows]
        return companion, said, split, modes, mine


@pytest.fixture(params=["best", "default"])
def world(monkeypatch, tmp_path, request):
    return World(monkeypatch, tmp_path, request.param)


def close(one, other) -> bool:
    """Whether two companions are the same machine, the second from half-precision features of a network's set."""
    return all(np.allclose(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-4) for name in ("center", "number_mean", "number_scale", "intercept"))


def test_records_by_hand(world):
    """Scores with modes and without, of all test crystals and of kinds of them; nothing but the split's training crystals with modes is fitted."""
    runs = world.run([1, 0])
    members = len(world.recipe.members)
    assert world.fitted == [(1, m) for m in range(members)] and [p.stem for p in world.shipped] == [str(m) for m in range(members)]  # those of seed 0 ship
    assert [(r["seed"], r["target"]) for r in runs] == [(1, "ionic"), (1, "total"), (0, "ionic"), (0, "total")]
    for run in runs:
        k, (_, said, split, modes, mine) = ("electronic", "ionic", "total").index(run["target"]), world.expected(run["seed"])
        plain, mended, _, truth, _ = said["test"]
        true, before, after = truth[:, k], plain.mean(0)[:, k], mended.mean(0)[:, k]
        assert run["mae_ten"] == pytest.approx(mae_ten(true, after), rel=1e-3) and run["without"]["mae_ten"] == pytest.approx(mae_ten(true, before), rel=1e-5)
        assert (run["model"], run["encoder"].split("+")[0], run["split"], run["profile"]) == ("DTNet-joint with modes, more labels", world.encoder, "record", "full")
        assert run["n_fitted"] == len(mine) and run["n_train"] == len(split["train"]) and run["n_test"] == len(true) and run["data_sha256"] == "sum"
        rows = split["test"]
        sums = np.exp(modes.numbers[rows])
        twin = np.isin(rows, [world.split()["test"][0]]) if world.split()["train"][0] in split["train"] else np.zeros(len(rows), dtype=bool)
        masks = {"with_modes": modes.known[rows], "soft": modes.known[rows] & (sums[:, 3] < sums[:, 0] * 2 / 3), "without_near_twins": ~twin}
        assert 0 < masks["soft"].sum() < masks["with_modes"].sum() < len(rows)
        for kind, mask in masks.items():
            assert run["kinds"][kind] == pytest.approx({"n": int(mask.sum()), "without": mae_ten(true[mask], before[mask]), "mae_ten": mae_ten(true[mask], after[mask])}, rel=1e-3)
        assert run["command"] == f"dtnet train physics --recipe {world.name} --split record --seeds {run['seed']}" and 0 <= run["wall_s"] < 1000
        assert run["settings"] == {"networks": world.name, "potential": world.encoder, **MIXES[world.variant]._asdict(), "dampings": [0.05, 0.15, 0.3, 0.6, 1.2], "soft": [0.6, 1 / 3]}
    assert not world.weights.joinpath(world.mended).exists()
    again = world.run([0, 1])
    assert again == runs[2:] + runs[:2] and len(world.fitted) == members and len(world.shipped) == members  # nothing is done twice
    world.run([0], kind="group")
    assert world.fitted[members:] == [(0, m) for m in range(members)] and len(load_results(world.results)) == 6


def softer(numbers, doubt):
    """Wider for soft crystals: a power of how much a damping of 0.6 lowers the sum over modes; of its own for crystals without modes."""
    return np.array([doubt["without"] if np.isnan(row[0]) else np.exp(row[0] - row[3]) ** doubt["soft"] for row in numbers])


def test_intervals_by_hand(world):
    """Factors from validation crystals of all seeds, narrowed for their growth on those of the seed that ships, and coverage of test crystals."""
    with pytest.raises(ValueError, match=r"seeds are \[1, 2\]; 0, whose networks ship, is not among them"):
        world.run([1, 2], ship=True)
    with pytest.raises(ValueError, match=f"the recipe is {world.variant}; the networks that ship are of {world.name}"):
        world.run([0], ship=True, name=world.variant)
    world.run([1, 0], ship=True)
    about, told = read_json(world.weights / world.mended / "calibration.json"), read_json(world.results.with_name(f"{world.mended}_intervals.json"))
    assert about["networks"] == world.variant and list(about["targets"]) == ["ionic", "total"]  # what it does not say is that of the networks
    every, split = [world.expected(seed) for seed in (1, 0)], world.split()
    assert close(load_companion(world.weights / world.mended / module.COMPANION), every[1][0]) and not close(load_companion(world.weights / world.mended / module.COMPANION), every[0][0])
    reach = load_reach(world.weights / KNOWN)
    away = {p: reach.nearest(reach.place(invariants_of(world.features.features(REACH_FEATURES, [world.records[i].structure for i in split[p]]))))[0] for p in ("val", "test")}
    assert told["seeds"] == [1, 0] and told["n_test"] == len(split["test"])
    narrower = []
    for k, target in ((1, "ionic"), (2, "total")):
        joined = {p: [np.concatenate([said[p][j][:, :, k] if j == 1 else said[p][j][:, k] if j == 3 else said[p][j] for _, said, *_ in every], 1 if j == 1 else 0) for j in (1, 3, 2, 4)] for p in ("val", "test")}
        flat = calibrate(*joined["val"][:2], COVERAGES, joined["val"][2], Modes(joined["val"][3], np.zeros((len(joined["val"][3]), 3, 3))))
        found, doubt = about["targets"][target], flat["doubt"]
        assert found["base"] == pytest.approx(flat["base"]) and found["doubt"] == doubt and found["growth"] == GROWTH[target]
        mine = {p: (every[1][1][p][1][:, :, k], every[1][1][p][3][:, k], every[1][1][p][2], softer(every[1][1][p][4], doubt)) for p in ("val", "test")}
        ratios = {p: spread_ratios(m, t, flat["base"], a) / s for p, (m, t, a, s) in mine.items()}
        wider = {p: np.maximum(1, away[p] / 0.9) ** GROWTH[target] for p in away}
        assert found["principal"] == pytest.approx(fit_principal(mine["val"][0], mine["val"][0], mine["val"][1], wider["val"] * mine["val"][3]), rel=5e-3)
        all_ratios, numbers = spread_ratios(*joined["test"][:2], flat["base"], joined["test"][2]) / softer(joined["test"][3], doubt), joined["test"][3]
        known, soft = np.isfinite(numbers[:, 0]), np.nan_to_num(np.exp(numbers[:, 3]) < np.exp(numbers[:, 0]) * 2 / 3)
        kinds = {"hard": known & ~soft, "soft": known & soft, "without_modes": ~known}
        assert told["covered"][target]["by_modes"].keys() == kinds.keys()
        for kind, mask in kinds.items():
            assert told["covered"][target]["by_modes"][kind] == pytest.approx({"n": mask.sum()} | {c: (all_ratios[mask] <= flat[c]).mean() for c in ("0.68", "0.9")}, abs=0.5 / mask.sum())
        assert told["covered"][target]["n_val"] == len(joined["val"][1])
        for c in ("0.68", "0.9"):
            assert found["flat"][c] == pytest.approx(flat[c], rel=2e-3)
            assert found[c] == pytest.approx(flat[c] * narrowed(ratios["val"], ratios["val"] / wider["val"], float(c)), rel=2e-3) and found[c] <= found["flat"][c]
            narrower.append(found[c] < found["flat"][c])
            assert told["covered"][target]["all_test_flat"][c] == pytest.approx((all_ratios <= flat[c]).mean(), abs=0.5 / len(all_ratios))
            assert told["covered"][target]["test"][c] == pytest.approx((ratios["test"] <= found[c] * wider["test"]).mean(), abs=0.5 / len(wider["test"]))
    assert sum(narrower) >= 3, narrower  # of four


def test_recipes_with_other_networks_or_labels_have_files_of_their_own():
    files = {name: module.default_results(name) for name in ("best", "best-wide", "default", "default-wide")}
    assert len(set(files.values())) == 4
    for name, file in files.items():
        for run in load_results(file):
            assert run["settings"]["networks"] == name and run["model"] == "DTNet-joint with modes" + (", more labels" if "wide" in name else "")
            assert run["settings"]["potential"] == run["encoder"].split("+")[0] == module.potential_of(name)
    with pytest.raises(ValueError, match="the recipe is worst; networks of best, default are mended"):
        module.default_results("worst")


def shipped(world) -> tuple[bytes, dict]:
    world.run([0], ship=True)
    return (world.weights / world.mended / module.COMPANION).read_bytes(), read_json(world.weights / world.mended / "calibration.json")["targets"]


@pytest.mark.parametrize(("part", "companion_stays", "intervals_stay"), [("test", True, True), ("val", True, False), ("train", False, False)])
def test_what_ships_has_not_seen_test_crystals_and_the_companion_no_validation_crystals(world, part, companion_stays, intervals_stay):
    """Labels, features and modes of one part are exchanged for others: bit for bit, what may not know of them stays."""
    before, rows = shipped(world), set(world.split()[part].tolist())
    if part == "train":
        rows = set(list(rows)[:10])
    world.records = [replace(r, eps_ionic=7 * r.eps_ionic + np.eye(3), eps_total=r.eps_electronic + 7 * r.eps_ionic + np.eye(3)) if i in rows else r for i, r in enumerate(world.records)]
    strange = {crystal_key(world.records[i].structure) for i in rows}
    world.springs = lambda s: 0.5 * np.eye(3 * len(s)) if crystal_key(s) in strange else springs(s)
    world.features.change(world.records[i].structure for i in rows)
    after = shipped(world)
    assert (before[0] == after[0]) is companion_stays
    assert (before[1] == after[1]) is intervals_stay


def test_force_constants_are_computed_of_small_crystals_and_of_cheap_ones(world, monkeypatch):
    """The cheapest first; with `most`, larger ones too whose cost is no more than it."""
    world.records, asked, n, largest = small_records(10_000), [], len(small_records(10_000)), 2
    costs = {crystal_key(r.structure): 10_000 - 7 * i for i, r in enumerate(world.records)}  # the larger, the cheaper
    monkeypatch.setattr(module, "load_clean", lambda profile, _: (world.records, "") if profile == "full" else None)
    monkeypatch.setattr(module, "effort", lambda encoder, structure: costs[crystal_key(structure)])
    monkeypatch.setattr(module, "stored_force_constants", lambda encoder, structures, *_: asked.append(structures) or list(structures))
    small = [r.structure for r in world.records if len(r.structure) <= largest]
    most = costs[crystal_key(world.records[n - 10].structure)]
    cheap = small + [r.structure for r in world.records if len(r.structure) > largest and costs[crystal_key(r.structure)] <= most]
    assert len(small) < len(cheap) < n
    for limit, wanted in ((0, small), (most, cheap)):
        assert module.run_modes(largest, limit, progress=False) == len(wanted)
        assert asked[-1] == sorted(wanted, key=lambda s: costs[crystal_key(s)])
