"""The devices of a run, however many: a mesh with one axis, `data`, over all of them and over all processes.

Parameters lie whole on every device, a batch is cut along its first axis; XLA adds up the gradients.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from iassf_jax.errors import UserError

AXIS = "data"


@functools.cache
def data_mesh() -> Mesh:
    """Every device of every process."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def whole() -> NamedSharding:
    """The placement of what every device holds whole."""
    return NamedSharding(data_mesh(), PartitionSpec())


def cut() -> NamedSharding:
    """The placement of what is cut along its first axis."""
    return NamedSharding(data_mesh(), PartitionSpec(AXIS))


def everywhere(tree: Any) -> Any:
    """Copies of a tree of arrays, which all processes have alike, whole on every device; they may be donated."""

    def place(x: Any) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, whole(), lambda _: jnp.array(x))

    return jax.tree.map(place, tree)


def of_this_process(tree: Any) -> Any:
    """Arrays that lie whole on every device, as those of this process's first device: nothing waits for others."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def global_batch(batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """The batch of which every process has its own share."""
    return {name: jax.make_array_from_process_local_data(cut(), x) for name, x in batch.items()}


def anywhere(asked: bool) -> jax.Array:
    """Whether any process has asked, bool[]; all must call this alike. Nobody waits for it."""
    flags = jax.make_array_from_process_local_data(cut(), np.full(jax.local_device_count(), asked))
    return _any()(flags)


@functools.cache
def _any() -> Any:
    return jax.jit(jnp.any, out_shardings=whole())


def gathered(values: np.ndarray) -> np.ndarray:
    """float64[n, k] of every process, of any n, below each other in the order of the processes; to the last bit."""
    if jax.process_count() == 1:
        return values
    counts = multihost_utils.process_allgather(np.int32(len(values)))
    rows = np.zeros((counts.max(), values.shape[1]))
    rows[: len(values)] = values
    found = multihost_utils.process_allgather(rows.view(np.uint32)).view(np.float64)
    return np.concatenate([part[:count] for part, count in zip(found, counts, strict=True)])


def wait_for_all(name: str) -> None:
    """Until every process is here; `name` is that of the place."""
    multihost_utils.sync_global_devices(name)


def is_first() -> bool:
    """Whether this is the process that tells and writes for all."""
    return jax.process_index() == 0


def check_batch_size(batch_size: int) -> None:
    """Raises UserError for a batch that the devices do not divide."""
    count = jax.device_count()
    if batch_size % count:
        low, high = batch_size // count * count, -(-batch_size // count) * count
        good = " or ".join(str(n) for n in (low, high) if n)
        raise UserError(
            f"train.batch_size is {batch_size}, for all {count} devices together: use a multiple of {count}, e.g. "
            f"{good}"
        )
