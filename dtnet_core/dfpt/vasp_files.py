"""Several VASP runs at once: inputs for structure files, and finished runs into a set; one that is bad does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..base.files import DataFileError
from ..crystals.record import record_to_dict
from ..crystals.sources import read_structure
from .inputs import DFPTError
from .names import file_names, run_names
from .seeds import load_set, merge_record
from .vasp import read_vasprun, refuse_other_inputs, write_vasp_inputs

_FAULTS = (DFPTError, DataFileError, ValueError, OSError)


def write_many(paths: Sequence[str | Path], root: Path | str) -> Iterator[tuple[str, Path | Exception]]:
    """Write the inputs of each structure file into a folder of its own under `root`.

    Yields
    ------
    (str, Path or Exception)
        Path as given, and the folder or what is wrong with the file.

    Raises
    ------
    DFPTError
        Before anything is written: two files with one name, or a folder with the inputs of another crystal.
    """
    names, crystals = file_names(paths), {}
    for path in names:
        try:
            crystals[path] = read_structure(path)
        except _FAULTS as error:
            crystals[path] = error
    for path, crystal in crystals.items():
        if not isinstance(crystal, Exception):
            refuse_other_inputs(crystal, Path(root) / names[path])
    for path, crystal in crystals.items():
        try:
            yield path, crystal if isinstance(crystal, Exception) else write_vasp_inputs(crystal, Path(root) / names[path])
        except _FAULTS as error:
            yield path, error


def read_many(paths: Sequence[str | Path], set_path: Path | str | None = None) -> Iterator[tuple[str, dict | Exception]]:
    """Read finished runs, and merge each at once into a set file.

    Yields
    ------
    (str, dict or Exception)
        Path as given, and the record or what is wrong with the run. A record of the set with the same name that says anything else is
        kept, and the run is an error.

    Raises
    ------
    DFPTError
        Before anything is read: two runs with one name.
    """
    names = run_names(paths)
    for path, name in names.items():
        try:
            record = record_to_dict(read_vasprun(path, name))
            if set_path is not None:
                _refuse_other_record(record, Path(set_path), path)
                merge_record(record, Path(set_path))
        except _FAULTS as error:
            yield path, error
        else:
            yield path, record


def _refuse_other_record(record: dict, set_path: Path, path: str) -> None:
    there = {r["id"]: r for r in load_set(set_path)}.get(record["id"])
    keys = ("formula", "structure", "code", "functional", "eps_electronic", "eps_ionic", "eps_total")
    other = [key for key in keys if there is not None and there.get(key) != record.get(key)]
    if other:
        raise DFPTError(f"{path}: {set_path} has another record called {record['id']} (other {', '.join(other)}), which is kept: rename the run's folder, "
                        "or use another set file")  # fmt: skip
