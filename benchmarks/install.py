"""Imitate what Binder and the Dockerfile build, run one notebook in it, and write `data/results/install.json` and what `docs/howto/install.md` says of it.

    python benchmarks/install.py                 # minutes; needs git and a package index
    python benchmarks/install.py --print         # leaves files alone

A clean clone of HEAD, a new environment with nothing but pip, `./postBuild` without pip's cache and without a compiler, then one notebook with its
parameters as stored. How long the packages take depends on where pip finds them, so their sizes stand beside the time; and processor seconds
stand beside the wall clock, as other work on the machine lengthens only that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

from dtnet_core.base.results import provenance, write_json  # noqa: E402
from dtnet_core.report.markdown import update_block  # noqa: E402

OUTPUT, PAGE, MARK = ROOT / "data" / "results" / "install.json", ROOT / "docs" / "howto" / "install.md", "measured"
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DTNET_DATA_DIR", "DTNET_WEIGHTS_DIR", "DTNET_CACHE_DIR", "TORCH_INDEX")


def imitate(notebook: str, folder: Path) -> dict:
    """Build in `folder`, run the notebook there: seconds, sizes in bytes, peak memory in bytes."""
    clone, python = folder / "clone", folder / "environment/bin/python"
    environment = {k: v for k, v in os.environ.items() if k not in _OURS} | {
        "PYTHON": str(python), "PIP_NO_CACHE_DIR": "1", "CC": "/bin/false", "CXX": "/bin/false", "HOME": str(folder / "home"),
        "DTNET_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip
    (folder / "home").mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    build = watched(["./postBuild"], clone, environment)
    run = watched([str(python), "-m", "papermill", f"notebooks/{notebook}.ipynb", str(folder / "out.ipynb"), "--no-progress-bar"], clone, environment)
    torch = subprocess.run([str(python), "-c", "import torch; print(torch.__version__)"], check=True, capture_output=True, text=True).stdout.strip()
    return {
        "build": build, "environment_bytes": size(python.parent.parent), "clone_bytes": size(clone), "torch_installed": torch,
        "download": downloads(python, clone, folder / "packages", environment), "notebook": {"name": notebook, **run},
    }  # fmt: skip


def watched(command: list[str], folder: Path, environment: dict[str, str]) -> dict:
    """Run a command: wall and processor seconds, and the largest memory (resident, the whole process tree) that five looks a second saw."""
    before, started, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), 0
    process = psutil.Popen(command, cwd=folder, env=environment)
    while process.poll() is None:
        peak = max(peak, sum(map(resident, [process, *process.children(recursive=True)])))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall, "processor_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "peak_bytes": peak}


def resident(process: psutil.Process) -> int:
    """Bytes of a process; 0 once it has ended."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def downloads(python: Path, clone: Path, folder: Path, environment: dict[str, str]) -> dict:
    """Bytes of the packages of the lock as pip fetches them here, torch apart; and those that come as source."""
    subprocess.run([python, "-m", "pip", "download", "--quiet", "--no-deps", "-r", "requirements.lock", "-d", folder], cwd=clone, env=environment, check=True)
    torch = sum(p.stat().st_size for p in folder.glob("torch-*"))
    source = sorted(p.name for p in folder.iterdir() if p.suffix != ".whl")
    return {"torch_bytes": torch, "others_bytes": size(folder) - torch, "source": source}


def size(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def words(found: dict) -> str:
    """What the guide says of a measurement."""
    fetched, run = found["download"], found["notebook"]
    torch, others, whole, peak = (n / 1e9 for n in (fetched["torch_bytes"], fetched["others_bytes"], found["environment_bytes"], run["peak_bytes"]))
    return (
        f"Measured from a clean clone in a new environment with nothing but pip, without a compiler (`{found['command']}`): torch {found['torch_installed']} is a download of {torch:.2f} GB and all other packages "
        f"{others:.2f} GB; the environment takes {whole:.1f} GB. `postBuild` needed {found['build']['processor_s'] / 60:.1f} minutes of a core beside the downloads, notebook `{run['name']}` in it "
        f"{run['processor_s'] / 60:.1f} minutes, and all processes of the notebook together {peak:.2f} GB of memory at most. The machine had torch on its disk and other work to do, so the clock says little: "
        f"{found['build']['wall_s'] / 60:.0f} and {run['wall_s'] / 60:.0f} minutes."
    )


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebook", default="07_tensors_and_symmetry")
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave files alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = imitate(options.notebook, Path(folder))
    chosen = [] if options.notebook == "07_tensors_and_symmetry" else [f"--notebook {options.notebook}"]
    found |= {"command": " ".join(["python benchmarks/install.py", *chosen]), **provenance()}
    print(json.dumps(found, indent=1))
    if not options.only_print:
        write_json(OUTPUT, found)
        update_block(PAGE, MARK, words(found))


if __name__ == "__main__":
    main()
