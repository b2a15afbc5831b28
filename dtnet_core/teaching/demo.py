"""The page of `make demo`: a crystal in, its tensor, surface and interval out.

A file is read from memory by way of a temporary folder that is gone before the answer comes; features are kept nowhere. Nothing of a
file is run, and whatever of it is shown (names, formulas, reasons) is shown as text.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from ..base.reading import DataFileError, ReadError, unpacked_name
from ..crystals.readers import SINGLE, ending_of
from ..crystals.record import TARGETS, Record
from ..crystals.sources import read_structure
from ..crystals.symmetry import crystal_system
from ..data.loading import load_clean
from ..ensemble import Ensemble, load_ensemble

LARGEST_FILE = 1_000_000
"""Bytes."""
MOST_ATOMS = 100
"""In a cell; a larger one would keep the others waiting."""
KINDS = tuple(sorted({*SINGLE, ".json"} - {".traj"}))
"""Endings of files that the page takes: text with one crystal."""


@dataclass(frozen=True)
class Upload:
    """A crystal that was handed in.

    Attributes
    ----------
    name : str
        Of the file, without folders.
    structure : pymatgen Structure
    notes : tuple of str
        What the reader had to decide.
    """

    name: str
    structure: Structure
    notes: tuple[str, ...] = ()


def read_upload(name: str, content: bytes) -> Upload:
    """The crystal of a file's content, by the kit's readers.

    Raises
    ------
    ReadError
        In one line: for a file that is too large, compressed or of another kind, for what the readers refuse, and for too many atoms.
    """
    shown = re.sub(r"[^\w.()+ -]", "_", Path(name.replace("\\", "/")).name)[-80:] or "file"
    if len(content) > LARGEST_FILE:
        raise DataFileError(f"{len(content) / 1e6:.1f} MB; this page takes files of up to {LARGEST_FILE // 1_000_000} MB", shown)
    if unpacked_name(shown) != shown or content[:2] == b"\x1f\x8b" or content[:3] == b"BZh" or content[:4] == b"\xfd7zX":
        raise DataFileError("this page takes no compressed files; unpack it first", shown)
    if ending_of(Path(shown)) not in KINDS:
        raise DataFileError(f"unknown kind of file; this page takes POSCAR, CONTCAR, {', '.join(KINDS)}", shown)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = Path(folder) / shown
        path.write_bytes(content)
        try:
            structure = read_structure(path)
        except ReadError as error:
            raise DataFileError(error.reason.replace(str(path), shown), shown, error.record) from None
        except Exception as error:  # of a library that stumbled over the content
            raise DataFileError(f"it cannot be read ({type(error).__name__})", shown) from None
    if len(structure) > MOST_ATOMS:
        raise DataFileError(f"{len(structure)} atoms in the cell; this page takes up to {MOST_ATOMS} (dtnet predict takes more)", shown)
    notes = [str(w.message).replace(str(path), shown) for w in caught if isinstance(w.message, UserWarning)]
    return Upload(shown, structure, tuple(dict.fromkeys(notes)))


@dataclass(frozen=True)
class Answer:
    """What the networks say of one crystal.

    Attributes
    ----------
    target : str
    structure : pymatgen Structure
    tensor : np.ndarray, [3, 3]
        In the frame of `structure`; NaN where no answer can be given.
    constant, half_width, wide : float
        Mean of the diagonal, and half widths of its 68 and 90 % intervals.
    chance : float
        That the constant is off by more than 25 %; NaN where it is not known.
    notes : tuple of str
        Doubts about the answer.
    nearest : tuple of (str, str)
        Ids and formulas of the nearest training crystals, where they are known.
    computed : np.ndarray, [3, 3] or None
        By DFPT, where the crystal is one of the kit's.
    """

    target: str
    structure: Structure
    tensor: np.ndarray
    constant: float
    half_width: float
    wide: float
    chance: float
    notes: tuple[str, ...] = ()
    computed: np.ndarray | None = None
    nearest: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=len(TARGETS))
def _ensemble(target: str) -> Ensemble:
    return load_ensemble(target)


@lru_cache(maxsize=1)
def examples() -> dict[str, Record]:
    """Crystals to pick from, by a name to show: those of the kit's own DFPT set."""
    names = {f"{r.formula} ({r.id.rsplit('-', 1)[1]} type)": r for r in load_clean("mini")[0]}
    return dict(sorted(names.items()))


def answer(structure: Structure, target: str, computed: np.ndarray | None = None, notes: tuple[str, ...] = ()) -> Answer:
    """Ask the networks; features are kept nowhere.

    Raises
    ------
    dtnet_core.crystals.structures.InvalidStructureError
        For what the encoders refuse.
    """
    with tempfile.TemporaryDirectory() as cache, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # flags say the same
        found = _ensemble(target).predict([structure], cache_dir=cache, progress=False)
    tensor = found.tensors[0]
    doubts = (*notes, *found.warnings[0])
    return Answer(target, structure, tensor, float(np.trace(tensor)) / 3, float(found.std[0]), float(found.wide[0]), float(found.chance[0]), doubts, computed, tuple(found.nearest[0]))


def has_tensor(shown: Answer) -> bool:
    """Whether there is an answer at all."""
    return bool(np.isfinite(shown.tensor).all())


def in_words(shown: Answer) -> str:
    """The answer in one line."""
    formula, computed = shown.structure.composition.reduced_formula, "" if shown.computed is None else f", computed from first principles {_short(float(np.trace(shown.computed)) / 3)}"
    said = f"{_short(shown.constant)} ± {_short(shown.half_width)} (68 %)" if has_tensor(shown) else "no answer"
    return f"{formula}: {shown.target} dielectric constant {said}{computed}."


def as_html(shown: Answer) -> str:
    """The answer in words and numbers."""
    structure = shown.structure
    system = crystal_system(structure)
    lines = [f"<h3>{escape(structure.composition.reduced_formula)}, {system}, {len(structure)} atom{'s' * (len(structure) > 1)} in the cell</h3>"]
    if has_tensor(shown):
        low, _, high = np.linalg.eigvalsh(shown.tensor)
        lines += [
            f"<p>The {shown.target} dielectric constant is <b>{_short(shown.constant)} ± {_short(shown.half_width)}</b>",
            f"(this range holds what DFPT with the PBE functional gives for 68 % of crystals like the training crystals; ± {_short(shown.wide)} does for 90 %).</p>",
            *([] if np.isnan(shown.chance) else [f"<p>The chance that it is off by more than 25 % is {100 * shown.chance:.0f} %.</p>"]),
            f"<p>Along the principal axes it goes from {low:.2f} to {high:.2f}.</p>",
            "<p>The tensor, in the <i>x, y, z</i> of your structure:</p>", _matrix(shown.tensor),
        ]  # fmt: skip
    else:
        lines.append("<p><b>No answer.</b> No crystal can have the tensor that the networks give for this one.</p>")
    if shown.computed is not None:
        lines += ["<p>The same, computed from first principles (PBE, DFPT):</p>", _matrix(shown.computed)]
    if shown.notes:
        lines.append("<p>To be careful about:</p><ul>" + "".join(f"<li>{escape(note)}</li>" for note in shown.notes) + "</ul>")
    if shown.nearest:
        lines.append(f"<p>The nearest crystals that the networks learned from: {escape(', '.join(formula for _, formula in shown.nearest))}.</p>")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _matrix(tensor: np.ndarray) -> str:
    rows = "".join("<tr>" + "".join(f'<td style="text-align:right;padding:0 0.8em">{value:.2f}</td>' for value in row) + "</tr>" for row in tensor.round(2) + 0.0)
    return f'<table class="tensor" style="font-family:monospace;border-left:1px solid;border-right:1px solid">{rows}</table>'
