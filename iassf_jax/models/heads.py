"""How features become images.

"direct" is the paper's: convolutions give the dehazed and the fused image. "soft" and "physical" are ours: what is
drawn changes the input images, so that textures and colours come from them. Fresh, they leave the hazy image as it is.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.borders import steady_border
from iassf_jax.models.layers import Conv1x1, luma
from iassf_jax.models.resampling import pixel_shuffle, pixel_unshuffle, resample
from iassf_jax.models.scattering import corrected_transmission, seen_air

RECONSTRUCTIONS = ("direct", "soft", "physical")
_ZEROS = nn.initializers.zeros


class DirectHead(nn.Module):
    """A 3x3 convolution of the restored features gives the dehazed image, a 1x1 of the fused features the fused one."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, restored: jax.Array, fused: jax.Array) -> dict[str, jax.Array]:
        """Of features float[B, H, W, C]: `dehazed` and `fused`, float[B, H, W, 3] in about [-1, 1]."""
        return {
            "dehazed": nn.Conv(3, (3, 3), dtype=self.dtype, name="dehazed")(restored),
            "fused": Conv1x1(3, dtype=self.dtype, name="fused")(fused),
        }


class SoftHead(nn.Module):
    """Soft reconstruction (Song et al., DehazeFormer, IEEE TIP 2023): gain K and offset B of the hazy image I.

    Dehazed: I + K I - B. With lumas V of that and R of the infrared image, the fused image is the dehazed one +
    (1 + g) max(R - V, 0) + h min(R, V) + change; a fresh network gives their luma maximum.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, restored: jax.Array, fused: jax.Array, hazy: jax.Array, infrared: jax.Array
    ) -> dict[str, jax.Array]:
        """Of features float[B, H, W, C] and images float32[B, H, W, 3] in [-1, 1], as `DirectHead`."""
        draw = nn.Conv(4, (3, 3), dtype=self.dtype, kernel_init=_ZEROS, name="dehazed")
        # In float32 from here on: bfloat16 has no 256 levels for the brighter half of an image.
        gain, offset = jnp.split(steady_border(draw(restored).astype(jnp.float32)), (1,), axis=-1)
        dehazed = hazy + gain * hazy - offset
        draw = Conv1x1(5, dtype=self.dtype, kernel_init=_ZEROS, name="fused")
        change, brighter, weaker = jnp.split(steady_border(draw(fused).astype(jnp.float32)), (3, 4), axis=-1)
        lumas = luma(dehazed), luma(infrared)
        excess = nn.relu(lumas[1] - lumas[0])
        return {
            "dehazed": dehazed,
            "fused": dehazed + (1 + brighter) * excess + weaker * jnp.minimum(*lumas) + change,
        }


class PhysicalHead(nn.Module):
    """Corrections of a first transmission and air light, and gains of the infrared image; fresh, all are as they were.

    Transmission is corrected pixel by pixel, see `corrected_transmission`; air light by a map of 1/8 of the features'
    size, since it varies slowly. `full_size` makes images of them. `patch`: pixels of the images along each side of a
    position of the features.
    """

    patch: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, restored: jax.Array, fused: jax.Array, t: jax.Array, airlight: jax.Array, visible: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Draws the maps.

        Args:
            restored, fused: float[B, h, w, C].
            t: float32[B, p h, p w], to correct, with p = `patch`.
            airlight: float32[B, 3], to correct.
            visible: float32[B, h, w, 3] in [0, 1], the hazy image at the features' size.

        Returns:
            Transmission, float32[B, p h, p w]; air light, float32[B, h, w, 3]; gains, float32[B, h, w, 2].
        """
        draw = nn.Conv(self.patch**2, (3, 3), dtype=self.dtype, kernel_init=_ZEROS, name="transmission")
        correction = pixel_shuffle(draw(restored).astype(jnp.float32), self.patch)[..., 0]
        cells = resample(restored.astype(jnp.float32), tuple(max(1, n // 8) for n in restored.shape[1:3]))
        change = Conv1x1(3, kernel_init=_ZEROS, name="airlight")(cells)
        gains = Conv1x1(2, dtype=self.dtype, kernel_init=_ZEROS, name="gains")(fused)
        prior = resample(airlight.reshape(-1, 1, 1, 3) + change, restored.shape[1:3])
        sureness = Conv1x1(1, kernel_init=_ZEROS, name="air")(restored.astype(jnp.float32))[..., 0]
        t = corrected_transmission(t, correction)
        small_t = pixel_unshuffle(t[..., None], self.patch).mean(axis=-1)
        return t, seen_air(visible, small_t, prior, sureness), gains.astype(jnp.float32)
