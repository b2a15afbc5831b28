"""Stored errors as the Markdown of pages: tables beside the paper's and the peers' figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..base.results import JOINT, MORE_LABELS, PROTOCOL_SEEDS
from ..crystals.record import TARGETS
from .markdown import markdown_table
from .tables import (
    by_formula,
    format_table,
    headline,
    interval_over_splits,
    interval_table,
    paper_cell,
    plus_minus,
    results_table,
    spell_seeds,
)


def front_table(results: Sequence[Mapping], paper: Mapping, physics: Sequence[Mapping]) -> str:
    """The front page's table: MAE_ten of the joint models, of the best peer on the same tensors, and of the paper's DTNet; the same random splits in all columns that are ours.

    Parameters
    ----------
    results : sequence of records
        Of `data/results/tensors.json`.
    paper : mapping
        `data/paper/table2.json`.
    physics : sequence of records
        Of `data/results/physics.json`.
    """
    joint = [r for r in headline(results) if r["model"] == JOINT]
    best, rows = max((r["encoder"] for r in joint), key=len, default=""), []
    for target in TARGETS:
        mine = {recipe: [r["mae_ten"] for r in joint if r["target"] == target and (r["encoder"] == best) == recipe] for recipe in (True, False)}
        apart = [r["mae_ten"] for r in by_formula(results) if r["target"] == target and r["encoder"] == best]
        mended = [r["mae_ten"] for r in physics if (r["target"], r["split"]) == (target, "record") and r["seed"] in PROTOCOL_SEEDS]
        peers = {m: [r["mae_ten"] for r in headline(results) if r["model"] == m and r["target"] == target] for m in ("PaiNN", "M3GNet", "MatTen")}
        name, lowest = min(((m, e) for m, e in peers.items() if e), key=lambda item: np.mean(item[1]), default=("-", []))
        rows.append({
            "tensor": target, "default": _mean_std(mine[False]), "best": _mean_std(mine[True]), "physics": _mean_std(mended) if mended else "as best",
            "best, formulas kept apart": _mean_std(apart), "best of PaiNN, M3GNet, MatTen here": f"{_mean_std(lowest)} ({name})",
            "the paper's DTNet": plus_minus(*paper_cell(paper, target, "DTNet"), 3),
        })  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def many_splits_sentence(results: Sequence[Mapping], paper: Mapping, physics: Sequence[Mapping]) -> str:
    """The same over all random splits that were tested, with 95 % intervals of the mean, and how the further splits differ."""
    many = interval_table(results, paper).set_index("target")
    best = [r for r in results if (r["model"], r["split"], r["profile"], r["target"]) == (JOINT, "record", "full", "electronic") and r["encoder"] == many.loc["electronic", "encoder"]]
    further = [r["mae_ten"] for r in best if r["seed"] not in PROTOCOL_SEEDS]
    mended = {t: [r["mae_ten"] for r in physics if (r["target"], r["split"]) == (t, "record")] for t in ("ionic", "total")}
    apart = ", ".join(f"{t} {_mean_std([r['mae_ten'] for r in physics if (r['target'], r['split']) == (t, 'group')])}" for t in mended)
    ours = ", ".join(f"{t} {many.loc[t, 'MAE_ten, 95 %']}" for t in TARGETS)
    told = ", ".join(f"{t} {plus_minus(*interval_over_splits(values), 3)}" for t, values in mended.items())
    return (f"Over {many['splits'].min()} random splits, with the 95 % interval of the mean, `best` has {ours}; `physics` has {told}. "
            f"The {len(further)} further splits happen to test harder crystals (electronic {np.mean(further):.3f}). With formulas kept apart, `physics` has {apart}.")  # fmt: skip


def ships_sentence(results: Sequence[Mapping]) -> str:
    """How much the networks that ship, with more labels, differ on the benchmark from those with fewer, on the random splits on which both were tested."""
    runs = {m: {(r["encoder"], r["seed"], r["target"]): r["mae_ten"] for r in results if (r["model"], r["split"], r["profile"]) == (m, "record", "full")} for m in (JOINT, MORE_LABELS)}
    shared = sorted(set(runs[JOINT]) & set(runs[MORE_LABELS]))
    changes = []
    for encoder, target in sorted({(e, t) for e, _, t in shared}):
        more, fewer = (np.mean([runs[m][key] for key in shared if (key[0], key[2]) == (encoder, target)]) for m in (MORE_LABELS, JOINT))
        changes.append(100 * (more / fewer - 1))
    seeds = sorted({s for _, s, _ in shared})
    return (f"What ships learned from more labels, for crystals unlike those of the benchmark. On the benchmark its errors differ by {min(changes):+.0f} to {max(changes):+.0f} % from the table's "
            f"(splits {spell_seeds(seeds)}; [all results](docs/results.md)).")  # fmt: skip


def answer_text(record: Mapping, name: str = "rock salt MgO", variant: str = "default") -> str:
    """What the lines of the front page print for a crystal of `data/results/known_physics.json`, total tensor."""
    (row,) = (r for r in record["variants"][variant] if r["name"] == name)
    said = row["total"]
    nearest = ", ".join(repr(tuple(n)) for n in row["nearest"][:2])
    warnings = f"({tuple(row['warnings'])!r},)"
    return (f"For {name} it prints (argon, copper, rutile and others: [here](docs/howto/crystals.md))\n\n```\n{np.round(said['tensor'], 2) + 0.0}\n[{said['half_width_68']:.1f}] [{said['half_width_90']:.1f}]\n"
            f"[{np.round(said['chance'], 2)}] [{row['extreme']!s:>5}]\n"
            f"[{row['in_domain']!s:>5}] (({nearest}, ...),) {warnings}\n```")  # fmt: skip


def truth_sentence(record: Mapping) -> str:
    """What the answers imitate, with the crystal of `data/results/known_physics.json` that shows the difference."""
    rows = {variant: next(r for r in found if r["name"] == "rutile TiO2")["total"] for variant, found in record["variants"].items()}
    told = {v: f"{np.trace(row['tensor']) / 3:.0f} ± {row['half_width_90']:.0f}" for v, row in rows.items()}
    return ("Answers imitate DFPT with the PBE functional, not measurements: electronic constants of PBE are some percent too large, and the ionic part of a crystal with soft vibrations can be far off without a "
            f"warning. Rutile's total constant, measured as {RUTILE:.0f}, comes out as {told['default']} (90 %), and as {told['physics']} with its vibrations: the "
            f"paper's cleaning, which is the kit's, drops tensors with an element above 100, so the networks never learned from the softest crystals.")  # fmt: skip


RUTILE = (86 + 86 + 170) / 3
"""Parker, Phys. Rev. 124, 1719 (1961), at room temperature."""


def _mean_std(values: Sequence[float]) -> str:
    return plus_minus(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan, 3) if len(values) else "-"


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
    chosen = [r for r in headline(results) if r["model"] == MORE_LABELS]
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


def matbench_sentence(record: Mapping) -> str:
    """The front page's sentence on `data/results/matbench.json`: the mean MAE beside the best published."""
    name, best = min(record["published"].items(), key=lambda item: item[1]["mean_mae"])
    found = record["paired"][name]
    low, high = found["interval"]
    ahead = "ahead of" if high < 0 else "level with" if low <= 0 else "behind"
    return (f"On Matbench's refractive index (official folds, no label from outside) a stack of such networks, kernels and trees has a mean MAE of {record['mean_mae']:.3f}, {ahead} the best published, {name} with {best['mean_mae']:.3f}: "
            f"the paired difference is {found['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}. The paper's DTNet has {record['published']['DTNet']['mean_mae']:.3f}.")  # fmt: skip


def matbench_choice(record: Mapping) -> str:
    """`data/results/matbench.json` in sentences: what the folds chose, the best single learners, rows with a structure alone, and who is ahead where n is large."""
    folds, learners = record["weights"], record["learners"]
    mixed = {quantity: [fold for fold, q in record["mixed"].items() if q == quantity] for quantity in ("log", "n")}
    used = {name: [fold for fold, weights in folds.items() if weights[name] > 0] for name in learners}
    always = [name for name, where in used.items() if len(where) == len(folds)]
    never = sum(not where for where in used.values())
    best = sorted(learners, key=lambda name: learners[name]["mean_mae"])[:3]
    inside, low, high = record["with_structure"], min(record["mae_by_seed"]), max(record["mae_by_seed"])
    singles = ", ".join(f"`{name}` {learners[name]['mean_mae']:.4f}" for name in best)
    kept = ", ".join(f"`{name}`" for name in always)
    top = record["by_n"][-1]
    shares = {"this kit": top} | {name: record["published"][name]["by_n"][-1] for name in record["paired"] or {}}
    tail = ", ".join(f"{row['share']:.4f} ({name})" for name, row in shares.items())
    return "\n".join([
        f"log n was mixed in folds {', '.join(mixed['log']) or 'none'}, n in folds {', '.join(mixed['n']) or 'none'}. All folds kept {kept or 'no learner in common'}; {never} of {len(learners)} learners were kept by none.",
        f"The best single learners: {singles} (mean MAE of the rows with a structure, {len(record['seeds'])} seeds together). The mixture of one seed has {low:.4f} to {high:.4f},",
        f"that of all {inside['mean_mae']:.4f} on the {inside['rows']:,} rows with a structure and {record['mean_mae']:.4f} on all. Where n is {top['low']:g} or more ({top['rows']} rows), these rows add to the MAE {tail}.",
    ])  # fmt: skip


def paired_text(found: Mapping | None) -> str:
    """A paired difference with its interval, and whether that holds zero: "-0.0090 (-0.0199 to +0.0009), holds 0"."""
    if found is None:
        return "-"
    low, high = found["interval"]
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f})" + (", holds 0" if low <= 0 <= high else "")
