"""Depthwise convolutions on NVIDIA GPUs, written in Pallas.

cuDNN's are fast for some numbers of channels and ten times slower for others, and XLA's fusions of shifted products
were slower still (docs/performance.md). Here a program goes down some rows of one piece of an image: each row is read
once for each column of the kernel, and neighbouring programs find the rest in the caches. The plain form is
`convolutions.lax_depthwise_conv`; `devices.has_kernels` says where these may be used.

A row of W pixels with C channels is one line of W * C numbers, in which the next pixel lies C numbers further on: so no
lane is idle, however many channels there are.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

PIECE = 512  # numbers of a line that one program works on
ROWS = 8  # rows of the result that one program computes
GRADIENT_ROWS = 64  # rows of which one program sums the kernel's gradient
_ERF = (
    (0.00022905065861350646, 0.0034082910107109506, 0.050955695062380861, 0.18520832239976145, 1.128379143519084),
    (
        *(-1.1791602954361697e-7, 0.000023547966471313185, 0.0010179625278914885, 0.014070470171167667),
        *(0.11098505178285362, 0.49746925110067538, 1.0),
    ),
)


def _load(ref: jax.Ref, batch: jax.Array, row: jax.Array, line: jax.Array) -> jax.Array:
    """float32[PIECE] of a reference [B, H, W * C], zero outside the row and outside the image."""
    _, height, length = ref.shape
    inside = (row >= 0) & (row < height) & (line >= 0) & (line < length)
    return triton.load(ref.at[batch, row, line], mask=inside, other=0.0).astype(jnp.float32)


def _place(ref: jax.Ref, rows: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The piece of a line, int32[PIECE], the image, and the first of the rows that this program works on."""
    blocks = pl.cdiv(ref.shape[1], rows)
    line = pl.program_id(0) * PIECE + jnp.arange(PIECE, dtype=jnp.int32)
    return line, pl.program_id(1) // blocks, pl.program_id(1) % blocks * rows


def _rows(
    x_ref: jax.Ref, kernel_ref: jax.Ref, place: tuple, at: jax.Array, column: jax.Array, side: int, margin: int
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """The number and the values, float32[PIECE], of each convolved row of this program.

    Args:
        x_ref, kernel_ref: [B, H, W * C] and [side * side, C].
        place: image and first row.
        at: int32[PIECE], where in a row of x the results' own pixels lie, if there were no margin.
        column: int32[PIECE], the results' channels.
        side, margin: as in `convolve`.
    """
    batch, first = place
    channels = kernel_ref.shape[1]
    weights = [triton.load(kernel_ref.at[tap, column]).astype(jnp.float32) for tap in range(side * side)]
    sums: list = []  # of the rows that have begun, the oldest first
    for k in range(ROWS + side - 1):
        shifted = [_load(x_ref, batch, first + k - margin, at + (j - margin) * channels) for j in range(side)]
        sums.append(jnp.zeros(PIECE, jnp.float32))
        for age, i in enumerate(range(len(sums) - 1, -1, -1)):  # the oldest row wants its last taps
            for j in range(side):
                sums[age] += weights[i * side + j] * shifted[j]
        if k >= side - 1:
            yield first + k - side + 1, sums.pop(0)


def _store(ref: jax.Ref, place: tuple, at: jax.Array, values: jax.Array) -> None:
    """Writes float32[PIECE] into a row of a reference [B, H, W * C]; what lies outside is left out."""
    batch, row = place
    inside = (row < ref.shape[1]) & (at < ref.shape[2])
    triton.store(ref.at[batch, row, at], values.astype(ref.dtype), mask=inside)


def _convolve_kernel(x_ref: jax.Ref, kernel_ref: jax.Ref, out_ref: jax.Ref, *, side: int, margin: int) -> None:
    line, batch, first = _place(out_ref, ROWS)
    for row, values in _rows(x_ref, kernel_ref, (batch, first), line, line % kernel_ref.shape[1], side, margin):
        _store(out_ref, (batch, row), line, values)


def _halves(x_ref: jax.Ref, kernel_ref: jax.Ref, place: tuple, line: jax.Array, side: int, margin: int) -> tuple:
    """`_rows` of the first and of the second half of the channels, and where in a row of x the first one lies."""
    channels = kernel_ref.shape[1]
    half = channels // 2
    at = line // half * channels + line % half
    rows = (_rows(x_ref, kernel_ref, place, at + n * half, line % half + n * half, side, margin) for n in range(2))
    return zip(*rows, strict=True), at


def _gated_kernel(x_ref: jax.Ref, kernel_ref: jax.Ref, out_ref: jax.Ref, *, side: int, margin: int) -> None:
    line, batch, first = _place(out_ref, ROWS)
    for (row, a), (_, b) in _halves(x_ref, kernel_ref, (batch, first), line, side, margin)[0]:
        _store(out_ref, (batch, row), line, a * _normal_share(a) * b)


def _gate_gradient_kernel(
    x_ref: jax.Ref, kernel_ref: jax.Ref, g_ref: jax.Ref, out_ref: jax.Ref, *, side: int, margin: int
) -> None:
    line, batch, first = _place(g_ref, ROWS)
    rows, at = _halves(x_ref, kernel_ref, (batch, first), line, side, margin)
    for (row, a), (_, b) in rows:
        g, share = _load(g_ref, batch, row, line), _normal_share(a)
        slope = share + a * jnp.exp(-0.5 * a * a) * 0.3989422804014327
        _store(out_ref, (batch, row), at, g * b * slope)
        _store(out_ref, (batch, row), at + kernel_ref.shape[1] // 2, g * a * share)


def _normal_share(x: jax.Array) -> jax.Array:
    """GELU's factor: the normal distribution's share below x, to 1e-7.

    Pallas has no erf for GPUs: this is the rational function that XLA takes for float32.
    """
    x = jnp.clip(x * 0.7071067811865476, -3.832506856900711, 3.832506856900711)
    square = x * x
    above, below = (functools.reduce(lambda total, c: total * square + c, terms) for terms in _ERF)
    return 0.5 + 0.5 * x * above / below


def _kernel_gradient_kernel(
    x_ref: jax.Ref, g_ref: jax.Ref, out_ref: jax.Ref, *, side: int, margin: int, channels: int
) -> None:
    line, batch, first = _place(g_ref, GRADIENT_ROWS)

    def read(row: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(_load(x_ref, batch, row - margin, line + (j - margin) * channels) for j in range(side))

    def add_row(k: jax.Array, carry: tuple) -> tuple:
        rows, totals = carry
        rows = (*rows, read(first + k + side - 1))
        # Beyond the last row g reads as zero.
        g = _load(g_ref, batch, first + k, line)
        totals = tuple(total + rows[t // side][t % side] * g for t, total in enumerate(totals))
        return rows[1:], totals

    start = tuple(read(first + i) for i in range(side - 1)), (jnp.zeros(PIECE, jnp.float32),) * side**2
    _, totals = jax.lax.fori_loop(0, GRADIENT_ROWS, add_row, start)
    for tap, total in enumerate(totals):
        triton.store(out_ref.at[pl.program_id(1), tap, line], total, mask=line < out_ref.shape[2])


def _lines(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:2], -1)


def _kernel(body: Callable[..., None], out: jax.ShapeDtypeStruct, grid: tuple[int, int], interpret: bool) -> Callable:
    parameters = triton.CompilerParams(num_warps=4, num_stages=1)
    return pl.pallas_call(body, out, grid=grid, compiler_params=parameters, interpret=interpret)


def _grid(batch: int, height: int, length: int, rows: int) -> tuple[int, int]:
    """Programs along lines of `length`, which lie beside each other in memory, and down all images."""
    return pl.cdiv(length, PIECE), batch * pl.cdiv(height, rows)


def convolve(x: jax.Array, kernel: jax.Array, margin: int, interpret: bool = False) -> jax.Array:
    """Depthwise convolution.

    Args:
        x: float[B, H, W, C].
        kernel: float[k, k, 1, C].
        margin: rows and columns of zeros that x is taken to have around it; 0 to k - 1.
        interpret: run on a CPU, for tests.

    Returns:
        float[B, H + 2 * margin - k + 1, W + 2 * margin - k + 1, C], sums in float32.
    """
    side, channels = kernel.shape[0], x.shape[3]
    height, width = (n + 2 * margin - side + 1 for n in x.shape[1:3])
    out = jax.ShapeDtypeStruct((x.shape[0], height, width * channels), x.dtype)
    body = functools.partial(_convolve_kernel, side=side, margin=margin)
    call = _kernel(body, out, _grid(*out.shape, ROWS), interpret)
    return call(_lines(x), kernel.reshape(-1, channels)).reshape(-1, height, width, channels)


def kernel_gradient(x: jax.Array, g: jax.Array, margin: int, interpret: bool = False) -> jax.Array:
    """Gradient of `convolve`'s kernel, float32[k, k, 1, C]: g is that of its result. Always adds in the same order."""
    _, height, width, channels = g.shape
    side = x.shape[1] + 2 * margin - height + 1
    grid = _grid(*_lines(g).shape, GRADIENT_ROWS)
    out = jax.ShapeDtypeStruct((grid[1], side * side, width * channels), jnp.float32)
    body = functools.partial(_kernel_gradient_kernel, side=side, margin=margin, channels=channels)
    parts = _kernel(body, out, grid, interpret)(_lines(x), _lines(g)).reshape(grid[1], side * side, width, channels)
    return parts.sum(axis=(0, 2)).reshape(side, side, 1, channels)


def gated(x: jax.Array, kernel: jax.Array, interpret: bool = False) -> jax.Array:
    """GELU of the first half of `convolve(x, kernel, k // 2)`'s channels, times the second half."""
    batch, height, width, channels = x.shape
    side, half = kernel.shape[0], channels // 2
    out = jax.ShapeDtypeStruct((batch, height, width * half), x.dtype)
    body = functools.partial(_gated_kernel, side=side, margin=side // 2)
    call = _kernel(body, out, _grid(*out.shape, ROWS), interpret)
    return call(_lines(x), kernel.reshape(-1, channels)).reshape(batch, height, width, half)


def gate_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array, interpret: bool = False) -> jax.Array:
    """From the gradient g of `gated`'s result that of its convolution's; the convolution is made again."""
    side, channels = kernel.shape[0], x.shape[3]
    body = functools.partial(_gate_gradient_kernel, side=side, margin=side // 2)
    out = jax.ShapeDtypeStruct(_lines(x).shape, x.dtype)
    call = _kernel(body, out, _grid(*_lines(g).shape, ROWS), interpret)
    return call(_lines(x), kernel.reshape(-1, channels), _lines(g)).reshape(x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv(x: jax.Array, kernel: jax.Array, margin: int) -> jax.Array:
    """`convolve`, with its gradients."""
    return convolve(x, kernel, margin)


def _backward(margin: int, saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    x_gradient = convolve(g, kernel[::-1, ::-1], kernel.shape[0] - 1 - margin)
    return x_gradient, kernel_gradient(x, g, margin).astype(kernel.dtype)


depthwise_conv.defvjp(lambda x, kernel, margin: (convolve(x, kernel, margin), (x, kernel)), _backward)


@jax.custom_vjp
def gated_depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`gated`, with its gradients; keeps nothing but its arguments for them."""
    return gated(x, kernel)


def _gated_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _backward(saved[1].shape[0] // 2, saved, gate_gradient(*saved, g))


gated_depthwise_conv.defvjp(lambda x, kernel: (gated(x, kernel), (x, kernel)), _gated_backward)
