"""Are crystals read rightly or refused? Random crystals in every setting of gemmi's table, and mutated files.

    python benchmarks/readers.py                          # about ten minutes
    python benchmarks/readers.py --every 20 --mutants 100

A random crystal of each setting is written as CIF by pymatgen, ASE and gemmi, with its symmetry as operations, symbols, Hall symbol or
number, and read back: it must be the same crystal, or refused. Then valid files of every kind are mutated, byte by byte and word by word:
each must be read or refused with the kit's own error, in seconds. Writes `data/results/readers.json`.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs without an installed package

import gemmi  # noqa: E402

from dtnet_core.base.cost import peak_memory_mb  # noqa: E402
from dtnet_core.base.reading import ReadError  # noqa: E402
from dtnet_core.base.results import provenance, write_json  # noqa: E402
from dtnet_core.crystals.readers import from_text  # noqa: E402
from dtnet_core.crystals.sources import entries, to_structure  # noqa: E402
from tests.crystals.mutants import mutants  # noqa: E402
from tests.crystals.random_cifs import is_same, random_crystal, written  # noqa: E402

OUTPUT = ROOT / "data" / "results" / "readers.json"
LONGEST = 10
"""Seconds that a mutated file may take."""
MEMORY = 6 << 30
"""Bytes of address space that the process may have, so that a file which asks for all memory fails here."""


def settings(every: int, seed: int) -> dict:
    """One random crystal of each setting, in all writings: how many were read, refused, and read as another crystal."""
    found, by_form, wrong = Counter(), {}, []
    table = list(gemmi.spacegroup_table())[::every]
    for k, group in enumerate(table):
        try:
            crystal = random_crystal(group, seed + k)
        except RuntimeError as error:
            found["without a crystal"] += 1
            print(error)
            continue
        for how, text, truth in written(crystal, seed + k):
            try:
                answer = "read" if is_same(from_text(text), truth) else "wrong"
            except ReadError:
                answer = "refused"
            found[answer] += 1
            by_form.setdefault(how, Counter())[answer] += 1
            if answer == "wrong":
                wrong.append(f"{group.xhm()}, {how}")
                print("wrong:", wrong[-1], flush=True)
    return {"settings": len(table), "files": sum(found[a] for a in ("read", "refused", "wrong")), **{a: found[a] for a in ("read", "refused", "wrong")},
            "without_a_crystal": found["without a crystal"], "by_writing": by_form, "wrong_ones": wrong}  # fmt: skip


class _TooLong(BaseException):
    """A file took longer than `LONGEST`; no reader catches it."""


def _alarm(*_) -> None:
    raise _TooLong


def mutated(number: int, seed: int) -> dict:
    """Mutated files of every kind: how many were read, refused, hung, or raised what is no error of the kit's."""
    found, others, slowest, kinds = Counter(), [], 0.0, Counter()
    signal.signal(signal.SIGALRM, _alarm)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in mutants(number, seed):
            path = Path(folder) / name
            path.write_bytes(content)
            kinds[path.suffix or path.name] += 1
            start, answer = time.perf_counter(), "refused"
            signal.alarm(LONGEST)
            try:
                for _, entry in entries(path):
                    try:
                        to_structure(entry)
                        answer = "read"
                    except ReadError:
                        continue
            except ReadError:
                pass
            except _TooLong:
                answer = "hung"
            except Exception as error:
                answer = "other exceptions"
                others.append(f"{name}: {type(error).__name__}: {str(error)[:100]}")
                print(others[-1])
                (Path(tempfile.gettempdir()) / f"mutant-{name}").write_bytes(content)
            finally:
                signal.alarm(0)
            found[answer] += 1
            slowest = max(slowest, time.perf_counter() - start)
            path.unlink()
    return {"mutants": number, **{a: found[a] for a in ("read", "refused", "hung", "other exceptions")}, "kinds": kinds, "exceptions": others,
            "slowest_seconds": round(slowest, 2), "peak_memory_mb": round(peak_memory_mb())}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--every", type=int, default=1, help="of so many settings one is tried")
    parser.add_argument("--mutants", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    o = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    command = f"python benchmarks/readers.py --every {o.every} --mutants {o.mutants} --seed {o.seed}"
    record = {"command": command, "provenance": provenance(), "mutants": mutated(o.mutants, o.seed), "settings": settings(o.every, o.seed)}
    write_json(o.output, record)
    print({k: v for k, v in record["settings"].items() if isinstance(v, int)}, {k: v for k, v in record["mutants"].items() if not isinstance(v, list)})


if __name__ == "__main__":
    main()
