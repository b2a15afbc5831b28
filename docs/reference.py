"""Pages of the reference, docs/api: one a module of the core, one a folder of `dtnet_core`, each module in its place.

    python docs/reference.py      # writes them anew, after a module was added, moved or removed
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
API, PACKAGE = ROOT / "docs/api", ROOT / "dtnet_core"
CORE = ("encoder", "features", "readout", "layers", "links", "metrics", "ensemble", "members", "checkpoint")
"""In the order in which they are read; others come after them."""
FOLDERS = ("crystals", "potentials", "physics", "trust", "data", "training", "baselines", "matbench", "screening", "dfpt", "domain", "report", "run", "teaching", "base")
_EXCLUDED = {"dtnet_core.report.figures.describe": "set"}
"""Members that a module has from another library, whose text is no concern of this one."""


def pages() -> dict[str, str]:
    """Name of each page -> its text."""
    core = ordered([p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("_")], CORE)
    folders = ordered([p.parent.name for p in PACKAGE.glob("*/__init__.py")], FOLDERS)
    return {
        "index": index(core, folders),
        **{name: f"# {name}\n\n{documented(f'dtnet_core.{name}')}" for name in core},
        **{name: folder(name) for name in folders},
    }


def ordered(names: list[str], first: tuple[str, ...]) -> list[str]:
    """Names in the order of `first`, then the others by the alphabet."""
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name))


def folder(name: str) -> str:
    """The page of a folder: what the package says of itself, then each module."""
    files = sorted((PACKAGE / name).rglob("*.py"), key=lambda p: [part for part in p.relative_to(PACKAGE).with_suffix("").parts if part != "__init__"])
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files]
    parts = [f"## {m.removeprefix(f'dtnet_core.{name}.')}\n\n{documented(m)}" for m in modules[1:]]
    return "\n".join([f"# {name}\n\n{documented(modules[0])}", *parts])


def documented(module: str) -> str:
    """The directive for a module; of a package its text alone, as its names are those of its modules."""
    package = (ROOT / module.replace(".", "/")).is_dir()
    options = "\n   :no-members:" if package else f"\n   :exclude-members: {_EXCLUDED[module]}" if module in _EXCLUDED else ""
    return f"```{{eval-rst}}\n.. automodule:: {module}{options}\n```\n"


def index(core: list[str], folders: list[str]) -> str:
    """The first page."""
    return "\n".join([
        "# API", "", "Made from the docstrings. What one needs first can be imported from `dtnet_core` itself, as the front page does.", "",
        "```{toctree}", ":caption: The core, to be read in this order", ":maxdepth: 1", "", *core, "```", "",
        "```{toctree}", ":caption: Around it", ":maxdepth: 2", "", *folders, "```", "",
    ])  # fmt: skip


if __name__ == "__main__":
    for page in API.glob("*.md"):
        page.unlink()
    for name, text in pages().items():
        (API / f"{name}.md").write_text(text, encoding="utf-8")
