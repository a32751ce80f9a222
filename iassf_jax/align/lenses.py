"""Lens calibrations as OpenCV writes them (YAML, XML or JSON), and straightening points with them."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from iassf_jax.align.warps import Size, resizing
from iassf_jax.errors import UserError


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
        except (cv2.error, AttributeError, SystemError):
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
        lens = cls(np.array(values["matrix"], float), np.array(values["distortion"], float), tuple(values["size"]))
        if not lens._good():
            raise ValueError
        return lens

    def of_size(self, size: Size) -> "Lens":
        """The lens for images of another resolution."""
        return dataclasses.replace(self, matrix=resizing(self.size, size) @ self.matrix, size=size)

    def straightened(self, points: np.ndarray) -> np.ndarray:
        """Pixels float64[N, 2] where they would be without distortion."""
        return cv2.undistortPoints(points[:, None], self.matrix, self.distortion, P=self.matrix)[:, 0]

    def bent(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `straightened`."""
        rays = np.c_[points, np.ones(len(points))] @ np.linalg.inv(self.matrix).T
        return cv2.projectPoints(rays, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0][:, 0]

    def straight_image(self, image: np.ndarray) -> np.ndarray:
        """An image without distortion, on the same pixels."""
        return cv2.undistort(image, self.matrix, self.distortion)
