"""The chunks of a table on a Ray cluster: each worker is an actor with a `Fuser` of its own."""

import functools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from iassf_jax.errors import UserError
from iassf_jax.fuse.bulk import Chunk, ChunkFuser, Engine


def ray_engine(address: str | None, gpus: float | None, workers: int | None) -> Engine:
    """What runs chunks on a cluster; a worker that dies is started anew, and its chunk with it.

    Args:
        address: of the cluster, as `ray.init` takes it; None: a cluster of this machine alone.
        gpus: GPUs a worker; None: 1 where the cluster has any, else 0.
        workers: how many; None: as many as there are GPUs for, or one a machine.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install 'iassf-jax[ray]'") from None
    if not ray.is_initialized():
        try:
            with warnings.catch_warnings():  # it forks before it starts other programs, which is safe
                warnings.filterwarnings("ignore", message="os.fork")
                settings = {} if address else {"include_dashboard": False}
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **settings)
        except (ConnectionError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())[:160]
            raise UserError(f"--address {address}: no Ray cluster answers ({words}): see `ray status`") from None
    return functools.partial(_run, ray, gpus, workers)


def _run(ray: Any, gpus: float | None, workers: int | None, work: ChunkFuser, chunks: list[Chunk]) -> Iterator[Chunk]:
    import pyarrow
    import ray.data

    if not chunks:
        return
    there = ray.cluster_resources().get("GPU", 0)
    gpus = min(there, 1) if gpus is None else gpus
    if gpus > there:
        raise UserError(f"--gpus-per-worker is {gpus:g}, the cluster has {there:g}: use less, or 0 for CPUs")
    count = workers or (int(there // gpus) if gpus else sum(node["Alive"] for node in ray.nodes()))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    blocks = [pyarrow.table({name: list(values) for name, values in chunk.items()}) for chunk in chunks]
    results = ray.data.from_arrow(blocks).map_batches(
        _Worker,
        fn_constructor_args=(work,),
        batch_size=None,  # a block is a chunk
        compute=ray.data.ActorPoolStrategy(size=min(count, len(chunks))),
        num_gpus=gpus,
    )
    yield from results.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0)


class _Worker:
    """Of Ray Data, which wants a class."""

    def __init__(self, work: ChunkFuser) -> None:
        from iassf_jax.runtime import set_up

        set_up()
        self._work = work

    def __call__(self, chunk: dict[str, Any]) -> dict[str, Any]:
        return self._work(chunk)
