"""The results files (`data/results/*.json`): append, load, tabulate, and say where a number came from.

A results file is a JSON list of records, one for each run. Numbers shown anywhere are read from these files.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .files import locked, write_atomic
from .splits import FRACTIONS

IDENTITY = ("target", "model", "encoder", "layer", "split", "seed", "profile")
"""Keys that name a run; a record equal in all of them replaces the older one."""

PROTOCOL_SEEDS = range(5)
"""Splits of every table and comparison; what has been run on more of them is reported by itself."""
FROM_SCRATCH = "-scratch"
"""End of the name of an encoder that was trained together with its readout."""

_ROOT = Path(__file__).resolve().parent.parent
_OUTPUTS = ("data/results", "data/weights", "figures")  # what runs write: a change there does not change the code that ran


def plain(value):
    """`value` as plain JSON: NumPy and torch values become numbers and lists, NaN and infinities null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, torch tensors
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be stored in a results file")


def _identity(record: Mapping) -> str:
    """The `IDENTITY` of a record as text, so that lists (several layers) compare, too."""
    return json.dumps([record.get(key) for key in IDENTITY], sort_keys=True)


def write_json(path: str | os.PathLike, value) -> None:
    """Write `value` as indented JSON, atomically; NumPy values are converted, NaN becomes null.

    Parameters
    ----------
    path : path
        Parent folders are made.
    value : nested dicts and lists of plain, NumPy or torch values
    """
    write_atomic(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def load_results(path: str | os.PathLike) -> list[dict]:
    """Records of a results file; an empty list when there is no such file yet.

    Raises
    ------
    ValueError
        When the file is not a JSON list of objects.
    """
    path = Path(path)
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); restore it, or move it away first") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path} must hold a JSON list of objects, got {type(records).__name__}")
    return records


def append_result(path: str | os.PathLike, record: Mapping) -> None:
    """Add one run to a results file, or replace the run of the same `IDENTITY`; safe among processes.

    Parameters
    ----------
    path : path
        Made when missing. The records are kept sorted by identity, whatever order the runs end in.
    record : mapping
        Holds at least one of the `IDENTITY` keys; a missing one counts as null.

    Raises
    ------
    ValueError
        When the record has no identity, or the file is broken (it is then left as it is).
    """
    path, record = Path(path), plain(record)
    if not any(record.get(key) is not None for key in IDENTITY):
        raise ValueError(f"the record has none of the keys {', '.join(IDENTITY)}; it has {sorted(record)}")
    with locked(path):
        records = {_identity(old): old for old in load_results(path)}
        records[_identity(record)] = record
        write_json(path, [records[key] for key in sorted(records)])


def finished_runs(path: str | os.PathLike | None, resume: bool = True) -> dict[tuple, dict]:
    """Records of a results file by the values of their `IDENTITY`; none without a file, or when they are to be repeated."""
    return {tuple(r.get(k) for k in IDENTITY): r for r in load_results(path)} if path is not None and resume else {}


def results_table(
    results: Sequence[Mapping],
    group: Sequence[str] = ("target", "model", "encoder", "layer"),
    metrics: Sequence[str] = ("mae_ten",),
    paper: Mapping | None = None,
) -> pd.DataFrame:
    """Mean and standard deviation over seeds of each group of runs.

    Parameters
    ----------
    results : sequence of records
        As `load_results` returns them. Choose one profile and one kind of split before.
    group : sequence of str
        Keys that tell the groups apart; the table is sorted by them.
    metrics : sequence of str
        Keys to average; a record without one of them is left out of that average.
    paper : mapping, optional
        `data/paper/table2.json`: adds its MAE_ten of the same target and model, over all systems.

    Returns
    -------
    pandas.DataFrame
        Columns: `group`, `runs`, for each metric `<metric>` and `<metric>_std` (sample standard deviation;
        NaN for one run), and with `paper` also `paper` and `paper_std` (NaN where it has no such row).

    Raises
    ------
    ValueError
        When `results` is empty.
    """
    if not results:
        raise ValueError("there are no results to tabulate; run the notebooks or the run matrix first")
    rows = pd.DataFrame([{key: _text(record.get(key)) for key in group} for record in results])
    for metric in metrics:
        values = [record.get(metric) for record in results]
        rows[metric] = np.array([math.nan if value is None else value for value in values], dtype=float)
    grouped = rows.groupby(list(group), sort=True)
    table = grouped.size().rename("runs").reset_index()
    for metric in metrics:
        table[metric] = grouped[metric].mean().to_numpy()
        table[f"{metric}_std"] = grouped[metric].std(ddof=1).to_numpy()
    if paper is not None:
        cells = [_paper_cell(paper, row.get("target"), row.get("model")) for row in table.to_dict("records")]
        table[["paper", "paper_std"]] = np.array(cells, dtype=float)
    return table


def format_table(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """A `results_table` for reading: value and deviation joined to "0.368 ± 0.063", "-" for none."""
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith("_std") and name.removesuffix("_std") in table:
            continue
        if f"{name}_std" in table:
            pairs = zip(table[name], table[f"{name}_std"], strict=True)
            shown[name] = [_plus_minus(value, deviation, digits) for value, deviation in pairs]
        else:
            shown[name] = table[name]
    return shown


def _text(value) -> str:
    """A group key as a sortable label: 4 -> "4", several layers [1, 3] -> "1+3", missing -> "-"."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return "-" if value is None else str(value)


def _plus_minus(value: float, deviation: float, digits: int) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if np.isfinite(deviation) else "")


def _paper_cell(paper: Mapping, target: str | None, model: str | None) -> tuple[float, float]:
    """(mean, std) that the paper prints for a target and model over all systems; NaN when it has none.

    A joint model, which the paper does not have, stands beside the paper's best.
    """
    cells = paper["mae_ten"].get(target, {}).get("all", {})
    cell = {name.lower(): cell for name, cell in cells.items()}.get(str(model).lower().removesuffix("-joint"))
    return (cell["mean"], cell["std"]) if cell else (math.nan, math.nan)


def headline(results: Sequence[Mapping]) -> list[Mapping]:
    """Runs on the full profile's five random splits, with pretrained encoders."""
    return [
        r for r in results
        if (r["profile"], r["split"]) == ("full", "record") and r["seed"] in PROTOCOL_SEEDS and not str(r["encoder"]).endswith(FROM_SCRATCH)
    ]  # fmt: skip


def readme_table(results: Sequence[Mapping], paper: Mapping) -> str:
    """The README's table in Markdown: MAE_ten of every kind of run on the full profile, beside the paper's.

    Parameters
    ----------
    results : sequence of records
        Of `data/results/tensors.json`.
    paper : mapping
        `data/paper/table2.json`.
    """
    columns = {"target": "target", "model": "model", "encoder": "encoder", "layer": "layers", "runs": "seeds",
               "mae_ten": "MAE_ten, test", "paper": "the paper's"}  # fmt: skip
    return markdown_table(format_table(results_table(headline(results), paper=paper))[list(columns)].rename(columns=columns))


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown: column names, then one line a row, values as they print."""
    rows = [list(map(str, table)), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def update_block(path: str | os.PathLike, mark: str, text: str) -> None:
    """Rewrite what stands between ``<!-- mark -->`` and ``<!-- end of mark -->`` in a Markdown file, atomically.

    Raises
    ------
    ValueError
        When the file has no such marks.
    """
    path, marks = Path(path), (f"<!-- {mark} -->", f"<!-- end of {mark} -->")
    before, first, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, last, after = rest.partition(marks[1])
    if not (first and last):
        raise ValueError(f"{path} has no part between {marks[0]} and {marks[1]}")
    write_atomic(path, f"{before}{first}\n{text}\n{last}{after}")


def provenance() -> dict[str, str]:
    """Where a number comes from: code, hardware and versions, without names of machines or people.

    Returns
    -------
    dict
        `commit` (of this project's own checkout, "-dirty" when tracked files other than results and figures
        changed, "unknown" outside git), `hardware` (processor model, cores, accelerator), `python`, `torch`.
    """
    import torch  # here, as reading results needs no torch

    return {
        "commit": _commit(_ROOT),
        "hardware": _hardware(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command in `root`; None when git is missing or fails."""
    options = {"capture_output": True, "text": True, "timeout": 60}
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], check=False, **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _commit(root: Path) -> str:
    top, head = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    if not top or not head or Path(top).resolve() != root:  # an installed copy inside some other checkout
        return "unknown"
    excluded = [f":(exclude){folder}" for folder in _OUTPUTS]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *excluded)
    return f"{head}-dirty" if changed != "" else head


def _hardware() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {cores} cores{accelerator}"


def interval_over_splits(errors: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half width of a confidence interval of an error over random splits (`splits.FRACTIONS`) of the same crystals.

    The splits share crystals, so the mean over many of them is less certain than its standard error says: its variance is taken as
    (1 / splits + test / train) times that of the errors (C. Nadeau and Y. Bengio, Mach. Learn. 52, 239, 2003), and Student's t
    with splits - 1 degrees of freedom.

    Raises
    ------
    ValueError
        For fewer than two splits.
    """
    from scipy import stats  # a second of import that reading results needs not

    if (n := len(errors)) < 2:
        raise ValueError(f"an interval needs two splits or more, there is {n}")
    variance = np.var(errors, ddof=1) * (1 / n + FRACTIONS[2] / FRACTIONS[0])
    return float(np.mean(errors)), float(stats.t.ppf((1 + level) / 2, n - 1) * variance**0.5)


def interval_table(results: Sequence[Mapping], paper: Mapping) -> pd.DataFrame:
    """Each joint model that was run on more splits than the protocol's: 95 % interval of its MAE_ten, beside the paper's mean."""
    runs = [r for r in results if (r["profile"], r["split"], r["model"]) == ("full", "record", "DTNet-joint")]
    beyond = {r["encoder"] for r in runs if r["seed"] not in PROTOCOL_SEEDS}
    rows = []
    for encoder, target in sorted({(r["encoder"], r["target"]) for r in runs if r["encoder"] in beyond}):
        chosen = [r for r in runs if (r["encoder"], r["target"]) == (encoder, target)]
        mean, half = interval_over_splits([r["mae_ten"] for r in chosen])
        rows.append({"target": target, "encoder": encoder, "splits": len(chosen), "MAE_ten, 95 %": _plus_minus(mean, half, 3),
                     "the paper's DTNet": _paper_cell(paper, target, "DTNet")[0]})  # fmt: skip
    return pd.DataFrame(rows)


def roads_table(roads: Sequence[Mapping]) -> str:
    """`data/results/roads.json` in Markdown: mean validation MAE_ten over the seeds, and its change from the first road."""
    first = {t: np.mean(v) for t, v in roads[0]["validation_mae_ten"].items()}
    rows = []
    for road in roads:
        means = {t: np.mean(v) for t, v in road["validation_mae_ten"].items()}
        cells = {t: f"{m:.3f} ({100 * (m / first[t] - 1):+.0f} %)" if road is not roads[0] else f"{m:.3f}" for t, m in means.items()}
        rows.append({"road": road["road"]} | cells)
    return markdown_table(pd.DataFrame(rows))


def card_table(results: Sequence[Mapping]) -> str:
    """The model card's table: test metrics of the joint ensembles on the full profile's random splits."""
    chosen = [r for r in headline(results) if r["model"] == "DTNet-joint"]
    metrics = ("mae_ten", "mae_scalar", "mae_eig", "median_frobenius", "within_25", "within_10", "within_5")
    return markdown_table(format_table(results_table(chosen, ("encoder", "target"), metrics)))


def matbench_table(record: Mapping) -> str:
    """`data/results/matbench.json` in Markdown: errors of the refractive index, ours and the three best published on the same rows."""
    published = sorted((record["published"] or {}).items(), key=lambda item: item[1]["mean_mae"])
    rows = {"this kit": record} | dict(published[:3])
    table = pd.DataFrame(
        [{"model": name, "mean MAE": f"{r['mean_mae']:.4f}", "MAE, n < 4": f"{r['mae_n_lt_4']:.4f}", "median": f"{r['median_ae']:.4f}"}
         for name, r in rows.items()]
    )  # fmt: skip
    return markdown_table(table)


def main() -> None:
    """Rewrite every table that stands in a Markdown file: ``python -m dtnet_core.results``."""
    folder = _ROOT / "data/results"
    stored, paper = load_results(folder / "tensors.json"), json.loads((_ROOT / "data/paper/table2.json").read_text())
    update_block(_ROOT / "README.md", "results", readme_table(stored, paper))
    update_block(_ROOT / "README.md", "interval", markdown_table(interval_table(stored, paper)))
    update_block(_ROOT / "README.md", "matbench", matbench_table(json.loads((folder / "matbench.json").read_text())))
    update_block(folder / "experiments.md", "roads", roads_table(load_results(folder / "roads.json")))
    update_block(_ROOT / "data/weights/README.md", "metrics", card_table(stored))


if __name__ == "__main__":
    main()
