"""The task: rows of Matbench's refractive index and its official folds, checked; and a guard for labels from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Structure

from ..base.files import DataFileError, read_json
from ..crystals.record import Record
from ..crystals.structures import structure_from_dict
from ..data.held_out import material_groups, without_relatives
from ..data.loading import data_sha256, load_clean, resolve_data_dir

NAME = "matbench_dielectric"
SETTLED = "matbench_rows.json.gz"
"""Rows of the joined file whose structures became certain later, by their Materials Project ids: beside it, where it is at hand."""
FOLD_SEED = 18012019
"""Random state of Matbench's own five folds, and of the same for the mini profile."""
_CERTAIN = ("official", "A", "I", "mini")


@dataclass(frozen=True)
class Row:
    """A row of the task.

    Attributes
    ----------
    mbid : str
        Matbench's id.
    formula : str
        Reduced formula.
    n : float
        Refractive index, dimensionless.
    tier : str
        How the structure was found: "official"; "A", "B", "C" of the joined file, "X" for none; "I" by id, see `SETTLED`; "mini".
    structure : pymatgen Structure or None
        Lengths in angstrom. In the joined file lengths and angles are all that is known of the cell: fine for scalars.
    """

    mbid: str
    formula: str
    n: float
    tier: str
    structure: Structure | None = None


@dataclass(frozen=True)
class Fold:
    """Ids of the training and the test rows of a fold."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """Rows and checked folds.

    Attributes
    ----------
    rows : tuple of Row
        All of them, with or without a structure.
    folds : tuple of Fold
    source : {"official", "joined", "mini"}
    sha256 : str
        Of the data files' content.

    Raises
    ------
    ValueError
        When rows and folds do not match, see `check_folds`.
    """

    rows: tuple[Row, ...]
    folds: tuple[Fold, ...]
    source: str
    sha256: str

    def __post_init__(self):
        check_folds([row.mbid for row in self.rows], self.folds)

    @cached_property
    def covered(self) -> tuple[Row, ...]:
        """Rows with a structure, in order; positions below count in these."""
        return tuple(row for row in self.rows if row.structure is not None)

    @cached_property
    def n(self) -> np.ndarray:
        """Refractive indices [B] of the covered rows."""
        return np.array([row.n for row in self.covered])

    def split(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a fold's training and test rows among the covered ones."""
        where = {row.mbid: i for i, row in enumerate(self.covered)}
        parts = (self.folds[fold].train, self.folds[fold].test)
        return tuple(np.array([where[i] for i in ids if i in where], dtype=int) for ids in parts)

    def uncovered(self, ids: Sequence[str]) -> list[Row]:
        """Those of these rows that have no structure."""
        wanted = set(ids)
        return [row for row in self.rows if row.structure is None and row.mbid in wanted]

    def coverage(self) -> dict:
        """How many rows there are and have a structure, by tier, and where they come from."""
        tiers = dict(sorted(Counter(row.tier for row in self.rows).items()))
        return {"rows": len(self.rows), "with_structure": len(self.covered), "tiers": tiers, "source": self.source}


def check_folds(ids: Sequence[str], folds: Sequence[Fold]) -> None:
    """Refuse rows and folds that do not match.

    Raises
    ------
    ValueError
        Naming the first offending row: duplicated or missing in the data, unknown to the folds, in both parts of a fold,
        in neither, or in the test part of several folds or of none.
    """
    known = set(ids)

    def refuse(wrong: Sequence[str], what: str) -> None:
        if wrong:
            raise ValueError(f"{len(wrong)} {what}, the first is {min(wrong)}; data and fold file must be those of one benchmark")

    refuse([i for i, count in Counter(ids).items() if count > 1], "rows are duplicated in the data")
    tested: Counter = Counter()
    for k, fold in enumerate(folds):
        train, test = set(fold.train), set(fold.test)
        refuse([i for i, c in Counter((*fold.train, *fold.test)).items() if c > 1 and not (i in train and i in test)],
               f"rows are named twice in fold {k}")  # fmt: skip
        refuse(list(train & test), f"rows are in both training and test of fold {k}")
        refuse(list((train | test) - known), f"rows of fold {k} are missing in the data")
        refuse(list(known - train - test), f"rows of the data are in neither part of fold {k}")
        tested.update(test)
    refuse([i for i, count in tested.items() if count > 1], "rows are tested in more than one fold")
    refuse(list(known - set(tested)), "rows are tested in no fold")


def load_task(profile: str = "full", data_dir: str | os.PathLike | None = None) -> Task:
    """The benchmark's rows and folds.

    Parameters
    ----------
    profile : {"mini", "full"}
        "mini": the kit's own crystals in five folds made as Matbench made its own. "full": the official folds (a file of the
        `matbench` package) with the official dataset where the package has it on disk, else ``matbench_dielectric.json.gz``
        of the data folder, whose structures were joined from a copy of the same database, with the rows of `SETTLED` in the place of its own.
    data_dir : path, optional
        See `data.loading.resolve_data_dir`.

    Raises
    ------
    FileNotFoundError
        When neither file is there.
    DataFileError
        For a damaged file or a wrong checksum.
    ValueError
        When rows and folds do not match.
    """
    if profile == "mini":
        records, sha256 = load_clean("mini", data_dir)
        rows = tuple(Row(r.id, r.formula, float(np.sqrt(r.scalar("electronic"))), "mini", r.structure) for r in records)
        return Task(rows, five_folds([row.mbid for row in rows]), "mini", sha256)
    if (path := official_file()) is not None:
        return Task(_official_rows(path), official_folds(), "official", data_sha256(path))
    path = resolve_data_dir(profile, data_dir) / f"{NAME}.json.gz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; `python -c \"from matbench.data_ops import load; load('{NAME}')\"` downloads the dataset")
    rows, sha256 = {row.mbid: row for row in _joined_rows(path)}, data_sha256(path)
    if (settled := path.with_name(SETTLED)).is_file():
        rows |= _settled_rows(settled, rows)
        sha256 = hashlib.sha256(f"{sha256} {data_sha256(settled)}".encode()).hexdigest()
    return Task(tuple(rows.values()), official_folds(), "joined", sha256)


def five_folds(ids: Sequence[str]) -> tuple[Fold, ...]:
    """Five shuffled folds of rows, drawn as Matbench draws them."""
    from sklearn.model_selection import KFold

    ids = np.asarray(ids)
    drawn = KFold(5, shuffle=True, random_state=FOLD_SEED).split(ids)
    return tuple(Fold(tuple(ids[train].tolist()), tuple(ids[test].tolist())) for train, test in drawn)


def official_folds() -> tuple[Fold, ...]:
    """The folds of the file inside the installed `matbench` package (0.1, five folds)."""
    text = (resources.files("matbench") / "matbench_v0.1_validation.json").read_text()
    try:
        splits = json.loads(text)["splits"][NAME]
        return tuple(Fold(tuple(s["train"]), tuple(s["test"])) for _, s in sorted(splits.items()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"matbench_v0.1_validation.json holds no folds of {NAME} ({type(error).__name__}: {error})") from error


def official_file() -> Path | None:
    """The dataset file that the `matbench` package downloaded before, its checksum verified; None when there is none.

    Raises
    ------
    DataFileError
        When the file's SHA-256 is not the one in the package's metadata.
    """
    import matminer.datasets

    folder = Path(os.environ.get("MATMINER_DATA", Path(matminer.datasets.__file__).parent)).expanduser()
    path = folder / f"{NAME}.{matminer.datasets.get_dataset_attribute(NAME, 'file_type')}"
    if not path.is_file():
        return None
    expected, found = matminer.datasets.get_dataset_attribute(NAME, "hash"), hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise DataFileError(f"{path}: SHA-256 is {found}, the official dataset's is {expected}; delete the file, or correct MATMINER_DATA")
    return path


def _official_rows(path: Path) -> tuple[Row, ...]:
    """Rows of the official file: a table in pandas' "split" form, whose rows Matbench numbers from 1 in order."""
    table = read_json(path)
    at = {name: table["columns"].index(name) for name in ("structure", "n")}
    rows = []
    for i, values in enumerate(table["data"], 1):
        structure = Structure.from_dict(values[at["structure"]])
        rows.append(Row(f"mb-dielectric-{i:04d}", structure.composition.reduced_formula, float(values[at["n"]]), "official", structure))
    return tuple(rows)


def _joined_rows(path: Path) -> list[Row]:
    rows = [_joined_row(item, path.name, i) for i, item in enumerate(read_json(path))]
    if twice := [mbid for mbid, count in Counter(row.mbid for row in rows).items() if count > 1]:
        raise DataFileError(f"{path.name} holds row {twice[0]} twice")
    return rows


def _settled_rows(path: Path, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Rows by id; each must be one of the task's, with its refractive index."""
    found = {row.mbid: row for row in _joined_rows(path)}
    for row in found.values():
        if row.mbid not in rows or abs(row.n - rows[row.mbid].n) > 1e-6 or row.structure is None:
            raise DataFileError(f"{path.name}: row {row.mbid} has no structure, or is no row of {NAME} with this n ({row.n})")
    return found


def _joined_row(item: Mapping, file: str, position: int) -> Row:
    try:
        structure = structure_from_dict(item["structure"]) if item.get("structure") else None
        return Row(str(item["mbid"]), Composition(item["composition"]).reduced_formula, float(item["n"]), str(item["tier"]), structure)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataFileError(f"{file}, record {position}: {type(error).__name__}: {error}") from error


def without_test_labels(outside: Sequence[Record], test: Sequence[Row]) -> list[Record]:
    """Of records with labels from elsewhere those that are no material of the test rows.

    A record goes when its formula is a test row's and their structures match (`held_out.material_groups`), and for its
    formula alone when the row has no structure or one that may be another polymorph's (tiers B and C).
    """
    doubtful = {row.formula for row in test if row.structure is None or row.tier not in _CERTAIN}
    held = [Record(row.mbid, row.structure, row.formula) for row in test if row.formula not in doubtful]
    group = material_groups([*outside, *held])
    candidates = np.array([i for i, r in enumerate(outside) if r.formula not in doubtful], dtype=int)
    return [outside[i] for i in without_relatives(candidates, np.arange(len(outside), len(group)), group)]
