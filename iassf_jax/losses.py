"""The training loss, Eq. 6-9 of the paper: intensity + gradient + alpha * L1. All terms are means, in float32."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from iassf_jax.metrics.qcv import perceived_difference
from iassf_jax.models.brightening import brighten, brightening, details, wanted_luma, without_details
from iassf_jax.models.layers import luma, pad_images, shifted_depthwise_conv
from iassf_jax.models.scattering import BOUND, bounded_clear

_SOBEL_X = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_SOBEL_Y = ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0))


def sobel(images: jax.Array, border: str = "zero") -> jax.Array:
    """Sobel_x * I and Sobel_y * I of each channel: float[B, H, W, C] -> float[2, B, H, W, C]; `pad_images`'s border."""
    channels = images.shape[-1]
    kernels = (
        jnp.tile(jnp.array(k, images.dtype).reshape(3, 3, 1, 1), (1, 1, 1, channels)) for k in (_SOBEL_X, _SOBEL_Y)
    )
    padded = pad_images(images, 1, border)
    return jnp.stack([shifted_depthwise_conv(padded, kernel) for kernel in kernels])


def sobel_magnitude(images: jax.Array) -> jax.Array:
    """|Sobel_x * I| + |Sobel_y * I| of each channel, zero padding: float[B, H, W, C] -> float[B, H, W, C]."""
    return jnp.abs(sobel(images)).sum(axis=0)


def channel_maximum(visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """max(visible, infrared) of each channel, the paper's (Eq. 7): grey wherever the infrared image is brighter."""
    return jnp.maximum(visible, infrared)


def luma_maximum(visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """The visible image, as much brighter as the infrared one is (BT.601 luma): its colour differences stay.

    Ours: YCbCr fusion, as a target. Clipped to [-1, 1].
    """
    return jnp.clip(visible + jnp.maximum(luma(infrared) - luma(visible), 0), -1, 1)


def luma_of_both(visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """`luma_maximum` with 12 % of how the darker of both differs from its mean (ours).

    So what the brighter image hides is still felt: the scores of fused images that ask for both sources rise.
    """
    lumas = luma(visible), luma(infrared)
    darker = jnp.minimum(*lumas)
    wanted = jnp.maximum(*lumas) + 0.12 * (darker - darker.mean(axis=(1, 2), keepdims=True))
    return jnp.clip(visible - lumas[0] + wanted, -1, 1)


TARGETS = {"channel": channel_maximum, "luma": luma_maximum, "both": luma_of_both}


def intensity_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array, target: str = "channel") -> jax.Array:
    """mean |fused - target(visible, infrared)| (Eq. 7); visible is the clear image; target one of `TARGETS`."""
    return jnp.abs(fused - TARGETS[target](visible, infrared)).mean()


def chroma_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array, target: str = "luma") -> jax.Array:
    """mean |c(fused) - c(target(visible, infrared))|, c what an image has beside its luma. Ours: colours are small
    numbers, which a mean over intensities hardly feels.
    """
    wanted = TARGETS[target](visible, infrared)
    return jnp.abs((fused - luma(fused)) - (wanted - luma(wanted))).mean()


def gradient_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """mean |S(fused) - max(S(visible), S(infrared))| (Eq. 8), S the Sobel magnitude."""
    target = jnp.maximum(sobel_magnitude(visible), sobel_magnitude(infrared))
    return jnp.abs(sobel_magnitude(fused) - target).mean()


def signed_gradient_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """mean (|Sobel_x * (F - S)| + |Sobel_y * (F - S)|) of lumas, S the source with the larger Sobel magnitude there.

    Ours: magnitudes alone are met by noise too, and by edges that go the wrong way.
    """
    first, second, found = (sobel(luma(images), "symmetric") for images in (visible, infrared, fused))
    stronger = jnp.abs(first).sum(axis=0) >= jnp.abs(second).sum(axis=0)
    return jnp.abs(found - jnp.where(stronger, first, second)).sum(axis=0).mean()


GRADIENTS = {"magnitude": gradient_loss, "signed": signed_gradient_loss}


def perceived_loss(fused: jax.Array, visible: jax.Array, infrared: jax.Array) -> jax.Array:
    """Mean of the images' root of Q_CV, of lumas: some 5 to 40 levels. Ours; see `metrics.qcv`.

    Nothing is rounded, and what extremes of the fused image do to the rest is not differentiated. A pair without an
    edge counts as 0.
    """
    found, heat, clear = (_stretched(luma(images)[..., 0]) for images in (fused, infrared, visible))
    difference, saliency = perceived_difference(found, heat, clear)
    seen = (difference > 0) & (saliency > 0)  # the root has no slope at 0
    safe = jnp.where(seen, difference, 1.0) / jnp.where(seen, saliency, 1.0)
    return jnp.where(seen, jnp.sqrt(safe), 0.0).mean()


def _stretched(x: jax.Array) -> jax.Array:
    """float[B, H, W] in [-1, 1] to 0..255 by each image's extremes."""
    x = jnp.clip(x, -1, 1)
    low, high = (jax.lax.stop_gradient(f(x, axis=(1, 2), keepdims=True)) for f in (jnp.min, jnp.max))
    return 255 * (x - low) / jnp.maximum(high - low, 1 / 127.5)


def l1_loss(dehazed: jax.Array, visible: jax.Array) -> jax.Array:
    """mean |dehazed - visible| (Eq. 9); visible is the clear image."""
    return jnp.abs(dehazed - visible).mean()


def total_loss(
    dehazed: jax.Array,
    fused: jax.Array,
    visible: jax.Array,
    infrared: jax.Array,
    alpha: float = 2.0,
    target: str = "channel",
    chroma: float = 0.0,
    gradient: str = "magnitude",
    beta: float = 1.0,
    perceived: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of Eq. 6 and its terms.

    Args:
        dehazed, fused: the network's outputs, float[B, H, W, 3] in about [-1, 1].
        visible: the clear image, float[B, H, W, 3] in [-1, 1].
        infrared: float[B, H, W, 1 or 3] in [-1, 1].
        alpha: weight of the L1 term of the dehazed image (paper: 2).
        target: one of `TARGETS`, what the fused image's intensity should be (paper: "channel").
        chroma: weight of the colours of the fused image (paper: no such term).
        gradient: one of `GRADIENTS` (paper: "magnitude").
        beta: weight of the gradient term (paper: 1).
        perceived: weight of `perceived_loss`, of whole images (paper: no such term).

    Returns:
        The loss and `{"loss", "intensity", "gradient", "l1"}`, and `chroma` and `perceived` where they have a weight:
        scalars; the terms are unweighted.
    """
    dehazed, fused, visible, infrared = (x.astype(jnp.float32) for x in (dehazed, fused, visible, infrared))
    infrared = jnp.broadcast_to(infrared, visible.shape)
    terms = {
        "intensity": intensity_loss(fused, visible, infrared, target),
        "gradient": GRADIENTS[gradient](fused, visible, infrared),
        "l1": l1_loss(dehazed, visible),
    }
    loss = terms["intensity"] + beta * terms["gradient"] + alpha * terms["l1"]
    if chroma:
        terms["chroma"] = chroma_loss(fused, visible, infrared, target)
        loss += chroma * terms["chroma"]
    if perceived:
        terms["perceived"] = perceived_loss(fused, visible, infrared)
        loss += perceived * terms["perceived"]
    return loss, {"loss": loss, **terms}


def haze_losses(
    out: Mapping[str, jax.Array],
    batch: Mapping[str, jax.Array],
    alpha: float = 2.0,
    beta: float = 1.0,
    bound: float = BOUND,
    transmission: float = 0.2,
    airlight: float = 0.5,
    hidden: float = 0.15,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of networks that draw transmission and air light (ours).

    Eq. 6 with other targets: the dehazed image's keeps the haze that `dehaze` leaves where transmission is
    below `bound`; the fused image's is that one, brightened in its own colour where infrared shows more, with
    infrared details where haze hides the scene. Transmission and air light are compared with the true ones.

    Args:
        out: of the network: `dehazed`, `fused` float[B, H, W, 3] in about [-1, 1]; `transmission` [B, H, W],
            `airlight` [B, H, W, 3] in 0..1.
        batch: `clear`, `infrared` in [-1, 1]; `transmission`, `airlight` in 0..1; of the same shapes.
        alpha: weight of the L1 term of the dehazed image.
        beta: weight of the fused image's gradients.
        bound: t0 of `bounded_clear`, as the network's.
        transmission: weight of |log t - log t*|, of values from 0.05 up.
        airlight: weight of |A - A*|, averaged over the true haze density 1 - t*.
        hidden: transmission below which infrared details are wanted in the fused image, the more the less there is.

    Returns:
        The loss and its unweighted terms: scalars.
    """
    t, true_t = (jnp.maximum(x["transmission"], 0.05) for x in (out, batch))
    density = 1 - batch["transmission"]
    clear, infrared = 0.5 * batch["clear"] + 0.5, 0.5 * batch["infrared"][..., 0] + 0.5
    wanted = bounded_clear(clear, batch["transmission"], batch["airlight"], bound)
    fused = 2 * _fused_target(wanted, infrared, batch["transmission"], hidden) - 1
    difference = jnp.abs(out["airlight"] - batch["airlight"]).mean(axis=-1) * density
    terms = {
        "intensity": jnp.abs(out["fused"] - fused).mean(),
        "gradient": jnp.abs(sobel(out["fused"] - fused, "symmetric")).mean(),
        "l1": l1_loss(out["dehazed"], 2 * wanted - 1),
        "transmission": jnp.abs(jnp.log(t) - jnp.log(true_t)).mean(),
        "airlight": difference.mean() / (density.mean() + 1e-3),
    }
    weights = (1.0, beta, alpha, transmission, airlight)
    loss = sum(weight * term for weight, term in zip(weights, terms.values(), strict=True))
    return loss, {"loss": loss, **terms}


def _fused_target(wanted: jax.Array, infrared: jax.Array, t: jax.Array, hidden: float) -> jax.Array:
    """In [0, 1]."""
    smooth, mean = without_details(infrared), infrared.mean(axis=(1, 2), keepdims=True)
    detail = (1 - jnp.minimum(t / max(hidden, 1e-6), 1)) * details(infrared, smooth, mean)
    luma = wanted_luma(wanted, infrared, jnp.zeros_like(t), detail)
    return jnp.clip(brighten(wanted, *brightening(wanted, luma)), 0, 1)
