"""Crystals as their conventional cells, drawn by depth (Figs. 8d, 9b)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from pymatgen.core import Element, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from .theme import INK, MUTED, TWO_COLUMNS, figure

BONDED = 1.15
"""Longest bond drawn, in units of the sum of the covalent radii."""


@figure
def crystals(structures: Sequence[Structure], titles: Sequence[str], columns: int = 3) -> Figure:
    """Conventional cells of crystals, seen a little from above, with bonds where radii touch, not among metals (Figs. 8d, 9b).

    Parameters
    ----------
    structures : sequence of pymatgen Structure
    titles : sequence of str
    columns : int
    """
    rows = -(-len(structures) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS * columns / 4, 2.1 * rows), squeeze=False)
    for ax, structure, title in zip(axes.flat, structures, titles, strict=False):
        draw_cell(ax, SpacegroupAnalyzer(structure, symprec=0.01).get_conventional_standard_structure())
        ax.set_title(title, fontsize=7)
    for ax in axes.flat:
        ax.set_axis_off()
    return fig


def draw_cell(ax, cell: Structure) -> None:
    """Draw one cell, atoms on its faces on all of them, by depth: edges, bonds, atoms."""
    turn, tilt = np.deg2rad(-20), np.deg2rad(-78)  # about c, then about the horizontal axis
    about_c = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    view = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]) @ about_c
    project = lambda fractions: np.asarray(fractions, dtype=float) @ cell.lattice.matrix @ view.T  # noqa: E731 - x, y, and depth
    corners = np.array(list(product((0, 1), repeat=3)))
    for a, b in combinations(corners, 2):
        if np.abs(a - b).sum() == 1:
            ax.plot(*project([a, b])[:, :2].T, color=MUTED, linewidth=0.6, zorder=0)
    seen = [(site.specie.symbol, (site.frac_coords % 1.0) + shift) for site in cell for shift in corners]
    seen = [(e, f) for e, f in ((e, np.where(np.abs(f) < 1e-3, 0.0, f)) for e, f in seen) if (f < 1 + 1e-3).all()]
    points, numbers = project([f for _, f in seen]), [Element(e).Z for e, _ in seen]
    near, far = points[:, 2].min(), np.ptp(points[:, 2]) or 1.0
    metal = [Element(e).is_metal for e, _ in seen]
    for i, j in combinations(range(len(seen)), 2):
        if not (metal[i] and metal[j]) and np.linalg.norm(points[i] - points[j]) < BONDED * (covalent_radii[numbers[i]] + covalent_radii[numbers[j]]):
            ax.plot(*points[[i, j], :2].T, color=MUTED, linewidth=1.2, alpha=0.7, zorder=0.5)
    for point, number in zip(points, numbers, strict=True):
        ax.add_patch(Circle(point[:2], 0.4 * covalent_radii[number], facecolor=jmol_colors[number], edgecolor=INK, linewidth=0.4,
                            zorder=1 + (point[2] - near) / far))  # fmt: skip
    low, high = (f(np.vstack([points, project(corners)])[:, :2], axis=0) for f in (np.min, np.max))
    ax.set(xlim=(low[0] - 1, high[0] + 1), ylim=(low[1] - 1, high[1] + 1), aspect="equal")
    shown = {s.specie.symbol: s.specie.Z for s in cell}
    handles = [Line2D([], [], marker="o", linestyle="", color=jmol_colors[z], markeredgecolor=INK, markeredgewidth=0.4, label=e) for e, z in shown.items()]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(shown), handletextpad=0, columnspacing=0.6, fontsize=6)
