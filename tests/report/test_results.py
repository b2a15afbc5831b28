"""Results files: identity, concurrent writers, tables beside the paper's values, provenance."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dtnet_core.base import results as r
from dtnet_core.report import pages, screening
from dtnet_core.report import tables as t
from dtnet_core.report.documents import markdown_blocks
from dtnet_core.report.tables import spell_seeds

ROOT = Path(__file__).resolve().parents[2]
TABLE2 = json.loads((ROOT / "data" / "paper" / "table2.json").read_text())


def run(seed=0, **changes):
    base = {
        "target": "total", "model": "DTNet-simple", "encoder": "7net-0", "layer": 4, "split": "random",
        "seed": seed, "profile": "full", "mae_ten": 2.0 + seed,
    }  # fmt: skip
    return {**base, **changes}


def test_a_record_of_the_same_identity_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "tensors.json"
    assert r.load_results(path) == []
    r.append_result(path, run(0))
    r.append_result(path, run(1))
    r.append_result(path, run(0, mae_ten=1.5))
    for key, value in (("layer", [0, 1, 2]), ("profile", "mini"), ("split", "formula"), ("target", "ionic")):
        r.append_result(path, run(0, **{key: value}))
    records = r.load_results(path)
    assert len(records) == 6
    assert [x["mae_ten"] for x in records if r._identity(x) == r._identity(run(0))] == [1.5]
    assert sorted(p.name for p in path.parent.iterdir()) == [".tensors.json.lock", "tensors.json"]


def test_the_order_of_writing_leaves_no_trace(tmp_path):
    for name, seeds in (("a.json", (0, 1, 2)), ("b.json", (2, 0, 1))):
        for seed in seeds:
            r.append_result(tmp_path / name, run(seed))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_numpy_values_and_nan_become_plain_json(tmp_path):
    path = tmp_path / "x.json"
    systems = {"cubic": {"n": np.int64(3), "mae_ten": np.float32(0.5)}, "trigonal": {"mae_ten": math.nan}}
    r.append_result(path, run(np.int64(7), by_system=systems, shape=(1, 2), path=tmp_path, values=np.eye(2)))
    record = json.loads(path.read_text(), parse_constant=pytest.fail)[0]
    assert record["seed"] == 7 and record["values"] == [[1, 0], [0, 1]]
    assert record["by_system"] == {"cubic": {"n": 3, "mae_ten": 0.5}, "trigonal": {"mae_ten": None}}
    with pytest.raises(TypeError, match="object"):
        r.append_result(path, run(8, thing=object()))
    assert len(r.load_results(path)) == 1


def test_bad_files_and_records_are_refused_and_kept(tmp_path):
    path = tmp_path / "tensors.json"
    for text, message in (('[{"target": "total"', "not JSON"), ('{"target": "total"}', "list of objects")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            r.append_result(path, run())
        assert path.read_text() == text
    with pytest.raises(ValueError, match="none of the keys"):
        r.append_result(tmp_path / "other.json", {"mae_ten": 1.0})


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "tensors.json"
    code = (
        "import sys; from dtnet_core.base.results import append_result\n"
        "for seed in range(15):\n"
        "    append_result(sys.argv[1], dict(target='total', model=sys.argv[2], seed=seed))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT) for name in "abc"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    records = r.load_results(path)
    assert {(x["model"], x["seed"]) for x in records} == {(m, s) for m in "abc" for s in range(15)}
    assert len(records) == 45


def test_table_of_means_beside_the_paper():
    runs = [run(seed, mae_eig=10.0) for seed in range(3)] + [
        run(0, model="ours", layer=[1, 2, 3, 4, 5], mae_ten=None),
        run(0, model="ours", layer=4),
    ]
    table = t.results_table(runs, metrics=("mae_ten", "mae_eig"), paper=TABLE2)
    assert list(table["model"]) == ["DTNet-simple", "ours", "ours"]
    simple = table.iloc[0]
    assert (simple.runs, simple.mae_ten, simple.mae_ten_std) == (3, 3.0, 1.0)
    assert (simple.mae_eig, simple.mae_eig_std, simple.paper, simple.paper_std) == (10, 0, 1.927, 0.104)
    ours = table[table.model == "ours"].set_index("layer")
    assert np.isnan(ours.loc["1+2+3+4+5", "mae_ten"]) and ours["paper"].isna().all()
    shown = t.format_table(table)
    assert shown.loc[0, "mae_ten"] == "3.000 ± 1.000" and shown.loc[0, "paper"] == "1.927 ± 0.104"
    ours = shown[shown.layer == "4"].set_index("model").loc["ours"]
    assert (ours["mae_ten"], ours["paper"]) == ("2.000", "-")
    assert not any(name.endswith("_std") for name in shown)
    with pytest.raises(ValueError, match="no results"):
        t.results_table([])


def test_intervals_are_wider_than_independent_splits_would_give():
    mean, half = t.interval_over_splits([1.0, 2.0, 3.0, 4.0])
    alone = 3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2  # Student's t for three degrees of freedom, from a table
    assert mean == 2.5 and half == pytest.approx(alone * (1 + 4 / 8) ** 0.5, rel=1e-6)
    with pytest.raises(ValueError, match="two splits"):
        t.interval_over_splits([1.0])
    runs = [run(seed, model="DTNet-joint", profile="full", split="record", encoder=name) for name, n in (("a", 5), ("b", 7)) for seed in range(n)]
    table = t.interval_table(runs, TABLE2)
    assert table["encoder"].tolist() == ["b"] and table["splits"].tolist() == [7] and table["the paper's DTNet"].tolist() == [1.911]


def test_what_ships_is_compared_on_the_splits_of_both_recipes_only():
    """Seed 2 was run with fewer labels alone, seed 3 with more alone, and by formula is another split: none of them counts."""
    made = lambda seed, model, error, split="record": [run(seed, model=model, profile="full", split=split, encoder="abc", target=x, mae_ten=error + k) for k, x in enumerate(("electronic", "ionic", "total"))]  # noqa: E731
    runs = [*made(0, r.JOINT, 1.0), *made(1, r.JOINT, 2.0), *made(2, r.JOINT, 9.0), *made(0, r.MORE_LABELS, 3.0), *made(1, r.MORE_LABELS, 4.0), *made(3, r.MORE_LABELS, 9.0), *made(2, r.MORE_LABELS, 9.0, "group")]
    assert "differ by +57 to +133 % from the table's (splits 0, 1;" in pages.ships_sentence(runs)  # 3.5 of 1.5, 4.5 of 2.5, 5.5 of 3.5


def test_a_missing_key_keeps_its_group():
    table = t.results_table([{"target": "total", "model": "median", "mae_ten": 3.7}, run()])
    assert isinstance(table, pd.DataFrame) and table["runs"].tolist() == [1, 1]
    assert table.set_index("model").loc["median", "mae_ten"] == 3.7


def test_provenance_of_this_checkout():
    found = r.provenance()
    assert set(found) == {"commit", "hardware", "python", "torch"}
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", found["commit"])
    assert re.search(r"\d+ cores", found["hardware"])


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_of_clean_changed_and_foreign_folders(tmp_path):
    def git(*arguments):
        author = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", tmp_path, *author, *arguments], check=True, capture_output=True)

    tmp_path = tmp_path.resolve()
    assert r._commit(tmp_path) == "unknown"
    git("init")
    assert r._commit(tmp_path) == "unknown"  # nothing committed yet
    (tmp_path / "data" / "results").mkdir(parents=True)
    for name in ("code.py", "data/results/tensors.json"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    clean = r._commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "untracked.txt").write_text("2")
    (tmp_path / "data" / "results" / "tensors.json").write_text("2")  # an output, not code
    assert r._commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert r._commit(tmp_path) == f"{clean}-dirty"
    assert r._commit(tmp_path / "data") == "unknown"  # a folder inside somebody else's checkout


def test_markdown_files_show_what_the_results_files_hold():
    for (name, mark), table in markdown_blocks().items():
        shown = (ROOT / name).read_text().split(f"<!-- {mark} -->")[1].split(f"<!-- end of {mark} -->")[0]
        assert shown.strip() == table, "run: dtnet results tables"


def test_shares_of_few_hits_come_with_their_interval():
    assert screening.share_interval(8, 18) == pytest.approx((0.2456, 0.6628), abs=1e-3)  # Wilson's, from tables
    assert screening.share_interval(0, 10)[0] == 0 and screening.share_interval(10, 10)[1] == 1
    text = screening.enrichment_text([one := {"hits": 8, "top": 18, "n": 1824, "enrichment": 45.0}])
    assert "8 are among its first 18: 45 times chance (95 %, as so few crystals are counted: 25 to 67; one division" in text
    text = screening.enrichment_text([one, one | {"hits": 9, "enrichment": 51.0}, one | {"hits": 10, "enrichment": 57.0}])
    assert "9 are among" in text and "51 times chance" in text and "3 divisions into folds with 8 to 10, 95 % interval of their mean 36 to 66" in text
    assert pages.paired_text({"difference": -0.009, "interval": [-0.02, 0.001]}).endswith("holds 0") and "holds" not in pages.paired_text({"difference": -0.013, "interval": [-0.02, -0.007]})
    assert t.mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.303 / 3**0.5), abs=1e-3)  # t of two degrees of freedom


def test_seeds_in_a_row_are_a_range():
    assert spell_seeds([3, 1, 0, 2, 7, 7]) == "0-3, 7" and spell_seeds([5, 4]) == "4, 5" and spell_seeds([]) == ""
