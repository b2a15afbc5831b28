"""Formulas as MathML, made when the documentation is built: browsers draw it by themselves, with no script and no network."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def inline(translator, node) -> None:
    """A formula in a line of text."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def block(translator, node) -> None:
    """A formula on lines of its own, which scroll where the page is narrow."""
    translator.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app) -> dict:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
