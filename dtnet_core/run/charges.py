"""Born charges of crystals in files of any kind: what `dtnet charges` shows and writes. A crystal that fails has its reason."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ..base.files import write_atomic
from ..physics.born import BornCharges, load_model, predict_charges
from ..physics.born_file import born_text
from ..potentials.registry import load_encoder, parse_features
from .prediction import COMPONENTS, answers, crystals, read_one, reason_of

KINDS = (".json", ".csv", ".xyz", ".extxyz", "BORN")
"""Endings of files that are written, or the name's beginning."""
_TOGETHER = 64  # crystals


def charges_of(paths: Iterable[str | Path], variant: str = "default") -> Iterator[tuple[str, BornCharges | Exception]]:
    """Name and charges of each crystal in order, or the error in their place; see `prediction.crystals` and `physics.born.predict_charges`."""
    [(encoder, _)] = parse_features(load_model(variant).features)
    elements, found = load_encoder(encoder).elements, crystals(paths)
    while some := list(islice(found, _TOGETHER)):
        read = [read_one(content, elements) for _, content in some]
        told = answers(lambda s: predict_charges(s, variant, progress=False), [one for one in read if not isinstance(one, Exception)])
        for (name, _), structure in zip(some, read, strict=True):
            yield name, structure if isinstance(structure, Exception) else next(told)


def kind_of(path: str | Path) -> str:
    """One of `KINDS`.

    Raises
    ------
    ValueError
        For another file.
    """
    name = Path(path).name
    kind = "BORN" if name.startswith("BORN") else Path(path).suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"{path}: the name says what is written; choose one that ends with {', '.join(KINDS[:-1])}, or begins with BORN (for phonopy)")
    return kind


def write_charges(found: Sequence[tuple[str, BornCharges | Exception]], path: str | Path, electronic: Callable[[BornCharges], np.ndarray] | None = None) -> None:
    """Write charges as the name of the file says.

    Parameters
    ----------
    found : sequence of (name, charges or error)
        Of `charges_of`.
    path : path
        JSON: an object a crystal. CSV: a row an atom. Extended xyz, without the crystals that failed: ASE reads `born_charges` [N, 9] (xx, xy, xz, yx, ...) and `born_half_width` [N]
        as arrays of its Atoms. BORN: see `physics.born_file.born_text`; of one crystal.
    electronic : callable, optional
        Gives the electronic tensor [3, 3] that a BORN file needs.

    Raises
    ------
    ValueError
        For another name, and for a BORN file of several crystals or of one that failed.
    """
    kind = kind_of(path)
    if kind == "BORN":
        write_atomic(path, _born(found, path, electronic))
    elif kind == ".json":
        lines = ",\n".join(json.dumps(_object(name, one)) for name, one in found)
        write_atomic(path, f"[\n{lines}\n]\n")
    elif kind == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for name, one in found for row in atom_rows(name, one))
        write_atomic(path, text.getvalue())
    else:
        write_atomic(path, _xyz(found))


_COLUMNS = ("id", "formula", "atom", "element", "charge", "half_width_68", *(f"z_{c}" for c in COMPONENTS), "error")


def atom_rows(name: str, found: BornCharges | Exception) -> list[dict]:
    """A row for each atom, counted from 1: its element, mean diagonal element with half width, and six components; one row for an error."""
    if isinstance(found, Exception):
        return [{"id": name, "error": _reason(name, found)}]
    formula = found.structure.composition.reduced_formula
    return [
        {"id": name, "formula": formula, "atom": i + 1, "element": site.specie.symbol, "charge": float(found.isotropic[i]), "half_width_68": float(found.half_width[i])}
        | {f"z_{c}": float(found.charges[i][at]) for c, at in COMPONENTS.items()}
        for i, site in enumerate(found.structure)
    ]  # fmt: skip


def _object(name: str, found: BornCharges | Exception) -> dict:
    if isinstance(found, Exception):
        return {"id": name, "error": _reason(name, found)}
    return {"id": name, "formula": found.structure.composition.reduced_formula, "elements": [s.specie.symbol for s in found.structure],
            "charges": found.charges.tolist(), "half_width_68": found.half_width.tolist(), "error": None}  # fmt: skip


def _xyz(found: Sequence[tuple[str, BornCharges | Exception]]) -> str:
    from ase import Atoms
    from ase.io import write

    frames = []
    for name, one in found:
        if not isinstance(one, Exception):
            symbols = [site.specie.symbol for site in one.structure]
            atoms = Atoms(symbols, one.structure.cart_coords, cell=one.structure.lattice.matrix, pbc=True, info={"id": name})
            atoms.set_array("born_charges", one.charges.reshape(-1, 9))
            atoms.set_array("born_half_width", one.half_width)
            frames.append(atoms)
    text = io.StringIO()
    write(text, frames, format="extxyz")
    return text.getvalue()


def _born(found: Sequence[tuple[str, BornCharges | Exception]], path: str | Path, electronic: Callable[[BornCharges], np.ndarray] | None) -> str:
    if len(found) != 1:
        raise ValueError(f"{path}: a BORN file is of one crystal, and {len(found)} are given")
    [(name, one)] = found
    if isinstance(one, Exception):
        raise ValueError(f"{path}: not written, {name}: {_reason(name, one)}")
    if electronic is None:
        raise ValueError(f"{path}: a BORN file needs the electronic tensor of {name}")
    return born_text(one.structure, one.charges, electronic(one))


def _reason(name: str, error: Exception) -> str:
    return reason_of(name, str(error).strip() or type(error).__name__)
