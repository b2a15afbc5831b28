"""Intervals of variants that mend their ionic tensors by the crystals' modes, and what they hold of crystals with soft modes and without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base.files import read_json
from ..base.results import plain, provenance, write_json
from ..ensemble import KNOWN
from ..members import raw_spread
from ..metrics import scalar_constant
from ..physics.ionic import Modes
from ..potentials.store import compute_features
from ..trust.doubts import FILE, load_doubts
from ..trust.reach import FEATURES as REACH_FEATURES
from ..trust.reach import Reach, invariants_of, load_reach
from ..trust.verdict import COVERAGES
from .calibration import calibrate, narrowed
from .joint import Task
from .principal import fit as fit_principal
from .recipes import RECIPE_OF
from .ship import SHIPPED_SEED


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


def calibrate_mended(variant: str, mended: str, parts: Sequence[Mapping], seeds: Sequence[int], task: Task, results: str | Path | None, folder: Path, cache_dir: str | Path | None) -> None:
    """Intervals of a variant (`mended`) that mends the networks of another: factors from the validation crystals of all seeds, narrowed for their growth as those of other variants."""
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
    write_json(folder / mended / "calibration.json", {"networks": variant, "targets": targets})
    if results is not None:
        record = {"seeds": list(seeds), "n_test": len(split["test"]), "covered": covered, "data_sha256": task.checksum, "command": f"dtnet train physics --ship --recipe {RECIPE_OF[variant]} --seeds {' '.join(map(str, seeds))}", **provenance()}
        write_json(Path(results).with_name(f"{mended}_intervals.json"), plain(record))


def _by_modes(modes: Modes, held: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """Shares of true constants within their intervals, apart for crystals whose modes are soft, or not, or not known."""
    return {name: {"n": int(mask.sum())} | {c: inside[mask].mean() for c, inside in held.items()}
            for name, mask in (("hard", modes.known & ~modes.soft), ("soft", modes.soft), ("without_modes", ~modes.known)) if mask.any()}  # fmt: skip


def _distances(task: Task, rows: np.ndarray, reach: Reach, cache_dir: str | Path | None) -> np.ndarray:
    return reach.nearest(reach.place(invariants_of(compute_features(REACH_FEATURES, [task.records[i].structure for i in rows], False, cache_dir, False))))[0]
