"""Settings of the documentation (`make docs`). Sources are the Markdown files and stored notebooks of the whole checkout, where they lie."""

import sys
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from launch import repository  # noqa: E402

project = "DTNet kit"
author = copyright = "The DTNet kit authors, MIT licence"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

# What is read: links between files are then the same here as in the repository.
root_doc = "index"
include_patterns = ["index.md", "docs/**.md", "notebooks/[0-9]*.ipynb", "data/*.md", "data/*/*.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "runs", "dfpt_runs", "dtnet_core", "tests", "benchmarks", "**/.ipynb_checkpoints"]

# Notebooks are shown as stored.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# Docstrings: NumPy's sections, code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # a type of a docstring that several modules have, such as DTNet

html_theme = "sphinx_book_theme"
html_title = "DTNet kit"
html_static_path = ["_static"]
# Formulas are drawn without a network: the one file of MathJax that holds its extensions and fonts goes into the site.
mathjax_path = "tex-svg-full.js"
html_static_path += [str(file.locate()) for file in distribution("sphinx-mathjax-offline").files if file.name == mathjax_path]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "repository_url": repository(),
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com", "notebook_interface": "jupyterlab"},
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search box stands in the side bar
}


def bars_stay_bars(app, what, name, obj, options, lines: list[str]) -> None:
    """In docstrings |x| is an absolute value, in reStructuredText a substitution."""
    lines[:] = ["`".join(part if i % 2 else part.replace("|", r"\|") for i, part in enumerate(line.split("`"))) for line in lines]


def words_for_figures(app, doctree) -> None:
    """What a cell draws is told by the `alt` of its metadata."""
    for cell in doctree.findall(nodes.container):
        for image in cell.findall(nodes.image):
            image["alt"] = cell.get("cell_metadata", {}).get("alt", image.get("alt", ""))


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", words_for_figures)
    app.connect("autodoc-process-docstring", bars_stay_bars)
