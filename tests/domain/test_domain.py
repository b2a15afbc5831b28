"""Kinds of crystals that are kept from training: who belongs to them, that nothing of them trains, and intervals by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.files import read_json
from dtnet_core.base.paths import RESULTS
from dtnet_core.base.results import write_json
from dtnet_core.crystals.record import Record
from dtnet_core.domain import record as module
from dtnet_core.domain.benchmark import (
    BEFORE,
    BEST_MODES,
    BEST_TOLD,
    SHIPS,
    TOLD,
    VARIANTS,
    Fold,
    rows_of_labels,
)
from dtnet_core.domain.intervals import POWERS, covered, reach_of, smallest_power
from dtnet_core.domain.kinds import bonding, element_pairs, tails
from dtnet_core.domain.scores import KEPT, fit_chances, kind_scores, pooled_auroc, powers_of, sparsification
from dtnet_core.domain.shipping import doubts_of
from dtnet_core.report.new_kinds import GROUPS, gains_text
from dtnet_core.trust.doubts import Chance, Tail, fit_tail
from dtnet_core.trust.guess import RAMPS
from dtnet_core.trust.reach import fit_reach


def record(name: str, species=("Na", "Cl"), electronic=None, file="mp_tensors.json.gz", ratio=1.0, meta=None) -> Record:
    structure = Structure(Lattice.cubic(4), list(species), [[0, 0, 0], [0.5, 0.5, 0.5]])
    tensor = None if electronic is None else electronic * np.diag([1.0, 1.0, ratio])
    return Record(name, structure, structure.composition.reduced_formula, tensor, None if tensor is None else 0 * tensor, tensor, meta={"file": file} | (meta or {}))


def test_pairs_of_elements():
    found = element_pairs([record("a", ("Mo", "Te")), record("b", ("Mo", "S")), record("c", ("Tl", "Se")), record("d", ("Ag", "Tl")), record("e", ("La", "N"))])
    assert {kind: np.flatnonzero(mask).tolist() for kind, mask in found.items()} == {
        "Zr Nb Mo Hf Ta W with Se Te": [0], "Tl with an anion": [2], "Ag with an anion": [], "rare earth with N P As Sb Bi": [4],
    }  # fmt: skip


def test_bonding_of_crystals_that_everybody_knows():
    rocksalt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    layers = Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(3.16, 12.3), ["Mo", "S"], [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]])
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.31), ["Ar"], [[0, 0, 0]]).get_primitive_structure()
    assert (bonding(rocksalt), bonding(layers)) == ("3D", "2D") and bonding(argon) in ("", "0D")


def test_tails_are_those_of_the_benchmark_and_hold_other_records_too():
    benchmark = [record(f"b{i}", electronic=2.0 + 0.01 * i) for i in range(99)] + [record("high", electronic=50.0)]
    others = [record("scalar", meta={"eps_electronic_poly": 60.0, "eps_total_poly": 70.0}), record("low", meta={"eps_electronic_poly": 2.0, "eps_total_poly": 2.1})]
    found = tails([*benchmark, *others], 100)
    assert found["largest constants"][99:].tolist() == [True, True, False] and found["largest constants"][:99].sum() == 4
    assert tails([*benchmark[:50], record("flat", electronic=2.0, ratio=5.0)], 51)["largest anisotropy"][-1]


def task_of(records, n_benchmark):
    return SimpleNamespace(records=records, n_benchmark=n_benchmark, group=np.arange(len(records)))


def test_nothing_of_a_kind_trains_whatever_its_file_and_formula():
    """Telluride tensors, scalars and diagonals stay out; so does every record of a validation crystal's formula, and labels not asked for."""
    salts = [(a, x) for a in ("Li", "Na", "K", "Rb", "Cs") for x in ("F", "Cl", "Br", "I")]
    benchmark = [record(f"{a}{x}", (a, x), 3.0) for a, x in salts] + [record("MoTe", ("Mo", "Te"), 9.0)]
    extra = [record(f"s-{a}{x}", (a, x), file="mp_scalars.json.gz") for a, x in salts] + [record("s-MoSe", ("Mo", "Se"), file="mp_scalars.json.gz"), record("s-MoTe", ("Mo", "Te"), file="mp_scalars.json.gz"),
             record("j-MoTe", ("Mo", "Te"), file="jarvis_electronic.json.gz"), record("j-MoSe", ("Mo", "Se"), file="jarvis_electronic.json.gz"), record("j-MgO", ("Mg", "O"), file="jarvis_electronic.json.gz")]  # fmt: skip
    task = task_of([*benchmark, *extra], len(benchmark))
    fold = Fold("pairs", element_pairs(task.records))
    for labels, further in ((("mp_scalars",), set()), (("mp_scalars", "jarvis_electronic"), {"j-MgO"})):
        split = fold.split(task, labels)
        ids = {part: {task.records[i].id for i in rows} for part, rows in split.items()}
        formulas = {part: {task.records[i].formula for i in rows} for part, rows in split.items()}
        assert ids["test"] == {"MoTe"} and not any("Mo" in i for i in ids["train"] | ids["val"])
        assert not formulas["train"] & formulas["val"] and len(ids["val"]) >= 2
        held = ids["val"] | {f"s-{i}" for i in ids["val"]}
        assert ids["train"] == ({r.id for r in task.records} - {"j-MgO"} - held - {i for i in {r.id for r in task.records} if "Mo" in i}) | further
    told = {task.records[i].id for i in fold.split(task, ("mp_scalars", "jarvis_electronic"), told=True)["train"]}
    assert told - ids["train"] == {"j-MoSe"}  # no formula that is tested, no scalar of the kind
    assert {task.records[i].id for i in rows_of_labels(task, ())} == {r.id for r in benchmark}


def test_intervals_that_grow_by_hand():
    ratio, distance = np.array([1.0, 3.0, 8.0, 9.0]), np.array([0.5, 2.0, 2.0, 3.0])
    assert covered(ratio, distance, 1.0, 0.0).tolist() == [True, False, False, False]
    assert covered(ratio, distance, 1.0, 2.0).tolist() == [True, True, False, True]
    fold = {"distance": distance, "electronic": {"ratio": ratio, "factors": {"0.9": 1.0, "0.5": 1.0}}}
    assert smallest_power([fold], "electronic", 0.9) == 3.0  # 2 ** 3 = 8 holds the third
    never = {"distance": np.zeros(2), "electronic": {"ratio": np.array([5.0, 5.0]), "factors": {"0.9": 1.0, "0.5": 1.0}}}
    assert smallest_power([never], "electronic", 0.9) == POWERS[-1]
    assert smallest_power([fold, never], "electronic", 0.5) == 3.0  # the mean over folds, each counted alike


def test_what_is_out_of_the_ordinary_by_its_labels_does_not_widen_what_is_strange():
    fold = lambda ratio: {"distance": np.full(2, 2.0)} | {t: {"ratio": np.full(2, ratio), "factors": {"0.9": 1.0}} for t in ("electronic", "ionic", "total")}  # noqa: E731
    judged, names = [fold(2.0), fold(4.0), fold(16.0)], ["pairs", "bonding", "tails"]
    assert powers_of(judged, names) == dict.fromkeys(("electronic", "ionic", "total"), 2.0)
    assert [powers_of(judged, names, but)["total"] for but in range(3)] == [2.0, 1.0, 2.0]
    assert powers_of(judged, ["pairs", "bonding", "clusters 0 1"])["total"] == 4.0


def test_the_guess_of_a_fold_sees_its_training_crystals_only():
    """Labels and features of all others are exchanged: not a bit of it changes; one of its own is: it does."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(40, 8))
    records = [record(f"r{i}", electronic=2.0 + features[i, 0] ** 2, ratio=1.0 + i / 40) for i in range(40)]
    records = [replace(r, eps_ionic=(1 + i / 10) * np.eye(3)) for i, r in enumerate(records)]
    rows = np.arange(0, 40, 2)
    guess = reach_of(task_of(records, 40), rows, features).guess
    others = [r if i in rows else replace(r, eps_electronic=9 * np.eye(3), eps_ionic=7 * np.eye(3)) for i, r in enumerate(records)]
    mixed = np.where(np.isin(np.arange(40), rows)[:, None], features, 5.0)
    again = reach_of(task_of(others, 40), rows, mixed).guess
    assert all(np.array_equal(getattr(guess, k), getattr(again, k)) for k in ("center", "scale", "components", "vectors", "weights", "intercepts"))
    own = [replace(r, eps_ionic=9 * np.eye(3)) if i == rows[3] else r for i, r in enumerate(records)]
    assert not np.array_equal(reach_of(task_of(own, 40), rows, features).guess.log_constants(features), guess.log_constants(features))


def test_sparsification_by_hand():
    error, doubt = np.arange(20.0), np.arange(20.0)[::-1]
    assert KEPT[0] == 1 and KEPT[-1] == pytest.approx(0.05)
    assert sparsification(error, error)[[0, 10, -1]].tolist() == [9.5, 4.5, 0.0]  # the best of all doubts
    assert sparsification(error, doubt)[-1] == 19.0 and sparsification(error, np.zeros(20))[0] == 9.5


FLAT = {t: 0.0 for t in ("electronic", "ionic", "total")}
WIDTH_ONLY = {t: Chance(0.0, 1.0, 0.0) for t in FLAT}


def judged(off, ratio, distance, spread, at_bound=(False,) * 4) -> dict:
    """Four crystals whose constants are said to be 2."""
    target = {"error": np.array([1.0, 2.0, 3.0, 4.0]), "off": np.array(off), "ratio": np.array(ratio), "spread": 2.0 * np.array(spread), "constant": np.full(4, 2.0), "at_bound": np.array(at_bound),
              "tensors": 2.0 * np.stack([np.eye(3)] * 4), "bias": np.array([0.5, 1.0, 2.0, 9.0]), "tail": Tail(2.5, 9.0), "factors": {"0.68": 1.0, "0.9": 2.0}}  # fmt: skip
    return {"distance": np.array(distance)} | {t: target for t in FLAT}


def test_scores_of_a_kind_by_hand():
    """Four tested crystals, the last of another kind; the third is at its bound, far, and its interval misses."""
    fold = Fold("some", {"kind": np.array([True, True, True, False])})
    powers = {"networks": FLAT, "leaning": {t: 1.0 for t in FLAT}}
    alone = judged([False, True, True, False], [0.5, 1.5, 9.0, 0.0], [1.0, 2.0, 3.0, 1.0], [1.0] * 4)
    leaning = judged([False, False, True, False], [0.5, 1.5, 9.0, 0.0], [1.0, 2.0, 3.0, 1.0], [0.1, 0.1, 0.3, 9.0], (False, False, True, False))
    found = kind_scores(fold, alone, leaning, np.arange(4), powers, 2.5, WIDTH_ONLY)["kind"]
    assert (found["n"], found["distance"], found["marked"]) == (3, 2.0, pytest.approx(1 / 3))
    e = found["electronic"]
    assert e["mae_ten"] == 2.0 and e["covered"] == e["covered_growing"] == pytest.approx({"0.68": 1 / 3, "0.9": 2 / 3}) and e["off_by_25"] == pytest.approx(2 / 3)
    assert e["leaning"]["covered"] == pytest.approx({"0.68": 2 / 3, "0.9": 2 / 3}) and (e["leaning"]["auroc"], e["leaning"]["auroc_width"], e["leaning"]["bias"]) == (1.0, 1.0, 1.0)
    assert (e["leaning"]["covered_or_marked"], e["leaning"]["missed_at_bound"]) == (1.0, pytest.approx(1 / 3))
    # half widths 0.4, 0.8 and 3.6 of constants of 2: odds 0.2, 0.4 and 1.8; the last two may be above 2.5
    assert e["leaning"]["chance"] == pytest.approx(np.mean([0.2 / 1.2, 0.4 / 1.4, 1.8 / 2.8])) and e["leaning"]["extreme"] == pytest.approx(2 / 3)
    kept = [max(1, round(3 * share)) for share in KEPT]  # errors 1, 2 and 3, the doubts in the same order
    assert e["leaning"]["sparsification"] == pytest.approx(np.mean([(n + 1) / 2 for n in kept]) / 2) and e["worst_percentile"] == pytest.approx(2.98)
    near = kind_scores(fold, alone, leaning, np.arange(4), powers, 3.5, WIDTH_ONLY)["kind"]["electronic"]["leaning"]
    assert (near["covered_or_marked"], near["covered_or_told"]) == (pytest.approx(2 / 3), 1.0)


def test_doubt_is_judged_on_all_folds_together_by_hand():
    """Widths relative to the constants: the three wrong answers are among the four most doubtful of eight."""
    one = judged([False, True, True, False], [0.0] * 4, [1.0, 2.0, 1.0, 1.0], [0.1, 0.2, 0.5, 0.3])
    other = judged([False, False, True, False], [0.0] * 4, [1.0] * 4, [0.1, 0.1, 0.1, 0.1])
    for target in FLAT:
        other[target] = other[target] | {"constant": np.array([2.0, 2.0, 0.5, 2.0])}
    # relative widths without growth, in units of 0.2: 1 2 5 3 | 1 1 4 1; wrong: 2, 5 and 4; pairs lost: 2 against 3
    assert pooled_auroc([one, other], [FLAT, FLAT], [WIDTH_ONLY] * 2)["ionic"] == pytest.approx({"chance": 1 - 1 / 15, "width": 1 - 1 / 15})
    # a distance of 2 doubles the second one's with a power of 1
    assert pooled_auroc([one, other], [{t: 1.0 for t in FLAT}, FLAT], [WIDTH_ONLY] * 2)["ionic"]["width"] == 1.0
    # the second fold's answers are all told to be certain: its wrong one comes after five of the right ones, of both folds
    sure = {t: Chance(-20.0, 1.0, 0.0) for t in FLAT}
    assert pooled_auroc([one, other], [FLAT, FLAT], [WIDTH_ONLY, sure])["total"] == pytest.approx({"chance": 1 - 3 / 15, "width": 1 - 1 / 15})


def test_chances_are_fitted_to_validation_crystals_and_to_none_that_the_fold_tests():
    """Two folds with the same validation crystals: those that a fold tests, whose labels say the opposite, are not looked at."""
    g = np.random.default_rng(0)
    spread, n = g.uniform(0.1, 1.0, 200), 200
    constant = g.uniform(2, 9, n)
    val = {"constant": constant, "spread": spread * constant, "off": g.random(n) < spread, "factors": {"0.9": 2.0}}
    one = {"val_distance": np.ones(n)} | {t: {"val": val} for t in FLAT}
    tested = np.arange(50)
    wrong = val | {"off": np.where(np.arange(n) < 50, spread < 0.5, val["off"])}
    other = {"val_distance": np.ones(n)} | {t: {"val": wrong} for t in FLAT}
    clean, same = (fit_chances([j, j], [np.arange(n)] * 2, FLAT, tested) for j in (one, other))
    assert clean == same and fit_chances([other] * 2, [np.arange(n)] * 2, FLAT, tested[:0]) != same
    grown = fit_chances([one | {"val_distance": np.full(n, 2.0)}], [np.arange(n)], {t: 1.0 for t in FLAT}, tested)["total"]
    assert grown.intercept + grown.width * np.log(2.0) == pytest.approx(fit_chances([one], [np.arange(n)], FLAT, tested)["total"].intercept, abs=0.05)  # twice as wide, and as often off


def test_doubts_that_ship_are_of_the_networks_and_of_those_with_modes():
    """And tails of training crystals alone: positions beyond the benchmark are those of further labels."""
    g = np.random.default_rng(0)
    truth, train = g.uniform(1, 9, (50, 3, 1, 1)) * np.eye(3), np.array([*range(40), 50, 77])
    truth[40:] *= 100
    told = {name: {"chances": {"total": {"intercept": i, "width": 1.0, "constant": 2.0}}} for i, name in enumerate((SHIPS, BEST_TOLD, BEST_MODES))}
    found = doubts_of(truth, train, told)
    assert (found.chances, found.with_modes) == ({"total": Chance(0, 1.0, 2.0)}, {"total": Chance(2, 1.0, 2.0)})
    assert found.tails == {t: fit_tail(truth[:40, k]) for k, t in enumerate(("electronic", "ionic", "total"))} and len(set(found.tails.values())) == 3
    assert doubts_of(truth, train, {SHIPS: told[SHIPS]}).with_modes == {}


def test_a_fold_is_judged_by_powers_and_chances_that_have_not_seen_its_crystals(monkeypatch):
    g = np.random.default_rng(0)
    invariants, asked, scored = g.normal(size=(60, 4)), [], []
    kept = [Fold("pairs", {"a": np.arange(60) < 10}), Fold("bonding", {"b": np.arange(60) >= 50})]
    splits = {"pairs": (np.arange(10, 40), np.arange(40, 60), np.arange(10)), "bonding": (np.arange(10, 40), np.arange(10), np.arange(50, 60))}
    part = {"constant": np.full(20, 2.0), "spread": np.ones(20), "off": np.arange(20) % 2 == 0}
    one = {"val_distance": np.ones(20)} | {t: {"val": part} for t in FLAT}
    monkeypatch.setattr(module, "folds_of", lambda variant, every: every)
    monkeypatch.setattr(module, "answers", lambda task, fold, *_: dict(zip(("train", "val", "test"), splits[fold.name], strict=True)) | {"commit": "x"})
    monkeypatch.setattr(module, "reach_of", lambda task, rows, found: fit_reach(found[rows], ["x"] * len(rows), ["NaCl"] * len(rows)))
    monkeypatch.setattr(module, "judge_fold", lambda answer, *_: one | {"name": answer["test"][0]})
    monkeypatch.setattr(module, "powers_of", lambda judged, names, but=None: but)
    monkeypatch.setattr(module, "fit_chances", lambda judged, vals, powers, without: asked.append((powers, without.tolist(), [v.tolist() for v in vals])) or {})
    monkeypatch.setattr(module, "kind_scores", lambda fold, alone, leaning, rows, powers, limit, chances: scored.append((fold.name, rows.tolist(), powers["leaning"])) or {})
    monkeypatch.setattr(module, "curves", lambda *_: {})
    monkeypatch.setattr(module, "pooled_auroc", lambda *_: {})
    module.judge_variant(SHIPS, task_of([record(str(i)) for i in range(60)], 60), kept, invariants, None, progress=False)
    vals = [splits[f.name][1].tolist() for f in kept]
    assert asked == [(0, list(range(10)), vals), (1, list(range(50, 60)), vals), (None, [], vals)] and scored == [("pairs", list(range(10)), 0), ("bonding", list(range(50, 60)), 1)]


def test_stored_record_says_what_trained_and_what_held():
    stored = read_json(RESULTS / "domain.json")
    assert [v["labels"] for v in stored["variants"]] == list(VARIANTS)
    for variant in stored["variants"]:
        assert variant["trained_at"] and sum(variant["records"].values()) > 6000 and len(variant["kinds"]) == (9 if VARIANTS[variant["labels"]].told else 19)
    shipped = stored["shipped"]
    for told in shipped["doubted"].values():
        for one in told.values():
            assert one["chance"] == pytest.approx(one["off"], abs=0.1) and one["extreme"] < 0.25
    for covered_by in shipped["covered"].values():
        for shares in covered_by.values():
            assert shares["0.68"]["growing"] == pytest.approx(0.68, abs=0.05) and shares["0.9"]["growing"] == pytest.approx(0.9, abs=0.05)


def test_leaning_costs_nothing_at_home():
    """Means over the validation crystals of nine splits, for the ramps that ship."""
    stored = read_json(RESULTS / "ramps.json")
    assert stored["ramps"]["shipped"] == json.loads(json.dumps(RAMPS._asdict())), "run: dtnet results ramps"
    for target in ("electronic", "ionic", "total"):
        mean = {way: np.mean([row[target] for row in stored["rows"] if row["ramps"] == way]) for way in ("networks alone", "shipped")}
        assert mean["shipped"] <= 1.001 * mean["networks alone"]


def test_gains_of_groups_by_hand():
    """Means over the tested crystals of a group of kinds, not over its kinds."""
    kinds = [k for group in GROUPS.values() for k in group]
    told = lambda error, of: {"labels": of, "kinds": {k: {"n": 10 if k == kinds[0] else 1, "electronic": {"mae_ten": error if k == kinds[0] else 1.0}} for k in kinds}}  # noqa: E731
    text = gains_text({"variants": [told(9.0, SHIPS), told(1.0, BEFORE), told(0.35, TOLD), told(2.3, BEST_TOLD)]})
    assert "-50 % (new pairs of elements), +0 % (new ways of bonding)" in text and "encoders of `best` +100 % (new pairs of elements)" in text


def test_variants_that_are_not_asked_for_stay_and_nothing_ships_unless_wanted(monkeypatch, tmp_path):
    path, shipped, asked = tmp_path / "domain.json", [], []
    write_json(path, {"variants": [{"labels": SHIPS}, {"labels": TOLD}], "shipped": "as it was", "commit": "old"})
    monkeypatch.setattr(module, "load_task", lambda recipe, **_: asked.append(recipe) or SimpleNamespace(checksum="sum", of=lambda features: features))
    monkeypatch.setattr(module, "pooled_invariants", lambda features: np.zeros((2, 3)))
    monkeypatch.setattr(module, "truth_of", lambda task: None)
    monkeypatch.setattr(module, "folds", lambda *_: [])
    monkeypatch.setattr(module, "judge_variant", lambda name, *_: {"labels": name, "now": True, "growth_leaning": name})
    monkeypatch.setattr(module, "ship_reach", lambda task, invariants, truth, variants, weights: shipped.append(variants[SHIPS]["growth_leaning"]) or "anew")
    module.run_domain([BEST_TOLD], False, path)
    assert not shipped and asked[-1].members == ("nequix-oam-1-pft:0-4", "7net-0:0-5", "7net-l3i5:0-5")
    stored = read_json(path)
    assert (stored["shipped"], stored["commit"]) == ("as it was", "old") and [(v["labels"], v.get("now")) for v in stored["variants"]] == [(SHIPS, None), (TOLD, None), (BEST_TOLD, True)]
    assert stored["variants"][2]["command"] == f"dtnet results domain --no-ship --labels '{BEST_TOLD}'" and stored["variants"][2]["data_sha256"] == "sum"
    module.run_domain([TOLD], True, path)
    assert shipped == [SHIPS] and asked[-1].members == ("7net-0:0-5", "7net-l3i5:0-5")
    stored = read_json(path)
    assert stored["shipped"] == "anew" and [v.get("now") for v in stored["variants"]] == [True, True, True]
