"""Crystals from files of any size and kind, read piece by piece."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pymatgen.core import Structure

from ..base.reading import DataFileError, ReadError, say
from .ase_source import from_atoms
from .cif import Block
from .layouts import holder_of, is_crystal, name_of, refuse_open
from .readers import READERS, SINGLE, Text, ending_of, from_text, located, one_of, read_file, reader_of
from .record import TARGETS, Record, record_from_dict
from .structures import InvalidStructureError, structure_from_dict, structure_to_dict, validate_structure

_LISTED = 8  # names of files in a warning


def entries(source) -> Iterator[tuple[str, object]]:
    """Ids and unread crystals of a source, one after the other, in an order that is the same each time.

    Parameters
    ----------
    source : path or iterable
        A folder of files of crystals (`readers.SINGLE`; subfolders included; ids are relative paths, with "#" and the name of
        the block or frame where a file has several), of which other files are named by a warning; a file of any kind in
        `readers.READERS`, as CIF, JSON in the usual layouts, JSON lines, CSV or parquet with a column of crystals, a database or
        trajectory of ASE, compressed or not; or structures, (id, structure) pairs or dicts in memory.

    Yields
    ------
    (str, object)
        Id (a repeated one gets "#2", "#3", ...; a broken line is "line-" and its number) and what `to_structure` takes. Rows
        of tables and databases are dicts of their texts and numbers beside the structure.

    Raises
    ------
    FileNotFoundError
    DataFileError
        For an unknown kind of file, one without a crystal, or one that is broken as a whole, when its broken place is reached.
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
    yield from _folder(path) if path.is_dir() else read_file(path)


def _folder(folder: Path) -> Iterator[tuple[object, object]]:
    files = sorted(p for p in folder.rglob("*") if (p.is_file() or _dangling(p)) and not any(
        part.startswith(".") for part in p.relative_to(folder).parts))  # fmt: skip
    found = [p for p in files if ending_of(p) in SINGLE]
    if not found:
        others = sorted({ending_of(p) for p in files} & READERS.keys())
        more = f"; its {', '.join(others)} files are sources of their own: give one by name" if others else ""
        raise FileNotFoundError(f"{folder}: no *.cif, *.vasp, *.poscar, POSCAR*, CONTCAR* or other file of crystals in this folder{more}")
    if passed := [p.relative_to(folder).as_posix() for p in files if p not in set(found)]:
        names = ", ".join(passed[:_LISTED]) + (", ..." if len(passed) > _LISTED else "")
        say([f"{len(passed)} files passed over, which are no files of crystals: {names}"], folder)
    for p in found:
        name = p.relative_to(folder).as_posix()
        if _dangling(p):
            yield name, DataFileError(f"a link to {p.readlink()}, which is not there", p)
        else:
            yield from _file_in_folder(p, name)


def _file_in_folder(path: Path, name: str) -> Iterator[tuple[str, object]]:
    """A file's crystals by their names; what is wrong with it stands in its place. A POSCAR is left for `to_structure` to open."""
    if reader_of(path) is READERS[".poscar"]:
        yield name, path
        return
    try:
        for inner, content in read_file(path):
            yield (name if inner is None else f"{name}#{inner}"), content
    except ReadError as error:
        yield name, error


def _dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def to_structure(content, elements: Collection[str] | None = None) -> Structure:
    """A structure with `elements` only, validated, out of anything that is one crystal.

    Parameters
    ----------
    content : path, str, dict, Structure, Atoms, or what `entries` yields
        A path may end in "#" and the name of a block, frame or record. A text of one line is a path, one of several JSON, CIF or POSCAR.

    Raises
    ------
    ReadError
        With file, record and reason, as far as they are known. An error that `entries` has in the place of a crystal is raised.
    OSError
        For a path that is not visible from here or cannot be read now: no fault of the crystal's.
    """
    if isinstance(content, Exception):
        raise content
    file, record = getattr(content, "file", ""), getattr(content, "record", "")
    try:
        structure = _structure(content)
        refuse_open(structure.lattice.pbc)
        return validate_structure(structure, elements, name=", ".join(filter(None, (str(file), record))) or "structure")
    except OSError:
        raise
    except Exception as error:  # parsers raise whatever the broken place happens to cause
        raise located(error, str(file or (content if isinstance(content, Path) else "")), record) from error


def _structure(content) -> Structure:
    if isinstance(content, Structure):
        return content
    if isinstance(content, Block | Text):
        return content.structure()
    if isinstance(content, Path) or (isinstance(content, str) and content.strip() and "\n" not in content.strip() and content.lstrip()[0] not in "{["):
        return _read(content)
    if isinstance(content, str):
        return from_text(content)
    if hasattr(content, "get_chemical_symbols"):
        return from_atoms(content)
    if isinstance(content, Mapping) and not is_crystal(content):
        key = holder_of(content)
        if key is None:
            raise InvalidStructureError(f"no structure in it; it has {sorted(map(str, content))[:12]}, expected lattice, species, frac_coords, or one under a key as structure, atoms or cif")
        inner = content[key]
        return from_text(inner) if isinstance(inner, str) else _structure(inner)
    if not isinstance(content, Mapping):
        raise InvalidStructureError(f"{type(content).__name__} is no crystal: give a Structure, Atoms, a path, or a dictionary of one")
    return structure_from_dict(content)


def _read(path: str | os.PathLike) -> Structure:
    path, wanted = Path(path), ""
    if not path.exists() and "#" in path.name:
        path, wanted = path.with_name(path.name.rsplit("#", 1)[0]), path.name.rsplit("#", 1)[1]
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not one crystal: name a file in it, or give the folder to `dtnet predict`, or to `crystals.sources.read_records` in Python")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    content = one_of(path, wanted)
    if isinstance(content, Exception):
        raise content
    try:
        return _structure(content)
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise located(error, str(path), getattr(content, "record", "")) from error


def read_structure(path: str | os.PathLike, validate: bool = True, **options) -> Structure:
    """Read one structure from a file of any kind in `readers.READERS`, as it stands (no conversion to another cell).

    Parameters
    ----------
    path : path
        A file of one crystal; of one with several, ``path#name``: the block of a CIF, the number of a frame, the id of a record.
    validate : bool
        Check it with `validate_structure`; `options` go there.

    Raises
    ------
    FileNotFoundError
    IsADirectoryError
    InvalidStructureError
        For an unknown, empty or broken file, one of several crystals, and for what `validate_structure` refuses.
    """
    try:
        structure = _read(path)
        return validate_structure(structure, name=os.fspath(path), **options) if validate else structure
    except InvalidStructureError as error:
        raise error.at(path) from error.__cause__
    except ReadError as error:
        raise InvalidStructureError(error.reason, error.file or path, error.record) from error


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
        found: Record | Exception
        try:
            found = _record(name, content, origin, position)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            found = located(error, origin, f"record {position}")
        yield name, found


def _record(name: str, content, origin: str, position: int) -> Record:
    file = content.name if isinstance(content, Path) else Path(getattr(content, "file", "") or origin).name
    structure = to_structure(content)
    item = dict(content) if isinstance(content, Mapping) and not is_crystal(content) else {}
    mp_id, flags = item.get("mp_id") or item.get("material_id"), item.get("flags") or ()
    scalars = {f"eps_{t}": f"eps_{t}_poly" for t in TARGETS if isinstance(item.get(f"eps_{t}"), int | float)}
    item = {scalars.get(key, key): value for key, value in item.items()} | {"flags": flags if isinstance(flags, list | tuple) else [str(flags)]}
    if (key := holder_of(item)) not in (None, "structure"):
        del item[key]
    if not isinstance(item.get("structure"), Mapping):
        item["structure"] = structure_to_dict(structure)
    record = record_from_dict(item, file, position)
    return replace(record, id=name, structure=structure, source=record.source or file, mp_id=None if mp_id is None else str(mp_id))
