"""The page of `make demo` in a real browser; skipped where there is none."""

import pytest

from tests.browser import CHROMIUM, Browser, demo_page, until
from tests.conftest import CRYSTALS

UPLOAD = ".widget-upload"


@pytest.fixture
def address(tmp_path):
    """Of a page that is served for this test."""
    with demo_page(tmp_path) as served:
        yield served


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_visitor_uploads_a_crystal_and_reads_its_tensor(address, tmp_path):
    CRYSTALS["hexagonal"]().to(str(tmp_path / "zincite.cif"), fmt="cif")
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 4\n")
    (tmp_path / "huge.cif").write_text("#" * 12_000_000)
    with Browser(tmp_path) as browser:
        browser.open(address)
        assert "up to 1 MB" in browser.wait_for("or pick one")
        browser.give_file(tmp_path / "zincite.cif", UPLOAD)
        assert "The total dielectric constant is" in browser.wait_for("ZnO, hexagonal, 4 atoms in the cell")
        until(lambda: browser.ask("[...document.images].some(i => i.naturalWidth > 100 && i.offsetWidth > 100)"), 60, lambda: "no picture")
        for name, reason in (("broken", "broken.cif: _cell_length_b is unknown"), ("huge", "huge.cif: 12.0 MB; this page takes files of up to 1 MB")):
            browser.give_file(tmp_path / f"{name}.cif", UPLOAD)
            assert "ZnO, hexagonal" not in browser.wait_for(reason)
        assert not browser.ask("document.querySelector('pre, .jp-RenderedText[data-mime-type*=error]')")  # no code, no traceback
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
