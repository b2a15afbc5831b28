"""All atoms of a cell from the listed ones and the operations of symmetry."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Composition, Lattice, Structure

from .settings import Setting

SPECIAL = 0.05
"""Distance in angstrom from a special position within which a site belongs on it."""

MAX_ATOMS = 20_000
"""Atoms of a cell beyond which a file is refused: the expansion is no longer a crystal's, and memory has an end."""

_CUBES = 1_000_000
_SAME = 0.02  # angstrom between images of one atom on its exact position
_SAID = 0.005  # angstrom that a site may move before it is worth a word


@dataclass(frozen=True)
class Atom:
    """A listed site: its label, element symbol, fractional coordinates [3], and multiplicity where the file has it."""

    label: str
    element: str
    position: tuple[float, float, float]
    multiplicity: int | None = None


@dataclass(frozen=True)
class Expanded:
    """A filled cell: its structure, the size of each listed site's orbit, and what is to be said about it."""

    setting: Setting
    structure: Structure
    orbits: tuple[int, ...]
    notes: tuple[str, ...]


def on_special_position(position: np.ndarray, rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """The special position [3] within `SPECIAL` of a site that keeps most operations; the site itself where there is none.

    The operations that nearly keep the site are its site symmetry; the mean of its images under them is the point that they keep.
    """
    offsets = rotations @ position + translations - position  # [G, 3]
    offsets -= np.round(offsets)
    distances = np.linalg.norm(offsets @ lattice, axis=1)
    for cut in sorted({float(d) for d in distances[distances < 2 * SPECIAL].round(4)}, reverse=True):
        keep = distances <= cut + 1e-4
        if keep.sum() == 1:
            break
        move = offsets[keep].mean(0)
        place = position + move
        again = rotations[keep] @ place + translations[keep] - place
        again -= np.round(again)
        if np.linalg.norm(move @ lattice) <= SPECIAL and np.linalg.norm(again @ lattice, axis=1).max() < 1e-3:
            return place
    return position


def orbit(position: np.ndarray, rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Images [M, 3] of a position in the cell, each once, in the order of the operations."""
    images = rotations @ position + translations  # [G, 3]
    images = np.round(images - np.floor(images), 12) % 1.0
    found: list[np.ndarray] = []
    for image in images:
        offsets = np.array(found).reshape(-1, 3) - image
        offsets -= np.round(offsets)
        if not (np.linalg.norm(offsets @ lattice, axis=1) < _SAME).any():
            found.append(image)
    return np.array(found)


def expand(atoms: Sequence[Atom], setting: Setting, lattice: Lattice) -> Expanded:
    """Fill the cell; sites that another listed one already makes are counted once.

    Atoms stand in pymatgen's order: by element, within it as listed, then all by electronegativity.

    Raises
    ------
    ValueError
        When the cell would hold more than `MAX_ATOMS`.
    """
    rotations, translations = setting.matrices
    matrix = lattice.matrix
    moved, twice, sizes = [], [], []
    placed: dict[str, np.ndarray] = {}
    parts: list[tuple[Composition, np.ndarray]] = []
    total = 0
    for atom in atoms:
        listed = np.array(atom.position)
        position = on_special_position(listed, rotations, translations, matrix)
        if (shift := np.linalg.norm((position - listed) @ matrix)) > _SAID:
            moved.append(f"{atom.label} by {shift:.3f}")
        others = placed.get(atom.element, np.empty((0, 3)))
        offsets = others - position
        offsets -= np.round(offsets)
        near = np.linalg.norm(offsets @ matrix, axis=1) < 2 * SPECIAL
        images = orbit(position, rotations, translations, matrix)
        sizes.append(len(images))
        if near.any():
            twice.append(atom.label)
            continue
        total += len(images)
        if total > MAX_ATOMS:
            raise ValueError(f"more than {MAX_ATOMS} atoms in the cell, from {len(atoms)} sites and {len(rotations)} operations")
        placed[atom.element] = np.concatenate([others, images])
        parts.append((Composition(atom.element), images))
    parts.sort(key=lambda part: part[0])
    species = [next(iter(c)) for c, images in parts for _ in images]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on elements without an electronegativity
        structure = Structure(lattice, species, np.concatenate([images for _, images in parts])).get_sorted_structure()
    notes = [f"{len(moved)} sites put on special positions nearby ({', '.join(moved[:4])} angstrom)"] if moved else []
    notes += [f"{len(twice)} sites are images of others and counted once ({', '.join(twice[:4])})"] if twice else []
    return Expanded(setting, structure, tuple(sizes), tuple(notes))


def close_pairs(structure: Structure, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second atom and distance in angstrom of all pairs closer than `reach`, in bounded memory.

    The search divides the room that the atoms span into cubes as wide as its radius, so a large cell is searched with a larger one.
    """
    room = float(np.ptp(structure.cart_coords, axis=0).clip(1.0).prod())
    first, second, _, distance = structure.get_neighbor_list(max(reach, (room / _CUBES) ** (1 / 3)), numerical_tol=1e-8)
    near = distance < reach
    return first[near], second[near], distance[near]


def shortest_contact(structure: Structure) -> float:
    """Smallest ratio of a distance to the sum of the covalent radii of its atoms; infinity where none is below 1."""
    from ase.data import covalent_radii

    radii = covalent_radii[[site.specie.Z for site in structure]]
    first, second, distance = close_pairs(structure, 2 * radii.max())
    ratios = distance / (radii[first] + radii[second])
    return float(ratios.min()) if len(ratios) else float("inf")


def same_crystal(one: Structure, other: Structure) -> bool:
    """Whether two fillings of one cell are the same crystal in the same frame: the same atoms, up to a shift."""
    if one.composition != other.composition:
        return False
    rarest = min(one.composition, key=lambda e: one.composition[e])
    places = [np.array([site.frac_coords for e in one.composition for site in some if site.specie == e]) for some in (one, other)]
    species = [e for e in one.composition for site in one if site.specie == e]
    first = species.index(rarest)
    shifts = [np.zeros(3), *(places[1][k] - places[0][first] for k, e in enumerate(species) if e == rarest)]
    return any(_same_places(places[0] + shift, places[1], species, one.lattice.matrix) for shift in shifts)


def _same_places(ours: np.ndarray, theirs: np.ndarray, species: list, matrix: np.ndarray) -> bool:
    """Whether each of the sites [N, 3] has one of the same element within `SPECIAL` among the others [N, 3]."""
    kinds = np.array([str(e) for e in species])
    for i in range(len(ours)):
        offsets = theirs[kinds == kinds[i]] - ours[i]
        offsets -= np.round(offsets)
        if np.linalg.norm(offsets @ matrix, axis=1).min() > SPECIAL:
            return False
    return True
