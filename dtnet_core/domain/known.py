"""Crystals of which anybody knows what to expect, inside and outside of what the networks learned from: what does the kit say of each?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

from ..base.paths import RESULTS, WEIGHTS
from ..base.results import plain, provenance, write_json
from ..crystals.structures import InvalidStructureError
from ..data.loading import data_sha256
from ..ensemble import at_hand, load_ensemble

SHOWN = ("electronic", "total")


def known_crystals() -> dict[str, tuple[Structure, str]]:
    """Name -> structure, and what it is."""
    primitive = lambda symbols, a, sites: Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), symbols, sites).get_primitive_structure()  # noqa: E731
    rocksalt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return {
        "rock salt MgO": (rocksalt.get_primitive_structure(), "a plain oxide"),
        "MgO under pressure": (primitive(["Mg", "O"], 4.21 * 0.8 ** (1 / 3), [[0, 0, 0], [0.5, 0.5, 0.5]]), "the same at four fifths of the volume: its bonds are stiffer, so that the ionic part is smaller"),
        "perovskite SrTiO3": (
            Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]),
            "an oxide with a soft mode, which makes the ionic part large and hard to tell",
        ),
        "rutile TiO2": (
            Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]),
            "an oxide with soft modes; measured at room temperature, the total constants are 86 across the axis and 170 along it (Parker, Phys. Rev. 124, 1719, 1961)",
        ),
        "layered MoTe2": (
            Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(3.52, 13.97), ["Mo", "Te"], [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]]),
            "layers of a telluride with a narrow gap",
        ),
        "solid argon": (primitive(["Ar"], 5.31, [[0, 0, 0]]), "closed shells with almost nothing between them: the constant is a little above the 1 of empty space"),
        "copper": (primitive(["Cu"], 3.61, [[0, 0, 0]]), "a metal: it screens any static field, so there is no such constant"),
        "MgO slab with vacuum": (
            Structure(Lattice.tetragonal(4.21, 24.21), rocksalt.species, rocksalt.cart_coords, coords_are_cartesian=True),
            "mostly empty: the constant of such a cell depends on how wide the gap is",
        ),
        "helium in a box": (Structure(Lattice.cubic(10), ["He"], [[0.5, 0.5, 0.5]]), "an atom alone in a box, which is no crystal"),
    }  # fmt: skip


def say(variant: str, crystals: Mapping[str, tuple[Structure, str]], folder: Path, cache_dir: str | Path | None = None) -> list[dict]:
    """What a variant says of each crystal.

    Returns
    -------
    list of dict
        `name`, `what`, `formula`; `refused`, the reason or None; for each of `SHOWN`: `tensor`, `constant`, `half_width_68`, `half_width_90`, `chance`, `eigenvalues` and their half widths,
        `axes_angle`; `in_domain`, `extreme`, `distance`, `nearest` (ids and formulas), `warnings`; `modes`, the strongest three,
        of a variant that has them. Only the first three and `refused` of what is refused.
    """
    ensembles, rows = {target: load_ensemble(target, variant, folder) for target in SHOWN}, []
    for name, (structure, what) in crystals.items():
        row: dict = {"name": name, "what": what, "formula": structure.composition.reduced_formula, "refused": None}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are in `warnings`
                found = {target: ensemble.predict(structure, cache_dir, progress=False) for target, ensemble in ensembles.items()}
        except InvalidStructureError as error:
            rows.append(row | {"refused": str(error).splitlines()[0]})
            continue
        last = found[SHOWN[-1]]
        for target, one in found.items():
            p = one.principal
            row[target] = {"tensor": one.tensors[0], "constant": np.trace(one.tensors[0]) / 3, "half_width_68": one.std[0], "half_width_90": one.wide[0], "chance": one.chance[0],
                           "eigenvalues": p.values[0], "eigenvalues_68": p.std[0], "eigenvalues_90": p.wide[0], "axes_angle": p.angle[0]}  # fmt: skip
        if (physics := ensembles[SHOWN[-1]].physics) is not None:
            row["modes"] = physics.strongest(structure, cache_dir=cache_dir)
        refused = last.flags[0] if not np.isfinite(last.tensors).all() else None
        rows.append(row | {"refused": refused, "in_domain": last.in_domain[0], "extreme": last.extreme[0], "distance": last.distance[0], "nearest": last.nearest[0], "warnings": last.warnings[0]})
    return rows


def run_known(variants: Sequence[str] | None = None, results: str | Path | None = None, weights: str | Path | None = None, cache_dir: str | Path | None = None) -> dict:
    """Ask the shipped networks, and write `data/results/known_physics.json`; by default all variants whose encoders are at hand."""
    folder, crystals = Path(weights or WEIGHTS), known_crystals()
    found = {name: say(name, crystals, folder, cache_dir) for name in (variants or at_hand(folder, mended=True))}
    sums = {name: data_sha256(folder / name / "calibration.json") for name in found}
    record = plain({"variants": found, "calibration_sha256": sums, "command": "dtnet results known", **provenance()})
    write_json(results or RESULTS / "known_physics.json", record)
    return record
