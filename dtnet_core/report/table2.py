"""The paper's Table 2 beside ours: MAE_ten of every model, target and crystal system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..crystals.record import TARGETS
from ..crystals.symmetry import CRYSTAL_SYSTEMS
from .tables import headline

ROWS = (*CRYSTAL_SYSTEMS, "all")
OURS = {"DTNet-joint": ("7net-0+7net-l3i5", "0-5+0-5"), "DTNet-simple": ("7net-0", "0-5")}
"""Encoder and layers of the DTNets that stand beside the baselines: what ships, and the paper's recipe on open features."""


PEERS = ("PaiNN", "M3GNet", "MatTen")
"""The paper's own."""
REFERENCES = ("median", "forest", "ridge")
"""Simple ones, which need seconds."""
MODELS = (*PEERS, "AnisoNet", *REFERENCES)
"""All baselines, as `baselines.MODELS` has them."""


def beside_ours(results: Sequence[Mapping]) -> list[Mapping]:
    """Runs of Table 2 among those of `data/results/tensors.json`: `OURS`, then the baselines, on the full profile's random splits."""
    chosen = headline(results)
    ours = [r for model, inputs in OURS.items() for r in chosen if (r["model"], r["encoder"], r["layer"]) == (model, *inputs)]
    return ours + [r for model in MODELS for r in chosen if r["model"] == model]


def missing(table: pd.DataFrame, seeds: int = 5) -> list[str]:
    """"model, target" of what `OURS`, `PEERS` and the references lack of Table 2.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `cells`.
    """
    complete = table[(table["system"] == "all") & (table["seeds"] >= seeds)].set_index(["model", "target"]).index
    return [f"{m}, {t}" for m in (*OURS, *PEERS, *REFERENCES) for t in TARGETS if (m, t) not in complete]


def with_ends(curves: Sequence[Mapping], whole: Sequence[Mapping]) -> list[Mapping]:
    """Runs on shares of the training set, and, where they are not among these, those of the same models, targets and seeds on all of it."""
    keys = ("model", "target", "seed")
    ended = {tuple(r[k] for k in keys) for r in curves if r["split"] == "record"}
    known = {tuple(r[k] for k in keys) for r in curves} - ended
    return [*curves, *(r for r in whole if tuple(r[k] for k in keys) in known)]


def summary(results: Sequence[Mapping], paper: Mapping) -> pd.DataFrame:
    """Table 2's last rows turned round: models down, targets across; in brackets the paper's printed mean. And what a run was given.

    Parameters
    ----------
    results : sequence of records
        Of `beside_ours`.
    paper : mapping
        `data/paper/table2.json`.
    """
    shown = pd.DataFrame({target: table2(results, paper, target).loc["all"] for target in TARGETS if any(r["target"] == target for r in results)})
    shown = shown.reindex(list(dict.fromkeys(r["model"] for r in results))).fillna("-")
    given = budgets(results).reindex(shown.index)
    for name, digits in (("n_train", 0), ("epochs", 0), ("hours", 3)):
        shown[name] = [f"{x:.{digits}f}" if np.isfinite(x) else "-" for x in given[name].astype(float)]
    return shown.rename_axis("model").reset_index()


def cells(results: Sequence[Mapping]) -> pd.DataFrame:
    """Mean and sample deviation over seeds of MAE_ten, for each model, target and crystal system.

    Parameters
    ----------
    results : sequence of records
        Of one profile and one kind of split, one kind of run a model. A seed whose test set has no crystal of a system is left
        out of that cell.

    Returns
    -------
    pandas.DataFrame
        Columns target, system, model, mean, std, seeds, budget: "" when every run stopped early (or had nothing to train), else what
        ended the others: "epochs", the whole schedule, or "hours".
    """
    found = []
    for model in dict.fromkeys(r["model"] for r in results):
        for target in TARGETS:
            runs = [r for r in results if r["model"] == model and r["target"] == target]
            ended = {_end(r) for r in runs} - {"patience", "solved"}
            for system in ROWS if runs else ():
                values = [r["by_system"][system]["mae_ten"] for r in runs]
                values = np.array([v for v in values if v is not None], dtype=float)
                std = values.std(ddof=1) if len(values) > 1 else np.nan
                mean = values.mean() if len(values) else np.nan
                found.append((target, system, model, mean, std, len(values), ", ".join(sorted(ended))))
    return pd.DataFrame(found, columns=["target", "system", "model", "mean", "std", "seeds", "budget"])


def table2(results: Sequence[Mapping], paper: Mapping, target: str) -> pd.DataFrame:
    """One target's part of Table 2: crystal systems down, models across; in brackets the paper's printed mean.

    Parameters
    ----------
    results : sequence of records
        See `cells`.
    paper : mapping
        `data/paper/table2.json`.
    target : {"electronic", "ionic", "total"}
    """
    table = cells([r for r in results if r["target"] == target])
    shown = pd.DataFrame(index=pd.Index(ROWS, name=target))
    for model in table["model"].unique():
        column = table[table["model"] == model].set_index("system")
        name = model.removesuffix("-joint")  # ours that the paper does not have stands beside its best
        texts = []
        for system in ROWS:
            text = _plus_minus(column.loc[system, "mean"], column.loc[system, "std"])
            printed = paper["mae_ten"][target][system].get(name)
            texts.append(text + (f" ({printed['mean']:.3f})" if printed else ""))
        shown[model] = texts
    return shown


def wins(table: pd.DataFrame, model: str, others: Sequence[str]) -> pd.DataFrame:
    """Whether a model's mean is below those of all others, for each target and system that all of them have.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `cells`.

    Returns
    -------
    pandas.DataFrame
        Index target and system, columns `best` (name of the lowest mean) and `wins`.
    """
    means = table.pivot(index=["target", "system"], columns="model", values="mean")
    means = means.reindex(columns=[model, *others]).dropna()
    best = means.idxmin(axis=1) if len(means) else pd.Series(dtype=str)
    return pd.DataFrame({"best": best, "wins": best == model})


def budgets(results: Sequence[Mapping]) -> pd.DataFrame:
    """What the runs of each model were given, and whether it was enough.

    Parameters
    ----------
    results : sequence of records

    Returns
    -------
    pandas.DataFrame
        Index model; runs, and means over them: n_train (crystals), hours (of the processor; of the wall clock, without the
        encoder, for DTNets), and, of single networks, epochs done, steps of the optimiser, late (the best epoch was among the last
        tenth: more would have helped), jumps (an epoch's training error was ten times the first one's).
    """
    rows = []
    for r in results:
        given = {"model": r["model"], "n_train": r["n_train"], "hours": r.get("budget", {}).get("hours", r["wall_s"] / 3600)}
        if "epochs" in r:
            steps = r["epochs"] * np.ceil(r["n_train"] / r["settings"]["train"]["batch_size"])
            given |= {"epochs": r["epochs"], "steps": steps, "late": float(r["best_epoch"] > 0.9 * r["epochs"]),
                      "jumps": float(max(r["history"]["train"]) > 10 * r["history"]["train"][0])}  # fmt: skip
        rows.append(given)
    groups = pd.DataFrame(rows, columns=["model", "n_train", "hours", "epochs", "steps", "late", "jumps"]).groupby("model", sort=False)
    found = groups.mean()
    found.insert(0, "runs", groups.size())
    return found


def verdict(table: pd.DataFrame) -> str:
    """A sentence on who is best in how many cells, beside the paper's 22 of 24.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `cells`.
    """
    won = {ours: wins(table, ours, PEERS) for ours in OURS}
    counts = ", ".join(f"{ours} has the lowest error in {int(w['wins'].sum())} of {len(w)}" for ours, w in won.items())
    return f"Against {', '.join(PEERS)}, by target and crystal system: {counts} cells; the paper's DTNet in 22 of 24."


def _end(run: Mapping) -> str:
    """What ended a run; those of DTNet say only whether it stopped early, and went through their whole schedule if not."""
    return run["budget"]["ended_by"] if "budget" in run else "patience" if run.get("stopped_early") else "epochs"


def _plus_minus(mean: float, std: float) -> str:
    if not np.isfinite(mean):
        return "-"
    return f"{mean:.3f}" + (f" ± {std:.3f}" if np.isfinite(std) else "")
