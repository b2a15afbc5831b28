"""Measure the time to the first answer of `dtnet predict one.cif` and write it to `data/results/performance.json`.

    python benchmarks/first_prediction.py            # half a minute, on an idle machine
    python benchmarks/first_prediction.py --print    # leaves the file alone

A whole process each time, on one thread, with no features stored: what a user waits for. Only Python's byte code is there already,
from a first run that is not counted. Processor seconds stand beside the wall clock, as other work on the machine lengthens only that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

from dtnet_core.base.results import provenance, write_json  # noqa: E402

OUTPUT = ROOT / "data" / "results" / "performance.json"
KEY, GOAL_S = "first_prediction", 4.0


def measure_first_prediction(repeats: int = 5) -> dict:
    """Wall and processor seconds of whole processes, medians and smallest, and of the same process with features stored."""
    from pymatgen.core import Lattice, Structure

    with tempfile.TemporaryDirectory() as folder:
        crystal = Path(folder) / "one.cif"
        Structure.from_spacegroup(225, Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]).to(str(crystal), fmt="cif")
        _run(crystal, Path(folder) / "warm")
        fresh = [_run(crystal, Path(folder) / f"cache{i}") for i in range(repeats)]
        again = [_run(crystal, Path(folder) / "warm") for _ in range(repeats)]
    processor = statistics.median(cpu for _, cpu in fresh)
    return {
        "fresh": _summary(fresh), "features_stored": _summary(again), "repeats": repeats, "threads": 1,
        "goal": {"processor_s_below": GOAL_S, "found": processor, "met": processor < GOAL_S},
    }  # fmt: skip


def _run(crystal: Path, cache: Path) -> tuple[float, float]:
    """Wall and processor seconds of one process."""
    environment = os.environ | {"DTNET_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "dtnet_core", "predict", crystal.name], cwd=crystal.parent, env=environment, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _summary(runs: list[tuple[float, float]]) -> dict:
    wall, processor = zip(*runs, strict=True)
    return {"wall_s": statistics.median(wall), "wall_s_smallest": min(wall), "processor_s": statistics.median(processor), "processor_s_smallest": min(processor)}


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave the results file alone")
    options = parser.parse_args()
    words = [] if options.repeats == 5 else [f"--repeats {options.repeats}"]
    found = measure_first_prediction(options.repeats) | {"command": " ".join(["python benchmarks/first_prediction.py", *words]), **provenance()}
    print(json.dumps(found, indent=1))
    if not options.only_print:
        known = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
        write_json(OUTPUT, known | {KEY: found})


if __name__ == "__main__":
    main()
