"""The open DFPT set on disk: its records, the seeds they are computed from, and safe writing for several processes.

`data/open_dfpt.md` documents the record; `data/open_dfpt_inputs/seeds.json` holds prototypes (space group, sites) and
seeds (id, prototype, elements, lattice parameters in angstrom to start the relaxation from).
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from pymatgen.core import Lattice, Structure

from .dfpt_inputs import DFPTError

DATA = Path(__file__).resolve().parents[1] / "data"
SET_FILE = DATA / "open_dfpt.json.gz"
SEED_FILE = DATA / "open_dfpt_inputs" / "seeds.json"


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file through a temporary one in the same folder, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(temporary, path)


@contextmanager
def locked(path: Path, wait: bool = True):
    """Hold an exclusive lock on a file, so that two processes cannot work on the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DFPTError(f"{path.parent} is in use by another process: let it end, or use another folder.") from None
        yield


def read_seeds(path: Path = SEED_FILE) -> dict[str, dict]:
    """Seeds by id: each has `prototype`, `elements`, lattice parameters and free coordinates; see `build_seed`."""
    content = json.loads(path.read_text())
    seeds = {}
    for key, prototype, elements, parameters in content["seeds"]:
        seeds[key] = {"prototype": content["prototypes"][prototype], "elements": elements, "parameters": parameters}
    return seeds


def build_seed(seed: dict) -> Structure:
    """Crystal of one seed: the prototype's space group and sites with the seed's elements and parameters.

    Coordinates are numbers or names of parameters; lengths in angstrom (`a`, `b`, `c`), angles in degrees (`alpha`).
    """
    prototype, values = seed["prototype"], {**seed["prototype"].get("defaults", {}), **seed["parameters"]}
    a, b, c = (values.get(key, values["a"]) for key in "abc")
    makers: dict[str, Callable[[], Lattice]] = {
        "cubic": lambda: Lattice.cubic(a), "tetragonal": lambda: Lattice.tetragonal(a, c),
        "hexagonal": lambda: Lattice.hexagonal(a, c), "orthorhombic": lambda: Lattice.orthorhombic(a, b, c),
        "monoclinic": lambda: Lattice.monoclinic(a, b, c, values["beta"]),
    }
    species = [seed["elements"][site[0]] for site in prototype["sites"]]
    coords = [[values[x] if isinstance(x, str) else x for x in site[1]] for site in prototype["sites"]]
    return Structure.from_spacegroup(prototype["spacegroup"], makers[prototype["lattice"]](), species, coords)


def load_set(path: Path = SET_FILE) -> list[dict]:
    """Records of a set file; an absent file is an empty set."""
    if not path.exists():
        return []
    with gzip.open(path, "rt") as handle:
        return json.load(handle)


def merge_record(record: dict, path: Path = SET_FILE) -> None:
    """Add a record to a set file, or replace the one of the same id; atomic, sorted by id, same bytes each time."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with locked(Path(tempfile.gettempdir()) / f"dtnet-{digest}.lock"):
        records = {r["id"]: r for r in load_set(path)}
        records[record["id"]] = record
        text = json.dumps([records[key] for key in sorted(records)], separators=(",", ":"))
        write_atomic(path, gzip.compress(text.encode(), mtime=0))
