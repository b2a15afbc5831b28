"""How good the set is: convergence, recomputation from scratch, two engines, other calculations, measured values.

Each study is a command (``dtnet dfpt converge | recompute | engines | compare``) that writes one JSON file in
`data/results`, with where it came from.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from ..base.files import read_json
from ..base.paths import RESULTS
from ..base.results import provenance, write_json
from ..crystals.record import TARGETS, Record, record_from_dict
from ..crystals.symmetry import standard_rotation
from ..data.comparison import median_percent
from ..data.loading import data_sha256, load_records, resolve_data_dir
from .inputs import DFPTError, irreducible, response_spacing
from .queue import run_many
from .seeds import DATA, SEED_FILE, SET_FILE, load_set, seed_jobs

CUTOFF_FACTORS, SPACING_FACTORS = (0.8, 1.2), (1.35, 0.8)


def stored(keys: Sequence[str] | None = None) -> dict[str, dict]:
    """Records of the set by id; all usable ones, or those named.

    Raises
    ------
    DFPTError
        For an id that the set does not have.
    """
    records = {r["id"]: r for r in load_set()}
    if keys is None:
        return {k: r for k, r in records.items() if not r["flags"]}
    missing = [k for k in keys if k not in records]
    if missing:
        raise DFPTError(f"{missing} not in the set; `dtnet dfpt list` shows what is")
    return {k: records[k] for k in keys}


def _as_computed(record: Mapping) -> tuple[Structure, float, float]:
    """Structure, cutoff (hartree) and k-point spacing (1/angstrom) of the response part of a record of the set."""
    structure = record_from_dict(record).structure
    return structure, record["settings"]["ecut"], response_spacing(record["gap_ev"], structure)


def _constants(record: Mapping) -> dict[str, float]:
    """Mean diagonal of each tensor."""
    return {part: float(np.trace(record[f"eps_{part}"]) / 3) for part in TARGETS}


def _changes(record: Mapping, reference: Mapping) -> dict[str, float]:
    """`deviation` of each tensor."""
    return {f"change_{part}": deviation(record, reference, part) for part in TARGETS}


def converge(keys: Sequence[str], root: Path, workers: int = 1) -> list[dict]:
    """Vary cutoff and k-mesh of crystals of the set, one at a time, at the set's own geometry.

    Returns
    -------
    list of dict
        One a variant: id, what was varied, cutoff (hartree), mesh, number of irreducible k-points, tensors' mean
        diagonal, largest element of the sum of the Born charges, largest change of each tensor against the set's
        settings relative to its largest element.
    """
    jobs = []
    for key, record in stored(keys).items():
        structure, ecut, spacing = _as_computed(record)
        variants = {"reference": (ecut, spacing)}
        variants |= {f"cutoff x {f:g}": (round(f * ecut, 1), spacing) for f in CUTOFF_FACTORS}
        variants |= {f"k spacing x {f:g}": (ecut, spacing * f) for f in SPACING_FACTORS}
        jobs += [(f"{key}, {name}", structure, {"ecut": e, "spacing": s}) for name, (e, s) in variants.items()]
    found, rows = run_many(jobs, root, workers, engine="qe", relax=False), []
    for name, _, _ in jobs:
        record, (key, variant) = found[name], name.split(", ")
        if isinstance(record, str):
            raise DFPTError(f"{name}: {record}")
        settings, structure = record["settings"], record_from_dict(record).structure
        rows.append({
            "id": key, "variant": variant, "ecut_hartree": settings["ecut"], "ngkpt": settings["ngkpt"],
            "grids": len(settings["shifts"]), "k_points": len(irreducible(structure, settings["ngkpt"], settings["shifts"])[0]),
            "charge_sum": float(np.abs(np.sum(record["born_charges"], axis=0)).max()),
            **_constants(record), **_changes(record, found[f"{key}, reference"]),
            "wall_s": record["wall_s"], "code": record["code"],
        })  # fmt: skip
    write_json(RESULTS / "dfpt_convergence.json", {"rows": rows, **_origin()})
    return rows


def recompute(keys: Sequence[str] | None, root: Path, workers: int = 1, count: int = 5, seed: int = 0) -> list[dict]:
    """Compute records of the set again from their seeds, in new folders, and say how far the result is from the set.

    Parameters
    ----------
    keys : ids; None: `count` usable ones drawn with `seed`.
    """
    chosen = stored(keys)
    if keys is None:
        drawn = random.Random(seed).sample(sorted(chosen), count)
        chosen = {k: chosen[k] for k in drawn}
    results = run_many(seed_jobs(chosen, SEED_FILE), root, workers, engine="qe")
    rows = []
    for key, old in chosen.items():
        new = results[key]
        if isinstance(new, str):
            rows.append({"id": key, "error": new})
            continue
        rows.append({"id": key, **_changes(new, old), "flags": new["flags"], "wall_s": new["wall_s"]})
    write_json(RESULTS / "dfpt_recomputed.json", {"drawn_with_seed": None if keys else seed, "rows": rows, **_origin()})
    return rows


def engines(keys: Sequence[str], root: Path, workers: int = 1) -> list[dict]:
    """Compute records of the set with ABINIT, at their geometry, cutoff and mesh: tensors' mean diagonals, and changes."""
    chosen = stored(keys)
    jobs = []
    for key, record in chosen.items():
        structure, ecut, spacing = _as_computed(record)
        jobs.append((key, structure, {"ecut": ecut, "spacing": spacing}))
    results, rows = run_many(jobs, root, workers, engine="abinit", relax=False), []
    for key, record in chosen.items():
        other = results[key]
        if isinstance(other, str):
            raise DFPTError(f"{key}: {other}")
        rows.append({"id": key, "codes": [record["code"], other["code"]], "wall_s": [record["wall_s"], other["wall_s"]],
                     **{p: [_constants(r)[p] for r in (record, other)] for p in TARGETS}, **_changes(other, record)})  # fmt: skip
    write_json(RESULTS / "dfpt_engines.json", {"rows": rows, **_origin()})
    return rows


def _origin() -> dict[str, str]:
    """Checksum of the set that a study used, commit, hardware and versions."""
    return {"set_sha256": data_sha256(SET_FILE), **provenance()}


def deviation(record: Mapping, reference: Mapping, part: str) -> float:
    """Largest difference of two tensors in one frame, relative to the largest element of the reference's total tensor
    (ionic) or of the tensor itself (electronic, total)."""
    scale = np.abs(reference["eps_total" if part == "ionic" else f"eps_{part}"]).max()
    return float(np.abs(np.subtract(record[f"eps_{part}"], reference[f"eps_{part}"])).max() / scale)


def compare(data_dir: Path | str | None = None) -> dict:
    """Hold the set against the Materials Project's tensors of the same crystals (data folder) and measured values.

    Crystals are the same when pymatgen's StructureMatcher says so (scaled volumes). Tensors are compared element by
    element of the diagonal in each structure's standard axes; records with a flag or of a geometry that was not relaxed are left out.

    Returns
    -------
    dict
        "crystals": one entry a pair (id, mp_id, difference of the volumes in per cent, our diagonals, and ours minus the
        other's), "median_percent": see `median_percent`, "measured": id, computed and measured [electronic, total], source.
    """
    ours = [record_from_dict(r) for r in stored().values() if r["settings"].get("geometry") != "as given"]  # no sheared ones
    theirs: dict[str, list[Record]] = {}
    for record in load_records("full", data_dir=data_dir):
        theirs.setdefault(record.formula, []).append(record)
    matcher, crystals = StructureMatcher(), []
    for record in ours:
        for other in theirs.get(record.formula, []):
            if other.symmetry_violation is not None and other.symmetry_violation > 0.05:
                continue
            if not matcher.fit(record.structure, other.structure):
                continue
            ratio = record.structure.volume / len(record.structure) * len(other.structure) / other.structure.volume
            mine, its = diagonals(record), diagonals(other)
            crystals.append({
                "id": record.id, "mp_id": other.mp_id, "volume_percent": round(100 * (ratio - 1), 2),
                "ours": {part: mine[part].round(4).tolist() for part in TARGETS},
                "difference": {part: (mine[part] - its[part]).round(4).tolist() for part in TARGETS},
            })  # fmt: skip
    result = {"crystals": crystals, "median_percent": median_percent(crystals), "measured": against_measured(ours), **_origin(),
              "data_sha256": data_sha256(resolve_data_dir("full", data_dir) / "mp_tensors.json.gz")}
    write_json(RESULTS / "dfpt_comparison.json", result)
    return result


def against_measured(records: Sequence[Record]) -> list[dict]:
    """Computed and measured [electronic, total] constants of the cubic crystals in `data/measured.json`."""
    measured, rows = read_json(DATA / "measured.json")["crystals"], []
    for record in records:
        if record.id in measured:
            source, electronic, total = measured[record.id]
            computed = [round(float(np.trace(record.tensor(p)) / 3), 4) for p in ("electronic", "total")]
            rows.append({"id": record.id, "computed": computed, "measured": [electronic, total], "source": source})
    return rows


def diagonals(record: Record) -> dict[str, np.ndarray]:
    """Diagonal [3] of each tensor in the standard axes of the structure."""
    rotation = standard_rotation(record.structure, symprec=0.05)
    return {part: np.diag(rotation @ record.tensor(part) @ rotation.T) for part in TARGETS}
