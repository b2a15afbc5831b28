"""Figure of single tensors as bodies in space, for teaching."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .theme import MUTED, PALETTE, SEQUENTIAL, figure


@figure
def tensor_glyph(tensors: Mapping[str, np.ndarray]) -> Figure:
    """Tensors as bodies in space: the surface r(n) = n^t T n, its principal axes, and the matrix.

    Parameters
    ----------
    tensors : mapping of str to array [3, 3]
        Title and tensor of each panel; all panels share one scale.

    Returns
    -------
    Figure
        Radius and colour show the constant that a field along that direction sees. A sphere is an isotropic
        crystal; where n^t T n is negative, the radius is its magnitude.
    """
    if not tensors:
        raise ValueError("tensor_glyph needs at least one titled tensor")
    symmetric = {title: (np.asarray(t, float) + np.asarray(t, float).T) / 2 for title, t in tensors.items()}
    directions = sphere()  # [3, 73, 145]
    radii = {title: np.einsum("iab,ij,jab->ab", directions, t, directions) for title, t in symmetric.items()}
    low, high = min(r.min() for r in radii.values()), max(r.max() for r in radii.values())
    norm = plt.Normalize(low, high if high > low * 1.01 else low + 1)
    limit = max(np.abs(r).max() for r in radii.values())
    columns = min(len(tensors), 4)
    rows = -(-len(tensors) // columns)
    fig = plt.figure(figsize=(1.75 * columns + 0.6, 2.6 * rows))
    axes = []
    for index, (title, tensor) in enumerate(symmetric.items(), 1):
        ax = fig.add_subplot(rows, columns, index, projection="3d", computed_zorder=False)
        draw_glyph(
            ax, directions * np.abs(radii[title]), plt.get_cmap(SEQUENTIAL)(norm(radii[title])), tensor, limit
        )
        matrix = "\n".join("  ".join(f"{value:6.2f}" for value in row) for row in tensor.round(2) + 0.0)
        ax.set_title(title, y=1.14)
        font = {"family": "DejaVu Sans Mono", "fontsize": 6}
        ax.text2D(0.5, -0.06, matrix, transform=ax.transAxes, ha="center", va="top", **font)
        axes.append(ax)
    label = r"$n^\mathrm{T} \varepsilon\, n$"
    fig.colorbar(plt.cm.ScalarMappable(norm, SEQUENTIAL), ax=axes, label=label, shrink=0.6 / rows, pad=0.04)
    return fig


def sphere() -> np.ndarray:
    """Unit vectors on a grid of the sphere, [3, 73, 145]."""
    return _from_angles(np.linspace(0, np.pi, 73)[:, None], np.linspace(0, 2 * np.pi, 145))


def draw_glyph(ax, surface: np.ndarray, colours: np.ndarray, tensor: np.ndarray, limit: float) -> None:
    """One body [3, 73, 145], its principal axes (orange) and the frame's x, y, z (grey)."""
    ax.plot_surface(
        *surface,
        facecolors=colours,
        rstride=1,
        cstride=1,
        linewidth=0,
        antialiased=False,
        zorder=1,
        rasterized=True,
    )
    ax.view_init(elev=22, azim=35)
    viewer = _from_angles(np.radians(90 - 22), np.radians(35))
    values, vectors = np.linalg.eigh(tensor)
    for value, vector in zip(values, vectors.T, strict=True):
        for end in (vector, -vector):
            _ray(ax, end, abs(value), abs(value) + 0.17 * limit, viewer, color=PALETTE[5], linewidth=1.3)
    for axis, name in enumerate("xyz"):
        end = np.eye(3)[axis]
        _ray(ax, end, abs(tensor[axis, axis]), 1.3 * limit, viewer, color=MUTED, linewidth=0.7)
        ax.text(*end * 1.42 * limit, name, fontsize=7, color=MUTED, ha="center", va="center")
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), zlim=(-limit, limit))
    ax.set_box_aspect((1, 1, 1), zoom=1.25)
    ax.set_axis_off()


def _from_angles(theta, phi) -> np.ndarray:
    """Unit vectors [3, ...] of polar and azimuthal angles in radians."""
    theta, phi = np.broadcast_arrays(theta, phi)
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


def _ray(ax, direction: np.ndarray, start: float, stop: float, viewer: np.ndarray, **line) -> None:
    """Line outward along `direction`: before the body if it points to the viewer, else behind it."""
    ends = np.outer(direction, (start, stop))  # [3, 2]
    ax.plot(*ends, zorder=2 if direction @ viewer > 0 else 0, solid_capstyle="round", **line)
