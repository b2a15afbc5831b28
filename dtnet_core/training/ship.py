"""Make the weights that ship: the networks of seed 0's split, with intervals calibrated on validation crystals.

The intervals are fitted on the validation crystals of all seeds' ensembles together and tested on their test crystals
(`data/results/calibration.json`): one split alone has too few crystals to tell 68 % from 71 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..base.files import locked
from ..base.paths import WEIGHTS
from ..base.results import load_results, provenance, write_json
from ..checkpoint import save_network
from ..crystals.record import TARGETS
from ..trust.verdict import COVERAGES
from .calibration import calibrate, spread_ratios
from .joint import fit_member, load_task, predict_members
from .recipes import RECIPE_OF, RECIPES

SHIPPED_SEED = 0
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95)


def ship(name: str, seeds: Sequence[int], results: str | Path, folder: str | Path | None = None, profile: str = "full",
         cache_dir: str | Path | None = None, progress: bool = True,
         draw: Callable[[str, np.ndarray, np.ndarray], None] | None = None) -> list[dict]:  # fmt: skip
    """Write the weights of a recipe, and test its intervals.

    Parameters
    ----------
    name : str
        Variant that ships, of `recipes.RECIPE_OF`, which says whose networks it has. Those trained before are taken from the cache.
    seeds : sequence of int
        Splits whose validation and test crystals calibrate and test; `SHIPPED_SEED` is one of them.
    results : path
        Gets one record a target: nominal levels, and the share of test crystals inside the intervals.
    folder : path, optional
        Default `base.paths.WEIGHTS`.
    draw : callable, optional
        Given each target with the true and the predicted tensors [n, 3, 3] of all test crystals (for Fig. 6).

    Returns
    -------
    list of dict
    """
    if SHIPPED_SEED not in seeds:
        raise ValueError(f"seeds are {list(seeds)}; {SHIPPED_SEED}, whose networks ship, is not among them")
    recipe, target_folder = RECIPES[RECIPE_OF[name]], Path(folder or WEIGHTS) / name
    task = load_task(recipe, profile, cache_dir=cache_dir, progress=progress)
    members = {part: [] for part in ("val", "test")}  # [M, b, 3, 3, 3] of each seed
    truth = {part: [] for part in members}
    for seed in seeds:
        split = task.split(seed)
        networks = [fit_member(recipe, task, split, seed, m, cache_dir, progress).model for m in range(len(recipe.members))]
        for part in members:
            found = predict_members(networks, recipe, task, split[part])
            members[part].append(found[0])
            truth[part].append(found[1])
        if seed == SHIPPED_SEED:
            for m, network in enumerate(networks):
                save_network(network, target_folder / f"{m}.safetensors", features=recipe.members[m], seed=f"{seed + 1000 * m}")
    where = {part: np.concatenate(found, 1) for part, found in members.items()}
    real = {part: np.concatenate(found) for part, found in truth.items()}
    fitted, records = {}, []
    for k, target in enumerate(TARGETS):
        val, test = where["val"][:, :, k], where["test"][:, :, k]
        fitted[target] = calibrate(val, real["val"][:, k], COVERAGES)
        if draw is not None:
            draw(target, real["test"][:, k], test.mean(0))
        factors = calibrate(val, real["val"][:, k], LEVELS)
        ratios = spread_ratios(test, real["test"][:, k], factors["base"])
        records.append(
            {"variant": name, "target": target, "seeds": list(seeds), "n_val": len(real["val"]), "n_test": len(ratios),
             "levels": LEVELS, "coverage": [float((ratios <= factors[str(level)]).mean()) for level in LEVELS],
             "data_sha256": task.checksum, "command": f"dtnet train ship --recipe {name} --seeds {' '.join(map(str, seeds))}", **provenance()}
        )  # fmt: skip
    write_json(target_folder / "calibration.json", {"members": list(recipe.members), "targets": fitted})
    with locked(Path(results)):
        others = [r for r in load_results(results) if r["variant"] != name]
        write_json(results, [*others, *records])
    return records
