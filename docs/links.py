"""Check the links inside a built documentation: every page, picture, file and anchor that a page names is there.

    python docs/links.py build/docs      # prints what is missing; exit code 1 when anything is
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup


@cache
def page(path: Path) -> BeautifulSoup:
    """A page, parsed once."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Every id and name of a page."""
    return frozenset(tag[key] for tag in page(path).find_all(True) for key in ("id", "name") if tag.has_attr(key))


def missing(folder: Path) -> list[str]:
    """Links to nowhere, each as "page: link"; those that leave the folder's pages (other hosts, mail) are not followed.

    Raises
    ------
    ValueError
        When the folder has no page.
    """
    pages = sorted(p for p in folder.rglob("*.html") if "_static" not in p.relative_to(folder).parts)  # which has templates of the theme
    if not pages:
        raise ValueError(f"{folder} has no page: make docs builds it")
    found = []
    for path in pages:
        links = {tag[key] for tag in page(path).find_all(True) for key in ("href", "src") if tag.has_attr(key)}
        found += [f"{path.relative_to(folder)}: {link}" for link in sorted(links) if not leads_somewhere(link, path)]
    return found


def leads_somewhere(link: str, path: Path) -> bool:
    """Whether what a link on the page at `path` names is there."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    return not parts.fragment or target.suffix != ".html" or unquote(parts.fragment) in anchors(target)


if __name__ == "__main__":
    lost = missing(Path(sys.argv[1]))
    print("\n".join(lost) or "every link inside leads somewhere")
    sys.exit(bool(lost))
