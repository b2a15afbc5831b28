"""What is said of trust: what settings were chosen on, near twins, the blind test, crystals of known physics, axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ..base.results import JOINT
from .markdown import markdown_table, percent
from .tables import spell_seeds


def chosen_on_text(found: Mapping) -> str:
    """Where the crystals that settings were chosen on are tested: `chosen_on` of `data/results/splits.json`."""
    return (f"Settings were chosen on the validation crystals of seeds 0 and 1: {found['n']} crystals, of which {found['tested_0_4']} are test crystals of another of the seeds 0-4 and "
            f"{found['tested_0_14']} of one of the seeds 0-14, and {found['matbench_rows']} rows of Matbench have the formula and the refractive index of one of them. No label of a test crystal trained, "
            "but a choice of settings saw these.")  # fmt: skip


def twins_table(results: Sequence[Mapping]) -> str:
    """Random splits of the joint models with and without the test crystals that have a near twin in training."""
    runs = [r for r in results if r["model"] == JOINT and r["split"] == "record" and r.get("n_near_twins") is not None]
    rows = []
    for (encoder, target), group in pd.DataFrame(runs).groupby(["encoder", "target"]) if runs else ():
        rows.append({"target": target, "encoder": encoder, "seeds": spell_seeds(group["seed"]), "near twins of 259": f"{group['n_near_twins'].mean():.0f}",
                     "MAE_ten": f"{group['mae_ten'].mean():.3f}", "without near twins": f"{group['mae_ten_without_near_twins'].mean():.3f}"})  # fmt: skip
    return markdown_table(pd.DataFrame(rows).sort_values(["target", "encoder"])) if rows else "not counted yet"


def same_material_text(record: Mapping) -> str:
    """`data/results/same_material.json`, in a sentence."""
    frame = pd.DataFrame(record["rows"])
    each = "; ".join(f"{t} {g['mae_ten'].mean():.3f} and {g['mae_ten_left_out'].mean():.3f}" for t, g in frame.groupby("target", sort=False))
    return (f"A few materials stand there under two ids: of the {frame['n_test'].max()} test crystals of a seed a few have their own material in training, and {frame['left_out'].min()} to {frame['left_out'].max()} crystals would be left out by "
            f"`dtnet_core/data/held_out.py`. What that is worth, measured for the {record['model']} regression ({frame['seed'].nunique()} splits, MAE_ten as it stands and with them left out): {each}.")  # fmt: skip


def blind_sentence(record: Mapping) -> str:
    """The front page's sentence on `data/results/blind.json`."""
    medians = " and ".join(f"{100 * v['median_relative_error']:.1f} % ({v['variant']})" for v in record["variants"])
    held = " and ".join(f"{100 * v['covered_90']:.0f} %" for v in record["variants"])
    return (f"A blind test: on {record['n_unseen']:,} crystals with neither id nor formula in any file that they had learned from, the weights that shipped before were off by {medians} of the electronic constant "
            f"in the median; their 90 % intervals, which did not grow with the distance from the training crystals yet, held {held} ([figure](figures/blind.png)). Those that ship now have learned from these crystals, too.")  # fmt: skip


def blind_text(record: Mapping) -> str:
    """What `data/results/blind.json` says, in a paragraph."""
    table = pd.DataFrame([
        {"variant": v["variant"], "median error": f"{100 * v['median_relative_error']:.1f} %", "MAE of the constant": f"{v['mae']:.3f}", "within 25 %": f"{100 * v['within_25']:.1f} %",
         "68 % intervals hold": f"{100 * v['covered_68']:.0f} %", "90 % intervals hold": f"{100 * v['covered_90']:.0f} %", f"MAE_ten of {v['n_tensors']:,} tensors": f"{v['mae_ten']:.3f}"}
        for v in record["variants"]
    ])
    worst = ", ".join(f"{w['formula']} ({w['ratio']:.2f})" for w in record["variants"][0]["worst"][:5])
    return (f"Naccarato et al. (arXiv:1809.01132) computed electronic constants of {record['n_source']:,} crystals, of which {record['n_unseen']:,} have neither their id nor their formula in any file that the "
            f"networks that shipped before had learned from. Those were tested on these, once, with intervals that did not grow with the distance yet; those that ship now have learned from these labels, too. (The encoders were pretrained on energies and forces, perhaps of the same crystals; only the dielectric labels are new.)\n\n"
            f"{markdown_table(table)}\n\nPredicted over computed constant of the five that are furthest off (default): {worst}.")  # fmt: skip


def known_text(record: Mapping) -> str:
    """`data/results/known_physics.json`: a table of the variants' constants, and a line for each crystal with what the first variant says of it, and what those with modes add."""
    variants = {name: record["variants"][name] for name in sorted(record["variants"], key="default".__ne__)}
    mended, rows, lines = {name for name, crystals in variants.items() if any("modes" in one for one in crystals)}, [], []  # their electronic tensors are those of others
    for i, first in enumerate(next(iter(variants.values()))):
        each = {name: crystals[i] for name, crystals in variants.items()}
        row = {"crystal": first["name"]}
        for target in ("electronic", "total"):
            row |= {f"{target}, {name}": _constant(one, target) for name, one in each.items() if target == "total" or name not in mended}
        inside = "-" if first["refused"] else "yes" if first["in_domain"] else "no"
        rows.append(row | {"in the domain": inside, "distance": "-" if first["refused"] else f"{first['distance']:.1f}"})
        said = f"refused: {first['refused']}" if first["refused"] else "; ".join(first["warnings"]) or "no warning"
        added = [f"; `{name}` adds: {'; '.join(new)}" for name in sorted(mended) if not first["refused"] and (new := [w for w in each[name]["warnings"] if w not in first["warnings"]])]
        lines.append(f"- **{first['name']}**, {first['what']}. The kit: {said}{''.join(added)}.")
    return f"{markdown_table(pd.DataFrame(rows))}\n\n" + "\n".join(lines)


def _constant(row: Mapping, target: str) -> str:
    return "refused" if row["refused"] else f"{row[target]['constant']:.1f} ± {row[target]['half_width_90']:.1f}"


def strain_text(record: Mapping) -> str:
    """What `data/results/strain.json` says, in a paragraph."""
    far, energies = [record["estimate"][s] for s in ("-0.06", "0.06")], record["energies"]
    low, high = energies["0"]["quantiles_1_99"]
    measured = record["measured"]
    least, most = max(measured, key=measured.__getitem__), min(measured, key=measured.__getitem__)
    return (f"The estimate was fitted to {record['n_crystals']:,} training crystals whose cells were scaled; on formulas that it had not seen (five folds) it suspects {percent(far[0]['suspected'], 1)} of those that are 6 % too short and "
            f"{percent(far[1]['suspected'], 1)} of those that are 6 % too long, beyond {percent(record['suspect'], 1)} of strain, and {percent(record['estimate']['0']['suspected'], 1)} of those at rest, whose energies are asked in vain. By these, {energies['0']['n']} validation crystals as they are "
            f"have strains of {100 * low:+.1f} to {100 * high:+.1f} % (1 to 99 % of them), and {percent(energies['-0.05']['strained'], 1)} and {percent(energies['0.05']['strained'], 1)} of the same, scaled by -5 and +5 %, are beyond the limit of {percent(record['limit'], 1)}. "
            f"Measured lattices of {len(measured)} cubic crystals are shorter than at rest by {percent(-measured[least], 1)} ({least}) to {percent(-measured[most], 1)} ({most}).")  # fmt: skip


def doubts_sentence(told: Mapping[str, Mapping[str, Mapping]], n: int, variants: Sequence[str] = ("default", "physics")) -> str:
    """The front page's sentence on doubts: the total constants of n test crystals."""
    each = "; ".join(f"`{v}` tells {100 * one['chance']:.0f} % on average, where {100 * one['off']:.0f} % are off, with an AUROC of {one['auroc']:.2f}" for v in variants for one in [told[v]["total"]])
    return ("Every answer says how likely its constant is off by more than 25 % if the crystal is like the training crystals, and warns of what is not, of cells that are too small or too large, and of values among the largest. "
            f"For the total constants of {n} test crystals, {each}.")  # fmt: skip


def doubts_table(told: Mapping[str, Mapping[str, Mapping]]) -> str:
    """What `trust.doubts.Doubted.scores` says of test crystals, by variant and target."""
    return markdown_table(pd.DataFrame([
        {"variant": variant, "target": target, "chance told, mean": percent(one["chance"]), "off by more than 25 %": percent(one["off"]), "AUROC": "-" if one["auroc"] is None else f"{one['auroc']:.2f}",
         "extreme": percent(one["extreme"]), "off, of the extreme": percent(one["extreme_off"])}
        for variant, targets in told.items() for target, one in targets.items()
    ]))  # fmt: skip


def principal_table(record: Mapping) -> str:
    """`data/results/principal.json`: how well intervals of eigenvalues and angles of axes hold for test crystals."""
    return markdown_table(pd.DataFrame([
        {"variant": name, "target": target, "median half width (68 %)": percent(s["half_width_68"]), "68 % intervals hold": percent(s["covered_68"]), "90 % intervals hold": percent(s["covered_90"]),
         "axes that symmetry fixes": s["fixed"], "within 1°": percent(s["fixed_within_1"]), "other axes told apart": s["free"], "median angle told": f"{s['free_angle']:.0f}°",
         "within the angle": percent(s["free_covered_68"])}
        for name, targets in record["variants"].items() for target, found in targets.items() for s in [found["test"]]
    ]))  # fmt: skip
