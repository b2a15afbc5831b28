"""Chunks of work on a Dask cluster: this machine's cores, SLURM, or a scheduler that runs already."""

from __future__ import annotations

import math
import pickle
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext

PATIENCE_S = 600.0
"""Seconds without any worker after which the user is told."""
LOST_S = 30.0
"""Seconds after the last of a job's workers left until another job takes its place: a worker that only starts anew is back by then."""
_POLL_S = 5.0


def connect(client, workers: int | None):
    """A context that gives a Dask client, or None for this process.

    Raises
    ------
    ValueError
        For less than one worker; see also `slurm_cluster`.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; at least one has to do the work")
    if client is None and (workers or 1) == 1:
        return nullcontext(None)
    from dask.distributed import Client, LocalCluster

    if client in (None, "local"):
        return _owned(LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None))
    if client == "slurm":
        cluster, jobs = slurm_cluster(), workers or 1
        cluster.scale(jobs=jobs)
        cluster.adapt(_replacing(), minimum_jobs=jobs, maximum_jobs=jobs, interval=f"{_POLL_S} s")
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


def _replacing():
    from distributed import Adaptive

    class Replacing(Adaptive):
        """Submits a job anew when it ended (at its walltime, say); Dask's own does so for jobs of a single worker only."""

        async def recommendations(self, target: int) -> dict:
            seen, cluster, now = self.__dict__.setdefault("seen", {}), self.cluster, time.monotonic()
            for job in cluster.worker_spec:
                if any(str(name).startswith(f"{job}-") for name in self.observed):
                    seen[job] = now
                elif now - seen.get(job, now) > LOST_S and job in cluster.workers:
                    del seen[job]
                    await cluster.workers.pop(job).close()
            return await super().recommendations(target)

    return Replacing


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

    Where there is no worker, it waits for one (a queue may be long), and warns after `PATIENCE_S`.

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
        _wait(client, flying)
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


def _wait(client, flying) -> None:
    """Until a chunk came back; says so once when nobody has been there to work on it."""
    last = asked = time.monotonic()  # when there was a worker, and when the scheduler was asked
    while not flying.has_ready():
        time.sleep(0.05)
        if (now := time.monotonic()) - asked > _POLL_S:
            asked = now
            if client.nthreads():
                last = now
            elif now - last > PATIENCE_S:
                warnings.warn(f"no worker for {now - last:.0f} s: {flying.count()} chunks (and all after them) wait for one to join "
                              f"{client.scheduler.address}; look whether its jobs are queued, or start workers", stacklevel=4)  # fmt: skip
                last = math.inf
