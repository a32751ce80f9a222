"""Depthwise and 1x1 convolutions with gradients of their own, each beside its plain form, and the choice between them.

XLA's grouped convolution is many times slower on a CPU than shifted products, and its gradients are slower still; see
docs/performance.md.
"""

import jax
import jax.numpy as jnp

from iassf_jax.models.borders import pad_images
from iassf_jax.models.fast.devices import has_kernels
from iassf_jax.models.fast.plain import is_plain

PRODUCT_PIXELS = 2048  # of a band of `_product_over_pixels_in_bands`


def shifted_depthwise_conv(padded: jax.Array, kernel: jax.Array) -> jax.Array:
    """Depthwise convolution of a padded image, as a sum of shifted products.

    On a CPU XLA fuses this into one loop, several times faster than its grouped convolution.

    Args:
        padded: float[B, H + kh - 1, W + kw - 1, C].
        kernel: float[kh, kw, 1, C].

    Returns:
        float[B, H, W, C].
    """
    kh, kw = kernel.shape[:2]
    height, width = padded.shape[1] - kh + 1, padded.shape[2] - kw + 1
    taps = [
        padded[:, i : i + height, j : j + width, :] * kernel[i, j].reshape(1, 1, 1, -1)
        for i in range(kh)
        for j in range(kw)
    ]
    return sum(taps[1:], taps[0])


def lax_depthwise_conv(padded: jax.Array, kernel: jax.Array) -> jax.Array:
    """The plain form of `shifted_depthwise_conv`: XLA's grouped convolution."""
    return jax.lax.conv_general_dilated(
        padded,
        kernel,
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=padded.shape[-1],
    )


@jax.custom_vjp
def depthwise_conv(padded: jax.Array, kernel: jax.Array) -> jax.Array:
    """Depthwise convolution in the form that is fast on the device that the program is compiled for."""
    return jax.lax.platform_dependent(padded, kernel, cpu=shifted_depthwise_conv, default=lax_depthwise_conv)


def _depthwise_conv_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    padded, kernel = saved
    g = jax.lax.optimization_barrier(g)  # else XLA joins the parts of g anew for each use
    kernel_gradient = jax.lax.platform_dependent(
        padded, kernel, g, cpu=_kernel_gradient_by_rows, default=_kernel_gradient
    )
    return depthwise_conv(pad_images(g, kernel.shape[0] - 1), kernel[::-1, ::-1]), kernel_gradient


def _kernel_gradient(padded: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    return jax.vjp(lambda k: lax_depthwise_conv(padded, k), kernel)[1](g)[0]


def _kernel_gradient_by_rows(padded: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """Row by row into sums that keep the columns, so that no shifted copy of the image is ever written and each step is
    one element-wise loop; reductions to the channels within the steps took twice as long.
    """
    kh, kw, _, channels = kernel.shape
    batch, height, width = g.shape[:3]
    padded, g = jax.lax.optimization_barrier((padded, g))

    def add_row(totals: list[jax.Array], i: jax.Array) -> tuple[list[jax.Array], None]:
        image, row = i // height, i % height
        g_row = jax.lax.dynamic_slice(g, (image, row, 0, 0), (1, 1, width, channels))[0, 0]
        rows = jax.lax.dynamic_slice(padded, (image, row, 0, 0), (1, kh, width + kw - 1, channels))[0]
        g_row, rows = (x.astype(jnp.float32) for x in jax.lax.optimization_barrier((g_row, rows)))
        taps = (rows[a, b : b + width] for a in range(kh) for b in range(kw))
        return [total + tap * g_row for total, tap in zip(totals, taps, strict=True)], None

    totals = [jnp.zeros((width, channels))] * (kh * kw)
    totals, _ = jax.lax.scan(add_row, totals, jnp.arange(batch * height))
    return jnp.stack([total.sum(axis=0) for total in totals]).reshape(kernel.shape).astype(kernel.dtype)


depthwise_conv.defvjp(
    lambda padded, kernel: (depthwise_conv(padded, kernel), (padded, kernel)), _depthwise_conv_backward
)


@jax.custom_vjp
def pointwise_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """1x1 convolution without bias: float[B, H, W, I] times float[I, O] -> float[B, H, W, O]."""
    return x @ kernel


def _pointwise_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    kernel_gradient = jax.lax.platform_dependent(x, g, cpu=_product_over_pixels_in_bands, default=_product_over_pixels)
    return g @ kernel.T, kernel_gradient.astype(kernel.dtype)


def _product_over_pixels(x: jax.Array, g: jax.Array) -> jax.Array:
    return jnp.einsum("bhwi,bhwo->io", x, g, preferred_element_type=jnp.float32)


def _product_over_pixels_in_bands(x: jax.Array, g: jax.Array) -> jax.Array:
    """In bands of rows: XLA on a CPU transposes g for this product, and as one operation it recomputes within that
    strided copy whatever g comes from (seen: 500 of 600 ms of a GDFN's backward pass)."""
    batch, height, width = g.shape[:3]
    rows = max(1, PRODUCT_PIXELS // (batch * width))
    x, g = jax.lax.optimization_barrier((x, g))

    def add_band(total: jax.Array, first: jax.Array | int, rows: int) -> jax.Array:
        return total + _product_over_pixels(*(jax.lax.dynamic_slice_in_dim(t, first, rows, axis=1) for t in (x, g)))

    total = jnp.zeros((x.shape[-1], g.shape[-1]))
    if whole := height // rows:
        total, _ = jax.lax.scan(lambda t, i: (add_band(t, i * rows, rows), None), total, jnp.arange(whole))
    return add_band(total, whole * rows, height % rows) if height % rows else total


pointwise_product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _pointwise_backward)


def _pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The plain form of `pointwise_product`; it spares run times that convolve in NCHW two transpositions."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel[None, None], (1, 1), "VALID", dimension_numbers=dimensions)


def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`pointwise_product`, or its plain form where the network is traced as plain."""
    return _pointwise_conv(x, kernel) if is_plain() else pointwise_product(x, kernel)


def depthwise_same(x: jax.Array, kernel: jax.Array, border: str = "zero") -> jax.Array:
    """Depthwise convolution of float[B, H, W, C], same size; kernel float[k, k, 1, C], border as in `pad_images`."""
    margin = kernel.shape[0] // 2
    if has_kernels(x):
        from iassf_jax.models.fast import gpu_kernels

        if border == "zero":
            return gpu_kernels.depthwise_conv(x, kernel, margin)
        return gpu_kernels.depthwise_conv(pad_images(x, margin, border), kernel, 0)
    convolve = lax_depthwise_conv if is_plain() else depthwise_conv
    return convolve(pad_images(x, margin, border), kernel)
