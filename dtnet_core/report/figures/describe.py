"""What a figure shows, in numbers: pixels differ between machines, the data they stand for do not."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure


class Drawn(Figure):
    """A figure whose text form says what it shows; nbval compares that text where it cannot compare pictures."""

    def __repr__(self) -> str:
        return describe(self)


def describe(figure: Figure) -> str:
    """One line for each panel with something in it: labels, and for each mark how many numbers it has, their mean and their spread.

    Four digits of a mean and a spread change when one of some hundred points does.
    """
    lines = [f"figure of {len(figure.axes)} panels" if len(figure.axes) != 1 else "figure of one panel"]
    for number, ax in enumerate(figure.axes, 1):
        found = [*_marks(ax)]
        if found or ax.get_xlabel() or ax.get_ylabel():
            lines.append(f"panel {number} ({_plain(ax.get_xlabel())} | {_plain(ax.get_ylabel())}): {'; '.join(found) or 'empty'}")
    return "\n".join(lines)


def _marks(ax: Axes) -> Iterator[str]:
    lines = [np.broadcast_arrays(*(np.ravel(d).astype(float) for d in (line.get_xdata(), line.get_ydata()))) for line in ax.lines]
    for length in sorted({len(x) for x, _ in lines}):  # lines of one length together
        group = [pair for pair in lines if len(pair[0]) == length]
        yield f"{len(group)} lines of " + _numbers(*(np.concatenate(rows) for rows in zip(*group, strict=True)))
    if ax.patches:
        boxes = [patch.get_path().transformed(patch.get_patch_transform()).get_extents() for patch in ax.patches]
        yield "boxes " + _numbers(*np.array([(b.x0, b.x1, b.y0, b.y1) for b in boxes]).T)
    plain = [mark for mark in ax.collections if not isinstance(mark, PathCollection) and mark.get_array() is None]
    if vertices := [path.vertices for mark in plain for path in mark.get_paths() if len(path.vertices)]:
        yield f"{len(vertices)} shapes of " + _numbers(*np.concatenate(vertices).T)
    for mark in ax.collections:
        if mark not in plain:
            yield _coloured(mark)
    for picture in ax.images:
        yield "image " + _numbers(_filled(picture.get_array()))
    yield from _words("words", [t.get_text() for t in ax.texts])
    if (legend := ax.get_legend()) is not None:
        yield from _words("legend", [t.get_text() for t in legend.get_texts()])


def _coloured(mark: Collection) -> str:
    """Points, contour lines, and what a map of colours fills."""
    array = mark.get_array()
    colours = [] if array is None else [_filled(array)]
    if isinstance(mark, ContourSet):  # how many corners a line has is the machine's affair
        lines = np.concatenate([path.vertices for path in mark.get_paths() if len(path.vertices)])
        return "contours " + _numbers(*lines.T).partition(": ")[2]
    if isinstance(mark, PathCollection):
        return "points " + _numbers(*_filled(mark.get_offsets()).T, *colours)
    return "colours " + _numbers(*colours)


def _filled(values) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)


def _words(name: str, texts: list[str]) -> Iterator[str]:
    """The first words, and a checksum of all where there are many."""
    if words := [plain for plain in map(_plain, texts) if plain]:
        more = f" and {len(words) - 12} more ({zlib.crc32(' '.join(words).encode()):08x})" if len(words) > 12 else ""
        yield f"{name} " + ", ".join(words[:12]) + more


def _numbers(*rows: np.ndarray) -> str:
    """Count; mean and spread of each row's finite numbers; mean product of the first two rows, which tells when their pairs change."""
    rows = [np.asarray(row, dtype=float).ravel() for row in rows]
    texts = [f"{_short(r.mean())} ± {_short(r.std())}" if len(r := row[np.isfinite(row)]) else "none" for row in rows]
    if len(rows) > 1 and len(rows[0]) == len(rows[1]) and len(pairs := (rows[0] * rows[1])[np.isfinite(rows[0] * rows[1])]):
        texts.append(f"product {_short(pairs.mean())}")
    return f"{len(rows[0]) if rows else 0} numbers: {', '.join(texts)}"


def _short(value: float) -> str:
    """Four digits, always with a point; what is nothing but rounding is zero."""
    return f"{0.0 if abs(value) < 1e-5 else float(value):#.4g}"


def _plain(text: str) -> str:
    return " ".join(text.split())
