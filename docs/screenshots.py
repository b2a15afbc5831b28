"""Pictures of what a visitor sees, in docs/images: the front page, notebooks 00 and 07, the page of `make demo`, the documentation.

    python docs/screenshots.py build/docs      # after `make docs`; needs Chromium
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for the browser of the tests

from tests.browser import CHROMIUM, Browser, demo_page, until  # noqa: E402

IMAGES = ROOT / "docs/images"
MOST_BYTES = 250_000
_SIZE = (1400, 900)
_STYLE = "body { font: 16px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; } img { max-width: 100%; } pre, code { background: #f2f2f2; } td, th { border: 1px solid #ccc; padding: .3em .6em; } table { border-collapse: collapse; }"
_READY = "document.readyState == 'complete' && (!document.querySelector('.math') || document.querySelector('mjx-container')) && [...document.images].filter(i => i.loading != 'lazy').every(i => i.complete)"


def take(browser: Browser, name: str, address: str, seen: str, act: Callable[[], None] = lambda: None) -> None:
    """One picture, once the page at `address` says `seen` and `act` is done.

    Raises
    ------
    ValueError
        When the picture is too large for a repository.
    """
    browser.open(address)
    browser.wait_for(seen)
    act()
    until(lambda: browser.ask(_READY), 60)
    time.sleep(2)  # fonts and formulas
    with tempfile.TemporaryDirectory() as folder:
        browser.screenshot(Path(folder) / "page.png", whole=False)
        content = reduced((Path(folder) / "page.png").read_bytes())
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name}.png has {len(content)} bytes; at most {MOST_BYTES}")
    (IMAGES / f"{name}.png").write_bytes(content)


def reduced(picture: bytes) -> bytes:
    """A PNG in 256 colours."""
    kept = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    content = io.BytesIO()
    kept.save(content, "PNG", optimize=True)
    return content.getvalue()


def front_page(folder: Path) -> str:
    """README.md as a page; its address."""
    text = MarkdownIt("commonmark").enable("table").render((ROOT / "README.md").read_text(encoding="utf-8"))
    (folder / "front.html").write_text(f"<!doctype html><meta charset=utf-8><base href='{ROOT.as_uri()}/'><style>{_STYLE}</style>{text}", encoding="utf-8")
    return (folder / "front.html").as_uri()


def main(site: Path) -> None:
    """Take all pictures.

    Raises
    ------
    SystemExit
        Without a browser, or a built documentation.
    """
    if CHROMIUM is None or not (site / "index.html").is_file():
        raise SystemExit(f"{'no Chromium is installed' if CHROMIUM is None else f'{site} has no documentation: make docs'}")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Browser(Path(folder)) as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=_SIZE[0], height=_SIZE[1], deviceScaleFactor=1, mobile=False)
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        take(browser, "front", front_page(Path(folder)), "DTNet kit")
        take(browser, "docs", (site / "index.html").resolve().as_uri(), "DTNet kit")
        for name, seen in (("00_quickstart", "Quickstart"), ("07_tensors_and_symmetry", "Tensors and symmetry")):
            take(browser, name, (site / f"notebooks/{name}.html").resolve().as_uri(), seen)
        with demo_page(Path(folder)) as address:
            take(browser, "demo", address, "or pick one", lambda: pick(browser))


def pick(browser: Browser, formula: str = "MgI2") -> None:
    """Choose a crystal that the page of `make demo` offers, and wait for its tensor."""
    chosen = f"[...s.options].findIndex(o => /^{formula}\\s/.test(o.text))"  # a space that breaks no line
    browser.ask(f"(() => {{ const s = document.querySelector('select'); s.selectedIndex = {chosen}; s.dispatchEvent(new Event('change', {{bubbles: true}})); }})()")
    browser.wait_for(f"{formula}, ")
    until(lambda: browser.ask("[...document.images].some(i => i.naturalWidth > 100 && i.offsetWidth > 100)"), 120, lambda: "no picture")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
