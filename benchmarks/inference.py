"""Crystals to tensors, one thread: the default ensemble, its networks, the paper's peers and the bare potential.

    python benchmarks/inference.py            # several minutes; writes the key "inference" of data/results/performance.json
    python benchmarks/inference.py --quick    # prints only

Everybody gets the same crystals and starts from structures: graphs, symmetry and features are part of the time, and nothing is
read from a store. Every model is measured in a process of its own: one warm-up, then medians. The peers have random weights, which
takes the same time; what they would predict is not looked at. On a machine that others use, compare by processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from encoding import bare_energies, bare_potential  # noqa: E402
from pymatgen.core import Structure  # noqa: E402
from record import OUTPUT, circumstances, store  # noqa: E402
from timing import alternate, busyness, median_seconds  # noqa: E402
from workload import crystals  # noqa: E402

from dtnet_core.base.cost import peak_memory_mb  # noqa: E402

POTENTIAL = "7net-0"
PEERS = ("PaiNN", "M3GNet", "MatTen", "AnisoNet")
_MARK = "inference-result: "
_CUTOFF, _BATCH_BONDS = 5.0, 2000


def ensemble(members: Sequence[int] | None = None) -> Callable[[Sequence[Structure]], np.ndarray]:
    """Electronic, ionic and total tensors by the default ensemble, or by some of its networks; each encoder runs once."""
    from dtnet_core.encoder import encode
    from dtnet_core.ensemble import load_ensemble
    from dtnet_core.members import encoders_of, member_tensors
    from dtnet_core.potentials.registry import load_encoder, parse_features

    whole = load_ensemble("total")
    chosen = range(len(whole.networks)) if members is None else members
    networks, texts = [whole.networks[i] for i in chosen], [whole.features[i] for i in chosen]
    wanted = {text: parse_features(text)[0] for text in encoders_of(texts)}
    encoders = {name: load_encoder(name) for name, _ in wanted.values()}

    def run(structures: Sequence[Structure]) -> np.ndarray:
        encoded = {text: encode(encoders[name], structures, layers) for text, (name, layers) in wanted.items()}
        return member_tensors(networks, texts, encoded)[0].mean(0)[:, 2]

    return run


def peer(name: str) -> Callable[[Sequence[Structure]], np.ndarray]:
    """A baseline's network with random weights, on graphs with one atom an orbit."""
    from dtnet_core.baselines.experiment import NETWORKS
    from dtnet_core.training.scratch.fit import build_graphs, predict_scratch

    torch.manual_seed(0)
    network = NETWORKS[name]()
    return lambda structures: predict_scratch(network, build_graphs(structures, progress=False))


def bare() -> Callable[[Sequence[Structure]], np.ndarray]:
    """Energies by the potential alone, without forces."""
    from dtnet_core.potentials.graph import batches_by_edges

    model = bare_potential(POTENTIAL)
    return lambda structures: bare_energies(model, list(batches_by_edges(structures, _CUTOFF, _BATCH_BONDS))).numpy()


def models() -> dict[str, Callable[[], Callable]]:
    """Name -> what builds it."""
    from dtnet_core.ensemble import load_ensemble

    features = load_ensemble("total").features
    single = {f"network on {text}": partial(ensemble, [features.index(text)]) for text in dict.fromkeys(features)}
    return {"default ensemble": ensemble, **single, **{name: partial(peer, name) for name in PEERS}, f"bare {POTENTIAL}": bare}


def probe(name: str, profile: str, n: int, data_dir: str | None, repeats: int) -> dict:
    """Measure one model in this process."""
    structures = [r.structure for r in crystals(profile, n, data_dir)]
    before = peak_memory_mb()
    run = models()[name]()
    if not np.isfinite(run(structures)).all():
        raise FloatingPointError(f"{name} gives numbers that are not finite")
    times = alternate({name: lambda: run(structures)}, repeats)
    seconds, atoms = median_seconds(times, name), sum(map(len, structures))
    processor = statistics.median(cpu for _, cpu in times[name])
    return {
        "model": name, "crystals_per_s": n / seconds, "atoms_per_s": atoms / seconds,
        "crystals_per_processor_s": n / processor, "atoms_per_processor_s": atoms / processor,
        "peak_memory_mb": peak_memory_mb(), "memory_before_model_mb": before, "wall_over_cpu": busyness(times),
    }  # fmt: skip


def main() -> None:
    """Measure all models, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few crystals; writes a file only with --output")
    parser.add_argument("--profile", default="mini", choices=("mini", "full"), help="whose crystals")
    parser.add_argument("--data-dir", help="folder of the data files, if not the profile's own")
    parser.add_argument("--crystals", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    o = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    n, repeats = o.crystals or (4 if o.quick else 64), o.repeats or (1 if o.quick else 5)
    if o.probe:
        print(_MARK + json.dumps(probe(o.probe, o.profile, n, o.data_dir, repeats)), flush=True)
        return
    rows = []
    for name in models():
        words = ["--profile", o.profile, "--crystals", str(n), "--repeats", str(repeats), *(["--data-dir", o.data_dir] if o.data_dir else [])]
        done = subprocess.run([sys.executable, __file__, *words, "--probe", name], capture_output=True, text=True, check=False,
                              env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
        if done.returncode or not lines:
            raise RuntimeError(f"the measurement of {name} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
        rows.append(row := json.loads(lines[-1].removeprefix(_MARK)))
        print(f"{name:28s} {row['crystals_per_processor_s']:8.1f} crystals {row['atoms_per_processor_s']:9.0f} atoms a processor second, {row['peak_memory_mb']:7.0f} MB", flush=True)
    structures = [r.structure for r in crystals(o.profile, n, o.data_dir)]
    found = {
        "profile": o.profile, "crystals": n, "atoms": sum(map(len, structures)), "repeats": repeats, "models": rows,
        "note": "From structures to tensors, nothing cached, a process each. PaiNN, M3GNet, MatTen and AnisoNet have random weights; "
                "they, unlike the others, compute one atom of each symmetry orbit. The bare potential gives energies only.",
        **circumstances(),
    }  # fmt: skip
    if o.output or not o.quick:
        store(o.output or OUTPUT, "inference", found)


if __name__ == "__main__":
    main()
