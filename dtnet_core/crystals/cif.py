"""CIF files: parsed and their symmetry resolved with gemmi, then held against themselves.

A file that contradicts itself - atoms, symmetry, cell, formula, Z, density - is refused with what disagrees. Where it leaves the origin or
the axes open, the candidate that agrees with the rest is taken, with a warning; where several agree and differ, it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gemmi
import numpy as np
from pymatgen.core import Lattice, Structure

from ..base.reading import ReadError, say
from .cif_sites import UNKNOWN, number, read_sites
from .cif_symmetry import Symmetry, choose
from .evidence import Evidence, read_formula
from .structures import InvalidStructureError

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_HEAD = re.compile(r"data_(\S*)[ \t]*(?=\n|$|[ \t])", re.I)
_VOLUME = 0.03  # relative deviation of a stated volume from the cell's

_OPERATIONS = ("space_group_symop_operation_xyz", "symmetry_equiv_pos_as_xyz")
_MAGNETIC = ("space_group_symop_magn_operation_xyz",)
_CENTRINGS = ("space_group_symop_magn_centering_xyz",)
_HALL = ("symmetry_space_group_name_hall", "space_group_name_hall")
_SYMBOL = ("symmetry_space_group_name_h-m", "space_group_name_h-m_alt", "space_group_name_h-m_full", "symmetry_space_group_name_h-m_alt", "space_group_name_h-m_ref")
_NUMBER = ("symmetry_int_tables_number", "space_group_it_number")
_MODULATED = ("cell_modulation_dimension", "space_group_ssg_name", "space_group_symop_ssg_operation_algebraic", "cell_wave_vector_seq_id")


@dataclass(frozen=True)
class Block:
    """One data block as its text, unread: what goes to another process."""

    text: str
    file: str = ""
    name: str = ""

    def structure(self) -> Structure:
        """See `read_block`."""
        return read_block(self)


@dataclass
class _Tags:
    """Values of a block by lower-case tag without the underscore in front, dots written as underscores."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def first(self, *names: str) -> str:
        """First known value of these tags; "?" where there is none."""
        return next((v[0] for n in names if (v := self.values.get(n)) and v[0].strip() not in UNKNOWN), "?")

    def column(self, *names: str) -> list[str]:
        return next((self.values[n] for n in names if self.values.get(n)), [])

    def number(self, *names: str) -> float | None:
        return number(self.first(*names))


def split_blocks(text: str) -> list[tuple[str, str]]:
    """(name, text) of each data block; what stands in text fields between semicolons begins none."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.split("\n"):
        if line.startswith(";"):
            inside = not inside if not inside or re.match(r";\s*(?:$|[^\s;])?", line) else inside
        elif not inside and (found := _HEAD.match(line.lstrip(" \t"))):
            blocks.append((found[1], []))
        if blocks:
            blocks[-1][1].append(line)
        elif line.strip() and not line.lstrip().startswith("#"):
            return [("", text)]  # no block: the parser says what is wrong
    return [(name, "\n".join(lines)) for name, lines in blocks] or [("", text)]


def blocks_of(text: str, file: str = "") -> Iterator[Block]:
    """The blocks of a CIF that hold a crystal, unread: those with a cell or atoms, or all where none has either."""
    parts = split_blocks(text)
    crystals = [(name, part) for name, part in parts if re.search(r"_cell[_.]length_|_atom_site[_.](?:fract|cartn)", part, re.I)] or parts
    seen: dict[str, int] = {}
    for name, part in crystals:
        seen[name] = seen.get(name, 0) + 1
        unique = name if seen[name] == 1 else f"{name}({seen[name]})"
        yield Block(part, file, unique if len(crystals) > 1 else "")


def read_block(block: Block) -> Structure:
    """The crystal of one block, in the frame of pymatgen's `Lattice.from_parameters`.

    Raises
    ------
    InvalidStructureError
        With file, block and reason.
    """
    record = f"block {block.name}" if block.name else ""
    notes: list[str] = []
    try:
        structure = _structure(_tags(block.text), notes)
    except (ValueError, RuntimeError, UnicodeDecodeError, np.linalg.LinAlgError) as error:
        reason = error.reason if isinstance(error, ReadError) else str(error).strip()
        raise InvalidStructureError(reason[:600] or type(error).__name__, block.file, record) from error
    say(notes, block.file, record)
    return structure


def _tags(text: str) -> _Tags:
    try:
        [parsed, *more] = list(gemmi.cif.read_string(text))
    except (RuntimeError, ValueError) as error:  # gemmi's own kinds
        raise ValueError(f"not a readable CIF block ({str(error).removeprefix('string:')})") from None
    if more:
        raise ValueError(f"several blocks on one line: {parsed.name}, {', '.join(b.name for b in more)}")
    tags = _Tags()
    item: Any  # gemmi's stubs know no pair
    for item in parsed:
        if item.pair is not None:
            tags.values.setdefault(_plain(item.pair[0]), [_value(item.pair[1])])
        elif item.loop is not None:
            width, cells = item.loop.width(), item.loop.values
            for i, tag in enumerate(item.loop.tags):
                tags.values.setdefault(_plain(tag), [_value(v) for v in cells[i::width]])
    return tags


def _plain(tag: str) -> str:
    return tag[1:].lower().replace(".", "_")


def _value(raw: str) -> str:
    return raw if raw in UNKNOWN else gemmi.cif.as_string(raw)


def _structure(tags: _Tags, notes: list[str]) -> Structure:
    if modulated := next((tag for tag in _MODULATED if tags.first(tag) not in ("?", "0")), None):
        raise ValueError(f"an incommensurately modulated crystal (_{modulated}): it has no unit cell; give a commensurate approximant")
    lattice = _lattice(tags)
    formula_text = tags.first("chemical_formula_sum")
    formula = read_formula(formula_text) if formula_text != "?" else None
    if formula is None and formula_text != "?":
        notes.append(f"formula {formula_text!r} cannot be read and was not checked")
    kinds = [kind for kind in ("diffrn", "meas") if tags.number(f"exptl_crystal_density_{kind}")]
    evidence = Evidence(formula, tags.number("cell_formula_units_z") or None,
                        tags.number(f"exptl_crystal_density_{kinds[0]}") if kinds else None, *kinds[:1])  # fmt: skip
    prefix = "atom_site_"
    columns = {tag.removeprefix(prefix): values for tag, values in tags.values.items()
               if tag.startswith(prefix) and not tag.startswith((f"{prefix}aniso_", "atom_site_moment"))}  # fmt: skip
    length = len(columns.get("fract_x", columns.get("cartn_x", [])))
    atoms = read_sites({n: v for n, v in columns.items() if len(v) == length}, formula, _fractional(tags, lattice), notes)
    number_text = tags.first(*_NUMBER)
    magnetic_list = tags.column(*_MAGNETIC)
    symmetry = Symmetry(magnetic_list, tags.column(*_CENTRINGS)) if magnetic_list else Symmetry(
        tags.column(*_OPERATIONS), (), tags.first(*_HALL), tags.first(*_SYMBOL), int(number_text) if number_text.isdigit() else None)  # fmt: skip
    if number_text != "?" and not number_text.isdigit():
        raise ValueError(f"space group number {number_text!r} is no number from 1 to 230")
    magnetic = tags.first("space_group_magn_name_bns", "space_group_magn_number_bns", "space_group_magn_number_og", "space_group_magn_name_og")
    if magnetic != "?" and not symmetry.operations:
        raise ValueError(f"magnetic space group {magnetic} without its operations: add the list _space_group_symop_magn_operation.xyz")
    chosen = choose(atoms, symmetry, lattice, evidence)
    notes.extend(chosen.notes)
    return chosen.structure


def _lattice(tags: _Tags) -> Lattice:
    values = []
    for name in _CELL:
        text = tags.first(f"cell_{name}")
        value = number(text)
        if value is None:
            raise ValueError(f"_cell_{name} is {'unknown or missing' if text == '?' else repr(text)}: give all six lengths and angles of the cell")
        values.append(value)
    if min(values[:3]) <= 0 or max(values[:3]) > 1e3:
        raise ValueError(f"cell lengths {values[:3]} angstrom: no crystal's")
    cosines = np.cos(np.radians(values[3:]))
    square = 1 - (cosines**2).sum() + 2 * cosines.prod()  # (V / abc)^2
    if min(values[3:]) <= 0 or max(values[3:]) >= 180 or square <= 1e-4:
        raise ValueError(f"cell angles {values[3:]} degrees: no cell has them")
    lattice = Lattice.from_parameters(*values)
    stated = tags.number("cell_volume")
    if stated and abs(stated / lattice.volume - 1) > _VOLUME:
        raise ValueError(f"lengths and angles make a cell of {lattice.volume:.4g} angstrom^3, the file says {stated:g}")
    return lattice


def _fractional(tags: _Tags, lattice: Lattice) -> np.ndarray:
    """Right-hand matrix [3, 3] from Cartesian to fractional coordinates in the dictionary's standard frame: a along x, c* along z."""
    standard = gemmi.UnitCell(*lattice.abc, *lattice.angles).frac.mat.tolist()
    if "atom_site_fract_x" not in tags.values and any(tag.startswith("atom_sites_cartn_tran") for tag in tags.values):
        raise ValueError("Cartesian coordinates in a frame of their own (_atom_sites_Cartn_tran): give fractional ones")
    return np.array(standard).T
