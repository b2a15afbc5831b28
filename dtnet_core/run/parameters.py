"""The parameters of the notebooks, checked in one place before anything is computed: type, range, choices, files.

Nothing heavy is imported here, so that a wrong value is refused within a second. Lists may come as text ("[0, 1]" or "0,1"), as
``papermill -p`` gives them, and one number stands for a list of one.
"""

from __future__ import annotations

import ast
import difflib
import gzip
import json
import re
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from ..base.paths import DATA, ROOT, WEIGHTS
from ..base.profiles import FILES, resolve_data_dir
from ..base.reading import ReadError, show_refusals_in_one_line, without_place
from ..potentials.packages import find_encoder

CHOICES: dict[str, tuple[str, ...]] = {
    "profile": tuple(FILES),
    "target": ("electronic", "ionic", "total"),
    "task": ("figure of merit", "anisotropy"),
    "oracle": ("stored", "published", "dfpt", "vasp"),
    "diversity": ("none", "systems", "farthest"),
    "policy": ("flag", "refuse"),
    "engine": ("qe", "abinit"),
    "axis": ("x", "y", "z"),
    "model": ("all", "PaiNN", "M3GNet", "MatTen", "AnisoNet", "PaiNN-local", "median", "forest", "ridge"),
    "variant": tuple(sorted(p.parent.name for p in WEIGHTS.glob("*/calibration.json"))),
    "encoder": ("7net-0", "7net-l3i5", "7net-mf-0", "nequix-mp-1", "nequix-mp-1-pft", "nequix-omat-1", "nequix-oam-1",
                "nequix-oam-1-pft", "tensornet-matpes-pbe", "tensornet-matpes-r2scan"),
}  # fmt: skip
"""Values of the parameters that are names. The modules that know them take seconds to import; a test compares both."""
_INJECTED = "# Parameters\n"
"""First line of the cell with the values that papermill was given."""
LAYERS = 5
"""Deepest layer of any encoder."""


class ParameterError(ValueError):
    """A parameter of a notebook that cannot be used; one line that names it, its value, and what would do."""


def check_parameters(parameters: MutableMapping[str, object]) -> None:
    """Check the parameters of a notebook, and write lists that came as text back as lists.

    Parameters
    ----------
    parameters : mapping
        Names and values: in a notebook ``globals()``, right after the cell of parameters. Names without a rule are left alone.

    Raises
    ------
    ParameterError
        For the first value that cannot be used. A notebook shows it in one line, without a traceback.
    """
    show_refusals_in_one_line(ParameterError)
    _names_are_known(parameters)
    for name in [name for name in _RULES if name in parameters]:
        try:
            parameters[name] = _RULES[name](parameters[name])
        except ValueError as error:
            raise ParameterError(f"{name} is {parameters[name]!r}: {error}") from None
    for check in _TOGETHER:
        check(parameters)


def _names_are_known(parameters: Mapping) -> None:
    """Names that papermill was given are names of the notebook's cell of parameters.

    A running notebook sees no cells, but IPython keeps the source of those that it ran: papermill's begins with ``# Parameters`` and stands
    right behind the notebook's own.
    """
    ran = [source for source in parameters.get("In", ()) if isinstance(source, str)]
    given = next((k for k, source in enumerate(ran) if any(ran[:k]) and source.startswith(_INJECTED)), None)
    if given is None:
        return
    known = [name for source in ran[:given] for name in _assigned(source)]
    for name in _assigned(ran[given]):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise ParameterError(f"{name} is no parameter of this notebook{f' (did you mean {close[0]}?)' if close else ''}; it has {', '.join(known)}")


def _assigned(source: str) -> list[str]:
    """Names that the top level of a cell assigns values to."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # of IPython's own language
        return []
    return [target.id for line in body if isinstance(line, ast.Assign) for target in line.targets if isinstance(target, ast.Name)]


def _choice(name: str) -> Callable:
    def check(value):
        if value not in CHOICES[name]:
            raise ValueError(f"choose one of {', '.join(map(repr, CHOICES[name]))}")
        return value

    return check


def _number(low: float, high: float = float("inf"), whole: bool = False, optional: bool = False, above: bool = False) -> Callable:
    kind = "a whole number" if whole else "a number"
    limits = f"{'above' if above else 'from'} {low:g}" + (f" to {high:g}" if high < float("inf") else "" if above else " upwards")

    def check(value):
        if value is None and optional:
            return value
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not right or not low <= value <= high or (above and value == low):
            raise ValueError(f"give {kind} {limits}" + (", or None" if optional else ""))
        return value

    return check


def _numbers(high: int | None = None) -> Callable:
    """A list of different whole numbers from 0."""
    wanted = "give a list of different whole numbers from 0" + ("" if high is None else f" to {high}") + ", such as [0, 1]"

    def check(value):
        if isinstance(value, str):
            try:
                value = ast.literal_eval(value if value.strip().startswith(("[", "(")) else f"[{value}]")
            except (ValueError, SyntaxError):
                raise ValueError(wanted) from None
        found = [value] if isinstance(value, int) else list(value) if isinstance(value, list | tuple | range) else []
        right = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= (n if high is None else high) for n in found)
        if not found or not right or len(set(found)) < len(found):
            raise ValueError(wanted)
        return found

    return check


def _features(value):
    example = "'7net-0:4' or '7net-0:0-5+7net-l3i5:1,3'"
    for part in value.split("+") if isinstance(value, str) else [""]:
        name, _, layers = part.strip().rpartition(":")
        if name not in CHOICES["encoder"]:
            raise ValueError(f"{name or value!r} is no encoder; write for instance {example}, with encoders out of {', '.join(CHOICES['encoder'])}")
        for item in layers.split(","):
            ends = re.fullmatch(r"(\d+)(?:-(\d+))?", item.strip())
            if ends is None or not int(ends[1]) <= int(ends[2] or ends[1]) <= LAYERS:
                raise ValueError(f"{item!r} is no layer of {name}; layers are 0 to {LAYERS}, written for instance {example}")
        _is_here(name)
    return value


def _encoder(value):
    """An encoder whose weights are here."""
    _choice("encoder")(value)
    _is_here(value)
    return value


def _variant(value):
    """A variant whose encoders' weights are here."""
    _choice("variant")(value)
    about = json.loads((WEIGHTS / value / "calibration.json").read_text(encoding="utf-8"))
    networks = about.get("members") or json.loads((WEIGHTS / about["networks"] / "calibration.json").read_text(encoding="utf-8"))["members"]
    for name in dict.fromkeys(part.split(":")[0] for features in networks for part in features.split("+")):
        _is_here(name)
    return value


def _is_here(encoder: str) -> None:
    try:
        find_encoder(encoder)
    except (FileNotFoundError, ImportError) as error:
        raise ValueError(f"{encoder} is not installed: {error}") from None


def _crystal_file(value):
    """A path of a file that the readers take for one crystal, or None."""
    path = _file(value)
    if path is None:
        return path
    from ..crystals.sources import (
        read_structure,  # here, as it takes a second to import, and only who names a file waits for it
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when the file is used
        try:
            read_structure(path)
        except (ReadError, OSError) as error:
            raise ValueError(without_place(str(error), path)) from None
    return path


def _file(value):
    """A path of a file that is there, or None."""
    if value is None:
        return value
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("give the path of a file, or None")
    if Path(value).expanduser().is_dir():
        raise ValueError("it is a folder; give the path of one file, or None")
    if not Path(value).expanduser().is_file():
        raise ValueError(f"there is no such file in {Path.cwd()}; give the whole path, or None")
    return str(Path(value).expanduser())


def _folder(value):
    """A path that is a folder or nothing yet, or None."""
    if value is not None and (not isinstance(value, str | Path) or not str(value).strip() or Path(value).is_file()):
        raise ValueError("give the path of a folder (it need not be there yet), or None")
    return value


def _pool(value):
    known = ("prototypes", "screening_pool")
    if not isinstance(value, str) or not value or (value not in known and not (ROOT / value).exists()):
        raise ValueError(f"choose {' or '.join(map(repr, known))}, or give a file or folder that is there (relative to {ROOT})")
    return value


def _text(value):
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ValueError("give text, or None")
    return value


def _switch(value):
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


def _budget(value):
    found = re.fullmatch(r"(\d*\.?\d+) (epochs|hours)", str(value))
    if found is None or float(found[1]) < (1 if found[2] == "epochs" else 1e-9):
        raise ValueError("write for instance '8 epochs' or '0.25 hours' (of processor time, for each run)")
    return value


_RULES: Mapping[str, Callable] = {
    **{name: _choice(name) for name in CHOICES},
    "encoder": _encoder,
    "variant": _variant,
    "features": _features,
    "layers": _numbers(LAYERS),
    "seeds": _numbers(),
    **{name: _number(1, whole=True) for name in ("max_epochs", "rounds", "top_k", "components", "copies")},
    **{name: _number(0, above=True) for name in ("learning_rate", "initial_anisotropy")},
    "ecut": _number(0, above=True, optional=True),
    "angle": _number(-360, 360),
    "low": _number(float("-inf")),
    "high": _number(float("-inf")),
    "max_violation": _number(0, 1, above=True),
    "cif": _crystal_file,
    "structure_file": _crystal_file,
    "figures_dir": _folder,
    "run_folder": _folder,
    "pool": _pool,
    "budget": _budget,
    "name": _text,
    "crystal": _text,
    "candidate": _text,
    "relax": _switch,
}


def _data_are_there(given: Mapping) -> None:
    if "profile" not in given:
        return
    try:
        folder = resolve_data_dir(given["profile"])
    except OSError as error:
        raise ParameterError(str(error)) from None
    name = given.get("name") or FILES[given["profile"]]
    if not (folder / f"{name}.json.gz").is_file():
        there = ", ".join(sorted(p.name.removesuffix(".json.gz") for p in folder.glob("*.json.gz"))) or "none"
        raise ParameterError(f"profile is {given['profile']!r}: {name}.json.gz is not in {folder}; data sets there: {there}")


def _is_among(name: str, data: str, unless: str | None = None) -> Callable[[Mapping], None]:
    """The parameter `name` is an id of a set that ships; not asked where the parameter `unless` has a value."""

    def check(given: Mapping) -> None:
        if name not in given or given.get(unless) is not None:
            return
        with gzip.open(DATA / f"{data}.json.gz") as file:
            known = [item["id"] for item in json.load(file)]
        if given[name] not in known:
            close = difflib.get_close_matches(str(given[name]), known, 3, 0.4) or known[:3]
            raise ParameterError(f"{name} is {given[name]!r}: it is none of the {len(known)} in data/{data}.json.gz; close to it: {', '.join(close)}")

    return check


def _window_is_open(given: Mapping) -> None:
    if "low" in given and not given["low"] < given["high"]:
        raise ParameterError(f"low is {given['low']} and high is {given['high']}: low must be less")


def _calculations_are_kept(given: Mapping) -> None:
    if given.get("oracle") in ("dfpt", "vasp") and given.get("run_folder") is None:
        raise ParameterError(f"oracle is {given['oracle']!r}: it keeps its calculations in run_folder, which is None; give a folder")


_TOGETHER = (_data_are_there, _is_among("crystal", FILES["mini"], "structure_file"), _is_among("candidate", "screening_dfpt"), _window_is_open, _calculations_are_kept)
