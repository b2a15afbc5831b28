"""Records of dielectric tensors: where they are, how they are read and written.

Two profiles everywhere. ``mini`` is what ships with the kit: crystals computed with open DFPT, in
``data/open_dfpt.json.gz``. ``full`` is what the folder named by the environment variable DTNET_DATA_DIR
holds; `dtnet download` fills one from the Materials Project. Both have the same schema.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..base.files import DataFileError, payload, read_json, write_json_gz
from ..base.profiles import DATA_DIR_VARIABLE, FILES, resolve_data_dir
from ..crystals.record import TARGETS, Record, record_from_dict, record_to_dict
from ..crystals.structures import crystal_key
from .cleaning import clean

_OLD_COMMAND = "python -m dtnet_core.dfpt"
_DOWNLOADS = {"mp_tensors": "", "screening_pool": " --screening-pool"}  # option of `dtnet download`


def load_records(
    profile: str = "mini", name: str | None = None, data_dir: str | os.PathLike | None = None
) -> list[Record]:
    """Read a set of records, uncleaned, in the order of the file.

    Parameters
    ----------
    profile : {"mini", "full"}
    name : str, optional
        File name without ``.json.gz``; default "open_dfpt" (mini) or "mp_tensors" (full).
    data_dir : path, optional
        See `resolve_data_dir`.

    Raises
    ------
    FileNotFoundError
        When the folder or the file is missing.
    DataFileError
        When the file is damaged or a record does not follow the schema.
    """
    folder = resolve_data_dir(profile, data_dir)
    name = name or FILES[profile]
    path = folder / f"{name}.json.gz"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.json.gz"))) or "no data files"
        hint = (
            "the clone is incomplete, check it out again" if profile == "mini" and data_dir is None
            else f"correct {DATA_DIR_VARIABLE} or data_dir" + (
                f", or run `dtnet download FOLDER{_DOWNLOADS[name]}`" if name in _DOWNLOADS
                else "; the kit has no download for this file"
            )
        )  # fmt: skip
        raise FileNotFoundError(f"{path.name} is not in {folder} (found: {there}); {hint}")
    items = read_json(path)
    if not isinstance(items, list):
        raise DataFileError(f"{path}: expected a list of records, found {type(items).__name__}")
    return [_with_command(record_from_dict(item, path.name, position)) for position, item in enumerate(items)]


def _with_command(record: Record) -> Record:
    """The record with its `command` as it is given today; the files keep their bytes, which results name by their checksum."""
    if str(record.meta.get("command", "")).startswith(_OLD_COMMAND):
        record.meta["command"] = record.meta["command"].replace(_OLD_COMMAND, "dtnet dfpt", 1)
    return record


def load_clean(profile: str, data_dir: str | os.PathLike | None = None) -> tuple[list[Record], str]:
    """The cleaned records of a profile's default set, and the SHA-256 of the file they came from."""
    records = load_records(profile, data_dir=data_dir)
    path = resolve_data_dir(profile, data_dir) / records[0].meta["file"]
    return clean(records)[0], data_sha256(path)


def save_records(records: Iterable[Record], path: str | os.PathLike) -> None:
    """Write records as gzip JSON, atomically and byte for byte the same for the same records."""
    write_json_gz(path, [record_to_dict(r) for r in records])


def data_sha256(data: str | os.PathLike | Sequence[Record]) -> str:
    """SHA-256 of a data file's content (uncompressed: ``zcat FILE | sha256sum``) or of a set of records.

    For records: of their ids, structures and tensors (float64), whatever their order.
    """
    if isinstance(data, str | os.PathLike):
        return hashlib.sha256(payload(Path(data))).hexdigest()
    lines = []
    for record in data:
        tensors = (record.tensor(t) for t in TARGETS)
        parts = [
            "-" if t is None else hashlib.sha256(np.asarray(t, "<f8").tobytes()).hexdigest() for t in tensors
        ]
        lines.append(" ".join((record.id, crystal_key(record.structure), record.functional, *parts)))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
