"""Joint models: one network for the electronic and the ionic tensor, trained on every kind of open label, in ensembles.

The total tensor is their sum. Beside the benchmark's tensors a joint model may learn from PBEsol tensors and from
crystals with scalars only (`labels`); what it is tested and tuned on are tensors of the benchmark, split as by
`experiment`, and no relative of a crystal of the test or the validation set is trained on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure

from ..base.files import read_json, write_atomic
from ..base.paths import default_cache_dir, sources
from ..base.results import IDENTITY, append_result, finished_runs, plain, provenance
from ..crystals.record import LABELLED, Record
from ..crystals.structures import crystal_systems
from ..data.held_out import held_out, material_groups, near_twins, with_twin
from ..data.labels import load_auxiliary
from ..data.loading import data_sha256, load_clean
from ..data.splits import draw_split
from ..members import with_total
from ..metrics import mae_ten
from ..potentials.registry import spell_features
from ..potentials.store import compute_features
from ..readout import DTNet, DTNetConfig
from .fit import FitResult, fit, predict
from .recipes import RECIPES, Recipe
from .scores import test_scores
from .sets import CrystalSet, build_set

PARTS = ("electronic", "ionic")
CODE_OF_A_RUN = ("features", "layers", "links", "readout", "data.held_out", "data.labels", "data.splits", "training.fit", "training.loop", "training.losses", "training.sets")


@dataclass(frozen=True)
class Task:
    """The benchmark's records, then the auxiliary ones, with their features and labels in memory.

    Attributes
    ----------
    records : list of Record
        All [B]; the first `n_benchmark` are the benchmark's.
    group : np.ndarray, [B]
        Number of the material of each record.
    data : CrystalSet
    parts : dict of str to three slices
        Where each encoder's scalar, vector and tensor channels are in `data`.
    checksum : str
        SHA-256 of the benchmark's file.
    """

    records: list[Record]
    n_benchmark: int
    group: np.ndarray
    data: CrystalSet
    parts: dict[str, tuple[slice, slice, slice]]
    checksum: str

    def of(self, features: str) -> CrystalSet:
        """`data` with the channels of some of its encoders only; without a copy when these are all, in order."""
        return select_parts(self.data, self.parts, features)

    def split(self, seed: int, kind: str = "record") -> dict[str, np.ndarray]:
        """Positions "train" (auxiliary records included), "val" and "test", kept apart by `held_out`."""
        return held_out(draw_split(self.records[: self.n_benchmark], seed, kind), self.records, self.group, kind)

    def twins(self, cache_dir: str | Path | None = None, progress: bool = False) -> np.ndarray:
        """[n, 2]: pairs of `held_out.near_twins`."""
        found = _stored("twins", self.records, cache_dir, lambda: near_twins(self.records, cache_dir, progress))
        return found.reshape(-1, 2)

    def twinned(self, split: Mapping[str, np.ndarray], cache_dir: str | Path | None = None, progress: bool = False) -> np.ndarray:
        """[b] bool: which test crystals of a split have a near twin that trains."""
        return with_twin(split["test"], split["train"], self.twins(cache_dir, progress))


def load_task(recipe: Recipe, profile: str = "full", data_dir: str | Path | None = None,
              cache_dir: str | Path | None = None, progress: bool = True) -> Task:  # fmt: skip
    """Read, encode and pack what a recipe trains on; see `data.loading.resolve_data_dir` and `potentials.store.compute_features`."""
    benchmark, checksum = load_clean(profile, data_dir)
    extra = load_auxiliary(benchmark, data_dir, recipe.labels) if recipe.labels and profile == "full" else []
    records = [*benchmark, *extra]
    group = _stored("materials", records, cache_dir, lambda: material_groups(records))
    features = compute_features(recipe.features, [r.structure for r in records], False, cache_dir, progress)
    data = build_set(features, records, PARTS, scalars=True, cache_dir=cache_dir)
    return Task(records, len(benchmark), group, data, channels_of(recipe.features, records[0].structure, cache_dir), checksum)


def select_parts(data: CrystalSet, parts: Mapping[str, tuple[slice, slice, slice]], features: str) -> CrystalSet:
    """`data` with the channels of some of its encoders, as `channels_of` found them; no copy when these are all, in order."""
    if features == "+".join(parts):
        return data
    if missing := [part for part in features.split("+") if part not in parts]:
        raise ValueError(f"{', '.join(missing)}: not among the encoded features, which are {', '.join(parts)}")
    chosen = [parts[part] for part in features.split("+")]
    names = ("scalars", "vectors", "tensors")
    return replace(data, **{n: _joined([getattr(data, n)[..., c[rank]] for c in chosen]) for rank, n in enumerate(names)})


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)  # one alone stays where it is in memory


def channels_of(features: str, structure: Structure, cache_dir: str | Path | None = None) -> dict[str, tuple[slice, slice, slice]]:
    """Where the scalar, vector and tensor channels of each "encoder:layers" are among those of all `features`."""
    found, ends = {}, (0, 0, 0)
    for part in features.split("+"):
        starts, sizes = ends, compute_features(part, [structure], False, cache_dir, False)[0].channels
        ends = tuple(a + n for a, n in zip(starts, sizes, strict=True))
        found[part] = tuple(map(slice, starts, ends))
    return found


def _stored(name: str, records: Sequence[Record], cache_dir: str | Path | None, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Integers that say which records belong together; they take a minute for the full data, so they are kept on disk."""
    names = " ".join([data_sha256(records), *(r.id for r in records), repr(sources("data.held_out"))])  # the checksum knows no order
    path = Path(cache_dir or default_cache_dir()) / f"{name}-{hashlib.sha256(names.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_atomic(path, json.dumps(np.asarray(compute()).tolist()))
    return np.array(read_json(path), dtype=int)


def fit_member(recipe: Recipe, task: Task, split: dict[str, np.ndarray], seed: int, member: int = 0,
               cache_dir: str | Path | None = None, progress: bool = True) -> FitResult:  # fmt: skip
    """Train one network of an ensemble; a killed one goes on from its checkpoint.

    Parameters
    ----------
    recipe, task, split
        See `load_task` and `Task.split`.
    seed, member : int
        Together they draw the initial weights, the order of the batches and the dropout.
    """
    features = recipe.members[member]
    data = task.of(features)
    functionals = 1 + max(LABELLED.values() if data.functional is None else (*LABELLED.values(), int(data.functional.max())))
    shape = DTNetConfig(data.channels, outputs=len(PARTS), functionals=functionals, **recipe.options)
    code = sources(*CODE_OF_A_RUN)
    kept = data.start.numpy().tobytes()  # an encoder that tells equivalent atoms apart keeps more of them
    targets = hashlib.sha256(b"" if task.data.targets is None else task.data.targets.numpy().tobytes()).hexdigest()
    settings = (features, recipe.train, recipe.relative, shape, seed, member, task.checksum, targets, kept, code, *map(bytes, split.values()))
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:20]
    checkpoint = Path(cache_dir or default_cache_dir()) / "runs" / f"joint-seed{seed}-{member}-{digest}.pt"
    return fit(data, split["train"], split["val"], seed + 1000 * member, shape, recipe.train, checkpoint, progress=progress, relative=recipe.relative)


def predict_members(networks: Sequence[DTNet], recipe: Recipe, task: Task, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Electronic, ionic and total tensors of some crystals by each network [M, b, 3, 3, 3], and the true ones [b, 3, 3, 3]."""
    found = [with_total(predict(n, task.of(f), rows)) for n, f in zip(networks, recipe.members, strict=True)]
    return np.stack(found), with_total(task.data.target_tensors(rows).double().numpy())


def run_joint(name: str, seeds: Sequence[int] = range(5), split: str = "record", profile: str = "full",
              results: str | Path | None = None, cache_dir: str | Path | None = None,
              data_dir: str | Path | None = None, progress: bool = True, resume: bool = True) -> list[dict]:  # fmt: skip
    """Train and test the ensembles of a recipe, one a seed; finished ones are taken from the results file.

    Parameters
    ----------
    name : str
        Of `recipes.RECIPES`.
    seeds : sequence of int
    split : {"record", "group"}
    profile : {"mini", "full"}
    results : path, optional
        Results file: runs it holds are not repeated, new ones are added.
    resume : bool
        False: score again what the results file holds; networks whose checkpoints are on disk are not trained again.

    Returns
    -------
    list of dict
        Three a seed (electronic, ionic, total), with the keys of a results record.
    """
    recipe = RECIPES[name]
    done = finished_runs(results, resume)
    keys = {seed: [tuple(_identity(recipe, t, split, seed, profile).values()) for t in (*PARTS, "total")] for seed in seeds}
    task, found = None, []
    for seed in seeds:
        if not all(key in done for key in keys[seed]):
            task = task or load_task(recipe, profile, data_dir, cache_dir, progress)
            for run in _one_seed(name, task, seed, split, profile, cache_dir, progress):
                done[tuple(run[k] for k in IDENTITY)] = run
                if results is not None:
                    append_result(results, run)
        found += [done[key] for key in keys[seed]]
    return found


def _identity(recipe: Recipe, target: str, split: str, seed: int, profile: str) -> dict:
    return dict(zip(IDENTITY, (target, recipe.model, *spell_features(recipe.features), split, seed, profile), strict=True))


def _one_seed(name: str, task: Task, seed: int, kind: str, profile: str, cache_dir, progress) -> list[dict]:
    started, recipe, split = time.monotonic(), RECIPES[name], task.split(seed, kind)
    members = [fit_member(recipe, task, split, seed, m, cache_dir, progress) for m in range(len(recipe.members))]
    rows = split["test"]
    each, truth = predict_members([m.model for m in members], recipe, task, rows)
    mean = each.mean(0)  # [b, 3, 3, 3]
    systems = crystal_systems([task.records[i].structure for i in rows])
    seconds = round(time.monotonic() - started, 1)
    twin = task.twinned(split, cache_dir, progress)
    runs = []
    for k, target in enumerate((*PARTS, "total")):
        runs.append(plain(
            _identity(recipe, target, kind, seed, profile)
            | test_scores(split, truth[:, k], mean[:, k], systems)
            | without_twins(twin, truth[:, k], mean[:, k])
            | {"members": list(recipe.members), "members_mae_ten": [mae_ten(truth[:, k], one[:, k]) for one in each],
               "best_epoch": [m.best_epoch for m in members], "validation_loss": [min(m.history["validation"]) for m in members],
               "parameters": sum(p.numel() for m in members for p in m.model.parameters()),
               "settings": asdict(recipe), "data_sha256": task.checksum,
               "command": f"dtnet train joint --recipe {name} --split {kind} --profile {profile} --seeds {seed}",
               "wall_s": seconds, **provenance()}
        ))  # fmt: skip
    return runs


def without_twins(twin: np.ndarray, truth: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """How many test crystals have a near twin that trains, `twin` [b], and the error [b, 3, 3] of all others."""
    return {"n_near_twins": int(twin.sum()), "mae_ten_without_near_twins": mae_ten(truth[~twin], said[~twin])}
