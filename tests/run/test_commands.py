"""The command `dtnet`: what is stored or printed is still understood, names are checked, refusals are one line, predictions from files."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar
from typer.main import get_command

from dtnet_core.base.results import IDENTITY, JOINT, MORE_LABELS, from_file, load_results
from dtnet_core.baselines.experiment import BaselineExperiment
from dtnet_core.crystals.record import TARGETS
from dtnet_core.data.loading import load_records
from dtnet_core.domain.own import FURTHER
from dtnet_core.ensemble import Prediction, load_ensemble
from dtnet_core.matbench import record as matbench_record
from dtnet_core.run import prediction
from dtnet_core.run.command_line import app, is_refusal
from dtnet_core.run.commands import options
from dtnet_core.run.commands.predict import show
from dtnet_core.screening.retrospective import Setup, _command
from dtnet_core.training.experiment import Experiment
from dtnet_core.training.experiment import _command as experiment_command
from dtnet_core.training.fit import TrainConfig
from dtnet_core.training.scratch.experiment import ScratchExperiment
from tests.command import dtnet

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (*(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").glob("**/*.md"))), "README.md", "CONTRIBUTING.md", "Makefile", "data/open_dfpt.md", "data/weights/README.md", "data/results/experiments.md", "notebooks/paper.yaml")


@pytest.fixture
def understood(monkeypatch):
    """What a command line asks for, without doing it: parse(text) -> (command, parameters)."""
    asked, program = [], get_command(app)
    monkeypatch.setattr(options.Command, "invoke", lambda self, ctx: asked.append((ctx.command_path, dict(ctx.params))))

    def parse(text: str) -> tuple[str, dict]:
        name, *words = shlex.split(text)
        assert name == "dtnet", text
        asked.clear()
        program(words, prog_name="dtnet", standalone_mode=False)
        assert asked, f"{text}: says nothing to do"
        return asked[0]

    return parse


def commands_of(content) -> list[str]:
    """Every `command`, `command_...` of a JSON file."""
    if isinstance(content, dict):
        here = [v for k, v in content.items() if k.split("_")[0] == "command"]
        return here + [c for v in content.values() for c in commands_of(v)]
    return [c for v in content for c in commands_of(v)] if isinstance(content, list) else []


def test_every_stored_command_is_understood(understood):
    stored = [c for path in sorted((ROOT / "data/results").glob("*.json")) for c in commands_of(json.loads(path.read_text()))]
    stored += [r.meta["command"] for name in (None, *FURTHER) for r in load_records("mini", name)]
    assert len(stored) > 400
    for text in dict.fromkeys(stored):
        if text.startswith("python benchmarks/"):
            assert (ROOT / text.split()[1]).is_file(), text
        else:
            understood(text)


def test_a_stored_command_says_what_its_record_says(understood):
    for run in load_results(ROOT / "data/results/tensors.json"):
        _, asked = understood(run["command"])
        assert asked["seeds"] == [run["seed"]] and asked["profile"] == run["profile"]
        if run["model"] not in (JOINT, MORE_LABELS):
            assert asked["target"] == [run["target"]]


def test_every_printed_command_is_understood(understood):
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text().replace("\\\n", " ").replace("$(HOURS)", "0.04").replace("$(PROFILE)", "mini").replace("$(ADDRESS)", "127.0.0.1").replace("$(PORT)", "8866")
        found += re.findall(r"^(?:#? *|\t\$\(BIN\)/|\.venv/bin/)(dtnet [a-z][^#\n]*)", text, re.MULTILINE)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            found += re.findall(r"^(?:\.venv/bin/)?(dtnet [a-z].*)$", "".join(cell["source"]).replace("\\\n", " "), re.MULTILINE)
    assert len(found) > 25
    for text in found:
        if "--help" not in text:
            understood(text.strip())


def test_no_command_of_before_is_left():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        if not name.endswith((".png", ".pdf", ".gz", ".safetensors")) and name not in ("dtnet_core/data/loading.py", "tests/run/test_commands.py"):
            assert not re.search(r"-m dtnet_core\.", (ROOT / name).read_text(errors="ignore")), name


def test_the_commands_that_runs_store_are_understood(understood):
    train = TrainConfig(learning_rate=2e-3, weight_decay=0.5, batch_size=8, max_epochs=7, patience=5)
    planned = Experiment("ionic", "7net-0:0-5", train=train, fraction=0.5, options={"initial_anisotropy": 0.1})
    _, asked = understood(experiment_command(planned, 3))
    names = ("learning_rate", "weight_decay", "batch_size", "max_epochs", "patience")
    assert {k: asked[k] for k in names} == {k: getattr(train, k) for k in names}
    assert (asked["fraction"], asked["initial_anisotropy"], asked["features"]) == ([0.5], 0.1, ["7net-0:0-5"])
    _, asked = understood(ScratchExperiment("electronic", "7net-0", 2, max_hours=0.5, train=train).command(1))
    assert (asked["layers"], asked["max_hours"], asked["encoder"], asked["batch_size"]) == ([2], 0.5, "7net-0", 8)
    _, asked = understood(BaselineExperiment("PaiNN", "ionic", fraction=0.25, train=train).command(4))
    assert (asked["model"], asked["fraction"], asked["learning_rate"]) == (["PaiNN"], [0.25], 2e-3)
    _, asked = understood(_command(Setup(known=11, kappa=0.5), "mini", 2, "figure of merit") + " --enrichment")
    assert (asked["known"], asked["kappa"], asked["tasks"], asked["enrichment"]) == (11, 0.5, ["figure of merit"], True)
    _, asked = understood(matbench_record.command("mini", "7net-0:2", ["nequix-omat-1:0-4"], ["perceptron", "kernel-log-0.03-0.1-1.0"], 4, [0, 1], [2]))
    assert asked["further"] == ["nequix-omat-1:0-4"]
    assert (asked["learners"], asked["epochs"], asked["seeds"], asked["folds"]) == (["perceptron", "kernel-log-0.03-0.1-1.0"], 4, [0, 1], [2])


def test_values_in_a_row_and_one_by_one_are_the_same():
    assert options.expand(["--a", "1", "2", "--b", "x", "--a", "3", "--flag", "y"], {"--a"}) == ["--a", "1", "--a", "2", "--b", "x", "--a", "3", "--flag", "y"]
    assert options.expand(["--a", "-1", "-2.5", "--", "--a", "1", "2"], {"--a"}) == ["--a", "-1", "--a", "-2.5", "--", "--a", "1", "2"]
    assert options.expand(["name", "--b", "1", "2"], {"--a"}) == ["name", "--b", "1", "2"]


@pytest.mark.parametrize(("words", "choices"), [
    (["predct"], ["predict", "download", "results"]),
    (["dfpt", "compte"], ["compute", "write-vasp"]),
    (["predict", "x.cif", "--target", "magnetic"], list(TARGETS)),
    (["predict", "x.cif", "--variant", "bst"], ["best", "default"]),
    (["train", "joint", "--recipe", "bst"], ["best", "default"]),
    (["train", "search", "no such road"], ["plain"]),
    (["baselines", "run", "--model", "PaiNN", "Pain"], ["PaiNN", "ridge"]),
    (["matbench", "--learners", "kernl"], ["perceptron"]),
    (["screen", "retrospective", "--tasks", "merit"], ["figure of merit", "anisotropy"]),
    (["dfpt", "run", "MgO-rocksalt", "--engine", "vasp"], ["qe", "abinit"]),
])  # fmt: skip
def test_unknown_names_list_the_choices(words, choices, capsys, monkeypatch):
    monkeypatch.setenv("TERMINAL_WIDTH", "4000")
    assert dtnet(*words) in (1, 2)
    said = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert all(choice in said for choice in choices), said


def test_a_refusal_is_one_line_and_a_fault_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DTNET_DATA_DIR", raising=False)
    assert dtnet("results", "summary", "--profile", "full") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: profile 'full' reads the folder named by") and said.count("\n") == 1
    assert dtnet("dfpt", "compute", tmp_path / "no.cif", "--root", tmp_path) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err

    def caught(work) -> Exception:
        try:
            work()
        except Exception as error:
            return error
        raise AssertionError

    assert is_refusal(caught(lambda: load_ensemble("magnetic")))
    assert is_refusal(caught(lambda: open(tmp_path / "absent")))  # noqa: SIM115
    assert not is_refusal(caught(lambda: np.zeros(2) + np.zeros(3)))
    assert not is_refusal(caught(lambda: prediction.write_rows(5, "a.json")))  # raised inside the kit, by no decision of its own
    monkeypatch.setattr(prediction, "check_ending", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dtnet("predict", "x.cif", "--output", "a.csv")


def test_help_needs_nothing_heavy_and_fits_a_screen():
    heavy = ["torch", "numpy", "pandas", "scipy", "pymatgen", "e3nn", "sevenn", "matplotlib"]
    code = f"""
import sys
from dtnet_core.run.command_line import main
try:
    main(["--help"])
except SystemExit as stopped:
    assert not stopped.code
print([name for name in {heavy} if name in sys.modules])
"""
    lines = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-1] == "[]"
    assert 10 < len(lines) - 1 <= 25
    for name in ("predict", "charges", "demo", "download", "train", "matbench", "baselines", "screen", "dfpt", "notebooks", "results"):
        assert any(name in line for line in lines)


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A CIF, a POSCAR in a folder beside a broken CIF, and a JSON file of two crystals, one of them with atoms on top of each other."""
    monkeypatch.setenv("DTNET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    salt = Structure.from_spacegroup(225, Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5] * 3])
    wurtzite = Structure(Lattice.hexagonal(3.25, 5.21), ["Zn", "Zn", "O", "O"], [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.382], [2 / 3, 1 / 3, 0.882]])
    salt.to("one.cif", fmt="cif")
    (tmp_path / "folder/sub").mkdir(parents=True)
    Poscar(wurtzite).write_file("folder/sub/POSCAR")
    (tmp_path / "folder/broken.cif").write_text("data_x\n_cell_length_a ?\n")
    twice = Structure(Lattice.cubic(4), ["Mg", "O"], [[0, 0, 0], [0, 0, 0.01]])
    (tmp_path / "many.json").write_text(json.dumps([wurtzite.as_dict(), twice.as_dict()]))
    return tmp_path


def test_predictions_of_files_of_every_kind(files, capsys):
    given = ["one.cif", "folder", "absent.cif", "many.json"]
    assert dtnet("predict", *given, "--output", "answers.json") == 1  # some failed
    said = capsys.readouterr().out
    assert said.count("imitate calculations (DFPT with PBE), not measurements") == 1 and "one.cif: like the training crystals (distance " in said
    assert "soft vibrations" in " ".join(said.split())
    assert "failed: many.json:1: site 0 (Mg)" in said and "nearest: MgO" in said
    rows = json.loads((files / "answers.json").read_text())
    assert [row["id"] for row in rows] == ["one.cif", "folder/broken.cif", "folder/sub/POSCAR", "absent.cif", "many.json:0", "many.json:1"]
    assert [bool(row["error"]) for row in rows] == [False, True, False, True, False, True]
    assert "MgO" in said and "failed: folder/broken.cif: " in said and "failed: absent.cif: no such file" in said and "0.0400 angstrom" in said
    want = load_ensemble("total").predict([Structure.from_file("one.cif"), Structure.from_file("folder/sub/POSCAR")], progress=False)
    assert [rows[i]["off_25"] for i in (0, 2)] == pytest.approx(want.chance, rel=1e-3) and [rows[i]["extreme"] for i in (0, 2)] == want.extreme.tolist() and rows[1]["off_25"] is None
    assert f" {100 * want.chance[0]:.0f} %" in said and "off: the chance that the constant is off by more than 25 %." in said
    for row, tensor, std, wide in zip((rows[0], rows[2]), want.tensors, want.std, want.wide, strict=True):
        np.testing.assert_allclose(row["tensor"], tensor, rtol=1e-4, atol=1e-4)
        assert (row["constant"], row["half_width_68"], row["half_width_90"]) == pytest.approx((np.trace(tensor) / 3, std, wide), rel=1e-4)
        values = np.linalg.eigvalsh(tensor)
        np.testing.assert_allclose(row["eigenvalues"], values, rtol=1e-4)
        assert all(f"{v:.2f} ± {h:.2f}" in said for v, h in zip(row["eigenvalues"], row["eigenvalues_68"], strict=True))
        np.testing.assert_allclose(np.array(row["axes"]).T * row["eigenvalues"] @ row["axes"], tensor, atol=1e-4)
    assert rows[0]["axes_angle"] == [90, 90, 90] and ", 90°" in said  # of a cubic crystal any axis is as good
    np.testing.assert_allclose(rows[4]["tensor"], rows[2]["tensor"], rtol=1e-4, atol=1e-4)

    assert dtnet("predict", "one.cif", "folder/sub", "--target", "electronic", "--output", "answers.csv") == 0
    assert dtnet("predict", "one.cif", "folder/sub", "absent.cif", "--target", "electronic", "--output", "answers.parquet") == 1
    with open("answers.csv", newline="") as file:
        first, second = csv.DictReader(file)
    table = pd.read_parquet("answers.parquet")
    assert list(table.columns) == list(first) and table["id"].tolist() == ["one.cif", "folder/sub/POSCAR", "absent.cif"]
    assert (first["target"], first["error"], int(second["n_atoms"])) == ("electronic", "", 4)
    assert table.loc[2, ["formula", "eps_xx", "constant"]].isna().all() and "no such file" in table.loc[2, "error"]
    assert table.loc[0, ["eps_xx", "eps_xy", "constant"]].tolist() == pytest.approx([float(first[k]) for k in ("eps_xx", "eps_xy", "constant")], abs=1e-6)
    assert table.loc[0, "constant"] < rows[0]["constant"] and table.loc[0, "off_25"] == pytest.approx(float(first["off_25"])) and str(table.loc[0, "extreme"]) == first["extreme"]
    assert [float(first[f"eigenvalue_{k}"]) for k in (1, 2, 3)] == pytest.approx([float(first[f"eps_{c}"]) for c in ("xx", "yy", "zz")], abs=1e-4)  # cubic
    assert 0 < float(first["eigenvalue_2_68"]) < float(first["eigenvalue_2_90"]) and table.loc[1, "axis_1_angle"] == float(second["axis_1_angle"])

    assert dtnet("predict", "one.cif", "--output", "answers.txt") == 1
    assert ".parquet, .csv, .json" in capsys.readouterr().err and not (files / "answers.txt").exists()


def test_angles_are_shown_with_the_axes_they_refer_to(capsys):
    """Of a uniaxial crystal that is told of with certainty, and of one that is unlike the training crystals."""
    row = {"id": "a.cif", "formula": "TiO2", "tensor": np.diag([4.0, 4, 9]).tolist(), "constant": 17 / 3, "half_width_68": 1.0, "half_width_90": 2.0, "off_25": 0.034, "eigenvalues": [4.0, 4.0, 9.0],
           "eigenvalues_68": [0.5, 0.5, 0.7], "axes": [[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, -0.001, -1.0]], "axes_angle": [90.0, 90.0, 0.0], "in_domain": True, "distance": 0.25, "nearest": "SnO2, TiO2",
           "warnings": "", "error": None}  # fmt: skip
    show([row, row | {"id": "b.cif", "in_domain": False, "warnings": "no training crystal has Ar", "off_25": 0.004}, row | {"id": "c.cif", "distance": None, "off_25": None}], "total", "default")
    said = capsys.readouterr().out
    assert [line.split("± 2.00")[1].strip() for line in said.splitlines() if "± 2.00" in line] == ["3 %", "< 1 %", "-"]
    assert said.count("4.00 ± 0.50, 90°") == 6 and said.count("9.00 ± 0.70, 0°") == 3 and said.count("0.00 0.00 1.00") == 3 and "0.60" not in said
    assert "0°: symmetry fixes the axis. 90° and a dash: any axis will do" in said and "a.cif: like the training crystals (distance 0.2; nearest: SnO2, TiO2)\n" in said
    assert "b.cif: no training crystal has Ar\n" in said and said.count("like the training") == 1
    show([row | {"axes_angle": [3.0, 4.0, 5.0]}, row | {"eigenvalues_68": None, "axes_angle": None}], "total", "default")
    said = capsys.readouterr().out
    assert "no axis" not in said and "-0.80" not in said and "0.80 -0.60 0.00" in said and said.count("4.00 ±") == 2
    show([row | {"error": "x.json, record 3: no sites", "id": "x.json:3"}, row | {"error": "POSCAR is odd", "id": "POSCAR"}, row | {"error": "f/a.cif, block b: odd", "id": "f/a.cif#b"}], "total", "default")
    said = capsys.readouterr().out
    assert "imitate" not in said and said.splitlines() == ["failed: x.json:3: no sites", "failed: POSCAR: POSCAR is odd", "failed: f/a.cif#b: odd"]


def test_warnings_of_the_kit_are_one_plain_line(files):
    """On standard error; those of others are as Python shows them, and so are all after the command."""
    (files / "folder/notes.txt").write_text("x")
    (files / "dtnet").write_text("a stray line\n")
    code = """
import warnings
from dtnet_core.run import prediction
from dtnet_core.run.command_line import main
def rows(ensemble, paths):
    list(prediction.crystals(paths))
    warnings.warn_explicit("of\\nthe kit", UserWarning, prediction.__file__, 1)
    warnings.warn_explicit("of others", UserWarning, "/elsewhere/library.py", 7)
    return []
prediction.predict_rows = rows
before = warnings.formatwarning
try:
    main(["predict", "folder"])
except SystemExit as stopped:
    assert not stopped.code
assert warnings.formatwarning is before
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=files, env=os.environ | {"PYTHONPATH": f"{ROOT}:{files}"}, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["warning: folder: 1 files passed over, which are no files of crystals: notes.txt", "warning: of the kit", "/elsewhere/library.py:7: UserWarning: of others"]


@pytest.mark.parametrize(("words", "line"), [
    (["train", "joint", "--recipe", "default-wide", "--seeds", "0"], "default-wide electronic seed 0: MAE_ten 0.297"),
    (["train", "physics", "--seeds", "0"], "ionic  seed 0: MAE_ten"), (["train", "experiment", "--profile", "full", "--features", "7net-0:4", "--seeds", "0"], "total      DTNet-simple 7net-0:4 record seed 0"),
    (["baselines", "run", "--profile", "full", "--model", "ridge", "--seeds", "0"], "ridge        total"),
])  # fmt: skip
def test_what_a_results_file_has_is_not_called_trained(words, line, capsys, monkeypatch):
    """Nothing is trained, and the answer says so; in the working folder as in the documents."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DTNET_DATA_DIR", raising=False)
    assert dtnet(*words) == 0
    said = capsys.readouterr().out.splitlines()
    file = "data/results/physics.json" if "physics" in words else "data/results/tensors.json"
    assert said and said[0].startswith(line) and all(s.endswith(f"{file})") and " (not trained now: taken from " in s for s in said), said


def test_what_was_trained_now_is_not_said_to_be_taken():
    run = {"target": "total", "seed": 0, "mae_ten": 1.0}
    before = {tuple(run.get(k) for k in IDENTITY): run}
    assert from_file(run, before, "a.json") == " (not trained now: taken from a.json)"
    assert from_file(run | {"mae_ten": 2.0}, before, "a.json") == from_file(run | {"seed": 1}, before, "a.json") == from_file(run, {}, "a.json") == ""


def test_a_crystal_that_breaks_the_network_does_not_take_the_others_along(monkeypatch, files):
    class Fragile:
        features = ("7net-0:4",)

        def predict(self, structures, progress):
            if any(len(s) == 4 for s in structures):
                raise RuntimeError("no such luck")
            tensors = np.stack([len(s) * np.eye(3) for s in structures])
            tensors[0, 0, 0] = np.nan if len(structures) > 1 else tensors[0, 0, 0]
            n, one = len(tensors), np.ones(len(tensors))
            return Prediction(tensors, one, one, tensors[None], ("",) * n, one > 0, one, ((("mp-1", "MgO"),),) * n, ((),) * n, chance=one / 2, extreme=one > 0)

    rows = list(prediction.predict_rows(Fragile(), ["one.cif", "folder/sub", "one.cif"]))
    assert [row["error"] for row in rows] == [None, "no such luck", None] and rows[0]["constant"] == 8
    assert [row["error"] for row in prediction.predict_rows(Fragile(), ["one.cif", "one.cif"])] == ["the predicted tensor is not finite", None]
