"""What is said of crystals unlike those of the training: kinds that networks had not seen, and the kit's own."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from .markdown import markdown_table, percent

BEFORE, TOLD, BEST = "labels of before", "labels that ship, of the kind too", "best, labels that ship, of the kind too"
MODES = f"{BEST}, with modes"
"""Names of variants in `data/results/domain.json`."""


def domain_table(record: Mapping, target: str = "electronic") -> str:
    """`data/results/domain.json` for a target: MAE_ten for kinds of crystals that no network had seen; networks alone and answers that lean on the guess, and networks alone with other labels or encoders. No modes."""
    ours, *more = (v for v in record["variants"] if v["labels"] != MODES)
    rows = []
    for kind, scores in ours["kinds"].items():
        row = {"kept from training": kind, "tested": scores["n"], "networks alone": f"{scores[target]['mae_ten']:.2f}", "leaning": f"{scores[target]['leaning']['mae_ten']:.2f}"}
        rows.append(row | {v["labels"]: f"{v['kinds'][kind][target]['mae_ten']:.2f}" if kind in v["kinds"] else "-" for v in more})
    return markdown_table(pd.DataFrame(rows))


def doubt_table(record: Mapping, target: str = "electronic") -> str:
    """`data/results/domain.json` for a target: what intervals hold, what is marked, and whether doubt finds the errors, for the answers that ship."""
    rows = []
    for kind, scores in record["variants"][0]["kinds"].items():
        alone = scores[target]
        leaning = alone["leaning"]
        rows.append({"kept from training": kind, "off by more than 25 %": percent(leaning["off_by_25"]), "chance told": percent(leaning["chance"]), "90 % intervals hold, networks alone": percent(alone["covered"]["0.9"]),
                     "leaning and growing": percent(leaning["covered"]["0.9"]), "out of domain": percent(scores["marked"]), "extreme": percent(leaning["extreme"]), "held, or told": percent(leaning["covered_or_told"]),
                     "AUROC": "-" if leaning["auroc"] is None else f"{leaning['auroc']:.2f}"})  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


GROUPS = {"new pairs of elements": ("Zr Nb Mo Hf Ta W with Se Te", "Tl with an anion", "Ag with an anion", "rare earth with N P As Sb Bi"), "new ways of bonding": ("molecules", "chains", "layers"),
          "tails": ("largest constants", "largest anisotropy")}  # fmt: skip


def gains_text(record: Mapping, target: str = "electronic") -> str:
    """How much lower the error for groups of kinds is than that of networks of `default` with the labels of before, the mean over the tested crystals of each group."""
    by_name = {v["labels"]: v["kinds"] for v in record["variants"]}
    mean = lambda kinds, group: sum(kinds[k]["n"] * kinds[k][target]["mae_ten"] for k in group) / sum(kinds[k]["n"] for k in group)  # noqa: E731
    ways, told = {TOLD: "the files of electronic labels", BEST: "these and the encoders of `best`", MODES: "these and modes"}, []
    if target == "electronic":
        del ways[MODES]  # no mode changes it
    groups = GROUPS | {"all of these": tuple(k for group in GROUPS.values() for k in group)}
    for name, words in ways.items():
        changes = ", ".join(f"{100 * (mean(by_name[name], g) / mean(by_name[BEFORE], g) - 1):+.0f} % ({group})" for group, g in groups.items())
        told.append(f"{words} {changes}")
    return f"Against networks of `default` with the labels of before, the {target} MAE_ten changes, by " + "; by ".join(told) + "."


def modes_table(record: Mapping, target: str = "total") -> str:
    """`data/results/domain.json` for a target that modes mend: MAE_ten of kinds that networks had not seen, without modes and with; what is held, marked, and whether doubt finds the errors, with modes."""
    by_name = {v["labels"]: v["kinds"] for v in record["variants"]}
    rows = []
    for kind, scores in by_name[MODES].items():
        found = scores[target]["leaning"]
        rows.append({"kept from training": kind, "tested": scores["n"]} | {words: f"{by_name[name][kind][target]['leaning']['mae_ten']:.2f}" for name, words in (
            (BEFORE, "labels of before"), (BEST, "`best`, of the kind too"), (MODES, "with modes"))} | {
            "off by more than 25 %, without modes": f"{100 * by_name[BEST][kind][target]['leaning']['off_by_25']:.0f} %", "with": f"{100 * found['off_by_25']:.0f} %",
            "chance told": f"{100 * found['chance']:.0f} %", "90 % intervals hold": f"{100 * found['covered']['0.9']:.0f} %", "extreme": f"{100 * found['extreme']:.0f} %", "held, or told": f"{100 * found['covered_or_told']:.0f} %",
            "AUROC": f"{found['auroc']:.2f}"})  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def told_text(record: Mapping) -> str:
    """What intervals hold and doubts find, of `data/results/domain.json`, where the encoders of `best` and labels of the kind answer: the electronic tensor, and the total one with modes."""
    by_name, told = {v["labels"]: v for v in record["variants"]}, []
    for name, target, words in ((BEST, "electronic", "the electronic constant"), (MODES, "total", "the total constant with modes")):
        found = {kind: scores[target]["leaning"] for kind, scores in by_name[name]["kinds"].items()}
        doubts = [s["auroc"] for s in found.values() if s["auroc"] is not None]
        least = min(found, key=lambda kind: found[kind]["covered_or_told"])
        told.append(f"{words} is held by its 90 % interval, or the answer is told to be out of the domain or extreme, for {100 * found[least]['covered_or_told']:.0f} % or more of each kind (least: {least}); "
                    f"the chance tells what is off by more than 25 % with an AUROC of {min(doubts):.2f} to {max(doubts):.2f} within a kind, {pd.Series(doubts).median():.2f} for the median kind, {by_name[name]['auroc'][target]['chance']:.2f} over all of them together")
    return f"With the encoders of `best` and labels of the kind, {'; '.join(told)}."


def own_table(record: Mapping) -> str:
    """`data/results/own_crystals.json`: by kind of crystal and variant the median relative error of the constants, and the share of them that 90 % intervals hold."""
    frame = pd.DataFrame([
        {"material of the labels": "yes" if row["known_material"] else "no", "bonding": row["bonding"], "variant": variant, "target": target, "error": abs(said[target]["constant"] - row["computed"][target]) / row["computed"][target],
         "held": abs(said[target]["constant"] - row["computed"][target]) <= said[target]["half_width_90"]}
        for variant, answers in record["variants"].items() for row, said in zip(record["crystals"], answers, strict=True) for target in ("electronic", "total") if said[target]
    ])  # fmt: skip
    rows = []
    for (known, kind), group in frame.groupby(["material of the labels", "bonding"]):
        counts = group[(group["target"] == "total")].groupby("variant").size()
        row = {"material of the labels": known, "bonding": kind, "crystals": counts.max()}
        for (target, variant), one in group.groupby(["target", "variant"], sort=False):
            if target != "electronic" or "physics" not in variant:
                row[f"{target}, {variant}"] = f"{100 * one['error'].median():.0f} % ({100 * one['held'].mean():.0f} %)"
        rows.append(row)
    return markdown_table(pd.DataFrame(rows))


def ramps_table(record: Mapping) -> str:
    """`data/results/ramps.json`: MAE_ten of validation crystals, mean over the splits, for each way to lean on the guess."""
    frame = pd.DataFrame(record["rows"])
    means = frame.groupby("ramps", sort=False)[["electronic", "ionic", "total"]].mean().map("{:.4f}".format)
    words = {way: "-" if r is None else f"{r['far'][0]:g} to {r['far'][1]:g}, by {r['most']:g}" for way, r in record["ramps"].items()}
    apart = {way: "-" if r is None else f"{r['apart'][0]:g} to {r['apart'][1]:g}" for way, r in record["ramps"].items()}
    means.insert(0, "distances", [words[w] for w in means.index])
    means.insert(1, "deviations of the networks", [apart[w] for w in means.index])
    return markdown_table(means.reset_index(names="way"))


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


HOLDS = 0.85
"""Share of a kind's crystals that 90 % intervals should hold at least."""


def kinds_text(record: Mapping, target: str = "electronic") -> str:
    """What the benchmark's kinds say of an answer for something new, in a paragraph."""
    kinds = {kind: scores[target]["leaning"] for kind, scores in record["variants"][0]["kinds"].items()}
    held = {kind: s["covered"]["0.9"] for kind, s in kinds.items()}
    low = sorted((kind for kind in kinds if held[kind] < HOLDS), key=held.__getitem__)
    errors = ", ".join(f"{kind} {s['mae_ten']:.2f}" for kind, s in kinds.items() if not kind.startswith("cluster"))
    exceptions = ", ".join(f"{kind} ({100 * held[kind]:.0f} %)" for kind in low)
    doubts = [s["auroc"] for s in kinds.values() if s["auroc"] is not None]
    return (f"For kinds of crystals that networks had never seen, the {target} MAE_ten is: {errors}. 90 % intervals hold {100 * HOLDS:.0f} % or more of the crystals in {len(kinds) - len(low)} of {len(kinds)} kinds"
            + (f", and fail for {exceptions}." if low else ".") + f" The chance that is told tells answers that are off by more than 25 % from others with an AUROC of {min(doubts):.2f} to {max(doubts):.2f} within a kind, "
            f"{pd.Series(doubts).median():.2f} for the median kind.")  # fmt: skip
