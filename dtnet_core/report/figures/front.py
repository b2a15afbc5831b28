"""The picture of the front page: a crystal, its dielectric tensor as a surface, and both turned."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from pymatgen.core import Lattice, Structure

from .screening import draw_cell
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
    turned = Structure(Lattice(structure.lattice.matrix @ rotation.T), structure.species, structure.frac_coords)
    pairs = [("as given", structure, tensor), ("turned", turned, rotation @ tensor @ rotation.T)]
    directions = sphere()  # [3, 73, 145]
    fig = plt.figure(figsize=(TWO_COLUMNS, 2.3))
    for column, (name, cell, shown) in enumerate(pairs):
        radii = np.einsum("iab,ij,jab->ab", directions, shown, directions)
        norm = plt.Normalize(radii.min(), radii.max())
        flat = fig.add_subplot(1, 4, 2 * column + 1)
        draw_cell(flat, cell)
        flat.set_axis_off()
        flat.set_title(f"crystal, {name}", fontsize=8)
        body = fig.add_subplot(1, 4, 2 * column + 2, projection="3d", computed_zorder=False)
        draw_glyph(body, directions * radii, plt.get_cmap(SEQUENTIAL)(norm(radii)), shown, radii.max())
        matrix = "\n".join("  ".join(f"{value:6.2f}" for value in row) for row in shown.round(2) + 0.0)
        body.set_title("its tensor", fontsize=8)
        body.text2D(0.5, 0.0, matrix, transform=body.transAxes, ha="center", va="top", family="DejaVu Sans Mono", fontsize=6)
    return fig
