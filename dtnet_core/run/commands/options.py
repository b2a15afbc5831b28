"""What the sub-commands share: options that take several values, names that are checked, groups that say what they have."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose options of several values take them in a row: ``--seeds 0 1 2``, as well as one by one."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        return super().parse_args(ctx, expand(args, several))


class Group(TyperGroup):
    """A group that answers an unknown name with the names it has."""

    def resolve_command(self, ctx, args: list[str]):
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise typer.BadParameter(f"there is no command {args[0]!r}; choose from {', '.join(self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


def expand(words: list[str], several: set[str]) -> list[str]:
    """Repeat an option before each further value: ``--seeds 0 1`` -> ``--seeds 0 --seeds 1``.

    Parameters
    ----------
    words : list of str
        Of a command line.
    several : set of str
        Options that take several values.
    """
    found, option, values = [], None, 0
    for place, word in enumerate(words):
        if word == "--":
            return [*found, *words[place:]]
        if word.startswith("-") and not _is_number(word):
            option, values = (word if word in several else None), 0
            found.append(word)
        elif option is not None and values:
            found += [option, word]
        else:
            found.append(word)
            values += 1
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def group(text: str) -> typer.Typer:
    """A group of sub-commands with its help text."""
    return typer.Typer(help=text, cls=Group, no_args_is_help=True, add_completion=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]})


def among(module: str, names: str) -> Callable:
    """Callback of an option whose values are names that a module of the package lists; it is imported only when there is one to check."""

    def check(value):
        given = value if isinstance(value, list | tuple) else [] if value is None else [value]
        known = tuple(getattr(import_module(f"dtnet_core.{module}"), names)) if given else ()
        for one in given:
            if one not in known:
                raise typer.BadParameter(f"{one!r} is not one of {', '.join(known)}")
        return value

    return check


def imitated(functional: str) -> str:
    """What answers are for, in words."""
    return f"These answers imitate calculations (DFPT with {functional}), not measurements: intervals are for what such a calculation gives."


def use_threads(number: int) -> None:
    """Let torch use so many threads."""
    import torch

    torch.set_num_threads(number)


TARGETS = "electronic|ionic|total"

Profile = Annotated[Literal["mini", "full"], typer.Option(help="mini: crystals that ship; full: the folder DTNET_DATA_DIR")]
Targets = Annotated[list[str] | None, typer.Option(metavar=TARGETS, callback=among("crystals.record", "TARGETS"), help="tensors to learn; default total")]
Split = Annotated[str, typer.Option(metavar="record|group", callback=among("data.splits", "SPLITS"), help="group keeps crystals of one formula together")]
Seeds = Annotated[list[int] | None, typer.Option(help="each draws a split and the weights; default 0 1 2 3 4")]
Threads = Annotated[int, typer.Option(help="for torch; small networks gain nothing from more")]
Device = Annotated[str, typer.Option(help='of the networks, for torch, such as "cuda"')]
Again = Annotated[bool, typer.Option("--again", help="repeat what the results file holds")]
Variant = Annotated[str, typer.Option(help="of the networks that ship: default, best (needs further weights), default-physics or physics (the same with force constants: slower, better ionic parts)")]
Scheduler = Annotated[str | None, typer.Option(help="local, slurm, or tcp://... of a Dask scheduler; default: this process")]
Workers = Annotated[int | None, typer.Option(help="processes or jobs; default: all cores, one job")]
