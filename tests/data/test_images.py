"""Image files: headers, decoding, ranges and writing. Files are built byte by byte here, or by OpenCV's encoders."""

import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.errors import UserError
from image_files import refused, sample, save

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SUFFIXES = ["png", "jpg", "webp", "bmp", "tif"]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, colour, depth, rows, extra=b""):
    """A PNG file from its rows of bytes, by the PNG specification (filter type 0 in front of every row)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(row) for row in rows)))
    return SIGNATURE + header + extra + data + chunk(b"IEND", b"")


# ---- reading


def test_png_of_every_colour_type_is_read_as_it_is_stored(tmp_path):
    rgb = [[10, 20, 30, 40, 50, 60]]
    cases = {
        "rgb8": (png(2, 1, 2, 8, rgb), [[[10, 20, 30], [40, 50, 60]]], np.uint8),
        "rgba8": (png(2, 1, 6, 8, [[10, 20, 30, 0, 40, 50, 60, 255]]), [[[10, 20, 30], [40, 50, 60]]], np.uint8),
        "grey8": (png(2, 1, 0, 8, [[7, 200]]), [[7, 200]], np.uint8),
        "grey1": (png(8, 1, 0, 1, [[0b10100001]]), [[255, 0, 255, 0, 0, 0, 0, 255]], np.uint8),
        "grey-alpha": (png(2, 1, 4, 8, [[7, 0, 200, 255]]), [[[7, 7, 7], [200, 200, 200]]], np.uint8),
        "grey16": (png(2, 1, 0, 16, [struct.pack(">HH", 258, 65535)]), [[258, 65535]], np.uint16),
        "rgb16": (png(1, 1, 2, 16, [struct.pack(">HHH", 1, 500, 60000)]), [[[1, 500, 60000]]], np.uint16),
        "palette": (
            png(2, 1, 3, 8, [[1, 0]], chunk(b"PLTE", bytes([9, 8, 7, 200, 100, 50]))),
            [[[200, 100, 50], [9, 8, 7]]],
            np.uint8,
        ),
    }
    for name, (data, expected, dtype) in cases.items():
        path = save(tmp_path / f"{name}.png", data)
        image = images.read_image(path)
        assert image.dtype == dtype, name
        assert image.tolist() == expected, name
        assert images.image_size(path) == image.shape[:2], name


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(20, 30, 3), (1, 1, 3), (37, 5)])
def test_every_format_gives_size_and_pixels(tmp_path, suffix, shape):
    stored = cv2.GaussianBlur(sample(shape), (0, 0), 3)
    path = save(tmp_path / f"a.{suffix}", cv2.imencode(f".{suffix}", stored)[1])
    assert images.image_size(path) == shape[:2]
    image = images.read_image(str(path))
    assert image.shape[:2] == shape[:2]
    rgb = stored[..., ::-1] if stored.ndim == 3 else stored
    rgb = np.repeat(stored[..., None], 3, 2) if stored.ndim == 2 and image.ndim == 3 else rgb
    assert np.abs(image.astype(int) - rgb).max() <= (12 if suffix == "jpg" else 0)


def test_webp_headers_of_all_three_kinds(tmp_path):
    colour = sample((20, 30, 3))
    alpha = np.dstack([colour, sample((20, 30), seed=1)])
    kinds = {
        b"VP8 ": cv2.imencode(".webp", colour, [cv2.IMWRITE_WEBP_QUALITY, 80])[1],
        b"VP8L": cv2.imencode(".webp", colour)[1],
        b"VP8X": cv2.imencode(".webp", alpha, [cv2.IMWRITE_WEBP_QUALITY, 80])[1],
    }
    for kind, data in kinds.items():
        assert bytes(data)[12:16] == kind
        path = save(tmp_path / "a.webp", data)
        assert images.image_size(path) == (20, 30)
        assert images.read_image(path).shape == (20, 30, 3)


def test_bmp_that_runs_downwards_and_the_old_header(tmp_path):
    rows = bytes([30, 20, 10, 0]) + bytes([60, 50, 40, 0])  # B, G, R and padding to 4 bytes
    info = struct.pack("<IiiHHIIiiII", 40, 1, -2, 1, 24, 0, len(rows), 0, 0, 0, 0)
    down = save(tmp_path / "down.bmp", b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + info + rows)
    assert images.image_size(down) == (2, 1)
    assert images.read_image(down).tolist() == [[[10, 20, 30]], [[40, 50, 60]]]
    core = struct.pack("<IHHHH", 12, 1, 2, 1, 24)
    old = save(tmp_path / "old.bmp", b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + core + rows)
    assert cv2.imread(str(old), cv2.IMREAD_UNCHANGED).ndim == 2  # the colours are gone, and nothing was said
    refused(old, "header of OS/2", images.read_image, old)


def test_exif_orientation_is_ignored(tmp_path):
    plain = bytes(cv2.imencode(".jpg", sample((16, 24, 3)))[1])
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 274, 3, 1, 6, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path = save(tmp_path / "turned.jpg", plain[:2] + segment + plain[2:])
    assert cv2.imread(str(path)).shape == (24, 16, 3)  # the tag is there, and OpenCV obeys it by default
    assert images.image_size(path) == (16, 24)
    assert np.array_equal(images.read_image(path), images.read_image(save(tmp_path / "a.jpg", plain)))


def test_first_page_and_first_frame(tmp_path):
    pages = [np.full((8, 9, 3), colour, np.uint8) for colour in ((10, 20, 30), (200, 150, 100))]
    path = save(tmp_path / "pages.tif", cv2.imencodemulti(".tif", pages)[1])
    assert np.array_equal(images.read_image(path), pages[0][..., ::-1])
    animation = cv2.Animation()
    animation.frames = [np.dstack([page, np.full((8, 9), 255, np.uint8)]) for page in pages]
    animation.durations = [100, 100]
    for suffix in (".png", ".webp"):
        path = save(tmp_path / f"frames{suffix}", cv2.imencodeanimation(suffix, animation)[1])
        assert images.image_size(path) == (8, 9)
        assert np.abs(images.read_image(path).astype(int) - [30, 20, 10]).max() <= 4  # WebP animates with loss


def test_suffix_does_not_matter_for_reading(tmp_path):
    path = save(tmp_path / "really_png.jpg", png(2, 1, 0, 8, [[1, 2]]))
    assert images.read_image(path).tolist() == [[1, 2]]


def test_path_with_other_letters(tmp_path):
    path = save(tmp_path / "雾 ä.png", png(1, 1, 0, 8, [[5]]))
    assert images.read_image(path).tolist() == [[5]]


# ---- bad files


@pytest.mark.parametrize("function", [images.image_size, images.read_image])
def test_no_image_there(tmp_path, function):
    refused(tmp_path / "gone.png", "no such file", function, tmp_path / "gone.png")
    refused(tmp_path, "is a folder", function, tmp_path)
    refused(save(tmp_path / "empty.png", b""), "is empty", function, tmp_path / "empty.png")
    text = save(tmp_path / "text.png", b"this is only text, renamed\n" * 9)
    refused(text, "is not a PNG, JPEG, WebP, BMP or TIFF", function, text)
    short = save(tmp_path / "short.png", b"x")
    refused(short, "is not a PNG", function, short)
    gif = save(tmp_path / "gif.png", b"GIF89a" + bytes(30))
    refused(gif, "is not a PNG", function, gif)
    refused("nul\0.png", "cannot be opened", function, "nul\0.png")


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a regular file", images.read_image, tmp_path / "pipe.png")


def test_no_permission(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", png(1, 1, 0, 8, [[5]]))

    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", deny)
    refused(path, "may not be read", images.read_image, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_on_disk(tmp_path):
    path = save(tmp_path / "a.png", png(1, 1, 0, 8, [[5]]))
    path.chmod(0)
    refused(path, "may not be read", images.read_image, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_files(tmp_path, suffix):
    data = bytes(cv2.imencode(f".{suffix}", cv2.GaussianBlur(sample((60, 80, 3)), (0, 0), 2))[1])
    path = tmp_path / f"cut.{suffix}"
    for part in (14, len(data) // 10, len(data) // 2, len(data) * 9 // 10, len(data) - 20):
        save(path, data[:part])
        refused(path, "cut off|damaged|truncated", images.read_image, path)


def test_truncated_progressive_jpeg(tmp_path):
    data = bytes(cv2.imencode(".jpg", sample((64, 64, 3)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])
    path = tmp_path / "cut.jpg"
    for part in (len(data) // 2, len(data) - 2):
        refused(save(path, data[:part]), "truncated", images.read_image, path)


def test_downloads_that_were_padded_with_zeros(tmp_path):
    for suffix in ("jpg", "png"):
        data = bytes(cv2.imencode(f".{suffix}", sample((64, 64, 3)))[1])
        path = save(tmp_path / f"padded.{suffix}", data[: len(data) // 2].ljust(len(data), b"\0"))
        refused(path, "truncated", images.read_image, path)


def test_flipped_bits_in_a_png(tmp_path):
    data = bytearray(cv2.imencode(".png", sample((64, 64, 3)))[1])
    data[len(data) // 2] ^= 0x5A
    path = save(tmp_path / "flipped.png", data)
    refused(path, "damaged", images.read_image, path)


def large_headers():
    """Small files whose headers claim 20000 x 20000 pixels, by format."""
    side = 20000
    start_of_frame = struct.pack(">BBHBHHB", 0xFF, 0xC0, 17, 8, side, side, 3) + bytes(9)
    vp8x = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<II", 10, 0)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    values = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (side, side), (0, 0))
    tags = b"II*\0" + struct.pack("<IH", 8, 2)
    tags += struct.pack("<HHII", 256, 4, 1, side) + struct.pack("<HHII", 257, 4, 1, side) + bytes(4)
    assert values.shape == (side, side)
    return {
        "png": png(side, side, 2, 8, [[0]]),
        "jpg": b"\xff\xd8\xff\xe0\0\x04\0\0\xff" + start_of_frame,
        "webp": vp8x + 2 * (side - 1).to_bytes(3, "little") + bytes(60),
        "bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info,
        "tif": tags,
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_small_file_that_claims_to_be_huge_is_refused_before_decoding(tmp_path, suffix, monkeypatch):
    path = save(tmp_path / f"bomb.{suffix}", large_headers()[suffix])
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("decoded"))
    for function in (images.image_size, images.read_image):
        refused(path, "20000 x 20000 pixels are more than the limit of", function, path)


def test_the_limit_is_the_last_size_that_passes(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", png(3, 4, 0, 8, [[0, 0, 0]] * 4))
    monkeypatch.setattr(images, "MAX_PIXELS", 12)
    assert images.image_size(path) == (4, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 11)
    refused(path, "3 x 4 pixels are more than the limit of 11", images.image_size, path)


def test_the_environment_sets_the_limit(tmp_path):
    path = save(tmp_path / "a.png", png(30, 40, 0, 8, [[0] * 30] * 40))
    script = "import sys; from iassf_jax.data import images; print(images.MAX_PIXELS); images.read_image(sys.argv[1])"
    for limit, code in (("1199", 1), ("1200", 0)):
        env = {**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": limit, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", script, path], env=env, capture_output=True, text=True)
        assert done.stdout.strip() == limit, done.stderr
        assert done.returncode == code
    assert os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]  # and without a user's value there is one, since images set it


@pytest.mark.parametrize("width, height", [(0, 10), (10, 0)])
def test_no_pixels(tmp_path, width, height):
    path = save(tmp_path / "none.png", png(width, height, 0, 8, [[0]]))
    refused(path, f"says {width} x {height} pixels", images.read_image, path)


def test_damaged_headers(tmp_path):
    cases = {
        "ihdr.png": SIGNATURE + b"\0\0\0\rJUNK" + bytes(30),
        "scan.jpg": b"\xff\xd8\xff\xda" + bytes(30),
        "junk.jpg": b"\xff\xd8\xff\xe0\0\x04\0\0junkjunk",
        "junk.webp": b"RIFF\0\0\0\0WEBPJUNK" + bytes(30),
        "key.webp": b"RIFF\0\0\0\0WEBPVP8 " + bytes(30),
        "tags.tif": b"II*\0" + struct.pack("<IH", 8, 0) + bytes(30),
        "far.tif": b"II*\0" + struct.pack("<I", 1 << 30),
    }
    for name, data in cases.items():
        path = save(tmp_path / name, data)
        refused(path, "damaged|without a width|cut off", images.image_size, path)


# ---- visible and infrared


def test_visible_has_three_channels_and_infrared_one(tmp_path):
    grey = save(tmp_path / "grey.png", png(2, 1, 0, 8, [[7, 200]]))
    equal = save(tmp_path / "equal.png", png(2, 1, 2, 8, [[7, 7, 7, 200, 200, 200]]))
    assert images.read_visible(grey).tolist() == [[[7, 7, 7], [200, 200, 200]]]
    assert images.read_visible(equal).tolist() == [[[7, 7, 7], [200, 200, 200]]]
    assert images.read_infrared(grey).tolist() == [[7, 200]]
    assert images.read_infrared(equal).tolist() == [[7, 200]]


def test_coloured_infrared_becomes_luma(tmp_path):
    # ITU-R BT.601 by hand: 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.1; (10, 20, 30) -> 18.15
    eight = save(tmp_path / "8.png", png(4, 1, 2, 8, [[255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30]]))
    assert images.read_infrared(eight).tolist() == [[76, 150, 29, 18]]
    assert images.read_infrared(eight).dtype == np.uint8
    # 0.299 * 1000 + 0.587 * 2000 + 0.114 * 60000 = 8313
    sixteen = save(tmp_path / "16.png", png(1, 1, 2, 16, [struct.pack(">HHH", 1000, 2000, 60000)]))
    assert images.read_infrared(sixteen).tolist() == [[8313]]
    assert images.read_infrared(sixteen).dtype == np.uint16


# ---- ranges


def test_ranges():
    eight, sixteen = np.array([0, 51, 255], np.uint8), np.array([0, 13107, 65535], np.uint16)
    for image in (eight, sixteen, np.array([0, 0.2, 1]), np.array([0, 0.2, 1], np.float32), sixteen.astype(">u2")):
        unit, signed = images.to_float(image), images.to_signed(image)
        assert unit.dtype == signed.dtype == np.float32
        np.testing.assert_allclose(unit, [0, 0.2, 1], atol=1e-7)
        np.testing.assert_allclose(signed, [-1, -0.6, 1], atol=2e-7)
    assert images.to_float(eight)[-1] == 1 and images.to_signed(sixteen).tolist()[::2] == [-1, 1]


@pytest.mark.parametrize(
    "image, match",
    [
        (np.array([0.5, np.nan]), "NaN or infinity"),
        (np.array([0.5, np.inf]), "NaN or infinity"),
        (np.array([0.0, 255.0]), "runs from 0 to 255"),
        (np.array([-0.5, 0.5]), "runs from -0.5"),
        (np.array([1, 2], np.int64), "holds int64"),
        (np.array([True]), "holds bool"),
        (np.array([1], np.uint32), "holds uint32"),
        (np.zeros((0, 3), np.uint8), "is empty"),
    ],
)
def test_to_float_refuses(image, match):
    with pytest.raises(UserError, match=match):
        images.to_float(image)


def test_to_uint8_rounds_and_clips():
    values = np.array([-3, -1, -0.5, 0, 0.5, 0.9999, 1, np.inf, -np.inf])
    # 255 * 0.25 = 63.75, 255 * 0.5 = 127.5 (a tie: to even), 255 * 0.75 = 191.25, 255 * 0.99995 = 254.99
    assert images.to_uint8(values).tolist() == [0, 0, 64, 128, 191, 255, 255, 255, 0]
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(images.to_uint8(images.to_signed(levels)), levels)
    for shift in (-0.4, 0.4):  # truncation would fail one of them
        assert np.array_equal(images.to_uint8((levels + shift) / 127.5 - 1), levels)
    with pytest.raises(UserError, match="NaN"):
        images.to_uint8(np.array([np.nan]))


# ---- writing


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".bmp", ".webp"])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3)])
def test_write_and_read_again(tmp_path, suffix, shape):
    for dtype in (np.uint8, np.uint16) if suffix.lower() in (".png", ".tif", ".tiff") else (np.uint8,):
        image, path = sample(shape, dtype), tmp_path / "new" / "folder" / f"a{suffix}"
        images.write_image(path, image)
        again = images.read_visible(path) if suffix == ".webp" else images.read_image(path)
        expected = image if again.ndim == image.ndim else np.repeat(image[..., None], 3, 2)
        assert again.dtype == dtype and np.array_equal(again, expected)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_write_takes_views_and_replaces(tmp_path):
    path, image = tmp_path / "a.png", sample((9, 9, 3))
    images.write_image(path, image)
    images.write_image(path, image[::2, ::-1])
    assert np.array_equal(images.read_image(path), image[::2, ::-1])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path, old = tmp_path / "a.png", sample((4, 4))
    images.write_image(path, old)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    refused(path, "No space left on device", images.write_image, path, sample((5, 5)))
    assert np.array_equal(images.read_image(path), old)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_write_where_it_cannot_be(tmp_path):
    blocker = save(tmp_path / "file", b"")
    refused(blocker / "a.png", "cannot be written", images.write_image, blocker / "a.png", sample((4, 4)))
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "cannot be written", images.write_image, tmp_path / "folder.png", sample((4, 4)))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize(
    "name, image, match",
    [
        ("a.gif", sample(), "cannot write the format '.gif'"),
        ("a", sample(), "cannot write the format ''"),
        ("a.jpg", sample(dtype=np.uint16), "cannot hold 16 bits"),
        ("a.webp", sample(dtype=np.uint16), "cannot hold 16 bits"),
        ("a.bmp", sample(dtype=np.uint16), "cannot hold 16 bits"),
        ("a.png", np.zeros((4, 4), np.float32), "holds float32"),
        ("a.png", sample((4, 4, 4)), r"shape \(4, 4, 4\)"),
        ("a.png", sample((4,)), r"shape \(4,\)"),
        ("a.png", sample((0, 4)), r"shape \(0, 4\)"),
        ("a.webp", np.zeros((16384, 1, 3), np.uint8), "do not fit '.webp'"),
    ],
)
def test_write_refuses(tmp_path, name, image, match):
    refused(tmp_path / name, match, images.write_image, tmp_path / name, image)
    assert not list(tmp_path.iterdir())
