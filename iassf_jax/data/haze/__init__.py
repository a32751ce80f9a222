"""Haze on clear images, by the atmospheric scattering model (`kinds.py` lists the kinds)."""

from iassf_jax.data.haze.depth_maps import DEPTH_MEANINGS, FAR_METRES, check_depth_settings, load_depth, metres_of
from iassf_jax.data.haze.kinds import HAZE_KINDS, HazeKind, HazeParams, Ranges, draw_haze, merged_ranges
from iassf_jax.data.haze.scattering import Hazed, apply_haze, checked_shape, haze_image, transmission

__all__ = [
    "DEPTH_MEANINGS",
    "FAR_METRES",
    "HAZE_KINDS",
    "HazeKind",
    "HazeParams",
    "Hazed",
    "Ranges",
    "apply_haze",
    "check_depth_settings",
    "checked_shape",
    "draw_haze",
    "haze_image",
    "load_depth",
    "merged_ranges",
    "metres_of",
    "transmission",
]
