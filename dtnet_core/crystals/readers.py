"""The registry of readers: which one reads a file, and what one crystal's unread content becomes.

A reader takes a path and yields (id or None, content) one after the other; content is a path, a `Text`, a `cif.Block`, a dictionary, ASE Atoms
or pymatgen's Structure, or the error in the place of a crystal that is broken.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pymatgen.core import Structure

from ..base.reading import DataFileError, ReadError, text_of, unpacked_name
from . import ase_source
from .cif import Block, blocks_of
from .json_source import json_items, json_lines
from .poscar import read_poscar
from .structures import InvalidStructureError, structure_from_dict
from .tables import ase_rows, csv_rows, parquet_rows

Reader = Callable[[Path], Iterator[tuple[object, object]]]

CIF, POSCAR = (".cif", ".mcif", ".mmcif"), (".vasp", ".poscar", ".contcar")


@dataclass(frozen=True)
class Text:
    """A crystal as the text of a POSCAR, unread."""

    text: str
    file: str = ""

    def structure(self) -> Structure:
        """See `poscar.read_poscar`."""
        return read_poscar(self.text, self.file)


def read_cif(path: Path) -> Iterator[tuple[object, object]]:
    """Blocks of a CIF, named where there are several."""
    for block in blocks_of(text_of(path), str(path)):
        yield block.name or None, block


def read_poscar_file(path: Path) -> Iterator[tuple[object, object]]:
    """The one crystal of a POSCAR."""
    yield None, Text(text_of(path), str(path))


READERS: dict[str, Reader] = {
    **dict.fromkeys(CIF, read_cif), **dict.fromkeys(POSCAR, read_poscar_file),
    ".json": json_items, ".jsonl": json_lines, ".ndjson": json_lines, ".db": ase_rows, ".parquet": parquet_rows, ".csv": csv_rows, ".tsv": csv_rows,
    **{ending: partial(ase_source.ase_frames, kind=kind) for ending, kind in ase_source.FORMATS.items()},
    **dict.fromkeys(ase_source.GUESSED, ase_source.guessed_frames),
}  # fmt: skip
"""Readers by the ending of a file, compressed (.gz, .bz2, .xz) or not."""

SINGLE = (*CIF, *POSCAR, *ase_source.FORMATS)
"""Endings of files of crystals, which a folder is read for; tables and lists are sources of their own."""


def ending_of(path: Path) -> str:
    """Key of a file in `READERS`, "" for an unknown kind; POSCAR and the like go by their names."""
    name = unpacked_name(path)
    if Path(name).suffix.lower() in READERS:
        return Path(name).suffix.lower()
    return ".poscar" if name.upper().startswith(("POSCAR", "CONTCAR")) else ""


def reader_of(path: Path) -> Reader:
    """The reader of a file.

    Raises
    ------
    DataFileError
        For an unknown kind.
    """
    name = unpacked_name(path).upper()
    if name in ase_source.NAMES:
        return partial(ase_source.ase_frames, kind=ase_source.NAMES[name])
    ending = ending_of(path)
    if not ending:
        raise DataFileError(f"unknown kind of source; give a folder, POSCAR, CONTCAR, or {', '.join(sorted(READERS))}, compressed (.gz, .bz2, .xz) or not", path)
    return READERS[ending]


def read_file(path: Path) -> Iterator[tuple[object, object]]:
    """Ids and unread crystals of a file.

    Raises
    ------
    DataFileError
        For an unknown kind, an empty or a broken file, and one without a crystal.
    """
    reader = reader_of(path)
    if not path.stat().st_size:
        raise DataFileError("the file is empty; export it again", path)
    count = 0
    for count, (name, content) in enumerate(reader(path), 1):  # noqa: B007
        yield name, content
    if not count:
        raise DataFileError("no crystal in it", path)


def from_text(text: str, file: str = "", record: str = "") -> Structure:
    """The crystal of a text: JSON or a Python dictionary, CIF with one block, or POSCAR.

    Raises
    ------
    ReadError
    """
    start = text.lstrip("\ufeff \t\r\n")
    if start[:1] in ("{", "["):
        found = _dictionary(start)
        if not isinstance(found, dict):
            raise InvalidStructureError(f"expected an object, found {type(found).__name__}", file, record)
        return structure_from_dict(found.get("structure") or found)
    text = text.replace("\r\n", "\n")
    if re.search(r"^\s*data_|_cell[_.]length_a", text, re.I | re.M):
        blocks = list(blocks_of(text, file))
        if len(blocks) > 1:
            raise InvalidStructureError(f"{len(blocks)} blocks ({', '.join(b.name for b in blocks[:5])}), expected one crystal", file, record)
        return blocks[0].structure()
    if text.count("\n") >= 6:
        return read_poscar(text, file)
    raise InvalidStructureError(f"neither JSON nor CIF nor POSCAR: {text[:80]!r}", file, record)


def _dictionary(text: str):
    try:
        return json.loads(text)
    except ValueError as error:
        try:
            return ast.literal_eval(text) if len(text) < 1_000_000 else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InvalidStructureError(f"broken JSON ({error})") from None


def one_of(path: Path, wanted: str = "") -> object:
    """The content of a file's only crystal, or of the one that is `wanted`: the name of a block, frame or record.

    Raises
    ------
    DataFileError
        When there are several, with their names, or none of that name.
    """
    names, first = [], None
    for position, (name, content) in enumerate(read_file(path)):
        name = str(position if name is None else name)
        if wanted and name == wanted:
            return content
        first = content if position == 0 else first
        names.append(name)
        if not wanted and len(names) > 20:
            break
    if wanted and not (len(names) == 1 and wanted == _own_name(first)):
        has = [_own_name(first)] if len(names) == 1 and _own_name(first) else names[:20]
        raise DataFileError(f"no crystal called {wanted!r}; it has {', '.join(map(repr, has))}", path)
    if len(names) > 1:
        raise DataFileError(f"several crystals ({', '.join(names[:20])}{', ...' if len(names) > 20 else ''}); name one: {os.fspath(path)}#{names[0]}", path)
    return first


def _own_name(content: object) -> str:
    """What a CIF's only block is called in the file; "" for other content."""
    found = re.match(r"\s*data_(\S*)", content.text, re.I) if isinstance(content, Block) else None
    return found[1] if found else ""


def located(error: Exception, file: str, record: str = "") -> Exception:
    """The kit's own error with file and record, whatever the error was."""
    if isinstance(error, ReadError):
        return error.at(file, record)
    return InvalidStructureError(f"{type(error).__name__}: {str(error).strip()[:300]}" if not isinstance(error, ValueError) else str(error)[:400], file, record)
