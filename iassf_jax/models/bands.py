"""A Restormer block's wide maps, a band of rows at a time, so that a CPU works in its caches.

The maps between a block's convolutions are three to five times as wide as its input. As a whole they go through memory
several times; here a band is projected, convolved and reduced before the next one begins, and the backward pass makes
it again. The plain forms are in `restormer`, which takes these on a CPU (docs/performance.md has what it brings).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from iassf_jax.models.layers import depthwise_conv, pointwise_product
from iassf_jax.models.plain import is_plain
from iassf_jax.models.whole_image import pixel_shares

PIXELS = 10_000  # of a band: a few MB of the widest maps
MIN_ROWS = 8  # each band projects two rows more, which its neighbours project as well


class Bands(NamedTuple):
    """`count` bands of `rows` rows cover an image; the last may reach below it."""

    count: int
    rows: int


def cut(x: jax.Array) -> Bands | None:
    """The bands of a map [B, H, W, C]; None where it should stay whole: not on a CPU, small, or of a symbolic size."""
    batch, height, width = x.shape[:3]
    if is_plain() or jax.default_backend() != "cpu" or not all(isinstance(n, int) for n in x.shape):
        return None
    count = min(round(batch * height * width / PIXELS), height // MIN_ROWS)
    return Bands(-(-height // (rows := -(-height // count))), rows) if count > 1 else None


def expand(x: jax.Array, project: jax.Array, convolve: jax.Array) -> jax.Array:
    """1x1 and 3x3 depthwise convolution of rows with their neighbours: [B, h + 2, W + 2, C] -> [B, h, W, C']."""
    # The barrier: else XLA computes the products anew for each of the nine taps.
    return depthwise_conv(jax.lax.optimization_barrier(pointwise_product(x, project)), convolve)


def over_bands(
    function: Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]], x: jax.Array, bands: Bands, start: Any
) -> tuple[Any, jax.Array]:
    """Runs `function(total, rows, first) -> (total, result)` down a map.

    Args:
        function: gets the running total, a band of x with a pixel more on each side (zero outside the image),
            [B, rows + 2, W + 2, C], and the number of its first row.
        x: float[B, H, W, C].
        bands: as `cut` gives.
        start: the first total, any tree.

    Returns:
        The last total, and the results [B, rows, W, C'] put together and cropped to H rows.
    """
    height = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (1, bands.count * bands.rows - height + 1), (1, 1), (0, 0)))

    @jax.checkpoint
    def step(total: Any, first: jax.Array) -> tuple[Any, jax.Array]:
        return function(total, jax.lax.dynamic_slice_in_dim(padded, first, bands.rows + 2, axis=1), first)

    total, results = jax.lax.scan(step, start, jnp.arange(bands.count) * bands.rows)
    return total, rearrange(results, "n b h w c -> b (n h) w c")[:, :height]


def _flat(x: jax.Array) -> jax.Array:
    return rearrange(x, "b h w c -> b (h w) c")


def attention_in_bands(
    x: jax.Array, project: jax.Array, convolve: jax.Array, bands: Bands
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Queries, keys and values of a map, of which only the values leave the band.

    Args:
        x: float[B, H, W, C].
        project, convolve: kernels float[C, 3C] and float[3, 3, 1, 3C].
        bands: as `cut` gives.

    Returns:
        Means over the counted pixels, float32, of q k^T [B, C, C] and of the squares of q and k [B, C]; and the values
        [B, H, W, C].
    """
    batch, height, width, channels = x.shape
    shares = pixel_shares(height, width)
    if shares is None:
        shares = jnp.full((height, 1), 1.0 / (height * width))
    shares = jnp.pad(shares, ((0, bands.count * bands.rows - height), (0, 0)))

    def step(total: Any, rows: jax.Array, first: jax.Array) -> tuple[Any, jax.Array]:
        q, k, v = jnp.split(jax.lax.optimization_barrier(expand(rows, project, convolve)), 3, axis=-1)
        share = jax.lax.dynamic_slice_in_dim(shares, first, bands.rows)[None, :, :, None]
        counted_q, counted_k = ((t.astype(jnp.float32) * share).astype(t.dtype) for t in (q, k))
        sums = (
            jnp.einsum("bpi,bpj->bij", *(_flat(t) for t in (counted_q, k)), preferred_element_type=jnp.float32),
            *((a.astype(jnp.float32) * b).sum(axis=(1, 2)) for a, b in ((counted_q, q), (counted_k, k))),
        )
        return jax.tree.map(jnp.add, total, sums), v

    start = (jnp.zeros((batch, channels, channels)), jnp.zeros((batch, channels)), jnp.zeros((batch, channels)))
    return over_bands(step, x, bands, start)


def feed_forward_in_bands(
    x: jax.Array,
    project_in: jax.Array,
    convolve: jax.Array,
    project_out: jax.Array,
    gate: Callable[[jax.Array], jax.Array],
    bands: Bands,
) -> jax.Array:
    """`restormer.GDFN` of float[B, H, W, C], its wide maps only as bands; kernels as there."""

    def step(total: None, rows: jax.Array, _: jax.Array) -> tuple[None, jax.Array]:
        gated = jax.lax.optimization_barrier(gate(expand(rows, project_in, convolve)))
        return total, pointwise_product(gated, project_out)

    return over_bands(step, x, bands, None)[1]
