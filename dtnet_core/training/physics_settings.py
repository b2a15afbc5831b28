"""What the settings of the variant "physics" were chosen on: errors of validation crystals for shares and shapes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..base.paths import RESULTS
from ..base.results import plain, provenance, write_json
from ..metrics import mae_ten
from ..physics.ionic import MIXES, Mix, log_constants, mend
from .joint import load_task, predict_members
from .physics import MENDED, NETWORKS, benchmark_modes, networks_in, networks_of
from .recipes import RECIPES

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SHAPES = (0.0, 0.25, 0.5, 1.0)


def compare_settings(seeds: Sequence[int], name: str = NETWORKS, results: str | Path | None = None, cache_dir: str | Path | None = None,
                     data_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Ionic MAE_ten of the validation crystals of random splits, with the companion's share and the tensor's shape varied; writes `data/results/physics_settings.json`, or another variant's.

    No test crystal is looked at. Networks that were trained before are taken from the cache.
    """
    started = time.monotonic()
    task = load_task(RECIPES[name], data_dir=data_dir, cache_dir=cache_dir, progress=progress)
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
    record = {"rows": rows, "chosen": MIXES[networks_in(name)]._asdict(), "data_sha256": task.checksum, "command": f"dtnet train physics --compare {words}",
              "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(results or RESULTS / f"{MENDED[networks_in(name)]}_settings.json", plain(record))
    return record
