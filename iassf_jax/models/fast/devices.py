"""What the default device can do that others cannot."""

import functools

import jax

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
