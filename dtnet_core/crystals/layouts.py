"""Crystals as dictionaries of other programs: pymatgen, OPTIMADE, JARVIS, ASE, and the project's own form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pymatgen.core import Element, Lattice, Structure

HOLDERS = ("structure", "atoms", "cif", "attributes", "poscar", "POSCAR", "cif_string", "cif_text", "cif_data", "final_structure", "optimized_structure",
           "relaxed_structure", "initial_structure", "crystal", "contcar")  # fmt: skip
"""Keys and columns under which a record has its crystal, the first of them that is there."""

_IDS = ("id", "mp_id", "material_id", "jid", "mat_id", "task_id", "identifier", "entry_id", "structure_id", "cif_id", "auid", "_id", "mbid")
_SHAPES = ({"sites", "lattice"}, {"lattice", "species", "frac_coords"}, {"cell", "species", "frac_coords"}, {"lattice_mat", "coords", "elements"},
           {"lattice_vectors", "cartesian_site_positions"}, {"numbers", "positions", "cell"})  # fmt: skip


class Row(dict):
    """A dictionary that knows which file and which place in it it came from."""

    def __init__(self, values: Mapping, file: str = "", record: str = ""):
        super().__init__(values)
        self.file, self.record = file, record


def name_of(item) -> object:
    """Id that a record or row has of its own, or None."""
    if not isinstance(item, Mapping):
        return None
    data = item.get("data")
    inner = data if isinstance(data, Mapping) else {}
    names = (where.get(key) for where in (item, inner) for key in _IDS)
    return next((name for name in names if isinstance(name, str | int | float) and name not in ("", True, False)), None)


def is_crystal(item) -> bool:
    """Whether a dictionary has the shape of a crystal itself."""
    return isinstance(item, Mapping) and any(shape <= item.keys() for shape in _SHAPES)


def is_record(item) -> bool:
    """Whether a dictionary is a crystal or has one under a known key."""
    return is_crystal(item) or (isinstance(item, Mapping) and holder_of(item) is not None)


def holder_of(item: Mapping) -> str | None:
    """Key under which a record has its crystal, or None."""
    return next((key for key in HOLDERS if item.get(key) is not None), None)


def structure_of(data: Mapping) -> Structure:
    """The structure of a dictionary in any of the known shapes, atoms in their order, in its own frame.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError
        Whatever does not fit.
    """
    if "sites" in data:
        found = Structure.from_dict(dict(data))
        if len(found) != len(data["sites"]):
            raise ValueError(f"{len(data['sites'])} sites of which {len(found)} were read")
        return found
    if "lattice_mat" in data:
        return _filled(data["lattice_mat"], data["elements"], data["coords"], bool(data.get("cartesian", False)))
    if "cartesian_site_positions" in data:
        return _optimade(data)
    if "numbers" in data and "positions" in data:
        refuse_open(np.broadcast_to(np.asarray(_array(data.get("pbc", True)), dtype=bool), 3))
        return _filled(_array(data["cell"]), [Element.from_Z(int(z)) for z in _array(data["numbers"])], _array(data["positions"]), True)
    lattice = data["lattice"] if "lattice" in data else data["cell"]
    if np.ndim(lattice) == 1 and len(lattice) == 6:
        lattice = Lattice.from_parameters(*lattice)
    return _filled(lattice, data["species"], data["frac_coords"], False)


def _array(value):
    """An array as ASE writes it to JSON, or what is one already."""
    value = value.get("array", value) if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and "__ndarray__" in value:
        shape, _, numbers = value["__ndarray__"]
        return np.reshape(numbers, shape)
    return value


def refuse_open(pbc) -> None:
    """Refuse what is not periodic along all three vectors.

    Raises
    ------
    ValueError
    """
    if not all(pbc):
        raise ValueError(f"periodic along {[bool(p) for p in pbc]} only: a crystal is periodic along all three vectors")


def _filled(lattice, species, coordinates, cartesian: bool) -> Structure:
    coordinates = np.asarray(coordinates, dtype=float)
    if len(species) != len(coordinates) or (len(species) and coordinates.shape != (len(species), 3)):
        raise ValueError(f"{len(species)} elements, but coordinates of shape {coordinates.shape}")
    lattice = lattice if isinstance(lattice, Lattice) else Lattice(np.asarray(lattice, dtype=float))
    return Structure(lattice, species, coordinates, coords_are_cartesian=cartesian)


def _optimade(data: Mapping) -> Structure:
    refuse_open(data.get("dimension_types") or (1, 1, 1))
    kinds = {}
    for kind in data.get("species") or ():
        symbols, shares = kind["chemical_symbols"], kind.get("concentration") or [1.0]
        if len(symbols) != 1 or symbols[0] in ("X", "vacancy") or abs(shares[0] - 1) > 1e-3 or kind.get("attached"):
            raise ValueError(f"species {kind['name']!r} is {symbols} with {shares}: partially occupied or disordered; give an ordered structure")
        kinds[kind["name"]] = symbols[0]
    names = data["species_at_sites"]
    return _filled(data["lattice_vectors"], [kinds.get(name, name) for name in names], data["cartesian_site_positions"], True)
