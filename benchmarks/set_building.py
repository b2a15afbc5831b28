"""Symmetry analysis of a training set, milliseconds a crystal: as it was, searched anew, and from the store.

    python benchmarks/set_building.py                                  # writes the key "set_building" of performance.json
    python benchmarks/set_building.py --profile full --output FILE

"Before" is what the kit did first: three searches by spglib for each crystal. Its orbits and projectors are compared with today's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from pymatgen.core import Structure  # noqa: E402
from record import OUTPUT, circumstances, store  # noqa: E402
from workload import crystals  # noqa: E402

from dtnet_core.crystals import symmetry_store  # noqa: E402
from dtnet_core.crystals.search import sorted_rotations, spglib_cell, spglib_search  # noqa: E402
from dtnet_core.crystals.symmetry_store import stored_orbits  # noqa: E402
from dtnet_core.features import from_mandel, to_mandel  # noqa: E402
from dtnet_core.training.sets import ORBIT_SYMPREC, group_projector  # noqa: E402

Analysis = tuple[np.ndarray, torch.Tensor]
"""Representatives [N], projector [6, 6]."""


def before(structure: Structure) -> Analysis:
    """Three searches, and the projector as one sum over three factors."""
    labels = spglib_search("get_symmetry_dataset", structure, spglib_cell(structure), ORBIT_SYMPREC).crystallographic_orbits
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    primitive = spglib_search("standardize_cell", structure, spglib_cell(structure), ORBIT_SYMPREC, to_primitive=True, no_idealize=True)
    fractional = sorted_rotations(spglib_search("get_symmetry", structure, primitive, ORBIT_SYMPREC)["rotations"])
    columns = np.asarray(primitive[0]).T
    u, _, vt = np.linalg.svd(columns @ fractional @ np.linalg.inv(columns))
    r, basis = torch.from_numpy(u @ vt), from_mandel(torch.eye(6, dtype=torch.float64))
    return first[inverse], to_mandel(torch.einsum("gia,mab,gjb->mij", r, basis, r) / len(r)).T


def now(structures: Sequence[Structure], root: str) -> list[Analysis]:
    """What `build_set` does; what is stored under `root` is read."""
    symmetry_store._read.cache_clear()
    return [(r, group_projector(g)) for r, g in stored_orbits(structures, ORBIT_SYMPREC, root)]


def measure(structures: Sequence[Structure], repeats: int) -> dict:
    """Medians over the repeats of the processor time, and what differs."""
    times: dict[str, list[float]] = {"before": [], "after_cold": [], "after_stored": []}

    def timed(name: str, action: Callable[[], list[Analysis]]) -> list[Analysis]:
        start = time.process_time()
        result = action()
        times[name].append(1e3 * (time.process_time() - start) / len(structures))
        return result

    now(structures[:20], tempfile.mkdtemp())  # imports and tables
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            old = timed("before", lambda: [before(s) for s in structures])
            new = timed("after_cold", lambda folder=folder: now(structures, folder))
            timed("after_stored", lambda folder=folder: now(structures, folder))
    ms = {f"{name}_ms_per_crystal": statistics.median(values) for name, values in times.items()}
    return {
        "crystals": len(structures), "repeats": repeats, **ms,
        "speedup_cold": ms["before_ms_per_crystal"] / ms["after_cold_ms_per_crystal"],
        "speedup_stored": ms["before_ms_per_crystal"] / ms["after_stored_ms_per_crystal"],
        "different_orbits": sum(not np.array_equal(a[0], b[0]) for a, b in zip(old, new, strict=True)),
        "largest_difference_of_projectors": max(float((a[1] - b[1]).abs().max()) for a, b in zip(old, new, strict=True)),
        "clock": "processor",
    }  # fmt: skip


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", nargs="+", default=["mini"], choices=("mini", "full"), help="whose crystals")
    parser.add_argument("--data-dir", help="folder of the full profile's data files, if not its own")
    parser.add_argument("--crystals", type=int, default=126)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    o = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for profile in o.profile:
        records = crystals(profile, o.crystals, o.data_dir if profile == "full" else None)
        found[profile] = measure([r.structure for r in records], o.repeats)
        print(profile, {k: round(v, 3) for k, v in found[profile].items() if isinstance(v, float)})
    store(o.output, "set_building", found | circumstances())


if __name__ == "__main__":
    main()
