"""Stored splits hold what they promise: checked from the data alone, with none of the splitter's code."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from dtnet_core.base.results import load_results
from dtnet_core.data.labels import load_auxiliary
from dtnet_core.data.loading import load_clean, resolve_data_dir

RESULTS = Path(__file__).resolve().parents[2] / "data/results"
MATCHER = StructureMatcher()


@pytest.fixture(scope="module")
def records():
    try:
        resolve_data_dir("full")
    except FileNotFoundError:
        pytest.skip("needs the data folder")
    benchmark = load_clean("full")[0]
    return {r.id: r for r in [*benchmark, *load_auxiliary(benchmark)]}


def sides(split, records):
    """Ids that train, that validate, that test."""
    held = {*split["val"], *split["test"], *split["left_out"]}
    return [set(records) - held, set(split["val"]), set(split["test"])]


def test_splits_by_formula_and_by_material_keep_their_promise(records):
    stored = json.loads((RESULTS / "splits.json").read_text())
    assert len(records) == stored["n_records"]
    for split in stored["splits"]:
        train, val, test = sides(split, records)
        assert not (train & val or train & test or val & test) and len(test) > 200 and len(val) > 200 and len(train) > 6000
        for one, other in ((train, test), (train, val), (val, test)):
            formulas = [{records[i].formula for i in side} for side in (one, other)]
            ids = [{records[i].mp_id for i in side} - {None} for side in (one, other)]
            assert not ids[0] & ids[1], f"{split['kind']}, seed {split['seed']}: a Materials Project id on both sides"
            if split["kind"] == "group":
                assert not formulas[0] & formulas[1], f"seed {split['seed']}: a formula on both sides"


def test_no_material_is_on_both_sides(records, seed=1):
    """Of one seed, as comparing structures takes a while; seed 1 had two materials in validation and test before."""
    stored = json.loads((RESULTS / "splits.json").read_text())["splits"]
    (split,) = [s for s in stored if (s["kind"], s["seed"]) == ("record", seed)]
    train, val, test = sides(split, records)
    for one, other in ((train, test), (val, test)):
        by_formula = defaultdict(list)
        for i in one:
            by_formula[records[i].formula].append(i)
        for j in other:
            for i in by_formula[records[j].formula]:
                a, b = records[i].structure, records[j].structure
                assert not (MATCHER.fit(a, b) or MATCHER.fit(b, a)), f"{i} and {j} are one material"


def test_every_stored_run_of_a_joint_model_is_of_these_splits(records):
    """Sizes of training, validation and test sets in the results are those of the stored splits."""
    stored = json.loads((RESULTS / "splits.json").read_text())["splits"]
    sizes = {(s["kind"], s["seed"]): [len(x) for x in sides(s, records)] for s in stored}
    runs = [r for r in load_results(RESULTS / "tensors.json") if r["model"] == "DTNet-joint" and r["profile"] == "full"]
    wrong = [(r["encoder"], r["split"], r["seed"]) for r in runs if sizes[r["split"], r["seed"]] != [r["n_train"], r["n_val"], r["n_test"]]]
    assert len(runs) >= 90 and not wrong
    assert {r["split"] for r in runs} == {"record", "group"}
