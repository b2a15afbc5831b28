"""`data/results/performance.json`: one key for each measurement, the others kept."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

from dtnet_core.base.files import locked
from dtnet_core.base.paths import RESULTS
from dtnet_core.base.results import provenance, write_json

OUTPUT = RESULTS / "performance.json"


def store(path: Path, key: str, value: dict) -> None:
    """Set one key of the file; safe among processes."""
    with locked(path):
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(path, known | {key: value})
    print(f"written: {path}, key {key}")


def circumstances() -> dict:
    """Command, load of the machine (running programs, mean of the last minute) and `provenance`."""
    hidden = {i + 1 for i, a in enumerate(sys.argv) if a in ("--data-dir", "--output")}
    shown = ["..." if i in hidden else a for i, a in enumerate(sys.argv[1:], 1)]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])
    return {"threads": 1, "command": command, "load_at_end": round(os.getloadavg()[0], 2), **provenance()}
