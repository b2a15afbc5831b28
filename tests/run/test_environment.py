"""pyproject.toml and requirements.lock name the same versions, and every way to install takes them from there."""

import os
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = {"torch-scatter"}


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


def test_conda_and_docker_give_python_alone():
    """Everything else comes by pip, from the lock."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert (environment["channels"], environment["dependencies"]) == (["conda-forge"], ["python=3.11", "pip"])
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "FROM python:3.11-slim" in lines and "RUN ./postBuild" in lines and lines.index("USER ${NB_USER}") < lines.index("RUN ./postBuild")


CPU = "https://download.pytorch.org/whl/cpu"


@pytest.mark.parametrize(("index", "answers", "has_torch", "asked"), [
    (None, True, True, [CPU]), (None, True, False, [CPU, None]), (None, False, True, [None]), ("", True, True, [None]), ("http://own/", True, True, ["http://own/"]),
])  # fmt: skip
def test_torch_comes_first_and_without_cuda_where_it_can(index, answers, has_torch, asked, lock, tmp_path):
    log, python = tmp_path / "log", tmp_path / "python"  # a Python that only tells what it was asked
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit {int(not answers)}\necho "$@" >>{log}\ncase "$*" in *--index-url*) exit {int(not has_torch)};; esac\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)} | ({} if index is None else {"TORCH_INDEX": index})
    subprocess.run([ROOT / "postBuild"], env=environment, cwd=tmp_path, check=True, capture_output=True)
    *first, rest, kit = log.read_text().splitlines()
    assert [re.search(r"--index-url (\S+)", line) and re.search(r"--index-url (\S+)", line)[1] for line in first] == asked
    assert all(line.endswith(f"torch=={lock['torch']}") and "--no-deps" not in line for line in first)
    assert rest.endswith("--no-deps -r requirements.lock") and kit.endswith("-e .")


def test_documentation_is_pinned_beside_the_lock(lock, project):
    """`make docs` adds packages and takes the place of none."""
    beside = pins((ROOT / "docs/requirements.txt").read_text().splitlines())
    assert not set(beside) & set(lock)
    asked = project["project"]["optional-dependencies"]["docs"]
    assert len(pins(asked)) == len(asked) and pins(asked).items() <= beside.items()


def test_this_environment_is_the_locked_one(lock):
    assert not OPTIONAL & set(lock), "nobody should wait for a compiler to see a first result"
    wrong = {name: (version(name), pin) for name, pin in lock.items() if version(name).split("+")[0] != pin}
    assert not wrong


def test_the_lock_is_complete(lock):
    import importlib

    for name in ("dtnet_core", "jupyterlab", "papermill", "nbval", "mp_api.client", "matbench.bench", "optuna", "seaborn", "sevenn"):
        importlib.import_module(name)
