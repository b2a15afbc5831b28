"""The atoms that a CIF lists: their elements, occupancies and coordinates, or the reason why one cannot be used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from pymatgen.core import Element

from .orbits import Atom

UNKNOWN = ("?", ".", "")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(\d*\))?")
_TYPE = re.compile(r"([A-Za-z]{1,2})(?:\d*\.?\d*[+-]\d*\.?\d*|[+-]?\d+\.?\d*)?")
_WATER = ("wat", "o-h", "oh", "oh2", "h2o", "nh4", "ch3", "nh3")
_FULL = 1e-3  # what an occupancy may miss of 1


def number(text: str) -> float | None:
    """A CIF number without its standard uncertainty; None where there is none."""
    found = _NUMBER.fullmatch(text.strip())
    value = float(found[1]) if found else float("nan")
    return value if np.isfinite(value) else None


def readings(label: str, listed: bool) -> list[str]:
    """Elements that a label may stand for: ``Zr1`` -> Zr, ``HO1`` -> Ho, H; `listed` says that a formula will judge."""
    letters = re.sub(r"[^A-Za-z].*", "", label, flags=re.S)
    found: list[str] = []
    if len(letters) >= 2 and Element.is_valid_symbol(letters[:2].capitalize()):
        found.append(letters[:2].capitalize())
        if letters[1].islower() and letters[0].isupper():  # written as the element is
            return found if len(letters) == 2 or listed else []
    if letters and Element.is_valid_symbol(letters[0].upper()) and (len(letters) == 1 or listed or found):
        found.append(letters[0].upper())
    return ["H" if e in ("D", "T") else e for e in found]


def element_of(label: str, symbol: str, formula: Mapping[str, float] | None) -> str:
    """Element of a site, from its type symbol, else from its label where that has one meaning beside the formula.

    Raises
    ------
    ValueError
        When both leave it open.
    """
    if symbol not in UNKNOWN:
        if symbol.lower() in _WATER or symbol[:3].lower() in ("wat", "o-h"):
            raise ValueError(f"site {label} has the type symbol {symbol}, a group of atoms: give each atom a site of its own")
        parts = _TYPE.fullmatch(symbol)
        name = parts[1].capitalize() if parts else ""
        if name in ("D", "T"):
            return "H"
        if not name or not Element.is_valid_symbol(name):
            raise ValueError(f"type symbol {symbol} of site {label} is no element: correct it")
        return name
    if label[:3].lower() in ("wat", "h2o"):
        raise ValueError(f"label {label} is a group of atoms: give each atom a site of its own")
    found = readings(label, formula is not None)
    if formula is not None:
        found = ([e for e in found if e in formula] or found)[:1]  # the formula judges it afterwards
    if len(found) != 1:
        reason = f"may be {' or '.join(found)}" if found else "names no element"
        raise ValueError(f"label {label} {reason}, and the site has no type symbol: add _atom_site_type_symbol")
    return found[0]


def occupancy_of(label: str, text: str, checked: bool, notes: list[str]) -> None:
    """Refuse a site that is not fully occupied; "." is 1 by the dictionary, "?" is taken for 1 where a formula can judge.

    Raises
    ------
    ValueError
    """
    if text == ".":
        return
    if text in ("?", ""):
        if not checked:
            raise ValueError(f"occupancy of site {label} is unknown ({text}), and no formula tells: give it a number")
        notes.append(f"unknown occupancy of site {label} taken as 1")
        return
    value = number(text)
    if value is None:
        raise ValueError(f"occupancy {text} of site {label} is not a number")
    if value <= 0 or value > 1 + _FULL:
        raise ValueError(f"occupancy {text} of site {label}: it must be more than 0 and at most 1; correct it, or leave the site out")
    if value < 1 - _FULL:
        raise ValueError(f"occupancy {text} of site {label}: partially occupied or disordered; give an ordered structure")


def read_sites(columns: Mapping[str, Sequence[str]], formula: Mapping[str, float] | None, fractional: np.ndarray | None, notes: list[str]) -> list[Atom]:
    """The atoms of the `_atom_site_` columns (names without that prefix), all of one length.

    Parameters
    ----------
    fractional : np.ndarray [3, 3] or None
        Maps Cartesian coordinates to fractional ones, for files that have only those.

    Raises
    ------
    ValueError
        Naming the site and what is wrong with it.
    """
    axes = next((a for a in (("fract_x", "fract_y", "fract_z"), ("cartn_x", "cartn_y", "cartn_z")) if all(x in columns for x in a)), None)
    if axes is None:
        raise ValueError(f"no atom coordinates (_atom_site_fract_x, _y, _z); of the atoms it has {', '.join(sorted(columns)) or 'nothing'}")
    atoms, hydrogens = [], 0.0
    for i in range(len(columns[axes[0]])):
        value = {name: column[i] for name, column in columns.items()}
        symbol = value.get("type_symbol", "?").strip()
        label = value.get("label") or value.get("label_atom_id") or value.get("id") or f"{i + 1}"
        if value.get("calc_flag", "").lower() == "dum" or (symbol.lower() in ("du", "dum", "x", "va", "vac", "q", "qa") or (
                symbol in UNKNOWN and re.fullmatch(r"(?:Q|X|Du|Dum|Vac?)\d*", label))):  # fmt: skip
            notes.append(f"dummy site {label} left out")
            continue
        position = [x for axis in axes if (x := number(value[axis])) is not None]
        if len(position) < 3:
            raise ValueError(f"coordinates of site {label} are unknown or no numbers ({' '.join(value[axis] for axis in axes)}): give them, or leave the site out")
        if max(map(abs, position)) > (1e3 if axes[0] == "fract_x" else 1e5):
            raise ValueError(f"coordinates of site {label} are far outside of the cell: {position}")
        place = np.array(position) @ fractional if axes[0] == "cartn_x" else np.array(position)
        occupancy_of(label, value.get("occupancy", ".").strip(), formula is not None, notes)
        hydrogens += number(value.get("attached_hydrogens", "0")) or 0.0
        multiplicity = number(value.get("symmetry_multiplicity", value.get("site_symmetry_multiplicity", "?")))
        atoms.append(Atom(label, element_of(label, symbol, formula), tuple(place.tolist()), int(multiplicity) if multiplicity else None))
    if not atoms:
        raise ValueError("the atom list is empty")
    if hydrogens and (formula is None):
        raise ValueError(f"{hydrogens:g} attached hydrogens are not in the atom list: give each a site of its own")
    return atoms
