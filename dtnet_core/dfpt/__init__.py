"""Dielectric tensors from first principles with free software: run, parse, judge, queue; VASP's files for its users.

    from dtnet_core import dfpt
    record = dfpt.run(structure, Path("runs/mgo"), record_id="mgo-rocksalt")

Two engines do it, Quantum ESPRESSO (`qe`) and ABINIT (`abinit`); nothing else of the kit needs them. The set that ships
with the kit is made, extended and checked by ``dtnet dfpt``; see ``data/open_dfpt.md``.
"""

from .calculation import programs, run
from .inputs import DFPTError, DFPTStopped, pseudo_folder
from .parse import ENGINES, judge, parse, unchecked
from .queue import Postponed, run_many
from .seeds import SEED_FILE, SET_FILE, build_seed, load_set, merge_record, read_seeds
from .vasp import read_vasprun, write_vasp_inputs

__all__ = [
    "ENGINES", "SEED_FILE", "SET_FILE", "DFPTError", "DFPTStopped", "Postponed", "build_seed", "judge", "load_set", "merge_record", "parse", "programs", "pseudo_folder",
    "read_seeds", "read_vasprun", "run", "run_many", "unchecked", "write_vasp_inputs",
]  # fmt: skip
