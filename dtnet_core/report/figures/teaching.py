"""Figures of the teaching notebook: field and displacement, polar modes, what symmetry leaves of a tensor, what turning does to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .tensor import draw_glyph, sphere
from .theme import FAINT, INK, MUTED, PALETTE, TWO_COLUMNS, figure, letter_panels, plain_log


@figure
def field_and_displacement(tensor: np.ndarray, axes: tuple[int, int] = (0, 2)) -> Figure:
    """Fields of one strength in all directions of a plane, their displacements, and the angle between the two.

    Parameters
    ----------
    tensor : array, [3, 3]
    axes : (int, int)
        The two axes of the plane; it should hold two principal axes of the tensor.
    """
    plane = np.asarray(tensor, float)[np.ix_(axes, axes)]  # [2, 2]
    names = ["xyz"[axis] for axis in axes]
    fig, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.9), width_ratios=(1, 1.3))
    circle = np.linspace(0, 2 * np.pi, 361)
    fields = np.array([np.cos(circle), np.sin(circle)])  # [2, 361]
    displaced = plane @ fields
    longer = max(1, round(np.linalg.norm(displaced, axis=0).min() * 0.75))  # so that E can be seen beside D
    left.plot(*longer * fields, color=PALETTE[0])
    left.plot(*displaced, color=PALETTE[5])
    for angle in np.radians([0, 30, 60, 90]):
        field = np.array([np.cos(angle), np.sin(angle)])
        for end, colour, width in ((plane @ field, PALETTE[5], 1.0), (longer * field, PALETTE[0], 1.6)):
            left.annotate("", end, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0})
    left.set(aspect="equal", xlabel=names[0], ylabel=names[1])
    left.plot([], [], color=PALETTE[0], label="field E" + (f", drawn {longer} times as long" if longer > 1 else ""))
    left.plot([], [], color=PALETTE[5], label=r"displacement D / $\varepsilon_0$")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.02))
    degrees = np.linspace(0, 90, 91)
    unit = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    answer = plane @ unit
    between = np.degrees(np.arccos(np.clip((unit * answer).sum(0) / np.linalg.norm(answer, axis=0), -1, 1)))
    right.plot(degrees, between, color=INK)
    right.set(xlabel=f"direction of E, degrees from {names[0]} towards {names[1]}", ylabel="angle between E and D (degrees)", xticks=range(0, 91, 15), ylim=(0, None))
    letter_panels((left, right))
    return fig


@figure
def mode_sums(ionic: tuple[Sequence[float], Sequence[float]], ratios: tuple[Sequence[float], Sequence[float]], named: Mapping[str, int]) -> Figure:
    """The ionic constant by the polar mode, and the ratio of frequencies by Lyddane, Sachs and Teller, against the records' tensors.

    Parameters
    ----------
    ionic, ratios : pairs of sequences
        By the tensors of the records, and by the modes.
    named : mapping of str to int
        Crystals to name, by their position.
    """
    fig, panels = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 3.0))
    labels = (
        ("ionic constant of the record", r"$4\pi / V \; \sum\ \mathrm{charge}^2 / \mathrm{frequency}^2$"),
        (r"total / electronic constant of the record", r"$(\omega_\mathrm{LO} / \omega_\mathrm{TO})^2$ of the mode"),
    )
    for ax, (x, y), (across, up) in zip(panels, (ionic, ratios), labels, strict=True):
        ax.axline((1, 1), slope=1, color=MUTED, linewidth=0.7, zorder=0)
        ax.plot(x, y, "o", color=PALETTE[0], alpha=0.7, markersize=3.5, markeredgewidth=0)
        for name, place in named.items():
            ax.plot(x[place], y[place], "o", color=PALETTE[5], markersize=5)
            ax.annotate(name, (x[place], y[place]), (6, -3), textcoords="offset points", va="top", fontsize=7)
        ax.set(xlabel=across, ylabel=up)
        plain_log(ax, "x", "y")
    panels[0].set_title(f"{len(ionic[0])} crystals", loc="right", fontsize=7)
    letter_panels(panels)
    return fig


@figure
def symmetry_patterns(matrices: Mapping[str, np.ndarray], columns: int = 4) -> Figure:
    """Matrices with their numbers; equal magnitudes share a colour, zeros are dots.

    Parameters
    ----------
    matrices : mapping of str to array [3, 3]
        Title and symmetric matrix of each panel.
    columns : int
    """
    rows = -(-len(matrices) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS, 2.05 * rows), squeeze=False)
    for ax, (title, matrix) in zip(axes.flat, matrices.items(), strict=False):
        rounded = np.round(np.asarray(matrix, float), 2) + 0.0
        distinct = sorted({value for value in rounded.flat if value}, reverse=True)
        colours = [*PALETTE[:6], *PALETTE[:6]]
        for (i, j), value in np.ndenumerate(rounded):
            colour = colours[distinct.index(value)] if value else "white"
            ax.add_patch(plt.Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, facecolor=colour, alpha=0.35 if value else 1, edgecolor=FAINT, linewidth=0.6))
            ax.text(j, i, f"{value:.2f}" if value else "·", ha="center", va="center", fontsize=7 if value else 10, color=INK if value else MUTED)
        ax.set(xlim=(-0.55, 2.55), ylim=(2.55, -0.55), aspect="equal", title=title)
    for ax in axes.flat:
        ax.set_axis_off()
    return fig


@figure
def turning_errors(degrees: Sequence[float], own: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> Figure:
    """How far models are from turning their answer with the crystal, and from the true tensor, by the angle of the turn.

    Parameters
    ----------
    degrees : sequence of float
    own : mapping of str to array
        Of each model: distance from its own answer, turned; relative, an angle each; what is below 1e-9 is drawn there.
    true : mapping of str to array
        Of each model: distance from the true tensor, turned.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 3.1), sharex=True)
    for (name, values), colour, marker in zip(own.items(), PALETTE, "osD^v", strict=False):
        look = {"color": colour, "marker": marker, "markersize": 3.5, "label": name}
        left.plot(degrees, np.maximum(values, 1e-9), **look)
        right.plot(degrees, true[name], **look)
    ticks = range(0, int(max(degrees)) + 1, 30)
    left.set(yscale="log", xlabel="turn (degrees)", ylabel="turning error, relative", xticks=ticks)
    right.set(ylim=(0, None), xlabel="turn (degrees)", ylabel="error against DFPT, relative", xticks=ticks)
    letter_panels((left, right))
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    return fig


@figure
def signed_surfaces(tensors: Mapping[str, np.ndarray]) -> Figure:
    """Tensors as surfaces |n^t T n|, each to its own scale: blue where n^t T n is positive, orange where it is negative; and their matrices.

    Parameters
    ----------
    tensors : mapping of str to array [3, 3]
    """
    directions = sphere()  # [3, 73, 145]
    fig = plt.figure(figsize=(TWO_COLUMNS, 2.8))
    for place, (title, tensor) in enumerate(tensors.items(), 1):
        tensor = (np.asarray(tensor, float) + np.asarray(tensor, float).T) / 2
        radii = np.einsum("iab,ij,jab->ab", directions, tensor, directions)
        largest = np.abs(radii).max() or 1.0
        ax = fig.add_subplot(1, len(tensors), place, projection="3d", computed_zorder=False)
        colours = np.where((radii >= 0)[..., None], plt.matplotlib.colors.to_rgba(PALETTE[4]), plt.matplotlib.colors.to_rgba(PALETTE[1]))
        shade = 0.65 + 0.35 * np.abs(radii) / largest
        colours[..., :3] *= shade[..., None]
        draw_glyph(ax, directions * np.abs(radii), colours, tensor, largest)
        matrix = "\n".join("  ".join(f"{value:6.2f}" for value in row) for row in tensor.round(2) + 0.0)
        ax.set_title(title, y=1.13, fontsize=7.5)
        ax.text2D(0.5, -0.04, matrix, transform=ax.transAxes, ha="center", va="top", family="DejaVu Sans Mono", fontsize=6)
    return fig
