"""Things to move by hand in a notebook: a crystal that turns under a slider, and crystals with ellipsoids to look at from all sides.

Both need a running kernel; the notebooks show a still figure of the same beside each.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure
from scipy.spatial.transform import Rotation

from ..crystals.frames import turned
from ..report import figures

_ELLIPSOID = 2.5  # angstrom: half of the longest axis of each ellipsoid


def turning_crystal(structure: Structure, tensor: np.ndarray):
    """A slider for the angle, a choice of the axis, and the crystal with its tensor, turned so.

    Parameters
    ----------
    structure : pymatgen Structure
    tensor : np.ndarray, [3, 3]
        In the frame of `structure`.

    Returns
    -------
    ipywidgets.VBox
        The picture is an image, not an output area: the messages between an output area and a client that runs a notebook without a page can
        end in both waiting.
    """
    import ipywidgets

    angle = ipywidgets.IntSlider(40, 0, 180, 5, description="turn (°)", continuous_update=False)
    axis = ipywidgets.ToggleButtons(options=["x", "y", "z"], description="about")
    size = float(np.abs(np.linalg.eigvalsh(tensor)).max())

    picture = ipywidgets.Image(format="png")

    def draw(_=None) -> None:
        rotation = rotation_about(axis.value, angle.value)
        title = f"turned by {angle.value}° about {axis.value}"
        drawn = figures.crystal_and_surface(turned(structure, rotation), rotation @ tensor @ rotation.T, title, size)
        drawn.savefig(content := io.BytesIO(), format="png")
        picture.value = content.getvalue()

    for control in (angle, axis):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([angle, axis]), picture])


def rotation_about(axis: str, degrees: float | Sequence[float]) -> np.ndarray:
    """Rotation matrix [3, 3], or [A, 3, 3] of several angles, about the axis "x", "y" or "z"."""
    angles = np.radians(np.asarray(degrees, float))
    return Rotation.from_rotvec(angles[..., None] * np.eye(3)["xyz".index(axis)]).as_matrix()


def ellipsoid_viewer(structures: Sequence[Structure], tensors: np.ndarray):
    """Crystals in chemiscope, each with its ellipsoid of displacements: the tips of eps E for all E of length one.

    Parameters
    ----------
    structures : sequence of B pymatgen Structure
    tensors : np.ndarray, [B, 3, 3]

    Returns
    -------
    chemiscope's widget
    """
    import chemiscope
    from pymatgen.io.ase import AseAtomsAdaptor

    placed = []
    for structure, tensor in zip(structures, tensors, strict=True):
        centre = structure.lattice.matrix.sum(0) / 2
        shape = chemiscope.ellipsoid_from_tensor(tensor @ tensor, scale=_ELLIPSOID / np.abs(np.linalg.eigvalsh(tensor)).max())  # it takes square roots
        placed.append({"position": centre.tolist(), **shape})
    values = np.linalg.eigvalsh(tensors)  # [B, 3]
    properties = {
        "mean constant": {"target": "structure", "values": values.mean(1)},
        "highest / lowest": {"target": "structure", "values": values[:, 2] / values[:, 0]},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return chemiscope.show(
            [AseAtomsAdaptor.get_atoms(s) for s in structures], properties=properties,
            shapes={"ellipsoid": {"kind": "ellipsoid", "parameters": {"global": {"color": 0x56B4E9}, "structure": placed}}},
            settings={"structure": [{"unitCell": True, "shape": "ellipsoid"}],
                      "map": {"x": {"property": "mean constant"}, "y": {"property": "highest / lowest"}}},
        )  # fmt: skip
