"""What the settings of the variants with modes were chosen on: errors of validation crystals for shares and shapes, and of the machine for features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..base.paths import RESULTS
from ..base.results import plain, provenance, write_json
from ..metrics import SMALLEST_CONSTANT, log_of, mae_ten
from ..physics.ionic import MIXES, Mix, log_constants, mend
from .born import FOLDS, fold_of
from .joint import Task, load_task, predict_members
from .physics import MENDED, NETWORKS, Known, benchmark_modes, networks_in, networks_of, potential_of
from .recipes import RECIPES

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SHAPES = (0.0, 0.25, 0.5, 1.0)


def machine_errors(known: Known, task: Task, rows: np.ndarray) -> dict[str, float]:
    """Of the machine over `FOLDS` folds by formula, crystals at `rows` with modes and an ionic part: deviations of the logarithm of its constant."""
    mine = rows[known.modes.known[rows] & (known.constants[rows] > SMALLEST_CONSTANT)]
    fold, off = np.array([fold_of(task.records[i].formula) for i in mine]), np.zeros(len(mine))
    for k in range(FOLDS):
        machine, asked = known.fit(mine[fold != k]), mine[fold == k]
        off[fold == k] = machine.log_constant(known.pooled[asked], known.modes.numbers[asked]) - log_of(known.constants[asked])
    return {"n": len(mine), "mean_log_error": float(np.abs(off).mean()), "rms_log_error": float(np.sqrt(np.square(off).mean()))}


def compare_settings(seeds: Sequence[int], name: str = NETWORKS, results: str | Path | None = None, cache_dir: str | Path | None = None,
                     data_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Ionic MAE_ten of the validation crystals of random splits, with the companion's share and the tensor's shape varied; writes `data/results/physics_settings.json`, or another variant's.

    Under "machines", `machine_errors` for the training crystals of the first seed, with charges learned from, and the crystal told by, each of the recipe's features.
    No test crystal is looked at. Networks that were trained before are taken from the cache.
    """
    started = time.monotonic()
    task = load_task(RECIPES[name], data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    first, machines = task.split(seeds[0])["train"], []
    for features in RECIPES[name].features.split("+"):
        other = benchmark_modes(name, task, cache_dir, progress, features=features)
        machines.append({"potential": potential_of(name), "features": features, **machine_errors(other, task, first[first < task.n_benchmark])})
    known, rows = benchmark_modes(name, task, cache_dir, progress), []
    for seed in tqdm(seeds, unit="split", disable=not progress):
        split = task.split(seed)
        networks = networks_of(name, task, split, seed, "record", cache_dir, False)
        companion = known.fit(split["train"][split["train"] < task.n_benchmark])
        members, truth = predict_members(networks, RECIPES[name], task, split["val"])
        mine = split["val"]
        modes = known.modes.of(mine)
        logs = log_constants(companion, known.pooled[mine], modes)
        for shape in SHAPES:
            for share in SHARES:
                mended, _ = mend(members[:, :, 1], logs, modes, Mix(share, shape))
                rows.append({"seed": seed, "share": share, "shape": shape, "mae_ten": mae_ten(truth[:, 1], mended.mean(0)), "n": len(mine), "with_modes": int(modes.known.sum())})
    words = " ".join(f"--seeds {seed}" for seed in seeds) + (f" --recipe {name}" if name != NETWORKS else "")
    record = {"rows": rows, "chosen": MIXES[networks_in(name)]._asdict(), "machines": machines, "data_sha256": task.checksum, "command": f"dtnet train physics --compare {words}",
              "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(results or RESULTS / f"{MENDED[networks_in(name)]}_settings.json", plain(record))
    return record
