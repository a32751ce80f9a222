"""Convolution and resampling helpers that several parts of the networks share."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from iassf_jax.data.images import LUMA_601
from iassf_jax.models.fast.devices import has_kernels
from iassf_jax.models.fast.plain import is_plain

PRODUCT_PIXELS = 2048  # of a band of `_product_over_pixels_in_bands`
Weights = tuple[jax.Array, jax.Array | None]  # kernel and bias of a convolution
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def check_pair(visible: jax.Array, infrared: jax.Array) -> None:
    """Raises ValueError unless the shapes are [B, H, W, 3] and [B, H, W, 1 or 3]."""
    if visible.ndim != 4 or visible.shape[-1] != 3:
        raise ValueError(f"visible has shape {visible.shape}: give [batch, height, width, 3]")
    if infrared.ndim != 4 or infrared.shape[:3] != visible.shape[:3] or infrared.shape[-1] not in (1, 3):
        raise ValueError(
            f"infrared has shape {infrared.shape}: give [batch, height, width, 1 or 3] as visible's {visible.shape}"
        )


def mirror_pad(x: jax.Array, before: int, after: int, axis: int, border: str = "symmetric") -> jax.Array:
    """`jnp.pad` along one axis; by indices where the image is so small that jnp would pad in many rounds.

    Args:
        x: any array.
        before, after: pixels; may exceed the image, which is then mirrored repeatedly.
        axis: which.
        border: "symmetric" repeats the edge pixel, "reflect" does not.
    """
    size = x.shape[axis]
    if max(before, after) >= size:
        return jnp.take(x, np.pad(np.arange(size), (before, after), mode=border), axis=axis)
    pads = [(before, after) if i == axis else (0, 0) for i in range(x.ndim)]
    if is_plain():
        return jnp.pad(x, pads, mode=border)
    return _mirror_edges(jnp.pad(x, pads), before, after, axis, border)


def _mirror_edges(x: jax.Array, before: int, after: int, axis: int, border: str) -> jax.Array:
    """Fills the margins of a padded array from within, in place; jnp.pad copies the whole array for each."""
    size, edge = x.shape[axis] - before - after, int(border == "reflect")
    for start, source, length in ((0, before + edge, before), (before + size, before + size - edge - after, after)):
        if length:
            margin = jax.lax.rev(jax.lax.slice_in_dim(x, source, source + length, axis=axis), (axis,))
            x = jax.lax.dynamic_update_slice_in_dim(x, margin, start, axis)
    return x


def pad_images(x: jax.Array, margin: int, border: str = "zero") -> jax.Array:
    """Pads [B, H, W, C] by `margin` pixels on all four sides; border is "zero", "symmetric" or "reflect"."""
    small = any(margin >= size for size in x.shape[1:3])  # sizes may be symbols, which have no order
    if border != "zero" and (small or is_plain()):
        return mirror_pad(mirror_pad(x, margin, margin, 1, border), margin, margin, 2, border)
    x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    for axis in (1, 2) if border != "zero" else ():
        x = _mirror_edges(x, margin, margin, axis, border)
    return x


def steady_border(x: jax.Array, margin: int = 4) -> jax.Array:
    """[B, H, W, C] with the outermost `margin` pixels replaced by the nearest further in (fewer in tiny images).

    Convolutions see zeros beyond the border: what they make of it is a frame around the image.
    """
    widths = [min(margin, (n - 1) // 2) if isinstance(n, int) else margin for n in x.shape[1:3]]  # else: symbols
    for axis, width in enumerate(widths, start=1):
        end = x.shape[axis] - width
        spans = [(width, width + 1)] * width + [(width, end)] + [(end - 1, end)] * width
        # Not jnp.pad: its empty margins along the other axes are no valid ONNX.
        x = jnp.concatenate([jax.lax.slice_in_dim(x, *span, axis=axis) for span in spans], axis)
    return x


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


def add_bias(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Adds one number a channel, if there is a bias."""
    return x if bias is None else x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


def conv1x1(x: jax.Array, weights: Weights) -> jax.Array:
    """1x1 convolution of float[B, H, W, I] by the kernel and the bias, if any, that `Conv1x1.weights` gives."""
    return add_bias(pointwise(x, weights[0]), weights[1])


class Conv1x1(nn.Module):
    """1x1 convolution as one matrix product over the pixels; parameters as those of `nn.Dense`."""

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def weights(self, channels: int) -> Weights:
        """Kernel float[channels, features] in the module's dtype, and bias, for an input of so many channels."""
        kernel = self.param("kernel", self.kernel_init, (channels, self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        return kernel.astype(self.dtype), bias

    def __call__(self, x: jax.Array) -> jax.Array:
        return conv1x1(x.astype(self.dtype), self.weights(x.shape[-1]))


class ImageConv(nn.Module):
    """3x3 convolution of few channels, zero padding; parameters as those of `nn.Conv`.

    One matrix product over the 9 * C values around each pixel: on a CPU several times faster than XLA's convolution.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        padded, (height, width) = pad_images(x.astype(self.dtype), 1), x.shape[1:3]
        around = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        kernel = kernel.astype(self.dtype).reshape(-1, self.features)
        return add_bias(pointwise(jnp.concatenate(around, axis=-1), kernel), bias)


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


class DepthwiseConv(nn.Module):
    """One k x k kernel a channel, k odd; parameters as those of a grouped `nn.Conv`. border: as in `pad_images`."""

    kernel_size: int
    use_bias: bool = False
    border: str = "zero"
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def weights(self, channels: int) -> Weights:
        """Kernel float[k, k, 1, channels] in the module's dtype, and bias."""
        kernel = self.param("kernel", self.kernel_init, (self.kernel_size, self.kernel_size, 1, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,)) if self.use_bias else None
        return kernel.astype(self.dtype), bias

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.weights(x.shape[-1])
        return add_bias(depthwise_same(x.astype(self.dtype), kernel, self.border), bias)


class Downsample(nn.Module):
    """2x2 convolution with stride 2, written as one matrix product: [B, H, W, C] -> [B, H/2, W/2, features]."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = rearrange(x, "b (h i) (w j) c -> b h w (i j c)", i=2, j=2)
        return Conv1x1(self.features, dtype=self.dtype, name="merge")(x)


class Upsample(nn.Module):
    """1x1 convolution and pixel shuffle: [B, H, W, C] -> [B, 2H, 2W, features]."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv1x1(4 * self.features, dtype=self.dtype, name="split")(x)
        return rearrange(x, "b h w (i j c) -> b (h i) (w j) c", i=2, j=2)


def resize_bilinear(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear resize of [B, h, w, C] to [B, *size, C], half-pixel centres, no antialiasing."""
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def resize_bilinear_aligned(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear resize of [B, h, w, C] to [B, *size, C] that maps corner pixels onto corner pixels."""
    for axis, new in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        if old == new:
            continue
        position = np.arange(new, dtype=np.float32) * np.float32((old - 1) / max(1, new - 1))
        low = np.minimum(position.astype(np.int32), old - 1)
        share = jnp.asarray(position - low, x.dtype).reshape([-1 if i == axis else 1 for i in range(4)])
        high = np.minimum(low + 1, old - 1)
        x = jnp.take(x, low, axis=axis) * (1 - share) + jnp.take(x, high, axis=axis) * share
    return x


def luma(images: jax.Array) -> jax.Array:
    """BT.601 luma: float[B, H, W, 3] -> float[B, H, W, 1]."""
    weights = jnp.asarray(LUMA_601, images.dtype).reshape(1, 1, 1, 3)
    return (images * weights).sum(axis=-1, keepdims=True)


def halve(x: jax.Array) -> jax.Array:
    """Mean of 2x2 pixels: [B, H, W, C] -> [B, H/2, W/2, C]."""
    return rearrange(x, "b (h i) (w j) c -> b h w (i j) c", i=2, j=2).mean(axis=3)


def pad_to_multiple(x: jax.Array, multiple: int, border: str = "symmetric") -> jax.Array:
    """Mirror-pads [B, H, W, C] at the right and the bottom until H and W are multiples of `multiple`."""
    for axis in (1, 2):
        if missing := -x.shape[axis] % multiple:
            x = mirror_pad(x, 0, missing, axis, border)
    return x
