"""A rig of two cameras: how its infrared image lies in its visible image, as a JSON file."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from iassf_jax.align import warps
from iassf_jax.align.lenses import Lens
from iassf_jax.errors import UserError
from iassf_jax.files import write_bytes

_FORMAT = "iassf_jax rig 1"
_FEATHER = 0.03  # of the image's longest side: over this the infrared image fades out at its border


@dataclasses.dataclass(frozen=True, eq=False)
class Rig:
    """How the infrared image lies in the visible one.

    Attributes:
        matrix: float64[3, 3], from visible to infrared pixels (without lens distortion, where lenses are given).
        visible_size, infrared_size: width, height of the images that it was found with.
        model: of `refine.MODELS`.
        lenses: of the visible and the infrared camera, or None.
        about: how it was found: scores, pairs, uncertainty.
    """

    matrix: np.ndarray
    visible_size: warps.Size
    infrared_size: warps.Size
    model: str = "homography"
    lenses: tuple[Lens | None, Lens | None] = (None, None)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Writes the file as a whole or not at all."""
        content = {"format": _FORMAT, "model": self.model, **self.as_dict(), "about": self.about}
        write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())

    def as_dict(self) -> dict[str, Any]:
        """What decides where infrared pixels lie, for JSON."""
        return {
            "visible_size": list(self.visible_size),
            "infrared_size": list(self.infrared_size),
            "matrix": self.matrix.tolist(),
            "lenses": {
                side: lens and lens.as_dict() for side, lens in zip(("visible", "infrared"), self.lenses, strict=True)
            },
        }

    @classmethod
    def read(cls, path: str | Path) -> "Rig":
        """Reads such a file; a UserError where it is none."""
        try:
            content = json.loads(Path(path).read_text())
            if content["format"] != _FORMAT:
                raise ValueError
            matrix = np.array(content["matrix"], np.float64)
            sizes = [tuple(int(n) for n in content[f"{side}_size"]) for side in ("visible", "infrared")]
            lenses = tuple(
                Lens.from_dict(content["lenses"][side]) if content["lenses"][side] else None
                for side in ("visible", "infrared")
            )
            rig = cls(matrix, *sizes, str(content["model"]), lenses, dict(content["about"]))
            good = matrix.shape == (3, 3) and np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-12
            if not good or any(len(size) != 2 or min(size) < 1 for size in sizes):
                raise ValueError
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): give the file that align wrote") from None
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise UserError(f"{path}: is no rig file: make one with iassf-jax align") from None
        return rig

    def of_sizes(self, visible: warps.Size, infrared: warps.Size) -> "Rig":
        """The same rig for images of other resolution and the same shape.

        Raises:
            UserError: images of another shape, which show another view.
        """
        for side, before, now in (("visible", self.visible_size, visible), ("infrared", self.infrared_size, infrared)):
            if abs(before[0] * now[1] - before[1] * now[0]) > 0.01 * before[0] * now[1]:
                was, has = (f"{w} x {h}" for w, h in (before, now))
                raise UserError(f"the {side} image is {has}, the rig was aligned at {was}: align it anew at this size")
        to_visible = warps.resizing(self.visible_size, visible)
        matrix = warps.resizing(self.infrared_size, infrared) @ self.matrix @ np.linalg.inv(to_visible)
        lenses = tuple(lens and lens.of_size(size) for lens, size in zip(self.lenses, (visible, infrared), strict=True))
        return dataclasses.replace(
            self, matrix=matrix / matrix[2, 2], visible_size=visible, infrared_size=infrared, lenses=lenses
        )

    @functools.cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Infrared pixels of every visible one: float32[H, W] each; -1 where a lens shows none."""
        w, h = self.visible_size
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
        visible, infrared = self.lenses
        points = visible.straightened(points) if visible else points
        points = warps.apply(self.matrix, points)
        points = infrared.bent(points) if infrared else points
        points = np.where(np.isnan(points), -1, points)
        return tuple(points[:, i].reshape(h, w).astype(np.float32) for i in (0, 1))

    @functools.cached_property
    def weight(self) -> np.ndarray:
        """float32[H, W] on visible pixels: 1 inside the infrared image, 0 outside, a soft border within."""
        w, h = self.infrared_size
        x, y = self._maps
        inside = (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
        if inside.all():
            return np.ones(inside.shape, np.float32)
        distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)  # the image's own border is no edge
        ramp = np.clip(distance / max(2.0, _FEATHER * max(inside.shape)), 0, 1)
        return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)

    @functools.cached_property
    def overlap(self) -> tuple[slice, slice]:
        """Rows and columns of the largest upright rectangle that the infrared image fills.

        Raises:
            UserError: it fills none.
        """
        w, h = self.infrared_size
        x, y = self._maps
        found = largest_rectangle((x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1))
        if found is None:
            raise UserError("the rig's infrared image does not lie in its visible one: align it anew")
        return found

    def placed(self, infrared: np.ndarray) -> np.ndarray:
        """An infrared image [h, w] of `infrared_size` on the visible pixels: [H, W], same type.

        Outside it, its surroundings go on smoothly.
        """
        x, y = self._maps
        dtype = infrared.dtype
        image = infrared if dtype in (np.uint8, np.uint16) else infrared.astype(np.float32)
        image, x, y = _reduced(image, x, y, self.matrix, self.visible_size)
        there = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if (self.weight < 1).any():
            h, w = image.shape
            there = _continued(there, (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1))
        return there.astype(dtype)


def _reduced(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, matrix: np.ndarray, size: warps.Size
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of far more pixels than are asked for, made smaller first: else it would alias."""
    from iassf_jax.align.refine import scale_of

    scale = scale_of(matrix, size)
    if scale < 1.5:
        return image, x, y
    before = image.shape[1::-1]
    after = tuple(max(1, round(n / scale)) for n in before)
    m = warps.resizing(before, after).astype(np.float32)
    return cv2.resize(image, after, interpolation=cv2.INTER_AREA), m[0, 0] * x + m[0, 2], m[1, 1] * y + m[1, 2]


def _continued(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The image where it is known; elsewhere means of what is known around, ever wider ones further away."""
    value, weight = image.astype(np.float32) * known, known.astype(np.float32)
    stack = []
    while min(value.shape) > 2:
        stack.append((value, weight))
        value, weight = cv2.pyrDown(value), cv2.pyrDown(weight)
    filled = np.full_like(value, value.sum() / max(float(weight.sum()), 1e-6))
    for value, weight in reversed(stack):
        filled = cv2.pyrUp(filled, dstsize=value.shape[1::-1])
        share = np.minimum(weight, 1)
        filled = np.where(weight > 1e-3, value / np.maximum(weight, 1e-3) * share, 0) + (1 - share) * filled
    if image.dtype.kind == "u":
        filled = np.rint(filled)
    return np.where(known, image, filled.astype(image.dtype))


def largest_rectangle(inside: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the largest upright rectangle of True in bool[H, W]; None where there is none."""
    heights = np.zeros(inside.shape[1], int)
    best, found = 0, None
    for row, line in enumerate(inside):
        heights = np.where(line, heights + 1, 0)
        open_: list[tuple[int, int]] = []  # start, height
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while open_ and open_[-1][1] >= height:
                start, tall = open_.pop()
                if tall * (column - start) > best:
                    best = tall * (column - start)
                    found = slice(row + 1 - tall, row + 1), slice(start, column)
            open_.append((start, height))
    return found
