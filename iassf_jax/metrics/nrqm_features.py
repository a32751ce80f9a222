"""The 138 features of Ma et al.'s no-reference quality metric: block DCT, steerable pyramid, singular values.

Everything is float64 NumPy. The definitions are those of the authors' MATLAB code (sr-metric, `feature_all`), with the
quirks that its trained forests have seen; comments name them.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import factorial

import cv2
import numpy as np
from scipy import fft, sparse, special

from iassf_jax.errors import UserError

N_FEATURES = (18, 45, 75)
MIN_SIDE = 84  # px: below it, the coarsest of the three scales has fewer than 25 blocks of 5x5 for f3

_SCALES = 3
_LEVELS = 2
_ORIENTATIONS = 6
_GUARD = 16  # pixels that the normalised bands of level 1 lose on each side; half of it at level 2
_NOISE_POWER = 1e-20  # of bands, for pixels in 0..255; rounding is at 1e-26, one grey level in one pixel at 1e-7
_SHAPES = np.linspace(0.03, 10, 9971)
# Variance over squared mean deviation of a generalised Gaussian; falls from 4e7 to 1.35.
_RATIOS = np.exp(special.gammaln(1 / _SHAPES) + special.gammaln(3 / _SHAPES) - 2 * special.gammaln(2 / _SHAPES))


def features(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three feature groups of one image.

    Args:
        luma: uint8[H, W] in 0..255, at least 84 pixels each side.

    Returns:
        f1 float64[18]: 3 scales x 6 numbers of the block DCT;
        f2 float64[45]: shapes of 12 pyramid bands and of 6 orientations over both levels, structure similarities of 12
        bands and the high-pass residual and of 15 pairs of level-1 orientations;
        f3 float64[75]: 3 scales x 25 singular values of 5x5 blocks, descending.

    Raises:
        UserError: for another type or shape, a side below 84 pixels, and for an image that has nothing in the pyramid's
            bands (a constant one, a chessboard of single pixels): f2 would be ratios of rounding errors.

    Source:
        Ma et al., "Learning a no-reference quality metric for single-image super-resolution", CVIU 2017.
    """
    luma = np.asarray(luma)
    _check(luma)
    scales = _scales(luma / 255.0)
    f1 = np.concatenate([_dct_features(x) for x in scales])
    f2 = _pyramid_features(luma.astype(np.float64))
    f3 = np.concatenate([_singular_values(x) for x in scales])
    return f1, f2, f3


def _check(luma: np.ndarray) -> None:
    if luma.ndim != 2 or luma.dtype != np.uint8:
        raise UserError(f"NRQM needs a grey image uint8[H, W], got {luma.dtype}{list(luma.shape)}: convert it first")
    if min(luma.shape) < MIN_SIDE:
        size = f"{luma.shape[1]}x{luma.shape[0]}"
        raise UserError(f"NRQM needs at least {MIN_SIDE}x{MIN_SIDE} pixels, got {size}: use a larger image")
    if luma.min() == luma.max():
        raise UserError(f"NRQM is undefined for a constant image (every pixel is {luma.min()}): leave it out")


def _scales(image: np.ndarray) -> list[np.ndarray]:
    """The image and its two halvings; the border counts as black."""
    kernel = cv2.getGaussianKernel(3, 0.5)
    scales = [image]
    for _ in range(_SCALES - 1):
        smooth = cv2.sepFilter2D(scales[-1], cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        scales.append(smooth[1::2, 1::2])
    return scales


# f1: block DCT


def _dct_features(image: np.ndarray) -> np.ndarray:
    """float64[6] of one scale: lowest tenth and mean of the shapes, highest tenth and mean of two variations."""
    coefficients = _dct_patches(image)
    shapes = _ggd_shapes(coefficients[:, 1:])
    lowest = np.sort(shapes)[: int(np.ceil(len(shapes) * 0.1))]
    magnitudes = np.abs(coefficients)
    variation = _variation(magnitudes[:, 1:], 1e-7)
    wedges = np.stack([_variation(magnitudes[:, wedge], 1e-8) for wedge in _wedges()])
    orientation = wedges.var(axis=0, ddof=1)
    return np.array([lowest.mean(), shapes.mean(), *_top_and_mean(variation), *_top_and_mean(orientation)])


def _dct_patches(image: np.ndarray) -> np.ndarray:
    """Orthonormal DCT of the 7x7 patches around 3x3 blocks, black outside: float64[patches, 49], DC first."""
    pads = [(2, 2 + -side % 3) for side in image.shape]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, pads), (7, 7))[::3, ::3]
    dct = fft.dct(np.eye(7), axis=0, norm="ortho")
    return windows.reshape(-1, 49) @ np.kron(dct, dct).T


@lru_cache(maxsize=1)
def _wedges() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of the 49 coefficients lie near the horizontal axis, the diagonal and the vertical axis: 16 each."""
    first_column = (1, 2, 4, 5, 7, 7, 7)  # of each row of the horizontal wedge; 7: none
    horizontal = np.arange(7) >= np.array(first_column)[:, None]
    diagonal = ~(horizontal | horizontal.T)
    diagonal[0, 0] = False
    return tuple(np.flatnonzero(mask) for mask in (horizontal, diagonal, horizontal.T))


def _variation(magnitudes: np.ndarray, epsilon: float) -> np.ndarray:
    return magnitudes.std(axis=1, ddof=1) / (magnitudes.mean(axis=1) + epsilon)


def _top_and_mean(values: np.ndarray) -> tuple[float, float]:
    # One more value than a tenth: the authors start at the 1-based index fix(0.9 n).
    return np.sort(values)[int(len(values) * 0.9) - 1 :].mean(), values.mean()


def _ggd_shapes(samples: np.ndarray) -> np.ndarray:
    """Shape of the generalised Gaussian (0.03..10, steps of 0.001) that fits each row."""
    deviation = np.abs(samples - samples.mean(axis=1, keepdims=True)).mean(axis=1)
    return _nearest_shapes(samples.var(axis=1, ddof=1) / (deviation**2 + 1e-7))


def _nearest_shapes(ratios: np.ndarray) -> np.ndarray:
    # Searched in the reversed table, which ascends.
    right = np.clip(len(_RATIOS) - np.searchsorted(_RATIOS[::-1], ratios), 1, len(_RATIOS) - 1)
    left_is_nearer = np.abs(_RATIOS[right - 1] - ratios) <= np.abs(_RATIOS[right] - ratios)
    return _SHAPES[right - left_is_nearer]


# f2: steerable pyramid (sizes and tables as in matlabPyrTools' buildSFpyr)


def _pyramid_features(image: np.ndarray) -> np.ndarray:
    pyramid = _steerable_pyramid(image)
    bands = _normalised_bands(pyramid)
    fine, coarse = bands[:_ORIENTATIONS], bands[_ORIENTATIONS:]
    both = [np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(fine, coarse, strict=True)]
    shapes = [_ggd_shapes(band.reshape(1, -1)).item() for band in (*bands, *both)]
    high = _Moments(pyramid.high)
    resized = [_Moments(_resize(band, pyramid.high.shape)) for level in pyramid.levels for band in level]
    to_high = [_structure_similarity(band, high) for band in resized]
    moments = [_Moments(band) for band in fine]
    between = [_structure_similarity(a, b) for a, b in combinations(moments, 2)]
    return np.array(shapes + to_high + between)


class _Moments:
    """A band with the mean and variance of its 11x11 Gaussian windows (sigma 1.5) inside the image."""

    def __init__(self, band: np.ndarray) -> None:
        self.band = band
        self.mean = _window_mean(band)
        self.variance = _window_mean(band * band) - self.mean**2


def _window_mean(image: np.ndarray) -> np.ndarray:
    kernel = cv2.getGaussianKernel(11, 1.5)
    return cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel)[5:-5, 5:-5]


def _structure_similarity(a: _Moments, b: _Moments) -> float:
    """Mean of SSIM's contrast-structure term, with the constant for 0..255."""
    c2 = (0.03 * 255) ** 2
    covariance = _window_mean(a.band * b.band) - a.mean * b.mean
    return ((2 * covariance + c2) / (a.variance + b.variance + c2)).mean()


@dataclass(frozen=True)
class _Pyramid:
    """Bands of a steerable pyramid of two levels and six orientations, without the low-pass residual.

    Attributes:
        high: float64[H, W], the high-pass residual.
        levels: per level float64[6, h, w]; h and w are the image's, then half of them (rounded up).
    """

    high: np.ndarray
    levels: tuple[np.ndarray, ...]


def _steerable_pyramid(image: np.ndarray) -> _Pyramid:
    """Decompose float64[H, W] (at least 16 pixels each side) in the Fourier domain; borders are circular."""
    spectrum = fft.fftshift(fft.fft2(image))
    radius, angle = _polar(image.shape)
    high = _inverse(spectrum * _high_pass(radius))
    spectrum = spectrum * _low_pass(radius)
    levels = []
    for level in range(1, _LEVELS + 1):
        octave = radius + level
        band_pass = -1j * spectrum * _high_pass(octave)  # (-i)^5: fifth derivatives
        levels.append(np.stack([_inverse(band_pass * _angular(angle, k)) for k in range(_ORIENTATIONS)]))
        inner = tuple(_lower_half(side) for side in spectrum.shape)
        radius, angle = radius[inner], angle[inner]
        spectrum = spectrum[inner] * _low_pass(radius + level)
    return _Pyramid(high, tuple(levels))


def _inverse(spectrum: np.ndarray) -> np.ndarray:
    return fft.ifft2(fft.ifftshift(spectrum)).real


def _polar(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """log2 of the frequency (1: Nyquist) and angle, zero frequency at the centre of the shifted spectrum."""
    y, x = ((np.arange(side) - side // 2) / (side / 2) for side in shape)
    radius = np.hypot(y[:, None], x)
    radius[shape[0] // 2, shape[1] // 2] = 2 / shape[1]  # its logarithm would be -inf; the neighbour's value does
    return np.log2(radius), np.arctan2(y[:, None], x)


def _lower_half(side: int) -> slice:
    kept = (side + 1) // 2
    start = side // 2 - kept // 2
    return slice(start, start + kept)


def _transition() -> tuple[np.ndarray, np.ndarray]:
    """Abscissas and squares of the radial high-pass: a raised cosine over the octave that ends at 0."""
    phase = np.pi * np.arange(-257, 2) / 512
    power = np.cos(phase) ** 2
    power[0], power[-1] = power[1], power[-2]
    return 2 / np.pi * (phase + np.pi / 4) - 0.5, power


# All masks are linear interpolations of tables; the error of that is part of the values (1e-6 of the scale).
_RADIAL_AT, _HIGH_POWER = _transition()
_ANGULAR_AT = np.pi * np.arange(-2049, 1026) / 1024
_ANGULAR_GAIN = 2 ** (_ORIENTATIONS - 1) * factorial(_ORIENTATIONS - 1)
_ANGULAR_GAIN /= np.sqrt(_ORIENTATIONS * factorial(2 * (_ORIENTATIONS - 1)))
_ANGULAR = _ANGULAR_GAIN * np.cos(_ANGULAR_AT) ** (_ORIENTATIONS - 1)


def _high_pass(log_radius: np.ndarray) -> np.ndarray:
    return np.interp(log_radius, _RADIAL_AT, np.sqrt(_HIGH_POWER))


def _low_pass(log_radius: np.ndarray) -> np.ndarray:
    return np.interp(log_radius, _RADIAL_AT, np.sqrt(1 - _HIGH_POWER))


def _angular(angle: np.ndarray, orientation: int) -> np.ndarray:
    return np.interp(angle - np.pi * orientation / _ORIENTATIONS, _ANGULAR_AT, _ANGULAR)


def _normalised_bands(pyramid: _Pyramid) -> list[np.ndarray]:
    """Each band without its mean, divided by the local deviation of its neighbourhood, without border and mean again.

    Neighbourhood: 3x3 pixels, the same place in the five other orientations and, for the first five orientations of
    level 1, in the parent band. The sixth goes without a parent: a slip of the authors' code that the forests know.

    Returns:
        12 arrays, level 1 first: float64[H - 34, W - 34], then float64[h - 18, w - 18].
    """
    normalised = []
    for level, bands in enumerate(pyramid.levels):
        for k, band in enumerate(bands):
            neighbours = [band[1 + y : y - 1 or None, 1 + x : x - 1 or None] for y in (-1, 0, 1) for x in (-1, 0, 1)]
            if level == 0 and k < _ORIENTATIONS - 1:
                neighbours.append(_parent(pyramid, k)[1:-1, 1:-1])
            patch_size = len(neighbours)
            neighbours += [other[1:-1, 1:-1] for j, other in enumerate(bands) if j != k]
            guard = _GUARD >> level
            ratio = _divide(band[1:-1, 1:-1], neighbours, patch_size)[guard:-guard, guard:-guard]
            normalised.append(ratio - ratio.mean())
    return normalised


def _parent(pyramid: _Pyramid, orientation: int) -> np.ndarray:
    band = pyramid.levels[1][orientation]
    doubled = _resize(band, (2 * band.shape[0], 2 * band.shape[1]))
    return doubled[: pyramid.high.shape[0], : pyramid.high.shape[1]]


def _divide(centre: np.ndarray, neighbours: list[np.ndarray], patch_size: int) -> np.ndarray:
    """Divide by sqrt(y^T C^-1 y / patch_size), y the neighbours of a place, C their second moments over the band."""
    y = np.stack([n.ravel() for n in neighbours])
    values, vectors = np.linalg.eigh(y @ y.T / y.shape[1])
    # A band may be empty on its own, as in stripes. A pseudo-inverse leaves out its rounding noise, and so does this.
    kept = values > len(values) * np.spacing(values[-1])
    whitened = (vectors[:, kept] / np.sqrt(values[kept])).T @ y
    power = np.einsum("ij,ij->j", whitened, whitened).reshape(centre.shape) / patch_size
    if values[-1] < _NOISE_POWER or not power.all():
        raise UserError("NRQM is undefined for an image whose pyramid bands are empty: leave it out")
    return (centre - centre.mean()) / np.sqrt(power)


def _resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge float64[H, W] to `shape` by bicubic interpolation (a = -0.5) with mirrored borders."""
    rows, columns = (_cubic_weights(old, new) for old, new in zip(image.shape, shape, strict=True))
    return rows @ (columns @ image.T).T


def _cubic_weights(old: int, new: int) -> sparse.csr_array:
    """The matrix [new, old] that enlarges a line."""
    position = (np.arange(new) + 0.5) * old / new - 0.5
    taps = np.floor(position)[:, None] + np.arange(-1, 3)
    distance = np.abs(position[:, None] - taps)
    near = 1 + distance**2 * (1.5 * distance - 2.5)
    far = 2 + distance * (-4 + distance * (2.5 - 0.5 * distance))
    weights = np.where(distance <= 1, near, far)
    mirrored = np.concatenate([np.arange(old), np.arange(old)[::-1]])
    at = mirrored[taps.astype(int) % (2 * old)]
    return sparse.csr_array((weights.ravel(), (np.repeat(np.arange(new), 4), at.ravel())), shape=(new, old))


# f3: singular values


def _singular_values(image: np.ndarray) -> np.ndarray:
    """float64[25] of the matrix whose columns are the 5x5 blocks, black beyond the image."""
    padded = np.pad(image, [(0, -side % 5) for side in image.shape])
    rows, columns = (side // 5 for side in padded.shape)
    blocks = padded.reshape(rows, 5, columns, 5).transpose(1, 3, 0, 2).reshape(25, -1)
    return np.linalg.svd(blocks, compute_uv=False)
