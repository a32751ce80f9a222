"""JPEG files as cameras write them and as broken copies leave them: where the image ends, and what is refused."""

import struct

import cv2
import numpy as np
import pytest

from iassf_jax.data import images, jpeg
from iassf_jax.data.images import Reading
from image_files import refused, sample, save

KINDS = {
    "plain": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    "small chroma": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420],
}
SMOOTH = cv2.GaussianBlur(sample((90, 120, 3)), (0, 0), 3)
END = b"\xff\xd9"


def encoded(kind="plain", image=SMOOTH):
    return bytes(cv2.imencode(".jpg", image, KINDS[kind])[1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_end_marker_does_not_count(tmp_path, kind):
    data = encoded(kind)
    expected = images.read_image(save(tmp_path / "a.jpg", data))
    for more in (b"\0" * 64 + b"\x12\xff\xda\x34" + b"\1" * 50, data, b"\xff\xd8\xff\xe0", bytes(300_000), b"\xff"):
        assert jpeg.extent(data + more)[:2] == (len(data), True)
        np.testing.assert_array_equal(images.read_image(save(tmp_path / "b.jpg", data + more)), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("after", [b"", END, b"\0" * 900, encoded()])
def test_a_cut_image_is_refused_or_read_as_far_as_it_goes(tmp_path, kind, share, after):
    """With nothing behind it, an end marker glued on, zeros, or a second image."""
    data = encoded(kind)
    scan = data.rfind(b"\xff\xda")
    path = save(tmp_path / "cut.jpg", data[: scan + int(share * (len(data) - scan))] + after)
    refused(path, "is truncated.*--damaged read", images.read_image, path)
    notes = []
    part, whole = images.read_image(path, Reading(damaged=True), notes), images.read_image(save(tmp_path / "a", data))
    assert [note.about for note in notes] == ["is truncated and was read as far as it goes"]
    assert part.shape == whole.shape
    rows = int(0.6 * share * 90)
    if kind != "progressive":
        np.testing.assert_array_equal(part[:rows], whole[:rows])
    assert (part != whole).any()


def test_a_cut_in_a_table_costs_that_scan_alone(tmp_path):
    data = encoded("progressive")
    table = data.rfind(b"\xff\xc4")
    path = save(tmp_path / "cut.jpg", data[: table + 6])
    refused(path, "is truncated.*--damaged read", images.read_image, path)
    part = images.read_image(path, Reading(damaged=True))
    assert 0 < np.abs(part - images.read_image(save(tmp_path / "a.jpg", data)).astype(float)).mean() < 3


def test_an_end_inside_a_preview_is_not_the_images(tmp_path):
    """A preview in EXIF, as most cameras write one, made a cut file look whole."""
    preview = encoded(image=SMOOTH[::8, ::8].copy())
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    data = encoded()
    data = data[:2] + segment + data[2:]
    assert images.read_image(save(tmp_path / "a.jpg", data)).shape == SMOOTH.shape
    path = save(tmp_path / "cut.jpg", data[: len(data) * 2 // 3])
    refused(path, "truncated", images.read_image, path)


def test_whole_images_that_end_in_grey_are_read(tmp_path):
    """What libjpeg leaves where data lack is 128, 128, 128; here it is the image's own."""
    grey = SMOOTH.copy()
    grey[40:] = 128
    for kind in KINDS:
        assert (images.read_image(save(tmp_path / "a.jpg", encoded(kind, grey)))[-1, -1] == 128).all()
    flat = np.full((90, 120), 128, np.uint8)
    assert (images.read_image(save(tmp_path / "b.jpg", encoded("plain", flat))) == 128).all()


def test_a_file_of_which_nothing_is_there(tmp_path):
    for size in (20, 300):
        path = save(tmp_path / "cut.jpg", encoded()[:size])
        refused(path, "cut off|truncated", images.read_image, path, Reading(damaged=True))
