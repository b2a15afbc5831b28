"""Pools and oracles by name, as the screening notebook takes them: everything from a few prototypes to a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..crystals.record import Record
from ..crystals.sources import read_records
from ..data.loading import load_records
from ..dfpt import build_seed, read_seeds
from .campaign import DFPTOracle, Oracle, StoredOracle, VaspOracle
from .labelled import asked, hide, load_labelled
from .prototypes import ANIONS, CATIONS, estimate_gaps, hypothetical, relaxed_pool
from .published import published_dir, published_records
from .selection import band_gap

POOLS = ("prototypes", "screening_pool")
ORACLES = ("stored", "published", "dfpt", "vasp")
KNOWN = {"mini": 84, "full": 300}
"""Labelled crystals that stay known where others are hidden, by profile; a few more, as the crystals of a formula stay together."""


def known_and_hidden(profile: str, task: str, oracle: str, seed: int = 0) -> tuple[list[Record], list[Record]]:
    """Labelled crystals that a task can be asked of, and those of them whose labels only the oracle "stored" knows (else none)."""
    labelled = asked(task, load_labelled(profile)[0])
    return hide(labelled, KNOWN[profile], seed) if oracle == "stored" else (labelled, [])


def open_pool(name: str, labelled: Sequence[Record], hidden: Sequence[Record] = (), size: int = 40, seed: int = 0,
              cache_dir: str | Path | None = None, progress: bool = True) -> tuple[list[Record], dict[str, str], float | None]:  # fmt: skip
    """Crystals to screen, with the gaps, hull energies and labels that a list of your own knows: one with a label is no candidate.

    Parameters
    ----------
    name : str
        "prototypes": `size` hypothetical crystals of the labelled ones' elements, and those that `hidden` were computed from, all relaxed with the potential;
        "screening_pool": of the data folder; or a path that `sources.entries` reads.
    labelled : sequence of Record
        From which gaps are learned where the pool has none.
    hidden : sequence of Record
        Labelled crystals that are to be found again; beside a pool of other crystals they stand as they are.
    size, seed : int

    Returns
    -------
    list of Record, dict of id to reason, and float or None
        The pool; what is none of it; and the mean absolute error of estimated gaps in eV, where there are any.
    """
    bare = [replace(r, eps_electronic=None, eps_ionic=None, eps_total=None) for r in hidden]
    if name == "prototypes":
        seeds, elements = read_seeds(), {e.symbol for r in labelled for e in r.structure.composition}  # what networks and gaps know
        crystals = {r.id: build_seed(seeds[r.id]).get_primitive_structure() for r in hidden if r.id in seeds}
        drawn = hypothetical(size, seed, *([e for e in some if e in elements] for some in (CATIONS, ANIONS)))
        records, reasons = relaxed_pool(drawn | crystals, progress=progress)
    elif name == "screening_pool":
        records, reasons = [*load_records("full", name), *bare], {}
    else:
        found = dict(read_records(name))
        reasons = {key: str(r) for key, r in found.items() if isinstance(r, Exception)}
        records = [*(r for key, r in found.items() if key not in reasons), *bare]
    if all(band_gap(r) is not None for r in records):
        return records, reasons, None
    records, error = estimate_gaps(records, labelled, cache_dir=cache_dir)
    return records, reasons, error


def open_oracle(name: str, task: str, pool: Sequence[Record], hidden: Sequence[Record] = (), folder: str | Path | None = None,
                max_atoms: int = 5, relax: bool = False) -> tuple[Oracle, Callable[[Record], bool]]:  # fmt: skip
    """An oracle, and whether it can be asked for a candidate.

    Parameters
    ----------
    name : {"stored", "published", "dfpt", "vasp"}
        Tensors of `hidden`; the paper's VASP results (folder named by DTNET_PUBLISHED_DIR); the kit's DFPT, for up to
        `max_atoms` atoms; VASP's files in `folder`.
    task : str
    pool : sequence of Record
    folder : path
        Of the calculations of "dfpt" and "vasp".
    relax : bool
        Whether "dfpt" relaxes a crystal first: PBE drives layers apart that dispersion holds together.

    Raises
    ------
    ValueError
        For an unknown name, or without a folder that it needs.
    """
    if name == "published" and published_dir() is None:
        raise ValueError("oracle 'published' reads the folder named by DTNET_PUBLISHED_DIR, which is not set")
    if name in ("dfpt", "vasp") and folder is None:
        raise ValueError(f"oracle {name!r} needs a folder to keep its calculations in")
    if name in ("stored", "published"):
        known = list(hidden) if name == "stored" else published_records(task, pool, published_dir())[0]
        ids = {i for r in known for i in (r.id, r.mp_id) if i}
        return StoredOracle(known), lambda record: record.id in ids or record.mp_id in ids
    if name == "dfpt":
        oracle = DFPTOracle(folder, max_atoms=max_atoms, options={"relax": relax})
        return oracle, oracle.accepts
    if name == "vasp":
        return VaspOracle(folder), lambda record: True
    raise ValueError(f"oracle is {name!r}; choose one of {', '.join(ORACLES)}")
