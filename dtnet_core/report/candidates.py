"""Tables of candidates: ranked ones, proposed ones, those that were computed, and those that are next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.util.string import latexify

from ..metrics import anisotropy_ratio, scalar_constant
from .readable import Table, readable
from .tables import plus_minus

if TYPE_CHECKING:
    from ..crystals.record import Record

VALUES = {"figure of merit": "figure of merit (eV)", "anisotropy": "anisotropy ratio"}
"""What a search looks for, with its unit."""


def ranked(rows: Sequence[Mapping], task: str, caption: str) -> Table:
    """The best candidates of a search.

    Parameters
    ----------
    rows : sequence of mappings
        Of `screening.ranking.best`.
    task : str
        Of `VALUES`.
    caption : str
    """
    words = {"rank": "rank", "id": "crystal", "formula": "formula", "gap_ev": "gap_ev", "eps": "constant", "value": VALUES[task], "deviation": "± (networks)"}
    return readable(pd.DataFrame(rows)[list(words)].rename(columns=words), caption)


def titles(rows: Sequence[Mapping], task: str) -> list[str]:
    """Formula, and value with the deviation of the networks, for a picture of each candidate."""
    return [f"{latexify(row['formula'])}\n{VALUES[task]} {row['value']:.1f} ± {row['deviation']:.1f}" for row in rows]


def proposals(rounds: Sequence[Mapping], task: str, named: int = 5) -> Table:
    """What each round proposed, and what the oracle answered, one row a round.

    Parameters
    ----------
    rounds : sequence of mappings
        Of `screening.campaign.run_rounds`.
    task : str
    named : int
        Crystals of a round that are named.
    """
    rows = []
    for s in rounds:
        names = [p["id"] for p in s["proposed"]]
        values = {name: a["value"] for name, a in s["answers"].items() if a.get("value") is not None}
        rows.append({
            "round": s["round"], "trained on": s["n_training"], "predicted, mean": np.mean([p["mean"] for p in s["proposed"]]),
            "answered, mean": np.mean(list(values.values())) if values else np.nan, "best answer": max(values.values(), default=np.nan),
            "its crystal": max(values, key=values.get, default="–"),
            "proposed": ", ".join(names[:named]) + (f" and {len(names) - named} more" if len(names) > named else ""),
        })  # fmt: skip
    return readable(rows, f"Proposed and answered: {VALUES[task]}")


def recalls(runs: Sequence[Mapping]) -> pd.DataFrame:
    """How much of the hidden top 1 % campaigns found: recall (share), deviation over seeds, hits, seeds; by search and way to choose.

    Parameters
    ----------
    runs : sequence of records
        Of the study "retrospective" in `data/results/screening.json`.
    """
    rows = [{"search": r["task"], "choice": r["acquisition"], "recall": r["by_round"][-1]["recall"], "hits": sum(b["hits"] for b in r["by_round"])} for r in runs]
    groups = pd.DataFrame(rows).groupby(["search", "choice"])
    return groups.agg(recall=("recall", "mean"), deviation=("recall", "std"), hits=("hits", "mean"), seeds=("hits", "count"))


def published_ranks(found: Mapping[str, Mapping]) -> Table:
    """Where the crystals that the paper computed stand in our ranking, one row a search.

    Parameters
    ----------
    found : mapping of str to record
        By search, of the study "published" in `data/results/screening.json`.
    """
    rows = [{"search": task, "computed in the paper": r["rows"], "candidates here": r["in_pool"], "scored": r["scored"], "in our top 1 % (%)": 100 * r["in_top_percent"],
             "in our top 10 % (%)": 100 * r["in_top_ten_percent"], "median rank": int(r["median_rank"]), "of": r["candidates"]} for task, r in found.items()]  # fmt: skip
    return readable(rows, "Ranks of the paper's crystals among our candidates", digits=0)


def published_errors(found: Mapping[str, Mapping]) -> Table:
    """How far our predictions are from the paper's VASP values, of constants and of what is looked for."""
    words = {"n": "crystals", "median_percent": "median error (%)", "mean_ratio": "mean of predicted / computed", "spearman": "rank correlation"}
    kinds = {f"{task}: {name}": r[f"{key}_errors"] for task, r in found.items() for key, name in (("eps", "constant"), ("value", VALUES[task]))}
    table = pd.DataFrame(kinds).T[list(words)].astype({"n": int}).rename(columns=words)
    return readable(table.rename_axis("search: quantity").reset_index(), "Our predictions against the paper's VASP values")


def published_materials(record: Mapping, task: str) -> Table:
    """The paper's crystals among our candidates, best rank first."""
    table = pd.DataFrame(record["materials"]).sort_values("rank")[["rank", "id", "formula", "eps", "value"]]
    words = {"id": "crystal", "eps": "constant, predicted", "value": f"{VALUES[task]}, predicted"}
    return readable(table.rename(columns=words), f"The paper's crystals in our ranking: {task}", digits=1)


def computed_and_predicted(records: Sequence[Record], tensors: np.ndarray, std: np.ndarray) -> Table:
    """Computed candidates beside what the ensemble says of them.

    Parameters
    ----------
    records : sequence of B Record
        With computed tensors.
    tensors : array, [B, 3, 3]
        Predicted total tensors.
    std : array, [B]
        Half widths of the 68 % intervals of the total constants.
    """
    rows = [{
        "crystal": r.id, "formula": r.formula, "gap (eV)": r.meta["gap_ev"], "constant, computed": r.scalar("total"),
        "predicted (± 68 %)": plus_minus(constant, half, 2), "ratio, computed": anisotropy_ratio([r.eps_total])[0], "ratio, predicted": ratio,
        "flags": ", ".join(f.replace("-", " ").replace("_", " ") for f in r.flags) or "–",
    } for r, constant, half, ratio in zip(records, scalar_constant(tensors), std, anisotropy_ratio(tensors), strict=True)]  # fmt: skip
    return readable(rows, "Total constants and anisotropy ratios, computed and predicted")


def shortlist(ranking: Mapping) -> Table:
    """The best small candidates that DFPT can check, and what each will cost.

    Parameters
    ----------
    ranking : record
        Of the study "ranking" in `data/results/screening.json`.
    """
    words = {"id": "crystal", "formula": "formula", "spacegroup": "spacegroup", "n_atoms": "n_atoms", "gap_ev": "gap_ev", "eps": "eps", "minutes": "minutes of one core",
             "value": VALUES[ranking["target"]]}  # fmt: skip
    return readable(pd.DataFrame(ranking["shortlist"])[list(words)].rename(columns=words), f"Next to be computed: {ranking['target']}")
