"""Intervals of eigenvalues and angles of axes: fitted on validation crystals of the networks that ship, tested on their test crystals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..base.files import read_json
from ..base.paths import RESULTS, WEIGHTS
from ..base.results import plain, provenance, write_json
from ..crystals.record import TARGETS, Record
from ..data.loading import data_sha256, load_records, resolve_data_dir
from ..ensemble import Ensemble, at_hand, load_ensemble
from ..members import encoders_of
from ..potentials.store import compute_features
from ..trust.principal import (
    FIXED,
    SAME,
    UNDETERMINED,
    Principal,
    axis_spread,
    between,
    decompose,
    disagreement,
    gaps,
    principal,
    spread,
    symmetry,
)
from ..trust.verdict import COVERAGES
from .calibration import best_base, conformal
from .ship import SHIPPED_SEED

_UNIT = {"0.68": 1.0, "0.9": 1.0, "gap": 1.0, "alike": 0.0, "angle": 1.0}


def fit(members: np.ndarray, unbounded: np.ndarray, truth: np.ndarray, wider: np.ndarray | float = 1.0) -> dict[str, float]:
    """`calibration` of `trust.principal.principal`, on crystals that no network was trained on.

    Parameters
    ----------
    members, unbounded : np.ndarray, [M, B, 3, 3]
    truth : np.ndarray, [B, 3, 3]
    wider : np.ndarray, [B], or float

    Returns
    -------
    dict
        `base`, of the largest Laplace likelihood of the errors of all eigenvalues; "0.68" and "0.9", quantiles (`calibration.conformal`) of the errors over the
        spread; `gap`, the 68 % quantile of the errors of differences of eigenvalues that symmetry does not make equal; of axes that are told apart and not
        fixed by symmetry: `alike` in degrees, as `base`, and `angle`, the 68 % quantile of the angle to the true axis over `trust.principal.axis_spread`.
    """
    values, axes = decompose(members.mean(0))
    fixed, _ = symmetry(members, unbounded, axes)
    true, true_axes = matched(truth, axes, fixed)
    far = np.abs(values - true)  # [B, 3]
    found = {"base": best_base(lambda base: spread(unbounded, base), far)} | _UNIT
    said = principal(members, unbounded, found, wider)
    errors = np.abs(said.values - true) / said.std
    found |= {str(c): conformal(errors, c) for c in COVERAGES}
    by_order = decompose(truth)[0]
    apart = (gaps(said.values) > SAME * said.values[:, 1:]) | (gaps(by_order) > SAME * by_order[:, 1:])  # [B, 2]
    wrong = np.abs(gaps(said.values) - gaps(true)) / np.maximum(said.std[:, 1:], said.std[:, :-1])
    if apart.any():
        found["gap"] = conformal(wrong[apart], COVERAGES[0])
    said = principal(members, unbounded, found, wider)
    among = disagreement(unbounded)
    free = (among >= FIXED) & ~fixed & (said.angle < UNDETERMINED)
    if free.any():
        off, among = between(said.axes, true_axes)[free], among[free]
        found["alike"] = best_base(lambda alike: axis_spread(among, alike), off, np.geomspace(0.5, 30, 41))
        found["angle"] = conformal(off / axis_spread(among, found["alike"]), COVERAGES[0])
    return found


def matched(truth: np.ndarray, axes: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [B, 3] and axes [B, 3, 3] of true tensors [B, 3, 3], each in the place of the told one [B, 3, 3] that it belongs to.

    For axes that symmetry fixes, `fixed` [B, 3], it is the nearest; the others follow in order of size.
    """
    values, found = decompose(truth)
    places = np.empty(values.shape, dtype=int)
    for row, told, ours, marked in zip(places, axes, found, fixed, strict=True):
        left = [0, 1, 2]
        for k in (*np.flatnonzero(marked), *np.flatnonzero(~marked)):
            row[k] = left.pop(int(np.argmin(between(ours[left], told[k]))) if marked[k] else 0)
    return np.take_along_axis(values, places, -1), np.take_along_axis(found, places[..., None], -2)


def scores(said: Principal, truth: np.ndarray, factors: Mapping[str, float]) -> dict[str, float | int]:
    """How well the intervals and angles, these made with `factors`, hold for true tensors [B, 3, 3].

    Returns
    -------
    dict
        `n` crystals; `covered_68`, `covered_90`, shares of eigenvalues, and `half_width_68`, their median over the eigenvalue; `undetermined`, share of axes; of the others
        `fixed` (count) and `fixed_within_1` (share within a degree), `free` (count), `free_covered_68` and `free_angle`, the median angle told.
    """
    clear = said.angle < UNDETERMINED
    free = clear & (said.angle >= factors["alike"] * factors["angle"])
    fixed = clear & ~free
    true, axes = matched(truth, said.axes, fixed)
    error, off = np.abs(said.values - true), between(said.axes, axes)
    return {
        "n": len(true), "covered_68": (error <= said.std).mean(), "covered_90": (error <= said.wide).mean(), "half_width_68": np.median(said.std / said.values),
        "undetermined": 1 - clear.mean(), "fixed": int(fixed.sum()), "fixed_within_1": (off[fixed] <= 1).mean() if fixed.any() else None,
        "free": int(free.sum()), "free_covered_68": (off <= said.angle)[free].mean() if free.any() else None, "free_angle": np.median(said.angle[free]) if free.any() else None,
    }  # fmt: skip


def answers(ensemble: Ensemble, records: Sequence[Record], target: str, cache_dir: str | Path | None = None, progress: bool = True) -> tuple:
    """Arguments of `fit` for an ensemble and crystals with tensors."""
    crystals, wider = [r.structure for r in records], np.ones(len(records))
    found = {part: compute_features(part, crystals, False, cache_dir, progress) for part in encoders_of(ensemble.features)}
    *said, _, place = ensemble.opinions(found, len(crystals))
    members, unbounded = (x[:, :, TARGETS.index(target)] for x in said)
    if ensemble.reach is not None and place is not None:
        wider = ensemble.reach.wider(place.distance, ensemble.calibration.get("growth", 0.0))
    return members, unbounded, np.stack([r.tensor(target) for r in records]), wider


def run_principal(variants: Sequence[str] | None = None, results: str | Path | None = None, weights: str | Path | None = None, data_dir: str | Path | None = None,
                  cache_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Calibrate the shipped networks, and write `data/results/principal.json`.

    The factors go into `calibration.json` of each variant. Validation and test crystals are those of the stored split of the seed that ships.

    Parameters
    ----------
    variants : sequence of str, optional
        Default: all whose encoders are at hand.
    """
    started, folder = time.monotonic(), Path(weights or WEIGHTS)
    names = list(variants or at_hand(folder))
    splits = read_json(RESULTS / "splits.json")["splits"]
    (split,) = (s for s in splits if (s["kind"], s["seed"]) == ("record", SHIPPED_SEED))
    by_id = {r.id: r for r in load_records("full", data_dir=data_dir)}
    chosen = {part: [by_id[i] for i in split[part]] for part in ("val", "test")}
    found: dict[str, dict] = {}
    for name in names:
        path, found[name] = folder / name / "calibration.json", {}
        about = read_json(path)
        for target in TARGETS:
            ensemble = load_ensemble(target, name, folder)
            members, unbounded, truth, wider = answers(ensemble, chosen["val"], target, cache_dir, progress)
            about["targets"][target]["principal"] = factors = fit(members, unbounded, truth, wider)
            members, unbounded, truth, wider = answers(ensemble, chosen["test"], target, cache_dir, progress)
            found[name][target] = {"factors": factors, "test": scores(principal(members, unbounded, factors, wider), truth, factors)}
        write_json(path, about)
    sha = data_sha256(resolve_data_dir("full", data_dir) / "mp_tensors.json.gz")
    record = plain({"seed": SHIPPED_SEED, "n_val": len(chosen["val"]), "n_test": len(chosen["test"]), "variants": found, "data_sha256": sha,
              "command": "dtnet results principal", "wall_s": round(time.monotonic() - started, 1), **provenance()})  # fmt: skip
    write_json(results or RESULTS / "principal.json", record)
    return record
