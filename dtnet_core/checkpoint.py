"""A DTNet as one safetensors file: weights, configuration, and what else is worth knowing. Reading one runs no code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .readout import DTNet, DTNetConfig


def save_network(network: DTNet, path: str | Path, **metadata: str) -> None:
    """Write weights and configuration to one file, atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    save_file(state, temporary, metadata={"config": json.dumps(asdict(network.config)), **metadata})
    temporary.replace(path)


def load_network(path: str | Path) -> tuple[DTNet, dict[str, str]]:
    """The network and the metadata of a file that `save_network` wrote.

    Raises
    ------
    FileNotFoundError
    ValueError
        When the file is not a DTNet checkpoint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; train one first or check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config: dict[str, Any] = json.loads(metadata.pop("config"))
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a DTNet checkpoint ({error})") from error
    shape: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    try:
        network = DTNet(DTNetConfig(**shape))
        network.load_state_dict(state)
    except (TypeError, RuntimeError) as error:  # made by another version of the network
        raise ValueError(f"{path}: not a checkpoint of this network ({error})") from error
    return network.eval(), metadata
