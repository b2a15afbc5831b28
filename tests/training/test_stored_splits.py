"""Stored splits hold what they promise: checked from the data alone, with none of the splitter's code."""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from safetensors import safe_open

from dtnet_core.base.results import JOINT, MORE_LABELS, load_results
from dtnet_core.data.labels import load_auxiliary
from dtnet_core.data.loading import load_clean, resolve_data_dir
from dtnet_core.data.stored_splits import FILES

ROOT = Path(__file__).resolve().parents[2]
RESULTS, WEIGHTS = ROOT / "data/results", ROOT / "data/weights"
MATCHER = StructureMatcher()


MODELS = {"splits.json": JOINT, "splits_wide.json": MORE_LABELS}


@pytest.fixture(scope="module", params=FILES)
def stored(request):
    return json.loads((RESULTS / request.param).read_text()) | {"file": request.param}


@pytest.fixture(scope="module")
def records(stored):
    try:
        resolve_data_dir("full")
    except FileNotFoundError:
        pytest.skip("needs the data folder")
    benchmark = load_clean("full")[0]
    return {r.id: r for r in [*benchmark, *load_auxiliary(benchmark, names=FILES[stored["file"]])]}


def sides(split, records):
    """Ids that train, that validate, that test."""
    held = {*split["val"], *split["test"], *split["left_out"]}
    return [set(records) - held, set(split["val"]), set(split["test"])]


def test_splits_by_formula_and_by_material_keep_their_promise(stored, records):
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


@pytest.fixture(scope="module")
def one_material(records):
    """Whether two ids are of one material by their structures; each pair is compared once, in either order, and only cells of as many atoms."""

    @cache
    def cell(i):
        return records[i].structure.get_reduced_structure("niggli").get_primitive_structure()

    @cache
    def fit(i, j):
        return MATCHER.fit(cell(i), cell(j), skip_structure_reduction=True) or MATCHER.fit(cell(j), cell(i), skip_structure_reduction=True)

    return lambda i, j: len(cell(i)) == len(cell(j)) and fit(*sorted((i, j)))


def test_no_material_is_on_both_sides(stored, records, one_material):
    """Of every seed and kind, by structure. A few hundred pairs are compared in all; a split by formula has none to compare."""
    compared = 0
    for split in stored["splits"]:
        train, val, test = sides(split, records)
        for one, other in ((train, test), (train, val), (val, test)):
            by_formula = defaultdict(list)
            for i in one:
                by_formula[records[i].formula].append(i)
            pairs = [(i, j) for j in other for i in by_formula[records[j].formula]]
            compared += len(pairs)
            same = [pair for pair in pairs if one_material(*pair)]
            assert not same, f"{split['kind']}, seed {split['seed']}: one material on both sides: {same}"
    assert compared > 1000


def test_shipped_networks_learned_from_the_training_side_of_their_split(stored, records):
    """The training crystals that ship beside the weights, against the stored split of the seed that ships."""
    if stored["file"] != "splits_wide.json":
        pytest.skip("the networks that ship learned from all files of labels")
    (split,) = [s for s in stored["splits"] if (s["kind"], s["seed"]) == ("record", 0)]
    with safe_open(WEIGHTS / "known.safetensors", "np") as file:
        ids = set(json.loads(file.metadata()["reach"])["ids"])
    assert len(ids) > 10_000 and ids <= sides(split, records)[0]


def test_every_stored_run_of_a_joint_model_is_of_these_splits(stored, records):
    """Sizes of training, validation and test sets in the results are those of the stored splits."""
    sizes = {(s["kind"], s["seed"]): [len(x) for x in sides(s, records)] for s in stored["splits"]}
    runs = [r for r in load_results(RESULTS / "tensors.json") if r["model"] == MODELS[stored["file"]] and r["profile"] == "full"]
    wrong = [(r["encoder"], r["split"], r["seed"]) for r in runs if sizes[r["split"], r["seed"]] != [r["n_train"], r["n_val"], r["n_test"]]]
    assert len(runs) >= (12 if stored["file"] == "splits_wide.json" else 90) and not wrong
