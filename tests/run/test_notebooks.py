"""What every stored notebook has: a cell of parameters, outputs, and nothing that belongs to one machine or one moment."""

import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from dtnet_core.run.batch import refresh_notebook
from dtnet_core.run.comparison import MOST_IGNORED
from dtnet_core.run.pages import page, write_page

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_notebook_is_whole_and_of_no_machine(path):
    text = path.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in cells) == 1
    assert all(c["execution_count"] for c in code if c["source"]), "a cell was not executed: make refresh"
    outputs = [o for c in code for o in c["outputs"]]
    assert outputs and not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert not [c for c in cells if {"execution", "papermill"} & set(c["metadata"])], "timestamps: make refresh"
    assert not re.search(r"/(home|root|tmp|Users)/\w", text)


def ignored(cell: dict) -> bool:
    """Whether nbval does not compare the cell's outputs."""
    lines = [line.strip().lstrip("# ") for line in "".join(cell["source"]).splitlines() if line.strip().startswith("#")]
    return {"nbval-ignore-output", "nbval-skip"} & set(cell["metadata"].get("tags", [])) != set() or {"NBVAL_IGNORE_OUTPUT", "NBVAL_SKIP"} & set(lines) != set()


def test_outputs_are_compared_but_for_a_few_cells_that_say_why():
    left = [(p.stem, "".join(c["source"])) for p in NOTEBOOKS for c in json.loads(p.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code" and ignored(c)]
    assert len(left) <= MOST_IGNORED
    for stem, source in left:
        tag, reason = source.splitlines()[:2]
        assert tag == "# NBVAL_IGNORE_OUTPUT" and reason.startswith("# ") and len(reason) > 40, f"{stem}: {reason!r} gives no reason"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_checks_its_parameters_first_and_folds_its_setup_away(path):
    code = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert "parameters" in code[0]["metadata"]["tags"] and "check_parameters(globals())" in "".join(code[1]["source"])
    assert "import" not in "".join(code[0]["source"]) and len("".join(code[1]["source"]).splitlines()) == 3
    assert all(c["metadata"].get("jupyter", {}).get("source_hidden") for c in code[1:3])
    assert not [c for c in code if len("".join(c["source"]).splitlines()) > 12 and "parameters" not in c["metadata"].get("tags", []) and "hide-input" not in c["metadata"].get("tags", [])]


WIDEST, MOST_PARAMETERS, MOST_ROWS = 100, 9, 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_fits_a_page_and_a_reader(path):
    """No code beside the page, few parameters, short tables; each figure is followed by what to see in it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert [line for c in code for line in "".join(c["source"]).splitlines() if len(line) > WIDEST] == []
    given = [line for line in "".join(code[0]["source"]).splitlines() if not line.startswith("#")]
    assert len(given) <= MOST_PARAMETERS and all("  # " in line for line in given)
    tables = ["".join(o["data"]["text/html"]) for c in code for o in c["outputs"] if "text/html" in o.get("data", {})]
    long = [html.partition("<caption>")[2].partition("<")[0] for html in tables if html.partition("<tbody>")[2].count("<tr") > MOST_ROWS]
    assert set(long) <= {"Number of crystals, and ranges of the constants"}  # as long as the paper's
    for number, cell in enumerate(cells):
        if figures_of(cell):
            text = next("".join(c["source"]) for c in cells[number:] if c["cell_type"] == "markdown")
            assert "**What to see.**" in text, f"cell {number}: nothing is said of its figure"


def figures_of(cell: dict) -> list[str]:
    """The pictures that a cell shows."""
    return [o["data"]["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_has_words_on_the_page(path, tmp_path):
    """What a reader hears who cannot see it: of every picture's own cell, and of pictures in the text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    wanted = [cell["metadata"]["alt"] for cell in cells for _ in figures_of(cell)]
    assert all(len(words.split()) >= 5 for words in wanted)
    pictures = BeautifulSoup(page(path), "html.parser").find_all("img")
    said = [picture.get("alt") for picture in pictures]
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)  # a page is one file
    assert all(said) and "No description has been provided for this image" not in said
    assert [words for words in said if words in wanted] == wanted


def test_a_figure_without_words_is_refused(tmp_path):
    shown = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("draw()", outputs=[shown])])
    nbformat.write(book, tmp_path / "n.ipynb")
    with pytest.raises(ValueError, match=r"n\.ipynb, cell 0: a figure without words"):
        write_page(tmp_path / "n.ipynb", tmp_path)
    book.cells[0].metadata["alt"] = 'less < more & "quoted"'
    nbformat.write(book, tmp_path / "n.ipynb")
    text = write_page(tmp_path / "n.ipynb", tmp_path).read_text(encoding="utf-8")
    assert BeautifulSoup(text, "html.parser").find("img")["alt"] == 'less < more & "quoted"'


@pytest.mark.parametrize(("stem", "wrong", "said"), [
    ("00_quickstart", "cif = 'nofile.cif'", "cif is 'nofile.cif': there is no such file"), ("05_screening", "task = 'magnetism'", "task is 'magnetism': choose one of"),
])  # fmt: skip
def test_a_wrong_parameter_ends_a_notebook_in_one_line(stem, wrong, said):
    (path,) = [p for p in NOTEBOOKS if p.stem == stem]
    book = nbformat.read(path, 4)
    first, check = [c for c in book.cells if c.cell_type == "code"][:2]
    first.source += f"\n{wrong}"
    book.cells = [first, check]
    with pytest.raises(CellExecutionError, match="ParameterError"):
        NotebookClient(book, kernel_name="python3").execute()
    (output,) = [o for o in check.outputs if o["output_type"] == "error"]
    assert len(output["traceback"]) == 1 and output["traceback"][0].startswith(f"ParameterError: {said}") and "\n" not in output["traceback"][0]


def test_an_unknown_name_ends_a_run_of_papermill(tmp_path):
    """Of which papermill itself only warns."""
    book = nbformat.read(next(p for p in NOTEBOOKS if p.stem == "00_quickstart"), 4)
    book.cells = [c for c in book.cells if c.cell_type == "code"][:2]
    nbformat.write(book, tmp_path / "n.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match=r"sedes is no parameter of this notebook \(did you mean seeds\?\)"):
        papermill.execute_notebook(str(tmp_path / "n.ipynb"), str(tmp_path / "ran.ipynb"), {"sedes": [0]}, kernel_name="python3", progress_bar=False)
    papermill.execute_notebook(str(tmp_path / "n.ipynb"), str(tmp_path / "ran.ipynb"), {"seeds": [0]}, kernel_name="python3", progress_bar=False)


def test_a_refreshed_notebook_keeps_still_outputs_only(tmp_path):
    """A widget is dead without its kernel, a warning is for the one who waits."""
    code = "import sys\nimport ipywidgets\nfrom IPython.display import display\nprint('w', file=sys.stderr)\ndisplay(3)\ndisplay(ipywidgets.IntSlider())"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(book, tmp_path / "n.ipynb")
    refresh_notebook(tmp_path / "n.ipynb")
    stored = nbformat.read(tmp_path / "n.ipynb", 4)
    assert [o["data"]["text/plain"] for o in stored.cells[0].outputs] == ["3"] and "widgets" not in stored.metadata


def test_a_refused_file_is_one_line_in_a_notebook(tmp_path):
    """The cell fails, with the reason and no traceback."""
    (tmp_path / "bad.cif").write_text("data_x\n_cell_length_a 4\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "from dtnet_core.base.reading import show_refusals_in_one_line\nfrom dtnet_core import read_structure\nshow_refusals_in_one_line()\n"
        f"read_structure({str(tmp_path / 'bad.cif')!r})")])  # fmt: skip
    with pytest.raises(CellExecutionError, match=r"bad\.cif"):
        NotebookClient(book, kernel_name="python3").execute()
    (output,) = [o for o in book.cells[0].outputs if o["output_type"] == "error"]
    assert output["ename"] == "InvalidStructureError" and len(output["traceback"]) == 1 and "Traceback" not in output["traceback"][0]
