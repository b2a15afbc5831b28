"""The variants of `MENDED`: networks of a recipe such as "best" whose ionic tensors are mended by modes; their scores over splits, and what ships.

Charges come out of fold by formula (`born.charges_out_of_fold`), so no crystal's charges were fitted to its own formula. The companion is fitted to the
training crystals of a split only. Force constants are taken from disk (`dtnet train modes` computes them); crystals without keep the networks' answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.paths import RESULTS, WEIGHTS
from ..base.results import IDENTITY, JOINT, append_result, finished_runs, plain, provenance
from ..checkpoint import load_network
from ..crystals.record import TARGETS, Record
from ..crystals.structures import crystal_systems
from ..data.loading import load_clean
from ..metrics import mae_ten, scalar_constant
from ..physics.born import FEATURES as CHARGE_FEATURES
from ..physics.companion import Companion, fit_companion
from ..physics.force_constants import effort
from ..physics.ionic import COMPANION, MIXES, POTENTIALS, SOFT_AT, SOFT_SHARE, Mix, Modes, mend_all, modes_of
from ..physics.modes import DAMPINGS
from ..physics.store import stored_force_constants
from ..potentials.registry import load_encoder, spell_features
from .born import charges_out_of_fold
from .joint import Task, fit_member, load_task, predict_members
from .physics_intervals import Said, calibrate_mended
from .recipes import RECIPE_OF, RECIPES, Recipe
from .scores import test_scores
from .sets import pooled_invariants
from .ship import SHIPPED_SEED

NETWORKS = "best"
MENDED = {NETWORKS: "physics", "default": "default-physics"}
"""Variant whose networks are mended -> variant that mends them, by force constants of one of `physics.ionic.POTENTIALS`."""


@dataclass(frozen=True)
class Known:
    """What the companion may learn from and is asked about: the benchmark's n crystals.

    Attributes
    ----------
    pooled : np.ndarray, [n, D]
    modes : Modes
    constants : np.ndarray, [n]
        True ionic constants.
    mix : Mix
        How much of what the companion says is taken.
    """

    pooled: np.ndarray
    modes: Modes
    constants: np.ndarray
    mix: Mix = MIXES[NETWORKS]

    def fit(self, rows: np.ndarray) -> Companion:
        """A companion that has seen the crystals at these positions, those with modes."""
        mine = rows[self.modes.known[rows]]
        return fit_companion(self.pooled[mine], self.modes.numbers[mine], self.constants[mine])

    def mended(self, companion: Companion, bounded: np.ndarray, unbounded: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`mend_all` of what networks say [M, b, 3, 3, 3] of the crystals at these positions."""
        return mend_all(companion, bounded, unbounded, self.pooled[rows], self.modes.of(rows), self.mix)


def networks_in(name: str) -> str:
    """The variant (a key of `MENDED`) that has the networks of a recipe."""
    variant = name.removesuffix("-wide")
    if variant not in MENDED:
        raise ValueError(f"the recipe is {name}; networks of {', '.join(MENDED)} are mended")
    return variant


def potential_of(name: str) -> str:
    """The potential whose force constants mend a recipe's networks."""
    return POTENTIALS[networks_in(name)]


def benchmark_modes(name: str, task: Task, cache_dir: str | Path | None = None, progress: bool = True, born: Sequence[Record] | None = None,
                    features: str = "") -> Known:  # fmt: skip
    """Pooled features, modes where force constants are on disk, and ionic constants of the benchmark's crystals, for a recipe.

    Charges are learned from `born`, by default all, by `features`, by default those of `physics.born.FEATURES`; these are pooled, too.
    """
    records, features = task.records[: task.n_benchmark], features or CHARGE_FEATURES[networks_in(name)]
    constants = stored_force_constants(load_encoder(potential_of(name)), [r.structure for r in records], cache_dir, False, compute=False)
    modes = modes_of(constants, charges_out_of_fold(features, records, born=born, cache_dir=cache_dir, progress=progress), [r.structure.volume for r in records])
    pooled = pooled_invariants(task.of(features))[: task.n_benchmark].astype(float)
    return Known(pooled, modes, scalar_constant(np.stack([r.eps_ionic for r in records])), MIXES[networks_in(name)])


def networks_of(name: str, task: Task, split: Mapping[str, np.ndarray], seed: int, kind: str, cache_dir: str | Path | None, progress: bool) -> list:
    """A recipe's networks of a split: those that ship, or those that `joint.run_joint` trains, from their checkpoints where they are."""
    recipe, variant = RECIPES[name], networks_in(name)
    if (name, seed, kind) == (RECIPE_OF[variant], SHIPPED_SEED, "record"):
        return [load_network(WEIGHTS / variant / f"{m}.safetensors")[0] for m in range(len(recipe.members))]
    return [fit_member(recipe, task, dict(split), seed, m, cache_dir, progress).model for m in range(len(recipe.members))]


def default_results(name: str) -> Path:
    """Where a recipe's scores are kept: those of other networks, or of other labels, are not mixed."""
    return RESULTS / f"{MENDED[networks_in(name)]}{'' if RECIPES[name].model == JOINT else '_wide'}.json"


def run_physics(seeds: Sequence[int], kind: str = "record", results: str | Path | None = None, ship: bool = False, weights: str | Path | None = None,
                cache_dir: str | Path | None = None, data_dir: str | Path | None = None, progress: bool = True, name: str = NETWORKS) -> list[dict]:  # fmt: skip
    """Test the variant over splits; finished seeds are taken from the results file.

    Parameters
    ----------
    seeds : sequence of int
    kind : {"record", "group"}
    results : path, optional
    ship : bool
        Write companion and calibration to the weights folder, too; `SHIPPED_SEED` is then among the seeds, and all are run.
    weights : path, optional
        Default `base.paths.WEIGHTS`.
    name : str
        Of `recipes.RECIPES`: whose networks.

    Returns
    -------
    list of dict
        A record for the ionic and the total tensor of each seed: scores with modes, and under "without" the same networks' without.
    """
    if ship and SHIPPED_SEED not in seeds:
        raise ValueError(f"seeds are {list(seeds)}; {SHIPPED_SEED}, whose networks ship, is not among them")
    recipe, variant = RECIPES[name], networks_in(name)
    if ship and name != RECIPE_OF[variant]:
        raise ValueError(f"the recipe is {name}; the networks that ship are of {RECIPE_OF[variant]}")
    done = finished_runs(results, resume=not ship)
    keys = {seed: [tuple(_identity(recipe, t, kind, seed).values()) for t in TARGETS[1:]] for seed in seeds}
    todo = [seed for seed in seeds if any(key not in done for key in keys[seed])]
    found = [done[key] for seed in seeds if seed not in todo for key in keys[seed]]
    if not todo:
        return found
    task = load_task(recipe, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    known, parts = benchmark_modes(name, task, cache_dir, progress), []
    for seed in todo:
        started, split = time.monotonic(), task.split(seed, kind)
        networks = networks_of(name, task, split, seed, kind, cache_dir, progress)
        companion = known.fit(split["train"][split["train"] < task.n_benchmark])
        said = {}
        for part in ("val", "test"):
            plainly, truth = predict_members(networks, recipe, task, split[part])
            mended, _, apart = known.mended(companion, plainly, plainly, split[part])
            said[part] = Said(plainly, mended, apart, truth, known.modes.of(split[part]))
        parts.append(said)
        about = {"n_fitted": int(known.modes.known[split["train"][split["train"] < task.n_benchmark]].sum()),
                 "settings": {"networks": name, "potential": potential_of(name), **MIXES[variant]._asdict(), "dampings": DAMPINGS, "soft": [SOFT_AT, SOFT_SHARE]}, "data_sha256": task.checksum,
                 "command": f"dtnet train physics --recipe {name} --split {kind} --seeds {seed}", "wall_s": round(time.monotonic() - started, 1), **provenance()}  # fmt: skip
        systems, twin = crystal_systems([task.records[i].structure for i in split["test"]]), task.twinned(split, cache_dir, progress)
        for k in (1, 2):
            run = plain(_identity(recipe, TARGETS[k], kind, seed) | _scores(k, split, said["test"], systems, twin) | about)
            found.append(run)
            if results is not None:
                append_result(results, run)
        if ship and seed == SHIPPED_SEED:
            companion.save(Path(weights or WEIGHTS) / MENDED[variant] / COMPANION)
    if ship:
        calibrate_mended(variant, MENDED[variant], parts, todo, task, results, Path(weights or WEIGHTS), cache_dir)
    return found


def _identity(recipe: Recipe, target: str, kind: str, seed: int) -> dict:
    return dict(zip(IDENTITY, (target, recipe.model.replace(JOINT, f"{JOINT} with modes"), *spell_features(recipe.features), kind, seed, "full"), strict=True))


def _scores(k: int, split: Mapping[str, np.ndarray], said: Said, systems: Sequence[str], twin: np.ndarray) -> dict:
    true, before, after = said.truth[:, k], said.plainly.mean(0)[:, k], said.mended.mean(0)[:, k]
    both = {name: {"n": int(mask.sum()), "without": mae_ten(true[mask], before[mask]), "mae_ten": mae_ten(true[mask], after[mask])}
            for name, mask in (("with_modes", said.modes.known), ("soft", said.modes.soft), ("without_near_twins", ~twin)) if mask.any()}  # fmt: skip
    return {**test_scores(dict(split), true, after, systems), "without": test_scores(dict(split), true, before, systems), "kinds": both}


def run_modes(largest: int = 14, most: int = 0, potential: str = potential_of(NETWORKS), cache_dir: str | Path | None = None, data_dir: str | Path | None = None, progress: bool = True) -> int:
    """Compute the force constants of the benchmark's crystals of up to `largest` atoms, and of all whose `effort` is at most `most`; gives how many there are."""
    encoder, records = load_encoder(potential), load_clean("full", data_dir)[0]
    costs = {r.id: effort(encoder, r.structure) for r in records if most or len(r.structure) <= largest}
    chosen = [r for r in records if r.id in costs and (len(r.structure) <= largest or costs[r.id] <= most)]
    return len(stored_force_constants(encoder, [r.structure for r in sorted(chosen, key=lambda r: costs[r.id])], cache_dir, progress))
