"""The wheel: built without a network, installed into an empty folder, used far from any clone."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dtnet_core.crystals.sources import read_structure
from dtnet_core.ensemble import load_ensemble

ROOT = Path(__file__).resolve().parents[2]
CUBIC = "MgO\n1.0\n0 2.105 2.105\n2.105 0 2.105\n2.105 2.105 0\nMg O\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


def pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *words, "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what git tracks, so that nothing else can be carried and nothing is left in the checkout."""
    copy, out = (tmp_path_factory.mktemp(name) for name in ("copy", "wheel"))
    tracked = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "dtnet_core", "data/weights", "setup.py", "pyproject.toml", "README.md", "LICENSE"],
                             cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")  # fmt: skip
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(out), str(copy))
    [path] = out.glob("dtnet_kit-*.whl")
    return path


def test_it_carries_the_weights_and_every_module(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        for variant in ("default", "best", "charges"):
            for path in sorted((ROOT / "data/weights" / variant).iterdir()):
                assert file.read(f"dtnet_core/_data/weights/{variant}/{path.name}") == path.read_bytes()
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "dtnet_core").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}


def test_it_predicts_far_from_any_clone(wheel, tmp_path):
    place, away = tmp_path / "installed", tmp_path / "away"
    away.mkdir()
    pip("install", "--target", str(place), str(wheel))
    (away / "POSCAR").write_text(CUBIC)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DTNET_", "PYTHON"))}
    environment = kept | {"PYTHONPATH": str(place), "DTNET_CACHE_DIR": str(away / "cache")}

    def run(*words: str) -> str:
        return subprocess.run([sys.executable, *words], cwd=away, env=environment, capture_output=True, text=True, check=True).stdout

    code = """
import dtnet_core, json
from dtnet_core.base.paths import WEIGHTS
found = dtnet_core.DTNet.from_pretrained("electronic").predict([dtnet_core.read_structure("POSCAR")], progress=False)
print(json.dumps([dtnet_core.__file__, str(WEIGHTS), found.tensors[0].tolist()]))
"""
    where, weights, tensor = json.loads(run("-c", code).splitlines()[-1])
    assert Path(where).is_relative_to(place) and Path(weights).is_relative_to(place)
    said = run("-m", "dtnet_core", "predict", "POSCAR", "--target", "electronic", "--output", "answer.json")
    [answer] = json.loads((away / "answer.json").read_text())
    assert answer["formula"] == "MgO" and "MgO" in said and f"{answer['constant']:.2f}" in said
    np.testing.assert_allclose(answer["tensor"], tensor, rtol=1e-6, atol=1e-6)
    assert (place / "bin" / "dtnet").is_file()
    assert run(str(place / "bin" / "dtnet"), "--version").startswith("dtnet ")

    here = load_ensemble("electronic").predict([read_structure(away / "POSCAR")], tmp_path / "here", progress=False)
    np.testing.assert_allclose(tensor, here.tensors[0], rtol=1e-4, atol=1e-4)
