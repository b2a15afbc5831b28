"""Files that several processes may write: whole or not at all, one at a time."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .reading import DataFileError, payload

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class InUseError(RuntimeError):
    """Another process holds the lock."""


def write_atomic(path: str | os.PathLike, content: bytes | str) -> None:
    """Write a file whole or not at all: a temporary file in the same folder (made when missing), then a rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: str | os.PathLike, wait: bool = True) -> Iterator[None]:
    """Hold the exclusive lock of a file, through a hidden side file (the file itself may be replaced).

    A file system without locks, as some network ones are, is done with as it is, with a warning.

    Raises
    ------
    InUseError
        With ``wait=False``, when another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as side:
        try:
            fcntl.flock(side, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise InUseError(f"{path} is in use by another process: let it end, or choose another") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(f"{path.parent} is on a file system without locks ({error.strerror}): let one process at a time write there, or choose a "
                          "folder on a local disk (the cache: environment variable DTNET_CACHE_DIR)", stacklevel=4)  # fmt: skip
        yield


def write_json_gz(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON value gzip-compressed, atomically and without a time stamp."""
    write_atomic(
        path, gzip.compress(json.dumps(value, separators=(",", ":")).encode(), compresslevel=9, mtime=0)
    )


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file, gzip-compressed or plain.

    Raises
    ------
    DataFileError
        Naming the file, when it is truncated or damaged.
    """
    path = Path(path)
    try:
        return json.loads(payload(path))
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataFileError(
            f"damaged ({type(error).__name__}: {getattr(error, 'reason', error)}); it has {path.stat().st_size} bytes: "
            "copy or download it again", path
        ) from error
