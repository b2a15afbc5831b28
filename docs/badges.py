"""The badges of README.md, drawn from what pyproject.toml says.

    python docs/badges.py      # writes docs/images/badge-*.svg
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
_LETTER = 6.6  # width of one, in pixels
_COLOUR = "#0072b2"


def facts() -> dict[str, str]:
    """What the badges say: name -> text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    first, last = (int(minor) for minor in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())
    return {"licence": project["license"], "python": " | ".join(f"3.{minor}" for minor in range(first, last)), "version": project["version"]}


def badge(name: str, text: str) -> str:
    """A badge as SVG: the name on grey, the text on blue."""
    left, right = (round(_LETTER * len(part)) + 12 for part in (name, text))
    middle = [(left / 2, name), (left + right / 2, text)]
    words = "".join(f'<text x="{x:g}" y="14" text-anchor="middle">{part}</text>' for x, part in middle)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{name}: {text}">'
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="{_COLOUR}"/>'
        f'<g fill="#fff" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">{words}</g></svg>\n'
    )


if __name__ == "__main__":
    for name, text in facts().items():
        (IMAGES / f"badge-{name}.svg").write_text(badge(name, text), encoding="utf-8")
