"""Measure the kit's speed and memory and write `data/results/performance.json`.

    python benchmarks/run.py            # about ten minutes, on an idle machine
    python benchmarks/run.py --quick    # under a minute, prints only

One thread. What is compared is timed in turns, in one run; every number is a median. The file holds one entry for each
profile measured, and those of `inference.py` and `set_building.py`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

import torch  # noqa: E402
from encoding import measure_encoding, measure_end_to_end  # noqa: E402
from growth import measure_growth, print_probe  # noqa: E402
from record import OUTPUT, store  # noqa: E402
from training_step import measure_training  # noqa: E402
from workload import crystals  # noqa: E402

from dtnet_core.base.results import provenance  # noqa: E402
from dtnet_core.potentials.registry import load_encoder  # noqa: E402
from dtnet_core.potentials.store import FeatureStore  # noqa: E402

ENCODER, LAYER = "7net-0", 4
GOALS = {"encoding_overhead": 0.10, "training_speedup": 3.0}
FULL = {"encode": 64, "end": 32, "train": 512, "bonds": 128, "repeats": 7, "sizes": [100, 500, 2500]}
QUICK = {"encode": 6, "end": 4, "train": 64, "bonds": 0, "repeats": 3, "sizes": [8, 32]}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; writes a file only with --output")
    parser.add_argument("--profile", default="mini", choices=("mini", "full"), help="whose crystals")
    parser.add_argument("--data-dir", help="folder of the data files, if not the profile's own")
    parser.add_argument("--sizes", nargs="+", type=int, help=f"crystals for growth, default {FULL['sizes']}")
    parser.add_argument("--repeats", type=int, help=f"turns of every comparison, default {FULL['repeats']}")
    parser.add_argument("--output", type=Path, help=f"default {OUTPUT.relative_to(ROOT)}")
    parser.add_argument("--probe", nargs=2, metavar=("N", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(chosen: argparse.Namespace, sizes: dict) -> dict:
    """All measurements of one profile."""
    encoder = load_encoder(ENCODER)
    records = crystals(chosen.profile, max(sizes["encode"], sizes["end"], sizes["train"]), chosen.data_dir)
    repeats = chosen.repeats or sizes["repeats"]
    with tempfile.TemporaryDirectory() as folder:
        _say("growth with the number of crystals")
        passed_on = ["--profile", chosen.profile] + (
            ["--data-dir", chosen.data_dir] if chosen.data_dir else []
        )
        growth = measure_growth(chosen.sizes or sizes["sizes"], passed_on, folder)
        _say("encoding")
        encoding = measure_encoding(encoder, records[: sizes["encode"]], repeats, LAYER)
        _say("structure to tensor")
        end_to_end = measure_end_to_end(encoder, records[: sizes["end"]], repeats, LAYER)
        training = {}
        for name, n, bonds in (("simple", sizes["train"], False), ("with_bonds", sizes["bonds"], True)):
            if n:
                _say(f"training step, {name}")
                store = FeatureStore(encoder, f"{folder}/{name}")
                features = store.features([r.structure for r in records[:n]], LAYER, bonds, progress=False)
                training[name] = measure_training(features, records[:n], repeats)
    overhead = max(v["overhead_beyond_second_pass"] for k, v in encoding.items() if k.startswith("kit_"))
    speedup = training["simple"]["speedup"]
    goals = {
        "encoding_overhead": {"goal_below": GOALS["encoding_overhead"], "found": overhead,
                              "met": overhead < GOALS["encoding_overhead"]},
        "training_speedup": {"goal_at_least": GOALS["training_speedup"], "found": speedup,
                             "met": speedup >= GOALS["training_speedup"]},
    }  # fmt: skip
    return {
        "goals": goals,
        "encoding": encoding,
        "end_to_end": end_to_end,
        "training_step": training,
        "growth": growth,
    }


def main() -> None:
    """Measure, print the goals, write the file."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    chosen = options()
    if chosen.probe:
        print_probe(chosen.profile, int(chosen.probe[0]), chosen.probe[1], chosen.data_dir, ENCODER, LAYER)
        return
    started = time.monotonic()
    found = measure(chosen, QUICK if chosen.quick else FULL)
    found |= {
        "profile": chosen.profile, "threads": 1, "command": shlex.join(["python", "benchmarks/run.py", *_shown(sys.argv[1:])]),
        "wall_s": round(time.monotonic() - started, 1), **provenance(),
    }  # fmt: skip
    output = chosen.output or (None if chosen.quick else OUTPUT)
    if output is None:
        print(json.dumps(found, indent=1, default=float))
    else:
        store(output, chosen.profile, found)
    for name, goal in found["goals"].items():
        print(f"{name}: {goal['found']:.3f}, goal {'met' if goal['met'] else 'NOT met'}")
    print(
        f"{found['wall_s']} s; the machine was busy by a factor {found['encoding']['wall_over_cpu']:.2f} (1: idle)"
    )


def _shown(arguments: list[str]) -> list[str]:
    """The arguments without paths, which mean nothing elsewhere."""
    hidden = {i + 1 for i, a in enumerate(arguments) if a in ("--data-dir", "--output")}
    return ["..." if i in hidden else a for i, a in enumerate(arguments)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
