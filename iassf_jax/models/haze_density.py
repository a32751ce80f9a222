"""Haze density estimation (HDE, Eq. 3-4), differentiable and on the device.

Sources: He et al., "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009 (dark channel, atmospheric
light, transmission); He et al., "Guided Image Filtering", ECCV 2010. Everything is computed in float32.
"""

import fractions
from typing import NamedTuple

import jax
import jax.numpy as jnp

from iassf_jax.models.guided_filter import guided_filter
from iassf_jax.models.windows import sliding


def local_minimum(x: jax.Array, window: int) -> jax.Array:
    """Minimum over a centred window x window neighbourhood; pixels outside the image are ignored.

    Args:
        x: float[B, H, W].
        window: odd, in pixels; may exceed the image.
    """
    before = window // 2
    pads = ((0, 0), (before, window - 1 - before), (before, window - 1 - before))
    x = jnp.pad(x, pads, constant_values=jnp.inf)
    for axis in (1, 2):
        x = sliding(x, window, axis, jnp.minimum)
    return x


def dark_channel(images: jax.Array, window: int = 15) -> jax.Array:
    """Minimum over the channels and over a window x window neighbourhood: float[B, H, W, C] -> float[B, H, W]."""
    return local_minimum(images.min(axis=-1), window)


def atmospheric_light(image: jax.Array, dark: jax.Array, fraction: float = 0.001) -> jax.Array:
    """Mean of an image at the brightest `fraction` of the dark channel's pixels (at least one).

    Args:
        image, dark: float[B, H, W].

    Returns:
        float[B]: one number an image.
    """
    batch, height, width = dark.shape
    share = fractions.Fraction(str(fraction))  # in integers: height and width may be symbols, when exported
    count = max(1, height * width * share.numerator // share.denominator)
    _, index = jax.lax.top_k(jax.lax.stop_gradient(dark).reshape(batch, -1), count)
    return jnp.take_along_axis(image.reshape(batch, -1), index, axis=1).mean(axis=1)


def normalise_image(x: jax.Array, extremes: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
    """Brings each image of float[B, ...] to [0, 1] by its own extremes; a constant one becomes 0.

    Given `extremes`, the lowest and the highest value of a larger image, float[B] each, it goes by those.
    """
    low, high = (e.reshape(-1, *[1] * (x.ndim - 1)) for e in (extremes or _extremes(x)))
    spread = high - low
    return (x - low) / jnp.where(spread > 1e-8, spread, 1.0)


def _extremes(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    axes = tuple(range(1, x.ndim))
    return x.min(axis=axes), x.max(axis=axes)


class HazeScale(NamedTuple):
    """What the estimate takes from the whole image, float32[B] each.

    Attributes:
        low, high: extremes of the channel mean.
        light: the atmospheric light A, as a part of the way from low to high.
    """

    low: jax.Array
    high: jax.Array
    light: jax.Array


def feature_planes(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and minimum over the channels, all that the estimate reads: float[B, H, W, C] -> float32[B, H, W] twice."""
    features = features.astype(jnp.float32)
    return features.mean(axis=-1), features.min(axis=-1)


def haze_scale(mean: jax.Array, minimum: jax.Array, window: int = 15, fraction: float = 0.001) -> HazeScale:
    """The scale of whole images, from their `feature_planes`.

    Args:
        mean, minimum: float32[B, H, W].
        window: side of the dark channel's neighbourhood, pixels.
        fraction: brightest part of the dark channel that makes the atmospheric light A.
    """
    extremes = _extremes(mean)
    light = atmospheric_light(normalise_image(mean, extremes), local_minimum(minimum, window), fraction)
    return HazeScale(*extremes, light)


def haze_density(
    features: jax.Array,
    window: int = 15,
    omega: float = 0.95,
    fraction: float = 0.001,
    radius: int = 60,
    epsilon: float = 1e-4,
) -> jax.Array:
    """Haze density H = 1 - T' of visible features (Eq. 3-4).

    T = 1 - omega * dark_channel(F~ / A), refined to T' by a guided filter whose guide is F~, the channel mean. F~ is
    brought to [0, 1] once more: a mean of many channels spans little of the range of its channels.

    Args:
        features: float[B, H, W, C], any range.
        window: side of the dark channel's neighbourhood, pixels.
        omega: how much of the haze counts (1: all).
        fraction: brightest part of the dark channel that makes the atmospheric light A.
        radius, epsilon: of the guided filter.

    Returns:
        float32[B, H, W] in [0, 1].
    """
    mean, minimum = feature_planes(features)
    return scaled_haze_density(mean, haze_scale(mean, minimum, window, fraction), window, omega, radius, epsilon)


def scaled_haze_density(
    mean: jax.Array,
    scale: HazeScale,
    window: int = 15,
    omega: float = 0.95,
    radius: int = 60,
    epsilon: float = 1e-4,
) -> jax.Array:
    """`haze_density` of features whose channel mean is float32[B, H, W], with the scale of the whole image."""
    mean = normalise_image(mean, (scale.low, scale.high))
    light = scale.light[:, None, None]
    relative = mean / jnp.where(light > 1e-6, light, 1.0)
    transmission = 1.0 - omega * local_minimum(relative, window)
    return jnp.clip(1.0 - guided_filter(mean, transmission, radius, epsilon), 0.0, 1.0)
