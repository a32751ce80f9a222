"""A block's maps, a band of rows at a time, so that a CPU works in its caches.

The maps between a block's convolutions are three to five times as wide as its input. As a whole they go through memory
several times; here a band is normalised, projected, convolved and reduced before the next one begins, and the backward
pass makes it again. The plain forms are in `restormer` and `dehazeformer`, which take these on a CPU
(docs/performance.md has what it brings).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from iassf_jax.models.fast.convolutions import depthwise_conv, pointwise_product
from iassf_jax.models.fast.plain import is_plain
from iassf_jax.models.whole_image import pixel_shares

Map = Callable[..., jax.Array]
PIXELS = 10_000  # of a band: a few MB of the widest maps
MIN_ROWS = 8  # each band projects two rows more, which its neighbours project as well


class Bands(NamedTuple):
    """`count` bands of `rows` rows cover each image; the last may reach below it."""

    count: int
    rows: int


def cut(x: jax.Array) -> Bands | None:
    """The bands of a map [B, H, W, C]; None where it should stay whole: not on a CPU, small, or of a symbolic size."""
    if is_plain() or jax.default_backend() != "cpu" or not all(isinstance(n, int) for n in x.shape):
        return None
    batch, height, width = x.shape[:3]
    count = max(1, min(round(height * width / PIXELS), height // MIN_ROWS))
    if min(batch * count, round(batch * height * width / PIXELS)) < 2:
        return None
    # A number of rows near that which leaves no rest, if there is one: a rest costs a copy of the map.
    rows = -(-height // count)
    near = [n for n in range(max(MIN_ROWS, rows * 2 // 3), rows * 4 // 3 + 1) if height % n == 0]
    rows = min(near, key=lambda n: abs(n - rows), default=rows)
    return Bands(-(-height // rows), rows)


def over_bands(
    function: Callable[..., tuple[Any, jax.Array]],
    maps: tuple[jax.Array, ...],
    bands: Bands,
    of_images: tuple[jax.Array, ...] = (),
) -> tuple[Any, jax.Array]:
    """Runs `function(first, *rows, *of_image) -> (sums, result)` down some maps of one size, image by image.

    Args:
        function: gets the number of the band's first row; of each map a band with a row more above and below, [1, rows
            + 2, W, C], where rows outside the image are zero; and of each array in `of_images` its image's, [1, ...].
        maps: float[B, H, W, C].
        bands: as `cut` gives.
        of_images: float[B, ...].

    Returns:
        The sums, any tree, each with a first axis for the images over whose bands they are added; and the results [1,
        rows, W, C'] put together, [B, H, W, C'].
    """
    batch, height = maps[0].shape[:2]

    def with_neighbours(x: jax.Array) -> tuple[jax.Array, ...]:
        # The barrier: else XLA computes what gave x for the rows, and once more for their neighbours.
        rows = rearrange(jax.lax.optimization_barrier(_split(x, bands)), "(b n) h w c -> b n h w c", b=batch)
        outside = jnp.zeros_like(rows[:, :1, 0])
        above = jnp.concatenate([outside, rows[:, :-1, -1]], axis=1)
        below = jnp.concatenate([rows[:, 1:, 0], outside], axis=1)
        return tuple(rearrange(x, "b n ... -> (b n) ...") for x in (above, rows, below))

    def step(first: jax.Array, parts: Any) -> tuple[Any, jax.Array]:
        bands_of_maps, of_image = parts
        rows = (jnp.concatenate([above[None], x, below[None]])[None] for above, x, below in bands_of_maps)
        return function(first, *rows, *(x[None] for x in of_image))

    parts = tuple(with_neighbours(x) for x in maps), _for_bands(of_images, bands)
    sums, results = _scan(step, parts, bands, maps[-1])
    sums = jax.tree.map(lambda x: x.reshape(batch, bands.count, *x.shape[1:]).sum(axis=1), sums)
    return sums, results[:, :height]


def by_rows(
    function: Map, maps: tuple[jax.Array, ...], bands: Bands, of_images: tuple[jax.Array, ...] = ()
) -> jax.Array:
    """Runs `function(*rows, *of_image)` of rows [1, rows, W, C], which need no neighbours; results [B, H, W, C'].

    Arguments are as in `over_bands`.
    """

    def step(_: jax.Array, parts: Any) -> tuple[None, jax.Array]:
        rows, of_image = parts
        return None, function(*(x[None] for x in (*rows, *of_image)))

    parts = tuple(_split(x, bands) for x in maps), _for_bands(of_images, bands)
    return _scan(step, parts, bands, maps[-1])[1][:, : maps[0].shape[1]]


def in_rows(function: Map, maps: tuple[jax.Array, ...], of_images: tuple[jax.Array, ...] = ()) -> jax.Array:
    """A function of pixels as in `by_rows`, in the bands that `cut` gives; of whole maps where it gives none."""
    bands = cut(maps[0])
    return by_rows(function, maps, bands, of_images) if bands else function(*maps, *of_images)


def _scan(
    step: Callable[[jax.Array, Any], tuple[Any, jax.Array]], parts: Any, bands: Bands, x: jax.Array
) -> tuple[Any, jax.Array]:
    """Runs `step(first, part) -> (sums, rows)` for all bands; rows are put together as [B, H or more, W, C'].

    They are carried, not collected by `scan`: what it collects begins as zeros that all scans of a program share, which
    XLA keeps from the first to the last and copies for each. Here they begin as a product with a value of `x`, which
    no other scan should be given.
    """
    batch = x.shape[0]
    step = jax.checkpoint(step)
    _, rows = jax.eval_shape(step, jnp.int32(0), jax.tree.map(lambda part: part[0], parts))
    unshared = jax.lax.stop_gradient(x[0, 0, 0, 0] * 0).astype(rows.dtype)
    results = jnp.broadcast_to(unshared, (batch * bands.count, *rows.shape[1:]))

    def write(results: jax.Array, band: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        number, part = band
        sums, rows = step(number % bands.count * bands.rows, part)
        return jax.lax.dynamic_update_slice_in_dim(results, rows, number, axis=0), sums

    results, sums = jax.lax.scan(write, results, (jnp.arange(len(results), dtype=jnp.int32), parts))
    return sums, rearrange(results, "(b n) h w c -> b (n h) w c", b=batch)


def _split(x: jax.Array, bands: Bands) -> jax.Array:
    missing = bands.count * bands.rows - x.shape[1]
    x = jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0)))
    return rearrange(x, "b (n h) w c -> (b n) h w c", n=bands.count)


def _for_bands(of_images: tuple[jax.Array, ...], bands: Bands) -> tuple[jax.Array, ...]:
    return tuple(jnp.repeat(x, bands.count, axis=0) for x in of_images)


def _flat(x: jax.Array) -> jax.Array:
    return rearrange(x, "b h w c -> (b h w) c")


def _expand(
    rows: jax.Array, norm: Map, project: jax.Array, convolve: jax.Array, first: jax.Array, height: int
) -> jax.Array:
    """Norm, 1x1 and 3x3 depthwise convolution of a band with its neighbours: [1, h + 2, W, C] -> [1, h, W, C']."""
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
    height, width = x.shape[1:3]
    shares = pixel_shares(height, width)
    if shares is None:
        shares = jnp.full((height, 1), 1.0 / (height * width))
    shares = jnp.pad(shares, ((0, bands.count * bands.rows - height), (0, 0)))

    def step(first: jax.Array, rows: jax.Array) -> tuple[Any, jax.Array]:
        qkv = jax.lax.optimization_barrier(_expand(rows, norm, project, convolve, first, height))
        q, k, v = jnp.split(qkv, 3, axis=-1)
        share = jax.lax.dynamic_slice_in_dim(shares, first, bands.rows)[None, :, :, None]
        counted_q, counted_k = ((t.astype(jnp.float32) * share).astype(t.dtype) for t in (q, k))
        sums = (
            jnp.einsum("pi,pj->ij", *(_flat(t) for t in (counted_q, k)), preferred_element_type=jnp.float32),
            *(
                (a.astype(jnp.float32) * b.astype(jnp.float32)).sum(axis=(0, 1, 2))
                for a, b in ((counted_q, q), (counted_k, k))
            ),
        )
        return sums, v

    return over_bands(step, (x,), bands)


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

    def step(first: jax.Array, x: jax.Array, v: jax.Array, matrix: jax.Array) -> tuple[None, jax.Array]:
        x = jax.lax.optimization_barrier(x + (_flat(v) @ matrix[0]).reshape(x.shape))
        gated = jax.lax.optimization_barrier(gate(_expand(x, norm, project_in, convolve, first, height)))
        return None, x[:, 1:-1] + pointwise_product(gated, project_out)

    return over_bands(step, (x, v), bands, (matrix.astype(v.dtype),))[1]
