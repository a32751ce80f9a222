"""The training loss of networks that draw transmission and air light (ours)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from iassf_jax.losses.paper import l1_loss, sobel
from iassf_jax.models.brightening import brighten, brightening, details, kept_highlights, wanted_luma, without_details
from iassf_jax.models.scattering import bounded_clear


def haze_loss(
    out: Mapping[str, jax.Array],
    batch: Mapping[str, jax.Array],
    *,
    alpha: float,
    beta: float,
    bound: float,
    transmission: float,
    airlight: float,
    hidden: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of networks that draw transmission and air light (ours).

    Eq. 6 with other targets: the dehazed image's keeps the haze that `dehaze` leaves where transmission is below
    `bound`; the fused image's is that one, brightened in its own colour where infrared shows more (less in broad warm
    areas, see `kept_highlights`), with infrared details where haze hides the scene. Transmission and air light are
    compared with the true ones.

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
    luma = wanted_luma(wanted, infrared, kept_highlights(wanted, infrared) - 1, detail)
    return jnp.clip(brighten(wanted, *brightening(wanted, luma, t)), 0, 1)
