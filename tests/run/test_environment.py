"""environment.yml, pyproject.toml and requirements.lock name the same versions."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = {"torch-scatter"}
CONDA_NAMES = {"pytorch": "torch", "pytorch-scatter": "torch-scatter", "matplotlib-base": "matplotlib"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines) -> dict[str, str]:
    found = (re.fullmatch(r"([\w.-]+?)={1,2}([\w.+!]+)", line.strip()) for line in lines)
    return {canonical(m[1]): m[2] for m in found if m}


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    return pins((ROOT / "requirements.lock").read_text().splitlines())


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_pyproject_is_pinned_as_the_lock(lock, project):
    wanted = pins(project["project"]["dependencies"] + project["build-system"]["requires"])
    assert len(wanted) == len(project["project"]["dependencies"]) + 1, "every requirement is pinned with =="
    assert wanted == {name: lock.get(name) for name in wanted}


def test_environment_yml_is_pinned_as_the_lock(lock, project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(item["pip"] for item in environment if isinstance(item, dict))
    by_conda = pins(item for item in environment if isinstance(item, str))
    assert by_conda.pop("python") == "3.11"
    stated = {CONDA_NAMES.get(name, name): pin for name, pin in (by_conda | pins(by_pip)).items()}
    extras = pins(project["project"]["optional-dependencies"]["scatter"])
    assert stated == {name: (lock | extras).get(name) for name in stated}
    direct = set(pins(project["project"]["dependencies"])) - {"matbench"}  # from the lock alone, without its own pins
    assert direct | OPTIONAL <= set(stated)


def test_this_environment_is_the_locked_one(lock):
    assert not OPTIONAL & set(lock), "nobody should wait for a compiler to see a first result"
    wrong = {name: (version(name), pin) for name, pin in lock.items() if version(name).split("+")[0] != pin}
    assert not wrong


def test_the_lock_is_complete(lock):
    import importlib

    for name in ("dtnet_core", "jupyterlab", "papermill", "nbval", "mp_api.client", "matbench.bench", "optuna", "seaborn", "sevenn"):
        importlib.import_module(name)
