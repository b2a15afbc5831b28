"""What a reference gains where a test crystal's own material trains, under another id: random splits of records, as the paper's, do not forbid it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base.paths import RESULTS
from ..base.results import plain, provenance, write_json
from ..crystals.record import TARGETS
from ..data.held_out import held_out, material_groups
from ..data.splits import draw_split
from ..metrics import mae_ten
from .experiment import Shared


def measure(seeds: Sequence[int] = range(5), model: str = "ridge", shared: Shared | None = None, results: str | Path | None = None) -> dict:
    """Test MAE_ten of a reference over random splits, with and without the crystals that `data.held_out` leaves out; writes `data/results/same_material.json`.

    Parameters
    ----------
    seeds : sequence of int
    model : str
        Of `references.REFERENCES`.
    shared : Shared, optional
        Default: of the full profile.

    Returns
    -------
    dict
        `rows`: target, seed, `left_out` (crystals that train or validate in the paper's split and not in the other), `mae_ten`, `mae_ten_left_out`.
    """
    started, shared = time.monotonic(), shared or Shared("full")
    groups, rows = material_groups(shared.records), []
    for target in TARGETS:
        labels = np.array([r.tensor(target) for r in shared.records])
        for seed in seeds:
            drawn = draw_split(shared.records, seed)
            clean = held_out(drawn, shared.records, groups, "record")
            errors = []
            for split in (drawn, clean):
                reference = shared.reference(model)
                reference.fit(labels, split["train"], split["val"], seed)
                errors.append(mae_ten(labels[drawn["test"]], reference.predict(drawn["test"])))
            left_out = sum(len(drawn[part]) - len(clean[part]) for part in ("train", "val"))
            rows.append({"target": target, "seed": seed, "left_out": left_out, "n_test": len(drawn["test"]), "mae_ten": errors[0], "mae_ten_left_out": errors[1]})
    words = " ".join(f"--seeds {seed}" for seed in seeds)
    record = {"model": model, "rows": rows, "data_sha256": shared.checksum, "command": f"dtnet baselines same-material --model {model} {words}",
              "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
    write_json(results or RESULTS / "same_material.json", plain(record))
    return record
