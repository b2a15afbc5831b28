"""What people hand to a function that takes crystals, as a list of structures: one place for every kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from pymatgen.core import IStructure, SiteCollection, Structure

from ..base.reading import without_place
from .ase_source import from_atoms
from .sources import read_structure
from .structures import InvalidStructureError, structure_from_dict, validate_structure

KINDS = "a pymatgen Structure, ASE Atoms, a record, the path of a structure file, or a list (any iterable) of these"
_KEYS = ("structure", "sites", "lattice", "cell", "species")


def as_structures(given, elements: Collection[str] | None = None, validate: bool = True) -> list[Structure]:
    """Structures of whatever holds crystals; one crystal gives a list of one, nothing gives an empty list.

    Parameters
    ----------
    given
        A crystal, or an iterable of crystals: list, generator, NumPy array of objects, pandas Series with any index. A crystal is a pymatgen
        Structure, ASE Atoms, a path (str or Path) of a structure file, anything with a `structure` (a record), or a dictionary of a structure.
        Frame, cell and order of the atoms are kept.
    elements : collection of str, optional
        See `validate_structure`.
    validate : bool
        Check each with `validate_structure`.

    Returns
    -------
    list of pymatgen Structure

    Raises
    ------
    InvalidStructureError
        For what is no crystal, with its type and position, and for a structure that no crystal can have.
    FileNotFoundError
    """
    if _is_one(given):
        return [_structure(given, "the crystal", elements, validate)]
    if isinstance(given, Mapping):
        raise InvalidStructureError(f"a dictionary with the keys {list(given)[:5]} is no structure; give {KINDS} (of a dictionary of crystals: list(d.values()))")
    if isinstance(given, bytes | set | frozenset) or not isinstance(given, Iterable) or hasattr(given, "columns"):
        raise InvalidStructureError(f"{_type(given)} is no crystal; give {KINDS}")
    return [_structure(item, f"crystal {position}", elements, validate) for position, item in enumerate(given)]


def _is_one(given) -> bool:
    if isinstance(given, np.ndarray) and given.ndim == 0:
        return True
    if isinstance(given, SiteCollection | str | Path) or _is_atoms(given):
        return True
    if isinstance(given, Mapping):
        return any(key in given for key in _KEYS)
    return isinstance(getattr(given, "structure", None), IStructure)


def _structure(item, where: str, elements: Collection[str] | None, validate: bool) -> Structure:
    if isinstance(item, np.ndarray) and item.ndim == 0:
        item = item.item()
    try:
        if isinstance(item, str | Path):
            where = f"{where} ({item})"
            found = read_structure(item, validate=False)
        elif isinstance(item, Structure):
            found = item
        elif isinstance(item, IStructure):
            found = Structure.from_sites(list(item))
        elif _is_atoms(item):
            found = structure_of_atoms(item)
        elif isinstance(item, Mapping):
            inner = item.get("structure", item)
            found = inner if isinstance(inner, Structure) else structure_from_dict(inner)
        elif isinstance(getattr(item, "structure", None), IStructure):
            return _structure(item.structure, where, elements, validate)
        else:
            raise InvalidStructureError(f"{_type(item)} is no crystal; give {KINDS}")
    except OSError:
        raise
    except InvalidStructureError as error:
        raise InvalidStructureError(f"{where}: {without_place(str(error), str(item), str(item).rsplit('#', 1)[0]) if isinstance(item, str | Path) else error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:  # of the library that read it
        raise InvalidStructureError(f"{where}: no structure can be made of {_type(item)} ({type(error).__name__}: {error})") from error
    return validate_structure(found, elements, name=f"{where} ({found.formula})" if len(found) else where) if validate else found


def structure_of_atoms(atoms) -> Structure:
    """The structure of ASE Atoms, in their frame.

    Raises
    ------
    InvalidStructureError
        For what `ase_source.from_atoms` refuses, and for sites that are partially occupied, which Atoms keep apart.
    """
    occupancy = atoms.info.get("occupancy") or {}
    shares = [share for site in occupancy.values() for share in (site.values() if isinstance(site, Mapping) else [site])] if isinstance(occupancy, Mapping) else []
    if any(share < 0.999 for share in shares):
        raise InvalidStructureError(f"Atoms with partial occupancies {occupancy}: give an ordered structure")
    try:
        return from_atoms(atoms)
    except ValueError as error:
        raise InvalidStructureError(f"Atoms: {error}") from error


def _is_atoms(item) -> bool:
    return hasattr(item, "get_chemical_symbols") and hasattr(item, "pbc")


def _type(item) -> str:
    name = type(item).__name__
    shown = repr(item) if isinstance(item, int | float | bool | None | bytes) else ""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" + (f" ({shown[:60]})" if shown and shown != name else "")
