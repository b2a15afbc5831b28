"""Space-group operations from whatever a file says of them: a list, a Hall symbol, a Hermann-Mauguin symbol or a number.

The tables are gemmi's. A symbol that leaves the origin, the axes or the setting open gives several candidates; which of them the file
means is for its cell and its atoms to tell.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import gemmi
import numpy as np

METRIC = 0.004
"""Largest strain of a cell under the rotations of its own group (0.2 degrees, 0.2 % of a length)."""

_FRAME_EXTENSIONS = {"s": "1", "z": "2", "o1": "1", "o2": "2", "hr": "H", "h": "H", "r": "R", "rs": "R", "1": "1", "2": "2"}


@dataclass(frozen=True)
class Setting:
    """A candidate for the operations of a file: what it is called, where it comes from, and the operations as triplets."""

    name: str
    origin: str
    operations: tuple[str, ...]
    number: int = 0

    @cached_property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations [G, 3, 3] and translations [G, 3] on fractional coordinates."""
        seitz = np.array([gemmi.Op(text).float_seitz() for text in self.operations])  # [G, 4, 4]
        return seitz[:, :3, :3], seitz[:, :3, 3]

    def misfit(self, lattice: np.ndarray) -> float:
        """Largest relative change of the metric of a cell [3, 3] under the rotations."""
        metric, lengths = lattice @ lattice.T, np.linalg.norm(lattice, axis=1)
        turned = np.einsum("gki,kl,glj->gij", self.matrices[0], metric, self.matrices[0])
        return float(np.abs((turned - metric) / np.outer(lengths, lengths)).max())


def _names(group: gemmi.SpaceGroup) -> set[str]:
    """Ways to write a table entry's symbol, joined and in lower case: as it is, and monoclinic ones without their 1s."""
    names = {_joined(group.hm), _joined(group.short_name().removesuffix(":R").removesuffix(":H"))}
    if 3 <= group.number <= 15:
        names.add(_joined("".join(part for part in group.hm.split() if part != "1")))
    return names


def _joined(symbol: str) -> str:
    return re.sub(r"\s", "", symbol).lower()


@cache
def _table() -> dict[str, tuple[gemmi.SpaceGroup, ...]]:
    table: dict[str, list[gemmi.SpaceGroup]] = defaultdict(list)
    for group in gemmi.spacegroup_table():
        for name in _names(group):
            table[name].append(group)
    return {name: tuple(groups) for name, groups in table.items()}


def _short(symbol: str) -> str:
    """A full symbol (joined, lower case) as the table has it: ``p21/n21/m21/a`` -> ``pnma``, ``f41/d-32/m`` -> ``fd-3m``."""
    if symbol.count("/") < 2 and "-3" not in symbol[1:]:
        return symbol
    symbol = re.sub(r"(?<=^.)[24][1-3]?/([a-e m-n])(?=-3)", r"\1", symbol)
    return re.sub(r"(?<!4)2[1]?/([a-emn])", r"\1", symbol)


def split_symbol(text: str) -> tuple[str, str]:
    """A Hermann-Mauguin symbol as people write it, joined and in lower case, and its extension ("", "1", "2", "H", "R", or what it is)."""
    text = text.strip().strip("'\"").strip()
    text = re.sub(r"\(?\s*(?:no\.?|nr\.?|#)\s*\d+\s*\)?$", "", text, flags=re.I)  # the number behind it
    extension = ""
    if found := re.search(r"\(?\s*origin\s*(?:choice|at|setting)?\s*:?\s*([12])\)?\s*$", text, re.I):
        text, extension = text[: found.start()], found[1]
    elif ":" in text:
        text, extension = (part.strip() for part in text.split(":", 1))
    elif found := re.search(r"(?<=[\w\s)])\s+(o1|o2|hr|rs|[hrsz])\s*$", text, re.I) or re.search(r"(?<=[a-z\d])(HR|RS|[HRSZ])\s*$", text):
        text, extension = text[: found.start()], found[1]
    text = re.sub(r"_|\\bar|[{}$]", "", re.sub(r"\((\d)\)", r"\1", text))
    text = re.sub(r"([346])-(?!\d)", r"-\1", text)  # a bar that was written behind
    return _joined(text), _FRAME_EXTENSIONS.get(extension.lower(), extension)


def groups_of(text: str) -> tuple[gemmi.SpaceGroup, ...]:
    """All settings in the table that a Hermann-Mauguin symbol may stand for; none for one that is unknown."""
    name, extension = split_symbol(text)
    found = _table().get(name) or _table().get(_short(name)) or ()
    if not found and name and (one := gemmi.find_spacegroup_by_name(_short(name)) or gemmi.find_spacegroup_by_name(text)):
        found = _table().get(_joined(one.hm), (one,))
    if extension in ("1", "2", "H", "R"):
        exact = tuple(group for group in found if group.ext == extension)
        plain = extension in ("1", "H") and all(group.ext == "\0" for group in found)  # groups that have only one
        return exact or (found if plain else ())
    if axis := re.fullmatch(r"-?([abc])[123]?", extension):
        return tuple(group for group in found if _unique_axis(group) == axis[1])
    return () if extension else found


def _unique_axis(group: gemmi.SpaceGroup) -> str:
    parts = group.hm.split()[1:]
    free = [axis for axis, part in zip("abc", parts, strict=False) if part != "1"]
    return free[0] if len(parts) == 3 and len(free) == 1 else ""


def from_group(group: gemmi.SpaceGroup, origin: str) -> Setting:
    """A setting of the table."""
    return Setting(group.xhm(), origin, tuple(op.triplet() for op in group.operations()), group.number)


def from_symbol(text: str) -> list[Setting]:
    """Candidates of a Hermann-Mauguin symbol, each group of operations once."""
    found = {frozenset(s.operations): s for s in (from_group(group, f"symbol {text}") for group in groups_of(text))}
    return list(found.values())


def from_number(number: int) -> list[Setting]:
    """Standard setting of a space group in all its origins and axes; none for a number that is none."""
    if not 1 <= number <= 230:
        return []
    standard = gemmi.get_spacegroup_reference_setting(number)
    return [from_group(group, f"number {number}") for group in _table()[_joined(standard.hm)] if group.number == number]


def from_hall(text: str) -> list[Setting]:
    """The setting of a Hall symbol; none for one that cannot be read."""
    text = text.strip().strip("'").replace("_", " ").strip()
    try:
        operations = tuple(op.triplet() for op in gemmi.symops_from_hall(text))
    except (RuntimeError, ValueError):
        return []
    return [_named(operations, f"Hall symbol {text}")]


def from_list(triplets: Sequence[str], centrings: Sequence[str] = ()) -> Setting:
    """The setting of a list of operations ("x,y,z", a magnetic one with a fourth part), times a list of centring translations.

    Raises
    ------
    ValueError
        For an operation that cannot be read.
    """
    operations, seen = [], set()
    for centring in map(_operation, centrings or ["x,y,z"]):
        for op in map(_operation, triplets):
            text = op.combine(centring).wrap().triplet() if centrings else op.wrap().triplet()
            if text not in seen:
                seen.add(text)
                operations.append(text)
            if len(operations) > 1536:
                raise ValueError(f"more than 1536 operations of symmetry, from {len(triplets)} lines")
    return _named(tuple(operations), "list of operations")


def _operation(text: str) -> gemmi.Op:
    parts = text.strip().strip("'\"").replace(" ", "").split(",")
    if len(parts) == 4 and parts[3] in ("+1", "-1", "1", "m", "+m", "-m"):
        parts = parts[:3]
    try:
        op = gemmi.Op(",".join(parts))
    except RuntimeError as error:
        raise ValueError(f"operation {text!r} cannot be read ({error})") from None
    if abs(op.det_rot()) != gemmi.Op.DEN**3:
        raise ValueError(f"operation {text!r} is none of symmetry: its determinant is {op.det_rot() / gemmi.Op.DEN**3:g}")
    return op


def _named(operations: tuple[str, ...], origin: str) -> Setting:
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(text) for text in operations]))
    return Setting(group.xhm() if group else "", origin, operations, group.number if group else _number(operations))


def _number(operations: tuple[str, ...]) -> int:
    """Number of the space group of operations in any setting and origin; 0 where they are none."""
    import spglib

    seitz = np.array([gemmi.Op(text).float_seitz() for text in operations])
    rotations = np.rint(seitz[:, :3, :3]).astype(int)
    metric = np.einsum("gki,gkj->ij", rotations.astype(float), rotations.astype(float)) / len(rotations)  # one that the group keeps
    try:
        found = spglib.get_spacegroup_type_from_symmetry(rotations, seitz[:, :3, 3], lattice=np.linalg.cholesky(metric).astype(float), symprec=1e-4)
    except Exception:  # spglib's own kinds, which differ by version
        return 0
    return int(found.number) if found is not None else 0


def is_group(setting: Setting) -> bool:
    """Whether the operations are closed under multiplication, up to whole translations."""
    ops = [gemmi.Op(text) for text in setting.operations]
    if len(ops) > 192:  # centrings of a magnetic supercell: their product is one
        return True
    known = {(tuple(map(tuple, op.rot)), tuple(op.wrap().tran)) for op in ops}
    rotations = np.array([op.rot for op in ops]) // gemmi.Op.DEN
    shifts = np.array([op.tran for op in ops])
    products = np.einsum("aij,bjk->abik", rotations, rotations)
    moved = (np.einsum("aij,bj->abi", rotations, shifts) + shifts[:, None]) % gemmi.Op.DEN
    place = {(np.array(r) // gemmi.Op.DEN).tobytes() + np.array(t).tobytes() for r, t in known}
    flat = zip(products.reshape(-1, 3, 3), moved.reshape(-1, 3), strict=True)
    return all(np.ascontiguousarray(r).tobytes() + np.ascontiguousarray(t).tobytes() in place for r, t in flat)
