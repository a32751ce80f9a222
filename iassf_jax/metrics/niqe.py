"""Q_NIQE: how far the statistics of an image are from those of pristine natural images."""

import functools
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gamma

from iassf_jax.metrics.filters import as_float, correlate_valid, gaussian

BLOCK = 96
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
# MATLAB's imresize by one half: the bicubic kernel (a = -0.5), widened twice against aliasing.
_HALF = np.array([-3.0, -9.0, 29.0, 111.0, 111.0, 29.0, -9.0, -3.0]) / 256


def q_niqe(image: jax.Array) -> jax.Array:
    """Natural image quality evaluator. Lower is better.

    The paper's Q_NIQE is that of the fused image's grey levels; the perceptual index takes luma with 4 pixels cut.
    Compute it in float64 (`filters.precision`): in exactly flat areas the sign of rounding errors enters the score,
    and references differ there by up to 0.5 %.

    Args:
        image: [B, H, W] in 0..255, at least two blocks of 96x96.

    Returns:
        float[B]; NaN for smaller images, and where fewer than two blocks have a structure.

    Source:
        Mittal, Soundararajan, Bovik, "Making a completely blind image quality analyzer", IEEE SPL 2013. Agrees with the
        official release (`computequality.m` and its model); all blocks count.
    """
    image = as_float(image)
    batch, height, width = image.shape
    rows, columns = height // BLOCK, width // BLOCK
    if rows * columns < 2:
        return jnp.full(batch, jnp.nan)
    image = image[:, : rows * BLOCK, : columns * BLOCK]
    features = jnp.concatenate([_features(image, BLOCK), _features(_halve(_halve(image, 1), 2), BLOCK // 2)], axis=-1)
    return jax.vmap(_distance)(features)


def _halve(x: jax.Array, axis: int) -> jax.Array:
    pads = [(3, 4) if i == axis else (0, 0) for i in range(3)]
    padded = jnp.pad(x, pads, mode="symmetric")
    size = x.shape[axis]
    return sum(w * jax.lax.slice_in_dim(padded, i, i + size, 2, axis) for i, w in enumerate(_HALF.tolist()))


def _features(image: jax.Array, block: int) -> jax.Array:
    """18 features of each block: [B, blocks, 18]."""
    window = gaussian(7, 7 / 6)
    padded = jnp.pad(image, ((0, 0), (3, 3), (3, 3)), mode="edge")
    mean = correlate_valid(padded, window)
    deviation = jnp.sqrt(jnp.abs(correlate_valid(padded * padded, window) - mean * mean))
    normalised = (image - mean) / (deviation + 1)
    batch, height, width = image.shape
    blocks = normalised.reshape(batch, height // block, block, width // block, block).swapaxes(2, 3)
    blocks = blocks.reshape(batch, -1, block, block)
    shape, left, right, _ = _asymmetric_gaussian(blocks)
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right, ratio = _asymmetric_gaussian(blocks * jnp.roll(blocks, shift, axis=(2, 3)))
        features += [shape, (right - left) * ratio, left, right]
    return jnp.stack(features, axis=-1)


@functools.cache
def _shape_table() -> tuple[np.ndarray, ...]:
    """Shapes 0.2 ... 10, the moment ratio of each (it grows with the shape), and two factors that follow from it."""
    shape = np.arange(200, 10001) / 1000
    first, second, third = (gamma(n / shape) for n in (1, 2, 3))
    return shape, second**2 / (first * third), np.sqrt(first / third), second / first


def _asymmetric_gaussian(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Fit of an asymmetric generalised Gaussian to each block: shape, scale of both sides, and G(2/a) / G(1/a)."""
    square = x * x

    def side(mask: jax.Array) -> jax.Array:
        return jnp.sqrt((square * mask).sum(axis=(2, 3)) / mask.sum(axis=(2, 3)))

    left, right = side((x < 0).astype(x.dtype)), side((x > 0).astype(x.dtype))
    skew = left / right
    ratio = jnp.square(jnp.abs(x).mean(axis=(2, 3))) / square.mean(axis=(2, 3))
    wanted = ratio * (skew**3 + 1) * (skew + 1) / jnp.square(skew**2 + 1)
    shape, ratios, to_scale, mean_factor = (jnp.asarray(t, x.dtype) for t in _shape_table())
    above = jnp.clip(jnp.searchsorted(ratios, wanted), 1, len(_shape_table()[0]) - 1)
    nearest = jnp.where(wanted - ratios[above - 1] <= ratios[above] - wanted, above - 1, above)
    # Where nothing can be fitted, the reference's search returns its first shape, and the scales stay undefined.
    nearest = jnp.where(jnp.isnan(wanted), 0, nearest)
    return shape[nearest], left * to_scale[nearest], right * to_scale[nearest], mean_factor[nearest]


@functools.cache
def _pristine_model() -> tuple[np.ndarray, np.ndarray]:
    """Mean [36] and covariance [36, 36] of the features of pristine images; see data/NOTICE.md."""
    with resources.as_file(resources.files("iassf_jax.metrics") / "data" / "niqe_pris_params.npz") as path:
        model = np.load(path)
        return model["mu_pris_param"].reshape(-1), model["cov_pris_param"]


def _distance(features: jax.Array) -> jax.Array:
    """NIQE of one image from its blocks' features [blocks, 36]."""
    mean_pristine, covariance_pristine = (jnp.asarray(x, features.dtype) for x in _pristine_model())
    good = ~jnp.isnan(features).any(axis=1)
    count = as_float(good.sum())
    kept = jnp.where(good[:, None], features, 0.0)
    centred = jnp.where(good[:, None], features - kept.sum(axis=0)[None] / count, 0.0)
    covariance = centred.T @ centred / (count - 1)
    difference = mean_pristine - jnp.nanmean(features, axis=0)
    defined = (count > 1) & jnp.isfinite(difference).all()
    mixed = jnp.where(defined, (covariance_pristine + covariance) / 2, jnp.eye(36, dtype=features.dtype))
    difference = jnp.where(defined, difference, 0.0)
    distance = jnp.sqrt(difference @ jnp.linalg.pinv(mixed) @ difference)
    return jnp.where(defined, distance, jnp.nan)
