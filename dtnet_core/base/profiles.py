"""Where the data files of a profile are. Nothing here takes time to import: notebooks ask before they load anything."""

from __future__ import annotations

import os
from pathlib import Path

from .paths import DATA

DATA_DIR_VARIABLE = "DTNET_DATA_DIR"
FILES = {"mini": "open_dfpt", "full": "mp_tensors"}
"""Profile -> name of its own set of records, a file without ``.json.gz``."""


def resolve_data_dir(profile: str = "full", data_dir: str | os.PathLike | None = None) -> Path:
    """The folder with the data files of a profile.

    Parameters
    ----------
    profile : {"mini", "full"}
    data_dir : path, optional
        Overrides the profile's own place (for "full": the environment variable DTNET_DATA_DIR). A folder with
        a ``data`` subfolder may be given instead of that subfolder.

    Raises
    ------
    FileNotFoundError
        When the folder is not there, or the variable is not set.
    ValueError
        For an unknown profile.
    """
    if profile not in FILES:
        raise ValueError(
            f"profile is {profile!r}; choose 'mini' (in the kit) or 'full' (needs {DATA_DIR_VARIABLE})"
        )
    if data_dir is None and profile == "mini":
        return DATA
    named = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        raise FileNotFoundError(
            f"profile 'full' reads the folder named by the environment variable {DATA_DIR_VARIABLE}, which "
            "is not set. Set it, fill a folder with `dtnet download FOLDER`, or use profile "
            "'mini'"
        )
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {folder} does not exist; correct {DATA_DIR_VARIABLE} or data_dir"
        )
    inner = folder / "data"
    return inner if inner.is_dir() and not any(folder.glob("*.json.gz")) else folder
