"""The tables of `data/open_dfpt.md`, made from the stored studies: ``dtnet dfpt document``."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from ..base.files import read_json
from ..base.paths import DATA, RESULTS
from ..crystals.record import TARGETS, record_from_dict
from ..crystals.symmetry import crystal_system
from ..data.comparison import median_percent
from ..metrics import anisotropy_ratio
from .markdown import markdown_table, update_block

DOCUMENT = DATA / "open_dfpt.md"
ANISOTROPIC = 1.02
"""Ratio of the largest to the smallest eigenvalue of the total tensor from which a crystal counts as anisotropic."""


def contents(records: list[dict]) -> str:
    """What the set holds: usable records by crystal system, elements, anisotropic ones, spread of the targets, flags."""
    usable = [record_from_dict(r) for r in records if not r["flags"]]
    systems = Counter(crystal_system(r.structure) for r in usable)
    elements = sorted({e.symbol for r in usable for e in r.structure.composition})
    anisotropic = sum(float(anisotropy_ratio(r.eps_total[None])[0]) > ANISOTROPIC for r in usable)
    spread = {p: np.array([np.trace(r.tensor(p)) / 3 for r in usable]) for p in TARGETS}
    flags = Counter(flag for r in records for flag in r["flags"])
    rows = [
        ("records", len(records)), ("without a flag", len(usable)), ("of these anisotropic (ratio above 1.02)", anisotropic),
        ("crystal systems", ", ".join(f"{name} {n}" for name, n in sorted(systems.items(), key=lambda x: -x[1]))),
        (f"elements ({len(elements)})", " ".join(elements)),
        *((f"{p} constant", f"{v.min():.2f} to {v.max():.2f}, median {np.median(v):.2f}") for p, v in spread.items()),
        ("flags", ", ".join(f"{name} {n}" for name, n in flags.items()) or "none"),
        ("computing time", f"{sum(r['wall_s'] for r in records) / 3600:.1f} hours of one core"),
    ]  # fmt: skip
    return markdown_table(pd.DataFrame(rows, columns=["", "this set"]))


def convergence() -> str:
    """Table of the convergence study."""
    table = pd.DataFrame(read_json(RESULTS / "dfpt_convergence.json")["rows"])
    shown = table[["id", "variant"]].copy()
    shown["cutoff (Ha)"] = table.ecut_hartree
    shown["mesh"] = ["x".join(map(str, m)) + (f", {g} grids" if g > 1 else "") for m, g in zip(table.ngkpt, table.grids, strict=True)]
    shown["irreducible"] = table.k_points
    shown["charge sum (e)"] = table.charge_sum.map("{:.3f}".format)
    for part in ("electronic", "total"):
        shown[part] = table[part].map("{:.3f}".format)
        shown[f"change of {part} (%)"] = (100 * table[f"change_{part}"]).map("{:.2f}".format)
    return markdown_table(shown)


def engines() -> str:
    """Table of the two programs."""
    rows = [
        (r["id"], part, *(f"{x:.3f}" for x in r[part]), f"{100 * r[f'change_{part}']:.2f}")
        for r in read_json(RESULTS / "dfpt_engines.json")["rows"] for part in ("electronic", "total")
    ]  # fmt: skip
    return markdown_table(pd.DataFrame(rows, columns=["id", "tensor", "Quantum ESPRESSO", "ABINIT", "largest difference (%)"]))


def recomputed() -> str:
    """Table of the records that were computed again from scratch."""
    rows = [
        (r["id"], *(f"{100 * r[f'change_{part}']:.3f}" for part in TARGETS)) for r in read_json(RESULTS / "dfpt_recomputed.json")["rows"]
    ]
    return markdown_table(pd.DataFrame(rows, columns=["id", *(f"{part} (%)" for part in TARGETS)]))


def comparison() -> str:
    """Medians against the Materials Project, with and without entries at another volume, and against measurement."""
    stored = read_json(RESULTS / "dfpt_comparison.json")
    near = [c for c in stored["crystals"] if abs(c["volume_percent"]) < 5]
    rows = []
    for name, chosen in (("all", stored["crystals"]), ("volumes within 5 %", near)):
        medians = (f"{value:.1f}" for value in median_percent(chosen).values())
        rows.append((f"Materials Project, {name}", len({c["id"] for c in chosen}), *medians))
    ratios = np.array([np.divide(r["computed"], r["measured"]) for r in stored["measured"]])  # [n, 2]
    medians = 100 * (np.median(ratios, axis=0) - 1)
    rows.append(("measured (signed)", len(ratios), f"{medians[0]:+.1f}", "-", f"{medians[1]:+.1f}"))
    return markdown_table(pd.DataFrame(rows, columns=["against", "crystals", *(f"{p} (%)" for p in TARGETS)]))


def tables() -> dict[str, str]:
    """Every table of the document by its mark."""
    return {"contents": contents(read_json(DATA / "open_dfpt.json.gz")), "convergence": convergence(), "engines": engines(),
            "recomputed": recomputed(), "comparison": comparison()}  # fmt: skip


def document() -> None:
    """Rewrite every table of the document."""
    for mark, text in tables().items():
        update_block(DOCUMENT, mark, text)
