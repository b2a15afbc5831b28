"""Born charges by models that never saw a crystal's formula: five folds, told apart by a hash of the formula.

A formula's fold depends on nothing but the formula, so that any crystal, with known charges or without, has a model whose training held no
crystal of its formula. The models are kept on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..base.paths import default_cache_dir, sources
from ..crystals.record import Record
from ..crystals.structures import crystal_key
from ..crystals.symmetry_store import stored_orbits
from ..data.cleaning import clean
from ..data.labels import load_if_there
from ..features import Features
from ..physics.charges import ChargeModel, fit_charges, load_charges
from ..potentials.registry import load_encoder, parse_features
from ..potentials.store import compute_features
from .sets import ORBIT_SYMPREC

FOLDS = 5
SOURCE = "pbesol_tensors"
"""File of the data folder whose charges the models learn from."""


def fold_of(formula: str, seed: int = 0) -> int:
    """Fold of a reduced formula, 0 to `FOLDS` - 1."""
    return int(hashlib.sha256(f"{seed}:{formula}".encode()).hexdigest(), 16) % FOLDS


def known_charges(record: Record) -> np.ndarray:
    """Computed Born charges [N, 3, 3] in e of a record that has them."""
    return np.asarray(record.meta["born_charges"], dtype=float)


def born_records(data_dir: str | Path | None = None) -> list[Record]:
    """Crystals of `SOURCE` that pass the cleaning and have Born charges."""
    return [r for r in clean(load_if_there(SOURCE, data_dir))[0] if r.meta.get("born_charges")]


def charges_out_of_fold(features: str, records: Sequence[Record], born: Sequence[Record] | None = None, seed: int = 0, data_dir: str | Path | None = None,
                        cache_dir: str | Path | None = None, progress: bool = True) -> list[np.ndarray]:  # fmt: skip
    """Born charges of each record, by the fold model that saw no crystal of its formula.

    Parameters
    ----------
    features : str
        Encoder and layers, such as "7net-0:0-5".
    records : sequence of Record
        With N atoms each; charges of their own are not looked at.
    born : sequence of Record, optional
        Crystals to learn from, default `born_records(data_dir)`.
    seed : int
        Of the folds.
    data_dir, cache_dir : path, optional
        See `data.loading.resolve_data_dir` and `base.paths.default_cache_dir`; the fold models are kept in the latter.

    Returns
    -------
    list of np.ndarray, [N, 3, 3]
        In e, symmetric; they sum to zero.
    """
    return [charges for charges, _ in out_of_fold(features, records, born, seed, data_dir, cache_dir, progress)]


def out_of_fold(features: str, records: Sequence[Record], born: Sequence[Record] | None = None, seed: int = 0, data_dir: str | Path | None = None,
                cache_dir: str | Path | None = None, progress: bool = True) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """`charges_out_of_fold`, each with the model's half widths [N] for `spread` = 1."""
    found = compute_features(features, [r.structure for r in records], False, cache_dir, progress)
    fold = np.array([fold_of(r.formula, seed) for r in records])
    models = fold_models(features, born_records(data_dir) if born is None else born, seed, np.unique(fold), cache_dir, progress)
    return [models[k].predict([f])[0] for k, f in zip(fold.tolist(), found, strict=True)]


def fold_models(features: str, born: Sequence[Record], seed: int = 0, folds: Sequence[int] = range(FOLDS), cache_dir: str | Path | None = None,
                progress: bool = True) -> dict[int, ChargeModel]:  # fmt: skip
    """Fold -> the model fitted to the crystals of all other folds, from disk where it is there already."""
    models, encoded = {}, None
    for k in tqdm([int(k) for k in folds], desc=f"charges {features}", unit="fold", disable=not progress):
        some = [i for i, r in enumerate(born) if fold_of(r.formula, seed) != k]
        path = _path(features, [born[i] for i in some], cache_dir)
        if not path.is_file():
            encoded = encoded or compute_features(features, [r.structure for r in born], False, cache_dir, progress)
            fit_records(features, [encoded[i] for i in some], [born[i] for i in some], cache_dir).save(path)
        models[k] = load_charges(path)
    return models


def fit_records(features: str, encoded: Sequence[Features], born: Sequence[Record], cache_dir: str | Path | None = None) -> ChargeModel:
    """`fit_charges` on all atoms of these records that symmetry does not make equal."""
    found = stored_orbits([r.structure for r in born], ORBIT_SYMPREC, cache_dir)
    representatives = [np.arange(len(r.structure)) if o is None else o[0] for o, r in zip(found, born, strict=True)]
    return fit_charges(features, encoded, [known_charges(r) for r in born], representatives)


def _path(features: str, born: Sequence[Record], cache_dir: str | Path | None) -> Path:
    """Where the model of these crystals is kept: it is named by them, their charges, the encoders and the code."""
    versions = [load_encoder(name).version for name, _ in parse_features(features)]
    name = hashlib.sha256(json.dumps([features, versions]).encode())
    for part in (*sources("physics.charges", "training.born"), *(crystal_key(r.structure).encode() + known_charges(r).tobytes() for r in born)):
        name.update(part)
    return Path(cache_dir or default_cache_dir()) / "runs" / f"charges-{name.hexdigest()[:20]}.safetensors"
