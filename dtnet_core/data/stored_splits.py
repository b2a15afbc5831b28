"""The splits behind the stored results of joint models, as lists of ids, so that anybody can check them without this kit's splitter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base.results import provenance, write_json
from .held_out import held_out, material_groups
from .labels import load_auxiliary
from .loading import data_sha256, load_clean
from .splits import SPLITS, draw_split


def store_splits(path: str | Path, seeds: Sequence[int] = range(15), data_dir: str | Path | None = None) -> dict:
    """Write validation, test and left-out ids of every seed and kind; all other records of the data folder's files train.

    Returns
    -------
    dict
        `splits`: kind, seed, val, test, left_out (neither tested nor trained on); `n_records`, `n_benchmark`; provenance.
    """
    benchmark, checksum = load_clean("full", data_dir)
    records = [*benchmark, *load_auxiliary(benchmark, data_dir)]
    group, found = material_groups(records), []
    for kind in SPLITS:
        for seed in seeds:
            split = held_out(draw_split(benchmark, seed, kind), records, group, kind)
            ids = {part: sorted(records[i].id for i in rows) for part, rows in split.items()}
            left_out = sorted({r.id for r in records} - set(ids["train"]) - set(ids["val"]) - set(ids["test"]))
            found.append({"kind": kind, "seed": seed, "val": ids["val"], "test": ids["test"], "left_out": left_out})
    record = {"splits": found, "n_records": len(records), "n_benchmark": len(benchmark), "benchmark_sha256": checksum,
              "data_sha256": data_sha256(records), "command": "dtnet results splits", **provenance()}  # fmt: skip
    write_json(path, record)
    return record
