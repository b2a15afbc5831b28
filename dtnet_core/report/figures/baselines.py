"""Figures that compare kinds of models: Table 2, how errors fall with data, what training takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..tables import results_table
from .theme import METRIC_LABELS, MUTED, PALETTE, TARGET_LABELS, TWO_COLUMNS, figure, letter_panels, plain_log


@figure
def table2_dots(cells: pd.DataFrame, paper: Mapping) -> Figure:
    """MAE_ten of each model by crystal system, one panel a target: ours filled with one deviation, the paper's open.

    Parameters
    ----------
    cells : pandas.DataFrame
        Of `baselines.table2.cells`.
    paper : mapping
        `data/paper/table2.json`.
    """
    targets = [t for t in TARGET_LABELS if t in set(cells["target"])]
    models, systems = list(cells["model"].unique()), list(dict.fromkeys(cells["system"]))
    fig, axes = plt.subplots(len(targets), 1, figsize=(TWO_COLUMNS, 1.6 * len(targets) + 0.6), squeeze=False)
    for ax, target in zip(axes[:, 0], targets, strict=True):
        for k, model in enumerate(models):
            mine = cells[(cells["target"] == target) & (cells["model"] == model)].set_index("system").reindex(systems)
            place = np.arange(len(systems)) + (k - (len(models) - 1) / 2) * 0.8 / len(models)
            colour = PALETTE[k % len(PALETTE)]
            marker = "os"[k // len(PALETTE)]
            ax.errorbar(place, mine["mean"], yerr=mine["std"].fillna(0), fmt=marker, color=colour, elinewidth=0.7, markersize=3, label=model)
            printed = [paper["mae_ten"][target][s].get(model.removesuffix("-joint"), {}).get("mean", np.nan) for s in systems]
            ax.plot(place, printed, "o", color=colour, markerfacecolor="white", markersize=4, zorder=0)
        for border in np.arange(len(systems) - 1) + 0.5:
            ax.axvline(border, color=MUTED, linewidth=0.3)
        ax.set(ylabel=METRIC_LABELS["mae_ten"], xlim=(-0.5, len(systems) - 0.5))
        ax.set_xticks(range(len(systems)), [s.capitalize() for s in systems])
        ax.set_title(TARGET_LABELS[target])
        plain_log(ax, "y")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    rows = -(-len(labels) // 8)
    fig.legend(handles, labels, loc="outside upper center", ncols=-(-len(labels) // rows))
    letter_panels(axes[:, 0])
    return fig


@figure
def data_efficiency(results: Sequence[Mapping]) -> Figure:
    """Test error against the number of training crystals on logarithmic axes, one panel a target; bars of one deviation.

    Parameters
    ----------
    results : sequence of records
        With shares of the training set, one kind of run a model and share.
    """
    if not results:
        raise ValueError("there are no learning curves to draw; run the baselines with --fraction first")
    table = results_table(results, ("target", "model", "n_train")).assign(n_train=lambda t: t["n_train"].astype(int))
    targets = [t for t in TARGET_LABELS if t in set(table["target"])]
    fig, axes = plt.subplots(1, len(targets), figsize=(2.6 * len(targets) + 0.3, 2.6), squeeze=False)
    for ax, target in zip(axes[0], targets, strict=True):
        for colour, (model, rows) in zip(PALETTE * 2, table[table["target"] == target].groupby("model", sort=False), strict=False):
            rows = rows.sort_values("n_train")
            ax.errorbar(rows["n_train"], rows["mae_ten"], yerr=rows["mae_ten_std"].fillna(0), fmt="o-", color=colour, elinewidth=0.7, label=model)
        ax.set(xlabel="training crystals", ylabel=METRIC_LABELS["mae_ten"])
        ax.set_title(TARGET_LABELS[target])
        plain_log(ax, "x", "y")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    letter_panels(axes[0])
    return fig


@figure
def training_cost(costs: Sequence[Mapping]) -> Figure:
    """Trained parameters, processor time of an epoch and peak memory of each network.

    Parameters
    ----------
    costs : sequence of records
        Of `data/results/baseline_cost.json`, of one profile.
    """
    if not costs:
        raise ValueError("there are no costs to draw; run dtnet baselines price first")
    panels = {
        "parameters": ("parameters (thousands)", 1e-3), "seconds_per_epoch": ("processor time of an epoch (s)", 1.0), "peak_memory_mb": ("largest memory (GB)", 1e-3)
    }  # fmt: skip
    fig, axes = plt.subplots(1, len(panels), figsize=(TWO_COLUMNS, 0.22 * len(costs) + 0.8), sharey=True)
    for ax, (key, (label, unit)) in zip(axes, panels.items(), strict=True):
        ax.barh(range(len(costs)), [c[key] * unit for c in costs], color=PALETTE[0], height=0.6)
        ax.set(xlabel=label, ylim=(len(costs) - 0.5, -0.5))
    axes[0].set_yticks(range(len(costs)), [c["model"] for c in costs])
    letter_panels(axes)
    return fig
