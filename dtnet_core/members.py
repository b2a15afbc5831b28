"""What the networks of an ensemble say, one by one: their tensors, before and after the links, and how far they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .features import Features, Packed, concatenate_channels, from_mandel
from .metrics import scalar_constant
from .potentials.registry import load_encoder
from .readout import DTNet


def with_total(parts: np.ndarray) -> np.ndarray:
    """Electronic and ionic tensors [..., 2, 3, 3] -> with their sum, the total tensors: [..., 3, 3, 3]."""
    return np.concatenate([parts, parts.sum(-3, keepdims=True)], -3)


def encoders_of(features: Sequence[str]) -> list[str]:
    """Each "encoder:layers" that a member takes, once."""
    return list(dict.fromkeys("+".join(features).split("+")))


def known_elements(features: Sequence[str]) -> frozenset[str]:
    """Symbols of the elements that all encoders of the members know."""
    return frozenset.intersection(*(load_encoder(part.rpartition(":")[0].strip()).elements for part in encoders_of(features)))


def both_tensors(network: DTNet, packed: Packed) -> tuple[np.ndarray, np.ndarray]:
    """Electronic and ionic tensors of a network with its link, and before it, float64: two [B, 2, 3, 3]."""
    with torch.inference_mode():
        unbounded = network.unbounded(network.in_units(packed))
        return from_mandel(network.bound(unbounded)).double().numpy(), from_mandel(unbounded).double().numpy()


def member_tensors(networks: Sequence[DTNet], features: Sequence[str], encoded: Mapping[str, Features]) -> tuple[np.ndarray, np.ndarray]:
    """Electronic, ionic and total tensors of B crystals by each network, with the links and before them: two [M, B, 3, 3, 3].

    Parameters
    ----------
    networks : sequence of readout.DTNet
    features : sequence of str
        Of each network.
    encoded : mapping of str to Features
        One batch for each of `encoders_of(features)`; tensors are in the structures' frames.
    """
    batches = [concatenate_channels([encoded[p] for p in text.split("+")]).pack() for text in features]
    bounded, unbounded = zip(*(both_tensors(n, batch) for n, batch in zip(networks, batches, strict=True)), strict=True)
    return with_total(np.stack(bounded)), with_total(np.stack(unbounded))


def raw_spread(members: np.ndarray, base: float, apart: np.ndarray | float = 0.0) -> np.ndarray:
    """What intervals are proportional to: deviation among members and a share `base` of the constant, [M, B, 3, 3] -> [B].

    `apart` [B] is a third part where there is one: half of how far networks and modes differ, of `physics.ionic.mend`.
    """
    if not members.shape[1]:
        return np.zeros(0)
    constants = np.array([scalar_constant(m) for m in members])  # [M, B]
    own = np.hypot(constants.std(0, ddof=min(1, len(members) - 1)), base * constants.mean(0))
    return np.hypot(own, 0.5 * np.asarray(apart))
