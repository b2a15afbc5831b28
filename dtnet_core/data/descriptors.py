"""Numbers that describe a crystal's composition and cell, from matminer, kept on disk."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Structure
from tqdm import tqdm

from ..base.files import locked, write_atomic
from ..base.paths import default_cache_dir
from ..crystals.structures import crystal_key
from ..crystals.symmetry import space_group_number

_CHUNK = 1000
"""Descriptors computed between two writes."""
_NEIGHBOURS = 5.0
"""Angstrom: how far neighbours are looked for; an atom without any counts as having one there."""
_ANGLE_TOLERANCE = 5.0  # degrees, pymatgen's


@functools.cache
def _featurizers() -> tuple:
    """matminer's descriptors of a composition; their tables come with the package."""
    from matminer.featurizers.composition import ElementProperty, Stoichiometry, ValenceOrbital

    return (
        ElementProperty.from_preset("magpie", impute_nan=True),
        Stoichiometry(),
        ValenceOrbital(props=["avg", "frac"], impute_nan=True),
    )


def descriptor_names() -> list[str]:
    """Names of the columns of `describe`."""
    labels = [label for f in _featurizers() for label in f.feature_labels()]
    return [*labels, "density", "volume per atom", "packing fraction", "space group number", "shortest distance", "mean nearest distance"]


def describe_composition(composition: Composition) -> np.ndarray:
    """The columns of `describe` that a composition decides, [Dc]: Magpie's statistics, stoichiometry, valence orbitals; NaN where a table has no value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # elements without a tabulated value: imputed
        return np.array([x for f in _featurizers() for x in f.featurize(composition.element_composition)], dtype=float)


def describe(structure: Structure) -> np.ndarray:
    """Numbers that describe a crystal's composition and cell.

    Returns
    -------
    np.ndarray, [D]
        Statistics of elemental properties (Magpie, Ward et al. 2016), stoichiometry and valence orbitals; density (g/cm^3),
        volume an atom (angstrom^3), packing fraction of spheres of atomic radius; space group number (1 where none is found);
        the shortest distance between two atoms and the mean over atoms of the distance to the nearest one (angstrom). NaN
        where a table has no value.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        radii = np.array([getattr(site.specie, "atomic_radius", None) or np.nan for site in structure], dtype=float)
        try:
            space_group = space_group_number(structure, 0.01, _ANGLE_TOLERANCE)
        except ValueError:  # none is found
            space_group = 1
    center, _, _, distance = structure.get_neighbor_list(_NEIGHBOURS)
    nearest = np.full(len(structure), _NEIGHBOURS)
    np.minimum.at(nearest, center, distance)
    filled = 4 / 3 * np.pi * (radii**3).sum() / structure.volume
    cell = (structure.density, structure.volume / len(structure), filled, space_group, nearest.min(), nearest.mean())
    return np.array([*describe_composition(structure.composition), *cell], dtype=float)


def compute_descriptors(structures: Sequence[Structure], cache_dir: str | Path | None = None, progress: bool = True) -> np.ndarray:
    """`describe` of each structure, [B, D], from disk where it is there already."""
    names = descriptor_names()
    digest = hashlib.sha256("\n".join([*names, _matminer_version()]).encode()).hexdigest()[:12]
    path = Path(cache_dir or default_cache_dir()) / "descriptors" / f"{digest}.npz"
    keys = [crystal_key(s) for s in structures]
    with locked(path):
        known = _read_table(path, len(names))
        missing = {k: s for k, s in zip(keys, structures, strict=True) if k not in known}
        bar = tqdm(missing.items(), unit="crystal", desc="describe", disable=not progress or not missing)
        for count, (key, structure) in enumerate(bar, 1):
            known[key] = describe(structure)
            if count % _CHUNK == 0 or count == len(missing):
                _write_table(path, known)
    return np.stack([known[key] for key in keys])


def _matminer_version() -> str:
    from importlib.metadata import version

    return version("matminer")


def _read_table(path: Path, columns: int) -> dict[str, np.ndarray]:
    """Stored descriptors by crystal; nothing when there are none or the file is broken."""
    try:
        with np.load(path) as file:
            keys, values = file["keys"], file["values"]
    except FileNotFoundError:
        return {}
    except Exception as error:  # a broken zip raises many kinds
        warnings.warn(f"{path}: not readable ({error}); its descriptors are computed anew.", stacklevel=3)
        return {}
    return dict(zip(keys.tolist(), values, strict=True)) if values.shape[1:] == (columns,) else {}


def _write_table(path: Path, known: dict[str, np.ndarray]) -> None:
    with io.BytesIO() as buffer:
        np.savez_compressed(buffer, keys=np.array(list(known)), values=np.stack(list(known.values())))
        write_atomic(path, buffer.getvalue())
