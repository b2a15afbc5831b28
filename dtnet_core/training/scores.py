"""What a results record says of a test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..metrics import metrics_by_system


def test_scores(split: dict[str, np.ndarray], reference: np.ndarray, predicted: np.ndarray, systems: Sequence[str]) -> dict:
    """What every record of a results file says of its test: sizes, all metrics, and the same by crystal system.

    Parameters
    ----------
    split : dict of str to np.ndarray
    reference, predicted : np.ndarray, [b, 3, 3]
        Of the crystals of ``split["test"]``.
    systems : sequence of str, [b]
        Their crystal systems.
    """
    by_system = metrics_by_system(reference, predicted, systems)
    sizes = {f"n_{part}": len(rows) for part, rows in split.items()}
    return sizes | {k: v for k, v in by_system["all"].items() if k != "n"} | {"by_system": by_system}
