"""A picture to judge an alignment by: the infrared image's edges on the visible image, before and after."""

from collections.abc import Sequence

import cv2
import numpy as np

from iassf_jax.align.edges import edge_field, luma
from iassf_jax.align.rig import Rig
from iassf_jax.data import images

_WIDTH = 480  # of a tile
_COLOUR = np.array([255, 60, 0], np.float32)


def overlay(pairs: Sequence[tuple[np.ndarray, np.ndarray]], rig: Rig) -> np.ndarray:
    """A row a pair: left the infrared image just stretched to the visible one, right aligned; edges in red.

    Args:
        pairs: visible [H, W, 3] or [H, W] and infrared [h, w], of the rig's sizes.
        rig: the alignment.

    Returns:
        uint8[rows, columns, 3], R, G, B.
    """
    rows = []
    for visible, infrared in pairs:
        size = visible.shape[1::-1]
        stretched = cv2.resize(luma(infrared), size, interpolation=cv2.INTER_LINEAR)
        tiles = [_tile(visible, stretched, None), _tile(visible, rig.placed(luma(infrared)), rig.weight > 0)]
        rows.append(np.concatenate(tiles, axis=1))
    picture = np.concatenate(rows)
    for text, column in (("stretched", 8), ("aligned", _WIDTH + 8)):
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(picture, text, (column, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, thickness, cv2.LINE_AA)
    return picture


def _tile(visible: np.ndarray, heat: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    height = round(_WIDTH * visible.shape[0] / visible.shape[1])
    small = cv2.resize(images.three_channels(images.to_8_bits(visible)), (_WIDTH, height), interpolation=cv2.INTER_AREA)
    heat = cv2.resize(heat, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    if known is not None:
        known = cv2.resize(known.astype(np.uint8), (_WIDTH, height), interpolation=cv2.INTER_NEAREST) > 0
    length = np.linalg.norm(edge_field(heat, 1.5, known), axis=-1, keepdims=True)
    share = np.clip(2 * length - 0.5, 0, 0.9)
    grey = np.repeat(luma(small)[..., None], 3, axis=-1)
    return np.rint((1 - share) * grey + share * _COLOUR).astype(np.uint8)
