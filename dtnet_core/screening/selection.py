"""Which crystals to look at: filters, figures to rank by, acquisition (Eq. 28), choice of a batch.

The two tasks of the paper: high permittivity at a wide gap (figure of merit E_g * eps, in eV) and anisotropy (largest over
smallest eigenvalue of the total tensor).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from pymatgen.core import Element, Structure

from ..crystals.record import Record
from ..data.cleaning import SUPPORTED_ELEMENTS
from ..data.held_out import material_groups
from ..metrics import anisotropy_ratio, figure_of_merit

TASKS = ("figure of merit", "anisotropy")
ACQUISITIONS = ("ucb", "greedy", "uncertainty", "random")
DIVERSITIES = ("none", "systems", "farthest")
KAPPA = 1.5
"""Of Eq. 28 (Section 5.4)."""
MAX_ATOMS = 20
"""Largest cell that is proposed for validation (Section 5.4)."""
SHORTLIST = 5
"""Candidates for each place in a batch that is spread by "farthest"."""


def band_gap(record: Record) -> float | None:
    """Band gap in eV that a record's file has for it (``band_gap_ev``, or ``gap_ev`` of the kit's own runs), or None."""
    gap = record.meta.get("band_gap_ev")
    return record.meta.get("gap_ev") if gap is None else gap


def gaps_of(records: Sequence[Record]) -> np.ndarray:
    """Band gaps [B] in eV, NaN where there is none."""
    return np.array([np.nan if band_gap(r) is None else band_gap(r) for r in records], dtype=float)


def bonding_dimensionality(structure: Structure) -> int:
    """Dimensionality 0-3 of the bonded network (CrystalNN; Larsen et al., PRM 3, 034003, 2019); 0 is a molecular crystal."""
    import warnings

    from pymatgen.analysis.dimensionality import get_dimensionality_larsen
    from pymatgen.analysis.graphs import StructureGraph
    from pymatgen.analysis.local_env import CrystalNN

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CrystalNN's, about oxidation states it can do without
        return int(get_dimensionality_larsen(StructureGraph.from_local_env_strategy(structure, CrystalNN())))


def is_extended(record: Record) -> bool:
    """Whether a crystal is not molecular; where bonds cannot be found, neither can this, and the answer is no."""
    try:
        return bonding_dimensionality(record.structure) > 0
    except (ValueError, RuntimeError, KeyError, IndexError):
        return False


def select_candidates(records: Sequence[Record], known: Sequence[Record] = (), max_hull: float | None = 0.0, min_gap: float | None = 0.0,
                      elements: Collection[str] = SUPPORTED_ELEMENTS, max_atoms: int | None = None,
                      molecular: bool = True) -> tuple[list[Record], dict[str, str]]:  # fmt: skip
    """Candidates that may be screened (Sections 2.4.1 and 5.4), and why the others may not.

    Parameters
    ----------
    records : sequence of Record
        With ``energy_above_hull_ev`` and a gap (`band_gap`) among their `meta`.
    known : sequence of Record
        With labels; a candidate is none of their materials, by id or by `held_out.material_groups`.
    max_hull : float, optional
        Largest energy above the convex hull in eV/atom; None: hypothetical crystals, which have none.
    min_gap : float, optional
        The gap in eV exceeds it; None: any.
    elements : collection of str
    max_atoms : int, optional
    molecular : bool
        False leaves molecular crystals out: some 0.1 s a crystal, the last filter.

    Returns
    -------
    list of Record, and dict of id to reason
    """
    ids = {i for r in known for i in (r.id, r.mp_id) if i}
    formulas = {r.formula for r in known} & {r.formula for r in records}
    shared = [r for r in known if r.formula in formulas]
    mine = [r for r in records if r.formula in formulas]
    group = material_groups([*shared, *mine]) if shared else np.zeros(0, int)
    taken = set(group[: len(shared)])
    same = {r.id for r, g in zip(mine, group[len(shared) :], strict=True) if g in taken}

    def reason(record: Record) -> str | None:
        hull, gap = record.meta.get("energy_above_hull_ev"), band_gap(record)
        unknown = sorted({e.symbol for e in record.structure.composition} - set(elements))
        if max_hull is not None and (hull is None or not hull <= max_hull):
            return "energy above the hull is not known" if hull is None or np.isnan(hull) else f"unstable by {hull:.3f} eV/atom"
        if min_gap is not None and (gap is None or not gap > min_gap):
            return "gap is not known" if gap is None or np.isnan(gap) else f"gap of {gap:.2f} eV"
        if record.id in ids or record.mp_id in ids or record.id in same or record.eps_total is not None:
            return "has a known label"
        if unknown:
            return f"unsupported elements {', '.join(unknown)}"
        if max_atoms is not None and len(record.structure) > max_atoms:
            return f"{len(record.structure)} atoms"
        return None if molecular or is_extended(record) else "molecular, or without bonds to be found"

    found = {r.id: reason(r) for r in records}
    return [r for r in records if found[r.id] is None], {name: why for name, why in found.items() if why is not None}


def task_values(task: str, tensors: np.ndarray, gaps: np.ndarray | None = None) -> np.ndarray:
    """What a task looks for: total tensors [..., B, 3, 3] and gaps [B] in eV -> [..., B]; NaN has no order.

    The figure of merit is in eV, NaN without a gap; the anisotropy ratio is NaN where a tensor is not positive definite.
    """
    tensors = np.asarray(tensors, dtype=float)
    flat, shape = tensors.reshape(-1, 3, 3), tensors.shape[:-2]
    if task == "anisotropy":
        return anisotropy_ratio(flat).reshape(shape) if len(flat) else np.zeros(shape)
    if task != "figure of merit" or gaps is None:
        raise ValueError(f"task is {task!r}, gaps {'missing' if gaps is None else 'given'}; choose of {TASKS}, the first needs gaps")
    gaps = np.broadcast_to(np.asarray(gaps, dtype=float), shape).reshape(-1)
    return figure_of_merit(gaps, flat).reshape(shape) if len(flat) else np.zeros(shape)


def ensemble_statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation (0 for one member) over the members: [M, B] -> [B], [B]."""
    return values.mean(0), values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])


def acquisition(kind: str, mean: np.ndarray, deviation: np.ndarray, kappa: float = KAPPA, seed: int = 0) -> np.ndarray:
    """Score [B] of candidates, the higher the sooner they are validated.

    Parameters
    ----------
    kind : {"ucb", "greedy", "uncertainty", "random"}
        mean + kappa * deviation (Eq. 28), the mean, the deviation, or chance.
    mean, deviation : np.ndarray, [B]
    kappa : float
    seed : int
        Of chance.
    """
    if kind not in ACQUISITIONS:
        raise ValueError(f"acquisition is {kind!r}; choose one of {', '.join(ACQUISITIONS)}")
    if kind == "random":
        return np.random.default_rng(seed).random(len(mean))
    return {"ucb": mean + kappa * deviation, "greedy": mean, "uncertainty": deviation}[kind]


def composition_descriptor(structures: Sequence[Structure]) -> np.ndarray:
    """Atomic fractions of the elements, [B, 118]: equal for equal formulas."""
    rows = np.zeros((len(structures), 118))
    for row, structure in zip(rows, structures, strict=True):
        for element, fraction in structure.composition.fractional_composition.items():
            row[Element(element.symbol).Z - 1] = fraction
    return rows


def choose(scores: np.ndarray, k: int, structures: Sequence[Structure] | None = None, diversity: str = "none",
           accept: Callable[[int], bool] = lambda position: True) -> list[int]:  # fmt: skip
    """Positions of the k best candidates, the best first.

    Parameters
    ----------
    scores : np.ndarray, [B]
        NaN is never chosen; equal scores keep their order.
    k : int
    structures : sequence of B pymatgen Structure, optional
        For a diverse batch.
    diversity : {"none", "systems", "farthest"}
        "systems": each chemical system once while there are others. "farthest": of the best `SHORTLIST` * k, the best, then
        the one whose composition is farthest (L1) from all chosen ones, and so on.
    accept : callable
        Filter by position, asked in order of the scores for as many as are needed: the place for a slow one.
    """
    if diversity not in DIVERSITIES:
        raise ValueError(f"diversity is {diversity!r}; choose one of {', '.join(DIVERSITIES)}")
    scores = np.asarray(scores, dtype=float)
    ranked = (int(i) for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i]))
    accepted = (i for i in ranked if accept(i))
    if diversity == "none":
        return [i for i, _ in zip(accepted, range(k), strict=False)]
    if diversity == "systems":
        chosen, later, systems = [], [], set()
        for i in accepted:
            system = structures[i].composition.chemical_system
            (later if system in systems else chosen).append(i)
            systems.add(system)
            if len(chosen) == k:
                break
        return (chosen + later)[:k]
    short = [i for i, _ in zip(accepted, range(SHORTLIST * k), strict=False)]
    points = composition_descriptor([structures[i] for i in short])  # [S, 118]
    chosen, distance = [], np.full(len(short), np.inf)
    while short and len(chosen) < min(k, len(short)):
        j = int(np.argmax(distance)) if chosen else 0
        chosen.append(j)
        distance = np.minimum(distance, np.abs(points - points[j]).sum(1))
        distance[chosen] = -1
    return [short[j] for j in chosen]
