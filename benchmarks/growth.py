"""How time and memory grow with the number of crystals: every size in a fresh process."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from timing import seconds_of

from dtnet_core.base.cost import peak_memory_mb

_MARK = "growth-result: "


def probe(profile: str, n: int, folder: str, data_dir: str | None, encoder_name: str, layer: int) -> dict:
    """Encode `n` crystals into a new store, read them, build a training set, train one epoch; with peaks of memory."""
    from training_step import KitEpoch
    from workload import crystals

    from dtnet_core.potentials.registry import load_encoder
    from dtnet_core.potentials.store import FeatureStore
    from dtnet_core.training.fit import TrainConfig
    from dtnet_core.training.sets import build_set

    records = crystals(profile, n, data_dir)
    structures = [r.structure for r in records]
    encoder = load_encoder(encoder_name)
    encoder.encode_layers(structures[:2], (layer,))
    result = {"crystals": n, "atoms": sum(map(len, structures)), "start": {"peak_mb": peak_memory_mb()}}

    def stage(name: str, action):
        value, seconds = seconds_of(action)
        result[name] = seconds | {"peak_mb": peak_memory_mb()}
        return value

    stage("encode", lambda: FeatureStore(encoder, folder).add(structures, (layer,), progress=False))
    features = stage(
        "read", lambda: FeatureStore(encoder, folder).features(structures, layer, progress=False)
    )
    data = stage("build_set", lambda: build_set(features, records, "total", cache_dir=folder))
    epoch = KitEpoch(data, TrainConfig())
    epoch()
    stage("train_epoch", epoch)
    result["kept_atoms"] = len(data.scalars)
    result["set_mb"] = (
        sum(x.numel() * x.element_size() for x in vars(data).values() if hasattr(x, "numel")) / 1e6
    )
    return result


def print_probe(*arguments) -> None:
    """Body of the fresh process: prints the probe's result on a line of its own."""
    print(_MARK + json.dumps(probe(*arguments)), flush=True)


def measure_growth(sizes: Sequence[int], options: Sequence[str], folder: str) -> dict:
    """Run `probe` for each size in a process of its own.

    Parameters
    ----------
    sizes : sequence of int
    options : sequence of str
        Command-line options to pass on.
    folder : str
        Empty folder for the stores.

    Returns
    -------
    dict
        `sizes` (the probes' results) and `exponents`: p of time ~ atoms^p between the smallest and the largest size
        (1: linear), and of the memory beyond the start's.
    """
    runs = []
    for n in sizes:
        command = [
            sys.executable,
            str(Path(__file__).with_name("run.py")),
            *options,
            "--probe",
            str(n),
            f"{folder}/{n}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
        if done.returncode or not lines:
            raise RuntimeError(
                f"the measurement of {n} crystals ended with code {done.returncode}:\n{done.stderr[-2000:]}"
            )
        runs.append(json.loads(lines[-1].removeprefix(_MARK)))
        print(f"  {n} crystals: encoded in {runs[-1]['encode']['wall_s']:.1f} s", file=sys.stderr, flush=True)
    return {"sizes": runs, "exponents": _exponents(runs[0], runs[-1]) if len(runs) > 1 else None}


def _exponents(small: dict, large: dict) -> dict[str, float]:
    ratio = math.log(large["atoms"] / small["atoms"])
    found = {
        f"{stage}_time": math.log(large[stage]["wall_s"] / small[stage]["wall_s"]) / ratio
        for stage in ("encode", "read", "build_set", "train_epoch")
    }
    extra = [max(r["train_epoch"]["peak_mb"] - r["start"]["peak_mb"], 1.0) for r in (small, large)]
    return found | {"memory_beyond_start": math.log(extra[1] / extra[0]) / ratio}
