"""How nbval compares the notebooks: every number, and no closer than machines agree.

nbval compares texts. This adds, for the cells of the kit's notebooks: progress bars and warnings (standard error) are not outputs; runs
of spaces are one space, as the widths of columns follow their numbers; and in a cell whose metadata hold ``"tolerance": {"relative": 0.05,
"absolute": 0.01}``, a number with a point may differ by that much and by one unit of its last printed place. Whole numbers and all other
text must be the same. Figures are compared by the text that `report.figures.describe` gives them.

After the last cell of a notebook, each cell's stored numbers are altered one by one: a comparison that lets one pass fails.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams

NUMBER = re.compile(r"(?<![\w.])([-+−]?)(\d[\d,]*\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.])")
"""A number with a point or an exponent, and its sign: what may differ in its last digits."""
MOST_IGNORED = 8
"""Cells of all notebooks together whose outputs are not compared."""
_TEXTS = ("text/plain", "text/html", "text/markdown", "text/latex")


def close(stored: str, found: str, relative: float, absolute: float) -> bool:
    """Whether two printed numbers are as close as a tolerance and one unit of the stored one's last place allow."""
    a, b = (float(text.replace(",", "").replace("−", "-")) for text in (stored, found))
    digits, _, exponent = stored.lower().partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(a - b) <= relative * abs(a) + absolute + 1.001 * unit


def snap(stored: str, found: str, tolerance: Mapping[str, float]) -> str:
    """The found text with each number that is close enough to the stored one in its place replaced by that; all else is left as it is."""
    mine, theirs = NUMBER.sub("#", stored), NUMBER.sub("#", found)
    if mine != theirs:
        return found
    numbers = [m[0] for m in NUMBER.finditer(stored)]

    def one(match: re.Match) -> str:
        wanted = numbers.pop(0)
        return wanted if close(wanted, match[0], tolerance.get("relative", 0.0), tolerance.get("absolute", 0.0)) else match[0]

    return NUMBER.sub(one, found)


def texts(outputs: Sequence[Mapping]) -> Iterator[tuple[dict, str]]:
    """Where each text of a cell's outputs is: a mapping and its key."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield output, "text"
        for kind in _TEXTS:
            if kind in output.get("data", {}):
                yield output["data"], kind


def prepared(outputs: Sequence[Mapping]) -> list:
    """Outputs without standard error, each run of spaces as one."""
    kept = [copy.deepcopy(o) for o in outputs if o.get("name") != "stderr"]
    for place, key in texts(kept):
        place[key] = re.sub(r"[ \t]+\n", "\n", re.sub(r"[ \t]+", " ", re.sub(r"-{2,}", "-", place[key])))
    return kept


class Comparison:
    """In the place of a cell's `compare_outputs`."""

    def __init__(self, cell: IPyNbCell):
        self.compare, self.tolerance = cell.compare_outputs, cell.cell.metadata.get("tolerance")

    def __call__(self, found, stored, skip_compare=None) -> bool:
        found, stored = prepared(found), prepared(stored)
        if self.tolerance is not None:
            for (place, key), (other, name) in zip(texts(found), texts(stored), strict=False):
                if key == name:
                    place[key] = snap(other[name], place[key], self.tolerance)
        return self.compare(found, stored, skip_compare)


class AlteredNumbers(pytest.Item):
    """Alter the stored numbers of a notebook that has just run: the comparison must see each."""

    def __init__(self, cells: Sequence[IPyNbCell], **kwargs):
        super().__init__(**kwargs)
        self.cells = [cell for cell in cells if cell.options["check"]]

    def runtest(self) -> None:
        seen = 0
        for cell in self.cells:
            stored = coalesce_streams(copy.deepcopy(cell.cell.outputs))
            if cell.test_outputs is None or not cell.compare_outputs(cell.test_outputs, stored):
                continue  # it did not run, or has failed already
            for altered, what in altered_copies(stored):
                seen += 1
                assert not cell.compare_outputs(cell.test_outputs, altered), f"cell {cell.cell_num}: {what} passes"
        assert seen or not self.cells, f"{self.parent.path.name}: no stored number is compared"

    def reportinfo(self):
        return self.parent.path, 0, f"{self.parent.path.name}::altered numbers"


def altered_copies(outputs: Sequence[Mapping], most: int = 5) -> Iterator[tuple[list, str]]:
    """Copies of outputs with one number changed by more than half of itself, at most so many of each text, spread over it."""
    for position, (place, key) in enumerate(texts(outputs)):
        found = [*re.finditer(r"(?<![\w.#])\d+\.?\d*(?![\w.:;%\"])", re.sub(r"<style.*?</style>", lambda m: " " * len(m[0]), place[key], flags=re.S))]
        for match in found[:: max(1, len(found) // most)][:most]:
            other = re.sub(r"\d", lambda d: str(9 - int(d[0])), match[0])
            if close_enough(match[0], other):
                continue
            changed = copy.deepcopy(list(outputs))
            where, name = [*texts(changed)][position]
            where[name] = place[key][: match.start()] + other + place[key][match.end() :]
            yield changed, f"{match[0]} altered to {other}"


def close_enough(one: str, other: str) -> bool:
    """Whether an alteration is too small to be asked for."""
    a, b = float(one), float(other)
    return abs(a - b) <= max(0.5 * abs(a), 0.05)


def watch(items: list[pytest.Item]) -> None:
    """Compare as above, and add `AlteredNumbers` after the last cell of each notebook, in place."""
    books: dict[IPyNbFile, list[IPyNbCell]] = {}
    for item in items:
        if isinstance(item, IPyNbCell):
            item.compare_outputs = Comparison(item)
            books.setdefault(item.parent, []).append(item)
    for book, cells in books.items():
        items.insert(items.index(cells[-1]) + 1, AlteredNumbers.from_parent(book, name="altered numbers", cells=cells))
