"""Records or structures in JSON files of any size and layout, one in memory at a time where the layout lets it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ..base.reading import DataFileError, encoding_of, opened
from .layouts import HOLDERS, Row, is_crystal, is_record, name_of

_READ = 1 << 20  # characters read at a time
_LONGEST = 1 << 26  # characters of the longest element or line
_TABLE = 1 << 29  # characters of a table that stands column by column
_BLANK = " \t\r\n"
_LISTS = ("data", "entries", "structures", "results", "response", "docs", "records", "items", "materials", "crystals")
_DECODER = json.JSONDecoder()


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Name the file, whatever the library that reads it raises when it is broken."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DataFileError | MemoryError) or getattr(error, "errno", None):  # the system's errors have a number
            raise
        raise DataFileError(f"damaged ({type(error).__name__}: {error}): copy or download it again", path) from error


@contextmanager
def text_file(path: Path) -> Iterator[io.TextIOWrapper]:
    """A text file of any size, compressed or not, with or without a byte order mark; bytes that are none of its encoding become \ufffd."""
    with opened(path) as file:
        encoding = encoding_of(file.read(400))
        file.seek(0)
        yield io.TextIOWrapper(cast("IO[bytes]", file), encoding=encoding, errors="replace", newline="")


class _Text:
    """JSON values of a text file, of which no more than one value is in memory."""

    def __init__(self, file):
        self.file, self.text, self.place, self.done, self.ended = file, "", 0, 0, False

    def skip(self, characters: str) -> str:
        """Pass these characters; gives the first other one, or "" at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in characters:
                self.place += 1
            if self.place < len(self.text) or self.ended:
                return self.text[self.place : self.place + 1]
            self._more()

    def value(self, longest: int = 0) -> object:
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.place)
                if end < len(self.text) or self.ended:  # a number may go on in the next piece
                    self.place = end
                    return value
            except ValueError:
                if self.ended or len(self.text) - self.place > (longest or _LONGEST):
                    raise
            self._more(longest or _LONGEST)

    def _more(self, longest: int = 0) -> None:
        held = len(self.text) - self.place
        piece = self.file.read(max(_READ, min(held, (longest or _LONGEST) - held)))  # twice as much for a long value, which is decoded from its start
        self.done, self.ended = self.done + self.place, not piece
        self.text, self.place = self.text[self.place :] + piece, 0


def json_items(path: Path) -> Iterator[tuple[object, object]]:
    """Ids and elements of a JSON file, in whatever of the usual layouts.

    A list; an object {id: element}; one element; an object with a list under ``data`` or the like, as the answers of OPTIMADE and the
    Materials Project; tables of pandas in any orientation.
    """
    with whole(path):
        with text_file(path) as file:
            by_id = _is_by_id(_Text(file))
        with text_file(path) as file:
            text, count = _Text(file), 0
            try:
                if text.skip(_BLANK) == "":
                    raise DataFileError("the file is empty; export it again", path)
                for name, item in _by_id(text) if by_id else _values(text):
                    count += 1
                    yield name, _placed(item, path, count - 1)
            except json.JSONDecodeError as error:
                where = f"element {count + 1}, of which {len(text.text) - text.place} characters were read, at character {text.done + error.pos} of the file"
                raise DataFileError(f"damaged, or no list of records or structures, nor an object of them by id ({error.msg}: {where}): "
                                    "copy or download it again", path) from error  # fmt: skip


def _placed(item, path: Path, position: int):
    """An element that knows its place; one that is no crystal in any form is an error in its place."""
    if isinstance(item, Mapping):
        return Row(item, str(path), f"record {position}")
    if isinstance(item, str) and ("\n" in item or item.lstrip()[:1] == "{"):  # a CIF or POSCAR, or JSON within JSON; never a path
        return item
    return DataFileError(f"expected a record or structure, found {json.dumps(item)[:60]}", path, f"record {position}")


def _by_id(text: _Text) -> Iterator[tuple[object, object]]:
    while text.skip(_BLANK + ",{") != "}":
        name = text.value()
        text.skip(_BLANK + ":")
        item = text.value()
        if name not in ("ids", "nextid"):  # of ASE's databases
            yield name, item


def _values(text: _Text) -> Iterator[tuple[object, object]]:
    """Elements of the lists and objects of a text, one after the other."""
    while (character := text.skip(_BLANK + ",")) != "":
        if character == "[":
            text.place += 1
            yield from ((name_of(item), item) for item in _elements(text))
        elif character == "{":
            text.place += 1
            yield from _object(text)
        else:
            item = text.value()
            yield name_of(item), item


def _elements(text: _Text) -> Iterator[object]:
    """Elements of the list behind whose opening bracket the text stands."""
    while text.skip(_BLANK + ",") != "]":
        yield text.value()
    text.place += 1


def _object(text: _Text) -> Iterator[tuple[object, object]]:
    """Elements of the object behind whose opening brace the text stands: those of its list, else what it is as a whole."""
    known: dict[str, object] = {}
    streamed = False
    while text.skip(_BLANK + ",") != "}":
        name = str(text.value())
        if text.skip(_BLANK + ":") == "[" and name in _LISTS and not is_record(known):
            text.place += 1
            first = text.skip(_BLANK)
            if first == "{" or (first == "[" and isinstance(known.get("columns"), list)):
                streamed = True
                yield from _table_rows(_elements(text), known)
            else:
                known[name] = list(_elements(text))
        else:
            known[name] = text.value(_TABLE)
    text.place += 1
    if not streamed:
        yield from rows_of(known)


def _table_rows(items: Iterable, known: dict) -> Iterator[tuple[object, object]]:
    """Elements of a list; rows of a table get the names of its columns, and its index where they have no id."""
    columns, index = known.get("columns") or (), known.get("index")
    for count, item in enumerate(items):
        row = dict(zip(map(str, columns), item, strict=False)) if isinstance(item, list) else item
        name = name_of(row)
        yield (index[count] if name is None and isinstance(index, list) and count < len(index) else name), row


def rows_of(known: dict) -> list[tuple[object, object]]:
    """Elements of an object that is in memory: a table column by column or row by row, itself, or elements by id."""
    column = next((key for key in HOLDERS if isinstance(known.get(key), Mapping | list) and _is_column(known[key])), None)
    if column is not None:
        index = list(known[column]) if isinstance(known[column], Mapping) else range(len(known[column]))
        rows = [{k: v[i] for k, v in known.items() if isinstance(v, Mapping | list) and _has(v, i)} for i in index]
        return [(i if name_of(row) is None else name_of(row), row) for i, row in zip(index, rows, strict=True)]
    if not is_record(known):
        if isinstance(known.get("columns"), list) and isinstance(known.get("data"), list):
            return list(_table_rows(known["data"], known))
        if (inner := next((known[key] for key in _LISTS if isinstance(known.get(key), Mapping)), None)) is not None:
            return rows_of(dict(inner))
        if any(is_record(v) or (isinstance(v, str) and "\n" in v) for v in known.values()):
            return list(known.items())
    return [(name_of(known), known)]


def _is_column(value) -> bool:
    """Whether this is a column of crystals, not a crystal."""
    if isinstance(value, list):
        return bool(value) and not isinstance(value[0], int | float)
    return bool(value) and not is_crystal(value) and all(isinstance(v, Mapping | str) or v is None for v in value.values()) and any(
        is_crystal(v) or isinstance(v, str) for v in value.values()) and not {"@module", "@class"} & value.keys()  # fmt: skip


def _has(values, index) -> bool:
    return index in values if isinstance(values, Mapping) else index < len(values)


def _is_by_id(text: _Text) -> bool:
    """Whether a text begins as {id: record or structure, ...}, which a record or a structure does not."""
    try:
        if text.skip(_BLANK) != "{" or text.skip(_BLANK + "{") != '"' or text.value() in (*HOLDERS, *_LISTS) or text.skip(_BLANK + ":") != "{":
            return False
        return is_record(text.value())
    except ValueError:
        return False


def json_lines(path: Path) -> Iterator[tuple[object, object]]:
    """Ids and elements of JSON lines; a broken line is an error in its place, blank ones are passed."""
    with whole(path), opened(path) as file:
        number = 0
        while line := file.readline(_LONGEST):
            number += 1
            long = len(line) == _LONGEST and not line.endswith(b"\n")
            while long and (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
            if not (line := line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n,[]")):
                continue
            try:
                if long:
                    raise ValueError(f"longer than {_LONGEST} bytes")
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line-{number}", DataFileError(f"broken: {error}", path, f"line {number}")
            else:
                yield name_of(item), Row(item, str(path), f"line {number}") if isinstance(item, Mapping) else _placed(item, path, number)
