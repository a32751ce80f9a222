"""The atmospheric scattering model I = J t + A (1 - t), and its inversion. Images are in [0, 1] here.

Source: He et al., "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009 (Eq. 16 for the bound t0).
"""

import jax
import jax.numpy as jnp

from iassf_jax.models.brightening import luma
from iassf_jax.models.guided_filter import guided_filter
from iassf_jax.models.haze_density import atmospheric_light, dark_channel, local_minimum
from iassf_jax.models.windows import box_mean

Number = float | jax.Array

BOUND = 0.1
"""t0: less transmission than this is taken for this: noise is never amplified by more than ten."""
DETAIL_GAIN = 4.0
"""How much what is finer than the guided filter keeps is amplified at most: in flat places that is noise."""
AIR_POWER = 12
"""Of `seen_air`: how much more a haze density of nearly 1 counts than one of 0.8."""
AIR_PRIOR = 0.02
"""Of `seen_air`: what the prior counts against a pixel that shows nothing but air."""


def first_haze(visible: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Transmission and air light by the dark channel prior, where a network's corrections begin (Eq. 3-4).

    Windows are those of He et al. (15 pixels, filter radius 60, of images some 640 wide), in proportion.

    Args:
        visible: float32[B, h, w, 3] in [0, 1], hazy, at working size.

    Returns:
        t, float32[B, h, w] in [0.05, 0.98], and A, float32[B, 3] in [0.1, 1].
    """
    longest = max(visible.shape[1:3])
    window, radius = 2 * (longest * 15 // 1280) + 1, max(1, longest * 60 // 640)
    dark = dark_channel(visible, window)
    light = jnp.stack([atmospheric_light(visible[..., c], dark) for c in range(3)], axis=-1)
    light = jnp.maximum(light, 0.1)
    t = 1 - 0.95 * local_minimum((visible / light[:, None, None]).min(axis=-1), window)
    t = guided_filter(luma(visible), t, radius)
    return jnp.clip(t, 0.05, 0.98), light


def corrected_transmission(first: jax.Array, correction: jax.Array) -> jax.Array:
    """log t * exp(correction), of maps of one size: 0 leaves it, -6 makes clear air of any haze."""
    return jnp.exp(jnp.log(first) * jnp.exp(jnp.clip(correction, -8.0, 3.0)))


def seen_air(visible: jax.Array, t: jax.Array, prior: jax.Array, sureness: jax.Array) -> jax.Array:
    """Air light A where it can be seen: the mean colour of the haziest pixels around, far ones along the horizon too.

    Where t is small an error of A is amplified by 1 / t, which blackens skies; what looks like air there is air.

    Args:
        visible: float32[B, h, w, 3] in [0, 1], hazy.
        t: float32[B, h, w], transmission.
        prior: float32[B, h, w, 3], A where no air is seen.
        sureness: float32[B, h, w], -3 to 3: added to the logarithm of each pixel's weight, which is (1 - t) **
            AIR_POWER over the square root of the largest one of the image.

    Returns:
        float32[B, h, w, 3].
    """
    density = jnp.maximum(1 - t, 1e-3)
    largest = jax.lax.stop_gradient(density.max(axis=(1, 2), keepdims=True))
    weight = (density / jnp.sqrt(largest)) ** AIR_POWER * jnp.exp(jnp.clip(sureness, -3, 3))
    planes = jnp.concatenate([weight[None], jnp.moveaxis(weight[..., None] * visible, -1, 0)])
    planes = planes.reshape(-1, *t.shape[1:])
    height, width = t.shape[1:]
    around = max(1, height // 24), max(1, width // 8)
    planes = box_mean(box_mean(planes, around, around), around, around)
    weights, *colours = planes.reshape(4, *t.shape)
    found = jnp.stack(colours, axis=-1) + AIR_PRIOR * prior
    return found / (weights + AIR_PRIOR)[..., None]


def dehaze(
    visible: jax.Array,
    t: jax.Array,
    airlight: jax.Array,
    bound: Number = BOUND,
    strength: Number = 1.0,
    base: jax.Array | None = None,
) -> jax.Array:
    """J = I + (1 / max(t, t0) - 1) (I - A), unclipped.

    Args:
        visible: float32[B, H, W, 3], I.
        t: float32[B, H, W].
        airlight: float32[B, H, W, 3], A.
        bound: t0, above 0 to 1: how much haze may be taken off at most.
        strength: 0 (leaves the image) to 1.
        base: float32[B, H, W, 3], I without noise; what I has beside it is amplified `DETAIL_GAIN` times at most.
            None: I.
    """
    gain = (strength * (1 / jnp.maximum(t, jnp.maximum(bound, 1e-3)) - 1))[..., None]
    if base is None:
        return visible + gain * (visible - airlight)
    return visible + gain * (base - airlight) + jnp.minimum(gain, DETAIL_GAIN - 1) * (visible - base)


def bounded_clear(clear: jax.Array, t: jax.Array, airlight: jax.Array, bound: float = BOUND) -> jax.Array:
    """What `dehaze` makes of an image when t and A are right: clear, with the haze that stays where t is below t0."""
    kept = jnp.minimum(t / bound, 1)[..., None]
    return clear * kept + airlight * (1 - kept)
