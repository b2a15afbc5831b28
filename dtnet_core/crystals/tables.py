"""Crystals in the rows of tables: parquet, CSV, and databases of ASE."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from ..base.reading import DataFileError
from .json_source import text_file, whole
from .layouts import HOLDERS, Row, name_of

_ROWS = 256  # rows of a database or table read at a time
_FIELD = 1 << 26  # characters of the longest field of a CSV file


def plain_values(values: Mapping) -> dict:
    """What is one text or number of these, without NaN."""
    values = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
    return {key: value for key, value in values.items() if isinstance(value, str | bool | int | float) and value == value}


def ase_rows(path: Path) -> Iterator[tuple[object, object]]:
    """Rows of an ASE database, with the crystal as ASE Atoms under ``structure``."""
    from ase import Atoms
    from ase.db import connect

    with whole(path):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            file.execute("select id from systems limit 1")  # ASE makes an empty file a database
        database, last = connect(path), 0
        while rows := list(database.select(f"id>{last}", sort="id", limit=_ROWS)):
            for row in rows:
                content: Row | DataFileError
                try:
                    atoms = Atoms(row.numbers, row.positions, cell=row.cell, pbc=row.pbc)
                    content = Row({**plain_values(row.data), **plain_values(row.key_value_pairs), "structure": atoms}, str(path), f"row {row.id}")
                except (KeyError, TypeError, ValueError) as error:
                    content = DataFileError(f"broken ({type(error).__name__}: {error})", path, f"row {row.id}")
                yield row.get("mp_id") or row.get("name") or f"row-{row.id}", content
            last = rows[-1].id


def parquet_rows(path: Path) -> Iterator[tuple[object, object]]:
    """Rows of a parquet file with a column of crystals: texts (CIF, POSCAR, JSON) or nested."""
    from pyarrow.parquet import ParquetFile
    from pyarrow.types import is_nested

    with whole(path), ParquetFile(path) as file:
        names = file.schema_arrow.names
        column = next((name for name in HOLDERS if name in names), None)
        if column is None and not {"lattice_mat", "lattice"} & set(names):
            raise DataFileError(f"the columns are {names}, none called {', '.join(HOLDERS[:5])}", path)
        columns = [f.name for f in file.schema_arrow if column is None or f.name == column or not is_nested(f.type)]
        count = 0
        for batch in file.iter_batches(_ROWS, columns=columns):
            for row in batch.to_pylist():
                content = {**plain_values(row), column: row[column]} if column is not None else row
                yield name_of(row), Row(content, str(path), f"row {count}")
                count += 1


def csv_rows(path: Path) -> Iterator[tuple[object, object]]:
    """Rows of a CSV file (separated by commas, semicolons or tabs) with a column of CIF, POSCAR or JSON texts."""
    before = csv.field_size_limit(_FIELD)
    try:
        with whole(path), text_file(path) as file:
            head = file.readline(_FIELD).removeprefix("\ufeff")
            if not head.strip():
                raise DataFileError("the file is empty; export it again", path)
            mark = max(",;\t", key=head.count)
            names = [name.strip() for name in next(csv.reader([head.rstrip("\r\n")], delimiter=mark))]
            if not set(names) & set(HOLDERS):
                raise DataFileError(f"the columns are {names[:20]}, none called {', '.join(HOLDERS[:5])}", path)
            for count, fields in enumerate(csv.reader(file, delimiter=mark)):
                if not fields:
                    continue
                values = {name or "index": _typed(value) for name, value in zip(names, fields, strict=False) if value != ""}
                if len(fields) != len(names):
                    yield name_of(values), DataFileError(f"{len(fields)} fields, the header has {len(names)}", path, f"row {count}")
                else:
                    yield name_of(values), Row(values, str(path), f"row {count}")
    finally:
        csv.field_size_limit(before)


def _typed(value: str) -> str | float | int:
    """A field as the number that it is, else as its text."""
    for kind in (int, float):
        try:
            return kind(value) if len(value) < 40 else value
        except ValueError:
            continue
    return value
