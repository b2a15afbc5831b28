"""Figures that set numbers side by side: our models and the paper's, and time and memory against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..tables import results_table
from .theme import METRIC_LABELS, MUTED, PALETTE, TARGET_LABELS, TWO_COLUMNS, figure, letter_panels, plain_log


@figure
def against_paper(results: Sequence[Mapping], paper: Mapping) -> Figure:
    """MAE_ten of our models (dots) and of the paper's (circles), one panel a target; bars of one deviation.

    Parameters
    ----------
    results : sequence of records
        Of `data/results/tensors.json`. Choose one profile and one kind of split before.
    paper : mapping
        `data/paper/table2.json`, over all crystal systems. The data sets differ: see the record counts.
    """
    table = results_table(results, ("target", "model", "encoder", "layer"))
    table = table.assign(name=[_named(r.model, r.encoder, r.layer) for r in table.itertuples()])
    targets = [t for t in TARGET_LABELS if t in set(table.target)]
    ours = sorted(set(table.name), key=lambda n: table.loc[table.name == n, "mae_ten"].min())
    rows = [*ours, *(f"{model}, paper" for model in paper["models"])]
    fig, axes = plt.subplots(
        1, len(targets), figsize=(TWO_COLUMNS, 0.2 * len(rows) + 0.8), sharey=True, squeeze=False
    )
    for ax, target in zip(axes[0], targets, strict=True):
        chosen = table[table.target == target].set_index("name")
        printed = paper["mae_ten"][target]["all"]
        for place, name in enumerate(rows):
            mine = place < len(ours)
            if mine and name not in chosen.index:
                continue
            cell = chosen.loc[name] if mine else printed[name.removesuffix(", paper")]
            value, spread = (cell.mae_ten, cell.mae_ten_std) if mine else (cell["mean"], cell["std"])
            look = {"color": PALETTE[0]} if mine else {"color": MUTED, "markerfacecolor": "white"}
            ax.errorbar(value, place, xerr=np.nan_to_num(spread), fmt="o", elinewidth=0.8, **look)
        ax.axhline(len(ours) - 0.5, color=MUTED, linewidth=0.5, linestyle=":")
        ax.set(xlabel=METRIC_LABELS["mae_ten"], ylim=(len(rows) - 0.5, -0.5))
        ax.grid(axis="x", linewidth=0.3)
        ax.set_title(TARGET_LABELS[target])
    axes[0, 0].set_yticks(range(len(rows)), rows)
    letter_panels(axes[0])
    return fig


def _named(model: str, encoder: str, layer: str) -> str:
    """As an axis has room for: "DTNet-joint (nequix + 7net-0, all layers)"; "-" is for none."""
    layers = "all layers" if "-" in layer.strip("-") else f"layer {layer}"
    words = [encoder.replace("nequix-oam-1-pft", "nequix").replace("+", " + ")] * (encoder != "-") + [layers] * (layer != "-")
    return f"{model} ({', '.join(words)})" if words else model


@figure
def scaling(points: Sequence[Mapping]) -> Figure:
    """Time (a) and memory (b) against the number of crystals, on logarithmic axes.

    Parameters
    ----------
    points : sequence of mappings
        `series` (name of the curve), `crystals` (number), `seconds`, and `memory_mb` (MiB) where known.

    Returns
    -------
    Figure
        The dashed line is linear growth from the first point of the slowest (largest) series.
    """
    if not points:
        raise ValueError("there are no points to draw; run the benchmarks first")
    table = pd.DataFrame(points).sort_values(["series", "crystals"])
    panels = [("seconds", "time (s)")]
    if "memory_mb" in table and table["memory_mb"].notna().any():
        panels.append(("memory_mb", "peak memory (MiB)"))
    fig, axes = plt.subplots(1, len(panels), figsize=(2.7 * len(panels) + 0.2, 2.4), squeeze=False)
    for ax, (key, label) in zip(axes[0], panels, strict=True):
        known = table.dropna(subset=[key])
        for colour, (name, rows) in zip(PALETTE, known.groupby("series"), strict=False):
            ax.plot(rows["crystals"], rows[key], "o-", color=colour, label=name)
        start = known[known.crystals == known.crystals.min()][key].max()
        ends = np.array([known.crystals.min(), known.crystals.max()], dtype=float)
        if key == "seconds":
            ax.plot(ends, start * ends / ends[0], "--", color=MUTED, linewidth=0.7, zorder=0, label="linear")
        ax.set(xlabel="crystals", ylabel=label)
        plain_log(ax, "x", "y")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    letter_panels(axes[0])
    return fig
