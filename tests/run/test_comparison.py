"""nbval on the kit's notebooks sees every changed number, and no difference that machines make."""

import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

from dtnet_core.report.figures.describe import describe
from dtnet_core.run.comparison import snap

ROOT = Path(__file__).resolve().parents[2]
CODE = "import sys, warnings\nprint('progress', file=sys.stderr)\nprint('MAE 0.234 of 48 crystals in 3 s')"


CASES = [
    ("MAE 0.234 of 48 crystals in 5 s", None, True),  # times are no results
    ("MAE 0.235 of 48 crystals in 3 s", None, False),
    ("MAE 0.250 of 48 crystals in 3 s", {"relative": 0.1}, True),
    ("MAE 0.281 of 48 crystals in 3 s", {"relative": 0.1}, False),
    ("MAE 0.234 of 47 crystals in 3 s", {"relative": 0.1}, False),  # whole numbers are exact
]


def test_nbval_compares_numbers(tmp_path):
    """One run of a notebook whose cells all print the same and have different outputs stored; progress bars are no reason to fail."""
    cells = [nbformat.v4.new_code_cell(CODE, execution_count=1, outputs=[nbformat.v4.new_output("stream", name="stdout", text=stored + "\n")],
                                       metadata={} if tolerance is None else {"tolerance": tolerance}) for stored, tolerance, _ in CASES]  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "one.ipynb")
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "--nbval", "--nbval-current-env",
               "--nbval-sanitize-with", ROOT / "notebooks" / "nbval.cfg", tmp_path / "one.ipynb"]  # fmt: skip
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    failed = {line.partition("::Cell ")[2][0] for line in ran.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {str(n) for n, (*_, passes) in enumerate(CASES) if not passes}, ran.stdout


@pytest.mark.parametrize(("stored", "found", "same"), [
    ("1.000 and 2.5", "1.001 and 2.6", True),  # one unit of the last place
    ("1.000", "1.0021", False), ("-3.10", "3.10", False), ("1,234.5", "1,234.6", True), ("1.2e-05", "1.3e-05", True), ("1.0 eV", "1.0 meV", False),
    ("7 and 1.0", "8 and 1.0", False), ("1.0", "1.0 1.0", False),
], ids=str)  # fmt: skip
def test_only_the_last_place_may_differ_without_a_stated_tolerance(stored, found, same):
    assert (snap(stored, found, {}) == stored) == same


def test_a_figure_says_what_it_draws():
    def drawn(values):
        figure, (left, right) = plt.subplots(1, 2)
        left.plot([1, 2, 3], values)
        left.fill_between([1, 2, 3], values)
        right.scatter([1, 2, 3], values, c=values)
        right.bar(["a", "b", "c"], values)
        right.imshow([values, values])
        right.contour([values, values[::-1]])
        plt.close(figure)
        return describe(figure)

    assert drawn([1, 2, 3.0]) == drawn([1, 2, 3.0])
    before, after = drawn([1, 2, 3.0]).splitlines(), drawn([1, 2, 3.01]).splitlines()
    assert len(before) == 3 and all(a != b for a, b in zip(before[1:], after[1:], strict=True))
    assert drawn([1, 2, 3.0]) != drawn([2, 1, 3.0])  # the same numbers in other places
