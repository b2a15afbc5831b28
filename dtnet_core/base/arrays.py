"""Fitted machines as safetensors files: named arrays, and a few numbers and words as JSON beside them. Reading one runs no code."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .files import write_atomic
from .reading import DataFileError


def write_arrays(path: str | os.PathLike, kind: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], half: Collection[str] = ()) -> None:
    """Write arrays in single precision, those named by `half` in half precision, and what goes with them, under the name of its kind."""
    stored = {name: np.ascontiguousarray(array, dtype=np.float16 if name in half else np.float32) for name, array in arrays.items()}
    write_atomic(path, save(stored, {kind: json.dumps(about)}))


def read_arrays(path: str | os.PathLike, kind: str, names: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays of these names in double precision, and what goes with them, from a file that `write_arrays` wrote.

    Raises
    ------
    FileNotFoundError
    DataFileError
        Naming the file, when it is damaged or of another kind.
    """
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name).astype(float) for name in names}, json.loads(file.metadata()[kind])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # TypeError: a file without any words
        raise DataFileError(f"not what the kit writes ({type(error).__name__}: {error}): check it out again, or make it anew", Path(path)) from error
