"""Bringing an infrared image onto its visible one before they are fused, by a rig or by what the pair itself shows."""

import dataclasses
import functools
from typing import Any

import numpy as np

from iassf_jax.align.find import register
from iassf_jax.align.rig import Rig
from iassf_jax.data import images
from iassf_jax.data.notes import Note
from iassf_jax.errors import UserError
from iassf_jax.fuse.prepare import DEFAULT, Preparation, Prepared, array, prepare_pair


@dataclasses.dataclass(frozen=True)
class Placing:
    """How infrared images lie in visible ones.

    Attributes:
        rig: for all pairs, or None.
        register: finds the place anew for each pair, from the rig where there is one, which also stands where that
            fails.
        crop_to_overlap: leaves of the visible image the largest rectangle that has infrared everywhere.

    Raises:
        UserError: neither a rig nor register.
    """

    rig: Rig | None = None
    register: bool = False
    crop_to_overlap: bool = False

    def __post_init__(self) -> None:
        if self.rig is None and not self.register:
            raise UserError("crop_to_overlap needs to know where the infrared image lies: give a rig, or register")

    def as_dict(self) -> dict[str, Any]:
        """What decides the results, for a manifest."""
        rig = self.rig.as_dict() if self.rig else {"matrix": None}
        return {**rig, "register": self.register, "crop_to_overlap": self.crop_to_overlap}

    def of_pair(self, visible: np.ndarray, infrared: np.ndarray, notes: list[Note] | None = None) -> Rig:
        """The rig for one pair; `notes` gets one where the given rig stands for what cannot be registered.

        Raises:
            UserError: it cannot be registered and there is no rig, or the rig is of images of another shape.
        """
        if self.register:
            try:
                return register(visible, infrared, self.rig)
            except UserError:
                if self.rig is None:
                    raise
                if notes is not None:
                    notes.append(Note("could not be registered: the rig was used"))
        return self.of_sizes(visible.shape[1::-1], infrared.shape[1::-1])

    def of_sizes(self, visible: tuple[int, int], infrared: tuple[int, int]) -> Rig:
        """The given rig for images of these widths and heights; a UserError where their shape is another."""
        return _of_sizes(self.rig, visible, infrared)

    def layout(self, visible: tuple[int, int], infrared: tuple[int, int]) -> tuple[tuple[int, int], np.ndarray | None]:
        """Width and height of what images of these sizes become, and the weight of `placed_pair`."""
        rig = self.of_sizes(visible, infrared)
        if not self.crop_to_overlap:
            return visible, rig.weight
        rows, columns = rig.overlap
        return (columns.stop - columns.start, rows.stop - rows.start), None


@functools.lru_cache(maxsize=4)
def _of_sizes(rig: Rig, visible: tuple[int, int], infrared: tuple[int, int]) -> Rig:
    """`Rig.of_sizes`, kept: its maps take as long as an image."""
    return rig.of_sizes(visible, infrared)


def placed_pair(
    visible: np.ndarray, infrared: np.ndarray, placing: Placing | None, notes: list[Note] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A visible image [H, W, ...], the infrared one on its pixels [H, W], and float32[H, W]: how much infrared counts.

    The weight is None, and the images stay, without a placing.
    """
    if placing is None:
        return visible, infrared, None
    visible, infrared = array(visible, "visible"), array(infrared, "infrared")
    infrared = images.one_channel(infrared) if infrared.ndim == 3 else infrared
    if visible.ndim not in (2, 3) or infrared.ndim != 2 or not visible.size or not infrared.size:
        raise UserError(f"visible has shape {visible.shape} and infrared {infrared.shape}: give two images")
    rig = placing.of_pair(visible, infrared, notes)
    placed, weight = rig.placed(infrared), rig.weight
    if placing.crop_to_overlap:
        area = rig.overlap
        return visible[area], placed[area], None
    return visible, placed, weight


def prepare_placed(
    visible: np.ndarray,
    infrared: np.ndarray,
    how: Preparation = DEFAULT,
    placing: Placing | None = None,
    notes: list[Note] | None = None,
) -> Prepared:
    """`prepare_pair`, after the infrared image is brought onto the visible one."""
    visible, infrared, weight = placed_pair(visible, infrared, placing, notes)
    return weighted(prepare_pair(visible, infrared, how, notes), weight)


def weighted(pair: Prepared, weight: np.ndarray | None) -> Prepared:
    """A pair whose border is also where a `placed_pair`'s weight is below 1, by as much as it is."""
    if weight is None or (weight == 1).all():
        return pair
    bare = 1 - weight
    return pair._replace(border=bare if pair.border is None else np.where(pair.border, np.float32(1), bare))
