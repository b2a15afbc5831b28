"""Trained ensembles that ship with the kit: tensors and calibrated uncertainties for any crystal.

`data/weights/<variant>/` holds the networks of a recipe of `joint` for the split of seed 0, as safetensors, and
`calibration.json`; `data/weights/README.md` is the model card.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from .base.files import read_json
from .base.paths import WEIGHTS
from .base.reading import DataFileError
from .checkpoint import load_network
from .crystals.given import as_structures
from .crystals.plausible import doubtful
from .crystals.record import TARGETS
from .features import Features, concatenate_crystals
from .members import encoders_of, known_elements, member_tensors
from .physics.ionic import IonicPhysics, load_physics
from .potentials.store import compute_features
from .readout import DTNet as Network
from .trust.doubts import FILE, Doubts, load_doubts
from .trust.judge import unphysical
from .trust.principal import Principal, principal
from .trust.reach import FEATURES as REACH_FEATURES
from .trust.reach import Place, Reach, invariants_of, load_reach
from .trust.verdict import judge

KNOWN = "known.safetensors"
"""File of a weights folder with what all variants learned from, `trust.reach.Reach`."""
_BATCH = 64  # crystals


@dataclass(frozen=True)
class Prediction:
    """What an ensemble says of B crystals.

    Attributes
    ----------
    tensors : np.ndarray, [B, 3, 3]
        Dielectric tensors (dimensionless), each in the Cartesian frame of its structure. Those of crystals far from the training crystals, or of which
        the networks think differently, lean on a guess that cannot run away, `trust.guess`.
    std : np.ndarray, [B]
        Half width of the interval that holds the true dielectric constant (mean diagonal element) of 68 % of crystals.
    wide : np.ndarray, [B]
        The same for 90 %.
    members : np.ndarray, [M, B, 3, 3]
        Of each network.
    flags : tuple of B str
        "" for an answer without known doubt, or the reason in words. An answer that no crystal can give (`trust.judge.unphysical`) is refused:
        its numbers are NaN. One for an unusual crystal (`crystals.plausible.doubtful`) keeps them.
    in_domain : np.ndarray, [B] bool
        Whether the crystal is like those that the networks learned from: `distance` within the limit, at rest (`trust.strain`), and no network so far off that only
        its bound keeps the electronic constant above 1; with modes, no unstable one that carries charge (not for electronic tensors). Outside, tensors are guesses.
    distance : np.ndarray, [B]
        Of `trust.reach.Reach`: 1 is what training crystals have among themselves.
    nearest : tuple of B tuples of (id, formula)
        The nearest training crystals, nearest first.
    warnings : tuple of B tuples of str
        All doubts in words: the flag, the distance, pairs of elements that no training crystal has, extremes.
    principal : Principal, optional
        Eigenvalues and axes of `tensors` with their uncertainty.
    chance : np.ndarray, [B]
        That the constant is off by more than 25 %, for crystals like the training crystals, `trust.doubts.Chance`; NaN where it is not known. Ionic and total
        constants of new kinds of crystals are off more often than told, most without modes.
    extreme : np.ndarray, [B] bool
        Whether the tensor, at the upper end of the 90 % interval, is among the largest or most anisotropic that the networks learned from, `trust.doubts.Tail`; no matter of the domain.
    """

    tensors: np.ndarray
    std: np.ndarray
    wide: np.ndarray
    members: np.ndarray
    flags: tuple[str, ...] = ()
    in_domain: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    distance: np.ndarray = field(default_factory=lambda: np.zeros(0))
    nearest: tuple[tuple[tuple[str, str], ...], ...] = ()
    warnings: tuple[tuple[str, ...], ...] = ()
    principal: Principal | None = None
    chance: np.ndarray = field(default_factory=lambda: np.zeros(0))
    extreme: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def of(self, i: int) -> Prediction:
        """The same of crystal i alone, B = 1."""
        one = {name: value[i : i + 1] for name, value in vars(self).items() if name not in ("members", "principal")}
        return Prediction(**one, members=self.members[:, i : i + 1], principal=self.principal and self.principal.of(i))


class Ensemble:
    """Networks for one target whose mean is the prediction; `load_ensemble` gives the ones that ship.

    Parameters
    ----------
    target : {"electronic", "ionic", "total"}
    networks : sequence of DTNet
    features : sequence of str
        Encoders and layers of each network.
    calibration : dict
        `base` and the factors of the intervals, see `training.calibration.calibrate`; `growth`, the power of the distance with
        which they grow, see `domain.record`; `doubt`, by which those of soft crystals are wider, see `physics.ionic.Modes.wider`; `principal`, the same for eigenvalues and axes, see `training.principal`.
    reach : trust.reach.Reach, optional
        The training crystals; without them, or without their encoder among the networks', every crystal counts as in the domain.
    physics : physics.ionic.IonicPhysics, optional
        Mends the ionic tensors by the crystals' modes.
    doubts : trust.doubts.Doubts, optional
        Of what is said of every answer.
    """

    def __init__(self, target: str, networks: Sequence[Network], features: Sequence[str], calibration: dict,
                 reach: Reach | None = None, physics: IonicPhysics | None = None, doubts: Doubts | None = None):  # fmt: skip
        self.physics, self.doubts = physics, doubts or Doubts()
        self.target, self.networks, self.features, self.calibration = target, list(networks), list(features), calibration
        self.reach = reach if REACH_FEATURES in encoders_of(features) else None

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that all its encoders know."""
        return known_elements(self.features)

    def predict(self, structures, cache_dir: str | Path | None = None, progress: bool = True) -> Prediction:
        """Dielectric tensors of crystals with their uncertainty.

        Parameters
        ----------
        structures
            One crystal, which gives B = 1, or any iterable of crystals, an empty one too: pymatgen Structures, ASE Atoms, paths of
            structure files, records; see `crystals.given.as_structures`.
        cache_dir : path, optional
            Where features are kept, default `base.paths.default_cache_dir()`. One that cannot be written is done without.
        progress : bool

        Returns
        -------
        Prediction
            An answer that no crystal can give is NaN, with the reason in `flags` and in one warning.

        Raises
        ------
        dtnet_core.crystals.structures.InvalidStructureError
            For what is no crystal or cannot be one (`crystals.plausible`); its position and the reason are named.
        """
        crystals = as_structures(structures, self.elements)
        encoded = {part: compute_features(part, crystals, False, cache_dir, progress) for part in encoders_of(self.features)}
        everything, unbounded, apart, place = self.opinions(encoded, len(crystals))
        modes = None
        if self.physics is not None and crystals and self.target != "electronic":  # whose tensor no mode changes
            mine = encoded[self.physics.charges.features]
            everything, unbounded, from_modes, modes = self.physics.mend(crystals, mine, invariants_of(mine), everything, unbounded, cache_dir, progress)
            apart = modes.apart(apart, from_modes)
        refused = [unphysical(everything[:, i]) for i in range(len(crystals))]
        everything[:, [i for i, reason in enumerate(refused) if reason]] = np.nan
        flags = tuple(reason or doubtful(crystal) or "" for reason, crystal in zip(refused, crystals, strict=True))
        _tell(flags, crystals)
        members, raw = (x[:, :, TARGETS.index(self.target)] for x in (everything, unbounded))
        found = judge(self, crystals, flags, place, everything, unbounded, apart, modes)
        axes, where = principal(members, raw, self.calibration.get("principal"), found.wider), found.where
        return Prediction(members.mean(0), found.std, found.wide, members, flags, where.in_domain, where.distance, where.nearest, where.warnings, axes, found.chance, found.extreme)

    def opinions(self, found: Mapping[str, Sequence[Features]], number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Place | None]:
        """What each network says of B = `number` crystals, two [M, B, 3, 3, 3] as of `members.member_tensors`, the first as of `trust.reach.Reach.lean`; its `apart` [B, 3]; and where they are.

        Parameters
        ----------
        found : mapping of str to sequence of B Features
            For each of `encoders_of(self.features)`.
        number : int
        """
        batches = [
            member_tensors(self.networks, self.features, {p: concatenate_crystals(f[i : i + _BATCH]) for p, f in found.items()})
            for i in range(0, number, _BATCH)
        ] or [(np.zeros((len(self.networks), 0, 3, 3, 3)),) * 2]
        bounded, unbounded = (np.concatenate(parts, 1) for parts in zip(*batches, strict=True))
        if self.reach is None or not number:
            return bounded, unbounded, np.zeros((number, len(TARGETS))), None
        place = self.reach.locate(invariants_of(found[REACH_FEATURES]))
        leaning, apart = self.reach.lean(bounded, unbounded, place)
        return leaning, unbounded, apart, place


def _tell(flags: Sequence[str], crystals: Sequence) -> None:
    """One warning for all flags."""
    told = [f"crystal {i} ({crystals[i].formula}): {flag}" for i, flag in enumerate(flags) if flag]
    if told:
        more = f"; and {len(told) - 3} more, see `flags`" if len(told) > 3 else ""
        warnings.warn("; ".join(told[:3]) + more, stacklevel=3)


def load_ensemble(target: str = "total", variant: str = "default", folder: str | Path | None = None) -> Ensemble:
    """The trained ensemble for a target, whose `predict(structures)` gives tensors and uncertainties.

    Parameters
    ----------
    target : {"electronic", "ionic", "total"}
    variant : str
        "default" needs encoders that come with packages only; "best" a further package and downloaded weights. "default-physics" and "physics"
        are these two with force constants of the potential, a second to minutes a crystal, for a better ionic part.
    folder : path, optional
        With a subfolder a variant; default: what ships with the kit.

    Raises
    ------
    ValueError
        For a target or variant that there is not, and for networks other than the calibrated ones.

    Examples
    --------
    >>> found = load_ensemble("total").predict([structure])              # doctest: +SKIP
    >>> found.tensors[0], found.std[0]                                   # doctest: +SKIP
    """
    if target not in TARGETS:
        raise ValueError(f"target is {target!r}; choose one of {', '.join(TARGETS)}")
    root = Path(folder or WEIGHTS)
    known = sorted(p.parent.name for p in root.glob("*/calibration.json"))
    if variant not in known:
        raise ValueError(f"there are no weights of variant {variant!r} in {root}; it has {', '.join(known) or 'none'}")
    about = _about(root, variant)
    networks = root / about.get("networks", variant)
    found = [load_network(path) for path in sorted(networks.glob("*.safetensors"))]
    if [metadata["features"] for _, metadata in found] != about["members"]:
        raise ValueError(f"{networks}: {len(about['members'])} networks were calibrated, {len(found)} are there, or others")
    physics = load_physics(root / variant, root, about["networks"]) if "networks" in about else None
    return Ensemble(target, [network for network, _ in found], about["members"], about["targets"][target], _known(str(root)), physics, load_doubts(root / FILE))


def at_hand(folder: str | Path | None = None, mended: bool = False) -> list[str]:
    """Variants of a weights folder whose encoders can be built here, with `mended` those that mend the networks of another, too; see `load_ensemble`."""
    names = []
    root = Path(folder or WEIGHTS)
    for path in sorted(root.glob("*/calibration.json")):
        about = _about(root, path.parent.name)
        if "networks" in about and not mended:
            continue
        try:
            known_elements(about["members"])
        except (ImportError, FileNotFoundError):  # its package, or its weights
            continue
        names.append(path.parent.name)
    return names


def _about(root: Path, variant: str) -> dict:
    """A variant's `calibration.json`; one that mends the networks of another takes from there what it does not say itself."""
    path = root / variant / "calibration.json"
    about = read_json(path)
    if not isinstance(about, dict) or "targets" not in about or not {"networks", "members"} & set(about):
        raise DataFileError("not a calibration that the kit writes: check it out again", path)
    if "networks" not in about:
        return about
    other = _about(root, about["networks"])
    return {**other, **about, "targets": other["targets"] | about["targets"]}


@cache
def _known(root: str) -> Reach | None:
    path = Path(root) / KNOWN
    return load_reach(path) if path.is_file() else None


class DTNet(Network):
    """The network of `readout`, and the way to the trained ones: ``DTNet.from_pretrained("total").predict(structures)``."""

    @staticmethod
    def from_pretrained(target: str = "total", variant: str = "default") -> Ensemble:
        """`load_ensemble` of the weights that ship."""
        return load_ensemble(target, variant)
