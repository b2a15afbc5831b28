"""Tensors for any number of crystals in bounded memory: sources are read piece by piece, answers go to parquet parts.

A chunk of crystals is encoded, predicted and written as one part, whole or not at all. What finished parts hold is never
computed again. The same call works in this process, on all cores, or on a Dask cluster; only this process writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from tqdm import tqdm

from ..base.cluster import connect, on_cluster
from ..base.files import locked
from ..crystals.plausible import doubtful
from ..crystals.record import TARGETS
from ..crystals.sources import entries, to_structure
from ..encoder import encode
from ..ensemble import load_ensemble
from ..features import split_crystals
from ..members import encoders_of, known_elements, member_tensors
from ..metrics import anisotropy_ratio, scalar_constant
from ..physics.ionic import IonicPhysics
from ..potentials.registry import load_encoder, parse_features
from ..trust import guess, strain
from ..trust.doubts import Doubts
from ..trust.judge import unphysical
from ..trust.reach import FEATURES as REACH_FEATURES
from ..trust.reach import Reach, invariants_of
from ..trust.verdict import judge
from .parts import COMPONENTS, EXTREME, INTERVALS, Parts

ATOMS_PER_BATCH = 1_000
"""Atoms encoded at a time: what bounds the memory, whatever the crystals."""

_ROW, _COLUMN = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
_PROBE = Structure(Lattice.cubic(3.6), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def predict_members(ensemble, structures: Sequence[Structure], flags: Sequence[str] = ()) -> list[tuple[np.ndarray, dict]]:
    """Tensors of each network, and where each crystal stands; nothing is kept on disk.

    Parameters
    ----------
    ensemble : Ensemble, or anything with its `target`, `networks`, the `features` of each, its `reach`, `physics`, `doubts` and `calibration`.
    structures : sequence of pymatgen Structure
    flags : sequence of str, optional
        Doubts about each, "" for none.

    Returns
    -------
    list of (np.ndarray, dict)
        Of each crystal: electronic, ionic and total tensors [M, 3, 3, 3] in its frame, and `trust.standing.Standing.row` with the numbers of `parts.INTERVALS`, and `parts.EXTREME`.
    """
    answers, batch, size = [], [], 0
    for position, structure in enumerate(structures):
        batch, size = [*batch, structure], size + len(structure)
        if size >= ATOMS_PER_BATCH or position == len(structures) - 1:
            encoders = [(p, *parse_features(p)[0]) for p in encoders_of(ensemble.features)]
            encoded = {p: encode(load_encoder(name), batch, layers) for p, name, layers in encoders}
            members, unbounded = member_tensors(ensemble.networks, ensemble.features, encoded)
            words = [flags[i] if flags else "" for i in range(position + 1 - len(batch), position + 1)]
            place, modes, apart = None, None, np.zeros((len(batch), len(TARGETS)))
            if ensemble.reach is not None:
                place = ensemble.reach.locate(invariants_of([encoded[REACH_FEATURES]]))
                members, apart = ensemble.reach.lean(members, unbounded, place)
            if ensemble.physics is not None:
                mine = split_crystals(encoded[ensemble.physics.charges.features])
                with TemporaryDirectory() as folder:
                    members, unbounded, from_modes, modes = ensemble.physics.mend(batch, mine, invariants_of(mine), members, unbounded, folder, False)
                apart = modes.apart(apart, from_modes)
            refused = [unphysical(members[:, i]) is not None for i in range(len(batch))]
            found = judge(ensemble, batch, words, place, np.where(np.array(refused)[:, None, None, None], np.nan, members), unbounded, apart, modes)
            numbers = dict(zip(INTERVALS, (found.std, found.wide, found.chance), strict=True))
            answers += [(members[:, i], found.where.row(i) | {name: float(x[i]) for name, x in numbers.items()} | {EXTREME: bool(found.extreme[i])}) for i in range(len(batch))]
            batch, size = [], 0
    return answers


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
        answers: list = predict_members(ensemble, [s for _, s in good], [row["flag"] or "" for row, _ in good])
    except Exception:  # one of them, and only its own turn tells which
        answers = [_alone(ensemble, structure, row["flag"] or "") for row, structure in good]
    for (row, _), answer in zip(good, answers, strict=True):
        row.update({"error": answer} if isinstance(answer, str) else _columns(answer[0]) | answer[1])
        if row["error"]:
            row.update(dict.fromkeys((*INTERVALS, EXTREME)))
    return rows


def _alone(ensemble, structure: Structure, flag: str) -> tuple[np.ndarray, dict] | str:
    try:
        return predict_members(ensemble, [structure], [flag])[0]
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
        tensor's anisotropy ratio, half widths of the total constant's intervals and the chance that it is off (`parts.INTERVALS`, as those of `ensemble.Prediction`), extreme, flag (why the crystal is unusual, see `crystals.plausible.doubtful`), in_domain, distance, nearest
        (ids and formulas) and warnings as in `ensemble.Prediction`, and error (null where there is
        none; also for an answer that no crystal can give, see `trust.judge.unphysical`). Parts of an older version lack some columns:
        `read_parts` reads these, too.
    ensemble : Ensemble, optional
        For the total tensor; default: the one of `variant` that ships with the kit.
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
    if ensemble.target != "total":
        raise ValueError(f"the ensemble is for the {ensemble.target} tensor; a stream, which tells all three, takes one for the total tensor")
    ensemble = _Ensemble(ensemble.features, [network.eval() for network in ensemble.networks], ensemble.reach, ensemble.physics, ensemble.calibration, ensemble.doubts)
    predict_members(ensemble, [_PROBE])  # what fails for every crystal fails here
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with locked(output / "run", wait=False):
        parts = Parts(output, ensemble.digest(), retry)
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
    """What travels to the workers: features, networks, what they learned from, what mends their ionic tensors, the factors of intervals, and what doubts."""

    target = "total"

    def __init__(self, features: Sequence[str], networks: list[torch.nn.Module], reach: Reach | None, physics: IonicPhysics | None, calibration: Mapping, doubts: Doubts):
        self.features, self.networks, self.reach, self.physics, self.calibration, self.doubts = features, networks, reach, physics, calibration, doubts

    def digest(self) -> str:
        content = [value.numpy().tobytes() for network in self.networks for _, value in sorted(network.state_dict().items())]
        content += [self.reach.guess.weights.tobytes(), repr(guess.settings()).encode()] if self.reach is not None and self.reach.guess is not None else []
        content += [self.physics.companion.weights.tobytes(), self.physics.charges.isotropic.tobytes()] if self.physics is not None else []
        if self.reach is not None and self.reach.strain is not None:
            content += [*(np.asarray(x).tobytes() for x in vars(self.reach.strain).values()), repr((strain.SUSPECT, strain.LIMIT)).encode()]
        content += [json.dumps(self.calibration, sort_keys=True).encode(), repr(self.doubts).encode()]
        return f"{' | '.join(self.features)} {hashlib.sha256(b''.join(content)).hexdigest()[:16]}"


def _missing(found: Iterable[tuple[str, object]], done: set[str]) -> tuple[Iterator[tuple[str, object]], list[int]]:
    finished, skipped = frozenset(done), [0]

    def keep(entry) -> bool:
        skipped[0] += entry[0] in finished
        return entry[0] not in finished

    return filter(keep, found), skipped
