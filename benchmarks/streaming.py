"""Memory and time of predicting a stream of crystals, for growing numbers of them: every size in a fresh process.

    python benchmarks/streaming.py                        # 1,000, 3,000 and 10,000 crystals; about ten minutes
    python benchmarks/streaming.py --sizes 100 300

The crystals are strained copies of the profile's own, read from a gzip-compressed JSON file; predictions go to parquet parts.
Writes `data/results/streaming.json`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

import torch  # noqa: E402
from workload import crystals  # noqa: E402

from dtnet_core.base.cost import peak_memory_mb  # noqa: E402
from dtnet_core.base.results import provenance, write_json  # noqa: E402
from dtnet_core.crystals.structures import structure_to_dict  # noqa: E402

OUTPUT = ROOT / "data" / "results" / "streaming.json"
SIZES = (1_000, 3_000, 10_000)
GOALS = {"memory_growth_percent": 10.0, "time_exponent": 1.1}
"""Largest growth of the peak from the smallest to the largest size, and largest power of the time in the number of atoms."""
_MARK = "streaming-result: "


def write_source(path: Path, n: int, profile: str, data_dir: str | None) -> int:
    """`n` crystals as JSON lines; gives the number of their atoms."""
    atoms = 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for i, record in enumerate(crystals(profile, n, data_dir)):
            file.write(json.dumps({"id": f"{i}", "structure": structure_to_dict(record.structure)}) + "\n")
            atoms += len(record.structure)
    return atoms


def probe(source: str, folder: str, variant: str) -> dict:
    """Predict a source in this process: peaks of resident memory before and after, current memory on the way, seconds."""
    import psutil

    from dtnet_core.ensemble import load_ensemble
    from dtnet_core.screening.streaming import predict_stream

    ensemble = load_ensemble("total", variant)
    warm = [{"id": str(i), "structure": structure_to_dict(r.structure)} for i, r in enumerate(crystals("mini", 100))]
    predict_stream(warm, f"{folder}-warm", ensemble, progress=False)  # encoders loaded, buffers grown
    start, samples, process, stop = peak_memory_mb(), [], psutil.Process(), threading.Event()

    def watch() -> None:
        while not stop.wait(2.0):
            samples.append(round(process.memory_info().rss / 1e6, 1))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.monotonic(), time.process_time()
    summary = predict_stream(source, folder, ensemble, progress=False)
    result = {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu, "warm_peak_mb": start, "peak_mb": peak_memory_mb()}
    stop.set()
    watcher.join()
    again = time.monotonic()
    skipped = predict_stream(source, folder, ensemble, progress=False)
    tenths = [samples[int(i * (len(samples) - 1) / 10)] for i in range(11)] if samples else []
    return result | {"summary": summary, "second_call_s": time.monotonic() - again, "second_call": skipped, "memory_by_tenths_mb": tenths}


def measure(sizes: list[int], profile: str, data_dir: str | None, variant: str) -> list[dict]:
    """Run `probe` for each size in a process of its own."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            source = Path(folder) / f"{n}.jsonl.gz"
            atoms = write_source(source, n, profile, data_dir)
            command = [sys.executable, __file__, "--probe", str(source), f"{folder}/out-{n}", "--variant", variant]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
            if done.returncode or not lines:
                raise RuntimeError(f"the measurement of {n} crystals ended with code {done.returncode}:\n{done.stderr[-2000:]}")
            run = {"crystals": n, "atoms": atoms} | json.loads(lines[-1].removeprefix(_MARK))
            runs.append(run | {"atoms_per_cpu_s": atoms / run["cpu_s"]})
            print(f"  {n} crystals: {run['cpu_s']:.0f} s, peak {run['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
    return runs


def main() -> None:
    """Measure, print the goals, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--profile", default="mini", choices=("mini", "full"), help="whose crystals")
    parser.add_argument("--data-dir", help="folder of the data files, if not the profile's own")
    parser.add_argument("--variant", default="default", help="of the ensembles that ship with the kit")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--probe", nargs=2, metavar=("SOURCE", "FOLDER"), help=argparse.SUPPRESS)
    o = parser.parse_args()
    torch.set_num_threads(1)
    if o.probe:
        print(_MARK + json.dumps(probe(*o.probe, o.variant)), flush=True)
        return
    runs = measure(sorted(o.sizes), o.profile, o.data_dir, o.variant)
    small, large = runs[0], runs[-1]
    growth = 100 * (large["peak_mb"] / small["peak_mb"] - 1)
    power = math.log(large["cpu_s"] / small["cpu_s"]) / math.log(large["atoms"] / small["atoms"]) if len(runs) > 1 else None
    found = {"memory_growth_percent": growth, "time_exponent": power}
    goals = {k: {"goal_below": GOALS[k], "found": v, "met": v is not None and v < GOALS[k]} for k, v in found.items()}
    write_json(o.output, {"goals": goals, "profile": o.profile, "variant": o.variant, "threads": 1, "sizes": runs,
                          "command": "python benchmarks/streaming.py", **provenance()})  # fmt: skip
    print(f"written: {o.output}")
    for name, goal in goals.items():
        print(f"{name}: {goal['found']:.2f}, goal {'met' if goal['met'] else 'NOT met'}")


if __name__ == "__main__":
    main()
