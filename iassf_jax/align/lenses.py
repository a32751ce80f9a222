"""Lens calibrations as OpenCV writes them (YAML, XML or JSON), and straightening points with them."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.polynomial import Polynomial

from iassf_jax.align.warps import Size, resizing
from iassf_jax.errors import UserError

_STEPS = 10  # of Newton; most points need three
_CLOSE = 1e-3  # pixels
_APART = 1e-3  # pixels, of a difference that stands for a derivative


@dataclasses.dataclass(frozen=True, eq=False)
class Lens:
    """Camera matrix float64[3, 3], distortion float64[N] as OpenCV orders it, and the image's width and height."""

    matrix: np.ndarray
    distortion: np.ndarray
    size: Size

    @classmethod
    def read(cls, path: str | Path) -> "Lens":
        """Reads `camera_matrix`, `distortion_coefficients`, `image_width` and `image_height`.

        Raises:
            UserError: no such file, or one without these.
        """
        if not Path(path).is_file():
            raise UserError(f"{path}: is not there: give a calibration file of OpenCV")
        try:
            file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
            arrays = [file.getNode(name).mat() for name in ("camera_matrix", "distortion_coefficients")]
            size = tuple(int(file.getNode(name).real()) for name in ("image_width", "image_height"))
            lens = cls(arrays[0].astype(np.float64), arrays[1].astype(np.float64).ravel(), size)
        except (cv2.error, AttributeError, SystemError, ValueError, OverflowError):
            lens = None
        if lens is None or not lens._good():
            raise UserError(
                f"{path}: holds no camera_matrix, distortion_coefficients, image_width and image_height: "
                "save the calibration as OpenCV's sample does"
            )
        return lens

    def _good(self) -> bool:
        numbers = np.isfinite(self.matrix).all() and np.isfinite(self.distortion).all()
        return (
            self.matrix.shape == (3, 3) and len(self.distortion) in (4, 5, 8, 12, 14) and numbers and min(self.size) > 0
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"matrix": self.matrix.tolist(), "distortion": self.distortion.tolist(), "size": list(self.size)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Lens":
        """The inverse of `as_dict`; ValueError where it is none."""
        size = tuple(int(n) for n in values["size"])
        lens = cls(np.array(values["matrix"], float), np.array(values["distortion"], float), size)
        if not lens._good():
            raise ValueError
        return lens

    def of_size(self, size: Size) -> "Lens":
        """The lens for images of another resolution."""
        return dataclasses.replace(self, matrix=resizing(self.size, size) @ self.matrix, size=size)

    def straightened(self, points: np.ndarray) -> np.ndarray:
        """Pixels float64[N, 2] where they would be without distortion; nan where nothing is bent to them.

        OpenCV's few steps are right but for wide lenses. Newton's find the others, from the distorted side: towards the
        fold places move ever less, so that no step leaps over what it looks for.
        """
        found = cv2.undistortPoints(points[:, None], self.matrix, self.distortion, P=self.matrix)[:, 0]
        wrong = np.flatnonzero(self._far(found, points))
        found[wrong] = points[wrong]
        for _ in range(_STEPS if wrong.size else 0):
            left = found[wrong]
            there = self.bent(left)
            (a, c), (b, d) = ((self.bent(left + step) - there).T / _APART for step in _APART * np.eye(2))
            x, y = (there - points[wrong]).T
            found[wrong] -= np.stack([d * x - b * y, a * y - c * x], axis=1) / (a * d - b * c)[:, None]
            far = self._far(found[wrong], points[wrong])
            if not far.any():
                return found
            wrong = wrong[far]
        found[wrong] = np.nan
        return found

    def _far(self, found: np.ndarray, points: np.ndarray) -> np.ndarray:
        """bool[N]: what is not bent to its point."""
        return ~(np.abs(self.bent(found) - points) < _CLOSE).all(axis=1)

    def bent(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `straightened`; nan beyond the radius where the distortion folds back."""
        rays = np.c_[points, np.ones(len(points))] @ np.linalg.inv(self.matrix).T
        places = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0][:, 0]
        places[np.square(rays[:, :2]).sum(axis=1) > self._fold] = np.nan
        return places

    @functools.cached_property
    def _fold(self) -> float:
        """The square of the radius from which on points come no further out: r (1 + k1 r^2 ...) / (1 + k4 r^2 ...)."""
        k1, k2, _, _, k3, k4, k5, k6 = np.pad(self.distortion, (0, 4))[:8]
        top, below = Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6])
        slope = top * below + Polynomial([0, 2]) * (top.deriv() * below - top * below.deriv())
        roots = np.concatenate([slope.roots(), below.roots()])
        return min(roots[np.isreal(roots) & (roots.real > 0)].real, default=np.inf)

    def straight_image(self, image: np.ndarray) -> np.ndarray:
        """An image without distortion, on the same pixels."""
        return cv2.undistort(image, self.matrix, self.distortion)
