"""The import contracts of pyproject.toml can fail: each is broken on purpose in a copy of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "dtnet_core", folder / "dtnet_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run([sys.executable, "-c", program, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_contracts_hold(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("readout.py", "def late():\n    from .ensemble import load_ensemble\n    return load_ensemble\n", "Data walk one way"),
        ("metrics.py", "from .data.splits import draw_split\n", "The core imports crystals"),
        ("matbench/task.py", "from ..baselines import references\n", "Chapters know each other"),
        ("report/tables.py", "from ..training.fit import TrainConfig\n", "Report reads results"),
        ("potentials/graph.py", "def late():\n    from .nequix import Nequix\n    return Nequix\n", "No circles"),
    ],
)
def test_a_violation_is_named_also_inside_a_function(copy, file, line, broken):
    path = copy / "dtnet_core" / file
    before = path.read_text()
    try:
        path.write_text(f"{before}\n{line}")
        done = lint(copy)
    finally:
        path.write_text(before)
    assert done.returncode == 1
    assert any(broken in row and "BROKEN" in row for row in done.stdout.splitlines()), done.stdout
