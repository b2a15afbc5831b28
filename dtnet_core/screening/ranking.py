"""A pool of crystals ranked for both tasks by an ensemble that ships, and held against the paper's own validation.

``dtnet screen rank`` adds the rankings to `data/results/screening.json`. Predictions are streamed and kept in the
cache folder, so a killed run goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde

from ..base.paths import default_cache_dir
from ..base.results import IDENTITY, plain, provenance
from ..crystals.record import TARGETS, Record
from ..data.labels import WITH_TOTAL, load_auxiliary
from ..data.loading import data_sha256, load_records
from ..ensemble import Ensemble, load_ensemble
from ..members import encoders_of
from ..metrics import scalar_constant
from ..potentials.registry import spell_features
from ..trust.standing import COLUMNS
from ..trust.verdict import COVERAGES
from .labelled import with_gaps
from .parts import COMPONENTS, INTERVALS, read_parts
from .published import PUBLISHED_FILES, against_published, published_dir, published_records, two_calculations
from .selection import KAPPA, MAX_ATOMS, TASKS, acquisition, choose, gaps_of, is_extended, select_candidates
from .shortlist import affordable
from .streaming import predict_stream

BEST = 20
SHOWN = 400
"""Candidates of the highest figure of merit that a results file keeps gap and permittivity of."""


def predict_pool(records: Sequence[Record], folder: str | Path, ensemble: Ensemble | None = None, client=None,
                 workers: int | None = None, progress: bool = True) -> pd.DataFrame:  # fmt: skip
    """Predictions of `streaming.predict_stream` for records, in their order, by id; made where `folder` does not have them."""
    if not records:
        raise ValueError("the pool has no candidate: nothing to predict")
    predict_stream([(r.id, r.structure) for r in records], folder, ensemble, client=client, workers=workers, progress=progress)
    return read_parts(folder).loc[[r.id for r in records]]


def score(task: str, records: Sequence[Record], table: pd.DataFrame, calibration: Mapping[str, float], kappa: float = KAPPA) -> pd.DataFrame:
    """What a task makes of predictions, one row a record, in order.

    Parameters
    ----------
    task : str
        Of `screening.TASKS`.
    records : sequence of B Record
    table : DataFrame
        Of `predict_pool`.
    calibration : mapping
        Of a `Ensemble` for the total tensor.
    kappa : float

    Returns
    -------
    DataFrame
        formula, n_atoms, gap_ev, eps_electronic, eps_ionic, eps (scalars, Eq. 2), eps_68 (half width of the calibrated 68 %
        interval of eps; of networks and base alone where the predictions are from before intervals were kept), value, deviation (over the networks), score (Eq. 28), and `trust.standing.COLUMNS`, None where the predictions are
        from before these were kept; by id. Values of a failed prediction are NaN.
    """
    gaps, anisotropic = gaps_of(records), task == "anisotropy"
    mean, std = table["eps_total_mean"], table["eps_total_std"]
    value = table["anisotropy_mean"] if anisotropic else gaps * mean
    deviation = table["anisotropy_std"] if anisotropic else gaps * std
    plain = calibration[str(COVERAGES[0])] * np.hypot(std, calibration["base"] * mean)
    told = table[INTERVALS[0]].fillna(plain) if INTERVALS[0] in table else plain
    return pd.DataFrame({
        "formula": [r.formula for r in records], "n_atoms": [len(r.structure) for r in records], "gap_ev": gaps,
        **{f"eps_{t}": table[f"eps_{t}_mean"] for t in TARGETS[:2]}, "eps": mean, "eps_68": told,
        "value": value, "deviation": deviation, "score": acquisition("ucb", value, deviation, kappa), **table.reindex(columns=COLUMNS),
    }, index=table.index)  # fmt: skip


def best(task: str, records: Sequence[Record], scores: pd.DataFrame, table: pd.DataFrame, k: int = BEST, max_atoms: int | None = MAX_ATOMS) -> list[dict]:
    """The k candidates with the highest score, small enough, for anisotropy not molecular: rows of `scores` with rank, id, and tensor.

    `rank` is the place among all candidates; `tensor` has the components of `streaming.COMPONENTS`.
    """

    def allowed(i: int) -> bool:
        return (max_atoms is None or len(records[i].structure) <= max_atoms) and (task != "anisotropy" or is_extended(records[i]))

    rank = scores["score"].rank(ascending=False, method="first")
    rows = []
    for i in choose(scores["score"].to_numpy(), k, accept=allowed):
        name = records[i].id
        tensor = [float(table.loc[name, f"eps_total_{c}"]) for c in COMPONENTS]
        rows.append({"rank": int(rank[name]), "id": name, **scores.loc[name].to_dict(), "tensor": tensor})
    return rows


def pareto_front(gaps: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Positions of the crystals that no other one beats in both gap and permittivity [B], by falling gap."""
    order, kept, high = np.lexsort((-eps, -gaps)), [], -np.inf
    for i in order:
        if np.isfinite(gaps[i]) and eps[i] > high:
            kept.append(int(i))
            high = eps[i]
    return np.array(kept, dtype=int)


def density(gaps: np.ndarray, eps: np.ndarray, gap_axis: np.ndarray, log_axis: np.ndarray) -> np.ndarray:
    """Kernel density of gaps in eV against log10 of permittivities, over its largest value: [log_axis, gap_axis].

    Crystals without a gap, or with a permittivity that is not positive, are left out; fewer than ten have no density: NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        points = np.stack([gaps, np.log10(np.where(eps > 0, eps, np.nan))])
    points = points[:, np.isfinite(points).all(0)]
    if points.shape[1] < 10:
        return np.full((len(log_axis), len(gap_axis)), np.nan)
    grid = np.stack([a.ravel() for a in np.meshgrid(gap_axis, log_axis)])  # [2, G]
    found = gaussian_kde(points)(grid).reshape(len(log_axis), len(gap_axis))
    return found / found.max()


def density_maps(known: Sequence[Record], candidates: Sequence[Record], table: pd.DataFrame, points: int = 40) -> dict:
    """Fig. 8a-b: densities of labelled crystals and of candidates, for the electronic and the ionic permittivity.

    Returns
    -------
    dict
        `gap_ev`, `n` (crystals with a gap, of both), and by part `log10_eps` (axes), `known`, `candidates` (each [points, points], see `density`).
    """
    gaps, known_gaps, candidate_gaps = np.linspace(0, 10, points), gaps_of(known), gaps_of(candidates)
    maps = {"gap_ev": gaps.round(4), "n": [int(np.isfinite(g).sum()) for g in (known_gaps, candidate_gaps)]}
    for part, (low, high) in {"electronic": (0.0, 2.0), "ionic": (-1.0, 2.5)}.items():
        axis = np.linspace(low, high, points)
        labels = scalar_constant([r.tensor(part) for r in known])
        maps[part] = {
            "log10_eps": axis.round(4), "known": density(known_gaps, labels, gaps, axis).round(3),
            "candidates": density(candidate_gaps, table[f"eps_{part}_mean"].to_numpy(), gaps, axis).round(3),
        }  # fmt: skip
    return maps


def rank_pool(pool: Sequence[Record], known: Sequence[Record], table: pd.DataFrame, ensemble: Ensemble, variant: str, kappa: float = KAPPA,
              computed: Sequence[Record] = (), published: str | Path | None = None, checked: Sequence[Record] = (), profile: str = "full", k: int = BEST,
              in_domain_only: bool = False) -> list[dict]:  # fmt: skip
    """Records of `data/results/screening.json`: for each task a ranking, and where `published` is given, a comparison.

    Parameters
    ----------
    pool : sequence of Record
    known : sequence of Record
        Labelled crystals, with gaps where they are known.
    table : DataFrame
        Predictions of the pool (`predict_pool`).
    ensemble : Ensemble
        For the total tensor.
    variant : str
        Its name.
    computed : sequence of Record
        The kit's own set, from which costs of the small candidates' DFPT follow.
    published : path, optional
        See `published_dir`.
    checked : sequence of Record
        Candidates that the kit's own DFPT computed.
    in_domain_only : bool
        Candidates outside of what the networks learned from are not ranked; how many there are is counted in any case.

    Raises
    ------
    ValueError
        For `in_domain_only` with predictions from before `in_domain` was kept.
    """
    max_hull = None if all(r.meta.get("energy_above_hull_ev") is None for r in pool) else 0.0
    candidates, reasons = select_candidates(pool, [*known, *computed], max_hull=max_hull)
    table = table.loc[[r.id for r in candidates]]
    outside = table.reindex(columns=COLUMNS)["in_domain"].isin([False])
    excluded = Counter(_kind(r) for r in reasons.values())
    if in_domain_only:
        candidates, table = only_in_domain(candidates, table)
        excluded["outside of the domain"] = int(outside.sum())
    base = {"kappa": kappa, "data_sha256": data_sha256(pool), "known_sha256": data_sha256([*known, *computed]),
            "command": f"dtnet screen rank --variant {variant} --kappa {kappa}{' --in-domain-only' if in_domain_only else ''}"}  # fmt: skip
    counts = {"pool": len(pool), "candidates": len(candidates), "outside_domain": int(outside.sum()), "excluded": dict(excluded)}
    failed = table.index[table["error"].notna()]
    counts["failed"] = {name: table.loc[name, "error"] for name in failed}
    if "flag" in table:
        counts["flagged"] = table["flag"].dropna().to_dict()
    jobs = affordable(candidates, computed) if computed else {}
    maps = density_maps([r for r in known if r.eps_electronic is not None and r.eps_ionic is not None], candidates, table)
    found = []
    for task in TASKS:
        scores = score(task, candidates, table, ensemble.calibration, kappa)
        front = pareto_front(scores["gap_ev"].to_numpy(), scores["eps"].to_numpy())
        small = scores.loc[[r.id for r in candidates if r.id in jobs and (task != "anisotropy" or is_extended(r))]].sort_values("score", ascending=False)
        found.append(_identity(task, "ranking", ensemble, variant, profile, kappa, in_domain_only) | {"study": "ranking", "task": task} | base | counts | {
            "best": best(task, candidates, scores, table, k), "quantiles": scores["value"].quantile([0.5, 0.9, 0.99, 1]).to_dict(),
            "front": [{"id": scores.index[i], **scores.iloc[i][["formula", "gap_ev", "eps", "value"]].to_dict()} for i in front] if task == TASKS[0] else None,
            "points": _points(scores) if task == TASKS[0] else None, "densities": maps if task == TASKS[0] else None,
            "shortlist": [{"id": name, **row, **jobs[name]} for name, row in zip(small.index, small.to_dict("records"), strict=True)],
        } | provenance())  # fmt: skip
        if published is not None:
            measured, rows = published_records(task, candidates, published)
            found.append(_identity(task, "published", ensemble, variant, profile, kappa, in_domain_only) | {"study": "published", "task": task} | base
                         | {"published_sha256": data_sha256(Path(published) / PUBLISHED_FILES[task])}
                         | against_published(task, measured, scores, rows)
                         | {"open_dfpt": two_calculations(checked, measured)} | provenance())  # fmt: skip
    return [plain(record) for record in found]


def only_in_domain(candidates: Sequence[Record], table: pd.DataFrame) -> tuple[list[Record], pd.DataFrame]:
    """The candidates that are in the domain, and the rows of their predictions; see `rank_pool`. What failed is not told apart and stays."""
    where = table.reindex(columns=COLUMNS)["in_domain"]
    if (unknown := where.isna() & table["error"].isna()).any():
        raise ValueError(f"{int(unknown.sum())} predictions are from before it was kept whether a crystal is in the domain: predict into a new folder")
    keep = ~where.isin([False]).to_numpy()
    return [c for c, kept in zip(candidates, keep, strict=True) if kept], table[keep]


def _points(scores: pd.DataFrame) -> list[list[float]]:
    shown = scores.sort_values("value", ascending=False).head(SHOWN)
    return shown[["gap_ev", "eps"]].round(2).to_numpy().tolist()


def _kind(reason: str) -> str:
    return reason.split(" of ")[0] if reason.startswith("gap") else " ".join(w for w in reason.split() if not any(c.isdigit() for c in w))


def _identity(task: str, what: str, ensemble: Ensemble, variant: str, profile: str, kappa: float, in_domain_only: bool) -> dict:
    encoders = spell_features("+".join(encoders_of(ensemble.features)))
    how = ("" if kappa == KAPPA else f" kappa {kappa:g}") + (" in the domain" if in_domain_only else "")
    return dict(zip(IDENTITY, (task, f"DTNet-joint {variant} {what}{how}", *encoders, "pool", 0, profile), strict=True))


def load_known(data_dir: str | Path | None = None) -> list[Record]:
    """All crystals of profile "full" with a tensor, with gaps where known, and those with scalars that networks learn from: a candidate must be none of them."""
    tensors = with_gaps(load_records("full", data_dir=data_dir), "full", data_dir)
    return [*tensors, *load_auxiliary(tensors, data_dir, WITH_TOTAL)]


def rank_data_folder(variant: str, kappa: float, predictions: str | Path | None = None, client=None, workers: int | None = None,
                     in_domain_only: bool = False) -> list[dict]:  # fmt: skip
    """`rank_pool` of the data folder's candidates, predicted into a folder (default: in the cache folder); started again, it goes on."""
    pool, ensemble = load_records("full", "screening_pool"), load_ensemble("total", variant)
    folder = predictions or default_cache_dir() / "screening" / f"{variant}-{data_sha256(pool)[:12]}"
    table = predict_pool(pool, folder, ensemble, client, workers)
    return rank_pool(pool, load_known(), table, ensemble, variant, kappa, load_records("mini"), published_dir(), load_records("mini", "screening_dfpt"),
                     in_domain_only=in_domain_only)  # fmt: skip
