"""The page of `make demo` without a browser: what it takes, what it says, and that it keeps nothing."""

import gzip
import tempfile
from datetime import UTC, datetime

import numpy as np
import pytest

from dtnet_core.base.reading import ReadError
from dtnet_core.ensemble import load_ensemble
from dtnet_core.teaching import demo
from dtnet_core.teaching.page import Page
from tests.conftest import CRYSTALS

POSCAR = CRYSTALS["hexagonal"]().to(fmt="poscar").encode()
LARGE = (CRYSTALS["hexagonal"]() * (4, 4, 4)).to(fmt="poscar").encode()
BROKEN = b"data_x\n_cell_length_a 4\n"


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path, monkeypatch):
    """Neither in the temporary folder nor in the cache."""
    for name in ("cache", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DTNET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("big.cif", b"#" * 1_100_000, "1.1 MB"), ("a.cif.gz", POSCAR, "compressed"), ("a.cif", gzip.compress(POSCAR), "compressed"),
    ("a.db", POSCAR, "unknown kind"), ("a.traj", POSCAR, "unknown kind"), ("a.py", b"raise SystemExit", "unknown kind"), ("", POSCAR, "unknown kind"),
    ("empty.cif", b"", "empty"), ("bad.cif", BROKEN, "_cell_length_b"), ("../../etc/bad.cif", BROKEN, "^bad.cif: _cell"), ("a<b>.cif", BROKEN, "^a_b_.cif"),
    ("C:\\x\\bad.cif", BROKEN, "^bad.cif"), ("POSCAR", LARGE, "256 atoms in the cell"), ("a.json", b"[1, 2", "a.json: damaged"), ("a.cif", bytes(range(256)) * 9, "a.cif"),
])  # fmt: skip
def test_refusals_are_one_line_that_names_the_file(name, content, reason, tmp_path):
    with pytest.raises(ReadError, match=reason) as caught:
        demo.read_upload(name, content)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_an_answer_is_the_ensembles_and_stands_in_the_frame_of_the_file():
    upload = demo.read_upload("some/POSCAR", POSCAR)
    assert upload.name == "POSCAR" and len(upload.structure) == 4
    found = demo.answer(upload.structure, "electronic", notes=("<script>",))
    with tempfile.TemporaryDirectory() as cache:
        expected = load_ensemble("electronic").predict(upload.structure, cache, progress=False)
    assert np.allclose(found.tensor, expected.tensors[0]) and (found.half_width, found.wide, found.chance) == (expected.std[0], expected.wide[0], expected.chance[0])
    text = demo.as_html(found)
    assert f"{found.constant:.2f} ± {found.half_width:.2f}" in text and "hexagonal, 4 atoms" in text and f"{found.tensor[2, 2]:.2f}" in text
    assert "<script>" not in text and "&lt;script&gt;" in text
    careful, near = text.split("The nearest crystals that the networks learned from: ")
    assert near.startswith(f"{expected.nearest[0][0][1]}, ") and "To be careful about" in careful and expected.nearest[0][0][0] not in text


def test_no_number_is_shown_where_there_is_no_answer():
    nothing = demo.Answer("total", CRYSTALS["cubic"](), np.full((3, 3), np.nan), np.nan, np.nan, np.nan, np.nan, ("an impossible tensor",))
    text = demo.as_html(nothing)
    assert "No answer" in text and "nan" not in text and "an impossible tensor" in text


def give(page: Page, name: str, content: bytes) -> None:
    page.upload.value = ({"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": datetime.now(UTC)},)


def test_the_page_answers_refuses_and_goes_on():
    page = Page()
    page.pick.value = "MgO (rocksalt type)"
    assert "MgO, cubic, 2 atoms" in page.words.value and "first principles" in page.words.value and page.picture.value[:4] == b"\x89PNG"
    for _ in range(2):  # the same file twice
        give(page, "bad.cif", BROKEN)
        assert "bad.cif: _cell_length_b" in page.status.value and not page.words.value and page.picture.layout.display == "none"
        assert page.upload.value == () and page.pick.value == ""
    give(page, "<b>.vasp", POSCAR)
    assert "ZnO, hexagonal" in page.words.value and "<b>.vasp" not in page.status.value and "first principles" not in page.words.value
    before = page.words.value
    page.target.value = "electronic"
    assert "The electronic dielectric constant" in page.words.value != before
