"""TIFF files: headers of every kind, and what OpenCV would misread."""

import struct

import cv2
import numpy as np
import pytest
import tifffile

from iassf_jax.data import images
from image_files import refused, sample, save


def tiff(values, order="<", big=False, orientation=None, changes=()):
    """An uncompressed grey TIFF file of one strip, classic or BigTIFF, in either byte order; `changes`: tags."""
    height, width = values.shape
    mark = b"II" if order == "<" else b"MM"
    start = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    tags = [(256, 3, width), (257, 4, height), (258, 3, 8 * values.itemsize), (259, 3, 1), (262, 3, 1), (273, 4, 0)]
    tags += [(274, 3, orientation)] if orientation else []
    tags += [(277, 3, 1), (278, 4, height), (279, 4, values.nbytes)]
    tags = [(tag, kind, dict(changes).get(tag, value)) for tag, kind, value in [*tags, (284, 3, 1)]]
    entry, count, pad = (20, "Q", 8) if big else (12, "H", 4)
    data_at = len(start) + struct.calcsize(order + count) + entry * len(tags) + pad
    body = struct.pack(order + count, len(tags))
    for tag, kind, value in tags:
        value = data_at if tag == 273 else value
        packed = struct.pack(order + ("H" if kind == 3 else "I"), value).ljust(pad, b"\0")
        body += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, 1) + packed
    return start + body + bytes(pad) + values.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_in_both_byte_orders_and_sizes(tmp_path, order, big):
    values = sample((6, 5))
    path = save(tmp_path / "a.tif", tiff(values, order, big))
    assert images.image_size(path) == (6, 5)
    assert np.array_equal(images.read_image(path), values)
    turned = save(tmp_path / "turned.tif", tiff(values, order, big, orientation=6))
    refused(turned, "orientation tag 6", images.read_image, turned)


def test_float_and_32_bit_tiff(tmp_path):
    path = save(tmp_path / "float.tif", cv2.imencode(".tif", np.ones((3, 4), np.float32))[1])
    assert images.image_size(path) == (3, 4)
    refused(path, "holds float32 values", images.read_image, path)


@pytest.mark.parametrize("changes", [{262: 0}, {277: 2}, {277: 3, 284: 2}])
def test_tiffs_of_16_bits_that_would_be_misread_are_refused(tmp_path, changes):
    values = sample((6, 4), np.uint16)
    np.testing.assert_array_equal(images.read_image(save(tmp_path / "a.tif", tiff(values))), values)
    refused(save(tmp_path / "b.tif", tiff(values, changes=changes)), "save it", images.read_image, tmp_path / "b.tif")


def test_bits_of_three_channels_lie_beside_the_header(tmp_path):
    values = sample((6, 4, 3), np.uint16)
    path = tmp_path / "planes.tif"
    tifffile.imwrite(path, values.transpose(2, 0, 1), planarconfig="separate", photometric="rgb")
    refused(path, "separate planes", images.read_image, path)
    tifffile.imwrite(path, values, photometric="rgb")
    np.testing.assert_array_equal(images.read_image(path), values)


def test_transparent_pixels_of_a_tiff(tmp_path):
    values = sample((6, 4, 4))
    path = tmp_path / "alpha.tif"
    tifffile.imwrite(path, values, photometric="rgb", extrasamples=["unassalpha"])
    refused(path, "transparent pixels", images.read_image, path)
    values[..., 3] = 255
    tifffile.imwrite(path, values, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(images.read_image(path), values[..., :3])
