"""A blind test of the shipped weights: electronic constants of crystals whose ids and formulas no file of their training holds.

Naccarato et al. (arXiv:1809.01132) computed the electronic part of thousands of Materials Project crystals. Those that the
shipped networks cannot have seen make a test that nobody tuned on; it can be made once, before such labels train anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base.paths import RESULTS
from ..base.results import provenance, write_json
from ..crystals.record import Record
from ..data.cleaning import SUPPORTED_ELEMENTS
from ..data.loading import data_sha256, load_records
from ..ensemble import load_ensemble
from ..metrics import mae_ten, scalar_constant, share_within

SOURCE = "naccarato_electronic"
TRAINED_ON = ("mp_tensors", "pbesol_tensors", "mp_scalars")
"""Files of the data folder that the shipped networks learned from, in part."""
BINS = np.geomspace(1.0, 40.0, 41)
"""Edges of the stored histogram of predicted against computed constants."""


def unseen(records: Sequence[Record], known: Sequence[Record]) -> list[Record]:
    """Records with neither id nor formula of a known one, and of elements that the encoders know."""
    ids, formulas = {r.mp_id for r in known}, {r.formula for r in known}
    return [
        r for r in records
        if r.mp_id not in ids and r.formula not in formulas and {e.symbol for e in r.structure.composition} <= SUPPORTED_ELEMENTS
    ]  # fmt: skip


def constants(records: Sequence[Record]) -> np.ndarray:
    """Electronic constants [B] (Eq. 2), from whole tensors, diagonals or scalars."""
    diagonals = (r.meta.get("eps_electronic_diag") for r in records)
    return np.array([float(np.mean(d)) if d is not None else r.scalar("electronic") for r, d in zip(records, diagonals, strict=True)], dtype=float)


def scores(records: Sequence[Record], variant: str, cache_dir: str | Path | None = None, progress: bool = True) -> dict:
    """What `variant` says of the records: errors, shares, coverage, where the worst are.

    Returns
    -------
    dict
        n, and of the constant: mae, median_relative_error, within_10 and within_25 (shares), covered_68 and covered_90, bias (median
        of predicted / computed), quantiles of |log(predicted / computed)|, histogram [40, 40] over `BINS` (computed down,
        predicted across), worst (ten ids with formula, computed and predicted ratio); of the records that have whole tensors: n_tensors,
        mae_ten, within_25_tensors (Frobenius).
    """
    found = load_ensemble("electronic", variant).predict([r.structure for r in records], cache_dir, progress)
    truth, predicted = constants(records), scalar_constant(found.tensors)
    wrong = np.abs(predicted - truth)
    logs = np.abs(np.log(np.maximum(predicted, 1e-3) / truth))
    whole = np.array([r.eps_electronic is not None for r in records])
    tensors = np.array([r.eps_electronic for r in records if r.eps_electronic is not None])
    order = np.argsort(-logs)[:10]
    return {
        "variant": variant, "n": len(records), "mae": wrong.mean(), "median_relative_error": np.median(wrong / truth),
        "within_10": (wrong <= 0.1 * truth).mean(), "within_25": (wrong <= 0.25 * truth).mean(),
        "covered_68": (wrong <= found.std).mean(), "covered_90": (wrong <= found.wide).mean(), "bias": np.median(predicted / truth),
        "log_error_quantiles": dict(zip(("0.5", "0.9", "0.99", "1"), np.quantile(logs, (0.5, 0.9, 0.99, 1)).tolist(), strict=True)),
        "histogram": np.histogram2d(truth, predicted, (BINS, BINS))[0].astype(int),
        "worst": [{"id": records[i].mp_id, "formula": records[i].formula, "ratio": predicted[i] / truth[i], "wide": found.wide[i]} for i in order],
        "n_tensors": int(whole.sum()), "mae_ten": mae_ten(tensors, found.tensors[whole]),
        "within_25_tensors": share_within(tensors, found.tensors[whole], 25),
    }  # fmt: skip


def run_blind(variants: Sequence[str] = ("default", "best"), results: str | Path | None = None, data_dir: str | Path | None = None,
              cache_dir: str | Path | None = None, progress: bool = True) -> dict:  # fmt: skip
    """Make the record and write it to `data/results/blind.json`."""
    started = time.monotonic()
    records = load_records("full", SOURCE, data_dir)
    known = [r for name in TRAINED_ON for r in load_records("full", name, data_dir)]
    chosen = unseen(records, known)
    record = {
        "source": SOURCE, "n_source": len(records), "n_unseen": len(chosen), "trained_on": TRAINED_ON,
        "rule": "neither Materials Project id nor reduced formula in a file that the networks learned from",
        "bins": BINS, "variants": [scores(chosen, v, cache_dir, progress) for v in variants],
        "data_sha256": data_sha256(records), "command": "dtnet results blind", "wall_s": round(time.monotonic() - started, 1), **provenance(),
    }  # fmt: skip
    write_json(results or RESULTS / "blind.json", record)
    return record
