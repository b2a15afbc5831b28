"""A guess that cannot run away: constants of crystals by their likeness to the training crystals, and answers that lean on it.

Far from what they learned from, networks extrapolate to anything. A support vector machine on pooled features returns to the mean of its training crystals
instead. An answer leans on its guess where the crystal is far, and where the networks differ by much of their own constant; elsewhere it stays what it was.
How far and how much was chosen on two folds of the benchmark of reach (pairs of elements, bonding) and on validation crystals, on which no error may grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..base.arrays import read_arrays, write_arrays
from ..base.kernel import fit_projection, gaussian, project
from ..metrics import SMALLEST_CONSTANT, log_of, raw_constant

COMPONENTS = 128
"""Principal components of the pooled features."""
MACHINE = {"C": 5.0, "gamma": 0.3}
TUBES = (0.02, 0.05)
"""Errors of the logarithm of the electronic and the ionic constant that cost nothing."""
FLOORS = (1.0, 0.0)
"""No eigenvalue of an electronic, of an ionic tensor is lower."""


class Ramps(NamedTuple):
    """How answers come to lean on a guess.

    Attributes
    ----------
    far : (float, float)
        Distances, in units of the typical one, between which an answer comes to lean by `most`.
    most : float
    apart : (float, float)
        Deviations of the networks, over their constant, between which it comes to lean wholly.
    """

    far: tuple[float, float] = (1.75, 2.5)
    most: float = 0.5
    apart: tuple[float, float] = (0.5, 1.5)


RAMPS = Ramps()
"""Those that ship; `domain.ramps` compares them with others."""


def settings() -> dict:
    """All that decides how answers lean, beside the fitted machine."""
    return {"COMPONENTS": COMPONENTS, "MACHINE": MACHINE, "TUBES": TUBES} | RAMPS._asdict()


@dataclass(frozen=True)
class Guess:
    """A fitted machine; `fit_guess` makes one, `load_guess` reads one.

    Attributes
    ----------
    center, scale : np.ndarray, [D]
    components : np.ndarray, [D, P]
        From pooled features to principal components, in units in which the training crystals' mean square is one.
    vectors : np.ndarray, [S, P]
        Support vectors.
    weights : np.ndarray, [S, 2]
    intercepts : np.ndarray, [2]
    """

    center: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def log_constants(self, pooled: np.ndarray) -> np.ndarray:
        """Logarithms of the electronic and the ionic constant [B, 2] of crystals with pooled features [B, D] (`trust.reach.invariants_of`)."""
        points = project(pooled, self.center, self.scale, self.components)
        return gaussian(points, self.vectors, MACHINE["gamma"]) @ self.weights + self.intercepts

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; vectors and components in half precision."""
        write_arrays(path, "guess", {k: getattr(self, k) for k in _ARRAYS}, {"targets": ["electronic", "ionic"]}, half=("vectors", "components"))


_ARRAYS = ("center", "scale", "components", "vectors", "weights", "intercepts")


def load_guess(path: str | Path) -> Guess:
    """Read what `Guess.save` wrote; see `base.arrays.read_arrays`."""
    return Guess(**read_arrays(path, "guess", _ARRAYS)[0])


def fit_guess(pooled: np.ndarray, constants: np.ndarray) -> Guess:
    """Fit the machine to crystals with pooled features [n, D] and electronic and ionic constants [n, 2]."""
    from sklearn.svm import SVR

    center, scale, axes = fit_projection(pooled, COMPONENTS)
    size = np.sqrt(np.square(project(pooled, center, scale, axes)).sum(1).mean())
    axes = (axes / size).astype(np.float16).astype(float)  # as it is stored
    points = project(pooled, center, scale, axes).astype(np.float16).astype(float)
    weights, intercepts = np.zeros((len(points), 2)), np.zeros(2)
    for k, tube in enumerate(TUBES):
        machine = SVR(**MACHINE, epsilon=tube, cache_size=500).fit(points, log_of(constants[:, k]))
        weights[machine.support_, k], intercepts[k] = machine.dual_coef_[0], machine.intercept_[0]
    used = weights.any(1)
    return Guess(center, scale, axes, points[used], weights[used], intercepts)


def lean(members: np.ndarray, unbounded: np.ndarray, guess: np.ndarray, distance: np.ndarray, ramps: Ramps = RAMPS) -> tuple[np.ndarray, np.ndarray]:
    """Electronic and ionic tensors that lean on a guess where the networks cannot be trusted.

    Parameters
    ----------
    members, unbounded : np.ndarray, [M, B, 2, 3, 3]
        Of each network, with its link and before it.
    guess : np.ndarray, [B, 2]
        Of `Guess.log_constants`.
    distance : np.ndarray, [B]
        Of `trust.reach.Reach`, over the typical one.
    ramps : Ramps

    Returns
    -------
    leaning : np.ndarray, [M, B, 2, 3, 3]
        The same bits where nothing leans. Else the mean constant moves towards the guess, in logarithms; directions and relative differences stay.
    apart : np.ndarray, [B, 2]
        Difference between the guessed constant and the networks'.
    """
    constant, floors = raw_constant(members).mean(0), np.array(FLOORS)  # [B, 2]
    guessed = np.maximum(np.exp(guess), np.maximum(floors, SMALLEST_CONSTANT))
    share = leaning(distance[:, None], raw_constant(unbounded).std(0) / np.maximum(constant, 0.5), ramps)  # [B, 2]
    wanted = np.exp(share * np.log(guessed) + (1 - share) * log_of(constant))
    empty = floors[:, None, None] * np.eye(3)
    ways = {
        "shrinks": empty + (members - empty) * ((wanted - floors) / np.maximum(constant - floors, 1e-9))[..., None, None],
        "grows": members * (wanted / np.maximum(constant, SMALLEST_CONSTANT))[..., None, None],
        "nothing to grow": np.broadcast_to(wanted[..., None, None] * np.eye(3), members.shape),
    }
    cases = [share == 0, wanted < constant, constant > SMALLEST_CONSTANT]
    found = np.select([case[..., None, None] for case in cases], [members, ways["shrinks"], ways["grows"]], ways["nothing to grow"])
    return found, np.abs(guessed - constant)


def leaning(distance: np.ndarray, deviation: np.ndarray, ramps: Ramps = RAMPS) -> np.ndarray:
    """The guess's weight, 0 to 1, at a distance over the typical one, for a relative deviation of the networks."""
    far, apart = (np.clip((x - low) / (high - low), 0, 1) for x, (low, high) in ((distance, ramps.far), (deviation, ramps.apart)))
    return 1 - (1 - ramps.most * far) * (1 - apart)
