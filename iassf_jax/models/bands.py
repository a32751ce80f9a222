"""A Restormer block's maps, a band of rows at a time, so that a CPU works in its caches.

The maps between a block's convolutions are three to five times as wide as its input. As a whole they go through memory
several times; here a band is normalised, projected, convolved and reduced before the next one begins, and the backward
pass makes it again. The plain forms are in `restormer`, which takes these on a CPU (docs/performance.md has what it
brings).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from iassf_jax.models.layers import depthwise_conv, pointwise_product
from iassf_jax.models.plain import is_plain
from iassf_jax.models.whole_image import pixel_shares

Map = Callable[[jax.Array], jax.Array]
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
    if count < 2:
        return None
    # A number of rows near that which leaves no rest, if there is one: a rest costs a copy of the map.
    rows = -(-height // count)
    near = [n for n in range(max(MIN_ROWS, rows * 2 // 3), rows * 4 // 3 + 1) if height % n == 0]
    rows = min(near, key=lambda n: abs(n - rows), default=rows)
    return Bands(-(-height // rows), rows) if rows < height else None


def over_bands(
    function: Callable[..., tuple[Any, jax.Array]], maps: tuple[jax.Array, ...], bands: Bands, start: Any
) -> tuple[Any, jax.Array]:
    """Runs `function(total, rows, first) -> (total, result)` down some maps of one size.

    Args:
        function: gets the running total, of each map a band with a row more above and below, [B, rows + 2, W, C], and
            the number of the band's first row. Rows outside the image are zero.
        maps: float[B, H, W, C].
        bands: as `cut` gives.
        start: the first total, any tree.

    Returns:
        The last total, and the results [B, rows, W, C'] put together and cropped to H rows.
    """
    height = maps[0].shape[1]

    def with_neighbours(x: jax.Array) -> tuple[jax.Array, ...]:
        rows = _split(x, bands)
        outside = jnp.zeros_like(rows[:1, :, :1])
        above = jnp.concatenate([outside, rows[:-1, :, -1:]])
        return above, rows, jnp.concatenate([rows[1:, :, :1], outside])

    @jax.checkpoint
    def step(total: Any, band: tuple) -> tuple[Any, jax.Array]:
        parts, number = band
        return function(total, *(jnp.concatenate(part, axis=1) for part in parts), number * bands.rows)

    parts = tuple(with_neighbours(x) for x in maps)
    total, results = jax.lax.scan(step, start, (parts, jnp.arange(bands.count)))
    return total, _join(results, height)


def by_rows(function: Map, x: jax.Array, bands: Bands) -> jax.Array:
    """Runs a function of rows float[B, rows, W, C], which need no neighbours, down a map; results [B, H, W, C']."""
    return _join(jax.lax.map(jax.checkpoint(function), _split(x, bands)), x.shape[1])


def _split(x: jax.Array, bands: Bands) -> jax.Array:
    missing = bands.count * bands.rows - x.shape[1]
    return rearrange(jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0))), "b (n h) w c -> n b h w c", n=bands.count)


def _join(x: jax.Array, height: int) -> jax.Array:
    return rearrange(x, "n b h w c -> b (n h) w c")[:, :height]


def _flat(x: jax.Array) -> jax.Array:
    return rearrange(x, "b h w c -> b (h w) c")


def _expand(
    rows: jax.Array, norm: Map, project: jax.Array, convolve: jax.Array, first: jax.Array, height: int
) -> jax.Array:
    """Norm, 1x1 and 3x3 depthwise convolution of a band with its neighbours: [B, h + 2, W, C] -> [B, h, W, C']."""
    number = first - 1 + jnp.arange(rows.shape[1])[:, None, None]
    rows = jnp.where((number >= 0) & (number < height), norm(rows), 0)  # a norm's bias is not zero outside the image
    rows = jnp.pad(rows, ((0, 0), (0, 0), (1, 1), (0, 0)))
    # The barrier: else XLA computes the products anew for each of the nine taps.
    return depthwise_conv(jax.lax.optimization_barrier(pointwise_product(rows, project)), convolve)


def attention_in_bands(
    x: jax.Array, norm: Map, project: jax.Array, convolve: jax.Array, bands: Bands
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Queries, keys and values of a normalised map, of which only the values leave the band.

    Args:
        x: float[B, H, W, C].
        norm: of each pixel [..., C].
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
        qkv = jax.lax.optimization_barrier(_expand(rows, norm, project, convolve, first, height))
        q, k, v = jnp.split(qkv, 3, axis=-1)
        share = jax.lax.dynamic_slice_in_dim(shares, first, bands.rows)[None, :, :, None]
        counted_q, counted_k = ((t.astype(jnp.float32) * share).astype(t.dtype) for t in (q, k))
        sums = (
            jnp.einsum("bpi,bpj->bij", *(_flat(t) for t in (counted_q, k)), preferred_element_type=jnp.float32),
            *((a.astype(jnp.float32) * b).sum(axis=(1, 2)) for a, b in ((counted_q, q), (counted_k, k))),
        )
        return jax.tree.map(jnp.add, total, sums), v

    start = (jnp.zeros((batch, channels, channels)), jnp.zeros((batch, channels)), jnp.zeros((batch, channels)))
    return over_bands(step, (x,), bands, start)


def feed_forward_in_bands(
    x: jax.Array,
    v: jax.Array,
    matrix: jax.Array,
    norm: Map,
    project_in: jax.Array,
    convolve: jax.Array,
    project_out: jax.Array,
    gate: Map,
    bands: Bands,
) -> jax.Array:
    """The rest of a block: x + v matrix, and to that `restormer.GDFN` of its norm; wide maps only as bands.

    Args:
        x, v: float[B, H, W, C], the block's input and the attention's values.
        matrix: float[B, C, C], of each image.
        norm: of each pixel [..., C].
        project_in, convolve, project_out: kernels of GDFN.
        gate: halves the channels.
        bands: as `cut` gives.
    """
    height = x.shape[1]

    def step(total: None, x: jax.Array, v: jax.Array, first: jax.Array) -> tuple[None, jax.Array]:
        mixed = jnp.einsum("bpi,bio->bpo", _flat(v), matrix.astype(v.dtype)).reshape(x.shape)
        x = jax.lax.optimization_barrier(x + mixed)
        gated = jax.lax.optimization_barrier(gate(_expand(x, norm, project_in, convolve, first, height)))
        return total, x[:, 1:-1] + pointwise_product(gated, project_out)

    return over_bands(step, (x, v), bands, None)[1]
