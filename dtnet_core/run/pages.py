"""Notebooks as pages: HTML with their stored outputs, without the cells of set-up and checks, and words for every figure.

A figure's words are ``alt`` in the metadata of the cell that shows it; nbconvert's own page leaves them out.
"""

from __future__ import annotations

from pathlib import Path

from ..base.files import write_atomic

_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{% block data_png scoped %}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}" alt="{{ cell | get_metadata('alt') | escape_html }}">
</div>
{% endblock data_png %}
"""


def page(notebook: str | Path) -> str:
    """A stored notebook as one HTML page.

    Parameters
    ----------
    notebook : path
        With outputs.

    Returns
    -------
    str
        Needs no other file; formulas are set by MathJax from the web.

    Raises
    ------
    ValueError
        When a cell shows a figure and has no ``alt``; names notebook and cell.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    content = nbformat.read(notebook, as_version=4)
    for number, cell in enumerate(content.cells):
        shows = any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        if shows and not str(cell.metadata.get("alt", "")).strip():
            raise ValueError(f"{notebook}, cell {number}: a figure without words; add \"alt\" to the metadata of the cell")
        if cell.cell_type == "markdown":  # nbconvert takes pictures out of one folder only
            cell.source = cell.source.replace("](../figures/", "](figures/")
    folded = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": {"hide-input"}}})
    exporter = HTMLExporter(raw_template=_TEMPLATE, embed_images=True, config=folded)
    place = {"name": Path(notebook).stem, "path": str(Path(notebook).resolve().parents[1])}
    text, _ = exporter.from_notebook_node(content, {"metadata": place})
    return text


def write_page(notebook: str | Path, folder: str | Path) -> Path:
    """Write ``<folder>/<name>.html``, atomically."""
    path = Path(folder) / f"{Path(notebook).stem}.html"
    write_atomic(path, page(notebook))
    return path
