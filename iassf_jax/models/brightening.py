"""Infrared in the visible image, in its own colours: what is added, and how an image gets brighter (ours).

Images are in [0, 1] here.
"""

import jax
import jax.numpy as jnp

from iassf_jax.models.windows import box_mean

DETAIL_RADIUS = 6
"""Of what counts as detail of the infrared image, in pixels at working size."""
BROAD, FREE = 0.5, 0.06
"""The luma up to which infrared may brighten broad areas; how much it always may, so that a single person stays."""
Number = float | jax.Array
LUMA_601 = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def luma(image: jax.Array) -> jax.Array:
    """BT.601 luma: float[B, H, W, 3] -> float[B, H, W]."""
    return sum(weight * image[..., c] for c, weight in enumerate(LUMA_601))


def without_details(infrared: jax.Array) -> jax.Array:
    """The infrared image float32[B, h, w], smoothed."""
    return box_mean(box_mean(infrared, DETAIL_RADIUS, DETAIL_RADIUS), DETAIL_RADIUS // 2, DETAIL_RADIUS // 2)


def details(infrared: jax.Array, smooth: jax.Array, mean: jax.Array) -> jax.Array:
    """What the infrared image shows beside its smooth form; less of what is darker there and cold, as skies are.

    Args:
        infrared, smooth: float32[B, H, W].
        mean: float32[B, 1, 1], of the infrared image.
    """
    difference = infrared - smooth
    warmth = jnp.clip(infrared / jnp.maximum(mean, 1e-3), 0, 1)
    return jnp.maximum(difference, 0) + warmth * jnp.minimum(difference, 0)


def kept_highlights(dehazed: jax.Array, infrared: jax.Array) -> jax.Array:
    """The share of infrared excess that leaves broad warm areas, as a road in the sun, their brightness.

    What is warm and small stays as bright as it is, and so does everything by night: the mean luma of a wide window may
    rise to `BROAD`, or by `FREE` where it is higher.

    Args:
        dehazed: float32[B, h, w, 3], a small image.
        infrared: float32[B, h, w].

    Returns:
        float32[B, h, w] in 0..1.
    """
    y = jnp.clip(luma(dehazed), 0, 1)
    wide = tuple(max(1, n // 8) for n in y.shape[1:])
    level, more = (box_mean(box_mean(x, wide, wide), wide, wide) for x in (y, jax.nn.relu(infrared - y)))
    return jnp.minimum(jnp.maximum(BROAD - level, FREE) / jnp.maximum(more, 1e-3), 1.0)


def wanted_luma(
    dehazed: jax.Array, infrared: jax.Array, excess: jax.Array, detail: jax.Array, strength: Number = 1.0
) -> jax.Array:
    """The fused image's luma, V + (1 + g) max(R - V, 0) + detail, with the lumas V and R: float32[B, H, W].

    Args:
        dehazed: float32[B, H, W, 3].
        infrared: float32[B, H, W].
        excess: float32[B, H, W], g.
        detail: float32[B, H, W], what is added of `details`.
        strength: of all that infrared adds, 0 to 1.
    """
    y = luma(dehazed)
    return y + strength * ((1 + excess) * jnp.maximum(infrared - y, 0) + detail)


def brightening(image: jax.Array, wanted: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Offset and factor, float32[B, H, W] each, that bring an image to another luma in its own colour.

    Grey takes any luma. A colour grows with the luma as far as it stays in range, up to twice, less behind haze, whose
    removal has magnified what is wrong with the colour. What is saturated gets less bright, so that a blue coat becomes
    a bright blue coat and not a white one.

    Args:
        image: float32[B, H, W, 3].
        wanted: float32[B, H, W], the luma.
        t: float32[B, H, W], transmission of the haze that was before it.
    """
    y = luma(image)
    red, green, blue = (image[..., c] for c in range(3))
    highest, lowest = (f(f(red, green), blue) for f in (jnp.maximum, jnp.minimum))
    saturation = jnp.clip((highest - lowest) / (highest + 0.15), 0, 1)
    reach = y / jnp.maximum(highest, 1e-3)  # the luma of the brightest image of this colour
    wanted = wanted - 0.6 * saturation * jnp.maximum(wanted - reach, 0)
    growth = jnp.clip(wanted / jnp.maximum(y, 1e-2), 1.0, jnp.maximum(2 * t, 1.0))
    room = jnp.minimum((1 - wanted) / jnp.maximum(highest - y, 1e-3), wanted / jnp.maximum(y - lowest, 1e-3))
    factor = jnp.where(wanted > y, jnp.minimum(growth, jnp.maximum(room, 0.0)), 1.0)
    return wanted - factor * y, factor


def brighten(image: jax.Array, offset: jax.Array, factor: jax.Array) -> jax.Array:
    """offset + factor * image, unclipped: [B, H, W, 3]."""
    return offset[..., None] + factor[..., None] * image
