"""What a cleaned set of records holds, in numbers: for the table beside the paper's Fig. 4, and Table 1 as a check.

``dtnet results summary --profile full`` stores the numbers in ``data/results/dataset.json``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..base.paths import RESULTS
from ..base.results import append_result, provenance
from ..crystals.frames import tensor_violations
from ..crystals.record import TARGETS, Record
from ..crystals.structures import crystal_systems
from ..crystals.symmetry import CRYSTAL_SYSTEMS
from ..metrics import independent_components, scalar_constant, table1_violation
from .cleaning import CleaningReport, clean
from .loading import data_sha256, load_records

FILE = RESULTS / "dataset.json"


def summarise(records: Sequence[Record], systems: Sequence[str]) -> dict:
    """Numbers of a set: crystals, atoms, elements, crystal systems, range of the scalar constants.

    Parameters
    ----------
    records : sequence of Record
    systems : sequence of str
        Crystal system of each record.

    Returns
    -------
    dict
        `n`, `n_atoms`, `n_elements`, `n_formulas`, `crystal_system_counts` {name: n}, `scalar_range`
        {target: [smallest, largest]} of trace / 3 (only targets that all records have).
    """
    counts, ranges = Counter(systems), {}
    for target in TARGETS:
        tensors = [record.tensor(target) for record in records]
        if records and all(tensor is not None for tensor in tensors):
            values = scalar_constant(np.array(tensors))  # [N]
            ranges[target] = [round(float(values.min()), 4), round(float(values.max()), 4)]
    return {
        "n": len(records),
        "n_atoms": sum(len(r.structure) for r in records),
        "n_elements": len({e.symbol for r in records for e in r.structure.composition.elements}),
        "n_formulas": len({r.formula for r in records}),
        "crystal_system_counts": {name: counts[name] for name in CRYSTAL_SYSTEMS},
        "scalar_range": ranges,
    }


def compare_with_paper(summary: Mapping, paper: Mapping) -> pd.DataFrame:
    """Table of a set's numbers beside the ones the paper prints (its Section 2.3.1; blank where it prints none).

    Parameters
    ----------
    summary : mapping
        From `summarise`, optionally with "n_input".
    paper : mapping
        The "dataset" part of ``data/paper/performance.json``.
    """
    rows = [
        ("tensors before cleaning", summary.get("n_input", ""), paper["tensors"]),
        ("after cleaning", summary["n"], paper["after_cleaning"]),
        ("elements", summary["n_elements"], paper.get("elements_covered", "")),
    ]
    printed = paper.get("crystal_system_counts", {})
    rows += [(name, n, printed.get(name, "")) for name, n in summary["crystal_system_counts"].items()]
    for target, (low, high) in summary["scalar_range"].items():
        theirs = "{:.3f} to {:.3f}".format(*paper["scalar_range"][target])
        rows.append((f"{target} constant", f"{low:.3f} to {high:.3f}", theirs))
    return pd.DataFrame(rows, columns=["", "this set", "paper"]).set_index("")


def table1_check(
    records: Sequence[Record], systems: Sequence[str], max_violation: float = 0.01
) -> pd.DataFrame:
    """Does every tensor have the form that Table 1 gives its crystal system?

    Parameters
    ----------
    records : sequence of Record
    systems : sequence of str
        Crystal system of each record.
    max_violation : float
        Relative deviation above which a tensor is counted.

    Returns
    -------
    DataFrame
        A row for each crystal system present: number of independent components and of crystals; for the
        electronic and the total tensor the median and the largest relative deviation from the allowed form, and
        how many exceed `max_violation`.
    """
    rows = []
    for system in (s for s in CRYSTAL_SYSTEMS if s in set(systems)):
        members = [r for r, s in zip(records, systems, strict=True) if s == system]
        row = {"system": system, "components": independent_components(system), "crystals": len(members)}
        for target in ("electronic", "total"):
            found = [table1_violation(t, r.structure) for r in members if (t := r.tensor(target)) is not None]
            if found:
                row[f"{target} median"], row[f"{target} largest"] = np.median(found), max(found)
                row[f"{target} above {max_violation:g}"] = sum(v > max_violation for v in found)
        rows.append(row)
    order = {name: k for k, name in enumerate(CRYSTAL_SYSTEMS)}
    rows.sort(key=lambda row: (row["components"], order[row["system"]]))
    return pd.DataFrame(rows).set_index("system")


def violation_in_another_frame(record: Record, rotation: np.ndarray) -> tuple[float, float]:
    """Violation of a record as it is, and with its tensors turned by `rotation` [3, 3] while its structure stays."""
    turned = {
        f"eps_{t}": rotation @ tensor @ rotation.T
        for t in TARGETS
        if (tensor := record.tensor(t)) is not None
    }
    return tuple(max(tensor_violations(r).values()) for r in (record, replace(record, **turned)))


def store_summary(profile: str) -> CleaningReport:
    """Clean a profile's default set, store its numbers with their provenance, and give what cleaning found."""
    begun = time.perf_counter()
    records = load_records(profile)
    kept, report = clean(records)
    systems = crystal_systems(r.structure for r in kept)
    append_result(
        FILE,
        {
            "profile": profile, "dataset": records[0].meta["file"], **summarise(kept, systems), "n_input": report.n_input,
            "dropped": report.counts(), "flagged": report.flag_counts(), "settings": report.settings,
            "data_sha256": data_sha256(records), **provenance(), "command": f"dtnet results summary --profile {profile}",
            "wall_s": round(time.perf_counter() - begun, 1),
        },
    )  # fmt: skip
    return report
