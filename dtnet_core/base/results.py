"""The results files (`data/results/*.json`): append, load, and say where a number came from.

A results file is a JSON list of records, one for each run. Numbers shown anywhere are read from these files.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .files import locked, write_atomic
from .paths import ROOT

IDENTITY = ("target", "model", "encoder", "layer", "split", "seed", "profile")
"""Keys that name a run; a record equal in all of them replaces the older one."""

PROTOCOL_SEEDS = range(5)
"""Splits of every table and comparison; what has been run on more of them is reported by itself."""
JOINT, MORE_LABELS = "DTNet-joint", "DTNet-joint, more labels"
"""Models of `training.joint`: on tensors, PBEsol tensors and scalars, and on files of electronic labels, too."""
FROM_SCRATCH = "-scratch"
"""End of the name of an encoder that was trained together with its readout."""

_OUTPUTS = ("data/results", "data/weights", "figures", "data/*.json.gz")
"""What runs write: a change there does not change the code that ran, and inputs have their checksums in the records."""


def plain(value):
    """`value` as plain JSON: NumPy and torch values become numbers and lists, NaN and infinities null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, torch tensors
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be stored in a results file")


def _identity(record: Mapping) -> str:
    """The `IDENTITY` of a record as text, so that lists (several layers) compare, too."""
    return json.dumps([record.get(key) for key in IDENTITY], sort_keys=True)


def write_json(path: str | os.PathLike, value) -> None:
    """Write `value` as indented JSON, atomically; NumPy values are converted, NaN becomes null.

    Parameters
    ----------
    path : path
        Parent folders are made.
    value : nested dicts and lists of plain, NumPy or torch values
    """
    write_atomic(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def load_results(path: str | os.PathLike) -> list[dict]:
    """Records of a results file; an empty list when there is no such file yet.

    Raises
    ------
    ValueError
        When the file is not a JSON list of objects.
    """
    path = Path(path)
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); restore it, or move it away first") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path} must hold a JSON list of objects, got {type(records).__name__}")
    return records


def append_result(path: str | os.PathLike, record: Mapping) -> None:
    """Add one run to a results file, or replace the run of the same `IDENTITY`; safe among processes.

    Parameters
    ----------
    path : path
        Made when missing. The records are kept sorted by identity, whatever order the runs end in.
    record : mapping
        Holds at least one of the `IDENTITY` keys; a missing one counts as null.

    Raises
    ------
    ValueError
        When the record has no identity, or the file is broken (it is then left as it is).
    """
    path, record = Path(path), plain(record)
    if not any(record.get(key) is not None for key in IDENTITY):
        raise ValueError(f"the record has none of the keys {', '.join(IDENTITY)}; it has {sorted(record)}")
    with locked(path):
        records = {_identity(old): old for old in load_results(path)}
        records[_identity(record)] = record
        write_json(path, [records[key] for key in sorted(records)])


def finished_runs(path: str | os.PathLike | None, resume: bool = True) -> dict[tuple, dict]:
    """Records of a results file by the values of their `IDENTITY`; none without a file, or when they are to be repeated."""
    return {tuple(r.get(k) for k in IDENTITY): r for r in load_results(path)} if path is not None and resume else {}


def from_file(run: Mapping, before: Mapping[tuple, Mapping], path: str | os.PathLike) -> str:
    """Words behind the score of a run that was taken from a results file; "" for one that was trained now.

    Parameters
    ----------
    run : mapping
    before : mapping
        `finished_runs` of the file, read before.
    path : path
    """
    taken = before.get(tuple(run.get(k) for k in IDENTITY)) == run
    return f" (not trained now: taken from {path})" if taken else ""


def provenance() -> dict[str, str]:
    """Where a number comes from: code, hardware and versions, without names of machines or people.

    Returns
    -------
    dict
        `commit` (of this project's own checkout, "-dirty" when tracked files other than results and figures
        changed, "unknown" outside git), `hardware` (processor model, cores, accelerator), `python`, `torch`.
    """
    import torch  # here, as reading results needs no torch

    return {
        "commit": _commit(ROOT),
        "hardware": _hardware(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command in `root`; None when git is missing or fails."""
    options = {"capture_output": True, "text": True, "timeout": 60}
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], check=False, **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _commit(root: Path) -> str:
    top, head = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    if not top or not head or Path(top).resolve() != root:  # an installed copy inside some other checkout
        return "unknown"
    excluded = [f":(exclude){folder}" for folder in _OUTPUTS]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *excluded)
    return f"{head}-dirty" if changed != "" else head


def _hardware() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {cores} cores{accelerator}"
