"""Tensors of crystals in files of any kind, as rows: what `dtnet predict` shows and writes. A crystal that fails has its reason."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ..base.files import write_atomic
from ..base.reading import ReadError, without_place
from ..crystals.readers import SINGLE, ending_of, read_file
from ..crystals.sources import entries, to_structure
from ..ensemble import Ensemble
from ..members import known_elements
from ..trust.verdict import COVERAGES

ENDINGS = (".parquet", ".csv", ".json")
"""Of the files that `write_rows` writes."""
COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}

_BEFORE = ("id", "formula", "n_atoms", "tensor", "constant", "half_width_68", "half_width_90", "off_25")
_PRINCIPAL = {"eigenvalues": "values", "eigenvalues_68": "std", "eigenvalues_90": "wide", "axes": "axes", "axes_angle": "angle"}
_NUMBERED = {"eigenvalues": "eigenvalue_{}", "eigenvalues_68": "eigenvalue_{}_68", "eigenvalues_90": "eigenvalue_{}_90", "axes_angle": "axis_{}_angle"}
"""Columns of flat files, 1 to 3; axes follow from the tensor."""
_TOGETHER = 64  # crystals


def crystals(paths: Iterable[str | Path]) -> Iterator[tuple[str, object]]:
    """Names and unread crystals of structure files, folders and files of many crystals; an error in the place of what cannot be opened.

    Names are paths; "file#name" for one block or frame of a file of several, "file:id" for a crystal of a list, table or database.
    """
    for path in map(Path, paths):
        try:
            if not path.exists():  # it may be file#name
                yield str(path), path
            elif path.is_file() and ending_of(path) in SINGLE:
                for name, content in read_file(path):
                    yield (str(path) if name is None else f"{path}#{name}"), content
            else:
                for name, content in entries(path):
                    yield (str(path / name) if path.is_dir() else f"{path}:{name}"), content
        except (ReadError, OSError) as error:
            yield str(path), error


def predict_rows(ensemble: Ensemble, paths: Iterable[str | Path]) -> Iterator[dict]:
    """One row a crystal, in order, some crystals at a time.

    Parameters
    ----------
    ensemble : Ensemble
    paths : iterable of path
        See `crystals`.

    Yields
    ------
    dict
        `id`, `formula`, `n_atoms`, `tensor` (3 x 3 list, in the Cartesian frame of the structure as it was read), `constant` (mean of
        the diagonal), `half_width_68` and `half_width_90` of its intervals, `off_25` (the chance that it is off by more than 25 %), `eigenvalues` (ascending), `eigenvalues_68` and `eigenvalues_90` (half
        widths of theirs), `axes` (a unit vector for each) and `axes_angle` (degrees that 68 % of the true axes are within), `in_domain`, `extreme`, `distance`, `nearest` (formulas of the nearest training
        crystals) and `warnings` (in words), as in `ensemble.Prediction`; `error`; None where there is none.
    """
    elements = known_elements(ensemble.features)
    found = crystals(paths)
    while some := list(islice(found, _TOGETHER)):
        read = [read_one(content, elements) for _, content in some]
        told = answers(lambda s: _told(ensemble, s), [one for one in read if not isinstance(one, Exception)])
        for (name, _), structure in zip(some, read, strict=True):
            yield _row(name, structure, structure if isinstance(structure, Exception) else next(told))


def read_one(content, elements):
    """The structure of what `crystals` yields, or the error in its place."""
    try:
        return to_structure(content, elements)
    except MemoryError:
        raise
    except Exception as error:  # parsers raise whatever the broken place happens to cause
        return error


def answers(predict: Callable[[Sequence], Iterable], structures: Sequence) -> Iterator:
    """What `predict` says of all structures, one each, or the error in the place of one that it fails for."""
    try:
        return iter(list(predict(structures)))
    except (MemoryError, OSError):  # no crystal's fault
        raise
    except Exception as error:
        if len(structures) == 1:
            return iter([error])
        return (answer for structure in structures for answer in answers(predict, [structure]))  # only its own turn tells which


def _told(ensemble: Ensemble, structures: Sequence) -> list:
    """A `Prediction` of one crystal for each structure, or why it is refused."""
    found = ensemble.predict(structures, progress=False)
    return [ValueError(one.flags[0]) if one.flags[0] and not np.isfinite(one.tensors).all() else one for one in map(found.of, range(len(structures)))]


def reason_of(name: str, message: str) -> str:
    """An error of the crystal `name` of `crystals` without the file, and the record in it, that the name has told."""
    return without_place(message, name, name.rsplit("#", 1)[0], name.rsplit(":", 1)[0])


def _row(name: str, structure, answer) -> dict:
    row = dict.fromkeys((*_BEFORE, *_PRINCIPAL, "in_domain", "extreme", "distance", "nearest", "warnings", "error")) | {"id": name}
    if not isinstance(structure, Exception):
        row |= {"formula": structure.composition.reduced_formula, "n_atoms": len(structure)}
    if not isinstance(answer, Exception) and not np.isfinite(answer.tensors).all():
        answer = ValueError("the predicted tensor is not finite")
    if isinstance(answer, Exception):
        return row | {"error": str(answer).strip() or type(answer).__name__}
    tensor, widths = np.asarray(answer.tensors[0], float), (answer.std[0], answer.wide[0])
    where = {"in_domain": bool(answer.in_domain[0]), "extreme": bool(answer.extreme[0]), "off_25": _known(answer.chance[0]), "distance": _known(answer.distance[0]),
             "nearest": ", ".join(dict.fromkeys(formula for _, formula in answer.nearest[0])), "warnings": "; ".join(answer.warnings[0])}  # fmt: skip
    told = {} if answer.principal is None else {name: _numbers(getattr(answer.principal, of)[0]) for name, of in _PRINCIPAL.items()}
    return row | {"tensor": tensor.tolist(), "constant": float(np.trace(tensor) / 3)} | told | where | {
        f"half_width_{round(100 * share)}": float(width) for share, width in zip(COVERAGES, widths, strict=True)
    }  # fmt: skip


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _numbers(values: np.ndarray) -> list | None:
    """A list, or None where they are not known."""
    return values.tolist() if np.isfinite(values).all() else None


def write_rows(rows: Sequence[dict], path: str | Path, **about: str) -> None:
    """Write rows as the ending of the file says: parquet or CSV with six components of the tensor, or JSON with the whole.

    Parameters
    ----------
    rows : sequence of dict
        Of `predict_rows`.
    path : path
        See `check_ending`.
    **about
        Columns that are the same for all rows: target, variant.
    """
    ending, path = check_ending(path), Path(path)
    if ending == ".json":
        lines = ",\n".join(json.dumps(about | row) for row in rows)
        write_atomic(path, f"[\n{lines}\n]\n")
        return
    flat = [about | _flat(row) for row in rows]
    if ending == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, flat[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        write_atomic(path, text.getvalue())
        return
    import pyarrow
    from pyarrow import parquet

    kinds = {"n_atoms": pyarrow.int32(), **dict.fromkeys(("id", "formula", "nearest", "warnings", "error", *about), pyarrow.string()), **dict.fromkeys(("in_domain", "extreme"), pyarrow.bool_())}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in flat[0]])
    parquet.write_table(pyarrow.Table.from_pylist(flat, schema=schema), sink := pyarrow.BufferOutputStream())
    write_atomic(path, sink.getvalue().to_pybytes())


def check_ending(path: str | Path) -> str:
    """The ending of a file that `write_rows` can write.

    Raises
    ------
    ValueError
        For another ending.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: the ending says what is written; choose from {', '.join(ENDINGS)}")
    return ending


def _flat(row: dict) -> dict:
    tensor = row["tensor"]
    components = {f"eps_{name}": None if tensor is None else tensor[i][j] for name, (i, j) in COMPONENTS.items()}
    flat: dict = {}
    for name, value in row.items():
        if name in _NUMBERED:
            flat |= {_NUMBERED[name].format(k + 1): None if value is None else value[k] for k in range(3)}
        elif name != "axes":
            flat |= components if name == "tensor" else {name: value}
    return flat
