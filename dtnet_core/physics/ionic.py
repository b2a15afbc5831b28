"""Ionic tensors of an ensemble, mended by what the crystal's own modes say.

The constant becomes a mean of logarithms: the companion's (`companion`) and the networks'. The shape, the tensor over its constant, becomes a mean of
those of the sum over modes and of the networks. Validation crystals chose the weights (`MIXES`). A crystal without modes keeps the networks' tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pymatgen.core import Structure

from ..crystals.symmetry import primitive_structure
from ..features import Features
from ..members import with_total
from ..metrics import SMALLEST_CONSTANT, log_of, raw_constant
from ..potentials.open_encoder import OpenEncoder
from ..potentials.registry import load_encoder
from ..potentials.store import compute_features
from .born import load_model
from .charges import ChargeModel
from .companion import DAMPING, Companion, load_companion
from .modes import DAMPINGS, polar_modes
from .store import stored_force_constants


class Mix(NamedTuple):
    """Weights of the companion's logarithm and of the sum's shape; the networks' have the rest."""

    share: float
    shape: float


MIXES = {"best": Mix(0.8, 1.0), "default": Mix(0.4, 0.5)}
"""Variant whose networks are mended -> weights: its potential says how far modes are to be trusted."""
POTENTIALS = {"best": "nequix-oam-1-pft", "default": "7net-0"}
"""The same -> potential whose force constants mend; 7net-l3i5, whose features the charges of "default" are learned on, would take several times as long for them."""
MAX_ATOMS = 40
"""Of the primitive cell; the force constants of larger ones take minutes."""
WITHOUT_MODES = f"its ionic part is the networks' alone: the primitive cell has more than {MAX_ATOMS} atoms, too many for force constants"
IS_SOFT = "soft vibrations make much of its ionic part, which is uncertain"
UNSTABLE = "a vibration that carries charge is unstable for the potential: the crystal may distort, and its ionic part is a guess"
SOFT_AT, SOFT_SHARE = 0.6, 1 / 3
"""A crystal is called soft when a damping of 0.6 eV/angstrom^2, one of `modes.DAMPINGS`, takes a third of its sum over modes, or more."""
UNSTABLE_SHARE = 0.01
"""Share of the squared charge in unstable modes from which on `UNSTABLE` is said."""
COMPANION = "companion.safetensors"


@dataclass(frozen=True)
class Modes:
    """Of B crystals; NaN for those without.

    Attributes
    ----------
    numbers : np.ndarray, [B, 7]
        Of `modes.PolarModes.numbers`.
    sums : np.ndarray, [B, 3, 3]
        Of `modes.PolarModes.sum` with damping `companion.DAMPING`, in the frames of the structures.
    unstable : np.ndarray, [B]
        Share of the squared charge that unstable modes carry, `modes.PolarModes.unstable`; 0 where it is not known.
    """

    numbers: np.ndarray
    sums: np.ndarray
    unstable: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> Modes:
        """Numbers and sums of some crystals."""
        return Modes(self.numbers[rows], self.sums[rows])

    def apart(self, apart: np.ndarray, from_modes: np.ndarray) -> np.ndarray:
        """[B, 3]: how far networks and guess differ [B, 3] (`trust.reach.Reach.lean`), or for ionic and total tensors with modes, networks and modes [B] (`mend`)."""
        found = apart.copy()
        found[self.known, 1:] = from_modes[self.known, None]
        return found

    @property
    def known(self) -> np.ndarray:
        """[B] bool."""
        return np.isfinite(self.numbers[:, 0])

    @property
    def softness(self) -> np.ndarray:
        """[B]: logarithm of the factor by which a damping of `SOFT_AT` lowers the sum over modes: near 0 for hard crystals, 1 and more where soft modes make the tensor; NaN without modes."""
        return self.numbers[:, 0] - self.numbers[:, DAMPINGS.index(SOFT_AT)]

    @property
    def soft(self) -> np.ndarray:
        """[B] bool, see `SOFT_SHARE`."""
        return np.nan_to_num(self.softness) > -np.log(1 - SOFT_SHARE)

    def wider(self, doubt: Mapping[str, float] | None) -> np.ndarray:
        """[B]: factor by which intervals are wider. `doubt`, of `training.calibration.calibrate`: exp("soft" times `softness`), and "without" for crystals without modes."""
        if doubt is None:
            return np.ones(len(self.numbers))
        return np.where(self.known, np.exp(doubt["soft"] * np.nan_to_num(self.softness)), doubt["without"])

    @property
    def doubtful(self) -> np.ndarray:
        """[B] bool: unstable modes carry more than `UNSTABLE_SHARE` of the squared charge."""
        return np.zeros(len(self.numbers), dtype=bool) if self.unstable is None else self.unstable > UNSTABLE_SHARE

    def words(self) -> list[tuple[str, ...]]:
        """What is to be said of the modes of each crystal."""
        each = zip(self.known, self.doubtful, self.soft, strict=True)
        return [(WITHOUT_MODES,) if not known else (UNSTABLE,) if doubt else (IS_SOFT,) if soft else () for known, doubt, soft in each]


def modes_of(constants: Sequence[np.ndarray | None], charges: Sequence[np.ndarray], volumes: Sequence[float]) -> Modes:
    """From force constants [3N, 3N] in eV/angstrom^2, or None, Born charges [N, 3, 3] in e, and volumes in cubic angstrom of each crystal."""
    numbers, sums = np.full((len(constants), len(DAMPINGS) + 2), np.nan), np.full((len(constants), 3, 3), np.nan)
    unstable = np.zeros(len(constants))
    for i, (k, z, volume) in enumerate(zip(constants, charges, volumes, strict=True)):
        if k is not None:
            found = polar_modes(k, z, volume)
            numbers[i], sums[i], unstable[i] = found.numbers(), found.sum(DAMPING), found.unstable()
    return Modes(numbers, sums, unstable)


def mend(members: np.ndarray, companion: np.ndarray, modes: Modes, mix: Mix = MIXES["best"]) -> tuple[np.ndarray, np.ndarray]:
    """Ionic tensors with the constant and the shape that the modes ask for.

    Parameters
    ----------
    members : np.ndarray, [M, B, 3, 3]
        Ionic tensors of the networks.
    companion : np.ndarray, [B]
        Logarithms of constants, of `companion.Companion.log_constant`; anything for crystals without modes.
    modes : Modes
    mix : Mix

    Returns
    -------
    mended : np.ndarray, [M, B, 3, 3]
        The networks keep their deviations relative to their mean.
    apart : np.ndarray, [B]
        Difference between the companion's and the networks' constant; 0 without modes.
    """
    known = modes.known
    networks = raw_constant(members.mean(0))[known]  # [b]
    wanted = np.exp(mix.share * companion[known] + (1 - mix.share) * log_of(networks))
    of_sum, of_networks = (x / np.maximum(raw_constant(x), 1e-9)[:, None, None] for x in (modes.sums[known], members.mean(0)[known]))
    shape = mix.shape * of_sum + (1 - mix.shape) * of_networks
    mended, apart = members.copy(), np.zeros(members.shape[1])
    for m, one in enumerate(members):
        relative = np.where(networks > SMALLEST_CONSTANT, raw_constant(one)[known] / np.maximum(networks, SMALLEST_CONSTANT), 1.0)
        mended[m, known] = (relative * wanted)[:, None, None] * shape
    apart[known] = np.abs(np.exp(companion[known]) - networks)
    return mended, apart


@dataclass(frozen=True)
class IonicPhysics:
    """Charges, companion and the potential that gives force constants; `load_physics` reads those that ship.

    Attributes
    ----------
    charges : charges.ChargeModel
        Its features are the companion's, too.
    companion : companion.Companion
    potential : str
        Name of the one that gives force constants.
    mix : Mix
    """

    charges: ChargeModel
    companion: Companion
    potential: str = POTENTIALS["best"]
    mix: Mix = MIXES["best"]

    @property
    def encoder(self) -> OpenEncoder:
        """The potential."""
        return load_encoder(self.potential)

    def modes(self, structures: Sequence[Structure], features: Sequence[Features], cache_dir: str | Path | None = None,
              progress: bool = True, compute: bool = True) -> Modes:  # fmt: skip
        """Modes of crystals of no more than `MAX_ATOMS` atoms in the primitive cell, whose force constants are kept on disk.

        Parameters
        ----------
        structures : sequence of pymatgen Structure
        features : sequence of Features
            Of `charges.features`, one a crystal.
        cache_dir, progress
            As of `ensemble.Ensemble.predict`.
        compute : bool
            False: only crystals whose force constants are on disk.
        """
        cells = [primitive_structure(s) for s in structures]
        other = {i: c for i, (c, s) in enumerate(zip(cells, structures, strict=True)) if len(c) != len(s)}
        again = dict(zip(other, compute_features(self.charges.features, list(other.values()), False, cache_dir, False), strict=True)) if other else {}
        small = [i for i, c in enumerate(cells) if len(c) <= MAX_ATOMS]
        constants: list[np.ndarray | None] = [None] * len(cells)
        for i, k in zip(small, stored_force_constants(self.encoder, [cells[i] for i in small], cache_dir, progress, compute), strict=True):
            constants[i] = k
        charges = [z for z, _ in self.charges.predict([again.get(i, f) for i, f in enumerate(features)])]
        return modes_of(constants, charges, [c.volume for c in cells])

    def mend(self, structures: Sequence[Structure], features: Sequence[Features], pooled: np.ndarray, bounded: np.ndarray, unbounded: np.ndarray,
             cache_dir: str | Path | None = None, progress: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, Modes]:  # fmt: skip
        """`mend_all` of what networks say [M, B, 3, 3, 3] of crystals, and their modes; arguments as of `modes` and `mend_all`."""
        modes = self.modes(structures, features, cache_dir, progress)
        return (*mend_all(self.companion, bounded, unbounded, pooled, modes, self.mix), modes)

    def strongest(self, structure: Structure, number: int = 3, cache_dir: str | Path | None = None) -> list[dict[str, float]]:
        """The first of `modes.PolarModes.shares` of a crystal's primitive cell."""
        cell = primitive_structure(structure)
        (k,) = stored_force_constants(self.encoder, [cell], cache_dir, False)
        ((charges, _),) = self.charges.predict(compute_features(self.charges.features, [cell], False, cache_dir, False))
        return polar_modes(k, charges, cell.volume).shares(DAMPING)[:number]


def log_constants(companion: Companion, pooled: np.ndarray, modes: Modes) -> np.ndarray:
    """`companion.Companion.log_constant` [B] of crystals with modes, 0 of those without."""
    known, logs = modes.known, np.zeros(len(pooled))
    if known.any():
        logs[known] = companion.log_constant(pooled[known], modes.numbers[known])
    return logs


def mend_all(companion: Companion, bounded: np.ndarray, unbounded: np.ndarray, pooled: np.ndarray, modes: Modes, mix: Mix = MIXES["best"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`mend` of electronic, ionic and total tensors [M, B, 3, 3, 3], with and without the networks' bounds, and `apart` [B].

    `pooled` [B, D] are the crystals' pooled features (`trust.reach.invariants_of`).
    """
    ionic, apart = mend(bounded[:, :, 1], log_constants(companion, pooled, modes), modes, mix)
    raw = np.where(modes.known[:, None, None], ionic, unbounded[:, :, 1])
    mended, opinions = (with_total(np.stack([x[:, :, 0], y], 2)) for x, y in ((bounded, ionic), (unbounded, raw)))
    return mended, opinions, apart


def load_physics(folder: str | Path, weights: str | Path, networks: str) -> IonicPhysics:
    """What ships in a variant's `folder`, with the charges that go with the variant `networks` in the folder `weights`."""
    return IonicPhysics(load_model(networks, weights), load_companion(Path(folder) / COMPANION), POTENTIALS[networks], MIXES[networks])
