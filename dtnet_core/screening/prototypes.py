"""Hypothetical crystals: prototypes filled with elements whose charges balance, relaxed with a pretrained potential.

A pool to screen that needs no database. Prototypes are those of the kit's own DFPT set (`data/open_dfpt_inputs`). Such
crystals may be unstable, and have no known gap: `estimate_gaps` learns gaps from labelled crystals.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Element, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from tqdm import tqdm

from ..crystals.plausible import impossible
from ..crystals.record import Record
from ..dfpt.seeds import SEED_FILE, build_seed, read_seeds
from ..potentials.store import compute_features
from .selection import band_gap, gaps_of

CATIONS = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Al", "Ga", "In", "Y", "La", "Ti", "Zr", "Hf", "Sn", "Pb")
ANIONS = ("F", "Cl", "Br", "I", "O", "S", "Se", "N", "P")
PROTOTYPES = ("rocksalt", "zincblende", "wurtzite", "cscl", "nias", "fluorite", "antifluorite", "perovskite", "half-heusler", "cdi2", "cdcl2", "pbfcl",
              "litharge", "nafeo2", "tli")  # fmt: skip
"""Of the kit's set, those without molecular groups."""
MAX_STEPS, MAX_FORCE = 60, 0.05
"""Of a relaxation; eV/angstrom, and the same for the cell's generalised forces."""
VOLUME_RANGE = (0.5, 2.0)
"""A crystal whose volume changes by more was no guess of a crystal."""


def hypothetical(size: int, seed: int = 0, cations: Sequence[str] = CATIONS, anions: Sequence[str] = ANIONS,
                 prototypes: Sequence[str] = PROTOTYPES, max_atoms: int = 5) -> dict[str, Structure]:  # fmt: skip
    """Unrelaxed crystals by "<formula>-<prototype>", drawn by chance from all that have balanced charges.

    Parameters
    ----------
    size : int
        All of them when there are fewer.
    seed : int
    cations, anions : sequences of str
        The last site of a prototype takes an anion, the others cations; charges are common oxidation states.
    prototypes : sequence of str
        Of ``data/open_dfpt_inputs/seeds.json``.
    max_atoms : int
        Of the primitive cell.

    Returns
    -------
    dict of str to Structure
        The set's first crystal of the prototype, its elements replaced, and scaled by the ions' radii.
    """
    found: dict[str, tuple[Structure, dict[str, str]]] = {}
    for name, (old, template) in _templates().items():
        if name not in prototypes or len(template) > max_atoms or len(set(old)) < max(2, len(old)):
            continue
        amounts = [template.composition[e] for e in old]
        for new in product(*[cations] * (len(old) - 1), anions):
            if len(set(new)) == len(new) and _neutral(new, amounts, anions):
                formula = Composition(dict(zip(new, amounts, strict=True))).reduced_formula
                found.setdefault(f"{formula}-{name}", (template, dict(zip(old, new, strict=True))))
    names = sorted(found)
    drawn = np.random.default_rng(seed).permutation(len(names))[:size]
    return {names[i]: _filled(*found[names[i]]) for i in sorted(drawn)}


@lru_cache(maxsize=1)
def _templates() -> dict[str, tuple[list[str], Structure]]:
    """By prototype: elements of its sites, and the primitive cell, of its first seed."""
    first: dict[str, str] = {}
    for key, prototype, *_ in json.loads(SEED_FILE.read_text(encoding="utf-8"))["seeds"]:
        first.setdefault(prototype, key)
    seeds = read_seeds()
    return {name: (seeds[key]["elements"], build_seed(seeds[key]).get_primitive_structure()) for name, key in first.items()}


def _neutral(elements: Sequence[str], amounts: Sequence[float], anions: Sequence[str]) -> bool:
    """Whether some choice of common oxidation states, negative for anions only, adds up to zero."""
    states = [[q for q in Element(e).common_oxidation_states if (q < 0) == (e in anions)] for e in elements]
    return any(sum(q * n for q, n in zip(choice, amounts, strict=True)) == 0 for choice in product(*states))


def _filled(template: Structure, new: Mapping[str, str]) -> Structure:
    crystal = template.copy()
    crystal.replace_species(new)
    scale = sum(map(_radius, crystal)) / sum(map(_radius, template))
    return crystal.scale_lattice(template.volume * scale**3) or crystal


def _radius(site) -> float:
    element = Element(site.specie.symbol)
    anion = float(element.average_anionic_radius) if element.symbol in ANIONS else 0.0
    return anion or float(element.average_cationic_radius) or float(element.atomic_radius)


@lru_cache(maxsize=2)
def _calculator(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(name, device="cpu")


def relax(structure: Structure, potential: str = "7net-0", max_steps: int = MAX_STEPS, max_force: float = MAX_FORCE) -> Structure:
    """Relax cell and atoms with a SevenNet potential; the frame is kept.

    Raises
    ------
    ValueError
        When it does not converge, or the crystal falls apart or collapses (`VOLUME_RANGE`).
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = _calculator(potential)
    low, high = (bound * structure.volume for bound in VOLUME_RANGE)
    for _ in (steps := BFGS(FrechetCellFilter(atoms), logfile=None)).irun(fmax=max_force, steps=max_steps):
        if not low < atoms.get_volume() < high:
            raise ValueError(f"volume went from {structure.volume:.1f} to {atoms.get_volume():.1f} cubic angstrom")
    if not steps.converged(steps.optimizable.get_gradient()):
        raise ValueError(f"not relaxed after {max_steps} steps")
    relaxed = Structure(atoms.cell.array, structure.species, atoms.get_scaled_positions())
    if reason := impossible(relaxed):  # far apart, atoms feel no force either
        raise ValueError(reason)
    return relaxed


def relaxed_pool(crystals: Mapping[str, Structure], potential: str = "7net-0", progress: bool = True) -> tuple[list[Record], dict[str, str]]:
    """Records of relaxed crystals without labels, and why others are none, by id."""
    records, reasons = [], {}
    for name, crystal in tqdm(crystals.items(), unit="crystal", desc="relax", disable=not progress):
        try:
            relaxed = relax(crystal, potential)
        except ValueError as error:
            reasons[name] = str(error)
        else:
            records.append(Record(name, relaxed, relaxed.composition.reduced_formula, source=f"prototype, relaxed with {potential}"))
    return records, reasons


def estimate_gaps(records: Sequence[Record], known: Sequence[Record], features: str = "7net-0:0-5", folds: int = 5,
                  cache_dir: str | Path | None = None) -> tuple[list[Record], float]:  # fmt: skip
    """Records that have no gap get an estimate, marked by ``gap_source`` "estimated" in their `meta`.

    A support vector machine on the potential's scalars, averaged over the atoms, learns the gaps of `known`.

    Returns
    -------
    list of Record, and float
        The mean absolute error in eV on `known`, each formula predicted by a machine that does not know it.

    Raises
    ------
    ValueError
        When fewer than `folds` formulas among `known` have a gap.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    known, missing = [r for r in known if band_gap(r) is not None], [r for r in records if band_gap(r) is None]

    if len({r.formula for r in known}) < folds:
        raise ValueError(f"{len(missing)} of the pool's crystals have no gap ({missing[0].id if missing else ''}, ...), and {len(known)} labelled ones are too few to learn gaps "
                         "from: give `band_gap_ev`")  # fmt: skip

    def pooled(chosen: Sequence[Record]) -> np.ndarray:
        found = compute_features(features, [r.structure for r in chosen], False, cache_dir, progress=False)
        return np.stack([f.scalars.mean(0).numpy() for f in found])  # [B, Cs]

    x, gaps = pooled(known), gaps_of(known)
    machine = make_pipeline(StandardScaler(), SVR(C=10.0, epsilon=0.1))
    error = np.abs(cross_val_predict(machine, x, gaps, groups=[r.formula for r in known], cv=GroupKFold(folds)) - gaps).mean()
    guess = dict(zip([r.id for r in missing], machine.fit(x, gaps).predict(pooled(missing)), strict=True)) if missing else {}
    made = [replace(r, meta=r.meta | {"band_gap_ev": max(0.0, float(guess[r.id])), "gap_source": "estimated"}) if r.id in guess else r
            for r in records]  # fmt: skip
    return made, float(error)
