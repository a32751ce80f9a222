"""Pairs packed into a few large files: ArrayRecord shards, and an index that names them, their pairs and their splits.

A packed folder stands for the data set that it was made of: give it as `data.root`. It travels as a few pieces, and
Grain reads any of its pairs without a search. A record is a MessagePack map: role (visible, infrared, hazy, depth) ->
the content of an image file or .npy file, so that nothing but the lossy JPEG, where that is asked for, changes.
"""

import contextlib
import functools
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import grain
import msgpack
import numpy as np

from iassf_jax.data import images
from iassf_jax.data.haze import check_depth_settings, metres_of
from iassf_jax.data.images import PathLike
from iassf_jax.data.layouts import SPLITS, Pair, Problem
from iassf_jax.data.roots import PACK_INDEX, find_pairs_in_roots
from iassf_jax.data.sources import PairSource
from iassf_jax.errors import UserError
from iassf_jax.files import new_folder, sha256, write_bytes

_FORMAT = 1
_NPY = b"\x93NUMPY"


@dataclass(frozen=True)
class JoinedSource:
    """Several sources, one after the other.

    Attributes:
        sources: of examples.
        stems: what these are called, each name once.
    """

    sources: tuple[Any, ...]
    stems: tuple[str, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """In the order of the examples."""
        return tuple(name for source in self.sources for name in source.names)

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = index
        for source in self.sources:
            if number < len(source):
                return {**source[number], "index": np.int64(index)}
            number -= len(source)
        raise IndexError(f"pair {index} of {len(self)}")


@dataclass(frozen=True)
class PackedSource:
    """Random access to the pairs of one split of a packed folder.

    Attributes:
        shards: paths of all of its ArrayRecord files, in order.
        indices: numbers of this split's records.
        stems: what they are called, each name once.
        names: of the files that they were made of, without suffix.
        depth_meaning, depth_scale: as `load_depth` takes them, where pairs have depth maps.
    """

    shards: tuple[str, ...]
    indices: tuple[int, ...]
    stems: tuple[str, ...]
    names: tuple[str, ...]
    depth_meaning: str = ""
    depth_scale: float = 1.0

    @functools.cached_property
    def _records(self) -> Any:
        return grain.sources.ArrayRecordDataSource(list(self.shards))

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files: each worker process opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_records"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        files = msgpack.unpackb(self._records[self.indices[index]])
        stem = self.stems[index]
        example = {
            "index": np.int64(index),
            "clear": images.three_channels(_values(stem, files["visible"])),
            "infrared": _values(stem, files["infrared"]),
        }
        if "hazy" in files:
            example["hazy"] = images.three_channels(_values(stem, files["hazy"]))
        if "depth" in files and self.depth_meaning:
            check_depth_settings(self.depth_meaning, self.depth_scale)
            example["depth"] = metres_of(stem, _values(stem, files["depth"]), self.depth_meaning, self.depth_scale)
        return example


def _values(name: str, data: bytes) -> np.ndarray:
    if data.startswith(_NPY):
        return np.load(io.BytesIO(data), allow_pickle=False)
    return images.decode_image(name, data)


def open_packed(
    root: PathLike,
    split: str,
    depth_meaning: str = "",
    depth_scale: float = 1.0,
    verify: bool = True,
    val_fraction: float | None = None,
) -> PackedSource:
    """Opens one split of a packed folder.

    Args:
        root: the folder.
        split: "train", "val", "test" or "all"; the first three as they were when the data was packed.
        depth_meaning, depth_scale: as of `PackedSource`.
        verify: compare the files with their SHA-256; if false, only with their sizes.
        val_fraction: refuse a folder of which another part was held out for validation.

    Raises:
        UserError: a damaged folder, or a split that it does not have.
    """
    root = Path(root)
    try:
        index = json.loads((root / PACK_INDEX).read_text(encoding="utf-8"))
        stems, splits, shards = index["stems"], index["splits"], index["shards"]
        names = index.get("names", stems)  # packs of former versions have no such list
        chosen = range(len(stems)) if split == "all" else splits.get(split, ())
        source = PackedSource(
            tuple(str(root / shard["name"]) for shard in shards),
            tuple(chosen),
            tuple(stems[i] for i in chosen),
            tuple(names[i] for i in chosen),
            depth_meaning,
            depth_scale,
        )
        expected = [(int(shard["bytes"]), shard["sha256"]) for shard in shards]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{root / PACK_INDEX}: cannot be read ({error}): pack the data again") from None
    if index.get("format") != _FORMAT:
        raise UserError(
            f"{root / PACK_INDEX}: has format {index.get('format')}, we read {_FORMAT}: pack the data again"
        )
    held_out = index.get("val_fraction")
    if split != "all" and None not in (held_out, val_fraction) and held_out != val_fraction:
        mend = f"set data.val_fraction={held_out}, or pack it again with --val-fraction {val_fraction}"
        raise UserError(f"{root}: was packed with {held_out} of its pairs for validation: {mend}")
    if not source.indices:
        known = ", ".join(name for name in splits if splits[name])
        raise UserError(f"{root}: was packed without a pair for the split '{split}', only {known}: pack it again")
    for path, (size, digest) in zip(source.shards, expected, strict=True):
        _check_shard(Path(path), size, digest if verify else None)
    return source


def _check_shard(path: Path, size: int, digest: str | None) -> None:
    try:
        whole = path.stat().st_size == size and (digest is None or sha256(path) == digest)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): copy the packed folder again") from None
    if not whole:
        raise UserError(f"{path}: is not as it was packed (cut off or damaged): copy the packed folder again")


@dataclass(frozen=True)
class Packed:
    """What `pack` wrote: numbers of pairs and shards, bytes, and what was left out."""

    pairs: int
    shards: int
    size: int
    problems: tuple[Problem, ...]


def pack(
    root: str,
    output: PathLike,
    *,
    layout: str = "auto",
    folders: Mapping[str, str] | None = None,
    val_fraction: float = 0.05,
    quality: int | None = 92,
    raw: bool = False,
    with_hazy: bool = True,
    longest_side: int = 0,
    stretch: bool = False,
    shard_bytes: int = 15 * 2**20,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Packs the pairs of data sets, with the splits that they have.

    Args:
        root: one folder or several with commas between them, as `data.root`.
        output: the new folder; it is there as a whole or not at all.
        layout, folders, val_fraction: as of `find_pairs`.
        quality: of JPEG, 1 to 100, for 8-bit images, chroma at full size; None: everything is PNG, without loss.
            Images of 16 bits and depth maps are never lossy. Coloured infrared images become their luma.
        raw: pixels as they are, whatever the quality: large, and read without being decoded.
        with_hazy: pack stored hazy images; without them, haze is made when the pairs are read.
        longest_side: shrinks larger images until their longest side has so many pixels; 0: as they are.
        stretch: `stretch_levels` of the visible images: for cameras that lift black, whose images would teach a veil.
        shard_bytes: a file ends with the pair that fills it to this.
        progress: called with (done, total) pairs.

    Raises:
        UserError: no usable pair, a wrong setting, an output that is there already, or nothing can be written.
    """
    output = Path(output)
    _check_settings(output, quality, longest_side)
    find = functools.partial(find_pairs_in_roots, root, layout, folders=folders, val_fraction=val_fraction)
    found = find(split="all", verify=True)
    if stretch and with_hazy and any(pair.hazy for pair in found.pairs):
        raise UserError(
            f"{root}: has hazy images, which levels cannot be stretched for: leave them out, or do not stretch"
        )
    names = {"visible", "infrared", "depth"} | ({"hazy"} if with_hazy else set())
    try:
        with new_folder(output) as scratch, _Shards(scratch, shard_bytes) as shards:
            for done, pair in enumerate(found.pairs):
                record = {}
                for role, path in ((role, path) for role, path in pair.files().items() if role in names):
                    image = _prepared(role, path, longest_side, stretch and role == "visible")
                    record[role] = _content(role, path, image, quality, raw)
                shards.write(msgpack.packb(record))
                progress(done + 1, len(found.pairs))
            index = {
                "format": _FORMAT,
                "encoding": _encoding(quality, raw),
                "stems": [pair.stem for pair in found.pairs],
                "names": list(PairSource(found.pairs).names),
                "splits": _splits(found.pairs, find),
                "val_fraction": val_fraction if _holds_out(find) else None,
                "shards": shards.close(),
            }
            write_bytes(scratch / PACK_INDEX, (json.dumps(index, indent=1) + "\n").encode())
    except (OSError, RuntimeError) as error:  # the second is the writer's
        why = error.strerror if isinstance(error, OSError) else str(error).split(";")[0]
        raise UserError(f"{output}: cannot be written ({why}): check the folder and the disk") from None
    written = index["shards"]
    return Packed(len(found.pairs), len(written), sum(shard["bytes"] for shard in written), found.problems)


def _check_settings(output: Path, quality: int | None, longest_side: int) -> None:
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(f"the JPEG quality is {quality}: use 1 to 100, or pack without loss")
    if longest_side and longest_side < 32:
        raise UserError(f"the longest side is {longest_side}: use 32 pixels or more, or 0 for images as they are")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: is there already: give a new folder")


def _encoding(quality: int | None, raw: bool) -> str:
    """Told in the index, for people."""
    if raw:
        return "NPY, lossless"
    return "PNG, lossless" if quality is None else f"8 bits: JPEG, quality {quality}; else lossless"


def _prepared(role: str, path: str, longest_side: int, stretch: bool) -> np.ndarray:
    """The pixels of a file, changed as asked for."""
    if role == "depth" and path.lower().endswith(".npy"):
        image = images.open_npy(path)
    else:
        image = images.read_infrared(path) if role == "infrared" else images.read_image(path)
    if stretch:
        image = stretch_levels(images.three_channels(image))
    scale = longest_side / max(image.shape[:2])
    if 0 < scale < 1:
        size = tuple(max(1, round(n * scale)) for n in image.shape[1::-1])
        how = cv2.INTER_NEAREST if role == "depth" else cv2.INTER_AREA  # between two depths there is nothing
        image = cv2.resize(np.ascontiguousarray(image), size, interpolation=how)
    return image


def stretch_levels(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] whose darkest places are black and whose brightest are white, of the same type.

    Black is the 0.5 % percentile of the smallest channel, blurred against noise, white the 99.7 % percentile of the
    largest. RoadScene's camera lifts black to 126 of 255 (median of the dark channel), MSRS's to 23.
    """
    maximum = np.float32(np.iinfo(image.dtype).max)
    low = np.percentile(cv2.blur(image.min(axis=2), (5, 5)), 0.5)
    high = np.percentile(image.max(axis=2), 99.7)
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1))
    return np.rint(np.clip(scaled, 0, 1) * maximum).astype(image.dtype)


def _content(role: str, path: str, image: np.ndarray, quality: int | None, raw: bool) -> bytes:
    """An image as it goes into the record."""
    if raw or (role == "depth" and path.lower().endswith(".npy")):
        return _npy(image)
    if quality is None or image.dtype != np.uint8 or role == "depth":
        return images.encode_image(path, image, ".png")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return images.encode_image(path, image, ".jpg", options)


def _npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, np.ascontiguousarray(array))
    return data.getvalue()


def _holds_out(find: Callable[..., Any]) -> bool:
    """Whether the data has no validation split of its own."""
    try:
        find(split="val", verify=False, val_fraction=0.0)
    except UserError:  # there is nothing that was not held out
        return True
    return False


def _splits(pairs: tuple[Pair, ...], find: Callable[..., Any]) -> dict[str, list[int]]:
    """Numbers of the pairs in each split that there is."""
    number = {pair.visible: i for i, pair in enumerate(pairs)}
    splits = {}
    for split in SPLITS:
        with contextlib.suppress(UserError):  # no such split, or not one good pair in it
            found = find(split=split, verify=False).pairs
            splits[split] = [number[pair.visible] for pair in found if pair.visible in number]
    return splits


class _Shards:
    """Writes records into files of about one size."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._done: list[dict[str, Any]] = []
        self._writer: Any = None
        self._filled = 0

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:  # something failed; it may fail once more on what it still holds
            with contextlib.suppress(RuntimeError):
                self._writer.close()

    @property
    def _path(self) -> Path:
        return self._folder / f"pairs-{len(self._done):05d}.array_record"

    def write(self, record: bytes) -> None:
        """Appends a record, in a new file where the current one is full."""
        from array_record.python import array_record_module

        if self._writer is None:
            # One record a group: random access reads no neighbours. Images are compressed already.
            self._writer = array_record_module.ArrayRecordWriter(str(self._path), "group_size:1,uncompressed")
        self._writer.write(record)
        self._filled += len(record)
        if self._filled >= self._limit:
            self._end_file()

    def close(self) -> list[dict[str, Any]]:
        """Ends the last file; name, bytes and SHA-256 of each."""
        if self._writer is not None:
            self._end_file()
        return self._done

    def _end_file(self) -> None:
        self._writer.close()
        path = self._path
        self._done.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)})
        self._writer, self._filled = None, 0
