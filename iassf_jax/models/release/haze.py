"""The haze estimator of the authors' released network, on the device and without gradient.

It computes on 8-bit images and refines in float64. Here the window sums are sums of integers and therefore exact, so
that float32 is enough for the rest.
"""

import functools

import jax
import jax.numpy as jnp

from iassf_jax.models.fast.plain import is_plain
from iassf_jax.models.haze_density import local_minimum
from iassf_jax.models.windows import box_mean, box_sum

_BEFORE, _AFTER = 30, 29  # pixels of the window on each side of its centre: 60x60
_LEVELS = 255
_MIDDLE = 128.0  # values are counted from here: smaller numbers round less


def channel_mean(features: jax.Array) -> jax.Array:
    """Mean over the channels, float[B, H, W, C] -> float32[B, H, W], added up as PyTorch does: see `to_levels`."""
    channels = [features[..., i].astype(jnp.float32) for i in range(features.shape[-1])]
    groups = [functools.reduce(jnp.add, channels[i : i + 16]) for i in range(0, len(channels), 16)]
    total = functools.reduce(jnp.add, groups[::-1])
    return _settle(total / _settle(jnp.float32(len(channels)), total), total)


def _settle(x: jax.Array, near: jax.Array) -> jax.Array:
    """x in the shape of `near`, rounded for good: adds to its bits an integer that is zero unless `near` is NaN."""
    if is_plain():
        return jnp.broadcast_to(x, near.shape)
    zero = jnp.isnan(near).astype(jnp.int32)
    bits = jax.lax.bitcast_convert_type(jnp.broadcast_to(x, near.shape), jnp.int32)
    return jax.lax.bitcast_convert_type(bits + zero, jnp.float32)


def extremes(mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lowest and highest value of each image: float32[B, H, W] -> float32[B] twice."""
    return mean.min(axis=(1, 2)), mean.max(axis=(1, 2))


def to_levels(mean: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Stretches a `channel_mean` from low ... high, the extremes of the whole image, to 8 bits: int32[B, H, W].

    One unit in the last place moves a value that sits on an edge to another level, so each operation is rounded just as
    PyTorch rounds it on a CPU: channels are added up 16 at a time, divisions are divisions (XLA would multiply by the
    reciprocal) and nothing is contracted to a fused multiply-add. `_settle` sees to that: it adds an integer that is
    zero, which the compiler cannot know, to the bits.
    """
    low, high = low[:, None, None], high[:, None, None]
    stretched = _settle((mean - low) / _settle(high - low + 1e-8, mean), mean)
    return jnp.clip(jnp.floor(_LEVELS * stretched).astype(jnp.int32), 0, _LEVELS)


def guided_filter_levels(guide: jax.Array, image: jax.Array, epsilon: float = 1e-4) -> jax.Array:
    """Guided filter of 8-bit images, 60x60 window, mirrored borders (reflect).

    Args:
        guide, image: int32[B, H, W] in 0..255.
        epsilon: for images in [0, 1].

    Returns:
        float32[B, H, W], in levels.
    """
    window = {"before": _BEFORE, "after": _AFTER, "border": "reflect"}
    total, mean = functools.partial(box_sum, **window), functools.partial(box_mean, **window)
    area = (_BEFORE + _AFTER + 1) ** 2
    sum_g, sum_i, sum_gi, sum_gg = jnp.split(total(jnp.concatenate([guide, image, guide * image, guide * guide])), 4)

    def covariance(sum_a: jax.Array, sum_b: jax.Array, sum_ab: jax.Array) -> jax.Array:
        """E[ab] - E[a] E[b], about the means' integer parts, so that the big terms cancel exactly."""
        low_a, low_b = sum_a // area, sum_b // area
        about = sum_ab - low_a * sum_b - low_b * sum_a + area * low_a * low_b
        rest = (sum_a - area * low_a) * (sum_b - area * low_b)
        return about.astype(jnp.float32) / area - rest.astype(jnp.float32) / area**2

    mean_g, mean_i = (s.astype(jnp.float32) / area - _MIDDLE for s in (sum_g, sum_i))
    variance = covariance(sum_g, sum_g, sum_gg)
    slope = covariance(sum_g, sum_i, sum_gi) / (variance + epsilon * _LEVELS**2)
    intercept = mean_i - slope * mean_g
    slope, intercept = jnp.split(mean(jnp.concatenate([slope, intercept])), 2)
    return slope * (guide.astype(jnp.float32) - _MIDDLE) + intercept + _MIDDLE


def release_haze_density(features: jax.Array, window: int = 15, omega: float = 0.95) -> jax.Array:
    """H = 1 - T', with T = 1 - omega * dark channel and T' its guided filtering (linear, so it is applied to the dark
    channel itself).

    Args:
        features: float[B, H, W, C], any range; no gradient flows back to them.
        window: side of the dark channel's neighbourhood, pixels.
        omega: how much of the haze counts (1: all).

    Returns:
        float32[B, H, W], about 0 to 1: the filter may overshoot, and nothing is clipped.
    """
    mean = channel_mean(features)
    return scaled_release_haze_density(mean, *extremes(mean), window, omega)


def scaled_release_haze_density(
    mean: jax.Array, low: jax.Array, high: jax.Array, window: int = 15, omega: float = 0.95
) -> jax.Array:
    """`release_haze_density` of a `channel_mean`, with the extremes of the whole image, float32[B] each."""
    levels = to_levels(*map(jax.lax.stop_gradient, (mean, low, high)))
    dark = local_minimum(levels.astype(jnp.float32), window).astype(jnp.int32)
    return omega / _LEVELS * guided_filter_levels(levels, dark)
