"""Chunks of work on a Dask cluster: this machine's cores, SLURM, or a scheduler that runs already."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext


def connect(client, workers: int | None):
    """A context that gives a Dask client, or None for this process."""
    if client is None and (workers or 1) == 1:
        return nullcontext(None)
    from dask.distributed import Client, LocalCluster

    if client in (None, "local"):
        return _owned(LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None))
    if client == "slurm":
        cluster = slurm_cluster()
        cluster.scale(jobs=workers or 1)
        return _owned(cluster)
    return closing(Client(client)) if isinstance(client, str) else nullcontext(client)


def slurm_cluster():
    """A SLURM cluster as dask-jobqueue's configuration describes it (section ``jobqueue.slurm``); ``job_script()`` shows its job.

    Raises
    ------
    RuntimeError
        Without dask-jobqueue, or without cores and memory of a job in its configuration.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise RuntimeError("scheduler 'slurm' needs dask-jobqueue, which is not installed: pip install dask-jobqueue") from error
    try:
        return SLURMCluster(scheduler_options={"dashboard_address": None})
    except ValueError as error:
        raise RuntimeError(f"the SLURM queue is not described ({error}): give cores, memory, queue and walltime under jobqueue: slurm: in "
                           "~/.config/dask/jobqueue.yaml, see jobqueue.dask.org") from error  # fmt: skip


class _owned:
    def __init__(self, cluster):
        self.cluster = cluster

    def __enter__(self):
        self.client = self.cluster.get_client()
        return self.client

    def __exit__(self, *_):
        self.client.close()
        self.cluster.close()


def on_cluster(client, work: Callable, model, chunks: Iterable[list], write: Callable[[list[dict]], None], ahead: int = 2) -> dict[str, str]:
    """Hand chunks out, `ahead` a worker at any time, and `write` what `work(chunk, model)` gives; a killed worker's goes to another one.

    Returns
    -------
    dict of str to str
        Chunks that were lost, by the name their first item begins with, and why: their worker died again and again, or what it
        had done with it.
    """
    from dask.distributed import as_completed

    shared = client.submit(pickle.loads, pickle.dumps(model), pure=False)  # unlike scattered data, made again when lost
    flying, first, lost = as_completed(), {}, {}

    def land() -> None:
        future = next(flying)
        name = first.pop(future.key)
        try:
            rows = future.result()
        except Exception as error:  # the chunk's own, Dask's, or asyncio's when the result went with the worker
            lost[name] = repr(error)[:300]
        else:
            write(rows)

    for one in chunks:
        while flying.count() >= ahead * max(1, len(client.nthreads())):
            land()
        future = client.submit(work, one, shared, pure=False)
        first[future.key] = one[0][0]
        flying.add(future)
    while flying.count():
        land()
    return lost
