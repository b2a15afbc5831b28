"""Figures of the screening: gap against permittivity, figure of merit, anisotropy by rounds, retrospective study (Figs. 8-9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from pymatgen.util.string import latexify

from .theme import (
    FAINT,
    INK,
    MUTED,
    ONE_COLUMN,
    PALETTE,
    SEQUENTIAL,
    TARGET_LABELS,
    TWO_COLUMNS,
    figure,
    letter_panels,
    plain_log,
)

LEVELS = (0.05, 0.2, 0.4, 0.6, 0.8)
"""Of contours, as shares of the largest density: five, as in Fig. 8a-b."""
OUTLINED = 20
"""Values from which a group gets the outline of its density."""
VALUE_LABELS = {"figure of merit": r"figure of merit, $E_g\varepsilon$ (eV)", "anisotropy": r"anisotropy ratio, $\lambda_\mathrm{max}/\lambda_\mathrm{min}$"}
_ORDER = ("ucb", "greedy", "uncertainty", "random")


@figure
def gap_maps(maps: Mapping) -> Figure:
    """Densities of gaps against (a) electronic and (b) ionic permittivities: labelled crystals and candidates (Fig. 8a-b).

    Parameters
    ----------
    maps : mapping
        Of `ranking.density_maps`.
    """
    fig, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS * 0.8, 2.5))
    for ax, part in zip(axes, ("electronic", "ionic"), strict=True):
        gaps, eps = np.asarray(maps["gap_ev"]), 10 ** np.asarray(maps[part]["log10_eps"])
        for name, colour in (("known", PALETTE[5]), ("candidates", PALETTE[0])):
            if np.isfinite(found := np.asarray(maps[part][name], dtype=float)).all():
                ax.contour(gaps, eps, found, LEVELS, colors=[colour], linewidths=0.8)
        ax.set(xlabel="band gap (eV)", ylabel=TARGET_LABELS[part])
        plain_log(ax, "y")
    names = [f"{n:,} {text}" for n, text in zip(maps["n"], ("labelled crystals", "candidates, predicted"), strict=True)]
    axes[0].legend(handles=[Line2D([], [], color=c, label=n) for c, n in zip((PALETTE[5], PALETTE[0]), names, strict=True)])
    letter_panels(axes)
    return fig


@figure
def pareto(gaps: np.ndarray, eps: np.ndarray, front: Sequence[Mapping], known: tuple[np.ndarray, np.ndarray] | None = None,
           named: int = 5) -> Figure:  # fmt: skip
    """Permittivity against gap, coloured by the figure of merit, with the front that nothing beats in both (Fig. 8c).

    Parameters
    ----------
    gaps, eps : np.ndarray, [B]
        Gaps in eV and predicted permittivities of the candidates to draw.
    front : sequence of mappings
        formula, gap_ev, eps, value of the crystals on the front, by falling gap.
    known : two np.ndarray, optional
        Gaps and permittivities of labelled crystals, in grey.
    named : int
        How many of the front's best get their formula.
    """
    fig, ax = plt.subplots(figsize=(ONE_COLUMN + 0.9, ONE_COLUMN * 0.85))
    if known is not None:
        ax.scatter(*known, s=5, color=MUTED, alpha=0.4, linewidths=0, rasterized=True, label="labelled")
    merit = np.asarray(gaps) * np.asarray(eps)
    use = np.isfinite(merit) & (merit > 0)
    points = ax.scatter(np.asarray(gaps)[use], np.asarray(eps)[use], c=merit[use], norm=LogNorm(max(1.0, merit[use].min()), merit[use].max()), cmap=SEQUENTIAL,
                        s=9, linewidths=0, rasterized=True)  # fmt: skip
    bar = fig.colorbar(points, ax=ax, label=VALUE_LABELS["figure of merit"], ticks=LogLocator(subs=(1, 2, 5)), format="{x:g}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    if front:
        ax.step([p["gap_ev"] for p in front], [p["eps"] for p in front], where="post", color=INK, linewidth=0.7)
    ax.set(xlabel="band gap (eV)", ylabel=TARGET_LABELS["total"])
    plain_log(ax, "y")
    best = sorted(front or (), key=lambda p: -p["value"])[:named]
    _name(ax, *([p[key] for p in best] for key in ("formula", "gap_ev", "eps")))
    if known is not None:
        ax.legend(loc="upper right")
    return fig


def _name(ax, formulas: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Formulas beside their points, from top to bottom, each at least a line below the one before, inside the axes."""
    line, ceiling, to_points = 8, np.inf, 72 / ax.figure.dpi
    for i in np.argsort(-np.asarray(y)):
        across, height = to_points * ax.transData.transform((x[i], y[i]))
        side = -1 if across > to_points * ax.transAxes.transform((0.6, 0))[0] else 1
        ceiling = min(height + line / 2, ceiling - line)
        ax.annotate(latexify(formulas[i]), (x[i], y[i]), xytext=(2.5 * line * side, ceiling - height), textcoords="offset points", fontsize=6,
                    ha="right" if side < 0 else "left", va="center",
                    arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": MUTED, "shrinkA": 0, "shrinkB": 2})  # fmt: skip


@figure
def values_by_round(groups: Mapping[str, np.ndarray], task: str) -> Figure:
    """Distributions of a task's value: the labelled crystals, and what each round validated (Fig. 9a); lines: means.

    Parameters
    ----------
    groups : mapping of str to np.ndarray
        Values by name, the labelled crystals first; empty groups are left out.
    task : str
    """
    groups = {name: np.asarray(v)[np.isfinite(v)] for name, v in groups.items() if np.isfinite(v).any()}
    table = pd.DataFrame({"group": np.repeat(list(groups), [len(v) for v in groups.values()]), "value": np.concatenate(list(groups.values()))})
    colours = dict(zip(groups, (MUTED, *PALETTE), strict=False))
    many = table[table["group"].isin([name for name, v in groups.items() if len(v) >= OUTLINED])]
    fig, ax = plt.subplots(figsize=(ONE_COLUMN, 2.4))
    look = {"x": "group", "y": "value", "hue": "group", "order": list(groups), "palette": colours, "legend": False, "ax": ax}
    if len(many):
        sns.violinplot(many, **look, log_scale=True, inner=None, cut=0, density_norm="width", width=0.7, alpha=0.25, linewidth=0)
    sns.stripplot(table, **look, jitter=False, size=3, alpha=0.6)
    for place, values in enumerate(groups.values()):
        ax.plot([place - 0.35, place + 0.35], [values.mean()] * 2, color=INK, linewidth=1)
        ax.annotate(f"{values.mean():.1f}", (place + 0.36, values.mean()), xytext=(1, 0), textcoords="offset points", va="center", fontsize=6)
    ax.set_xticks(range(len(groups)), [f"{name}\n({len(v):,})" for name, v in groups.items()])
    ax.set(xlabel="", ylabel=VALUE_LABELS[task], xlim=(-0.6, len(groups) - 0.2))
    ax.tick_params(axis="x", bottom=False)
    plain_log(ax, "y")
    return fig


@figure
def retrospective_curves(runs: Sequence[Mapping]) -> Figure:
    """Round by round: share of the hidden best that was found, hits among the proposed, best value so far; mean and standard error over seeds.

    Parameters
    ----------
    runs : sequence of mappings
        Records of the study "retrospective"; one row of panels a task.
    """
    tasks = list(dict.fromkeys(r["task"] for r in runs))
    fig, axes = plt.subplots(len(tasks), 3, figsize=(TWO_COLUMNS, 2.1 * len(tasks)), squeeze=False)
    for row, task in zip(axes, tasks, strict=True):
        grouped = defaultdict(list)
        for r in runs:
            if r["task"] == task:
                grouped[r["acquisition"]].append(r)
        for kind in sorted(grouped, key=_ORDER.index):
            colour = PALETTE[_ORDER.index(kind)]
            recall = np.array([[0.0, *(b["recall"] for b in r["by_round"])] for r in grouped[kind]])  # [seeds, rounds + 1]
            reached = np.array([[r["best_known"], *(max(b["best"] or 0, r["best_known"]) for b in r["by_round"])] for r in grouped[kind]])
            top = np.array([[max(r["best_hidden"], r["best_known"])] for r in grouped[kind]])
            hits = np.array([[np.nan, *(b["hit_rate"] for b in r["by_round"])] for r in grouped[kind]])
            for ax, values in zip(row, (100 * recall, 100 * hits, 100 * reached / top), strict=True):
                rounds, mean = np.arange(values.shape[1]), values.mean(0)
                ax.plot(rounds, mean, "o-", color=colour, label=kind)
                if len(values) > 1:
                    half = values.std(0, ddof=1) / len(values) ** 0.5
                    ax.fill_between(rounds, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
        for ax, text in zip(row, ("hidden top 1 % found (%)", "hit rate of the round (%)", "best so far (% of the best)"), strict=True):
            ax.set(xlabel="round", ylabel=text, ylim=(0, None))
            ax.set_xticks(range(values.shape[1]))
            ax.set_title(task, fontsize=7)
        row[2].set_ylim(None, 103)
    axes[0, 0].legend()
    letter_panels(axes.ravel())
    return fig


@figure
def published_ranks(found: Mapping[str, Mapping]) -> Figure:
    """Places of the crystals that the paper computed among all our candidates, on a logarithmic axis; lines at the first 1, 10 and 50 %.

    Parameters
    ----------
    found : mapping of str to record
        By search, of the study "published" in `data/results/screening.json`.
    """
    table = pd.DataFrame([{"search": task, "rank": m["rank"]} for task, r in found.items() for m in r["materials"]])
    last = max(r["candidates"] for r in found.values())
    fig, ax = plt.subplots(figsize=(TWO_COLUMNS * 0.75, 0.4 * len(found) + 0.8))
    sns.stripplot(table, x="rank", y="search", hue="search", palette=list(PALETTE[: len(found)]), jitter=False, size=4, alpha=0.7, legend=False, ax=ax)
    for share in (0.01, 0.1, 0.5):
        ax.axvline(share * last, color=MUTED, linewidth=0.6, linestyle=":")
        ax.text(share * last, 1.02, f"{100 * share:.0f} %", transform=ax.get_xaxis_transform(), ha="center", fontsize=6, color=MUTED)
    ax.set(xlabel=f"rank among {last:,} candidates", ylabel="", xlim=(0.8, 1.1 * last))
    plain_log(ax, "x")
    return fig


@figure
def checked(predicted: Mapping[str, np.ndarray], computed: Mapping[str, np.ndarray], names: Sequence[str] | None = None,
            half_widths: np.ndarray | None = None, labels: tuple[str, str] = ("computed", "predicted")) -> Figure:  # fmt: skip
    """Predicted against computed values, one panel a quantity, on logarithmic axes.

    Parameters
    ----------
    predicted, computed : mappings of str to np.ndarray [B]
        Keys are "electronic", "ionic", "total", or names of `VALUE_LABELS`.
    names : sequence of str, optional
        Formulas to write beside the four points that are farthest off.
    half_widths : np.ndarray [B], optional
        Of the calibrated intervals of the total permittivity.
    labels : two str
    """
    fig, axes = plt.subplots(1, len(predicted), figsize=(TWO_COLUMNS * min(1, len(predicted) / 3), 2.5), squeeze=False)
    for ax, (key, guess) in zip(axes[0], predicted.items(), strict=True):
        guess, true = np.asarray(guess, dtype=float), np.asarray(computed[key], dtype=float)
        use = np.isfinite(guess) & np.isfinite(true) & (guess > 0.05) & (true > 0.05)
        guess, true = guess[use], true[use]
        limits = (0.85 * min(guess.min(), true.min()), 1.2 * max(guess.max(), true.max()))
        ax.plot(limits, limits, color=MUTED, linewidth=0.7, zorder=0)
        if key == "total" and half_widths is not None:
            width = np.asarray(half_widths)[use]
            ax.errorbar(true, guess, yerr=[np.minimum(width, 0.9 * guess), width], fmt="none", ecolor=FAINT, elinewidth=1, zorder=1)
        ax.scatter(true, guess, s=12, color=PALETTE[0], linewidths=0, zorder=2)
        ax.set(xlim=limits, ylim=limits, aspect="equal", xlabel=labels[0], ylabel=labels[1] if ax is axes[0][0] else "")
        title = (TARGET_LABELS | VALUE_LABELS)[key]
        ax.set_title(title if len(predicted) < 4 else title.split(",")[0], fontsize=7)
        plain_log(ax, "x", "y")
        if names is not None:
            far = np.argsort(-np.abs(np.log(guess / true)))[:4]
            _name(ax, np.asarray(names)[use][far], true[far], guess[far])
    letter_panels(axes[0])
    return fig
