"""Encoders by name, and the notation for encoders and their layers: "7net-0:0-5+7net-l3i5:1,3"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module

import torch

from ..encoder import Encoder

_FAMILIES = {  # what names begin with -> module, its encoder, the names it knows
    "7net": ("sevennet", "SevenNet", "SEVENNET_NAMES"),
    "nequix": ("nequix", "Nequix", "NEQUIX_FILES"),
    "tensornet": ("tensornet", "TensorNet", "TENSORNET_FOLDERS"),
}


@lru_cache(maxsize=8)
def load_encoder(name: str = "7net-0", dtype: torch.dtype = torch.float32) -> Encoder:
    """The encoder of that name, built once a process.

    Parameters
    ----------
    name : str
        Of the SevenNet family (weights in the wheel): "7net-0", "7net-l3i5", "7net-mf-0". "nequix-..." and "tensornet-..."
        where their packages and weights are installed (see `packages`).
    dtype : torch.dtype
        float32, or float64 for tests of equivariance.

    Raises
    ------
    ValueError
        For an unknown name, and for a weights file that is not what its name says.
    FileNotFoundError
        When DTNET_WEIGHTS_DIR is not set or holds no such weights.
    ImportError
        When the network's package is not installed.
    """
    module, kind, names = _FAMILIES.get(name.partition("-")[0], _FAMILIES["7net"])
    family = import_module(f".{module}", __package__)  # here, as each takes a second to import, and only the one that is asked for
    if name not in getattr(family, names):
        known = [known for module, _, names in _FAMILIES.values() for known in getattr(import_module(f".{module}", __package__), names)]
        raise ValueError(f"no encoder is called {name!r}; choose from {known}")
    return getattr(family, kind)(name, dtype)


def parse_features(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Read "7net-0:0-2,4+7net-l3i5:3" as [("7net-0", (0, 1, 2, 4)), ("7net-l3i5", (3,))].

    Raises
    ------
    ValueError
        When the text does not follow that pattern.
    """
    parsed = []
    for part in text.split("+"):
        name, _, layers = part.strip().rpartition(":")
        try:
            chosen: list[int] = []
            for item in layers.split(","):
                first, _, last = item.partition("-")
                chosen += range(int(first), int(last or first) + 1)
        except ValueError:
            name = ""
        if not name or not chosen:
            raise ValueError(
                f"features are {text!r}; expected ENCODER:LAYERS, e.g. '7net-0:4' or '7net-0:0-5+7net-l3i5:1,3'"
            )
        parsed.append((name, tuple(chosen)))
    return parsed


def spell_features(text: str) -> tuple[str, str]:
    """`encoder` and `layer` of a results record: "7net-0:0,1,2+7net-l3i5:3" -> ("7net-0+7net-l3i5", "0-2+3")."""
    parsed = parse_features(text)
    return "+".join(name for name, _ in parsed), "+".join(_spell_layers(layers) for _, layers in parsed)


def _spell_layers(layers: Sequence[int]) -> str:
    """(0, 1, 2) -> "0-2", (4,) -> "4", (1, 3) -> "1,3"."""
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]}"
    return ",".join(map(str, layers))
