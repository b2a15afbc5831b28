"""What tells crystals that are not at rest: fitted to training crystals whose cells were scaled, tested on others by formula and on validation crystals as they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Lattice, Structure
from sklearn.model_selection import GroupKFold
from tqdm import tqdm

from ..base.paths import RESULTS, WEIGHTS
from ..base.results import plain, provenance, write_json
from ..data.loading import data_sha256, load_clean
from ..data.splits import draw_split
from ..encoder import encode
from ..features import split_crystals
from ..potentials.registry import load_encoder, parse_features
from ..training.ship import SHIPPED_SEED
from ..trust.reach import FEATURES, invariants_of
from ..trust.strain import FILE, LIMIT, SUSPECT, fit_estimate, scaled, strain_of

STRAINS = (-0.1, -0.06, -0.03, 0.0, 0.03, 0.06, 0.1)
MOST_ATOMS = 20
"""Of the crystals whose cells are scaled."""
FOLDS = 5
CHECKED = 200
"""Validation crystals whose energies are asked, as they are and scaled."""
MEASURED = {"LiF": 4.026, "NaCl": 5.640, "KBr": 6.600, "RbI": 7.342, "CsCl": 4.123, "CsI": 4.567, "MgO": 4.212, "CaO": 4.811, "BaO": 5.539, "PbTe": 6.462, "ZnS": 5.409, "GaAs": 5.653, "InSb": 6.479, "AlP": 5.464, "C": 3.567, "Si": 5.431, "Ge": 5.658}
"""Lattice constants in angstrom, measured at room temperature (R. W. G. Wyckoff, Crystal Structures, 1963): of rock salt, but for `_OTHERS`."""
_OTHERS = {"CsCl": "caesium chloride", "CsI": "caesium chloride", "ZnS": "zincblende", "GaAs": "zincblende", "InSb": "zincblende", "AlP": "zincblende", "C": "diamond", "Si": "diamond", "Ge": "diamond"}
_TOGETHER = 20  # crystals


def invariants_at(structures: Sequence[Structure], progress: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled features [N, D] of crystals scaled by each of `STRAINS`, the strains [N], and which crystal each is [N]; nothing is kept on disk."""
    ((name, layers),) = parse_features(FEATURES)
    encoder, found, strains, which = load_encoder(name), [], [], []
    for start in tqdm(range(0, len(structures), _TOGETHER), desc="strained crystals", unit="batch", disable=not progress):
        some = structures[start : start + _TOGETHER]
        for strain in STRAINS:
            found.append(invariants_of(split_crystals(encode(encoder, [scaled(s, strain) for s in some], layers))))
            strains += [strain] * len(some)
            which += range(start, start + len(some))
    return np.concatenate(found), np.array(strains), np.array(which)


def measured_crystals() -> dict[str, Structure]:
    """Formula -> primitive cell, for each of `MEASURED`."""
    groups = {"rock salt": ("Fm-3m", 0.5), "caesium chloride": ("Pm-3m", 0.5), "zincblende": ("F-43m", 0.25), "diamond": ("Fd-3m", None)}
    found = {}
    for formula, a in MEASURED.items():
        group, second = groups[_OTHERS.get(formula, "rock salt")]
        elements = [e.symbol for e in Composition(formula)]
        places = [[0.0] * 3] if second is None else [[0.0] * 3, [second] * 3]
        found[formula] = Structure.from_spacegroup(group, Lattice.cubic(a), elements, places).get_primitive_structure()
    return found


def out_of_fold(invariants: np.ndarray, strains: np.ndarray, formulas: np.ndarray) -> np.ndarray:
    """[N]: what is estimated of crystals by fits to others, of other formulas [N]."""
    guessed = np.zeros(len(strains))
    for train, test in GroupKFold(FOLDS).split(invariants, strains, formulas):
        guessed[test] = fit_estimate(invariants[train], strains[train]).of(invariants[test])
    return guessed


def run_strain(results: str | Path | None = None, weights: str | Path | None = None, data_dir: str | Path | None = None, progress: bool = True) -> dict:
    """Fit what tells strained crystals, write it beside the weights, and `data/results/strain.json`."""
    started = time.monotonic()
    records, checksum = load_clean("full", data_dir)
    split = draw_split(records, SHIPPED_SEED)
    chosen = [records[i] for i in split["train"] if len(records[i].structure) <= MOST_ATOMS]
    invariants, strains, which = invariants_at([r.structure for r in chosen], progress)
    guessed = out_of_fold(invariants, strains, np.array([r.formula for r in chosen])[which])
    estimate = fit_estimate(invariants, strains)
    estimate.save(Path(weights or WEIGHTS) / FILE)
    checked = [records[i].structure for i in split["val"][:CHECKED]]
    by_energy = {f"{s:g}": np.array([strain_of(scaled(c, s)) for c in tqdm(checked, desc=f"energies at {s:+.2f}", disable=not progress)]) for s in (0.0, -0.05, 0.05)}
    at = lambda s: np.isclose(strains, s)  # noqa: E731
    record = {
        "n_crystals": len(chosen), "n": len(strains), "folds": FOLDS, "suspect": SUSPECT, "limit": LIMIT,
        "estimate": {f"{s:g}": {"mean": guessed[at(s)].mean(), "deviation": guessed[at(s)].std(ddof=1), "suspected": (np.abs(guessed[at(s)]) > SUSPECT).mean()} for s in STRAINS},
        "energies": {s: {"n": len(x), "median": np.median(x), "quantiles_1_99": np.quantile(x, [0.01, 0.99]), "strained": (np.abs(x) > LIMIT).mean()} for s, x in by_energy.items()},
        "measured": {formula: strain_of(crystal) for formula, crystal in measured_crystals().items()},
        "seed": SHIPPED_SEED, "data_sha256": checksum, "weights_sha256": data_sha256(Path(weights or WEIGHTS) / FILE),
        "command": "dtnet results strain", "wall_s": round(time.monotonic() - started, 1), **provenance(),
    }  # fmt: skip
    record = plain(record)
    write_json(results or RESULTS / "strain.json", record)
    return record
