"""The kit's own DFPT crystals as a test of what ships: none of them trained it, though some are materials of its labels.

Among them are layers, chains and molecules, stackings that no file of labels has, and crystals from outside of the training set's chemistry.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base.paths import RESULTS, WEIGHTS
from ..base.results import plain, provenance, write_json
from ..crystals.record import TARGETS, Record
from ..data.cleaning import clean
from ..data.held_out import material_groups
from ..data.labels import LABELS, load_auxiliary
from ..data.loading import data_sha256, load_clean, load_records
from ..ensemble import at_hand, load_ensemble
from ..metrics import mae_ten, scalar_constant
from .kinds import BONDING, bonding

FURTHER = ("screening_dfpt", "further_dfpt")
"""Files of the kit's own crystals beside the set that ships."""
OTHERS = "bonded in three dimensions"
"""And mixtures, of which some atoms are."""


def own_crystals() -> list[Record]:
    """The set that ships, the computed candidates of the screening and further crystals, cleaned as every set is; the first of those with the same id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what cleaning drops is told where the sets are shown
        found = [*load_clean("mini")[0], *(r for name in FURTHER for r in clean(load_records("mini", name))[0])]
    return list({r.id: r for r in reversed(found)}.values())[::-1]


def known_materials(crystals: Sequence[Record], labels: Sequence[Record]) -> np.ndarray:
    """[B] bool: which crystals are a material of the labels, whatever was computed of it there."""
    formulas = {r.formula for r in crystals}
    near = [r for r in labels if r.formula in formulas]
    group = material_groups([*near, *crystals])
    return np.isin(group[len(near) :], group[: len(near)])


def answers(crystals: Sequence[Record], variant: str, folder: Path, cache_dir: str | Path | None = None, progress: bool = True) -> list[dict]:
    """What a variant says of each crystal: by target its constant, the half width of the 90 % interval, the chance that it is off, whether it is extreme, and MAE_ten; `in_domain`. None where it is refused."""
    rows: list[dict] = [{"in_domain": None} for _ in crystals]
    for target in TARGETS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # refused answers are None here
            found = load_ensemble(target, variant, folder).predict([r.structure for r in crystals], cache_dir, progress)
        for i, (row, record) in enumerate(zip(rows, crystals, strict=True)):
            tensor = found.tensors[i]
            row["in_domain"] = bool(found.in_domain[i])
            row[target] = None if not np.isfinite(tensor).all() else {
                "constant": scalar_constant(tensor[None])[0], "half_width_90": found.wide[i], "chance": found.chance[i], "extreme": bool(found.extreme[i]), "mae_ten": mae_ten(record.tensor(target)[None], tensor[None])}  # fmt: skip
    return rows


def run_own(variants: Sequence[str] | None = None, results: str | Path | None = None, weights: str | Path | None = None,
            data_dir: str | Path | None = None, cache_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Test the shipped networks, by default all variants whose encoders are at hand, and write `data/results/own_crystals.json`."""
    started, folder, crystals = time.monotonic(), Path(weights or WEIGHTS), own_crystals()
    benchmark, checksum = load_clean("full", data_dir)
    known = known_materials(crystals, [*benchmark, *load_auxiliary(benchmark, data_dir, LABELS)])
    rows = [{"id": r.id, "formula": r.formula, "bonding": BONDING.get(bonding(r.structure), OTHERS), "known_material": bool(k),
             "computed": {t: scalar_constant(r.tensor(t)[None])[0] for t in TARGETS}} for r, k in zip(crystals, known, strict=True)]  # fmt: skip
    found = {name: answers(crystals, name, folder, cache_dir, progress) for name in (variants or at_hand(folder, mended=True))}
    record = plain({"crystals": rows, "variants": found, "labels": ["mp_tensors", *LABELS], "labels_sha256": checksum, "data_sha256": data_sha256(crystals),
                    "calibration_sha256": {name: data_sha256(folder / name / "calibration.json") for name in found},
                    "command": "dtnet results own", "wall_s": round(time.monotonic() - started, 1), **provenance()})  # fmt: skip
    write_json(results or RESULTS / "own_crystals.json", record)
    return record
