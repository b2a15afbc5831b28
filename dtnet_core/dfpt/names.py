"""Names of runs and records out of paths, so that no file takes the place of another one."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from ..crystals.record import record_from_dict
from .inputs import DFPTError
from .seeds import load_set

_PACKED = (".gz", ".bz2", ".xz", ".Z")


def file_names(paths: Sequence[str | Path]) -> dict[str, str]:
    """A name of its own for each structure file: its stem, or where files share one, its path without what these have in common.

    Returns
    -------
    dict
        Path as given -> name, in order: ``a/MgO.cif`` -> "MgO"; ``a/POSCAR`` and ``b/POSCAR`` -> "a-POSCAR" and "b-POSCAR".

    Raises
    ------
    DFPTError
        A file given twice, or two files that get the same name; both are named.
    """
    return _distinct(paths, lambda path: _stem(path.name), lambda path: path)


def run_names(paths: Sequence[str | Path]) -> dict[str, str]:
    """A name of its own for each ``vasprun.xml``: that of its folder, or where runs share one, as in `file_names`.

    Of several files in one folder the names of the files are taken.
    """
    together = defaultdict(set)
    for path in paths:
        together[Path(path).resolve().parent].add(Path(path).resolve())

    def alone(path: Path) -> bool:
        return len(together[path.parent]) == 1

    return _distinct(paths, lambda path: path.parent.name if alone(path) else _stem(path.name), lambda path: path.parent if alone(path) else path)


def refuse_other_records(crystals: Mapping[str, Structure], set_path: Path | None) -> None:
    """Keep records of a set file that have the names of `crystals` but are of other crystals.

    Raises
    ------
    DFPTError
        Naming record and file, before anything is computed.
    """
    known = {} if set_path is None else {r["id"]: r for r in load_set(Path(set_path))}
    for name in crystals.keys() & known.keys():
        there = record_from_dict(known[name]).structure
        if not StructureMatcher().fit(there.get_primitive_structure(), crystals[name].get_primitive_structure()):
            raise DFPTError(f"{set_path} has another crystal called {name} ({there.composition.reduced_formula}; now {crystals[name].composition.reduced_formula}): "
                            "rename the file, or use another set file")  # fmt: skip


def _distinct(paths: Sequence[str | Path], short: Callable[[Path], str], whole: Callable[[Path], Path]) -> dict[str, str]:
    given = {str(path): Path(path).resolve() for path in paths}
    if len(given) < len(paths) or len(set(given.values())) < len(given):
        twice = next(str(p) for i, p in enumerate(paths) if Path(p).resolve() in [Path(q).resolve() for q in paths[:i]])
        raise DFPTError(f"{twice} is given twice: give every file once")
    sharing: dict[str, list[str]] = defaultdict(list)
    for text, path in given.items():
        sharing[short(path).casefold()].append(text)
    names = {}
    for text, path in given.items():
        others = sharing[short(path).casefold()]
        names[text] = short(path) if len(others) == 1 else _long(whole(path), [whole(given[o]) for o in others])
    seen: dict[str, str] = {}
    for text, name in names.items():
        if (first := seen.setdefault(name.casefold(), text)) != text:
            raise DFPTError(f"{first} and {text} would both be called {name}: rename one of them, or give them in two calls with roots (--root) of their own")
    return names


def _long(path: Path, others: Sequence[Path]) -> str:
    """Path below what it has in common with the others, as one word; with its ending only where they differ by nothing else."""
    common = Path(os.path.commonpath([other.parent for other in others]))
    bare = [str(other.relative_to(common).with_name(_stem(other.name))).casefold() for other in others]
    shown = path.relative_to(common)
    return "-".join((shown.with_name(_stem(shown.name)) if len(set(bare)) == len(bare) else shown).parts)


def _stem(name: str) -> str:
    path = Path(name)
    return Path(path.stem).stem if path.suffix in _PACKED else path.stem
