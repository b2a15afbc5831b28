"""Features on disk: computed once per crystal, found again by content, checked when read.

A store is a folder `<root>/<encoder>/<version>/` of safetensors files ("shards"). Every entry is addressed by the
content of its crystal (`crystals.structures.crystal_key`), the layer, and by encoder, weights and precision through the folder's name.
Shards are written under a temporary name and then renamed, so a killed run leaves whole shards only and the next run
goes on with what is missing. They are memory-mapped when read, and every entry carries a checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from pymatgen.core import Structure
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from ..base.paths import default_cache_dir
from ..crystals.structures import crystal_key
from ..encoder import Encoder, select_layers, with_donors
from ..features import Features, concatenate_channels, split_crystals
from .packing import checksum, flatten, unflatten
from .registry import load_encoder, parse_features

ATOMS_PER_SHARD = 3_000
_TOLD: set[str] = set()  # roots that a warning was given for


class CorruptFeaturesError(RuntimeError):
    """Stored features that cannot be read or do not match their checksum."""


class FeatureStore:
    """Features of one encoder on disk.

    Parameters
    ----------
    encoder : Encoder
    root : path, optional
        Default `default_cache_dir()`. Where it cannot be written (no rights, a full disk), features are kept in memory, with one warning.

    Examples
    --------
    >>> store = FeatureStore(load_encoder("7net-0"))       # doctest: +SKIP
    >>> features = store.features(structures, layers=4)    # computes what is missing   # doctest: +SKIP
    """

    def __init__(self, encoder: Encoder, root: str | Path | None = None):
        self.encoder, self.folder = encoder, None
        self._where: dict[str, Path] = {}
        self._open: dict[Path, object] = {}
        self._memory: dict[str, Features] = {}
        try:
            self.root = Path(root or default_cache_dir())
            folder = self.root / encoder.name / encoder.version
            folder.mkdir(parents=True, exist_ok=True)
            shards = sorted(folder.glob("*.safetensors"))
        except (OSError, RuntimeError) as error:  # a home folder that is not known is a RuntimeError
            self._do_without(error)
            return
        self.folder = folder
        for shard in shards:
            self._index(shard)

    def _do_without(self, error: Exception) -> None:
        """Say once for each root that nothing is kept there."""
        root = str(getattr(self, "root", "the cache folder"))
        if root not in _TOLD:
            _TOLD.add(root)
            warnings.warn(f"{root}: features cannot be kept there ({error}); they are computed anew each time. Set the environment variable "
                          "DTNET_CACHE_DIR to a folder that can be written", stacklevel=5)  # fmt: skip

    def features(self, structures: Sequence[Structure], layers: int | Sequence[int], bonds: bool = False,
                 progress: bool = True) -> list[Features]:  # fmt: skip
        """Features of each crystal, from disk where they are, computed and stored where not.

        An entry that fails its checksum is named in a warning and computed anew.

        Parameters
        ----------
        structures : sequence of pymatgen Structure
        layers : int or sequence of int
            As for `encoder.encode`.
        bonds : bool
        progress : bool
            Show a progress bar while computing.

        Returns
        -------
        list of Features
            One a crystal, in order, channels of the layers concatenated.
        """
        wanted = (layers,) if isinstance(layers, int) else tuple(layers)
        needed = with_donors(self.encoder, wanted)
        keys = [crystal_key(s) for s in structures]
        self.add(structures, needed, bonds, progress, keys)
        try:
            return self._found(structures, keys, wanted, needed, bonds)
        finally:
            self._memory.clear()

    def _found(self, structures: Sequence[Structure], keys: Sequence[str], wanted: tuple[int, ...], needed: tuple[int, ...], bonds: bool) -> list[Features]:
        found = []
        for key, structure in zip(keys, structures, strict=True):
            try:
                blocks = {n: self.read(key, n, bonds) for n in needed}
            except CorruptFeaturesError as error:
                warnings.warn(f"{error} It is computed anew.", stacklevel=2)
                for n in needed:
                    self._where.pop(_entry(key, n, bonds), None)
                self.add([structure], needed, bonds, False, [key])
                blocks = {n: self.read(key, n, bonds) for n in needed}
            found.append(select_layers(blocks, wanted))
        return found

    def add(self, structures: Sequence[Structure], layers: Iterable[int], bonds: bool = False, progress: bool = True,
            keys: Sequence[str] | None = None) -> int:  # fmt: skip
        """Compute and store what is missing; gives the number of crystals computed.

        Interrupted, it loses the current shard at most (`ATOMS_PER_SHARD` atoms).
        """
        layers = tuple(layers)
        keys = [crystal_key(s) for s in structures] if keys is None else keys
        missing = {
            k: s
            for k, s in zip(keys, structures, strict=True)
            if any(_entry(k, n, bonds) not in self._where and _entry(k, n, bonds) not in self._memory for n in layers)
        }
        bar = tqdm(total=sum(map(len, missing.values())), unit="atom", desc=f"encode {self.encoder.name}",
                   disable=not progress or not missing)  # fmt: skip
        with bar:
            for chunk in _chunks(missing, ATOMS_PER_SHARD):
                blocks = self.encoder.encode_layers(list(chunk.values()), layers, bonds)
                self._write({n: split_crystals(f) for n, f in blocks.items()}, list(chunk), bonds)
                bar.update(sum(map(len, chunk.values())))
        return len(missing)

    def read(self, key: str, layer: int, bonds: bool = False) -> Features:
        """The features of one crystal and layer.

        Raises
        ------
        KeyError
            When they are not in the store.
        CorruptFeaturesError
            Naming file, crystal and reason.
        """
        entry = _entry(key, layer, bonds)
        if entry in self._memory:
            return self._memory[entry]
        shard = self._where[entry]
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(shard, framework="pt")
            file = self._open[shard]
            about = json.loads(file.metadata()[entry])
            flat = file.get_tensor(entry)
            edges = (
                (file.get_tensor(f"{entry}/index"), file.get_tensor(f"{entry}/edges"))
                if about["edges"]
                else ()
            )
        except Exception as error:  # safetensors raises its own, the system's and Python's
            raise CorruptFeaturesError(
                f"{shard}: no features of crystal {key[:12]}, layer {layer} to be read: {error}."
            ) from error
        if checksum(flat, *edges) != about["crc32"]:
            raise CorruptFeaturesError(
                f"{shard}: features of crystal {key[:12]}, layer {layer} do not match their checksum."
            )
        return unflatten(flat, about, edges)

    def __contains__(self, entry: tuple[str, int]) -> bool:
        return _entry(*entry, False) in self._where

    def _index(self, shard: Path) -> None:
        try:
            with safe_open(shard, framework="pt") as file:
                self._where |= dict.fromkeys(file.metadata(), shard)
        except Exception as error:
            broken = shard.with_suffix(".corrupt")
            try:
                os.replace(shard, broken)
            except OSError:
                broken = shard
            warnings.warn(f"{shard}: not a readable feature file ({error}); kept as {broken.name}, its crystals are computed anew.",
                          stacklevel=3)  # fmt: skip

    def _write(self, blocks: dict[int, list[Features]], keys: list[str], bonds: bool) -> None:
        tensors, metadata = {}, {}
        for layer, crystals in blocks.items():
            for key, features in zip(keys, crystals, strict=True):
                entry = _entry(key, layer, bonds)
                flat, edges, about = flatten(features)
                tensors[entry] = flat
                if edges:
                    tensors[f"{entry}/index"], tensors[f"{entry}/edges"] = edges
                metadata[entry] = json.dumps(about | {"crc32": checksum(flat, *edges)})
        shard = self._put(tensors, metadata)
        if shard is None:
            self._memory |= {_entry(key, layer, bonds): features for layer, crystals in blocks.items() for key, features in zip(keys, crystals, strict=True)}
            return
        self._open.pop(shard, None)
        self._where |= dict.fromkeys(metadata, shard)

    def _put(self, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> Path | None:
        """Write a shard whole; None where that cannot be done here."""
        if self.folder is None:
            return None
        name = hashlib.sha256("".join(sorted(metadata)).encode()).hexdigest()[:24]
        shard = self.folder / f"{name}.safetensors"
        temporary = shard.with_suffix(f".tmp{os.getpid()}")
        try:
            save_file(tensors, temporary, metadata=metadata)
            os.replace(temporary, shard)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self.folder = None  # what is there is still read
            self._do_without(error)
            return None
        return shard


def compute_features(features: str, structures: Sequence[Structure], bonds: bool = False, cache_dir: str | Path | None = None,
                     progress: bool = True) -> list[Features]:  # fmt: skip
    """Features of each structure for a text like "7net-0:0-5+7net-l3i5:4", through the store on disk.

    Raises
    ------
    ValueError
        See `parse_features` and `encoder.encode`.
    """
    parts = [
        FeatureStore(load_encoder(name), cache_dir).features(structures, layers, bonds, progress)
        for name, layers in parse_features(features)
    ]
    return parts[0] if len(parts) == 1 else [concatenate_channels(p) for p in zip(*parts, strict=True)]


def _entry(key: str, layer: int, bonds: bool) -> str:
    return f"{key}/{layer}/bonds" if bonds else f"{key}/{layer}"


def _chunks(missing: dict[str, Structure], atoms: int) -> Iterator[dict[str, Structure]]:
    chunk: dict[str, Structure] = {}
    size = 0
    for key, structure in missing.items():
        if chunk and size + len(structure) > atoms:
            yield chunk
            chunk, size = {}, 0
        chunk[key] = structure
        size += len(structure)
    if chunk:
        yield chunk
