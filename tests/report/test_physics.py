"""What is said of modes: scores with and without, and what they cost."""

from dtnet_core.report.physics import (
    cost_text,
    coverage_text,
    machines_table,
    physics_sentence,
    physics_table,
    soft_intervals_table,
)


def run(target: str, seed: int, without: float, found: float, split: str = "record") -> dict:
    scores = {"mae_ten": found, "within_25": 0.75}
    return {"target": target, "split": split, "seed": seed, "n_test": 10, **scores, "without": {"mae_ten": without, "within_25": 0.5}, "kinds": {"soft": {"n": 4 + 2 * seed, "without": 3.0, "mae_ten": 2.4}}}


RUNS = [run("ionic", 0, 1.0, 0.6), run("ionic", 1, 2.0, 1.8), run("ionic", 0, 9.0, 8.0, "group"), run("total", 0, 4.0, 3.0)]


def test_scores_are_means_over_the_seeds_of_a_split():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in physics_table(RUNS).splitlines()[2:]]
    assert ["random", "ionic", "all (10)", "0, 1", "1.500 ± 0.707", "1.200 ± 0.849", "20 %"] in rows and ["by formula", "ionic", "all (10)", "0", "9.000", "8.000", "11 %"] in rows
    assert ["random", "ionic", "soft (5)", "0, 1", "3.000 ± 0.000", "2.400 ± 0.000", "20 %"] in rows
    assert "networks of 2 random splits take the ionic tensor's MAE_ten from 1.500 to 1.200 and the total tensor's MAE_ten from 4.000 to 3.000; 75 % of ionic tensors are then within 25 %, 50 % without" in physics_sentence(RUNS)


def test_the_cost_of_modes_is_told_for_each_potential():
    cost = {"own": {"crystals": 48, "atoms": [2, 10], "median_processor_s": 0.234}, "without_symmetry": [{"atoms": 4, "processor_s": 1.96}, {"atoms": 32, "processor_s": 123.0}]}
    text = cost_text({"potentials": [{"potential": "7net-0", **cost}], "hardware": "a laptop"})
    assert "(a laptop): `7net-0`: 0.2 for a crystal of 2 to 10 atoms with its symmetry (median of 48), without any symmetry 2 for 4 atoms, 123 for 32 atoms." in text


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_machines_and_intervals_of_soft_crystals_are_told_with_their_numbers():
    machine = {"potential": "7net-0", "features": "7net-l3i5:0-5", "n": 7, "mean_log_error": 0.2344, "rms_log_error": 0.3776}
    assert cells(machines_table([{"machines": [machine]}, {"machines": [machine | {"n": 8}]}])) == [["7net-0", "7net-l3i5:0-5", n, "0.234", "0.378"] for n in "78"]
    held = {"hard": {"n": 9, "0.68": 0.7, "0.9": 0.911}, "without_modes": {"n": 2, "0.68": 0.5, "0.9": 1.0}}
    assert cells(soft_intervals_table({"physics": {"covered": {"ionic": {"by_modes": held}}}})) == [["physics", "ionic", "not soft (9)", "70 %", "91 %"], ["physics", "ionic", "without modes (2)", "50 %", "100 %"]]


def test_splits_that_were_run_with_fewer_modes_are_told_apart():
    runs = [run("ionic", seed, 1.0, 1.0, split) | {"n_test": 100, "kinds": {"with_modes": {"n": n}}} for seed, split, n in ((0, "record", 89), (1, "record", 91), (2, "record", 69), (0, "group", 93))]
    assert coverage_text([*runs, run("total", 5, 1.0, 1.0)]).endswith("90 % (by formula, seeds 0), 90 % (random, seeds 0, 1), 70 % (random, seeds 2).")
