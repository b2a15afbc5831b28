"""Trained ensembles that ship with the kit: tensors and calibrated uncertainties for any crystal.

`data/weights/<variant>/` holds the networks of a recipe of `joint` for the split of seed 0, as safetensors, and
`calibration.json`; `data/weights/README.md` is the model card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure

from .features import Features, concatenate_channels, concatenate_crystals
from .metrics import scalar_constant
from .readout import DTNet
from .record import TARGETS
from .store import compute_features

WEIGHTS = Path(__file__).resolve().parent.parent / "data" / "weights"
_BATCH = 64  # crystals
COVERAGES = (0.68, 0.90)
"""Share of crystals in the two intervals of a `Prediction`."""


@dataclass(frozen=True)
class Prediction:
    """What an ensemble says of B crystals.

    Attributes
    ----------
    tensors : np.ndarray, [B, 3, 3]
        Dielectric tensors (dimensionless), each in the Cartesian frame of its structure.
    std : np.ndarray, [B]
        Half width of the interval that holds the true dielectric constant (mean diagonal element) of 68 % of crystals.
    wide : np.ndarray, [B]
        The same for 90 %.
    members : np.ndarray, [M, B, 3, 3]
        Of each network.
    """

    tensors: np.ndarray
    std: np.ndarray
    wide: np.ndarray
    members: np.ndarray


def with_total(parts: np.ndarray) -> np.ndarray:
    """Electronic and ionic tensors [..., 2, 3, 3] -> with their sum, the total tensors: [..., 3, 3, 3]."""
    return np.concatenate([parts, parts.sum(-3, keepdims=True)], -3)


def encoders_of(features: Sequence[str]) -> list[str]:
    """Each "encoder:layers" that a member takes, once."""
    return list(dict.fromkeys("+".join(features).split("+")))


def member_tensors(networks: Sequence[DTNet], features: Sequence[str], encoded: Mapping[str, Features]) -> np.ndarray:
    """Electronic, ionic and total tensors of B crystals by each network, [M, B, 3, 3, 3], in the structures' frames.

    Parameters
    ----------
    networks : sequence of DTNet
    features : sequence of str
        Of each network.
    encoded : mapping of str to Features
        One batch for each of `encoders_of(features)`.
    """
    with torch.inference_mode():
        parts = [
            network(concatenate_channels([encoded[p] for p in text.split("+")])).double().numpy()
            for network, text in zip(networks, features, strict=True)
        ]
    return with_total(np.stack(parts))


def raw_spread(members: np.ndarray, base: float) -> np.ndarray:
    """What intervals are proportional to: deviation among members and a share `base` of the constant, [M, B, 3, 3] -> [B]."""
    constants = np.array([scalar_constant(m) for m in members])  # [M, B]
    return np.hypot(constants.std(0, ddof=1), base * constants.mean(0))


def spread_ratios(members: np.ndarray, truth: np.ndarray, base: float) -> np.ndarray:
    """[B]: error of the constant in units of `raw_spread`; its quantiles are the factors of the intervals."""
    return np.abs(scalar_constant(members.mean(0)) - scalar_constant(truth)) / raw_spread(members, base)


def calibrate(members: np.ndarray, truth: np.ndarray, coverages: Sequence[float] = COVERAGES) -> dict[str, float]:
    """Fit `base` and the factors of the intervals on crystals that no member was trained on.

    Parameters
    ----------
    members : np.ndarray, [M, B, 3, 3]
    truth : np.ndarray, [B, 3, 3]
    coverages : sequence of float

    Returns
    -------
    dict
        `base` (the largest Laplace likelihood of the errors), and for each coverage, as text, the factor that split
        conformal prediction gives (Papadopoulos et al., ECML 2002): a quantile of `spread_ratios`.
    """

    def cost(base: float) -> float:
        return float(np.log(raw_spread(members, base)).mean() + np.log(spread_ratios(members, truth, base).mean()))

    base = float(min(np.geomspace(0.005, 0.5, 41), key=cost))
    ratios = np.sort(spread_ratios(members, truth, base))
    n = len(ratios)
    return {"base": base} | {str(c): float(ratios[min(int(np.ceil(c * (n + 1))), n) - 1]) for c in coverages}


class Pretrained:
    """An ensemble for one target. Make it with `DTNet.from_pretrained`.

    Examples
    --------
    >>> found = DTNet.from_pretrained("total").predict([structure])      # doctest: +SKIP
    >>> found.tensors[0], found.std[0]                                   # doctest: +SKIP
    """

    def __init__(self, target: str, networks: Sequence[DTNet], features: Sequence[str], calibration: dict[str, float]):
        self.target, self.networks, self.features, self.calibration = target, list(networks), list(features), calibration

    @classmethod
    def load(cls, target: str = "total", variant: str = "default", folder: str | Path | None = None) -> Pretrained:
        """Read an ensemble; see `DTNet.from_pretrained`."""
        if target not in TARGETS:
            raise ValueError(f"target is {target!r}; choose one of {', '.join(TARGETS)}")
        root = Path(folder or WEIGHTS)
        known = sorted(p.parent.name for p in root.glob("*/calibration.json"))
        if variant not in known:
            raise ValueError(f"there are no weights of variant {variant!r} in {root}; it has {', '.join(known) or 'none'}")
        about = json.loads((root / variant / "calibration.json").read_text(encoding="utf-8"))
        found = [DTNet.load(path) for path in sorted((root / variant).glob("*.safetensors"))]
        if [metadata["features"] for _, metadata in found] != about["members"]:
            raise ValueError(f"{root / variant}: {len(about['members'])} networks were calibrated, {len(found)} are there, or others")
        return cls(target, [network for network, _ in found], about["members"], about["targets"][target])

    def predict(self, structures: Sequence[Structure], cache_dir: str | Path | None = None,
                progress: bool = True) -> Prediction:  # fmt: skip
        """Dielectric tensors of crystals with their uncertainty.

        Parameters
        ----------
        structures : sequence of pymatgen Structure
        cache_dir : path, optional
            Where features are kept, default `store.default_cache_dir()`.
        progress : bool

        Raises
        ------
        dtnet_core.structures.InvalidStructureError
            For a structure that cannot be encoded; its position and the reason are named.
        """
        found = {part: compute_features(part, structures, False, cache_dir, progress) for part in encoders_of(self.features)}
        batches = [
            member_tensors(self.networks, self.features, {p: concatenate_crystals(f[i : i + _BATCH]) for p, f in found.items()})
            for i in range(0, len(structures), _BATCH)
        ]
        members = np.concatenate(batches or [np.zeros((len(self.networks), 0, 3, 3, 3))], 1)[:, :, TARGETS.index(self.target)]
        spread = raw_spread(members, self.calibration["base"])
        return Prediction(members.mean(0), *(self.calibration[str(c)] * spread for c in COVERAGES), members)
