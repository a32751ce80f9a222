"""What a whole image says about its haze, as a scale and a shift of features at each place (ours)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from iassf_jax.models.whole_image import Region, of_whole_image, resize_into, weighted_means

SHARPNESS = (-40.0, -10.0, -3.0, 3.0, 10.0, 40.0)  # of the soft minima and maxima of colours in [-1, 1]


class GlobalModulation(nn.Module):
    """Scales and shifts each channel, in each region, by what the whole image holds (FiLM, Perez et al., AAAI 2018).

    How dense the haze is, and which light it has, shows in the extremes of the colours, before and after dehazing, as
    in the dark channel prior; the blocks see correlations of normalised channels alone. Here a perceptron sees means,
    deviations and soft extremes, log(mean(exp(b x))) / b, of learned regions, and gives each of them a scale and a
    shift. Regions blend: their shares of a place sum to 1, and are resized to the image as prompts are. It starts as
    the identity.

    `stride`: the description is of every stride-th pixel of every stride-th row.
    """

    regions: int = 6
    region_size: int = 8
    hidden: int = 64
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, hazy: jax.Array, dehazed: jax.Array, region: Region | None = None) -> jax.Array:
        """Modulates features.

        Args:
            x: float[B, H, W, C], features; H and W are multiples of `stride`.
            hazy, dehazed: float32[B, H, W, 3] in about [-1, 1], the image, and what the features make of it.
            region: where they lie in a larger image; None: they are the whole.

        Returns:
            The scaled and shifted features, float[B, H, W, C].
        """
        shape = (self.region_size, self.region_size, self.regions)
        shares = jax.nn.softmax(self.param("regions", nn.initializers.normal(1.0), shape))
        # Sums of exp(40 * 1.5) over as many pixels as there may be are still finite in float32.
        some = [image[:, :: self.stride, :: self.stride] for image in (hazy, dehazed)]
        colours = jnp.clip(jnp.concatenate(some, axis=-1).astype(jnp.float32), -1.5, 1.5)
        means = of_whole_image(self, "description", lambda: self._means(colours, shares, region))
        # tanh: what no training image was like must not be scaled without bound
        hidden = jnp.tanh(nn.Dense(self.hidden, name="hidden")(description_of(means)))
        outputs = 2 * x.shape[-1] * self.regions
        change = nn.Dense(outputs, kernel_init=nn.initializers.zeros, name="change")(hidden)
        change = change.reshape(-1, self.regions, 2 * x.shape[-1])
        low = jnp.einsum("hwk,bkc->bhwc", shares, change).astype(x.dtype)
        scale, shift = jnp.split(resize_into(low, x.shape[1:3], region), 2, axis=-1)
        return x + x * scale + shift

    def _means(self, colours: jax.Array, shares: jax.Array, region: Region | None) -> jax.Array:
        """Over the pixels, times their shares of each region: what the description is of, and one. [B, regions, n]."""
        place = None if region is None else region.every(self.stride)
        shares = resize_into(shares[None], colours.shape[1:3], place)[0]
        terms = [colours, colours**2, *(jnp.exp(b * colours) for b in SHARPNESS), jnp.ones_like(colours[..., :1])]
        return weighted_means(jnp.concatenate(terms, axis=-1), shares)


def description_of(means: jax.Array) -> jax.Array:
    """Means, deviations and soft extremes of each region: [B, regions, n] -> [B, n - 1 of each region]."""
    means, share = means[..., :-1], means[..., -1:]
    mean, square, *exponentials = jnp.split(means / jnp.maximum(share, 1e-8), 2 + len(SHARPNESS), axis=-1)
    deviation = jnp.sqrt(jnp.maximum(square - mean**2, 1e-8))
    extremes = [jnp.log(e) / b for e, b in zip(exponentials, SHARPNESS, strict=True)]
    description = jnp.concatenate([mean, deviation, *extremes], axis=-1)
    return description.reshape(description.shape[0], -1)
