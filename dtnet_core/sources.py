"""Crystals from files of any size and kind, read piece by piece."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from pymatgen.core import Structure

from .data import DataFileError
from .structures import read_structure, structure_from_dict, validate_structure

_READ = 1 << 20  # characters of a JSON file read at a time
_ROWS = 256  # rows of a database or table read at a time


def entries(source) -> Iterator[tuple[str, object]]:
    """Ids and unread crystals of a source, one after the other, in an order that is the same each time.

    Parameters
    ----------
    source : path or iterable
        A folder of CIF and POSCAR files (subfolders included; ids are relative paths); a ``.json`` or ``.json.gz`` list (or
        lines) of records of the project or of pymatgen's structure dicts; an ASE database ``.db``; a ``.parquet`` file
        with the structure as JSON in a column ``structure``; or structures, (id, structure) pairs or dicts in memory.

    Yields
    ------
    (str, object)
        Id (a repeated one gets "#2", "#3", ...) and what `to_structure` takes.

    Raises
    ------
    FileNotFoundError
    DataFileError
        For an unknown kind of file, or one that is broken as a whole, when its broken place is reached.
    """
    seen: dict[str, int] = {}
    for position, (name, content) in enumerate(_items(source)):
        name = str(position if name is None else name)
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), content


def _items(source) -> Iterator[tuple[object, object]]:
    if not isinstance(source, str | Path):
        for item in source:
            yield item if isinstance(item, tuple) else (_name(item) if isinstance(item, dict) else None, item)
        return
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of structures")
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".") and (
            p.suffix.lower() in (".cif", ".vasp", ".poscar") or p.name.upper().startswith(("POSCAR", "CONTCAR"))))  # fmt: skip
        if not found:
            raise FileNotFoundError(f"{path}: no *.cif, *.vasp, *.poscar, POSCAR* or CONTCAR* in this folder")
        yield from ((p.relative_to(path).as_posix(), p) for p in found)
    elif path.name.endswith((".json", ".json.gz", ".jsonl", ".jsonl.gz")):
        yield from ((_name(item), item) for item in _json_items(path))
    elif path.suffix == ".db":
        yield from _ase_rows(path)
    elif path.suffix == ".parquet":
        yield from _table_rows(path)
    else:
        raise DataFileError(f"{path}: unknown kind of source; give a folder, .json, .json.gz, .db or .parquet")


def _name(item) -> object:
    names = (item.get(key) for key in ("id", "mp_id", "material_id")) if isinstance(item, dict) else ()
    return next((name for name in names if name is not None), None)


def _json_items(path: Path) -> Iterator[object]:
    """Elements of a JSON list (or of JSON lines) without the rest of the file in memory."""
    decoder, text, place, ended = json.JSONDecoder(), "", 0, False
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            while True:
                while place < len(text) and text[place] in " \t\r\n,[]":
                    place += 1
                try:
                    item, end = decoder.raw_decode(text, place)
                    if end == len(text) and not ended:  # a number may go on in the next piece
                        raise ValueError
                except ValueError:
                    if ended and place == len(text):
                        return
                    if ended:
                        raise
                    more = file.read(_READ)
                    text, place, ended = text[place:] + more, 0, not more
                    continue
                place = end
                yield item
    except (EOFError, OSError, UnicodeDecodeError, ValueError) as error:
        raise DataFileError(f"{path} is damaged ({type(error).__name__}: {error}): copy or download it again") from error


def _ase_rows(path: Path) -> Iterator[tuple[object, object]]:
    from ase.db import connect

    database, last = connect(path), 0
    while rows := list(database.select(f"id>{last}", sort="id", limit=_ROWS)):
        for row in rows:
            yield row.get("mp_id") or row.get("name") or f"row-{row.id}", row.toatoms()
        last = rows[-1].id


def _table_rows(path: Path) -> Iterator[tuple[object, object]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            columns = [c for c in ("id", "mp_id", "material_id", "structure") if c in file.schema_arrow.names]
            if "structure" not in columns:
                raise DataFileError(f"{path} has the columns {file.schema_arrow.names}, but none called structure")
            for batch in file.iter_batches(_ROWS, columns=columns):
                yield from ((_name(row), row["structure"]) for row in batch.to_pylist())
    except (ArrowInvalid, OSError) as error:
        raise DataFileError(f"{path} is damaged ({error}): copy or write it again") from error


def to_structure(content, elements: Collection[str] | None = None) -> Structure:
    """A structure with `elements` only, validated, out of a path, pymatgen or ASE object, JSON text, or dict (record or structure).

    Raises
    ------
    ValueError
        With the reason; `structures.InvalidStructureError` is one.
    FileNotFoundError
        For a path that is not visible from here.
    """
    if isinstance(content, Path):
        return read_structure(content, elements=elements)
    if isinstance(content, str):
        content = json.loads(content)
    if hasattr(content, "get_chemical_symbols"):
        from pymatgen.io.ase import AseAtomsAdaptor

        if not content.pbc.all():
            raise ValueError(f"periodic along {content.pbc.tolist()} only: a crystal is periodic along all three vectors")
        content = AseAtomsAdaptor.get_structure(content)
    if not isinstance(content, Structure):
        inner = content.get("structure") if isinstance(content, dict) else None
        content = structure_from_dict(content if inner is None else inner)
    return validate_structure(content, elements)


def read_source(source) -> Iterator[tuple[str, Structure | Exception]]:
    """Ids and structures of a source (see `entries`), with the error in the place of a structure that is broken."""
    for name, content in entries(source):
        try:
            yield name, to_structure(content)
        except Exception as error:
            yield name, error
