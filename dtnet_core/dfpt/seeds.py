"""The open DFPT set on disk: its records, the seeds they are computed from, and safe writing for several processes.

`data/open_dfpt.md` documents the record; `data/open_dfpt_inputs/seeds.json` holds prototypes (space group, sites) and
seeds (id, prototype, elements, lattice parameters in angstrom to start the relaxation from; for some, options of `calculation.run`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pymatgen.core import Lattice, Structure

from ..base.files import locked, read_json, write_json_gz
from ..base.paths import DATA

SET_FILE = DATA / "open_dfpt.json.gz"
SEED_FILE = DATA / "open_dfpt_inputs" / "seeds.json"


def read_seeds(path: Path = SEED_FILE) -> dict[str, dict]:
    """Seeds by id: each has `prototype`, `elements`, `parameters` of the lattice and free coordinates (see `build_seed`), and `options` of its run."""
    content = json.loads(path.read_text())
    seeds = {}
    for key, prototype, elements, parameters, *options in content["seeds"]:
        seeds[key] = {"prototype": content["prototypes"][prototype], "elements": elements, "parameters": parameters, "options": dict(*options)}
    return seeds


def seed_jobs(keys: Iterable[str], path: Path = SEED_FILE) -> list[tuple[str, Callable[[], Structure], dict]]:
    """What `queue.run_many` takes: id, a function that makes the crystal, and the seed's own options."""
    seeds = read_seeds(path)
    return [(key, partial(build_seed, seeds[key]), seeds[key]["options"]) for key in keys]


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
