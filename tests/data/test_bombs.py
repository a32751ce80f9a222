"""Small files that would cost gigabytes, minutes or a traceback: each is refused, or read, for nearly nothing."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import pytest

from iassf_jax.data import images
from iassf_jax.errors import UserError
from image_files import refused, sample, save

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ZEROS = zlib.compress(bytes(1 << 28), 1)


def chunk(name, data, length=None):
    length = len(data) if length is None else length
    return struct.pack(">I", length) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(before=b"", pixels=None, length=None):
    """30 x 24 pixels of black; `length` is what the chunk of pixels says of itself."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 24, 8, 2, 0, 0, 0))
    pixels = zlib.compress(bytes(91 * 24)) if pixels is None else pixels
    return SIGNATURE + header + before + chunk(b"IDAT", pixels, length) + chunk(b"IEND", b"")


def tiff(changes=(), extra=(), big=False):
    """8 x 8 grey pixels; tags by number: (type, count, value), or None for none of it, and more of them."""
    pixels_at = 400
    tags = {256: (3, 1, 8), 257: (3, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, pixels_at)}
    tags |= {277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64)} | dict(changes)
    entries = sorted([(tag, *entry) for tag, entry in tags.items() if entry] + list(extra), key=lambda entry: entry[0])
    start = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(entries)) if big else b"II*\0" + struct.pack("<I", 8)
    data = start if big else start + struct.pack("<H", len(entries))
    data += b"".join(struct.pack("<HHQQ" if big else "<HHII", *entry) for entry in entries)
    return data.ljust(pixels_at, b"\0") + bytes(64)


def jpeg_of_many_scans(count=2000):
    """A progressive JPEG whose last scan comes again and again."""
    data = bytes(cv2.imencode(".jpg", sample((16, 16, 3)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def bombs():
    """Name -> content and what the error says; None where the file is read."""
    far = {f"offset{n}.tif": b"II+\0" + struct.pack("<HHQ", 8, 0, n) for n in (2**64 - 1, 2**63 - 1, 2**62, 2**32)}
    files = {name: (data, "cut off") for name, data in far.items()}
    for length in (0xFFFFFFF0, 0x7FFFFFFF, 1000):
        files[f"idat{length}.png"] = png(length=length), "truncated"
        files[f"text{length}.png"] = png(chunk(b"tEXt", b"a\0b", length)), "truncated"
    for name, head in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")):
        files[f"{name.decode()}.png"] = png(chunk(name, head + ZEROS)), None
    files["pixels.png"] = png(pixels=ZEROS), None
    frames = chunk(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0))
    frames += chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16000, 16000, 0, 0, 1, 1, 0, 0))
    files["frames.png"] = png(frames), None
    for tag in (256, 257, 259, 277):
        for big in (False, True):
            files[f"twice{tag}{big}.tif"] = tiff(extra=[(tag, 3, 1, 16000)], big=big), "tag twice"
    files["bits-far.tif"] = tiff({258: (3, 9, 0xFFFFFFF0)}), "cut off"
    files["bits-far-big.tif"] = tiff({258: (3, 9, 2**64 - 1)}, big=True), "cut off"
    tiles = {322: (4, 1, 1 << 20), 323: (4, 1, 1 << 20), 324: (4, 1, 8), 325: (4, 1, 64)}
    for side in (1 << 20, 16_000, 4_000):
        tiles |= {322: (4, 1, side), 323: (4, 1, side)}
        files[f"tiles{side}.tif"] = tiff({**tiles, 273: None, 278: None, 279: None}), "damaged"
    files["channels.tif"] = tiff({277: (3, 1, 65535)}), "damaged"
    files["lzw.tif"] = tiff({259: (3, 1, 5), 279: (4, 1, 0xFFFFFFF0)}), "damaged"
    files["strips.tif"] = tiff({273: (4, 0x0FFFFFFF, 8)}), "damaged"
    files["scans.jpg"] = jpeg_of_many_scans(), "scans"
    return files


BOMBS = bombs()
_SCRIPT = """
import resource, sys, time
from iassf_jax.data import images
from iassf_jax.errors import UserError
images.read_image(sys.argv[1])  # what the first image costs is no bomb's
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = peak(), time.monotonic()
for path in sys.argv[2:]:
    try:
        images.read_image(path)
    except UserError:
        pass
print((peak() - before) // 1024, time.monotonic() - start)
"""


def test_the_files_that_the_bombs_are_made_from_are_good(tmp_path):
    assert images.read_image(save(tmp_path / "a.png", png())).shape == (24, 30, 3)
    for big in (False, True):
        assert images.read_image(save(tmp_path / "a.tif", tiff(big=big))).shape == (8, 8)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_its_reason(tmp_path, name):
    data, reason = BOMBS[name]
    path = save(tmp_path / name, data)
    if reason:
        refused(path, reason, images.read_image, path)
    else:
        assert images.read_image(path).shape == (24, 30, 3)


def test_bombs_cost_nothing(tmp_path):
    paths = [save(tmp_path / name, data) for name, (data, _) in BOMBS.items()]
    good = save(tmp_path / "good.png", png())
    command = [sys.executable, "-c", _SCRIPT, good, *paths]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    mebibytes, seconds = map(float, done.stdout.split())
    assert mebibytes < 100 and seconds < 20


def test_a_long_file_of_few_pixels_is_not_read(tmp_path):
    path = save(tmp_path / "long.png", png())
    os.truncate(path, 1 << 30)  # sparse: no disk is used
    refused(path, "1024 MiB are too many for 30 x 24 pixels", images.read_image, path)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs Linux's /proc")
@pytest.mark.parametrize("function", [images.image_size, images.read_image])
def test_a_file_that_cannot_be_read_is_one_line(function):
    refused("/proc/self/mem", "cannot be read", function, "/proc/self/mem")


@pytest.mark.parametrize("after", [0, 12, 100])
def test_a_bad_sector_anywhere_is_one_line(tmp_path, monkeypatch, after):
    class Bad(io.BytesIO):
        def read(self, size=-1):
            if size < 0 or self.tell() + size > after:
                raise OSError(5, "Input/output error")
            return super().read(size)

    for name, data in (("a.png", png()), ("a.tif", tiff()), ("a.jpg", jpeg_of_many_scans(1))):
        monkeypatch.setattr(images, "_open", lambda path, data=data: Bad(data))
        with pytest.raises(UserError, match="Input/output error"):
            images.read_image(tmp_path / name)
