"""Rounds of active learning: propose, ask an oracle, learn; one JSON file a round, so that a stopped campaign goes on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from pymatgen.core import Structure

from ..base.files import locked
from ..base.results import plain, provenance, write_json
from ..crystals.record import Record, record_from_dict, record_to_dict
from ..crystals.structures import InvalidStructureError
from ..data.cleaning import REFUSED_FLAGS
from ..data.loading import data_sha256
from .selection import (
    KAPPA,
    MAX_ATOMS,
    acquisition,
    band_gap,
    choose,
    ensemble_statistics,
    gaps_of,
    task_values,
)


class Oracle(Protocol):
    """Who measures candidates."""

    def validate(self, candidates: Sequence[Record]) -> dict[str, Record | str]:
        """By id: a record with the total tensor in its own structure's frame, or why there is none; not yet known ones are left out."""
        ...


@dataclass(frozen=True)
class StoredOracle:
    """Results that are there already: of others, or of records held back from training; found by id or Materials Project id."""

    records: Sequence[Record]

    def validate(self, candidates: Sequence[Record]) -> dict[str, Record | str]:
        known = {r.mp_id: r for r in self.records if r.mp_id} | {r.id: r for r in self.records}
        found = {c.id: known.get(c.id) or known.get(c.mp_id) for c in candidates}
        return {name: "no stored result" if r is None else _judged(replace(r, id=name)) for name, r in found.items()}


@dataclass(frozen=True)
class DFPTOracle:
    """The kit's own open DFPT (`dfpt.run_many`), for small primitive cells; `options` are those of `dfpt.run`.

    Raises
    ------
    dfpt.DFPTError
        Where programs or pseudopotentials are missing: no fault of a candidate.
    """

    folder: Path | str
    workers: int = 1
    max_atoms: int = 5
    options: dict = field(default_factory=dict)

    def validate(self, candidates: Sequence[Record]) -> dict[str, Record | str]:
        from .. import dfpt

        dfpt.programs(self.options.get("engine", "qe"))
        dfpt.pseudo_folder()
        large = {c.id: f"more than {self.max_atoms} atoms in its primitive cell" for c in candidates if not self.accepts(c)}
        jobs = [(c.id, c.structure) for c in candidates if c.id not in large]
        found = dfpt.run_many(jobs, self.folder, self.workers, **self.options)
        for name, reason in found.items():
            if isinstance(reason, dfpt.Postponed):
                warnings.warn(f"{name} is asked again by the next call: {reason}", stacklevel=2)
        done = {name: r for name, r in found.items() if not isinstance(r, dfpt.Postponed)}
        return large | {name: r if isinstance(r, str) else _judged(record_from_dict(r)) for name, r in done.items()}

    def accepts(self, candidate: Record) -> bool:
        """Whether a candidate is small enough."""
        return len(candidate.structure) <= self.max_atoms or len(candidate.structure.get_primitive_structure()) <= self.max_atoms


@dataclass(frozen=True)
class VaspOracle:
    """VASP inputs now (`<folder>/<id>`), results when a whole ``vasprun.xml`` or ``vasprun.xml.gz`` has come back there.

    Raises
    ------
    ValueError
        Where a folder has the inputs or the results of another crystal.
    """

    folder: Path | str

    def validate(self, candidates: Sequence[Record]) -> dict[str, Record | str]:
        from .. import dfpt

        answers: dict[str, Record | str] = {}
        for candidate in candidates:
            place = Path(self.folder) / candidate.id
            done = [p for p in (place / "vasprun.xml", place / "vasprun.xml.gz") if p.exists()]
            try:
                if (place / "POTCAR.spec").exists():  # the last file that is written
                    _same_crystal(Structure.from_file(place / "POSCAR"), candidate, place / "POSCAR")
                elif not done:
                    dfpt.write_vasp_inputs(candidate.structure, place)
                found = dfpt.read_vasprun(done[0], candidate.id) if done else None
            except dfpt.DFPTStopped as error:
                warnings.warn(f"{candidate.id} is asked again by the next call: {error}", stacklevel=2)
            except (dfpt.DFPTError, InvalidStructureError) as error:
                answers[candidate.id] = str(error)
            else:
                if found is not None:
                    _same_crystal(found.structure, candidate, done[0])
                    answers[candidate.id] = _judged(found)
        return answers


def _same_crystal(structure: Structure, candidate: Record, path: Path) -> None:
    if structure.composition != candidate.structure.composition or not np.allclose(structure.lattice.matrix, candidate.structure.lattice.matrix, atol=0.02):
        raise ValueError(f"{path} is of another crystal ({structure.formula}, cell of {structure.volume:.1f} cubic angstrom) than candidate "
                         f"{candidate.id} ({candidate.structure.formula}, {candidate.structure.volume:.1f}): use another folder, or put the right file there")  # fmt: skip


def _judged(record: Record) -> Record | str:
    flags = sorted(REFUSED_FLAGS & set(record.flags))
    if flags or record.eps_total is None:
        return f"refused: {', '.join(flags) or 'no total tensor'}"
    return record


Predictor = Callable[[Sequence[Structure]], tuple[np.ndarray, np.ndarray]]
"""Structures -> total tensors of the ensemble [B, 3, 3], and of each member [M, B, 3, 3]."""


class Learner(Protocol):
    """What is retrained every round."""

    def fit(self, records: Sequence[Record]) -> Predictor: ...


@dataclass(frozen=True)
class Campaign:
    """How a pool is explored; the defaults are the paper's (Section 5.4). The names are explained where they are used.

    Attributes
    ----------
    task, acquisition, kappa, diversity : see `task_values`, `acquisition`, `choose`.
    rounds, top_k : int
    max_atoms : int or None
        Largest cell that is validated.
    seed : int
        Of random choices.
    """

    task: str = "figure of merit"
    acquisition: str = "ucb"
    kappa: float = KAPPA
    rounds: int = 3
    top_k: int = 20
    diversity: str = "none"
    max_atoms: int | None = MAX_ATOMS
    seed: int = 0


def run_rounds(campaign: Campaign, learner: Learner, oracle: Oracle, labelled: Sequence[Record], pool: Sequence[Record],
               folder: str | Path | None = None, accept: Callable[[Record], bool] = lambda record: True) -> list[dict]:  # fmt: skip
    """Rounds of: train, predict the pool, choose, validate, add the results to the training set.

    Parameters
    ----------
    campaign, learner, oracle
    labelled : sequence of Record
        The training set of round 1.
    pool : sequence of Record
        Candidates (see `select_candidates`), with gaps for the figure of merit.
    folder : path, optional
        Keeps ``round-1.json``, ...: what is there is not done again; an answered candidate is not validated again. More `rounds`
        may be asked for later.
    accept : callable
        A slow filter for the best only, for instance `is_extended` for the task "anisotropy".

    Returns
    -------
    list of dict
        One a round: `round`, `status` ("done", or "waiting" for results: call again later), `n_training`, `proposed` (id,
        formula, gap_ev, mean, deviation, score; best first), `answers` (by id: value and record, or error), `best` (the best
        validated value so far), `predictions` (ids, means and deviations of the whole pool), campaign, checksums, provenance, and
        what the learner says `about` itself.

    Raises
    ------
    ValueError
        When the folder belongs to another campaign, learner, oracle or data, or has a broken file; for ids that the pool has twice.
    files.InUseError
        When another process works on it.
    """
    if twice := [name for name, n in Counter(c.id for c in pool).items() if n > 1]:
        raise ValueError(f"the pool has {len(twice)} ids more than once, the first is {twice[0]!r}: give each candidate its own")
    about = {"campaign": {k: v for k, v in asdict(campaign).items() if k != "rounds"}, "learner": plain(getattr(learner, "about", type(learner).__name__)),
             "oracle": type(oracle).__name__, "labelled_sha256": data_sha256(labelled), "pool_sha256": data_sha256(pool), "gaps_sha256": _gaps_sha256(pool)}  # fmt: skip
    if folder is None:
        return _rounds(campaign, learner, oracle, labelled, pool, None, accept, about)
    with locked(Path(folder) / "rounds", wait=False):
        return _rounds(campaign, learner, oracle, labelled, pool, Path(folder), accept, about)


def _gaps_sha256(pool: Sequence[Record]) -> str:
    """Of ids and gaps to a hundredth of an eV, so that estimates of another machine are the same."""
    return hashlib.sha256("\n".join(sorted(f"{r.id} {gap:.2f}" for r, gap in zip(pool, gaps_of(pool), strict=True))).encode()).hexdigest()


def _rounds(campaign, learner, oracle, labelled, pool, folder, accept, about) -> list[dict]:
    rounds: list[dict] = []
    by_id = {c.id: c for c in pool}
    for number in range(1, campaign.rounds + 1):
        path = None if folder is None else folder / f"round-{number}.json"
        state = _stored(path, about)
        if state is None:
            known = [*labelled, *(record_from_dict(a["record"], "validated") for r in rounds for a in r["answers"].values() if "record" in a)]
            tried = {p["id"] for r in rounds for p in r["proposed"]}
            state = {"round": number, "status": "waiting", **about, **provenance(), "n_training": len(known)}
            state |= _propose(campaign, learner, known, [c for c in pool if c.id not in tried], accept, number) | {"answers": {}}
            _keep(path, state)
        missing = [by_id[p["id"]] for p in state["proposed"] if p["id"] not in state["answers"]]
        if missing:
            for name, answer in oracle.validate(missing).items():
                state["answers"][name] = _answer(campaign.task, answer, by_id[name])
            _keep(path, state)
        rounds.append(state)
        values = [a["value"] for r in rounds for a in r["answers"].values() if a.get("value") is not None]
        waiting = len(state["answers"]) < len(state["proposed"])
        update = {"status": "waiting" if waiting else "done", "best": max(values, default=None)}
        if any(state.get(key) != value for key, value in update.items()):
            state |= update
            _keep(path, state)
        if waiting:
            break
    return rounds


def _propose(campaign: Campaign, learner: Learner, known, candidates, accept, number: int) -> dict:
    gaps = gaps_of(candidates)
    mean = deviation = np.full(len(candidates), np.nan)
    if campaign.acquisition != "random" and candidates:
        _, members = learner.fit(known)([c.structure for c in candidates])
        mean, deviation = ensemble_statistics(task_values(campaign.task, members, gaps))
    scores = acquisition(campaign.acquisition, mean, deviation, campaign.kappa, campaign.seed + 1000 * number)

    def allowed(i: int) -> bool:
        small = campaign.max_atoms is None or len(candidates[i].structure) <= campaign.max_atoms
        return small and accept(candidates[i])

    chosen = choose(scores, campaign.top_k, [c.structure for c in candidates], campaign.diversity, allowed)
    numbers = {"gap_ev": gaps, "mean": mean, "deviation": deviation, "score": scores}
    proposed = [{"id": candidates[i].id, "formula": candidates[i].formula, **{k: _number(v[i]) for k, v in numbers.items()}} for i in chosen]
    kept = {"id": [c.id for c in candidates], "mean": [_number(x) for x in mean], "deviation": [_number(x) for x in deviation]}
    return {"proposed": proposed, "predictions": kept}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _answer(task: str, answer: Record | str, candidate: Record) -> dict:
    if isinstance(answer, str):
        return {"error": answer}
    measured = candidate.meta.get("gap_source") == "estimated" and band_gap(answer) is not None
    value = task_values(task, answer.eps_total[None], gaps_of([answer if measured else candidate]))[0]
    return {"value": _number(value), "record": plain(record_to_dict(answer))}


def _stored(path: Path | None, about: dict) -> dict | None:
    if path is None or not path.exists():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): move it and the later rounds away, and they are done again") from error
    different = [key for key, value in about.items() if state.get(key) != plain(value)]
    if different:
        raise ValueError(f"{path} belongs to another campaign (other {', '.join(different)}): use another folder")
    return state


def _keep(path: Path | None, state: dict) -> None:
    if path is not None:
        write_json(path, state)
