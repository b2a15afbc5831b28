"""Stored results as the Markdown of pages: tables, and sentences with numbers in them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..base.files import write_atomic
from .tables import (
    by_formula,
    format_table,
    headline,
    interval_table,
    mean_interval,
    paper_cell,
    plus_minus,
    results_table,
)


def front_table(results: Sequence[Mapping], paper: Mapping) -> str:
    """The front page's table: MAE_ten of the joint models, of the best peer on the same tensors, and of the paper's DTNet.

    Parameters
    ----------
    results : sequence of records
        Of `data/results/tensors.json`.
    paper : mapping
        `data/paper/table2.json`.
    """
    joint = [r for r in headline(results) if r["model"] == "DTNet-joint"]
    best = max((r["encoder"] for r in joint), key=len, default="")
    many = interval_table(results, paper).set_index("target") if joint else None
    splits, rows = many["splits"].min() if many is not None else 0, []
    for target in ("electronic", "ionic", "total"):
        errors = {
            "default": [r["mae_ten"] for r in joint if r["target"] == target and r["encoder"] != best],
            "formula": [r["mae_ten"] for r in by_formula(results) if r["target"] == target and r["encoder"] == best],
        }  # fmt: skip
        peers = {m: [r["mae_ten"] for r in headline(results) if r["model"] == m and r["target"] == target] for m in ("PaiNN", "M3GNet", "MatTen")}
        name, lowest = min(((m, e) for m, e in peers.items() if e), key=lambda item: np.mean(item[1]), default=("-", []))
        rows.append({
            "target": target,
            f"this kit, best recipe (95 %, {splits} splits)": many.loc[target, "MAE_ten, 95 %"] if many is not None else "-",
            "this kit, default recipe": _mean_std(errors["default"]),
            "best recipe, formulas kept apart": _mean_std(errors["formula"]),
            "best of PaiNN, M3GNet, MatTen here": f"{_mean_std(lowest)} ({name})",
            "the paper's DTNet": plus_minus(*paper_cell(paper, target, "DTNet"), 3),
        })  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def _mean_std(values: Sequence[float]) -> str:
    return plus_minus(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan, 3) if len(values) else "-"


def twins_table(results: Sequence[Mapping]) -> str:
    """Random splits of the joint models with and without the test crystals that have a near twin in training."""
    runs = [r for r in results if r["model"] == "DTNet-joint" and r["split"] == "record" and r.get("n_near_twins") is not None]
    rows = []
    for (encoder, target), group in pd.DataFrame(runs).groupby(["encoder", "target"]) if runs else ():
        seeds = sorted(group["seed"])
        rows.append({"target": target, "encoder": encoder, "seeds": ", ".join(map(str, seeds)), "near twins of 259": f"{group['n_near_twins'].mean():.0f}",
                     "MAE_ten": f"{group['mae_ten'].mean():.3f}", "without near twins": f"{group['mae_ten_without_near_twins'].mean():.3f}"})  # fmt: skip
    return markdown_table(pd.DataFrame(rows).sort_values(["target", "encoder"])) if rows else "not counted yet"


def blind_sentence(record: Mapping) -> str:
    """The front page's sentence on `data/results/blind.json`."""
    medians = " and ".join(f"{100 * v['median_relative_error']:.1f} % ({v['variant']})" for v in record["variants"])
    held = " and ".join(f"{100 * v['covered_90']:.0f} %" for v in record["variants"])
    return (f"A blind test: on {record['n_unseen']:,} crystals with neither id nor formula in any file that the networks learned from, the shipped weights are off by {medians} of the electronic constant "
            f"in the median; their 90 % intervals, which did not grow with the distance from the training crystals yet, held {held} ([figure](figures/blind.png)).")  # fmt: skip


def blind_text(record: Mapping) -> str:
    """What `data/results/blind.json` says, in a paragraph."""
    table = pd.DataFrame([
        {"variant": v["variant"], "median error": f"{100 * v['median_relative_error']:.1f} %", "MAE of the constant": f"{v['mae']:.3f}", "within 25 %": f"{100 * v['within_25']:.1f} %",
         "68 % intervals hold": f"{100 * v['covered_68']:.0f} %", "90 % intervals hold": f"{100 * v['covered_90']:.0f} %", f"MAE_ten of {v['n_tensors']:,} tensors": f"{v['mae_ten']:.3f}"}
        for v in record["variants"]
    ])
    worst = ", ".join(f"{w['formula']} ({w['ratio']:.2f})" for w in record["variants"][0]["worst"][:5])
    return (f"Naccarato et al. (arXiv:1809.01132) computed electronic constants of {record['n_source']:,} crystals, of which {record['n_unseen']:,} have neither their id nor their formula in any file that the shipped "
            f"networks learned from. The weights as they ship were tested on these, once, with intervals that did not grow with the distance yet. (The encoders were pretrained on energies and forces, perhaps of the same crystals; only the dielectric labels are new.)\n\n"
            f"{markdown_table(table)}\n\nPredicted over computed constant of the five that are furthest off (default): {worst}.")  # fmt: skip


def chosen_on_text(found: Mapping) -> str:
    """Where the crystals that settings were chosen on are tested: `chosen_on` of `data/results/splits.json`."""
    return (f"Settings were chosen on the validation crystals of seeds 0 and 1: {found['n']} crystals, of which {found['tested_0_4']} are test crystals of another of the seeds 0-4 and "
            f"{found['tested_0_14']} of one of the seeds 0-14, and {found['matbench_rows']} rows of Matbench have the formula and the refractive index of one of them. No label of a test crystal trained, "
            "but a choice of settings saw these.")  # fmt: skip


def readme_table(results: Sequence[Mapping], paper: Mapping) -> str:
    """The README's tables in Markdown: MAE_ten of every kind of run among `results`, beside the paper's.

    Parameters
    ----------
    results : sequence of records
        Of `data/results/tensors.json`: its `headline`, or those `by_formula`.
    paper : mapping
        `data/paper/table2.json`.
    """
    columns = {"target": "target", "model": "model", "encoder": "encoder", "layer": "layers", "runs": "seeds",
               "mae_ten": "MAE_ten, test", "paper": "the paper's"}  # fmt: skip
    return markdown_table(format_table(results_table(results, paper=paper))[list(columns)].rename(columns=columns))


def card_table(results: Sequence[Mapping]) -> str:
    """The model card's table: test metrics of the joint ensembles on the full profile's random splits."""
    chosen = [r for r in headline(results) if r["model"] == "DTNet-joint"]
    metrics = ("mae_ten", "mae_scalar", "mae_eig", "median_frobenius", "within_25", "within_10", "within_5")
    return markdown_table(format_table(results_table(chosen, ("encoder", "target"), metrics)))


def roads_table(roads: Sequence[Mapping]) -> str:
    """`data/results/roads.json` in Markdown: mean validation MAE_ten over the seeds, and its change from the first road."""
    first = {t: np.mean(v) for t, v in roads[0]["validation_mae_ten"].items()}
    rows = []
    for road in roads:
        means = {t: np.mean(v) for t, v in road["validation_mae_ten"].items()}
        cells = {t: f"{m:.3f} ({100 * (m / first[t] - 1):+.0f} %)" if road is not roads[0] else f"{m:.3f}" for t, m in means.items()}
        rows.append({"road": road["road"]} | cells)
    return markdown_table(pd.DataFrame(rows))


def matbench_table(record: Mapping) -> str:
    """`data/results/matbench.json` in Markdown: errors of the refractive index, ours and the three best published on the same rows.

    The last column is the mean difference of the absolute errors, row by row, with its 95 % interval by paired bootstrap.
    """
    published = sorted((record["published"] or {}).items(), key=lambda item: item[1]["mean_mae"])
    rows = {"this kit": record} | dict(published[:3])
    table = pd.DataFrame(
        [{"model": name, "mean MAE": f"{r['mean_mae']:.4f}", "MAE, n < 4": f"{r['mae_n_lt_4']:.4f}", "median": f"{r['median_ae']:.4f}",
          "ours minus theirs, 95 %": paired_text((record["paired"] or {}).get(name))}
         for name, r in rows.items()]
    )  # fmt: skip
    return markdown_table(table)


def paired_text(found: Mapping | None) -> str:
    """A paired difference with its interval, and whether that holds zero: "-0.0090 (-0.0199 to +0.0009), holds 0"."""
    if found is None:
        return "-"
    low, high = found["interval"]
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f})" + (", holds 0" if low <= 0 <= high else "")


def screening_table(studies: Sequence[Mapping]) -> str:
    """`data/results/screening.json` in Markdown: of the hidden crystals' true top 1 %, the share that three rounds found; by task and choice."""
    runs = [r | {"recall": r["by_round"][-1]["recall"], "found": sum(b["hits"] for b in r["by_round"])}
            for r in studies if (r["study"], r["profile"]) == ("retrospective", "full")]  # fmt: skip
    if not runs:
        return "not run yet"
    rows = []
    for (task, acquisition), group in pd.DataFrame(runs).groupby(["task", "acquisition"]):
        mean, half = mean_interval(group["recall"])
        rows.append({"task": task, "acquisition": acquisition, "seeds": len(group), "recall, 95 %": plus_minus(mean, half, 2),
                     "found": plus_minus(group["found"].mean(), group["found"].std(ddof=1), 1), "of": round(group["n_hidden"].mean() / 100)})  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def share_interval(hits: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of which `hits` of `n` were seen (E. B. Wilson, J. Am. Stat. Assoc. 22, 209, 1927)."""
    centre, spread = (hits + z**2 / 2) / (n + z**2), z * math.sqrt(hits * (n - hits) / n + z**2 / 4) / (n + z**2)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def enrichment_text(found: Sequence[Mapping]) -> str:
    """Enrichment records of a task, one a division into folds, in words; with the 95 % interval that so few hits leave, and that over the divisions."""
    first, hits = found[0], [r["hits"] for r in found]
    low, high = (share * first["n"] / first["top"] for share in share_interval(float(np.mean(hits)), first["top"]))
    text = f"of the true top {first['top']} of {first['n']:,} crystals, none of them known to the network, {np.mean(hits):.3g} are among its first {first['top']}: "
    text += f"{np.mean([r['enrichment'] for r in found]):.0f} times chance (95 %, as so few crystals are counted: {low:.0f} to {high:.0f}; "
    if len(found) == 1:
        return text + "one division into folds)"
    mean, half = mean_interval([r["enrichment"] for r in found])
    return text + f"{len(found)} divisions into folds with {min(hits)} to {max(hits)}, 95 % interval of their mean {mean - half:.0f} to {mean + half:.0f})"


def enrichment_lines(studies: Sequence[Mapping]) -> str:
    """Enrichment of both tasks, from `data/results/screening.json`, as a list."""
    found: dict[str, list[Mapping]] = {}
    for r in studies:
        if (r["study"], r["profile"]) == ("enrichment", "full"):
            found.setdefault(r["task"], []).append(r)
    return "\n".join(f"- {task}: {enrichment_text(runs)}." for task, runs in sorted(found.items()))


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


def domain_table(record: Mapping, target: str = "electronic") -> str:
    """`data/results/domain.json` for a target: kinds of crystals that no network had seen; with today's labels, and with further ones."""
    ours, more = record["variants"]
    rows = []
    for kind, scores in ours["kinds"].items():
        e, other = scores[target], more["kinds"][kind][target]
        rows.append({"kept from training": kind, "tested": scores["n"], "MAE_ten": f"{e['mae_ten']:.2f}", "median": f"{e['median']:.2f}", "off by more than 25 %": f"{100 * e['off_by_25']:.0f} %",
                     "90 % intervals hold, flat": f"{100 * e['covered']['0.9']:.0f} %", "growing": f"{100 * e['covered_growing']['0.9']:.0f} %", "MAE_ten with further labels": f"{other['mae_ten']:.2f}"})  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def domain_text(record: Mapping) -> str:
    """What ships from `data/results/domain.json`, in a paragraph."""
    shipped = record["shipped"]
    grows = ", ".join(f"{power:g} ({target})" for target, power in shipped["growth"].items())
    held = "; ".join(
        f"{variant}: " + ", ".join(f"{target} {100 * by['0.68']['growing']:.0f} and {100 * by['0.9']['growing']:.0f} %" for target, by in covered.items())
        for variant, covered in shipped["covered"].items()
    )
    return (f"A crystal is in the domain up to a distance of {shipped['limit']:.2f}; {100 * shipped['test_in_domain']:.0f} % of the {shipped['n_test']} test crystals of seed 0's split are. Intervals grow beyond a distance of "
            f"{shipped['typical']:.2f} with these powers of it: {grows}. 68 and 90 % intervals hold of these test crystals: {held}.")  # fmt: skip
