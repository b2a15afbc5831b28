"""Records of dielectric tensors: where they are, how they are read and written.

Two profiles everywhere. ``mini`` is what ships with the kit: crystals computed with open DFPT, in
``data/open_dfpt.json.gz``. ``full`` is what the folder named by the environment variable DTNET_DATA_DIR
holds; `dtnet_core.download` fills one from the Materials Project. Both have the same schema.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cleaning import REFUSED_FLAGS, SUPPORTED_ELEMENTS, CleaningReport, Finding, clean
from .files import write_atomic
from .frames import tensor_violations
from .record import TARGETS, Record
from .structures import (
    InvalidStructureError,
    crystal_key,
    crystal_systems,
    read_structure,
    structure_from_dict,
    structure_to_dict,
    validate_structure,
)
from .symmetry import crystal_system

__all__ = [
    "REFUSED_FLAGS", "SUPPORTED_ELEMENTS", "TARGETS", "CleaningReport", "DataFileError", "Finding",
    "InvalidStructureError", "Record", "clean", "crystal_key", "crystal_system", "crystal_systems",
    "data_sha256", "load_clean", "load_records", "read_json", "read_structure", "record_from_dict", "record_to_dict",
    "resolve_data_dir", "save_records", "structure_from_dict", "structure_to_dict", "tensor_violations",
    "validate_structure", "write_atomic", "write_json_gz",
]  # fmt: skip

DATA_DIR_VARIABLE = "DTNET_DATA_DIR"
_FILES = {"mini": "open_dfpt", "full": "mp_tensors"}
_DOWNLOADS = {"mp_tensors": "", "screening_pool": " --screening-pool"}  # option of dtnet_core.download
_KNOWN = frozenset(
    ("id", "mp_id", "formula", "structure", "source", "functional", "code", "flags", "symmetry_violation",
     *(f"eps_{t}" for t in TARGETS))
)  # fmt: skip


class DataFileError(ValueError):
    """A data file that cannot be read; the message names the file and, where it can, the record."""


def resolve_data_dir(profile: str = "full", data_dir: str | os.PathLike | None = None) -> Path:
    """The folder with the data files of a profile.

    Parameters
    ----------
    profile : {"mini", "full"}
    data_dir : path, optional
        Overrides the profile's own place (for "full": the environment variable DTNET_DATA_DIR). A folder with
        a ``data`` subfolder may be given instead of that subfolder.

    Raises
    ------
    FileNotFoundError
        When the folder is not there, or the variable is not set.
    ValueError
        For an unknown profile.
    """
    if profile not in _FILES:
        raise ValueError(
            f"profile is {profile!r}; choose 'mini' (in the kit) or 'full' (needs {DATA_DIR_VARIABLE})"
        )
    if data_dir is None and profile == "mini":
        return Path(__file__).resolve().parents[1] / "data"
    named = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        raise FileNotFoundError(
            f"profile 'full' reads the folder named by the environment variable {DATA_DIR_VARIABLE}, which "
            "is not set. Set it, fill a folder with `python -m dtnet_core.download FOLDER`, or use profile "
            "'mini'"
        )
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {folder} does not exist; correct {DATA_DIR_VARIABLE} or data_dir"
        )
    inner = folder / "data"
    return inner if inner.is_dir() and not any(folder.glob("*.json.gz")) else folder


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
    name = name or _FILES[profile]
    path = folder / f"{name}.json.gz"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.json.gz"))) or "no data files"
        hint = (
            "the clone is incomplete, check it out again" if profile == "mini" and data_dir is None
            else f"correct {DATA_DIR_VARIABLE} or data_dir" + (
                f", or run `python -m dtnet_core.download FOLDER{_DOWNLOADS[name]}`" if name in _DOWNLOADS
                else "; the kit has no download for this file"
            )
        )  # fmt: skip
        raise FileNotFoundError(f"{path.name} is not in {folder} (found: {there}); {hint}")
    items = read_json(path)
    if not isinstance(items, list):
        raise DataFileError(f"{path}: expected a list of records, found {type(items).__name__}")
    return [record_from_dict(item, path.name, position) for position, item in enumerate(items)]


def load_clean(profile: str, data_dir: str | os.PathLike | None = None) -> tuple[list[Record], str]:
    """The cleaned records of a profile's default set, and the SHA-256 of the file they came from."""
    records = load_records(profile, data_dir=data_dir)
    path = resolve_data_dir(profile, data_dir) / records[0].meta["file"]
    return clean(records)[0], data_sha256(path)


def record_from_dict(item: Mapping, file: str = "", position: int = 0) -> Record:
    """One record from its JSON form.

    Raises
    ------
    DataFileError
        Naming file, position and id, when the structure or a tensor does not follow the schema.
    """
    if not isinstance(item, Mapping):
        raise DataFileError(f"{file}, record {position}: expected an object, found {type(item).__name__}")
    name = str(item.get("id") or item.get("mp_id") or position)
    where = f"{file}, record {position} ({name})"
    if not isinstance(item.get("structure"), Mapping):
        raise DataFileError(f"{where}: no structure")
    tensors = {f"eps_{t}": _tensor(item.get(f"eps_{t}"), f"{where}: eps_{t}") for t in TARGETS}
    if "cell" in item["structure"] and any(t is not None for t in tensors.values()):
        raise DataFileError(
            f"{where}: a tensor beside a structure that has lengths and angles only: no common frame"
        )
    try:
        structure = structure_from_dict(item["structure"])
    except InvalidStructureError as error:
        raise DataFileError(f"{where}: {error}") from error
    violation = item.get("symmetry_violation")
    if isinstance(violation, Mapping):
        violation = max((v for v in violation.values() if v is not None), default=None)
    return Record(
        id=name,
        structure=structure,
        formula=structure.composition.reduced_formula,
        **tensors,
        functional=item.get("functional") or "",
        code=item.get("code") or "",
        source=item.get("source") or "",
        mp_id=item.get("mp_id"),
        symmetry_violation=None if violation is None else float(violation),
        flags=tuple(item.get("flags") or ()),
        meta={**{k: v for k, v in item.items() if k not in _KNOWN}, "file": file},
    )


def _tensor(value: Any, where: str) -> np.ndarray | None:
    if value is None:
        return None
    try:
        tensor = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataFileError(f"{where} is not numeric ({error}): {str(value)[:200]}") from error
    if tensor.shape != (3, 3):
        raise DataFileError(f"{where} has shape {tensor.shape}, expected (3, 3)")
    tensor.setflags(write=False)
    return tensor


def record_to_dict(record: Record) -> dict:
    """The JSON form of a record; `record_from_dict` reads it back."""
    tensors = {f"eps_{t}": None if record.tensor(t) is None else record.tensor(t).tolist() for t in TARGETS}
    return {
        "id": record.id,
        "mp_id": record.mp_id,
        "formula": record.formula,
        "structure": structure_to_dict(record.structure),
        **tensors,
        "source": record.source,
        "functional": record.functional,
        "code": record.code,
        "symmetry_violation": record.symmetry_violation,
        "flags": list(record.flags),
        **{k: v for k, v in record.meta.items() if k != "file"},
    }


def save_records(records: Iterable[Record], path: str | os.PathLike) -> None:
    """Write records as gzip JSON, atomically and byte for byte the same for the same records."""
    write_json_gz(path, [record_to_dict(r) for r in records])


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
        return json.loads(_payload(path))
    except (EOFError, OSError, zlib.error, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataFileError(
            f"{path} is damaged ({type(error).__name__}: {error}); it has {path.stat().st_size} bytes: "
            "copy or download it again"
        ) from error


def _payload(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" or path.suffix == ".gz" else content


def data_sha256(data: str | os.PathLike | Sequence[Record]) -> str:
    """SHA-256 of a data file's content (uncompressed: ``zcat FILE | sha256sum``) or of a set of records.

    For records: of their ids, structures and tensors (float64), whatever their order.
    """
    if isinstance(data, str | os.PathLike):
        return hashlib.sha256(_payload(Path(data))).hexdigest()
    lines = []
    for record in data:
        tensors = (record.tensor(t) for t in TARGETS)
        parts = [
            "-" if t is None else hashlib.sha256(np.asarray(t, "<f8").tobytes()).hexdigest() for t in tensors
        ]
        lines.append(" ".join((record.id, crystal_key(record.structure), record.functional, *parts)))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
