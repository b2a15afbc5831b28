"""What every reader shares: its error, its warning, and the text of a file in whatever packing and encoding it comes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""Endings of compressed files and what opens them."""

_MAGIC = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SAID: dict = {}  # warnings of this process, for the filter that shows each once
_LARGEST = 1 << 30  # bytes that a text read as a whole may have


class ReadError(ValueError):
    """Something that cannot be read.

    Attributes
    ----------
    reason : str
        What is wrong, with the offending value.
    file : str
        Path or name of the file; empty for what came from memory.
    record : str
        Block, row, frame or id in the file; empty for a file of one.

    The message has all three, each once: a reason may begin with file, record or both.
    """

    def __init__(self, reason: str = "", file: str | os.PathLike = "", record: object = ""):
        super().__init__(reason, os.fspath(file), str(record))

    reason = property(lambda self: self.args[0])
    file = property(lambda self: self.args[1])
    record = property(lambda self: self.args[2])

    def __str__(self) -> str:
        reason = self.reason.removeprefix(f"{self.file}: ").removeprefix(f"{self.file}, ") if self.file else self.reason
        if self.record and re.match(rf"{re.escape(self.record)}(?!\w)", reason):
            return f"{self.file}, {reason}" if self.file else reason
        where = ", ".join(filter(None, (self.file, self.record)))
        return f"{where}: {reason}" if where else reason

    def at(self, file: str | os.PathLike, record: object = "") -> ReadError:
        """The same error with the file and the record that it lacks."""
        return type(self)(self.reason, self.file or file, self.record or record)


class DataFileError(ReadError):
    """A data file that cannot be read; the message names the file and, where it can, the record."""


class ReadWarning(UserWarning):
    """What a reader had to decide or to leave out, in one line that names the file."""


def say(notes: Iterable[str], file: str | os.PathLike, record: object = "") -> None:
    """Warn once, in one line, of what a reader found out about a file."""
    if notes := list(dict.fromkeys(notes)):
        where = ", ".join(part for part in (os.fspath(file), str(record)) if part)
        text = f"{where}: {'; '.join(notes)}" if where else "; ".join(notes)
        warnings.warn_explicit(text, ReadWarning, "<dtnet>", 1, registry=_SAID)  # a place without source, so that one line is printed


def without_place(message: str, *places: str) -> str:
    """A message without the file, and the record in it, that it begins with where that is one of `places`, which are named already."""
    for place in filter(None, places):
        if found := re.match(rf"{re.escape(place)}(, (block|frame|line|record|row) [^:]{{0,200}})?: ", message):
            return message[found.end() :]
    return message


def unpacked_name(path: str | os.PathLike) -> str:
    """Name of a file without the ending of its compression."""
    path = Path(path)
    return path.stem if path.suffix.lower() in PACKED else path.name


def opened(path: Path) -> io.BufferedIOBase:
    """A file opened for its uncompressed bytes, whatever its name says: gzip, bzip2 and xz are seen by their first bytes."""
    with open(path, "rb") as file:
        head = file.read(6)
    opener = next((o for magic, o in _MAGIC.items() if head.startswith(magic)), None)
    opener = opener or (PACKED.get(path.suffix.lower()) if head else None) or open
    return opener(path, "rb")


def payload(path: str | os.PathLike) -> bytes:
    """Content of a file, uncompressed where it is gzip, bzip2 or xz.

    Raises
    ------
    DataFileError
        For damaged compression, and for more than 1 GiB.
    """
    try:
        with opened(Path(path)) as file:
            content = b"".join(_pieces(file))
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataFileError(f"damaged compression ({type(error).__name__}: {error}); copy or download it again", path) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataFileError(f"damaged compression ({error}); copy or download it again", path) from error
    if len(content) > _LARGEST:
        raise DataFileError(f"more than {_LARGEST} bytes to be read as a whole; split it", path)
    return content


def _pieces(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Pieces of a file up to the first byte that is too much: memory for what is there, not for what could be."""
    total = 0
    while total <= _LARGEST and (piece := file.read(1 << 20)):
        total += len(piece)
        yield piece


def encoding_of(head: bytes) -> str:
    """Encoding that the first bytes of a text tell: by their byte order mark, or UTF-16 by its zeros; else UTF-8."""
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    if len(head) >= 4 and head[1::2].count(0) > 0.4 * len(head[1::2]):
        return "utf-16-le"
    return "utf-16-be" if len(head) >= 4 and head[::2].count(0) > 0.4 * len(head[::2]) else "utf-8"


def decoded(content: bytes, file: str | os.PathLike = "") -> str:
    """Text of a file's bytes with Unix line ends: UTF-8 or UTF-16 with or without a byte order mark, else Latin-1.

    Raises
    ------
    DataFileError
        When there is nothing in it, or when it is no text.
    """
    try:
        text = content.decode(encoding_of(content[:400]))
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if not text.strip("\ufeff \t\r\n\0"):
        raise DataFileError("the file is empty; export it again", file)
    if "\0" in text:
        raise DataFileError("not a text file (it holds zero bytes)", file)
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")


def text_of(path: str | os.PathLike) -> str:
    """Text of a whole file, see `payload` and `decoded`."""
    return decoded(payload(path), path)


def show_refusals_in_one_line(*others: type[Exception]) -> None:
    """In a notebook, show the refusal of a file (and errors of `others`) as one line, without a traceback; the cell fails all the same. Elsewhere nothing."""
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        shell.set_custom_exc((ReadError, *others), _one_line)


def _one_line(shell, kind, error, trace, tb_offset=None) -> list[str]:
    lines = [f"{kind.__name__}: {error}"]
    shell._showtraceback(kind, error, lines)
    return lines
