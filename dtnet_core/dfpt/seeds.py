"""The open DFPT set on disk: its records, the seeds they are computed from, and safe writing for several processes.

`data/open_dfpt.md` documents the record; `data/open_dfpt_inputs/seeds.json` holds prototypes (space group, sites) and
seeds (id, prototype, elements, lattice parameters in angstrom to start the relaxation from).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pymatgen.core import Lattice, Structure

from ..base.files import locked, read_json, write_json_gz
from ..base.paths import DATA

SET_FILE = DATA / "open_dfpt.json.gz"
SEED_FILE = DATA / "open_dfpt_inputs" / "seeds.json"


def read_seeds(path: Path = SEED_FILE) -> dict[str, dict]:
    """Seeds by id: each has `prototype`, `elements`, lattice parameters and free coordinates; see `build_seed`."""
    content = json.loads(path.read_text())
    seeds = {}
    for key, prototype, elements, parameters in content["seeds"]:
        seeds[key] = {"prototype": content["prototypes"][prototype], "elements": elements, "parameters": parameters}
    return seeds


def build_seed(seed: dict) -> Structure:
    """Crystal of one seed: the prototype's space group and sites with the seed's elements and parameters.

    Coordinates are numbers or names of parameters; lengths in angstrom (`a`, `b`, `c`), angles in degrees (`alpha`, `beta`, `gamma`).
    """
    prototype, values = seed["prototype"], {**seed["prototype"].get("defaults", {}), **seed["parameters"]}
    a, b, c = (values.get(key, values["a"]) for key in "abc")
    makers: dict[str, Callable[[], Lattice]] = {
        "cubic": lambda: Lattice.cubic(a), "tetragonal": lambda: Lattice.tetragonal(a, c),
        "hexagonal": lambda: Lattice.hexagonal(a, c), "orthorhombic": lambda: Lattice.orthorhombic(a, b, c),
        "monoclinic": lambda: Lattice.monoclinic(a, b, c, values["beta"]),
        "triclinic": lambda: Lattice.from_parameters(a, b, c, *(values[key] for key in ("alpha", "beta", "gamma"))),
    }
    species = [seed["elements"][site[0]] for site in prototype["sites"]]
    coords = [[values[x] if isinstance(x, str) else x for x in site[1]] for site in prototype["sites"]]
    return Structure.from_spacegroup(prototype["spacegroup"], makers[prototype["lattice"]](), species, coords)


def load_set(path: Path = SET_FILE) -> list[dict]:
    """Records of a set file as they are stored; an absent file is an empty set."""
    return read_json(path) if path.exists() else []


def merge_record(record: dict, path: Path = SET_FILE) -> None:
    """Add a record to a set file, or replace the one of the same id; atomic, sorted by id, same bytes each time."""
    with locked(path):
        records = {r["id"]: r for r in load_set(path)}
        records[record["id"]] = record
        write_json_gz(path, [records[key] for key in sorted(records)])
