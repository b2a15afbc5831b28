"""Records or structures in JSON files of any size, one in memory at a time."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..base.files import DataFileError

_READ = 1 << 20  # characters read at a time
_LONGEST = 1 << 26  # characters of the longest element or line
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()


def name_of(item) -> object:
    """Id that a record or row has of its own, or None."""
    names = (item.get(key) for key in ("id", "mp_id", "material_id")) if isinstance(item, dict) else ()
    return next((name for name in names if name is not None), None)


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Name the file, whatever the library that reads it raises when it is broken."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DataFileError | MemoryError) or getattr(error, "errno", None):  # the system's errors have a number
            raise
        raise DataFileError(f"{path} is damaged ({type(error).__name__}: {error}): copy or download it again") from error


def _open(path: Path, mode: str):
    options = {} if "b" in mode else {"encoding": "utf-8"}
    return gzip.open(path, mode, **options) if path.suffix == ".gz" else open(path, mode, **options)


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

    def value(self) -> object:
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.place)
                if end < len(self.text) or self.ended:  # a number may go on in the next piece
                    self.place = end
                    return value
            except ValueError:
                if self.ended or len(self.text) - self.place > _LONGEST:
                    raise
            self._more()

    def _more(self) -> None:
        held = len(self.text) - self.place
        piece = self.file.read(max(_READ, min(held, _LONGEST - held)))  # twice as much for a long value, which is decoded from its start
        self.done, self.ended = self.done + self.place, not piece
        self.text, self.place = self.text[self.place :] + piece, 0


def json_items(path: Path) -> Iterator[tuple[object, object]]:
    """Ids and elements of a JSON list, or of an object {id: element}, without the rest of the file in memory."""
    with whole(path):
        with _open(path, "rt") as file:
            by_id = _is_by_id(_Text(file))
        between, last = (_BLANK + ",{", "}") if by_id else (_BLANK + ",[]", "")
        with _open(path, "rt") as file:
            text, count = _Text(file), 1
            try:
                while text.skip(between) != last:
                    name = text.value() if by_id else None
                    text.skip(_BLANK + ":" if by_id else "")
                    item = text.value()
                    yield name if by_id else name_of(item), item
                    count += 1
            except json.JSONDecodeError as error:
                where = f"element {count}, of which {len(text.text) - text.place} characters were read, at character {text.done + error.pos} of the file"
                raise DataFileError(f"{path} is damaged or no list of records or structures, nor an object of them by id ({error.msg}: {where}): "
                                    "copy or download it again") from error  # fmt: skip


def _is_by_id(text: _Text) -> bool:
    """Whether a text begins as {id: record or structure, ...}, which a record or a structure does not."""
    try:
        if text.skip(_BLANK) != "{" or text.skip(_BLANK + "{") != '"' or text.value() == "structure" or text.skip(_BLANK + ":") != "{":
            return False
        return not {"structure", "sites", "lattice", "cell"}.isdisjoint(text.value())
    except ValueError:
        return False


def json_lines(path: Path) -> Iterator[tuple[object, object]]:
    """Ids and elements of JSON lines; a broken line is an error in its place, blank ones are passed."""
    with whole(path), _open(path, "rb") as file:
        number = 0
        while line := file.readline(_LONGEST):
            number += 1
            long = len(line) == _LONGEST and not line.endswith(b"\n")
            while long and (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
            if not (line := line.strip(b" \t\r\n,[]")):
                continue
            try:
                if long:
                    raise ValueError(f"longer than {_LONGEST} bytes")
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line-{number}", DataFileError(f"{path}, line {number} is broken: {error}")
            else:
                yield name_of(item), item
