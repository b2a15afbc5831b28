"""Many crystals, one job a core: a queue that survives failures and merges every finished record at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pymatgen.core import Structure
from tqdm import tqdm

from ..base.files import InUseError, write_atomic
from ..base.results import provenance
from ..crystals.structures import InvalidStructureError
from .calculation import run
from .inputs import DFPTError, DFPTStopped
from .seeds import merge_record

Job = tuple[str, "Structure | Callable[[], Structure]"] | tuple[str, "Structure | Callable[[], Structure]", dict]


class Postponed(str):
    """Why a job has no record yet through no fault of its crystal (killed, in use, disk): the same call may give one."""


def run_many(jobs: Iterable[Job], root: Path | str, workers: int = 1, set_path: Path | None = None,
             command: Callable[[str], str] | None = None, progress: bool = True, **options) -> dict[str, dict | str]:  # fmt: skip
    """Run a queue, one job a core, with a progress bar.

    Parameters
    ----------
    jobs : (id, structure) or (id, structure, options of its own); a structure may be a function that makes it when its
        turn comes.
    root : the run of a crystal is in `<root>/<id>`.
    workers : jobs at a time.
    set_path : set file into which every finished record is merged at once.
    command : gives the command line that repeats a job, for its record.
    **options : passed on to `run` (engine, timeout, ...).

    Returns
    -------
    dict : id -> record, which also says with which commit and hardware, or the message of what went wrong, which is also in `<root>/<id>/error.txt` (`Postponed`: what
        stopped it for now, which is not); a job that fails does not stop the others.
    """

    def one(key: str, structure, own: dict | None = None) -> dict | str:
        folder = Path(root) / key
        try:
            record = run(structure() if callable(structure) else structure, folder, key, **options | (own or {}))
        except (DFPTStopped, InUseError, OSError) as error:
            return Postponed(error)
        except (DFPTError, InvalidStructureError) as error:
            write_atomic(folder / "error.txt", str(error))
            return str(error)
        record |= {"command": command(key)} if command is not None else {}
        record |= {k: v for k, v in provenance().items() if k in ("commit", "hardware")}
        write_atomic(folder / "record.json", json.dumps(record))
        (folder / "error.txt").unlink(missing_ok=True)
        if set_path is not None:
            merge_record(record, set_path)
        return record

    results: dict[str, dict | str] = {}
    with ThreadPoolExecutor(workers) as pool, tqdm(desc="DFPT", unit="crystal", disable=not progress) as bar:
        futures = {pool.submit(one, *job): job[0] for job in jobs}
        bar.reset(total=len(futures))
        for future in as_completed(futures):
            key = futures[future]
            results[key] = result = future.result()
            bar.update()
            bar.set_postfix_str(f"{key}: {'failed' if isinstance(result, str) else result['flags'] or 'ok'}")
    return results
