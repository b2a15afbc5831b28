"""How good Born charges are for formulas that no fold model saw, and what ships: models of all crystals with an interval of known coverage."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..base.paths import RESULTS
from ..base.results import plain, provenance, write_json
from ..crystals.record import Record
from ..data.loading import data_sha256, load_clean, resolve_data_dir
from ..features import Features, from_mandel, to_mandel
from ..physics.born import FEATURES, file_of
from ..physics.charges import invariants, tensor_channels
from ..potentials.store import compute_features
from .born import FOLDS, SOURCE, born_records, fold_models, fold_of, known_charges, out_of_fold
from .calibration import conformal

COVERAGE = 0.68
BINS = np.linspace(-8, 8, 65)
"""Edges in e of the stored histogram of predicted against computed diagonal elements."""
_PENALTY = 100.0  # of the ridge regressions, for inputs of unit variance


def isotropic(charges: np.ndarray) -> np.ndarray:
    """Mean diagonal elements [N] of charges [N, 3, 3]."""
    return np.trace(charges, axis1=-2, axis2=-1) / 3


def errors(truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> dict[str, float]:
    """Errors in e over the atoms of crystals with charges [N, 3, 3]: of diagonal elements, of all nine, of their mean diagonal elements."""
    off = np.concatenate(predicted) - np.concatenate(truth)
    diagonal = np.abs(np.diagonal(off, axis1=1, axis2=2))
    return {"diagonal_mae": diagonal.mean(), "diagonal_median": np.median(diagonal), "all_mae": np.abs(off).mean(), "isotropic_mae": np.abs(isotropic(off)).mean(),
            "isotropic_median": np.median(np.abs(isotropic(off)))}  # fmt: skip


def coverage(ratios: np.ndarray, fold: np.ndarray) -> dict[str, float | list[float]]:
    """Share of atoms in the interval, whose factor is fitted on the atoms of the other folds.

    Parameters
    ----------
    ratios : np.ndarray, [n]
        Errors over half widths of a model with `spread` = 1.
    fold : np.ndarray, [n] int

    Returns
    -------
    dict
        `spread`, fitted on all atoms; `covered_68` of all atoms, and `covered_by_fold`.
    """
    inside = np.zeros(len(ratios), dtype=bool)
    folds = np.unique(fold)
    for k in folds:
        inside[fold == k] = ratios[fold == k] <= conformal(ratios[fold != k], COVERAGE)
    return {"spread": conformal(ratios, COVERAGE), "covered_68": inside.mean(), "covered_by_fold": [inside[fold == k].mean() for k in folds]}


def by_element(train: Sequence[Record]) -> Callable[[Record, Features], np.ndarray]:
    """Baseline: each atom has the mean charge of its element in `train` (of all atoms where there is none), as a multiple of the unit matrix."""
    symbols = np.array([s.specie.symbol for r in train for s in r.structure])
    values = np.concatenate([isotropic(known_charges(r)) for r in train])
    means = {e: values[symbols == e].mean() for e in np.unique(symbols)}
    return lambda record, _: np.array([means.get(s.specie.symbol, values.mean()) for s in record.structure])[:, None, None] * np.eye(3)


def ridge(train: Sequence[Record], encoded: Sequence[Features]) -> Callable[[Record, Features], np.ndarray]:
    """Baseline: the isotropic part linear in the invariants of an atom, the rest linear in its tensor channels."""
    known = np.concatenate([known_charges(r) for r in train])
    part = make_pipeline(StandardScaler(), Ridge(_PENALTY)).fit(np.concatenate([invariants(f) for f in encoded]), isotropic(known))
    traceless = to_mandel(torch.from_numpy(known - isotropic(known)[:, None, None] * np.eye(3))).numpy()  # [n, 6]
    channels = np.concatenate([tensor_channels(f) for f in encoded])  # [n, 6, Ct]
    size = np.sqrt(np.square(channels).mean((0, 1)).clip(1e-12))
    rest = Ridge(_PENALTY, fit_intercept=False).fit((channels / size).reshape(-1, len(size)), traceless.ravel())

    def predict(_: Record, features: Features) -> np.ndarray:
        own = tensor_channels(features) / size
        six = rest.predict(own.reshape(-1, len(size))).reshape(-1, 6)
        return part.predict(invariants(features))[:, None, None] * np.eye(3) + from_mandel(torch.from_numpy(six)).numpy()

    return predict


def baselines(born: Sequence[Record], encoded: Sequence[Features], seed: int) -> dict[str, dict[str, float]]:
    """Errors of both baselines over the folds; their charges sum to zero, too."""
    fold, truth = np.array([fold_of(r.formula, seed) for r in born]), [known_charges(r) for r in born]
    found: dict[str, dict[int, np.ndarray]] = {"by_element": {}, "ridge": {}}
    for k in np.unique(fold):
        some = np.flatnonzero(fold != k)
        train = [born[i] for i in some]
        for name, model in (("by_element", by_element(train)), ("ridge", ridge(train, [encoded[i] for i in some]))):
            for i in np.flatnonzero(fold == k):
                charges = model(born[i], encoded[i])
                found[name][i] = charges - charges.mean(0)
    return {name: errors(truth, [of[i] for i in range(len(born))]) for name, of in found.items()}


def seed_scores(features: str, born: Sequence[Record], further: Sequence[Record], seed: int, cache_dir=None, progress: bool = True) -> dict:
    """What the folds of one seed say of `born`, and of the `further` crystals with PBE charges, learned from or not.

    Returns
    -------
    dict
        `errors`; `coverage`; the baselines; a histogram [64, 64] of diagonal elements over `BINS` (computed down, predicted across); and of `further`: their
        errors out of fold, and the errors of both with the other folds' `further` in training, too.
    """
    fold = np.array([fold_of(r.formula, seed) for r in born])
    truth = [known_charges(r) for r in born]
    answers = out_of_fold(features, born, born, seed, cache_dir=cache_dir, progress=progress)
    predicted = [charges for charges, _ in answers]
    ratios = np.concatenate([np.abs(isotropic(z - t)) / s for (z, s), t in zip(answers, truth, strict=True)])
    atoms = np.repeat(fold, [len(t) for t in truth])
    cells = np.histogram2d(*(np.clip(np.diagonal(np.concatenate(z), axis1=1, axis2=2).ravel(), BINS[0], BINS[-1]) for z in (truth, predicted)), (BINS, BINS))[0]
    encoded = compute_features(features, [r.structure for r in born], False, cache_dir, progress)
    scores = {"seed": seed} | errors(truth, predicted) | coverage(ratios, atoms) | {"baselines": baselines(born, encoded, seed), "histogram": cells.astype(int)}
    if further:
        theirs, unseen = [known_charges(r) for r in further], out_of_fold(features, further, born, seed, cache_dir=cache_dir, progress=progress)
        both = out_of_fold(features, [*born, *further], [*born, *further], seed, cache_dir=cache_dir, progress=progress)
        scores["further"] = errors(theirs, [z for z, _ in unseen])
        scores["with_further"] = {"born": errors(truth, [z for z, _ in both[: len(born)]]), "further": errors(theirs, [z for z, _ in both[len(born) :]])}
    return scores


def ship_charges(features: str, born: Sequence[Record], spread: float, path: str | Path, cache_dir=None, progress: bool = True) -> None:
    """Write the model of all crystals, whose intervals have the half width that was found on folds."""
    everything = fold_models(features, born, folds=[FOLDS], cache_dir=cache_dir, progress=progress)[FOLDS]  # no formula is in that fold
    replace(everything, spread=spread).save(path)


def charges_sha256(records: Sequence[Record]) -> str:
    """SHA-256 of ids and charges (float64), whatever the order of the records."""
    lines = sorted(f"{r.id} {hashlib.sha256(known_charges(r).astype('<f8').tobytes()).hexdigest()}" for r in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def run_charges(variants: Sequence[str] | None = None, seeds: Sequence[int] = (0,), compare: Sequence[str] = (), results: str | Path | None = None,
                weights: str | Path | None = None, data_dir: str | Path | None = None, cache_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Test and ship the models of `physics.born`: `data/results/charges.json` and `data/weights/charges/`.

    Parameters
    ----------
    variants : sequence of str, optional
        Of `physics.born.FEATURES`, default all.
    seeds : sequence of int
        Of the folds; the first one's intervals ship.
    compare : sequence of str
        Variants for which it is measured what the kit's own PBE charges add to the training. What ships does not learn from them.
    """
    started, born = time.monotonic(), born_records(data_dir)
    further = [r for r in load_clean("mini")[0] if r.meta.get("born_charges")] if compare else []
    found: dict[str, Mapping] = {}
    for variant in variants or list(FEATURES):
        features = FEATURES[variant]
        scores = [seed_scores(features, born, further if variant in compare else [], seed, cache_dir, progress) for seed in seeds]
        ship_charges(features, born, scores[0]["spread"], file_of(variant, weights), cache_dir, progress)
        found[variant] = {"features": features, "seeds": scores}
    chosen = "" if not variants else f" --variants {' '.join(variants)}"
    record = plain({
        "source": SOURCE, "folds": FOLDS, "rule": "all crystals of a reduced formula in the fold that its hash names", "n": len(born),
        "n_atoms": sum(len(r.structure) for r in born), "n_formulas": len({r.formula for r in born}), "n_further": len(further), "bins": BINS, "variants": found,
        "data_sha256": data_sha256(resolve_data_dir("full", data_dir) / f"{SOURCE}.json.gz"), "charges_sha256": charges_sha256(born),
        "command": f"dtnet train charges{chosen} --seeds {' '.join(map(str, seeds))}" + (f" --compare {' '.join(compare)}" if compare else ""), "wall_s": round(time.monotonic() - started, 1), **provenance(),
    })  # fmt: skip
    write_json(results or RESULTS / "charges.json", record)
    return record
