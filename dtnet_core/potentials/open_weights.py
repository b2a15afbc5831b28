"""Encoders from open weights that no wheel carries: Nequix (MIT licence) and TensorNet of MatGL (BSD-3).

Both are exactly O(3)-equivariant in one pass. Neither the weights nor the packages come with the kit: the weights are
looked up in the folder named by the environment variable DTNET_WEIGHTS_DIR, and the packages are optional. What the
two encoders share is here; the networks are in `nequix` and `tensornet`.
"""

from __future__ import annotations

import abc
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import torch
from pymatgen.core import Structure
from torch import Tensor

from ..features import Features, concatenate_crystals
from ..structures import validate_structure
from .graph import Graph, batches_by_edges
from .sevennet import SEVENNET_NAMES

WEIGHTS_DIR_VARIABLE = "DTNET_WEIGHTS_DIR"
DEFAULT_MAX_EDGES = 1_000

NEQUIX_FILES = {
    f"nequix-{tag}": f"nequix-{tag}.pt" for tag in ("mp-1", "mp-1-pft", "omat-1", "oam-1", "oam-1-pft")
}
"""Trained on MPtrj; MPtrj and phonons; OMat24; OMat24, sAlex and MPtrj; those and phonons."""
TENSORNET_FOLDERS = {
    f"tensornet-matpes-{tag.lower()}": f"TensorNet-MatPES-{tag}-v2025.1-PES" for tag in ("PBE", "r2SCAN")
}
"""Trained on MatPES 2025.1 of that functional."""
OPEN_NAMES = (*NEQUIX_FILES, *TENSORNET_FOLDERS)

_SOURCES = {  # package -> (requirement, subfolder of the weights, where they come from)
    "nequix": (
        "nequix==0.4.5",
        "nequix",
        "https://github.com/atomicarchitects/nequix (MIT licence; its NequixCalculator with backend='torch', where jax "
        "is installed, makes the .pt file out of the published .nqx file)",
    ),
    "matgl": ("matgl==4.1.2", "matgl", "https://github.com/materialyzeai/matgl (BSD-3 licence)"),
    "schnetpack": ("schnetpack==2.1.1", "", ""),  # no weights: its PaiNN is trained from scratch
}


def load_open_encoder(name: str, dtype: torch.dtype = torch.float32) -> OpenEncoder:
    """The Nequix or TensorNet encoder of that name.

    Parameters
    ----------
    name : str
        One of `OPEN_NAMES`.
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
    if name in NEQUIX_FILES:
        from .nequix import Nequix

        return Nequix(name, dtype)
    if name in TENSORNET_FOLDERS:
        from .tensornet import TensorNet

        return TensorNet(name, dtype)
    raise ValueError(f"no encoder is called {name!r}; choose from {[*SEVENNET_NAMES, *OPEN_NAMES]}")


def find_weights(package: str, filename: str) -> Path:
    """Path of the weights `filename` (file or folder) of "nequix" or "matgl" under DTNET_WEIGHTS_DIR.

    The variable may name the folder with the weights itself, or a folder with ``nequix`` and ``matgl`` subfolders.

    Raises
    ------
    FileNotFoundError
        With the page where the weights are published.
    """
    _, subfolder, page = _SOURCES[package]
    advice = f"get {filename} from {page} and name the folder that holds it in {WEIGHTS_DIR_VARIABLE}"
    root = os.environ.get(WEIGHTS_DIR_VARIABLE)
    if not root:
        raise FileNotFoundError(
            f"the environment variable {WEIGHTS_DIR_VARIABLE} is not set, and the weights do not come with "
            f"the kit: {advice}"
        )
    tried = (Path(root, subfolder, filename), Path(root, filename))
    for path in tried:
        if path.exists():
            return path
    raise FileNotFoundError(f"no weights at {' or '.join(map(str, tried))}: {advice}")


def import_bare(
    package: str, modules: Sequence[str], stand_ins: Mapping[str, Mapping] | None = None, **constants
) -> list[ModuleType]:
    """Import single files of an installed package without running any `__init__` of it.

    The `__init__` of nequix imports jax and that of matgl a training framework and a hub client; the networks need
    torch alone. Bare modules, which only know where the files lie, take the packages' places during the import. They
    leave `sys.modules` afterwards together with what was imported, so that a later ``import`` gets the real package.

    Parameters
    ----------
    package : str
    modules : sequence of str
        Dotted names inside the package, for instance "torch_impl.model".
    stand_ins : mapping, optional
        Attributes of modules inside the package that are not to be run at all, because of what they import.
    **constants
        Attributes of the bare package that the files read while they are imported.

    Raises
    ------
    ImportError
        When the package is not installed or is another version, with the command that installs it.
    """
    names = [f"{package}.{module}" for module in modules]
    if package in sys.modules:
        return [importlib.import_module(name) for name in names]
    requirement = _SOURCES.get(package, (package,))[0]
    advice = (
        f"pip install --no-deps {requirement} (without its requirements, which are large and not used here)"
    )
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the package {package} is not installed: {advice}")
    folder = Path(spec.submodule_search_locations[0])
    try:
        for name in [package, *(parent for n in names for parent in _parents(n))]:
            bare = ModuleType(name)
            bare.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
            sys.modules.setdefault(name, bare)
        for name, attributes in (stand_ins or {}).items():
            sys.modules[f"{package}.{name}"] = ModuleType(f"{package}.{name}")
            vars(sys.modules[f"{package}.{name}"]).update(attributes)
        vars(sys.modules[package]).update(constants)
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise ImportError(f"the installed {package} does not fit ({error}): {advice}") from error
    finally:
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            del sys.modules[name]


def _parents(name: str) -> list[str]:
    """The packages between the top one and a module: "a.b.c.d" -> ["a.b", "a.b.c"]."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(2, len(parts))]


def files_version(paths: Sequence[Path], *extra: str) -> str:
    """Short hash of weights files: the address of features computed with them."""
    digest = hashlib.sha256("|".join(extra).encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def rows_of(numbers: Sequence[int]) -> Tensor:
    """[120] int64: place of each atomic number in `numbers`, the order of an embedding; -1 where it is not known."""
    rows = torch.full((120,), -1)
    rows[torch.tensor(numbers)] = torch.arange(len(numbers))
    return rows


class OpenEncoder(abc.ABC):
    """What the encoders here share: checks, batches, and the energy the potential itself was trained on.

    Attributes
    ----------
    name, version, cutoff, elements, layers
        As in `dtnet_core.encoder.Encoder`.
    dtype : torch.dtype
        float32, or float64 for tests of equivariance (constants are then computed in double).
    max_edges : int
        Bonds in a batch.
    """

    name: str
    version: str
    cutoff: float
    elements: frozenset[str]
    layers: tuple[int, ...]
    dtype: torch.dtype
    max_edges: int = DEFAULT_MAX_EDGES

    @abc.abstractmethod
    def channels(self, layer: int) -> tuple[int, int, int]:
        """(Cs, Cv, Ct) of a layer."""

    @abc.abstractmethod
    def _run(self, graph: Graph, layers: tuple[int, ...], bonds: bool) -> tuple[dict[int, Features], Tensor]:
        """Features of the layers, and the energy of each atom [N] in eV, from one pass of the network."""

    def encode_layers(
        self, structures: Sequence[Structure], layers: Sequence[int], bonds: bool = False
    ) -> dict[int, Features]:
        """Features of each of `layers`, for all crystals as one batch.

        These networks keep no features on bonds. With `bonds`, a layer's stand-ins are its messages before they are
        summed, of each rank mixed down to 16 channels by a fixed matrix, and the radial basis among the scalars.
        Layers that pass no messages (the embedding, TensorNet's readout) have none.

        Raises
        ------
        structures.InvalidStructureError
            For a structure with unsupported elements, disorder, overlapping atoms, no atoms, NaN.
        """
        parts: dict[int, list[Features]] = {n: [] for n in layers}
        for graph in self._batches(structures):
            with torch.inference_mode():
                blocks, _ = self._run(graph, tuple(layers), bonds)
            for n, features in blocks.items():
                parts[n].append(features)
        return {n: concatenate_crystals(p) for n, p in parts.items()}

    def energies(self, structures: Sequence[Structure]) -> Tensor:
        """Potential energy [B] of the cells in eV, from the pass that gives the features.

        Not a feature: it is how to see that the network does what its authors published.
        """
        found = []
        for graph in self._batches(structures):
            with torch.inference_mode():
                _, atoms = self._run(graph, (), False)  # [N]
            cells = torch.zeros(len(graph.n_atoms), dtype=atoms.dtype)
            found.append(cells.index_add(0, graph.crystal, atoms))
        return torch.cat(found)

    def _batches(self, structures: Sequence[Structure]):
        for position, structure in enumerate(structures):
            validate_structure(structure, elements=self.elements, name=f"structure {position}")
        return batches_by_edges(structures, self.cutoff, self.max_edges)
