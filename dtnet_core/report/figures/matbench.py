"""Figures of Matbench's refractive index: the field (Fig. 7), and where the errors come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .theme import FAINT, INK, MUTED, ONE_COLUMN, PALETTE, TWO_COLUMNS, figure, letter_panels, plain_log

OURS = "this kit"


@figure
def leaderboard_bars(leaderboard: Mapping, ours: Mapping | None = None) -> Figure:
    """Mean MAE of the five folds of every published model, as printed, best first, with deviations over folds (Fig. 7).

    Parameters
    ----------
    leaderboard : mapping
        `data/paper/matbench_leaderboard.json`.
    ours : mapping, optional
        `data/results/matbench.json`: one more bar, in another colour.
    """
    bars = {m["model"]: (m["mae"], m.get("std")) for m in leaderboard["models"] if m.get("mae") is not None}
    if ours is not None:
        bars[OURS] = (ours["mean_mae"], ours["std_mae"])
    names = sorted(bars, key=lambda name: bars[name][0])
    values, place = [bars[name][0] for name in names], np.arange(len(bars))
    spread = np.array([bars[name][1] or np.nan for name in names], dtype=float)
    fig, ax = plt.subplots(figsize=(ONE_COLUMN * 1.3, 0.19 * len(bars) + 0.6))
    ax.barh(place, values, height=0.7, color=[PALETTE[5] if name == OURS else PALETTE[0] if name == "DTNet" else PALETTE[4] for name in names])
    ax.errorbar(values, place, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.7, capsize=1.5)
    for y, (value, width) in enumerate(zip(values, np.nan_to_num(spread), strict=True)):
        ax.text(value + width + 0.01, y, f"{value:.4f}" if names[y] in (OURS, "DTNet") else f"{value:.3f}", va="center", fontsize=6.5)
    ax.set(xlabel="MAE of the refractive index", ylim=(len(bars) - 0.4, -0.6))
    ax.set_xlim(0, max(v + w for v, w in zip(values, np.nan_to_num(spread), strict=True)) + 0.1)
    ax.set_yticks(place, names)
    ax.tick_params(axis="y", left=False)
    return fig


@figure
def errors_by_n(tables: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Where errors come from: mean absolute error in ranges of n (a, points on a logarithmic axis), and how much each range adds to the MAE (b).

    Parameters
    ----------
    tables : mapping of str to sequence of records
        By model, what `dtnet_core.matbench.scores.errors_by_n` gives, of the same rows.
    """
    ranges = next(iter(tables.values()))
    labels = [f"{r['low']:g}-{r['high']:g}" if r["high"] and np.isfinite(r["high"]) else f"> {r['low']:g}" for r in ranges]
    fig, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.4))
    width = 0.8 / len(tables)
    for k, (name, table) in enumerate(tables.items()):
        place = np.arange(len(ranges)) + (k - (len(tables) - 1) / 2) * width
        for ax, key in zip(axes, ("mae", "share"), strict=True):
            values = [row[key] for row in table]
            if key == "mae":  # on a logarithmic axis the length of a bar means nothing
                ax.plot(place, values, "os^Dv"[k % 5], color=PALETTE[k], label=name)
            else:
                ax.bar(place, values, width, color=PALETTE[k])
    for ax, label in zip(axes, ("MAE", "contribution to the MAE"), strict=True):
        ax.set(xlabel="refractive index n (rows)", ylabel=label)
        ax.set_xticks(range(len(ranges)), [f"{text}\n({row['rows']:,})" for text, row in zip(labels, ranges, strict=True)])
        ax.tick_params(axis="x", bottom=False)
    for border in np.arange(len(ranges) - 1) + 0.5:
        axes[0].axvline(border, color=FAINT, linewidth=0.5, zorder=0)
    plain_log(axes[0], "y")
    axes[0].legend()
    letter_panels(axes)
    return fig


@figure
def parity_of_n(predicted: np.ndarray, truth: np.ndarray) -> Figure:
    """Predicted against true refractive indices [m], on logarithmic axes."""
    fig, ax = plt.subplots(figsize=(ONE_COLUMN * 0.8, ONE_COLUMN * 0.8))
    limits = (0.95 * min(np.min(predicted), np.min(truth)), 1.05 * max(np.max(predicted), np.max(truth)))
    ax.plot(limits, limits, color=MUTED, linewidth=0.7, zorder=0)
    ax.scatter(truth, predicted, s=6, color=PALETTE[0], alpha=0.5, linewidths=0, rasterized=True)
    ax.set(xlim=limits, ylim=limits, aspect="equal", xlabel="DFPT n", ylabel="predicted n")
    plain_log(ax, "x", "y")
    return fig
