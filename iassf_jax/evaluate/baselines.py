"""Two-stage baselines: dark-channel dehazing or none, followed by a classical fusion rule."""

import functools
from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.metrics.color import to_gray
from iassf_jax.models.guided_filter import guided_filter
from iassf_jax.models.haze_density import atmospheric_light, dark_channel

_LEVELS = 4


@functools.partial(jax.jit, static_argnames=("window", "omega", "radius", "epsilon", "least"))
def _restore(
    image: jax.Array, guide: jax.Array, window: int, omega: float, radius: int, epsilon: float, least: float
) -> jax.Array:
    dark = dark_channel(image[None], window)
    light = jnp.stack([atmospheric_light(image[None, ..., c], dark)[0] for c in range(3)])
    light = jnp.maximum(light, 1e-3)
    transmission = 1 - omega * dark_channel(image[None] / light.reshape(1, 1, 1, 3), window)
    transmission = guided_filter(guide[None], transmission, radius, epsilon)[0]
    return (image - light[None, None]) / jnp.maximum(transmission, least)[..., None] + light[None, None]


def dark_channel_dehazing(
    hazy: np.ndarray,
    window: int = 15,
    omega: float = 0.95,
    radius: int = 60,
    epsilon: float = 1e-4,
    least: float = 0.1,
) -> np.ndarray:
    """Dehazes by the dark channel prior, with the transmission refined by a guided filter.

    Args:
        hazy: uint8[H, W, 3].
        window: side of the dark channel's neighbourhood, pixels.
        omega: how much of the haze is taken away.
        radius, epsilon: of the guided filter, on images in [0, 1].
        least: smallest transmission.

    Returns:
        uint8[H, W, 3].

    Source:
        He, Sun, Tang, "Single image haze removal using dark channel prior", CVPR 2009, with its constants; the guided
        filter of ECCV 2010 in place of matting.
    """
    image, guide = (x.astype(np.float32) / 255 for x in (hazy, to_gray(hazy)))
    restored = np.asarray(_restore(image, guide, window, omega, radius, epsilon, least))
    return _to_uint8(restored * 255)


def _to_uint8(x: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(x + 0.5), 0, 255).astype(np.uint8)


def average(visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
    """Mean of both images: uint8[H, W, 3], uint8[H, W] -> uint8[H, W, 3]."""
    return _to_uint8((visible.astype(np.float32) + infrared[..., None]) / 2)


def maximum(visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
    """The brighter of both at each pixel and channel: uint8[H, W, 3], uint8[H, W] -> uint8[H, W, 3]."""
    return np.maximum(visible, infrared[..., None])


def laplacian_pyramid(visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
    """The larger coefficient of two Laplacian pyramids, and the mean of their coarsest level, on luma; chroma stays.

    Args:
        visible, infrared: uint8[H, W, 3], uint8[H, W].

    Returns:
        uint8[H, W, 3].

    Source:
        Burt, Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans. Communications 1983.
    """
    ycc = cv2.cvtColor(visible, cv2.COLOR_RGB2YCrCb)
    first, second = (_pyramid(x.astype(np.float32)) for x in (ycc[..., 0], infrared))
    out = (first[-1] + second[-1]) / 2
    for a, b in zip(first[-2::-1], second[-2::-1], strict=True):
        out = cv2.pyrUp(out, dstsize=a.shape[::-1]) + np.where(np.abs(a) >= np.abs(b), a, b)
    ycc[..., 0] = _to_uint8(out)
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def _pyramid(x: np.ndarray) -> list[np.ndarray]:
    """Details from fine to coarse, then what is left."""
    levels = []
    while len(levels) < _LEVELS and min(x.shape) > 1:
        smaller = cv2.pyrDown(x)
        levels.append(x - cv2.pyrUp(smaller, dstsize=x.shape[::-1]))
        x = smaller
    return [*levels, x]


DEHAZING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda hazy: hazy,
    "dark channel": dark_channel_dehazing,
}
FUSION = {"average": average, "maximum": maximum, "Laplacian pyramid": laplacian_pyramid}


def baselines(hazy: np.ndarray, infrared: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every baseline's dehazed and fused image.

    Args:
        hazy: uint8[H, W, 3].
        infrared: uint8[H, W].

    Returns:
        "DEHAZING + FUSION" -> (dehazed, fused), uint8[H, W, 3] each.
    """
    dehazed = {name: dehaze(hazy) for name, dehaze in DEHAZING.items()}
    return {
        f"{first} + {second}": (image, fuse(image, infrared))
        for first, image in dehazed.items()
        for second, fuse in FUSION.items()
    }
