"""A crystal beside the surface of its dielectric tensor: once, or as given and turned (the picture of the front page)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from pymatgen.core import Structure

from ...crystals.frames import turned
from .cells import draw_cell
from .tensor import draw_glyph, sphere
from .theme import SEQUENTIAL, TWO_COLUMNS, figure


@figure
def front_page(structure: Structure, tensor: np.ndarray, rotation: np.ndarray) -> Figure:
    """Cell and surface r(n) = n^t T n with its matrix, before and after a rotation: the tensor turns with the crystal.

    Parameters
    ----------
    structure : pymatgen Structure
    tensor : array, [3, 3]
        In the frame of `structure`.
    rotation : array, [3, 3]
    """
    pairs = [("as given", structure, tensor), ("turned", turned(structure, rotation), rotation @ tensor @ rotation.T)]
    fig = plt.figure(figsize=(TWO_COLUMNS, 2.3))
    for column, (name, cell, shown) in enumerate(pairs):
        _draw_pair(fig, 4, 2 * column + 1, cell, shown, f"crystal, {name}")
    return fig


@figure
def crystal_and_surface(structure: Structure, tensor: np.ndarray, title: str = "crystal", size: float | None = None) -> Figure:
    """Cell and surface r(n) = n^t T n with its matrix.

    Parameters
    ----------
    structure : pymatgen Structure
    tensor : array, [3, 3]
        In the frame of `structure`.
    title : str
        Above the crystal.
    size : float, optional
        Radius that the frame of the surface has room for; default: the largest radius.
    """
    fig = plt.figure(figsize=(TWO_COLUMNS * 0.7, 3.0))
    _draw_pair(fig, 2, 1, structure, np.asarray(tensor, float), title, size)
    return fig


def _draw_pair(fig: Figure, columns: int, place: int, cell: Structure, tensor: np.ndarray, title: str, size: float | None = None) -> None:
    """The crystal in one panel, its tensor in the next."""
    directions = sphere()  # [3, 73, 145]
    radii = np.einsum("iab,ij,jab->ab", directions, tensor, directions)
    low, high = radii.min(), radii.max()
    norm = plt.Normalize(low, high if high > low * 1.01 else low + 1)  # one colour for a sphere
    flat = fig.add_subplot(1, columns, place)
    draw_cell(flat, cell)
    flat.set_axis_off()
    flat.set_title(title, fontsize=8)
    body = fig.add_subplot(1, columns, place + 1, projection="3d", computed_zorder=False)
    draw_glyph(body, directions * np.abs(radii), plt.get_cmap(SEQUENTIAL)(norm(radii)), tensor, size or np.abs(radii).max())
    matrix = "\n".join("  ".join(f"{value:6.2f}" for value in row) for row in tensor.round(2) + 0.0)
    body.set_title("its tensor", fontsize=8, y=1.12)
    body.text2D(0.5, 0.0, matrix, transform=body.transAxes, ha="center", va="top", family="DejaVu Sans Mono", fontsize=6)
