"""What lies beyond an image's border: margins of [B, H, W, C], as sizes that networks and windows need."""

import jax
import jax.numpy as jnp
import numpy as np

from iassf_jax.models.fast.plain import is_plain


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


def pad_to_multiple(x: jax.Array, multiple: int, border: str = "symmetric") -> jax.Array:
    """Mirror-pads [B, H, W, C] at the right and the bottom until H and W are multiples of `multiple`."""
    for axis in (1, 2):
        if missing := -x.shape[axis] % multiple:
            x = mirror_pad(x, 0, missing, axis, border)
    return x
