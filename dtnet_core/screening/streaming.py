"""Tensors for any number of crystals in bounded memory: sources are read piece by piece, answers go to parquet parts.

A chunk of crystals is encoded, predicted and written as one part, whole or not at all. What finished parts hold is never
computed again. The same call works in this process, on all cores, or on a Dask cluster; only this process writes.
"""

from __future__ import annotations

import errno
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from tqdm import tqdm

from ..base.cluster import connect, on_cluster
from ..base.files import locked, write_atomic
from ..crystals.plausible import doubtful
from ..crystals.record import TARGETS
from ..crystals.sources import entries, to_structure
from ..encoder import encode
from ..ensemble import load_ensemble
from ..judge import unphysical
from ..members import encoders_of, known_elements, member_tensors
from ..metrics import anisotropy_ratio, scalar_constant
from ..potentials.registry import load_encoder, parse_features

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
ATOMS_PER_BATCH = 1_000
"""Atoms encoded at a time: what bounds the memory, whatever the crystals."""

_ROW, _COLUMN = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
_NUMBERS = ([f"eps_{t}_{c}" for t in TARGETS for c in COMPONENTS] + [f"eps_{t}_{s}" for t in TARGETS for s in ("mean", "std")]
            + ["anisotropy_mean", "anisotropy_std"])  # fmt: skip
_PROBE = Structure(Lattice.cubic(3.6), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
_FULL = (errno.ENOSPC, errno.EDQUOT)


def predict_members(ensemble, structures: Sequence[Structure]) -> np.ndarray:
    """Electronic, ionic and total tensors of each network, nothing kept on disk: [M, B, 3, 3, 3], in the structures' frames.

    Parameters
    ----------
    ensemble : Ensemble, or anything with its `networks` and the `features` of each.
    structures : sequence of pymatgen Structure
    """
    parts, batch, size = [], [], 0
    for position, structure in enumerate(structures):
        batch, size = [*batch, structure], size + len(structure)
        if size >= ATOMS_PER_BATCH or position == len(structures) - 1:
            encoders = [(p, *parse_features(p)[0]) for p in encoders_of(ensemble.features)]
            encoded = {p: encode(load_encoder(name), batch, layers) for p, name, layers in encoders}
            parts.append(member_tensors(ensemble.networks, ensemble.features, encoded)[0])
            batch, size = [], 0
    return np.concatenate(parts, 1) if parts else np.zeros((len(ensemble.networks), 0, 3, 3, 3))


def predict_entries(chunk: Sequence[tuple[str, object]], ensemble) -> list[dict]:
    """One row for each (id, content) of a chunk, in order; a crystal that fails has its reason in `error`.

    What is no crystal's fault (no memory; weights or files that this machine does not have or cannot open now) is raised.
    """
    elements = known_elements(ensemble.features)
    rows = [{"id": name, "formula": None, "n_atoms": None, "flag": None, "error": None} for name, _ in chunk]
    good: list[tuple[dict, Structure]] = []
    for row, (_, content) in zip(rows, chunk, strict=True):
        try:
            structure = to_structure(content, elements)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # parsers raise whatever the broken place happens to cause
            row["error"] = _reason(error)
        else:
            row.update(formula=structure.composition.reduced_formula, n_atoms=len(structure), flag=doubtful(structure))
            good.append((row, structure))
    try:
        found = predict_members(ensemble, [s for _, s in good])
        answers = [found[:, i] for i in range(len(good))]  # [M, 3, 3, 3] each
    except Exception:  # one of them, and only its own turn tells which
        answers = [_alone(ensemble, structure) for _, structure in good]
    for (row, _), answer in zip(good, answers, strict=True):
        row.update({"error": answer} if isinstance(answer, str) else _columns(answer))
    return rows


def _alone(ensemble, structure: Structure) -> np.ndarray | str:
    try:
        return predict_members(ensemble, [structure])[:, 0]
    except (MemoryError, OSError):
        raise
    except Exception as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:500]}"


def _columns(members: np.ndarray) -> dict[str, float | str]:
    """[M, 3, 3, 3] of one crystal -> tensors of the ensemble's mean, and means and sample deviations of scalars."""
    if reason := unphysical(members):
        return {"error": reason}
    row = {f"eps_{t}_{c}": members[:, k, i, j].mean() for k, t in enumerate(TARGETS) for c, i, j in zip(COMPONENTS, _ROW, _COLUMN, strict=True)}
    values = {f"eps_{t}": scalar_constant(members[:, k]) for k, t in enumerate(TARGETS)}  # [M] each
    for name, value in (values | {"anisotropy": anisotropy_ratio(members[:, -1])}).items():
        row |= {f"{name}_mean": value.mean(), f"{name}_std": value.std(ddof=1) if len(value) > 1 else 0.0}
    return {name: float(value) for name, value in row.items()}


class _Parts:
    """The folder of parts: what is done, and writing one more; with `retry`, rows with an error are taken out first."""

    def __init__(self, folder: Path, made_by: str, retry: bool = False):
        from pyarrow import compute, parquet

        self.folder, self.made_by, self.done, self.failed = folder, made_by, set(), 0
        for left in folder.glob(".part-*.tmp"):  # of a killed run
            left.unlink()
        for path in sorted(folder.glob("part-*.parquet")):
            try:
                table = parquet.ParquetFile(path).read(columns=None if retry else ["id", "error"])
            except Exception as error:
                if isinstance(error, MemoryError) or getattr(error, "errno", None):  # what is broken has no number
                    raise
                warnings.warn(f"{path}: not a readable part ({error}); set aside, its crystals are computed anew", stacklevel=3)
                path.rename(path.with_name(f"_{path.name}.corrupt"))
                continue
            maker = (table.schema.metadata or {}).get(b"made_by", b"").decode()
            if maker != made_by:
                raise ValueError(f"{path} was made by other networks or features ({maker}, now {made_by}): use another output folder")
            if retry and table["error"].null_count < len(table):
                table = table.filter(compute.is_null(table["error"]))
                self._put(path, table) if len(table) else path.unlink()
            self.done.update(table["id"].to_pylist())
            self.failed += len(table) - table["error"].null_count
        numbers = [int(p.name[5:11]) for p in folder.glob("part-*") if p.name[5:11].isdigit()]
        self.next = max(numbers, default=-1) + 1

    def write(self, rows: list[dict]) -> None:
        import pyarrow

        kinds = {"id": pyarrow.string(), "formula": pyarrow.string(), "n_atoms": pyarrow.int32(),
                 **dict.fromkeys(_NUMBERS, pyarrow.float64()), "flag": pyarrow.string(), "error": pyarrow.string()}  # fmt: skip
        schema = pyarrow.schema(list(kinds.items()), metadata={"made_by": self.made_by})
        self._put(self.folder / f"part-{self.next:06d}.parquet", pyarrow.Table.from_pylist(rows, schema=schema))
        self.next += 1
        self.done.update(row["id"] for row in rows)
        self.failed += sum(row["error"] is not None for row in rows)

    def _put(self, path: Path, table) -> None:
        from pyarrow import BufferOutputStream, parquet

        parquet.write_table(table, sink := BufferOutputStream())
        try:
            write_atomic(path, sink.getvalue().to_pybytes())
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise OSError(error.errno, f"the disk is full, {path} was not written; the {len(self.done)} crystals of the parts before it "
                                       "are whole: make room and give the same command again") from error  # fmt: skip


def predict_stream(source, output: str | Path, ensemble=None, variant: str = "default", chunk: int = 100, client=None,
                   workers: int | None = None, progress: bool = True, retry: bool = False) -> dict[str, int]:  # fmt: skip
    """Predict every crystal of a source into parquet parts; started again, it goes on with what is missing.

    A crystal with an error counts as done; `retry` has those of earlier calls tried anew, once their files are repaired, say.

    Parameters
    ----------
    source
        See `entries`. An id stands for its crystal: changed structures need a new output folder. Workers on other machines
        must see a folder of files under the same path.
    output : path
        Folder of ``part-*.parquet``, which `pandas.read_parquet(output)` reads as one table: id, formula, n_atoms, six
        components of each tensor, mean and sample deviation over the networks of its scalar (Eq. 2) and of the total
        tensor's anisotropy ratio, flag (why the crystal is unusual, see `crystals.plausible.doubtful`), and error (null where there is
        none; also for an answer that no crystal can give, see `judge.unphysical`).
    ensemble : Ensemble, optional
        Anything with `networks` and the `features` of each; default: the one of `variant` that ships with the kit.
    chunk : int
        Crystals a part: what a killed run loses at most, for each worker.
    client : None, "local", "slurm", address, or dask.distributed.Client
        None: this process, or with `workers` more than one as "local". "local": `workers` processes (default: all cores).
        "slurm": `workers` jobs (default: one), as dask-jobqueue's own configuration describes them; ended ones are replaced.
    workers : int, optional
    retry : bool
        First take the rows with an error out of finished parts, so that these crystals are computed again.

    Returns
    -------
    dict
        `computed` by this call, `skipped` (in finished parts before), `failed` (of all, those with an error).

    Raises
    ------
    OSError, MemoryError
        When the disk is full, or a file or memory fails that is no crystal's fault; finished parts are whole.
    files.InUseError
        When another process writes to `output`.
    RuntimeError
        After all others are done, when chunks were lost with their workers.
    ValueError
        When `output` holds parts of another ensemble, or for a `chunk` or `workers` less than one; see also `entries`.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; a part has at least one crystal")
    ensemble = ensemble if ensemble is not None else load_ensemble("total", variant)
    ensemble = _Ensemble(ensemble.features, [network.eval() for network in ensemble.networks])
    predict_members(ensemble, [_PROBE])  # what fails for every crystal fails here
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with locked(output / "run", wait=False):
        parts = _Parts(output, ensemble.digest(), retry)
        before = len(parts.done)
        todo, skipped = _missing(entries(source), parts.done)
        with tqdm(unit="crystal", desc="predict", disable=not progress) as bar, connect(client, workers) as dask:

            def write(rows: list[dict]) -> None:
                parts.write(rows)
                bar.update(len(rows))
                bar.set_postfix(failed=parts.failed, skipped=skipped[0], refresh=False)

            chunks = iter(lambda: list(islice(todo, chunk)), [])
            if dask is None:
                for one in chunks:
                    write(predict_entries(one, ensemble))
            elif lost := on_cluster(dask, predict_entries, ensemble, chunks, write):
                name, reason = next(iter(lost.items()))
                raise RuntimeError(f"{len(lost)} chunks were lost, all others are written; give the same command again, with smaller chunks "
                                   f"if it happens again. The first begins with {name}: {reason}")  # fmt: skip
    return {"computed": len(parts.done) - before, "skipped": skipped[0], "failed": parts.failed}


class _Ensemble:
    """What travels to the workers: features and networks."""

    def __init__(self, features: Sequence[str], networks: list[torch.nn.Module]):
        self.features, self.networks = features, networks

    def digest(self) -> str:
        content = [value.numpy().tobytes() for network in self.networks for _, value in sorted(network.state_dict().items())]
        return f"{' | '.join(self.features)} {hashlib.sha256(b''.join(content)).hexdigest()[:16]}"


def _missing(found: Iterable[tuple[str, object]], done: set[str]) -> tuple[Iterator[tuple[str, object]], list[int]]:
    finished, skipped = frozenset(done), [0]

    def keep(entry) -> bool:
        skipped[0] += entry[0] in finished
        return entry[0] not in finished

    return filter(keep, found), skipped
