"""Tools for tests of blindness: change what a run must not look at, and compare everything that it gives, bit for bit.

Features and descriptors are made up here, by crystal, so that no encoder is needed and those of chosen crystals can be changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Structure
from safetensors.torch import load_file

from dtnet_core.crystals.record import Record
from dtnet_core.crystals.structures import crystal_key
from dtnet_core.data.loading import load_clean
from dtnet_core.features import Features
from dtnet_core.metrics import METRICS

CHANNELS = (6, 5, 4)
CLOCKS = {"wall_s", "seconds", "hours", "duration", "peak_memory_mb", "cost", "budget", "command"}
"""Keys that no two runs share."""
SCORES = {*METRICS, "by_system", "members_mae_ten", "mae_ten_without_near_twins", "n_near_twins"}
"""Keys that say how good the predictions of test crystals are."""


_clean = cache(lambda: sorted(load_clean("mini")[0], key=lambda r: (len(r.structure), r.id)))


def small_records(n: int = 40) -> list[Record]:
    """The crystals of the kit's own set with the fewest atoms."""
    return _clean()[:n]


def other_labels(records: Sequence[Record], rows: Iterable[int], factor: float = 1.7) -> list[Record]:
    """The records with the tensors of these rows handed on in a circle and stretched: none keeps its own."""
    rows, found = [int(i) for i in rows], list(records)
    for i, j in zip(rows, np.roll(rows, 1), strict=True):
        tensors = {name: getattr(records[j], name) for name in ("eps_electronic", "eps_ionic", "eps_total")}
        found[i] = replace(records[i], **{name: None if t is None else factor * t for name, t in tensors.items()})
    return found


def no_orbits(structures: Sequence[Structure], *_) -> list[None]:
    """Stands in for `stored_orbits`: made-up features know no symmetry, so all atoms are kept."""
    return [None] * len(structures)


class MadeUp:
    """Stands in for `compute_features` and `compute_descriptors`; the crystals in `changed` get other numbers."""

    def __init__(self):
        self.changed: set[str] = set()

    def change(self, structures: Iterable[Structure]) -> None:
        self.changed |= {crystal_key(s) for s in structures}

    def _draw(self, text: str, structure: Structure) -> tuple[np.random.Generator, float]:
        key = crystal_key(structure)
        seed = int(hashlib.sha256((text + key).encode()).hexdigest()[:8], 16)
        return np.random.default_rng(seed), -3.0 if key in self.changed else 1.0

    def features(self, text, structures, bonds=False, cache_dir=None, progress=True) -> list[Features]:
        found = []
        for structure in structures:
            parts = []
            for part in text.split("+"):
                rng, factor = self._draw(part, structure)
                shapes = ((), (3,), (3, 3))
                parts.append([factor * rng.normal(size=(len(structure), c, *s)) for c, s in zip(CHANNELS, shapes, strict=True)])
            s, v, t = (torch.from_numpy(np.concatenate(rank, 1)).float() for rank in zip(*parts, strict=True))
            found.append(Features(s, v, t + t.transpose(2, 3), torch.tensor([len(structure)])))
        return found

    def descriptors(self, structures, cache_dir=None, progress=True) -> np.ndarray:
        draws = [self._draw("descriptors", s) for s in structures]
        return np.stack([factor * rng.normal(size=7) for rng, factor in draws])


class Watch:
    """Keeps what a function of a module returns, call by call."""

    def __init__(self, patch: pytest.MonkeyPatch, module, name: str, keep: Callable = lambda found: found):
        self.found, whole = [], getattr(module, name)

        def watched(*arguments, **options):
            self.found.append(found := whole(*arguments, **options))
            return found

        self.keep = keep
        patch.setattr(module, name, watched)

    def take(self) -> list:
        """What came since the last time."""
        found, self.found = [self.keep(f) for f in self.found], []
        assert found, "the function was not called"
        return found


def differences(a, b, path: str = "") -> set[str]:
    """Where two results differ, as dotted paths; numbers are compared bit for bit, clocks not at all."""
    if isinstance(a, torch.nn.Module):
        return differences(a.state_dict(), b.state_dict(), path)
    if isinstance(a, torch.Tensor | np.ndarray):
        x, y = (np.asarray(v.detach() if isinstance(v, torch.Tensor) else v) for v in (a, b))
        return set() if x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() else {path}
    if is_dataclass(a):
        a, b = ({f.name: getattr(x, f.name) for f in fields(x)} for x in (a, b))
    if isinstance(a, Mapping):
        if set(a) != set(b):
            return {path}
        return set().union(*(differences(a[k], b[k], f"{path}.{k}".strip(".")) for k in a if k not in CLOCKS), set())
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return {path}
        return set().union(*(differences(x, y, f"{path}.{i}".strip(".")) for i, (x, y) in enumerate(zip(a, b, strict=True))), set())
    return set() if a == b or (a != a and b != b) else {path}


def folder(path: Path) -> dict:
    """Weights and texts in the files below a folder, by name."""
    files = {str(p.relative_to(path)): p for p in sorted(path.rglob("*.*")) if p.suffix in (".safetensors", ".json")}
    return {name: load_file(p) if p.suffix == ".safetensors" else p.read_text() for name, p in files.items()}


def only_scores(a: dict, b: dict, more: Iterable[str] = ()) -> bool:
    """Whether two records of a results file differ, and in the scores of their test crystals only."""
    allowed = SCORES | set(more)
    names = {where.split(".")[0] for where in differences(a, b)}
    assert names, "nothing differs: the change did not reach the run"
    assert names <= allowed, names - allowed
    return True
