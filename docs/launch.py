"""Links that open a notebook on Binder or Colab, from one address: `Repository` in pyproject.toml.

    python docs/launch.py      # writes them into README.md

The documentation has them as buttons, which its theme makes of the same address (`docs/conf.py`).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "YOUR_GITHUB_NAME"
"""Owner of a repository that has no address yet; no account can have a name with two underscores."""
_NOTEBOOK = re.compile(r"^\| \[`(\w+)`\]\(notebooks/\1\.ipynb\)")
_NOTE = re.compile(r"<!-- launch -->\n.*?<!-- end of launch -->", re.DOTALL)


def repository() -> str:
    """The repository's address, https://github.com/OWNER/NAME."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def links(notebook: str, address: str) -> dict[str, str]:
    """Where a notebook (`00_quickstart`) opens: name of the service -> address.

    Raises
    ------
    ValueError
        Naming the address, when it is not one of GitHub's: both services are asked for a GitHub repository.
    """
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address)
    if not found:
        raise ValueError(f"pyproject.toml: Repository is {address!r}; it must be https://github.com/OWNER/NAME")
    path = f"notebooks/{notebook}.ipynb"
    return {
        "Binder": f"https://mybinder.org/v2/gh/{found[1]}/main?urlpath=lab/tree/{path}",
        "Colab": f"https://colab.research.google.com/github/{found[1]}/blob/main/{path}",
    }


def with_links(text: str, address: str) -> str:
    """A page whose table of notebooks ends each row with these links, and whose note says whether they work."""
    lines = []
    for line in text.splitlines():
        if found := _NOTEBOOK.match(line):
            first, told = line.split(" | ")[:2]
            line = f"{first} | {told.removesuffix(' |')} | {', '.join(f'[{k}]({v})' for k, v in links(found[1], address).items())} |"
        lines.append(line)
    return _NOTE.sub(f"<!-- launch -->\n{note(address)}\n<!-- end of launch -->", "\n".join(lines) + "\n")


def note(address: str) -> str:
    """What to know before one follows a link."""
    if PLACEHOLDER in address:
        return "(The links work once the repository has a public address: one line of `pyproject.toml`, see [CONTRIBUTING](CONTRIBUTING.md).)"
    return "(Colab knows nothing of the kit yet: run [the cell of the guide](docs/howto/install.md) first.)"


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(with_links(page.read_text(encoding="utf-8"), repository()), encoding="utf-8")
