"""What the default device can do that others cannot, and what each of several devices does for itself."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import jax
from jax.sharding import Mesh, PartitionSpec

from iassf_jax.models.fast.plain import is_portable


@functools.cache
def _is_recent_nvidia() -> bool:
    device = jax.devices()[0]
    if device.platform != "gpu" or "nvidia" not in device.device_kind.lower():
        return False
    return float(getattr(device, "compute_capability", 0)) >= 8.0


def has_kernels(x: jax.Array) -> bool:
    """Whether `gpu_kernels` may work on `x`: on NVIDIA GPUs since Ampere, of sizes that are known.

    Ask before importing them: Pallas costs start-up, and is not there on every system.
    """
    return not is_portable() and all(isinstance(n, int) for n in x.shape) and _is_recent_nvidia()


_mesh: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh", default=None)


@contextlib.contextmanager
def batches_cut_over(mesh: Mesh) -> Iterator[None]:
    """While a network is traced, its batches are cut along their first axis, over the one axis of this mesh."""
    token = _mesh.set(mesh if mesh.size > 1 else None)
    try:
        yield
    finally:
        _mesh.reset(token)


def on_each_device(function: Callable[..., jax.Array], *cut: bool) -> Callable[..., jax.Array]:
    """The function on each device's share of a batch: XLA cannot cut a kernel, and would give every device all of it.

    Args:
        function: of arrays; its result begins with the batch.
        cut: of each argument, whether it begins with the batch; else every device has it whole.
    """
    mesh = _mesh.get()
    if mesh is None:
        return function
    batch = PartitionSpec(*mesh.axis_names)
    specs = tuple(batch if is_cut else PartitionSpec() for is_cut in cut)
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=batch, check_vma=False)
