"""The splits behind the stored results of joint models, as lists of ids, so that anybody can check them without this kit's splitter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base.files import read_json
from ..base.results import provenance, write_json
from ..crystals.record import Record
from .held_out import held_out, material_groups
from .labels import LABELS, WITH_TOTAL, load_auxiliary
from .loading import data_sha256, load_clean, resolve_data_dir
from .splits import SPLITS, draw_split

FILES = {"splits.json": WITH_TOTAL, "splits_wide.json": LABELS}
"""Where the splits are, of recipes on some of the files of labels and on all."""


def store_splits(path: str | Path, seeds: Sequence[int] = range(15), data_dir: str | Path | None = None) -> dict:
    """Write validation, test and left-out ids of every seed and kind; all other records of the data folder's files train, of those that `FILES` has for this path.

    Returns
    -------
    dict
        `splits`: kind, seed, val, test, left_out (neither tested nor trained on); `n_records`, `n_benchmark`; provenance.
    """
    benchmark, checksum = load_clean("full", data_dir)
    labels = FILES[Path(path).name]
    records = [*benchmark, *load_auxiliary(benchmark, data_dir, labels)]
    group, found = material_groups(records), []
    for kind in SPLITS:
        for seed in seeds:
            split = held_out(draw_split(benchmark, seed, kind), records, group, kind)
            ids = {part: sorted(records[i].id for i in rows) for part, rows in split.items()}
            left_out = sorted({r.id for r in records} - set(ids["train"]) - set(ids["val"]) - set(ids["test"]))
            found.append({"kind": kind, "seed": seed, "val": ids["val"], "test": ids["test"], "left_out": left_out})
    record = {"splits": found, "labels": labels, "chosen_on": settings_chosen_on(found, benchmark, data_dir), "n_records": len(records), "n_benchmark": len(benchmark), "benchmark_sha256": checksum,
              "data_sha256": data_sha256(records), "command": "dtnet results splits" + " --wide" * (labels != WITH_TOTAL), **provenance()}  # fmt: skip
    write_json(path, record)
    return record


def settings_chosen_on(splits: Sequence[Mapping], benchmark: Sequence[Record], data_dir: str | Path | None = None) -> dict:
    """How many of the crystals that settings were chosen on are tested elsewhere.

    Roads and search of the joint models were judged on the validation crystals of the random splits of seeds 0 and 1.

    Returns
    -------
    dict
        `n`, those crystals; `tested_0_4` and `tested_0_14`, those among them that are test crystals of a random split of these
        seeds; `matbench_rows`, rows of Matbench with the formula of one and its refractive index to 0.01 (None without its file).
    """
    drawn = [s for s in splits if s["kind"] == "record"]
    chosen = {i for s in drawn if s["seed"] in (0, 1) for i in s["val"]}
    tested = {last: {i for s in drawn if s["seed"] <= last for i in s["test"]} for last in (4, 14)}
    path = resolve_data_dir("full", data_dir) / "matbench_dielectric.json.gz"
    rows = None
    if path.is_file():
        from pymatgen.core import Composition

        index: dict[str, list[float]] = {}
        for r in benchmark:
            if r.id in chosen and (eps := r.scalar("electronic")) is not None:
                index.setdefault(r.formula, []).append(math.sqrt(max(eps, 0.0)))
        items = ((Composition(item["composition"]).reduced_formula, item["n"]) for item in read_json(path))
        rows = sum(any(abs(n - known) < 0.01 for known in index.get(formula, ())) for formula, n in items)
    return {"n": len(chosen), "tested_0_4": len(chosen & tested[4]), "tested_0_14": len(chosen & tested[14]), "matbench_rows": rows}
