"""What every stored notebook has: a cell of parameters, outputs, and nothing that belongs to one machine or one moment."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from dtnet_core.run.batch import refresh_notebook
from dtnet_core.run.comparison import MOST_IGNORED

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
