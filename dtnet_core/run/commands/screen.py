"""`dtnet screen`: any number of crystals, candidates ranked, does active learning work, what DFPT can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Command, Profile, Scheduler, Seeds, Variant, Workers, among, group

app = group("From many crystals to the best candidates.")

_TASKS = among("screening.selection", "TASKS")
SCREENING = "data/results/screening.json"
InDomainOnly = Annotated[bool, typer.Option("--in-domain-only", help="leave out crystals unlike those that the networks learned from")]


@app.command(cls=Command)
def stream(
    source: Annotated[str, typer.Argument(help="folder of CIF, POSCAR or other structure files, or a file: JSON, JSON lines, CSV, parquet, ASE .db, extxyz; compressed or not")],
    output: Annotated[str, typer.Argument(help="folder of the parquet parts")],
    variant: Variant = "default",
    chunk: Annotated[int, typer.Option(help="crystals a part")] = 100,
    scheduler: Scheduler = None,
    workers: Workers = None,
    retry: Annotated[bool, typer.Option("--retry", help="try crystals anew that have an error from before")] = False,
) -> None:
    """Predict any number of crystals into parquet, in bounded memory."""
    from ...screening.streaming import predict_stream

    found = predict_stream(source, output, None, variant, chunk, scheduler, workers, retry=retry)
    print(found)
    if found["failed"]:
        print(f"{found['failed']} crystals failed, the column `error` says why; the same command with --retry tries them anew")


@app.command(cls=Command)
def rank(
    variant: Variant = "default",
    kappa: Annotated[float | None, typer.Option(help="deviations that an upper bound lies above the mean")] = None,
    predictions: Annotated[Path | None, typer.Option(help="folder of the streamed predictions; default: in the cache folder")] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    in_domain_only: InDomainOnly = False,
    results: Annotated[str, typer.Option(help="gets the rankings")] = SCREENING,
) -> None:
    """Rank the candidates of the data folder for both tasks of the paper."""
    import pandas as pd

    from ...base.results import append_result
    from ...screening import ranking as chapter

    for record in chapter.rank_data_folder(variant, chapter.KAPPA if kappa is None else kappa, predictions, scheduler, workers, in_domain_only):
        append_result(results, record)
        if record["study"] == "ranking":
            print(f"{record['task']}: {record['candidates']} candidates of {record['pool']}, {len(record['failed'])} not predicted, {record['outside_domain']} outside of the domain")
            print(pd.DataFrame(record["best"]).drop(columns=["tensor", "nearest", "warnings"]).round(2).to_string(index=False))
        else:
            print(f"{record['task']}: {record['in_pool']} of the paper's {record['rows']} are candidates, median rank {record['median_rank']}")


@app.command(cls=Command)
def retrospective(
    profile: Profile = "mini",
    seeds: Seeds = None,
    tasks: Annotated[list[str] | None, typer.Option(callback=_TASKS, help="'figure of merit', anisotropy; default: both")] = None,
    acquisitions: Annotated[list[str] | None, typer.Option(callback=among("screening.selection", "ACQUISITIONS"), help="how crystals are chosen; default: all ways")] = None,
    known: Annotated[int | None, typer.Option(help="labelled crystals to begin with")] = None,
    rounds: Annotated[int | None, typer.Option(help="of proposing and learning")] = None,
    top_k: Annotated[int | None, typer.Option(help="proposals a round")] = None,
    members: Annotated[int | None, typer.Option(help="networks of the ensemble")] = None,
    epochs: Annotated[int | None, typer.Option(help="of each training")] = None,
    kappa: Annotated[float | None, typer.Option(help="deviations that an upper bound lies above the mean")] = None,
    features: Annotated[str | None, typer.Option(help="encoders and layers")] = None,
    enrichment: Annotated[bool, typer.Option("--enrichment", help="only: enrichment of the top 1 percent by cross-validation")] = False,
    results: Annotated[str, typer.Option(help="gets one record a campaign")] = SCREENING,
) -> None:
    """Hide labelled crystals and let rounds of screening find the best: does active learning work?"""
    from ...screening import retrospective as chapter

    changed = {"known": known, "rounds": rounds, "top_k": top_k, "members": members, "epochs": epochs, "kappa": kappa, "features": features}
    setup = chapter.Setup(**{name: value for name, value in changed.items() if value is not None})
    seeds, tasks = seeds or list(range(5)), tasks or list(chapter.TASKS)
    if enrichment:
        for r in chapter.run_enrichment(setup, tasks, seed=seeds[0], profile=profile, results=results):
            print(f"{r['task']}: {r['hits']} of the true top {r['top']} in the predicted one, enrichment {r['enrichment']:.1f}")
        return
    for r in chapter.run_study(setup, seeds, tasks, acquisitions or list(chapter.ACQUISITIONS), profile, results):
        last = r["by_round"][-1]
        print(f"{r['task']:16s} {r['acquisition']:12s} seed {r['seed']}: best {last['best']:.1f} of {r['best_hidden']:.1f}, recall {last['recall']:.2f}")


@app.command(cls=Command)
def shortlist(
    task: Annotated[str | None, typer.Option(callback=_TASKS, help="'figure of merit' or anisotropy; default: both")] = None,
    number: Annotated[int, typer.Option(help="candidates a task")] = 7,
    folder: Annotated[Path, typer.Option(help="gets the structures")] = Path("build/shortlist"),
    in_domain_only: InDomainOnly = False,
    results: Annotated[str, typer.Option(help="with the stored ranking")] = SCREENING,
) -> None:
    """Structures of the best small candidates of the stored ranking, and what DFPT of each will cost."""
    from ...screening.shortlist import stored_shortlist, write_inputs

    for row, record in stored_shortlist(task, number, results, in_domain_only):
        [path] = write_inputs([record], folder)
        print(f"{path}  {row['formula']}, {row['spacegroup']}: {row['n_atoms']} atoms, {row['electrons']} electrons, about {row['minutes']:.0f} minutes"
              + (f"; {row['warnings']}" if row.get("warnings") else ""))  # fmt: skip
