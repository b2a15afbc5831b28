"""The paper's own VASP results for candidates of a pool: where they rank, and how good the predictions are for them.

Other people's tensors stay where they are: results hold what follows from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ..base.results import plain
from ..crystals.frames import tensor_violations
from ..crystals.record import TARGETS, Record
from ..metrics import eigenvalues, scalar_constant
from .selection import gaps_of, task_values

PUBLISHED_VARIABLE = "DTNET_PUBLISHED_DIR"
PUBLISHED_FILES = {"figure of merit": "dtnet_dfpt_high_dielectric_bandgap.csv", "anisotropy": "dtnet_dfpt_high_anisotropy.csv"}
MAX_VIOLATION = 0.01
"""Of a published tensor against the point group of the crystal in the pool: above, it is in another frame or of another crystal."""


def published_dir() -> Path | None:
    """The folder named by DTNET_PUBLISHED_DIR, which may hold the paper's VASP results; None where it is not set."""
    named = os.environ.get(PUBLISHED_VARIABLE)
    return Path(named) if named else None


def published_records(task: str, pool: Sequence[Record], folder: str | Path) -> tuple[list[Record], int]:
    """The paper's VASP results of a task for the crystals that a pool has, on the pool's structures.

    An electronic part that is one exactly is a failed calculation (flag "not-converged"); a tensor that does not fit its
    crystal's point group is in another frame (flag "symmetry_violation"), its eigenvalues hold all the same.

    Returns
    -------
    list of Record, and int
        The number of rows of the file.
    """
    rows = pd.read_csv(Path(folder) / PUBLISHED_FILES[task])
    by_id, found = {r.mp_id or r.id: r for r in pool}, []
    for _, row in rows[rows["mp-id"].isin(list(by_id))].iterrows():
        tensors = {part: _tensor(row, part) for part in TARGETS}
        record = replace(by_id[row["mp-id"]], **{f"eps_{p}": t for p, t in tensors.items()}, functional="PBE", code="VASP", source="published")
        flags = ["not-converged"] if np.allclose(tensors["electronic"], np.eye(3), atol=1e-6) else []
        worst = max(tensor_violations(record).values())
        found.append(replace(record, flags=(*flags, *(["symmetry_violation"] if worst > MAX_VIOLATION else []))))
    return found, len(rows)


def _tensor(row: Mapping, part: str) -> np.ndarray:
    names = [["11", "12", "13"], ["12", "22", "23"], ["13", "23", "33"]]
    return np.array([[float(row[f"{part}_{c}"]) for c in line] for line in names])


def two_calculations(computed: Sequence[Record], measured: Sequence[Record]) -> list[dict]:
    """How far the kit's own DFPT is from the paper's VASP where both computed a crystal, in per cent.

    Returns
    -------
    list of dict
        id, formula, `percent`: by tensor the largest difference of the sorted eigenvalues, which know no frame, over the
        largest eigenvalue of VASP's tensor (for the ionic one: of its total tensor).
    """
    theirs, found = {r.id: r for r in measured if "not-converged" not in r.flags}, []
    for ours in computed:
        if ours.id in theirs:
            a, b = (eigenvalues([r.tensor(p) for p in TARGETS]) for r in (ours, theirs[ours.id]))  # [3 tensors, 3]
            scale = dict(zip(TARGETS, b.max(1), strict=True))
            scale["ionic"] = scale["total"]
            percent = {p: 100 * np.abs(a[k] - b[k]).max() / scale[p] for k, p in enumerate(TARGETS)}
            found.append({"id": ours.id, "formula": ours.formula, "percent": percent})
    return plain(found)


def against_published(task: str, measured: Sequence[Record], scores: pd.DataFrame, rows: int) -> dict:
    """Where the paper's validated crystals rank among all candidates, and how good the predictions are for them.

    Parameters
    ----------
    task, measured, rows
        See `published_records`.
    scores : DataFrame
        Of `score`, for all candidates.

    Returns
    -------
    dict
        Counts, of crystals that have a score; `materials` (id, formula, predicted value, rank, percentile of the rank, flags), and over those without
        "not-converged": mean and median absolute error and correlation (Spearman) of eps and of the task's value.
    """
    measured = [r for r in measured if r.id in scores.index and np.isfinite(scores.loc[r.id, "score"])]
    good = [r for r in measured if "not-converged" not in r.flags]
    if not good:
        return {"rows": rows, "in_pool": len(measured), "scored": 0, "candidates": len(scores), "materials": [], "median_rank": None}
    rank = scores["score"].rank(ascending=False, method="first")
    place = {r.id: int(rank[r.id]) for r in measured}
    materials = [{"id": r.id, "formula": r.formula, "value": scores.loc[r.id, "value"], "eps": scores.loc[r.id, "eps"], "rank": place[r.id],
                  "top_percent": 100 * place[r.id] / len(scores), "flags": list(r.flags)} for r in measured]  # fmt: skip
    truth, chosen = np.array([r.eps_total for r in good]), scores.loc[[r.id for r in good]]
    pairs = {"eps": (chosen["eps"], scalar_constant(truth)), "value": (chosen["value"], task_values(task, truth, gaps_of(good)))}
    found = {"rows": rows, "in_pool": len(measured), "scored": len(good), "candidates": len(scores), "materials": materials,
             "median_rank": float(np.median(list(place.values()))), "in_top_percent": float(np.mean([m["top_percent"] <= 1 for m in materials])),
             "in_top_ten_percent": float(np.mean([m["top_percent"] <= 10 for m in materials]))}  # fmt: skip
    for name, (guess, true) in pairs.items():
        true = np.asarray(true)
        use = np.isfinite(true) & np.isfinite(guess.to_numpy())
        wrong = np.abs(guess.to_numpy() - true)[use]
        found[f"{name}_errors"] = {"n": int(use.sum()), "mae": wrong.mean(), "median": np.median(wrong), "median_percent": 100 * np.median(wrong / true[use]),
                                   "mean_ratio": float(np.mean(guess.to_numpy()[use] / true[use])), "spearman": spearmanr(guess[use], true[use])[0]}  # fmt: skip
    return plain(found)
