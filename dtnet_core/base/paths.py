"""Where things lie: the checkout, its data, the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
"""The checkout; of an installed wheel the folder that holds the package."""

DATA = ROOT / "data" if (ROOT / "data" / "weights").is_dir() else PACKAGE / "_data"
"""What ships: `data` of the checkout, or what a wheel carries of it."""
RESULTS = DATA / "results"
WEIGHTS = DATA / "weights"


def default_cache_dir() -> Path:
    """``$DTNET_CACHE_DIR``, or `dtnet` in the user's cache folder."""
    base = os.environ.get("DTNET_CACHE_DIR")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dtnet"


def sources(*names: str) -> list[bytes]:
    """Source code of modules of this package ("training.fit"): what names the checkpoints of a run that depends on them."""
    return [(PACKAGE / f"{name.replace('.', '/')}.py").read_bytes() for name in names]
