"""The variants of `MENDED`: networks of a recipe such as "best" whose ionic tensors are mended by modes; their scores over splits, and what ships.

Charges come out of fold by formula (`born.charges_out_of_fold`), so no crystal's charges were fitted to its own formula. The companion is fitted to the
training crystals of a split only. Force constants are taken from disk (`dtnet train modes` computes them); crystals without keep the networks' answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base.files import read_json
from ..base.paths import RESULTS, WEIGHTS
from ..base.results import IDENTITY, JOINT, append_result, finished_runs, plain, provenance, write_json
from ..checkpoint import load_network
from ..crystals.record import TARGETS, Record
from ..crystals.structures import crystal_systems
from ..data.loading import load_clean
from ..ensemble import COVERAGES, KNOWN
from ..members import raw_spread
from ..metrics import mae_ten, scalar_constant
from ..physics.born import FEATURES as CHARGE_FEATURES
from ..physics.companion import Companion, fit_companion
from ..physics.force_constants import effort
from ..physics.ionic import COMPANION, MIXES, POTENTIALS, SOFT_AT, SOFT_SHARE, Mix, Modes, mend_all, modes_of
from ..physics.modes import DAMPINGS
from ..physics.store import stored_force_constants
from ..potentials.registry import load_encoder, spell_features
from ..potentials.store import compute_features
from ..trust.doubts import FILE, load_doubts
from ..trust.reach import FEATURES as REACH_FEATURES
from ..trust.reach import Reach, invariants_of, load_reach
from .born import charges_out_of_fold
from .calibration import calibrate, narrowed
from .joint import Task, fit_member, load_task, predict_members
from .principal import fit as fit_principal
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


class Said(NamedTuple):
    """What is said of b crystals: tensors of the networks, and mended [M, b, 3, 3, 3], `apart` [b] of `physics.ionic.mend`, the true tensors [b, 3, 3, 3], and the modes."""

    plainly: np.ndarray
    mended: np.ndarray
    apart: np.ndarray
    truth: np.ndarray
    modes: Modes

    def of(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Mended and true tensors [M, b, 3, 3], [b, 3, 3] of a target."""
        return self.mended[:, :, k], self.truth[:, k]

    def spread(self, k: int, factors: Mapping) -> np.ndarray:
        """[b]: what the ratios are over."""
        return raw_spread(self.mended[:, :, k], factors["base"], self.apart) * self.modes.wider(factors["doubt"])

    def ratios(self, k: int, factors: Mapping) -> np.ndarray:
        """Errors of the constants [b] in units of `spread`, for what `calibration.calibrate` found."""
        return np.abs(scalar_constant(self.mended.mean(0)[:, k]) - scalar_constant(self.truth[:, k])) / self.spread(k, factors)

    @classmethod
    def joined(cls, parts: Sequence[Said]) -> Said:
        """Crystals of several, one after the other."""
        plainly, mended = (np.concatenate(x, 1) for x in ([p.plainly for p in parts], [p.mended for p in parts]))
        apart, truth, numbers, sums = (np.concatenate(x) for x in zip(*((p.apart, p.truth, p.modes.numbers, p.modes.sums) for p in parts), strict=True))
        return cls(plainly, mended, apart, truth, Modes(numbers, sums))


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
        _calibrate(variant, parts, todo, task, results, Path(weights or WEIGHTS), cache_dir)
    return found


def _identity(recipe: Recipe, target: str, kind: str, seed: int) -> dict:
    return dict(zip(IDENTITY, (target, recipe.model.replace(JOINT, f"{JOINT} with modes"), *spell_features(recipe.features), kind, seed, "full"), strict=True))


def _scores(k: int, split: Mapping[str, np.ndarray], said: Said, systems: Sequence[str], twin: np.ndarray) -> dict:
    true, before, after = said.truth[:, k], said.plainly.mean(0)[:, k], said.mended.mean(0)[:, k]
    both = {name: {"n": int(mask.sum()), "without": mae_ten(true[mask], before[mask]), "mae_ten": mae_ten(true[mask], after[mask])}
            for name, mask in (("with_modes", said.modes.known), ("soft", said.modes.soft), ("without_near_twins", ~twin)) if mask.any()}  # fmt: skip
    return {**test_scores(dict(split), true, after, systems), "without": test_scores(dict(split), true, before, systems), "kinds": both}


def _calibrate(variant: str, parts: Sequence[Mapping], seeds: Sequence[int], task: Task, results: str | Path | None, folder: Path, cache_dir: str | Path | None) -> None:
    """Intervals for mended tensors: factors from the validation crystals of all seeds, narrowed for their growth as those of other variants."""
    growths, targets = read_json(folder / variant / "calibration.json")["targets"], {}
    split, reach, doubts = task.split(SHIPPED_SEED), load_reach(folder / KNOWN), load_doubts(folder / FILE)
    away = {part: _distances(task, split[part], reach, cache_dir) for part in ("val", "test")}
    mine, covered = parts[list(seeds).index(SHIPPED_SEED)], {}
    every = {part: Said.joined([p[part] for p in parts]) for part in ("val", "test")}
    for k, target in ((1, "ionic"), (2, "total")):
        flat, growth = calibrate(*every["val"].of(k), COVERAGES, every["val"].apart, every["val"].modes), growths[target]["growth"]
        found = {"base": flat["base"], "doubt": flat["doubt"], "flat": {str(c): flat[str(c)] for c in COVERAGES}, "growth": growth}
        ratios = {part: said.ratios(k, flat) for part, said in mine.items()}
        wider = {part: reach.wider(away[part], growth) for part in ratios}
        held = {c: every["test"].ratios(k, flat) <= flat[c] for c in map(str, COVERAGES)}
        covered[target] = {"n_val": len(every["val"].truth), "all_test_flat": {c: inside.mean() for c, inside in held.items()}, "by_modes": _by_modes(every["test"].modes, held), "test": {}}
        for c in held:
            found[c] = found["flat"][c] * narrowed(ratios["val"], ratios["val"] / wider["val"], float(c))
            covered[target]["test"][c] = float((ratios["test"] <= found[c] * wider["test"]).mean())
        mean, true = (x.mean(0) if x.ndim == 4 else x for x in mine["test"].of(k))
        wide = found[str(COVERAGES[-1])] * wider["test"] * mine["test"].spread(k, flat)
        covered[target]["doubted"] = doubts.of(target, mean, wide, True).scores(mean, scalar_constant(true))
        members, truth = mine["val"].of(k)
        found["principal"] = fit_principal(members, members, truth, wider["val"] * mine["val"].modes.wider(flat["doubt"]))
        targets[target] = found
    write_json(folder / MENDED[variant] / "calibration.json", {"networks": variant, "targets": targets})
    if results is not None:
        record = {"seeds": list(seeds), "n_test": len(split["test"]), "covered": covered, "data_sha256": task.checksum, "command": f"dtnet train physics --ship --recipe {RECIPE_OF[variant]} --seeds {' '.join(map(str, seeds))}", **provenance()}
        write_json(Path(results).with_name(f"{MENDED[variant]}_intervals.json"), plain(record))


def _by_modes(modes: Modes, held: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """Shares of true constants within their intervals, apart for crystals whose modes are soft, or not, or not known."""
    return {name: {"n": int(mask.sum())} | {c: inside[mask].mean() for c, inside in held.items()}
            for name, mask in (("hard", modes.known & ~modes.soft), ("soft", modes.soft), ("without_modes", ~modes.known)) if mask.any()}  # fmt: skip


def _distances(task: Task, rows: np.ndarray, reach: Reach, cache_dir: str | Path | None) -> np.ndarray:
    return reach.nearest(reach.place(invariants_of(compute_features(REACH_FEATURES, [task.records[i].structure for i in rows], False, cache_dir, False))))[0]


def run_modes(largest: int = 14, most: int = 0, potential: str = potential_of(NETWORKS), cache_dir: str | Path | None = None, data_dir: str | Path | None = None, progress: bool = True) -> int:
    """Compute the force constants of the benchmark's crystals of up to `largest` atoms, and of all whose `effort` is at most `most`; gives how many there are."""
    encoder, records = load_encoder(potential), load_clean("full", data_dir)[0]
    costs = {r.id: effort(encoder, r.structure) for r in records if most or len(r.structure) <= largest}
    chosen = [r for r in records if r.id in costs and (len(r.structure) <= largest or costs[r.id] <= most)]
    return len(stored_force_constants(encoder, [r.structure for r in sorted(chosen, key=lambda r: costs[r.id])], cache_dir, progress))
