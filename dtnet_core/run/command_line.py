"""The command `dtnet`, which is ``python -m dtnet_core`` too."""

from __future__ import annotations

import dis
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..base.paths import PACKAGE
from ..base.reading import ReadWarning
from .commands import baselines, dfpt, notebooks, results, screen, train
from .commands.charges import charges
from .commands.demo import demo
from .commands.download import download
from .commands.matbench import matbench
from .commands.options import Command, group
from .commands.predict import predict

app = group("Dielectric tensors of crystals from an equivariant network. Start with: dtnet predict my.cif")
app.command(cls=Command)(predict)
app.command(cls=Command)(charges)
app.command(cls=Command)(demo)
app.command(cls=Command)(download)
app.add_typer(train.app, name="train")
app.command(cls=Command)(matbench)
app.add_typer(baselines.app, name="baselines")
app.add_typer(screen.app, name="screen")
app.add_typer(dfpt.app, name="dfpt")
app.add_typer(notebooks.app, name="notebooks")
app.add_typer(results.app, name="results")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dtnet {__version__}")
        raise typer.Exit


@app.callback()
def options(version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False) -> None:
    """Dielectric tensors of crystals from an equivariant network. Start with: dtnet predict my.cif"""


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says; a refusal is one line on standard error, and exit code 1."""
    before, warnings.formatwarning = warnings.formatwarning, _format_warning
    try:
        app(arguments, prog_name="dtnet")
    except Exception as error:
        if not is_refusal(error):
            raise
        print(f"error: {str(error).strip() or type(error).__name__}", file=sys.stderr)
        sys.exit(1)
    finally:
        warnings.formatwarning = before


_format_as_python = warnings.formatwarning


def _format_warning(message, category, filename, lineno, line=None) -> str:
    """What the kit warns of as one plain line, without the place in the code; warnings of others as Python shows them."""
    if issubclass(category, ReadWarning) or Path(filename).is_relative_to(PACKAGE):
        return f"warning: {' '.join(str(message).split())}\n"
    return _format_as_python(message, category, filename, lineno, line)


def is_refusal(error: Exception) -> bool:
    """Whether an error is an answer of the kit, to be read by its user: one that its own code raises, or one of the system's (a missing file, a full disk).

    What a library raises, and what an operation happens to cause, is a fault of the kit and keeps its traceback.
    """
    if isinstance(error, OSError):
        return True
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None or not place.tb_frame.f_globals.get("__name__", "").startswith("dtnet_core."):
        return False
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
