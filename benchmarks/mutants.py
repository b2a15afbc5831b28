"""Which small faults do the tests see? Makes them one at a time and runs the tests of the file; `data/results/mutants.json` keeps what survived.

    python benchmarks/mutants.py --sample 15            # of each module; goes on where it was stopped
    python benchmarks/mutants.py --modules readout dfpt.qe --sample 0   # all of two modules: an hour
    python benchmarks/mutants.py --again                # what survived before, against the tests of today; what they kill leaves the list

Every fault lives in a copy of the package, in a process of its own that is forked from one with torch and pymatgen loaded. A survivor
stands with "to do" until a reason is written beside it; reasons are kept. Equivalent faults say so ("equivalent: ...") and do not count.
A module whose code has changed since is tried anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mutations import mutants

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "data/results/mutants.json"
JOINT, BLIND, BY_HAND = (f"tests/training/test_{name}.py" for name in ("joint", "blindness", "joint_by_hand"))
READOUT = ["tests/test_readout.py", "tests/test_plain_readout.py"]
DFPT = ["tests/dfpt/test_engines.py", "tests/dfpt/test_full_tensors.py", "tests/dfpt/test_vasp.py", "tests/dfpt/test_dfpt.py"]
CHARGES, IONIC, MODES = (f"tests/physics/test_{name}.py" for name in ("charges", "ionic", "modes"))
JUDGE, PRINCIPAL, REACH = (f"tests/trust/test_{name}.py" for name in ("judge", "principal", "reach"))
MATBENCH = ["tests/matbench/test_by_hand.py", "tests/matbench/test_blindness.py", "tests/matbench/test_matbench.py", "-k", "by_hand or blindness or mixture or goes_on or learns or pooled"]
TESTS = {
    "training.calibration": [JOINT, "-k", "quantiles or intervals or base"],
    "links": [*READOUT, JOINT, "-k", "readout or spectral or functionals"],
    "readout": READOUT,
    "layers": [*READOUT, JOINT, "-k", "readout or dropout or functionals"],
    "features": ["tests/test_features.py", *READOUT, "tests/test_encoder.py"],
    "metrics": ["tests/test_metrics.py"],
    "data.splits": ["tests/data/test_data.py", "-k", "split or group or share"],
    "data.labels": ["tests/data/test_labels.py"],
    "dfpt.vasp": DFPT[1:3], "dfpt.parse": DFPT, "dfpt.qe": DFPT, "dfpt.abinit": DFPT,
    "data.cleaning": ["tests/data/test_data.py", "-k", "clean or reports or record or elements or labels"],
    "screening.selection": ["tests/screening/test_screening.py", "-k", "equation or values or diverse or candidates or gaps_come or compositions or farthest or tasks_of"],
    "data.held_out": ["tests/data/test_held_out.py", BLIND, "-k", "held_out or joint_models"],
    "matbench.model": MATBENCH, "matbench.run": MATBENCH,
    "training.ship": [BY_HAND, BLIND, JOINT, "-k", "by_hand or shipped_networks or ships"],
    "training.joint": [BY_HAND, BLIND, JOINT, "-k", "by_hand or joint_models or ships or relative"],
    "physics.force_constants": [MODES], "physics.modes": [MODES, IONIC], "physics.store": [MODES], "physics.companion": [IONIC], "physics.ionic": [IONIC],
    "physics.charges": [f"{CHARGES[:-3]}_by_hand.py", CHARGES, "-k", "not command"], "physics.born": [CHARGES], "physics.born_file": [CHARGES, "-k", "phonopy"],
    "trust.judge": [JUDGE, "-k", "not slab"], "trust.principal": [PRINCIPAL, "-k", "not shipped"], "trust.reach": [f"{REACH[:-3]}_by_hand.py", REACH],
    "trust.doubts": ["tests/trust/test_doubts.py", "-k", "not ship"], "trust.strain": ["tests/trust/test_strain.py", "-k", "not ships and not stored"], "domain.scores": ["tests/domain/test_domain.py", "-k", "hand or chances or judged or widen"],
    "training.physics_intervals": ["tests/training/test_physics_by_hand.py"], "trust.verdict": [f"{REACH[:-3]}_by_hand.py", PRINCIPAL, "-k", "not shipped"],
    "trust.standing": [f"{REACH[:-3]}_by_hand.py", JUDGE], "training.principal": [PRINCIPAL, "-k", "not shipped"],
    "training.physics": ["tests/training/test_physics_by_hand.py"], "training.born": [CHARGES, "-k", "not command"],
}  # fmt: skip
"""Module -> what pytest gets: files that cover it, fastest first. Tests that need the full data are left out: its folder is not set."""


def copy_of_package(folder: Path) -> None:
    """Package and tests as files of their own, all else as links."""
    for path in ROOT.iterdir():
        if path.name in ("dtnet_core", "tests"):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif not path.name.startswith("."):
            (folder / path.name).symlink_to(path)


def run_tests(folder: Path, tests: list[str], limit: float) -> tuple[str, float]:
    """("passed", "failed" or "too long", seconds) of tests in a forked process, up to the first failure."""
    started, child = time.monotonic(), os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        sys.path[0] = str(folder)
        quiet = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        import pytest

        code = 1
        try:
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        finally:
            os._exit(code)
    while time.monotonic() - started < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return ("passed" if status == 0 else "failed"), time.monotonic() - started
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long", time.monotonic() - started


def preload() -> None:
    """What every test imports; nothing of the package itself."""
    import ase.io  # noqa: F401
    import e3nn.o3  # noqa: F401
    import hypothesis  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import moyopy  # noqa: F401
    import optuna  # noqa: F401
    import pandas  # noqa: F401
    import pymatgen.analysis.structure_matcher
    import pymatgen.io.vasp.sets  # noqa: F401
    import pytest  # noqa: F401
    import scipy.optimize  # noqa: F401
    import sklearn.ensemble  # noqa: F401
    import torch

    torch.set_num_threads(1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the notebooks' plugin takes longer to load than most tests
    assert not any(name.startswith("dtnet_core") for name in sys.modules)


def score(entry: dict) -> dict:
    """Counts of a module's faults; equivalent ones do not count."""
    equivalent = sum(s["reason"].startswith("equivalent") for s in entry["survivors"])
    tried = len(entry["done"]) - equivalent
    return {"tried": tried, "killed": len(entry["done"]) - len(entry["survivors"]), "equivalent": equivalent}


def numbered(source: str) -> Iterator[tuple[int, str, str]]:
    """`mutants`, each under a name of its own: the second "1 -> 2" of a line ends in (2)."""
    seen: Counter = Counter()
    for line, change, code in mutants(source):
        seen[line, change] += 1
        yield line, change if seen[line, change] == 1 else f"{change} ({seen[line, change]})", code


def try_module(name: str, results: dict, folder: Path, options: argparse.Namespace, until: float) -> None:
    """Try the drawn faults of a module that were not tried yet, or those that survived, and write the results after each."""
    path = folder / "dtnet_core" / f"{name.replace('.', '/')}.py"
    source = path.read_text()
    code_is = hashlib.sha256(source.encode()).hexdigest()[:16]
    every = list(numbered(source))
    random.Random(f"{options.seed} {name}").shuffle(every)
    drawn = every[: options.sample or None]  # a larger sample holds a smaller one
    entry = results["modules"].setdefault(name, {"done": [], "survivors": []})
    reasons = {s["change"]: s["reason"] for s in entry["survivors"]}
    if entry.setdefault("code", code_is) != code_is:
        entry |= {"done": [], "survivors": [], "code": code_is}
    alive = {f"{s['line']}: {s['change']}" for s in entry["survivors"] if not s["reason"].startswith("equivalent")}
    todo = [m for m in every if f"{m[0]}: {m[1]}" in alive] if options.again else [m for m in drawn if f"{m[0]}: {m[1]}" not in entry["done"]]
    entry |= {"places": len(every), "tests": TESTS[name]}
    limit = None
    for line, change, code in todo:
        if time.monotonic() > until:
            return
        if limit is None:
            said, seconds = run_tests(folder, TESTS[name], 1800)
            if said != "passed":
                raise SystemExit(f"{name}: its tests fail without any fault; the end of what they said:\n{(folder / 'log').read_text()[-2000:]}")
            limit = 60 + 5 * seconds
        path.write_text(code)
        try:
            said, seconds = run_tests(folder, TESTS[name], limit)
        finally:
            path.write_text(source)
        if f"{line}: {change}" not in entry["done"]:
            entry["done"].append(f"{line}: {change}")
        others = [s for s in entry["survivors"] if (s["line"], s["change"]) != (line, change)]
        found = [{"line": line, "change": change, "reason": reasons.get(change, "to do")}] if said == "passed" else []
        entry["survivors"] = sorted([*others, *found], key=lambda s: (s["line"], s["change"]))
        entry |= score(entry)
        print(f"{name}:{line}: {change}: {said} ({seconds:.0f} s)", flush=True)
        write(results)
    entry |= score(entry)


def write(results: dict) -> None:
    """Totals, and the file."""
    total = {k: sum(m.get(k, 0) for m in results["modules"].values()) for k in ("tried", "killed", "equivalent")}
    results["total"] = total | {"share_killed": round(total["killed"] / max(1, total["tried"]), 3)}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--modules", nargs="+", default=list(TESTS), choices=tuple(TESTS))
    parser.add_argument("--sample", type=int, default=15, help="faults of each module; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="try those again that survived, but for equivalent ones, instead of new ones")
    parser.add_argument("--hours", type=float, default=24.0, help="no new fault is tried after so long")
    options = parser.parse_args()
    os.environ.pop("DTNET_DATA_DIR", None)
    command = "import json; from dtnet_core.base.results import provenance; print(json.dumps(provenance()))"
    about = json.loads(subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"modules": {}}
    if not options.again:
        results |= {"command": f"python benchmarks/mutants.py --sample {options.sample} --seed {options.seed}", "seed": options.seed}
    results |= about
    preload()
    until = time.monotonic() + 3600 * options.hours
    with tempfile.TemporaryDirectory() as folder:
        copy_of_package(Path(folder))
        for name in options.modules:
            try_module(name, results, Path(folder), options, until)
    write(results)
    print(results["total"])


if __name__ == "__main__":
    main()
