"""The tables that stand in Markdown files, made from the stored results."""

from __future__ import annotations

from functools import cache

from ..base.files import read_json
from ..base.paths import RESULTS, ROOT
from .charges import charges_table, charges_text
from .markdown import markdown_table, update_block
from .new_kinds import (
    domain_table,
    domain_text,
    doubt_table,
    gains_text,
    kinds_text,
    modes_table,
    own_table,
    ramps_table,
    told_text,
)
from .pages import (
    answer_text,
    card_table,
    front_table,
    many_splits_sentence,
    matbench_choice,
    matbench_sentence,
    matbench_table,
    readme_table,
    roads_table,
    ships_sentence,
    truth_sentence,
)
from .physics import (
    cost_text,
    coverage_text,
    intervals_text,
    machines_table,
    physics_sentence,
    physics_table,
    settings_table,
    soft_intervals_table,
)
from .screening import enrichment_lines, screening_table
from .table2 import beside_ours, cells, summary, verdict
from .tables import by_formula, headline, interval_table
from .trust import (
    blind_sentence,
    blind_text,
    chosen_on_text,
    doubts_sentence,
    doubts_table,
    known_text,
    principal_table,
    same_material_text,
    strain_text,
    twins_table,
)


def markdown_blocks() -> dict[tuple[str, str], str]:
    """What stands in Markdown files, from the stored results: (file, mark of `update_block`) -> text."""
    record = cache(lambda name: read_json(RESULTS / name))
    stored, paper = record("tensors.json"), read_json(ROOT / "data/paper/table2.json")
    dtnets, beside = [r for r in headline(stored) if r["model"].startswith("DTNet")], beside_ours(stored)
    doubted = record("domain.json")["shipped"]["doubted"] | {v: {t: c["doubted"] for t, c in record(f"{v}_intervals.json")["covered"].items()} for v in ("default-physics", "physics")}
    return {
        ("README.md", "headline"): front_table(stored, paper, record("physics.json")),
        ("README.md", "truth"): truth_sentence(record("known_physics.json")),
        ("README.md", "many"): many_splits_sentence(stored, paper, record("physics.json")),
        ("README.md", "ships"): ships_sentence(stored),
        ("README.md", "matbench"): matbench_sentence(record("matbench.json")),
        ("README.md", "answer"): answer_text(record("known_physics.json")),
        ("docs/results.md", "chosen on"): chosen_on_text(record("splits.json")["chosen_on"]),
        ("README.md", "blind"): blind_sentence(record("blind.json")),
        ("docs/results.md", "physics sentence"): physics_sentence(record("physics.json")),
        ("docs/results.md", "physics settings"): settings_table(record("physics_settings.json")),
        ("docs/results.md", "physics coverage"): coverage_text(record("physics.json")),
        ("docs/results.md", "physics"): physics_table(record("physics.json")),
        ("docs/results.md", "physics, more labels"): physics_table(record("physics_wide.json")),
        ("docs/results.md", "default-physics"): physics_table(record("default-physics.json")),
        ("docs/results.md", "default-physics, more labels"): physics_table(record("default-physics_wide.json")),
        ("docs/results.md", "default-physics settings"): settings_table(record("default-physics_settings.json")),
        ("docs/results.md", "machines"): machines_table([record("physics_settings.json"), record("default-physics_settings.json")]),
        ("docs/results.md", "soft intervals"): soft_intervals_table({"physics": record("physics_intervals.json"), "default-physics": record("default-physics_intervals.json")}),
        ("data/weights/README.md", "physics"): intervals_text({"physics": record("physics_intervals.json"), "default-physics": record("default-physics_intervals.json")}),
        ("data/weights/README.md", "cost of modes"): cost_text(record("performance.json")["modes"]),
        ("docs/results.md", "blind"): blind_text(record("blind.json")),
        ("docs/results.md", "domain"): domain_table(record("domain.json")),
        ("docs/results.md", "doubt"): doubt_table(record("domain.json")),
        ("docs/results.md", "doubt, total"): doubt_table(record("domain.json"), "total"),
        ("docs/results.md", "gains"): gains_text(record("domain.json")),
        ("docs/results.md", "gains of modes"): gains_text(record("domain.json"), "total"),
        ("docs/results.md", "domain, with modes"): modes_table(record("domain.json")),
        ("docs/results.md", "doubt, best"): told_text(record("domain.json")),
        ("docs/results.md", "own"): own_table(record("own_crystals.json")),
        ("docs/results.md", "ramps"): ramps_table(record("ramps.json")),
        ("data/weights/README.md", "domain"): domain_text(record("domain.json")),
        ("data/weights/README.md", "kinds"): kinds_text(record("domain.json")),
        ("README.md", "doubts"): doubts_sentence(doubted, record("domain.json")["shipped"]["n_test"]),
        ("data/weights/README.md", "doubts"): doubts_table(doubted),
        ("data/weights/README.md", "strain"): strain_text(record("strain.json")),
        ("docs/howto/crystals.md", "known"): known_text(record("known_physics.json")),
        ("docs/howto/crystals.md", "principal"): principal_table(record("principal.json")),
        ("docs/howto/charges.md", "charges"): charges_table(record("charges.json")),
        ("data/weights/README.md", "charges"): charges_text(record("charges.json")),
        ("docs/results.md", "same material"): same_material_text(record("same_material.json")),
        ("docs/results.md", "twins"): twins_table(stored),
        ("docs/results.md", "results"): readme_table(dtnets, paper),
        ("docs/results.md", "by formula"): readme_table(by_formula(stored), paper),
        ("docs/results.md", "interval"): markdown_table(interval_table(stored, paper)),
        ("docs/results.md", "matbench"): matbench_table(record("matbench.json")),
        ("docs/results.md", "baselines"): f"{markdown_table(summary(beside, paper))}\n\n{verdict(cells(beside))}",
        ("docs/results.md", "screening"): screening_table(record("screening.json")),
        ("docs/results.md", "enrichment"): enrichment_lines(record("screening.json")),
        ("data/results/experiments.md", "roads"): roads_table(record("roads.json")),
        ("data/results/experiments.md", "nested"): matbench_choice(record("matbench.json")),
        ("data/weights/README.md", "metrics"): card_table(stored),
        ("data/weights/README.md", "by formula"): readme_table(by_formula(stored), paper),
    }


def update_documents() -> list[tuple[str, str]]:
    """Rewrite every table that stands in a Markdown file (``dtnet results tables``); gives files and marks."""
    blocks = markdown_blocks()
    for (name, mark), text in blocks.items():
        update_block(ROOT / name, mark, text)
    return list(blocks)
