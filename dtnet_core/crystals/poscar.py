"""POSCAR and CONTCAR, of VASP 5 and 6 and, where the elements are known, of VASP 4."""

from __future__ import annotations

import re

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from .structures import InvalidStructureError

_NAME = re.compile(r"([A-Z][a-z]?)(?:[_/.+\-\d].*)?")


def read_poscar(text: str, file: str = "") -> Structure:
    """The structure of a POSCAR, in its frame and order; velocities and what else follows the positions are left.

    Raises
    ------
    InvalidStructureError
        With the line and what is wrong with it.
    """
    try:
        return _read(text.split("\n"))
    except (ValueError, IndexError) as error:
        reason = "the file ends too early" if isinstance(error, IndexError) else str(error)
        raise InvalidStructureError(f"not a readable POSCAR: {reason[:400]}", file) from error


def _read(lines: list[str]) -> Structure:
    scale = _numbers(lines[1], 2)
    if len(scale) not in (1, 3):
        raise ValueError(f"line 2 has {len(scale)} scale factors, expected one or three: {lines[1][:80]!r}")
    lattice = np.array([_vector(lines[i], i + 1) for i in (2, 3, 4)])  # rows in angstrom before scaling
    factors = _factors(scale, lattice)
    names, counts, at = _species(lines)
    counted = at
    if lines[at].strip()[:1] in ("S", "s"):
        at += 1
    kind = lines[at].strip()[:1]
    if not kind or kind not in "CcKkDdFf":
        raise ValueError(f"line {at + 1} is {lines[at][:80]!r}, expected Direct or Cartesian")
    total = sum(counts)
    rows = lines[at + 1 : at + 1 + total]
    there = next((i for i, row in enumerate(rows) if not row.strip()), len(rows))  # a blank line ends the positions
    if there < total:
        raise ValueError(f"{total} atoms announced in line {counted}, {there} positions")
    positions = np.array([_vector(row, at + 2 + i) for i, row in enumerate(rows)]).reshape(-1, 3)
    after = lines[at + 1 + total : at + 2 + total]
    if after and re.match(r"\s*[-+]?[\d.]+\s+[-+]?[\d.]+\s+[-+]?[\d.]+", after[0]):
        raise ValueError(f"line {at + 2 + total} has one more position than the {total} atoms of the counts")
    species = _elements(names, counts, rows, lines[0])
    cartesian = kind in "CcKk"
    return Structure(Lattice(lattice * factors), species, positions * factors if cartesian else positions, coords_are_cartesian=cartesian)


def _factors(scale: list[float], lattice: np.ndarray) -> np.ndarray:
    """Factors of x, y and z [3]; one negative number is the cell's volume."""
    if len(scale) == 3:
        if min(scale) <= 0:
            raise ValueError(f"scale factors {scale}: three must all be positive")
        return np.array(scale)
    volume = abs(np.linalg.det(lattice))
    if scale[0] == 0 or volume == 0:
        raise ValueError("the scale factor is 0" if scale[0] == 0 else "the lattice vectors lie in one plane")
    return np.full(3, scale[0] if scale[0] > 0 else (-scale[0] / volume) ** (1 / 3))


def _species(lines: list[str]) -> tuple[list[str], list[int], int]:
    """Names (none in VASP 4), counts, and the number of the line behind them."""
    words = lines[5].split()
    if not words:
        raise ValueError("line 6 is empty, expected element names")
    if all(word.isdigit() for word in words):
        return [], [int(word) for word in words], 6
    counts = lines[6].split("!")[0].split()
    if not counts or not all(word.isdigit() for word in counts) or len(counts) != len(words):
        raise ValueError(f"lines 6 and 7 do not fit: names {lines[5].strip()[:80]!r}, counts {lines[6].strip()[:80]!r}")
    return words, [int(word) for word in counts], 7


def _elements(names: list[str], counts: list[int], rows: list[str], comment: str) -> list[str]:
    """Element of each atom: by the names, else by those behind the positions, else by a comment that lists them."""
    if sum(counts) == 0:
        raise ValueError("the counts are 0: no atoms")
    behind = [_element(row.split()[-1], strict=False) for row in rows]
    if names:
        symbols = [_element(name) for name in names]
        species = [symbol for symbol, n in zip(symbols, counts, strict=True) for _ in range(n)]
        wrong = next((i for i, (one, other) in enumerate(zip(species, behind, strict=True)) if other and one != other and len(rows[i].split()) in (4, 7)), None)
        if wrong is not None:
            raise ValueError(f"atom {wrong + 1} is {species[wrong]} by line 6 and {behind[wrong]} by its own line")
        return species
    if all(behind) and all(len(row.split()) in (4, 7) for row in rows):
        return behind
    listed = [_element(word, strict=False) for word in comment.split()]
    if len(listed) == len(counts) and all(listed):
        return [symbol for symbol, n in zip(listed, counts, strict=True) for _ in range(n)]
    raise ValueError(f"the elements are unknown (VASP 4 format): write their names in a line before the counts {' '.join(map(str, counts))}")


def _element(word: str, strict: bool = True) -> str:
    """``Na_pv``, ``Na/3a5b``, ``H1.25`` -> Na, Na, H; what is no element is an error, or without `strict` ""."""
    found = _NAME.fullmatch(word) if strict else re.fullmatch(r"([A-Z][a-z]?)", word)
    if found and found[1] in ("D", "T"):
        return "H"
    if found and Element.is_valid_symbol(found[1]):
        return found[1]
    if strict:
        raise ValueError(f"{word!r} in line 6 is no element")
    return ""


def _numbers(line: str, place: int) -> list[float]:
    found = []
    for word in line.split("!")[0].split("#")[0].split():
        try:
            found.append(float(re.sub(r"[dD]", "e", word)))
        except ValueError:
            break
    if not found or not np.isfinite(found).all():
        raise ValueError(f"line {place} is {line.strip()[:80]!r}, expected numbers")
    return found


def _vector(line: str, place: int) -> list[float]:
    words = line.split()[:3]
    try:
        found = [float(re.sub(r"[dD]", "e", word)) for word in words]
    except ValueError:
        found = []
    if len(found) != 3 or not np.isfinite(found).all():
        raise ValueError(f"line {place} is {line.strip()[:80]!r}, expected three numbers")
    return found
