"""Is an answer one that a crystal can give? What is not is refused in words, whoever asked: `Ensemble.predict` or a stream."""

from __future__ import annotations

import numpy as np

from ..metrics import scalar_constant

TRAINED = 100.0
"""Largest element of a tensor that the networks are trained on (the paper's window)."""
BEYOND = 5.0
"""An element larger than so many times `TRAINED` is refused; the largest of 6,723 stable crystals with a gap is below `TRAINED`."""
DISAGREEMENT = 1.0
"""Deviation of the constant among networks over its mean; of 150 crystals drawn from those the largest has 0.25."""
_ROUNDING = 1e-3


def unphysical(members: np.ndarray) -> str | None:
    """Why the answer for a crystal cannot be right, in words, or None.

    Parameters
    ----------
    members : np.ndarray, [M, 3, 3, 3]
        Electronic, ionic and total tensor by each network.

    Returns
    -------
    str or None
        Not finite; an element beyond `BEYOND` times `TRAINED`; an electronic eigenvalue below 1 or an ionic one below 0; networks whose
        total constants deviate by more than `DISAGREEMENT`.
    """
    if not np.isfinite(members).all():
        return "the predicted tensor is not finite"
    mean = members.mean(0)  # [3, 3, 3]
    if (largest := np.abs(mean).max()) > BEYOND * TRAINED:
        return f"the predicted tensor has an element of {largest:.3g}, more than {BEYOND:g} times what any training tensor has ({TRAINED:g}): is the structure right?"
    for part, tensor, floor in (("electronic", mean[0], 1.0), ("ionic", mean[1], 0.0)):
        lowest = np.linalg.eigvalsh((tensor + tensor.T) / 2)[0]
        if lowest < floor - _ROUNDING:
            return f"the predicted {part} tensor has the eigenvalue {lowest:.3g}, below {floor:g}: no stable crystal has that"
    constants = scalar_constant(members[:, 2])  # [M]
    spread = constants.std(ddof=1) / abs(constants.mean()) if len(constants) > 1 else 0.0
    if spread > DISAGREEMENT:
        return f"the networks disagree by {100 * spread:.0f} % about the constant ({', '.join(f'{c:.3g}' for c in constants)}): the mean says nothing"
    return None


def below_empty_space(lowest: float) -> str:
    """Doubt in words about a crystal for which the lowest electronic constant of any network, before its link bounds it, is below 1; else ""."""
    if lowest >= 1:
        return ""
    return f"outside of the domain: a network's electronic constant is {lowest:.2g} before it is bounded, below the 1 of empty space, so the tensor is a guess"
