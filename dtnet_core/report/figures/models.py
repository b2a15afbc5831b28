"""Figures of models: layers, crystal systems, parity and training, beside the paper's values (Figs. 5-6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde
from sklearn.metrics import r2_score

from ...crystals.symmetry import CRYSTAL_SYSTEMS
from ...metrics import eigenvalues, scalar_constant
from ..tables import results_table
from .theme import (
    INK,
    METRIC_LABELS,
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

BAR_METRICS = ("mae_ten", "mae_mean_diag", "mae_diag", "mae_off_diag")
_LABEL_KEYS = ("target", "model", "encoder")


def _need(results: Sequence[Mapping], what: str) -> None:
    if not results:
        raise ValueError(f"there are no {what} to draw; check the filter, or run the notebook that makes them")


@figure
def layer_ablation(
    results: Sequence[Mapping],
    metrics: Sequence[str] = ("mae_ten", "correlation"),
    paper: Mapping | None = None,
) -> Figure:
    """Test error against the encoder layer: mean over seeds, shaded by the standard deviation (Fig. 5a-b).

    Parameters
    ----------
    results : sequence of records
        Of `data/results/tensors.json`. One curve for each target, model and encoder; what several layers of an encoder give together
        ("0-5") stands apart, behind the single ones.
    metrics : sequence of str
        One panel each.
    paper : mapping, optional
        `data/paper/table2.json`: its DTNet on layer 4 as a line in the MAE_ten panel, if there is one target.
    """
    single = [r for r in results if str(r.get("layer")).isdigit()]  # 4 or "4", but not "0-5"
    _need(single, "results of single layers")
    if missing := [m for m in metrics if all(r.get(m) is None for r in single)]:
        raise ValueError(
            f"no result holds {missing}; choose from {sorted(k for k in single[0] if k in METRIC_LABELS)}"
        )
    table = results_table(single, (*_LABEL_KEYS, "layer"), metrics).assign(
        layer=lambda t: t["layer"].astype(int)
    )
    several = [r for r in results if re.fullmatch(r"\d+-\d+", str(r.get("layer")))]
    together = results_table(several, (*_LABEL_KEYS, "layer"), metrics) if several else None
    varying = [key for key in _LABEL_KEYS if table[key].nunique() > 1]
    fig, axes = plt.subplots(1, len(metrics), figsize=(2.6 * len(metrics) + 0.3, 2.4), squeeze=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        for colour, (names, rows) in zip(PALETTE, table.groupby(list(_LABEL_KEYS)), strict=False):
            names = dict(zip(_LABEL_KEYS, names, strict=True))
            rows, label = rows.sort_values("layer"), ", ".join(names[key] for key in varying or ["model"])
            spread = rows[f"{metric}_std"].fillna(0)
            ax.fill_between(
                rows.layer, rows[metric] - spread, rows[metric] + spread, color=colour, alpha=0.2, lw=0
            )
            ax.plot(rows.layer, rows[metric], "o-", color=colour, label=label)
            if together is not None:
                own = together[(together[list(_LABEL_KEYS)] == [names[key] for key in _LABEL_KEYS]).all(axis=1)]
                if len(own):
                    ax.errorbar([table.layer.max() + 1.5] * len(own), own[metric], own[f"{metric}_std"].fillna(0), fmt="D", color=colour, capsize=2)
        if paper is not None and metric == "mae_ten" and table["target"].nunique() == 1:
            value = paper["mae_ten"][table["target"].iloc[0]]["all"]["DTNet"]["mean"]
            ax.axhline(value, color=MUTED, linestyle="--", linewidth=0.8, label="paper, PFP layer 4")
        ticks = {int(layer): str(layer) for layer in sorted(set(table.layer))} | ({table.layer.max() + 1.5: "/".join(sorted(set(together.layer)))} if several else {})
        ax.set(xlabel="encoder layer", ylabel=METRIC_LABELS.get(metric, metric), xticks=[*ticks], xticklabels=ticks.values())
        ax.margins(x=0.08)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if len(labels) > 1:
        fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    letter_panels(axes[0])
    return fig


@figure
def system_bars(results: Sequence[Mapping], paper: Mapping | None = None) -> Figure:
    """The four MAEs of each crystal system, one panel a target (Fig. 5c-e); bars of deviation over seeds.

    Parameters
    ----------
    results : sequence of records
        Runs of one model, with the key `by_system` of `metrics.metrics_by_system`.
    paper : mapping, optional
        `data/paper/table2.json`: its DTNet's MAE_ten as diamonds.

    Raises
    ------
    ValueError
        When the runs belong to more than one model, encoder, layer, split or profile.
    """
    results = [r for r in results if r.get("by_system")]
    _need(results, "results with metrics by crystal system")
    for key in ("model", "encoder", "layer", "split", "profile"):
        if len(found := {str(r.get(key)) for r in results}) > 1:
            raise ValueError(
                f"system_bars draws one model at a time, but the results mix {key} = {sorted(found)}"
            )
    targets = [t for t in TARGET_LABELS if any(r["target"] == t for r in results)]
    fig, axes = plt.subplots(len(targets), 1, figsize=(TWO_COLUMNS, 1.6 * len(targets) + 0.5), squeeze=False)
    for ax, target in zip(axes[:, 0], targets, strict=True):
        _bars(ax, [r["by_system"] for r in results if r["target"] == target])
        if paper is not None:
            means = [
                paper["mae_ten"][target][system]["DTNet"]["mean"] for system in (*CRYSTAL_SYSTEMS, "all")
            ]
            place = np.arange(len(means)) - 1.5 * 0.2
            ax.plot(
                place, means, "D", color="white", markeredgecolor=INK, markersize=4.5, label="paper, DTNet"
            )
        ax.set(ylabel="MAE", ylim=(0, None))
        ax.set_title(TARGET_LABELS[target])
    axes[0, 0].legend(ncols=5, loc="upper right", bbox_to_anchor=(1, 1.0))
    letter_panels(axes[:, 0])
    return fig


def _bars(ax: Axes, runs: Sequence[Mapping]) -> None:
    """Grouped bars of `BAR_METRICS` for the seven systems and all; `runs` are `by_system` of each seed."""
    names = (*CRYSTAL_SYSTEMS, "all")
    for index, metric in enumerate(BAR_METRICS):
        cells = [[run.get(name, {}).get(metric) for name in names] for run in runs]
        values = pd.DataFrame(cells, columns=names, dtype=float)  # [runs, 8]
        spread = values.std(ddof=1).fillna(0)
        place = np.arange(len(names)) + (index - 1.5) * 0.2
        ax.bar(
            place, values.mean(), 0.2, yerr=spread, color=PALETTE[index], label=METRIC_LABELS[metric],
            error_kw={"elinewidth": 0.7, "ecolor": INK, "capsize": 1.5, "capthick": 0.7},
        )  # fmt: skip
    counts = [np.mean([run.get(name, {}).get("n") or 0 for run in runs]) for name in names]
    labels = [f"{name.capitalize()}\n({count:.0f})" for name, count in zip(names, counts, strict=True)]
    ax.set_xticks(range(len(names)), labels)
    ax.tick_params(axis="x", bottom=False)


@figure
def parity(ref: np.ndarray, pred: np.ndarray, scale: str = "log") -> Figure:
    """Predicted against reference scalar constants (a) and eigenvalues (b), as in Fig. 6.

    Parameters
    ----------
    ref, pred : array, [B, 3, 3]
    scale : "log" or "linear"
        Logarithmic axes show the many small constants; values below 0.5 are then drawn at 0.5.

    Returns
    -------
    Figure
        Points coloured by their density (yellow: most); MAE, R2 and the number of values in each panel,
        computed from the values themselves.
    """
    if scale not in ("log", "linear"):
        raise ValueError(f'scale is "log" or "linear", got {scale!r}')
    pairs = (
        (r"scalar constant $\varepsilon$", scalar_constant(ref), scalar_constant(pred)),
        (r"eigenvalue $\lambda_i$", eigenvalues(ref).ravel(), eigenvalues(pred).ravel()),
    )
    fig, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS * 0.8, 2.8))
    for ax, (label, x, y) in zip(axes, pairs, strict=True):
        r2 = r2_score(x, y) if len(x) > 1 else np.nan
        text = f"MAE {np.abs(x - y).mean():.3f}\n$R^2$ {r2:.3f}\nn = {len(x):,}"
        if scale == "log":
            x, y = np.maximum(x, 0.5), np.maximum(y, 0.5)
        limits = _limits(np.concatenate([x, y]), scale)
        order, colour = _density(x, y, scale)
        ax.plot(limits, limits, color=MUTED, linewidth=0.7, zorder=0)
        ax.scatter(x[order], y[order], c=colour, cmap=SEQUENTIAL, s=7, linewidths=0, rasterized=True)
        ax.set(xlim=limits, ylim=limits, aspect="equal")
        ax.set(xlabel=f"DFPT {label}", ylabel=f"predicted {label}")
        ax.text(0.05, 0.95, text, transform=ax.transAxes, va="top", fontsize=7, linespacing=1.4)
        if scale == "log":
            plain_log(ax, "x", "y")
    letter_panels(axes)
    return fig


def _limits(values: np.ndarray, scale: str) -> tuple[float, float]:
    """Common limits of both axes with a small margin."""
    low, high = values.min(), values.max()
    if scale == "log":
        return low / 1.15, high * 1.15
    margin = 0.04 * max(high - low, 1e-6)
    return low - margin, high + margin


def _density(x: np.ndarray, y: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """Order that draws the densest points last, and their colours (ranks of a kernel density estimate)."""
    points = np.log(np.stack([x, y])) if scale == "log" else np.stack([x, y])  # [2, n]
    try:
        density = gaussian_kde(points)(points)
    except (np.linalg.LinAlgError, ValueError):  # too few points, or all on one line
        density = np.zeros(len(x))
    order = np.argsort(density, kind="stable")
    return order, np.linspace(0, 1, len(order)) if density.any() else np.zeros(len(order))


@figure
def learning_curve(histories: Mapping) -> Figure:
    """Loss by epoch in training and on the validation set; a dot marks the best epoch. Losses far above the first are beyond the axis.

    Parameters
    ----------
    histories : mapping
        Either one history {"train": [...], "validation": [...]} (MAE_ten by epoch), or several by label.
    """
    several = histories if "train" not in histories else {"": histories}
    _need(list(several), "histories")
    fig, ax = plt.subplots(figsize=(ONE_COLUMN, 2.4 if len(several) <= 2 else 2.2 + 0.15 * len(several)))
    for colour, (label, history) in zip(PALETTE, several.items(), strict=False):
        for key, line in (("train", "--"), ("validation", "-")):
            values = np.asarray(history[key], dtype=float)
            name = f"{label}, {key}" if label else key
            ax.plot(np.arange(1, len(values) + 1), values, line, color=colour, linewidth=0.9, label=name)
        best = int(np.nanargmin(history["validation"]))
        ax.plot(best + 1, history["validation"][best], "o", color=colour)
    losses = [h[key] for h in several.values() for key in ("train", "validation")]
    first = max(float(np.nanmax(x[:2])) for x in losses)
    ax.set(xlabel="epoch", ylabel=METRIC_LABELS["mae_ten"])
    ax.set(xlim=(1, None), ylim=(0.8 * min(map(np.nanmin, losses)), min(ax.get_ylim()[1], 1.5 * first)))
    plain_log(ax, "y")
    if len(several) <= 2:
        ax.legend()
    else:
        plain_log(ax, "x")  # schedules of different lengths
        fig.legend(loc="outside upper center", ncols=2)
    return fig
