"""What every stored notebook has: a cell of parameters, outputs, and nothing that belongs to one machine or one moment."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))


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
