"""Tables of stored results: means and deviations over seeds, the paper's values beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..base.results import FROM_SCRATCH, JOINT, MORE_LABELS, PROTOCOL_SEEDS
from ..data.splits import FRACTIONS


def results_table(
    results: Sequence[Mapping],
    group: Sequence[str] = ("target", "model", "encoder", "layer"),
    metrics: Sequence[str] = ("mae_ten",),
    paper: Mapping | None = None,
) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each group of runs.

    Parameters
    ----------
    results : sequence of records
        As `load_results` returns them. Choose one profile and one kind of split before.
    group : sequence of str
        Keys that tell the groups apart; the table is sorted by them.
    metrics : sequence of str
        Keys to average; a record without one of them is left out of that average.
    paper : mapping, optional
        `data/paper/table2.json`: adds its MAE_ten of the same target and model, over all systems.

    Returns
    -------
    pandas.DataFrame
        Columns: `group`, `runs`, for each metric `<metric>` and `<metric>_std` (sample standard deviation;
        NaN for one run), and with `paper` also `paper` and `paper_std` (NaN where it has no such row).

    Raises
    ------
    ValueError
        When `results` is empty.
    """
    if not results:
        raise ValueError("there are no results to tabulate; run the notebooks or the run matrix first")
    rows = pd.DataFrame([{key: _text(record.get(key)) for key in group} for record in results])
    for metric in metrics:
        values = [record.get(metric) for record in results]
        rows[metric] = np.array([math.nan if value is None else value for value in values], dtype=float)
    grouped = rows.groupby(list(group), sort=True)
    table = grouped.size().rename("runs").reset_index()
    for metric in metrics:
        table[metric] = grouped[metric].mean().to_numpy()
        table[f"{metric}_std"] = grouped[metric].std(ddof=1).to_numpy()
    if paper is not None:
        cells = [paper_cell(paper, row.get("target"), row.get("model")) for row in table.to_dict("records")]
        table[["paper", "paper_std"]] = np.array(cells, dtype=float)
    return table


def format_table(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """A `results_table` for reading: value and deviation joined to "0.368 ± 0.063", "-" for none."""
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith("_std") and name.removesuffix("_std") in table:
            continue
        if f"{name}_std" in table:
            pairs = zip(table[name], table[f"{name}_std"], strict=True)
            shown[name] = [plus_minus(value, deviation, digits) for value, deviation in pairs]
        else:
            shown[name] = table[name]
    return shown


def _text(value) -> str:
    """A group key as a sortable label: 4 -> "4", several layers [1, 3] -> "1+3", missing -> "-"."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return "-" if value is None else str(value)


def plus_minus(value: float, deviation: float, digits: int) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if np.isfinite(deviation) else "")


def paper_cell(paper: Mapping, target: str | None, model: str | None) -> tuple[float, float]:
    """(mean, std) that the paper prints for a target and model over all systems; NaN when it has none.

    A joint model, which the paper does not have, stands beside the paper's best.
    """
    cells = paper["mae_ten"].get(target, {}).get("all", {})
    cell = {name.lower(): cell for name, cell in cells.items()}.get("dtnet" if model in (JOINT, MORE_LABELS) else str(model).lower())
    return (cell["mean"], cell["std"]) if cell else (math.nan, math.nan)


def headline(results: Sequence[Mapping]) -> list[Mapping]:
    """Runs on the full profile's five random splits, with pretrained encoders."""
    return [
        r for r in results
        if (r["profile"], r["split"]) == ("full", "record") and r["seed"] in PROTOCOL_SEEDS and not str(r["encoder"]).endswith(FROM_SCRATCH)
    ]  # fmt: skip


def layers_with_and_without_pretraining(results: Sequence[Mapping], short: Sequence[Mapping]) -> list[Mapping]:
    """Runs of Fig. 5a-b: single layers of the pretrained encoder (total tensor), the same on a short budget, and encoders from scratch.

    Parameters
    ----------
    results, short : sequences of records
        Of `data/results/tensors.json` and `data/results/short_budget.json`; the latter are called "7net-0, 40 epochs" and so on.
    """
    single = [r for r in headline(results) if (r["model"], r["encoder"], r["target"]) == ("DTNet-simple", "7net-0", "total")]
    scratch = [r for r in results if r["profile"] == "full" and r["target"] == "total" and str(r["encoder"]).endswith(FROM_SCRATCH)]
    return [*single, *(r | {"encoder": f"{r['encoder']}, {r['settings']['train']['max_epochs']} epochs"} for r in short), *scratch]


def interval_over_splits(errors: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half width of a confidence interval of an error over random splits (`splits.FRACTIONS`) of the same crystals.

    The splits share crystals, so the mean over many of them is less certain than its standard error says: its variance is taken as
    (1 / splits + test / train) times that of the errors (C. Nadeau and Y. Bengio, Mach. Learn. 52, 239, 2003), and Student's t
    with splits - 1 degrees of freedom.

    Raises
    ------
    ValueError
        For fewer than two splits.
    """
    from scipy import stats  # a second of import that reading results needs not

    if (n := len(errors)) < 2:
        raise ValueError(f"an interval needs two splits or more, there is {n}")
    variance = np.var(errors, ddof=1) * (1 / n + FRACTIONS[2] / FRACTIONS[0])
    return float(np.mean(errors)), float(stats.t.ppf((1 + level) / 2, n - 1) * variance**0.5)


def interval_table(results: Sequence[Mapping], paper: Mapping) -> pd.DataFrame:
    """Each joint model of few labels that was run on more splits than the protocol's: 95 % interval of its MAE_ten, beside the paper's mean."""
    runs = [r for r in results if (r["profile"], r["split"], r["model"]) == ("full", "record", JOINT)]
    beyond = {r["encoder"] for r in runs if r["seed"] not in PROTOCOL_SEEDS}
    rows = []
    for encoder, target in sorted({(r["encoder"], r["target"]) for r in runs if r["encoder"] in beyond}):
        chosen = [r for r in runs if (r["encoder"], r["target"]) == (encoder, target)]
        mean, half = interval_over_splits([r["mae_ten"] for r in chosen])
        rows.append({"target": target, "encoder": encoder, "splits": len(chosen), "MAE_ten, 95 %": plus_minus(mean, half, 3),
                     "the paper's DTNet": paper_cell(paper, target, "DTNet")[0]})  # fmt: skip
    return pd.DataFrame(rows)


def by_formula(results: Sequence[Mapping]) -> list[Mapping]:
    """Runs of the joint models on the full profile's splits that keep all crystals of a formula together."""
    return [r for r in results if (r["profile"], r["split"], r["model"]) == ("full", "group", JOINT)]


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean of independent values and half width of its confidence interval (Student's t); NaN of fewer than two."""
    from scipy import stats  # a second of import that reading results needs not

    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def spell_seeds(seeds: Iterable[int]) -> str:
    """Seeds as words, three or more in a row as a range: "0, 6-14"."""
    runs: list[list[int]] = []
    for seed in sorted(set(map(int, seeds))):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)
