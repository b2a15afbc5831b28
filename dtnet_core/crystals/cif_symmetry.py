"""Which of the symmetries that a file may mean agrees with its cell, its atoms and its formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pymatgen.core import Lattice

from .evidence import Evidence
from .orbits import Atom, Expanded, close_pairs, expand, same_crystal, shortest_contact
from .settings import METRIC, Setting, from_hall, from_list, from_number, from_symbol, is_group

CONTACT = 0.55
"""Shortest distance over the sum of covalent radii below which one of several candidates is no crystal."""

_OVERLAP = 0.5  # angstrom


@dataclass(frozen=True)
class Symmetry:
    """What a file says: the operations, the centrings of a magnetic group, Hall and Hermann-Mauguin symbol ("?": none), number."""

    operations: Sequence[str] = ()
    centrings: Sequence[str] = ()
    hall: str = "?"
    symbol: str = "?"
    number: int | None = None

    def sources(self) -> list[tuple[str, list[Setting]]]:
        """The candidates of each thing that the file says, the most explicit first.

        Raises
        ------
        ValueError
            For what cannot be read and nothing else replaces.
        """
        found, unread = [], []
        if any(text.strip() not in ("?", ".", "") for text in self.operations):
            setting = from_list(self.operations, self.centrings)
            if not is_group(setting):
                raise ValueError(f"the {len(self.operations)} operations of symmetry are no group: operations are missing or wrong")
            found.append(("list of operations", [setting]))
        for name, text, candidates in (("Hall symbol", self.hall, from_hall), ("symbol", self.symbol, from_symbol)):
            if text != "?":
                settings = candidates(text)
                found.append((f"{name} {text}", settings)) if settings else unread.append(f"{name} {text!r}")
        if unread and not found:
            raise ValueError(f"unknown space group, {' and '.join(unread)}: give its operations (_space_group_symop_operation_xyz)")
        if self.number is not None:
            settings = from_number(self.number)
            if not settings and not found:
                raise ValueError(f"space group number {self.number}: they go from 1 to 230")
            found += [(f"number {self.number}", settings)] if settings else []
        return found


def choose(atoms: Sequence[Atom], symmetry: Symmetry, lattice: Lattice, evidence: Evidence) -> Expanded:
    """The filled cell that agrees with everything the file says.

    Raises
    ------
    ValueError
        With what disagrees, or what is left open.
    """
    sources = symmetry.sources()
    notes: list[str] = []
    if not sources:
        if not evidence.decisive:
            raise ValueError("nothing on symmetry: no operations, no symbol, no number; for a file of all atoms add _space_group_name_H-M_alt 'P 1'")
        sources = [("no symmetry", [from_list(["x,y,z"])])]
        notes.append("nothing on symmetry: the listed atoms are all, as formula and Z confirm")
    said, settings = sources[0]
    contradicting = [(name, other) for name, other in sources[1:] if not _agree(settings, other)]
    others = [s for _, group in contradicting for s in group]
    good, problems = _tried(atoms, [*settings, *others], lattice, evidence)
    if not good:
        raise ValueError(problems[0] if len(set(problems)) == 1 else "; ".join(dict.fromkeys(problems)))
    different = _different(_b_axis(good, lattice) if not contradicting else good)
    if len(different) > 1:
        different = _by_multiplicity(different, atoms) or _by_contacts(different)
    kept = different[0].setting
    fitting = [s for s in settings if s.misfit(lattice.matrix) <= METRIC]
    if contradicting:
        clash = f"{said} and {contradicting[0][0]} contradict each other"
        both = any(e.setting in settings for e in good) and any(e.setting in others for e in good)
        if len(different) > 1 or not (both or evidence.decisive):
            raise ValueError(f"{clash}, and {'both agree' if len(different) > 1 else 'nothing else tells'} with the rest of the file: correct one")
        if not both:
            notes.append(f"{clash}; taken: {_called(kept)}, with which formula, Z and density agree")
    elif len(different) > 1:
        names = ", ".join(_called(e.setting) for e in different)
        raise ValueError(f"{said} leaves open what is meant, and these agree with the rest of the file: {names}; give the operations")
    elif len(fitting) > 1:
        notes.append(f"{said} leaves the setting open; taken: {_called(kept)}")
    if said.startswith("number"):
        notes.append(f"the space group has a number only; taken: {_called(kept)}")
    return replace(different[0], notes=(*notes, *different[0].notes))


def _called(setting: Setting) -> str:
    return setting.name or setting.origin


def _agree(settings: Sequence[Setting], others: Sequence[Setting]) -> bool:
    """Whether two sources can mean the same space group, in whatever setting."""
    return any(0 in (s.number, o.number) or s.number == o.number for s in settings for o in others)


def _tried(atoms: Sequence[Atom], settings: Sequence[Setting], lattice: Lattice, evidence: Evidence) -> tuple[list[Expanded], list[str]]:
    """The fillings without an objection, and the objections to the others."""
    good, problems = [], []
    for setting in settings:
        if (misfit := setting.misfit(lattice.matrix)) > METRIC:
            cell = ", ".join(f"{x:g}" for x in (*lattice.abc, *lattice.angles))
            problems.append(f"{setting.origin} ({_called(setting)}) does not fit the cell {cell}, whose axes change by {100 * misfit:.1f} % under it")
            continue
        filled = expand(atoms, setting, lattice)
        objections = evidence.objections(filled.structure)
        close = close_pairs(filled.structure, _OVERLAP)
        if not objections and len(close[0]):
            first, second = close[0][0], close[1][0]
            objections = [f"{filled.structure[first].label} and {filled.structure[second].label} are {close[2][0]:.2f} angstrom apart in {_called(setting)}"]
        problems += objections
        if not objections:
            good.append(filled)
    return good, problems


def _b_axis(good: list[Expanded], lattice: Lattice) -> list[Expanded]:
    """Of a short monoclinic symbol in a right-angled cell the reading along b, which short symbols stand for."""
    names = [e.setting.name.split() for e in good]
    short = len(good) > 1 and all(3 <= e.setting.number <= 15 for e in good)
    if short and max(abs(angle - 90) for angle in lattice.angles) < 0.3:
        return [e for e, name in zip(good, names, strict=True) if len(name) == 4 and name[1] == name[3] == "1"] or good
    return good


def _different(good: Sequence[Expanded]) -> list[Expanded]:
    found: list[Expanded] = []
    for one in good:
        if not any(same_crystal(one.structure, other.structure) for other in found):
            found.append(one)
    return found


def _by_multiplicity(candidates: Sequence[Expanded], atoms: Sequence[Atom]) -> list[Expanded]:
    """The one candidate that has the multiplicities of the file, if there is one."""
    stated = [atom.multiplicity for atom in atoms]
    found = [c for c in candidates if None not in stated and list(c.orbits) == stated]
    return found if len(found) == 1 else []


def _by_contacts(candidates: Sequence[Expanded]) -> list[Expanded]:
    """The candidates whose atoms keep apart; all where none or all do."""
    return [c for c in candidates if shortest_contact(c.structure) > CONTACT] or list(candidates)
