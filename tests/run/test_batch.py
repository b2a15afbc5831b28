"""Run matrices: what ran is not run again, what failed says why, a killed worker's run goes to another one; SLURM's job script."""

import errno
import sys

import dask
import dask_jobqueue  # noqa: F401 - reads its defaults, which `dask.config.set` is to replace
import nbformat
import papermill
import pytest

from dtnet_core.base import files
from dtnet_core.base.cluster import connect, slurm_cluster
from dtnet_core.run import batch
from dtnet_core.run.batch import Task, keep_links, read_matrix, run_matrix
from tests.command import dtnet
from tests.screening.test_streaming import read, salts, slurm_here, tiny_ensemble

KILLS = """
import os, pathlib, signal, psutil
pathlib.Path(log).open("a").write(f"{word}\\n")
if word == "kill" and pathlib.Path(log).read_text().count("kill") == 1:
    worker = psutil.Process().parent()
    worker.kill()
assert word != "fail", "a cell that fails"
"""


@pytest.fixture
def matrix(tmp_path):
    """A notebook that fails, or kills the worker that runs it the first time, by parameter; and its matrix."""
    cells = [nbformat.v4.new_code_cell('word = "x"\nlog = None\n', metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(KILLS), nbformat.v4.new_markdown_cell("[page](../page.md)")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "told.ipynb")
    text = "- notebook: told\n  parameters: {log: LOG, unknown: 1}\n  over: {word: [a, fail, kill, b]}\n- notebook: absent\n"
    (tmp_path / "matrix.yaml").write_text(text.replace("LOG", str(tmp_path / "log")))
    return tmp_path / "matrix.yaml"


def test_a_matrix_survives_failures_kills_and_restarts(matrix, tmp_path):
    """On a Dask cluster of this machine: each run is done once, even when its worker dies in the middle."""
    from dask.distributed import Client, LocalCluster

    tasks, out = read_matrix(matrix), tmp_path / "out"
    assert [t.parameters.get("word") for t in tasks] == ["a", "fail", "kill", "b", None]
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with dask.config.set({"distributed.scheduler.allowed-failures": 2}), LocalCluster(**options) as cluster, Client(cluster) as client:
        table = run_matrix(tasks, out, client, say=lambda text: None)
        assert table["status"].tolist() == ["ran", "failed", "ran", "ran", "failed"]
        assert "a cell that fails" in table["reason"][1] and "absent" in table["reason"][4]
        log = (tmp_path / "log").read_text().split()
        assert sorted(log) == ["a", "b", "fail", "kill", "kill"]
        shown = nbformat.read(out / f"{table['task'][0]}.ipynb", 4)
        assert 'word = "a"' in "".join(c.source for c in shown.cells)
        assert shown.cells[-1].source == "[page](../../page.md)"  # the copy lies one folder deeper

        again = run_matrix(tasks, out, client, say=lambda text: None)
    assert again["status"].tolist() == ["skipped", "failed", "skipped", "skipped", "failed"]
    assert (tmp_path / "log").read_text().split()[5:] == ["fail"]  # what failed is tried again, the rest is not
    assert again["seconds"][0] == table["seconds"][0] and (out / "table.csv").read_text().count("\n") == 6


def test_a_full_disk_is_a_failure_that_a_restart_mends(matrix, tmp_path, monkeypatch):
    task, out = read_matrix(matrix)[0], tmp_path / "out"

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(papermill, "execute_notebook", full)
        row = run_matrix([task], out, say=lambda text: None).iloc[0]
    assert row["status"] == "failed" and "No space left" in row["reason"]
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(files.os, "fsync", full)  # nor can its record be written
        run_matrix([task], out, say=lambda text: None)
    assert run_matrix([task], out, say=lambda text: None)["status"].tolist() == ["ran"]
    assert run_matrix([task, task], out, say=lambda text: None)["status"].tolist() == ["skipped"]
    assert Task(task.notebook, task.parameters | {"word": "b"}).name != task.name


@pytest.mark.parametrize("text", ['{"cells": [', "[]", "", "\xff\xfe", '{"cells": [{}]}'])
def test_a_damaged_notebook_fails_alone(matrix, tmp_path, text):
    (tmp_path / "damaged.ipynb").write_text(text, encoding="latin-1")
    tasks = [Task(tmp_path / "damaged.ipynb"), read_matrix(matrix)[0]]
    table = run_matrix(tasks, tmp_path / "out", say=lambda text: None)
    assert table["status"].tolist() == ["failed", "ran"]
    assert f"{tmp_path / 'damaged.ipynb'}: " in table["reason"][0] and "Error: " in table["reason"][0]
    (tmp_path / "damaged.ipynb").write_bytes((tmp_path / "told.ipynb").read_bytes())
    tasks[0] = Task(tmp_path / "damaged.ipynb", tasks[1].parameters)
    assert run_matrix(tasks, tmp_path / "out", say=lambda text: None)["status"].tolist() == ["ran", "skipped"]


def test_names_that_a_matrix_lacks_are_refused(matrix, tmp_path, capsys):
    for names in (["typo.ipynb"], ["told.ipynb", "notebooks/typo.ipynb"]):
        assert dtnet("notebooks", "matrix", matrix, *names, "--output", tmp_path / "out") == 1
        assert "matrix.yaml has no run of typo; it has absent, told" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert dtnet("notebooks", "matrix", matrix, "absent.ipynb", "--output", tmp_path / "out") == 1
    assert str(tmp_path / "absent.ipynb") in (tmp_path / "out" / "table.csv").read_text()


def test_the_paper_s_matrix_names_what_there_is(capsys):
    tasks = read_matrix(batch.Path(__file__).resolve().parents[2] / "notebooks" / "paper.yaml")
    assert len({t.name for t in tasks}) == len(tasks) >= 9
    for task in tasks:
        assert set(task.parameters) <= set(papermill.inspect_notebook(str(task.notebook))), task.notebook


@pytest.mark.parametrize("text", ["- told", "- {parameters: {}}", "- {notebook: a, over: {x: 1}}", "- {notebook: a, seeds: [1]}",
                                  "- {notebook: }", "- {notebook: a, parameters: [1]}", "- {notebook: a, over: [1]}", "- {notebook: a, over: {x: []}}"])
def test_a_matrix_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"m\.yaml, entry 1: .* is no run; give notebook"):
        read_matrix(tmp_path / "m.yaml")


def test_empty_parameters_are_none(tmp_path):
    (tmp_path / "m.yaml").write_text("- notebook: a\n  parameters:\n  over:\n- notebook: b\n  parameters:\n  over: {x: [1, 2]}\n")
    assert [(t.notebook.stem, t.parameters) for t in read_matrix(tmp_path / "m.yaml")] == [("a", {}), ("b", {"x": 1}), ("b", {"x": 2})]


@pytest.mark.parametrize(("text", "message"), [
    ("- notebook: a\n  parameters: {x: [1}\n", r"is no YAML: .*line 2"),
    ("- {notebook: a, parameters: {x: 2024-13-45}}", "is no YAML: month"),
    ("\xff\xfe\x00", "is no YAML"),
    ("", "is no list of runs"), ("5", "is no list of runs"), ("notebook: a", "is no list of runs"),
    ("- {notebook: a}\n- {notebook: b, parameters: {day: 2024-05-01}}", r", entry 2 \(b\): day is datetime\.date\(2024, 5, 1\): .*quotes"),
    ("- {notebook: a, over: {day: [x, 2024-05-01]}}", r", entry 1 \(a\): day is .*quotes"),
    ("- {notebook: a, parameters: {x: 1, on: 2}}", r", entry 1 \(a\): True is 2: a name is text"),
])  # fmt: skip
def test_a_wrong_matrix_is_refused_by_file_and_entry(tmp_path, capsys, text, message):
    (tmp_path / "m.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"(?s)^\S*m\.yaml" + (message if message[0] == "," else f" {message}")) as error:
        read_matrix(tmp_path / "m.yaml")
    assert "<unicode string>" not in str(error.value)
    assert dtnet("notebooks", "matrix", tmp_path / "m.yaml", "--output", tmp_path / "out") == 1
    assert str(tmp_path / "m.yaml") in capsys.readouterr().err and not (tmp_path / "out").exists()


QUEUE = {"jobqueue.slurm.cores": 2, "jobqueue.slurm.processes": 2, "jobqueue.slurm.memory": "3GB", "jobqueue.slurm.queue": "short",
         "jobqueue.slurm.account": "crystals", "jobqueue.slurm.walltime": "00:30:00", "jobqueue.slurm.interface": "lo",
         "jobqueue.slurm.job-script-prologue": ["export OMP_NUM_THREADS=1"]}  # fmt: skip


def test_job_script_that_slurm_gets():
    with dask.config.set(QUEUE):
        cluster = slurm_cluster()
        script = cluster.job_script()
        address = cluster.scheduler_address
        cluster.close()
    for line in ("#SBATCH -p short", "#SBATCH -A crystals", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=3G", "#SBATCH -t 00:30:00",
                 "export OMP_NUM_THREADS=1"):  # fmt: skip
        assert line in script.splitlines()
    assert f"{sys.executable} -m distributed.cli.dask_worker {address}" in script and "--nworkers 2" in script
    with dask.config.set(dict.fromkeys(QUEUE)), pytest.raises(RuntimeError, match=r"cores, memory, queue and walltime.*jobqueue\.yaml"):
        connect("slurm", 2)


def test_stream_through_slurm_jobs(tmp_path, monkeypatch):
    slurm_here(tmp_path, monkeypatch)
    with dask.config.set(QUEUE):
        found = batch_of_salts(tmp_path / "out")
    assert found == {"computed": 6, "skipped": 0, "failed": 0} and len(read(tmp_path / "out")) == 6
    assert "#SBATCH -p short" in (tmp_path / "job.sh").read_text()


def batch_of_salts(out):
    from dtnet_core.screening.streaming import predict_stream

    return predict_stream(salts(6), out, tiny_ensemble(), chunk=2, client="slurm", workers=1, progress=False)


def test_links_of_a_copy_lead_to_the_same_files(tmp_path):
    """Images and pages outside of the notebooks' folder; neighbours, addresses and code stay as they are."""
    folder, copy = tmp_path / "notebooks", tmp_path / "build" / "reproduce" / "02.ipynb"
    copy.parent.mkdir(parents=True)
    text = "![a figure](../figures/a.png) [guide](../docs/guide.md#top) [next](03.ipynb) [web](https://b.org/../c)"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("f('](../x)')")]), copy)
    for _ in range(2):  # a copy whose links lead there already stays so, for its own folder
        keep_links(copy, folder)
        folder = copy.parent
        cells = nbformat.read(copy, 4).cells
        assert cells[0].source == "![a figure](../../figures/a.png) [guide](../../docs/guide.md#top) [next](03.ipynb) [web](https://b.org/../c)"
        assert cells[1].source == "f('](../x)')" and (copy.parent / "../../figures").resolve() == tmp_path / "figures"
