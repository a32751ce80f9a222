"""Borders that registration leaves in infrared images, against what only looks like one."""

import cv2
import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.data.borders import filled, find_border
from image_files import sample

SCENE = cv2.normalize(cv2.GaussianBlur(sample((120, 160)), (0, 0), 2), None, 30, 220, cv2.NORM_MINMAX)


def turned(scene, value):
    """As an affine registration leaves it, and where it has no data."""
    matrix = cv2.getRotationMatrix2D((80, 60), 4, 1.0)
    size = scene.shape[::-1]
    return cv2.warpAffine(scene, matrix, size, borderValue=value), cv2.warpAffine(scene * 0 + 1, matrix, size) == 0


@pytest.mark.parametrize("value", [0, 255])
def test_wedges_of_a_rotation(value):
    infrared, outside = turned(SCENE, value)
    border = find_border(infrared)
    assert border[outside].mean() > 0.95
    # No deeper than the blurred edge and its rounding.
    assert not border[cv2.erode((~outside).astype(np.uint8), np.ones((9, 9)), borderValue=1) > 0].any()


@pytest.mark.parametrize("value", [0, 90, 255])
def test_frames_of_any_grey(value):
    infrared = np.full_like(SCENE, value)
    infrared[9:-7, 12:-5] = SCENE[9:-7, 12:-5]
    border = find_border(infrared)
    assert border[:9].all() and border[-7:].all() and border[:, :12].all() and border[:, -5:].all()
    assert not border[11:-9, 14:-7].any()


def test_a_band_that_a_video_has_made_noisy():
    infrared = SCENE.copy()
    infrared[:10] = sample((10, 160)) % 9
    border = find_border(infrared)
    assert border[:10].all() and not border[12:].any()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_raw_data_with_wedges(dtype):
    infrared, outside = turned(SCENE, 0)
    raw = np.where(outside | (infrared == 0), 0, 7000 + infrared.astype(float)).astype(dtype)
    assert find_border(raw)[outside].mean() > 0.98


def test_what_belongs_to_the_scene_stays():
    sky = SCENE.copy()
    skyline = (30 + 12 * np.sin(np.arange(160) / 6) + 8 * (np.arange(160) % 40 > 20)).astype(int)
    sky[np.arange(120)[:, None] < skyline] = 0  # cold, and clipped
    road = SCENE.copy()
    cv2.ellipse(road, (20, 125), (70, 30), 0, 0, 360, 255, -1)  # hot, in the corner
    dark = np.maximum(SCENE.astype(int) - 120, 0).astype(np.uint8)  # much of it clipped
    fade = np.minimum(SCENE, (np.arange(120) * 3)[:, None]).astype(np.uint8)  # no edge
    for infrared in (SCENE, sky, road, dark, fade, sample((64, 64)), np.zeros((40, 40), np.uint8), SCENE[:10]):
        assert find_border(infrared) is None


def test_a_filled_border_goes_on_as_the_image_ends():
    infrared, outside = turned(SCENE, 0)
    border = find_border(infrared)
    out = filled(infrared, border)
    assert out.dtype == infrared.dtype
    np.testing.assert_array_equal(out[~border], infrared[~border])
    assert out.min() >= infrared[~border].min() and find_border(out) is None


def test_real_borders_are_found_and_few_others(real_data):
    """M3FD's wedges; of VIFB, one clip of the night and one with a dark band."""
    for stem in ("00000", "00159", "00255", "01017"):
        infrared = images.read_infrared(real_data / f"m3fd/ir/{stem}.png")
        border = find_border(infrared)
        assert 0.01 < border.mean() < 0.03 and border[300:400, -2:].all() and not border[20:-20, 20:-40].any()
    for name, share in (("peopleshadow", 0.1), ("walking", 0.055)):
        border = find_border(images.read_infrared(real_data / f"vifb/ir/vifb_{name}.webp"))
        assert border.mean() == pytest.approx(share, abs=0.02) and border[:6].mean() > 0.97
    for path in sorted((real_data / "msrs/IR").iterdir())[::10]:
        assert find_border(images.read_infrared(path)) is None
