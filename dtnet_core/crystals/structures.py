"""Crystal structures at the door: read, validated, written, and named by their content.

Nothing is standardised here: a structure keeps the cell, the order of its atoms and the Cartesian frame it
came in, because a tensor only means something in that frame.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from ..base.files import write_atomic
from ..base.reading import ReadError
from .layouts import refuse_open, structure_of
from .orbits import close_pairs
from .plausible import impossible
from .symmetry import crystal_system

_FLAT = 1e-6  # volume / (a b c) below which a cell counts as flat
_LONGEST, _EMPTIEST = 1_000.0, 20_000.0  # angstrom of a cell, angstrom^3 an atom: searches for neighbours have room for no more
_SYSTEMS: dict[str, str] = {}  # crystal_key @ symprec -> crystal system, for this process


class InvalidStructureError(ReadError):
    """A structure that cannot be read or that no encoder can take; the message names it, the site, the value, and what to do."""


def validate_structure(
    structure: Structure,
    elements: Collection[str] | None = None,
    min_distance: float = 0.5,
    max_atoms: int | None = None,
    name: str = "structure",
) -> Structure:
    """Refuse a structure that cannot be encoded, with an error that says why.

    Parameters
    ----------
    structure : pymatgen Structure
    elements : collection of str, optional
        Supported element symbols; default: any element.
    min_distance : float
        Shortest distance between two atoms (periodic images included) in angstrom.
    max_atoms : int, optional
        Largest number of atoms in the cell.
    name : str
        Record id or file name for the message.

    Returns
    -------
    pymatgen Structure
        The same object.

    Raises
    ------
    InvalidStructureError
        No sites; flat cell or non-finite numbers; partial occupancy; unsupported element; too many atoms; two
        atoms closer than `min_distance`; what cannot be a crystal (`plausible.impossible`).
    """
    if len(structure) == 0:
        raise InvalidStructureError(f"{name}: the structure has no sites; check the file it was read from")
    lattice = np.asarray(structure.lattice.matrix)
    if not np.isfinite(lattice).all():
        raise InvalidStructureError(f"{name}: the lattice holds NaN or inf: {lattice.tolist()}; correct it")
    volume, lengths = abs(np.linalg.det(lattice)), np.linalg.norm(lattice, axis=1)
    if volume <= _FLAT * max(lengths.prod(), 1.0):
        raise InvalidStructureError(
            f"{name}: the cell has zero volume ({volume:.3g} angstrom^3, "
            f"lengths {lengths.round(4).tolist()}); its lattice vectors must not lie in one plane"
        )
    if lengths.max() > _LONGEST or volume > _EMPTIEST * len(structure):
        raise InvalidStructureError(f"{name}: cell lengths {lengths.round(1).tolist()} angstrom for {len(structure)} atoms: no crystal's; check the unit of length")
    for i, site in enumerate(structure):
        where = f"{name}: site {i} ({site.species_string})"
        if not np.isfinite(site.frac_coords).all():
            raise InvalidStructureError(
                f"{where} has a NaN or infinite coordinate: {site.frac_coords.tolist()}; correct it"
            )
        if not site.is_ordered:
            raise InvalidStructureError(
                f"{where} is partially occupied or disordered; give an ordered structure, for instance "
                "one of pymatgen's OrderDisorderedStructureTransformation"
            )
        if elements is not None and _symbol(site) not in elements:
            raise InvalidStructureError(
                f"{where}: element {_symbol(site)} is not among the {len(elements)} supported; leave the "
                "crystal out or choose an encoder that knows the element"
            )
    if max_atoms is not None and len(structure) > max_atoms:
        raise InvalidStructureError(
            f"{name}: {len(structure)} atoms, more than max_atoms={max_atoms}; use a smaller cell or raise it"
        )
    inside = within_cell(structure)
    _refuse_close_atoms(inside, min_distance, name)
    if reason := impossible(inside):
        raise InvalidStructureError(f"{name}: {reason}")
    return structure


def within_cell(structure: Structure) -> Structure:
    """The structure with its atoms in the cell; itself where none is far outside. Searches for neighbours span all that atoms do."""
    places = structure.frac_coords
    return structure if np.abs(places).max() < 2 else Structure(structure.lattice, structure.species, places % 1.0)


def _refuse_close_atoms(structure: Structure, min_distance: float, name: str) -> None:
    first, second, distance = close_pairs(structure, min_distance)
    if len(distance) == 0:
        return
    k = int(np.argmin(distance))
    i, j = int(first[k]), int(second[k])
    raise InvalidStructureError(
        f"{name}: site {i} ({structure[i].species_string}) and site {j} ({structure[j].species_string}) are "
        f"{distance[k]:.4f} angstrom apart, closer than {min_distance} angstrom; look for a duplicated atom "
        "or a wrong cell"
    )


def _symbol(site) -> str:
    """Element symbol of an ordered site, without oxidation state or isotope label."""
    return getattr(site.specie, "symbol", str(site.specie))


def structure_from_dict(data: Mapping) -> Structure:
    """A structure from this kit's JSON form or that of another program, see `layouts.structure_of`.

    ``{lattice, species, frac_coords}`` (rows a, b, c in angstrom: has a Cartesian frame) or
    ``{cell: [a, b, c, alpha, beta, gamma], species, frac_coords}`` (angstrom, degrees: no frame of its own).

    Raises
    ------
    InvalidStructureError
        When keys are missing or shapes do not fit.
    """
    try:
        found = structure_of(data)
        refuse_open(found.lattice.pbc)
        return found
    except Exception as error:  # a broken dictionary of pymatgen's raises whatever it happens to cause
        keys = sorted(map(str, data))[:20] if isinstance(data, Mapping) else type(data).__name__
        raise InvalidStructureError(
            f"not a structure ({type(error).__name__}: {str(error)[:300]}); found {keys}, expected lattice, species, "
            "frac_coords"
        ) from error


def structure_to_dict(structure: Structure, decimals: int = 8) -> dict:
    """The JSON form ``{lattice, species, frac_coords}``: same frame, same order of atoms."""
    return {
        "lattice": np.round(structure.lattice.matrix, decimals).tolist(),
        "species": [_symbol(site) for site in structure],
        "frac_coords": np.round(structure.frac_coords, decimals).tolist(),
    }


def crystal_key(structure: Structure, decimals: int = 8) -> str:
    """Content hash of a structure, to file its features and other results under.

    SHA-256 over the number of atoms, lattice and fractional coordinates (little-endian float64, rounded to
    `decimals`: angstrom and fractions of the cell) and element symbols. Equal numbers give equal keys on
    every machine; a rotated, reordered or supercell copy has a key of its own.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(str(len(structure)).encode())
    for array in (structure.lattice.matrix, structure.frac_coords):
        digest.update((np.round(np.asarray(array, dtype="<f8"), decimals) + 0.0).tobytes())  # + 0.0: no -0.0
    digest.update(",".join(_symbol(site) for site in structure).encode())
    return digest.hexdigest()


def crystal_systems(
    structures: Iterable[Structure], symprec: float = 0.01, cache: str | os.PathLike | None = None
) -> list[str]:
    """Crystal system of each structure, computed once per crystal.

    Parameters
    ----------
    structures : iterable of pymatgen Structure
    symprec : float
        Distance tolerance in angstrom.
    cache : path, optional
        Small JSON file ``{key: system}`` that is read first and updated (atomically) with what was missing.

    Returns
    -------
    list of str
        Names as in `dtnet_core.crystals.symmetry.CRYSTAL_SYSTEMS`.
    """
    cache = Path(cache) if cache is not None else None
    stored: dict[str, str] = {}
    if cache is not None and cache.is_file():
        try:
            stored = json.loads(cache.read_text())
        except ValueError:  # a broken cache is computed again and overwritten
            stored = {}
    _SYSTEMS.update(stored)
    keys = []
    for structure in structures:
        keys.append(f"{crystal_key(structure)}@{symprec:g}")
        if keys[-1] not in _SYSTEMS:
            _SYSTEMS[keys[-1]] = crystal_system(structure, symprec)
    if cache is not None and (missing := set(keys) - set(stored)):
        stored.update({key: _SYSTEMS[key] for key in missing})
        write_atomic(cache, json.dumps(stored, sort_keys=True, indent=0))
    return [_SYSTEMS[key] for key in keys]
