"""Crystals from files of any size and kind, read piece by piece."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from ..base.files import DataFileError
from .json_source import json_items, json_lines, name_of, whole
from .record import TARGETS, Record, record_from_dict
from .structures import (
    InvalidStructureError,
    read_structure,
    structure_from_dict,
    structure_to_dict,
    validate_structure,
)

_ROWS = 256  # rows of a database or table read at a time


def entries(source) -> Iterator[tuple[str, object]]:
    """Ids and unread crystals of a source, one after the other, in an order that is the same each time.

    Parameters
    ----------
    source : path or iterable
        A folder of CIF and POSCAR files (subfolders included; ids are relative paths); a ``.json`` or ``.json.gz`` list of
        records of the project or of pymatgen's structure dicts, or an object of them by id; ``.jsonl`` or ``.jsonl.gz``, one
        of them a line; an ASE database ``.db``; a ``.parquet`` file with the structure as JSON in a column ``structure``; or
        structures, (id, structure) pairs or dicts in memory.

    Yields
    ------
    (str, object)
        Id (a repeated one gets "#2", "#3", ...; a broken line is "line-" and its number) and what `to_structure` takes. Rows
        of tables and databases are dicts of their texts and numbers beside the structure.

    Raises
    ------
    FileNotFoundError
    DataFileError
        For an unknown kind of file, or one that is broken as a whole, when its broken place is reached.
    """
    seen: dict[str, int] = {}
    for position, (name, content) in enumerate(_items(source)):
        name = unique = str(position if name is None else name)
        while unique in seen:
            seen[name] += 1
            unique = f"{name}#{seen[name]}"
        seen[unique] = 1
        yield unique, content


def _items(source) -> Iterator[tuple[object, object]]:
    if not isinstance(source, str | Path):
        for item in source:
            yield item if isinstance(item, tuple) else (name_of(item), item)
        return
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of structures")
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if (p.is_file() or _dangling(p)) and not p.name.startswith(".") and (
            p.suffix.lower() in (".cif", ".vasp", ".poscar") or p.name.upper().startswith(("POSCAR", "CONTCAR"))))  # fmt: skip
        if not found:
            raise FileNotFoundError(f"{path}: no *.cif, *.vasp, *.poscar, POSCAR* or CONTCAR* in this folder")
        for p in found:
            yield p.relative_to(path).as_posix(), DataFileError(f"{p}: a link to {p.readlink()}, which is not there") if _dangling(p) else p
    elif path.name.endswith((".json", ".json.gz")):
        yield from json_items(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from json_lines(path)
    elif path.suffix == ".db":
        yield from _ase_rows(path)
    elif path.suffix == ".parquet":
        yield from _table_rows(path)
    else:
        raise DataFileError(f"{path}: unknown kind of source; give a folder, .json, .json.gz, .jsonl, .jsonl.gz, .db or .parquet")


def _dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _ase_rows(path: Path) -> Iterator[tuple[object, object]]:
    from ase import Atoms
    from ase.db import connect

    with whole(path):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            file.execute("select id from systems limit 1")  # ASE makes an empty file a database
        database, last = connect(path), 0
        while rows := list(database.select(f"id>{last}", sort="id", limit=_ROWS)):
            for row in rows:
                try:
                    atoms = Atoms(row.numbers, row.positions, cell=row.cell, pbc=row.pbc)
                    content = {**_plain(row.data), **_plain(row.key_value_pairs), "structure": atoms}
                except (KeyError, TypeError, ValueError) as error:
                    content = DataFileError(f"{path}, row {row.id} is broken ({type(error).__name__}: {error})")
                yield row.get("mp_id") or row.get("name") or f"row-{row.id}", content
            last = rows[-1].id


def _table_rows(path: Path) -> Iterator[tuple[object, object]]:
    from pyarrow.parquet import ParquetFile
    from pyarrow.types import is_nested

    with whole(path), ParquetFile(path) as file:
        columns = [f.name for f in file.schema_arrow if f.name == "structure" or not is_nested(f.type)]
        if "structure" not in columns:
            raise DataFileError(f"{path} has the columns {file.schema_arrow.names}, but none called structure")
        for batch in file.iter_batches(_ROWS, columns=columns):
            for row in batch.to_pylist():
                yield name_of(row), {**_plain(row), "structure": row["structure"]}


def _plain(values: Mapping) -> dict:
    """What is one text or number of these, without NaN."""
    values = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
    return {key: value for key, value in values.items() if isinstance(value, str | bool | int | float) and value == value}


def to_structure(content, elements: Collection[str] | None = None) -> Structure:
    """A structure with `elements` only, validated, out of a path, pymatgen or ASE object, JSON text, or dict (record or structure).

    Raises
    ------
    ValueError
        With the reason; `structures.InvalidStructureError` is one. An error that `entries` has in the place of a crystal is raised.
    OSError
        For a path that is not visible from here or cannot be read now: no fault of the crystal's.
    """
    if isinstance(content, Exception):
        raise content
    if isinstance(content, Path):
        try:
            return read_structure(content, elements=elements)
        except InvalidStructureError as error:
            if isinstance(error.__cause__, OSError):  # of the parser's own files; memory is what a broken file may ask too much of
                raise error.__cause__ from None
            raise
    if isinstance(content, str):
        content = json.loads(content)
    if isinstance(content, dict) and content.get("structure") is not None:
        return to_structure(content["structure"], elements)
    if hasattr(content, "get_chemical_symbols"):
        from pymatgen.io.ase import AseAtomsAdaptor

        if not content.pbc.all():
            raise ValueError(f"periodic along {content.pbc.tolist()} only: a crystal is periodic along all three vectors")
        content = AseAtomsAdaptor.get_structure(content)
    return validate_structure(content if isinstance(content, Structure) else structure_from_dict(content), elements)


def read_records(source) -> Iterator[tuple[str, Record | Exception]]:
    """Ids and records of a source (see `entries`), with the error in the place of a crystal that is broken.

    A record has what the source knows beside the structure: records of the project their tensors, flags and other fields;
    rows of tables and databases their texts and numbers in `meta`. A tensor's name with one number (``eps_total: 12.3``)
    stands for the scalar constant, ``eps_total_poly`` in `meta`.

    Raises
    ------
    OSError, MemoryError
        Where a file cannot be read now, which is no fault of a crystal's; see also `entries`.
    """
    origin = Path(source).name if isinstance(source, str | Path) else ""
    for position, (name, content) in enumerate(entries(source)):
        try:
            found = _record(name, content, origin, position)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            found = error
        yield name, found


def _record(name: str, content, origin: str, position: int) -> Record:
    content, file = json.loads(content) if isinstance(content, str) else content, content.name if isinstance(content, Path) else origin
    structure = to_structure(content)
    item = content if isinstance(content, dict) and content.get("structure") is not None else {}
    mp_id, flags = item.get("mp_id") or item.get("material_id"), item.get("flags") or ()
    scalars = {f"eps_{t}": f"eps_{t}_poly" for t in TARGETS if isinstance(item.get(f"eps_{t}"), int | float)}
    item = {scalars.get(key, key): value for key, value in item.items()} | {"flags": flags if isinstance(flags, list | tuple) else [str(flags)]}
    if not isinstance(item.get("structure"), Mapping):
        item["structure"] = structure_to_dict(structure)
    record = record_from_dict(item, file, position)
    return replace(record, id=name, structure=structure, source=record.source or file, mp_id=None if mp_id is None else str(mp_id))
