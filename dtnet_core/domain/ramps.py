"""Does leaning on the guess cost anything at home? Errors of validation crystals of random splits, for several ramps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..base.paths import RESULTS
from ..base.results import plain, provenance, write_json
from ..crystals.record import TARGETS
from ..members import with_total
from ..metrics import mae_ten
from ..training.joint import fit_member, load_task
from ..training.recipes import RECIPES
from ..training.sets import pooled_invariants
from ..trust.guess import RAMPS, Ramps, lean
from ..trust.reach import FEATURES
from .benchmark import both_of
from .intervals import reach_of, truth_of

TRIED = {"networks alone": None, "shipped": RAMPS, "nearer": Ramps(far=(1.5, 2.0)), "sooner apart": Ramps(apart=(0.15, 0.5)), "far only": Ramps(apart=(8.0, 9.0)), "apart only": Ramps(most=0.0)}


def compare_ramps(seeds: Sequence[int], name: str = "best", results: str | Path | None = None, cache_dir: str | Path | None = None,
                  data_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """MAE_ten of the validation crystals of random splits for each of `TRIED`; writes `data/results/ramps.json`.

    The guess of a split is fitted to its training crystals. No test crystal is looked at. Networks that were trained before are taken from the cache.
    """
    started, recipe = time.monotonic(), RECIPES[name]
    task = load_task(recipe, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    invariants, truth, rows = pooled_invariants(task.of(FEATURES)).astype(float), truth_of(task), []
    for seed in tqdm(seeds, unit="split", disable=not progress):
        split = task.split(seed)
        networks = [fit_member(recipe, task, split, seed, m, cache_dir, False).model for m in range(len(recipe.members))]
        bounded, unbounded = (x[:, :, :2] for x in both_of(networks, recipe, task, split["val"]))
        reach = reach_of(task, split["train"], invariants)
        place = reach.locate(invariants[split["val"]])
        guessed = reach.guess.log_constants(place.invariants)
        for way, ramps in TRIED.items():
            said = bounded if ramps is None else lean(bounded, unbounded, guessed, place.distance / np.median(place.distance), ramps)[0]
            mean = with_total(said).mean(0)
            rows.append({"seed": seed, "ramps": way, "n": len(mean)} | {t: mae_ten(truth[split["val"], k], mean[:, k]) for k, t in enumerate(TARGETS)})
    words = " ".join(f"--seeds {seed}" for seed in seeds)
    record = {"recipe": name, "rows": rows, "ramps": {way: None if r is None else r._asdict() for way, r in TRIED.items()}, "data_sha256": task.checksum,
              "command": f"dtnet results ramps --recipe {name} {words}", "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(results or RESULTS / "ramps.json", plain(record))
    return record
