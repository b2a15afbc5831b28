"""What is said of the ionic tensor's physics: scores with modes and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from .markdown import markdown_table
from .tables import spell_seeds

_SPLITS = {"record": "random", "group": "by formula"}


def physics_table(runs: Sequence[Mapping]) -> str:
    """`data/results/physics.json` or a neighbour: the same networks without and with the crystals' modes, mean and standard deviation over seeds."""
    frame = pd.DataFrame(
        {"split": r["split"], "target": r["target"], "seed": r["seed"], "crystals": who, "n": found["n"], "without": found["without"], "with": found["mae_ten"]}
        for r in runs
        for who, found in ({"all": {"n": r["n_test"], "without": r["without"]["mae_ten"], "mae_ten": r["mae_ten"]}} | r["kinds"]).items()
    )
    rows = []
    for (split, target, who), group in frame.groupby(["split", "target", "crystals"], sort=False):
        rows.append({"split": _SPLITS[split], "target": target, "test crystals": f"{who.replace('_', ' ')} ({group['n'].mean():.0f})", "seeds": spell_seeds(group["seed"]),
                     "MAE_ten without modes": _spread(group["without"]), "with modes": _spread(group["with"]), "lower by": f"{100 * (1 - group['with'].mean() / group['without'].mean()):.0f} %"})  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def settings_table(record: Mapping) -> str:
    """`data/results/physics_settings.json` or its neighbour: ionic MAE_ten of validation crystals, mean over the splits, by the companion's share and the tensor's shape."""
    frame = pd.DataFrame(record["rows"]).groupby(["shape", "share"])["mae_ten"].mean().unstack()
    frame.columns = [f"share {share:g}" for share in frame.columns]
    return markdown_table(frame.map("{:.3f}".format).reset_index().rename(columns={"shape": "share of the sum's shape"}))


def machines_table(records: Sequence[Mapping]) -> str:
    """`machines` of `data/results/physics_settings.json` and its neighbour."""
    rows = [{"force constants": m["potential"], "charges and crystal from": m["features"], "crystals": m["n"], "mean error of ln ε": f"{m['mean_log_error']:.3f}",
             "root mean square": f"{m['rms_log_error']:.3f}"} for r in records for m in r["machines"]]  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def soft_intervals_table(records: Mapping[str, Mapping]) -> str:
    """`by_modes` of `data/results/physics_intervals.json` and its neighbour, by variant."""
    names = {"hard": "not soft", "soft": "soft", "without_modes": "without modes"}
    rows = [{"variant": variant, "target": target, "test crystals": f"{names[kind]} ({held['n']})", **{f"{100 * float(c):.0f} % intervals hold": f"{100 * held[c]:.0f} %" for c in ("0.68", "0.9")}}
            for variant, record in records.items() for target, covered in record["covered"].items() for kind, held in covered["by_modes"].items()]  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def modes_table(runs: Sequence[Mapping]) -> pd.DataFrame:
    """A row a target: MAE_ten and the share within 25 % without and with modes, means over the seeds."""
    rows = []
    for target in ("ionic", "total"):
        mine = [r for r in runs if r["target"] == target]
        row: dict = {"tensor": target, "splits": len(mine)}
        for words, key in (("MAE (Eq. 3)", "mae_ten"), ("within 25 % (share)", "within_25")):
            row |= {f"{words}, networks": sum(r["without"][key] for r in mine) / len(mine), f"{words}, with vibrations": sum(r[key] for r in mine) / len(mine)}
        rows.append(row)
    return pd.DataFrame(rows)


def strongest_modes(modes: Sequence[Mapping]) -> pd.DataFrame:
    """A crystal's strongest vibrations, of `physics.modes.PolarModes.shares`, in words."""
    return pd.DataFrame([{"eigenvalue (eV/Å²)": m["eigenvalue"], "vibrations": m["degenerate"], "charge of each (e)": m["charge"], "share of the ionic part (%)": 100 * m["share"]} for m in modes])


def physics_sentence(runs: Sequence[Mapping]) -> str:
    """The front page's sentence on the variant "physics"."""
    mine = {t: pd.DataFrame([{"without": r["without"]["mae_ten"], "with": r["mae_ten"], "w25": r["within_25"], "b25": r["without"]["within_25"]} for r in runs if (r["target"], r["split"]) == (t, "record")]) for t in ("ionic", "total")}
    seeds = sorted({r["seed"] for r in runs if r["split"] == "record"})
    said = " and ".join(f"the {t} tensor's MAE_ten from {f['without'].mean():.3f} to {f['with'].mean():.3f}" for t, f in mine.items())
    return (f"With the crystal's own vibrations (`variant=\"physics\"`: force constants of the potential, learned Born charges) the best recipe's networks of {len(seeds)} random splits take {said}; "
            f"{100 * mine['ionic']['w25'].mean():.0f} % of ionic tensors are then within 25 %, {100 * mine['ionic']['b25'].mean():.0f} % without.")  # fmt: skip


def coverage_text(runs: Sequence[Mapping]) -> str:
    """Which share of the test crystals had force constants when `data/results/physics.json` was made; computing them took several campaigns, so splits differ."""
    shares: dict[tuple[str, int], list[int]] = {}
    for r in runs:
        if r["target"] == "ionic":
            shares.setdefault((_SPLITS[r["split"]], round(10 * r["kinds"]["with_modes"]["n"] / r["n_test"])), []).append(r["seed"])
    told = [f"{10 * tenths} % ({split}, seeds {spell_seeds(pd.Series(seeds))})" for (split, tenths), seeds in sorted(shares.items(), key=lambda item: (item[0][0], -item[0][1]))]
    return f"Of the test crystals, to the nearest ten percent, so many had force constants when a split was run: {', '.join(told)}."


def cost_text(record: Mapping) -> str:
    """The key "modes" of `data/results/performance.json`: what force constants cost, in a paragraph."""
    told, spell = [], lambda s: f"{s:.0f}" if s >= 10 else f"{s:.1g}"
    for found in record["potentials"]:
        own, large = found["own"], ", ".join(f"{spell(r['processor_s'])} for {r['atoms']} atoms" for r in found["without_symmetry"])
        told.append(f"`{found['potential']}`: {spell(own['median_processor_s'])} for a crystal of {own['atoms'][0]} to {own['atoms'][1]} atoms with its symmetry (median of {own['crystals']}), without any symmetry {large}")
    return f"Force constants of one crystal, seconds of one core ({record['hardware']}): {'; '.join(told)}. They are kept on disk: a crystal costs them once."


def intervals_text(records: Mapping[str, Mapping]) -> str:
    """Variant -> `data/results/physics_intervals.json` or its neighbour, in a sentence."""
    held = {v: "; ".join(f"{t} {100 * c['test']['0.68']:.0f} and {100 * c['test']['0.9']:.0f} %" for t, c in r["covered"].items()) for v, r in records.items()}
    (n,) = {r["n_test"] for r in records.values()}
    return f"68 and 90 % intervals hold of the {n} test crystals of the split of the networks that ship: " + "; ".join(f"`{v}` {words}" for v, words in held.items()) + "."


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")
