"""What modes cost: force constants at Gamma, processor seconds a crystal, one thread.

    python benchmarks/modes.py            # minutes; writes the key "modes" of data/results/performance.json
    python benchmarks/modes.py --quick    # prints only

Small crystals are the kit's own, with all their symmetry. For larger ones a supercell of MgO has its atoms pushed off their places, so that no
symmetry is left: the dearest crystal of its size. Potentials whose weights are not at hand are left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

import torch  # noqa: E402
from pymatgen.core import Structure  # noqa: E402
from record import OUTPUT, circumstances, store  # noqa: E402
from timing import seconds_of  # noqa: E402
from workload import crystals  # noqa: E402

from dtnet_core.data.loading import load_records  # noqa: E402
from dtnet_core.physics.force_constants import effort, force_constants  # noqa: E402
from dtnet_core.potentials.registry import load_encoder  # noqa: E402

POTENTIALS = ("7net-0", "nequix-oam-1-pft")
CELLS = ((2, 1, 1), (2, 2, 1), (2, 2, 2))


def pushed(cell: tuple[int, int, int]) -> Structure:
    """A supercell of MgO's primitive cell without symmetry."""
    (found,) = [r.structure for r in load_records("mini") if r.id == "MgO-rocksalt"]
    return found.make_supercell(cell, in_place=False).perturb(0.05, seed=0)


def measure(potential: str, small: int, cells: int) -> dict:
    """Processor seconds, one run a crystal after a warm-up: the median of small crystals, and each larger one."""
    encoder = load_encoder(potential)
    own = [r.structure for r in crystals("mini", small)]
    force_constants(encoder, own[0])

    def seconds(structure: Structure) -> float:
        return seconds_of(lambda: force_constants(encoder, structure))[1]["cpu_s"]

    rows = [{"atoms": len(s), "effort": effort(encoder, s), "processor_s": seconds(s)} for s in [*own, *map(pushed, CELLS[:cells])]]
    return {"potential": potential, "own": {"crystals": len(own), "atoms": [min(map(len, own)), max(map(len, own))], "median_processor_s": statistics.median(r["processor_s"] for r in rows[: len(own)])},
            "without_symmetry": rows[len(own) :], "effort_per_processor_s": statistics.median(r["effort"] / r["processor_s"] for r in rows)}  # fmt: skip


def main() -> None:
    """Measure every potential at hand, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few crystals; writes a file only with --output")
    parser.add_argument("--output", type=Path)
    o = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    found = []
    for potential in POTENTIALS:
        try:
            found.append(measure(potential, *(4, 1) if o.quick else (48, len(CELLS))))
        except (ImportError, FileNotFoundError) as error:
            print(f"{potential}: left out ({error})")
            continue
        print(found[-1], flush=True)
    if o.output or not o.quick:
        store(o.output or OUTPUT, "modes", {"potentials": found, **circumstances()})


if __name__ == "__main__":
    main()
