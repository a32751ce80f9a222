"""From image pairs to training batches (Grain), and to whole examples for validation and evaluation.

Nothing here runs JAX: Grain's worker processes import this module.
"""

import contextlib
import ctypes
import dataclasses
import math
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags

from iassf_jax.data import images
from iassf_jax.data.augment.degrade import degrade
from iassf_jax.data.augment.relight import relight
from iassf_jax.data.haze import HAZE_KINDS, HazeParams, apply_haze, draw_haze, haze_image
from iassf_jax.data.layouts import SPLITS, PairList
from iassf_jax.data.levels import parse_percentiles
from iassf_jax.data.packed import JoinedSource, open_packed
from iassf_jax.data.roots import find_pairs_in_roots, is_packed, split_roots, unique_stems
from iassf_jax.data.sources import Example, GeneratedSource, PairSource, Source, StretchedSource
from iassf_jax.errors import UserError
from iassf_jax.scenes import SceneSource

STORED = "stored"


def make_source(data: Mapping[str, Any], split: str) -> tuple[Source, PairList]:
    """Opens the examples that a config's `data` section describes.

    Args:
        data: the section, see `configs/msrs.py`.
        split: "train", "val", "test" or "all".

    Returns:
        The source, and the list of pairs and problems (empty for generated scenes).

    Raises:
        UserError: a wrong setting, or no usable pair.
    """
    splits = (*SPLITS, "all")
    if split not in splits:
        raise UserError(f"split is {split!r}: use one of {', '.join(splits)}")
    if data["source"] == "scenes":
        scenes = data["scenes"]
        # Far apart, so that no number of scenes makes the splits meet.
        seed = scenes["seed"] + 1_000_003 * splits.index(split)
        count = scenes["num_train"] if split in ("train", "all") else scenes["num_val"]
        source = SceneSource(count, seed, scenes["height"], scenes["width"])
        return GeneratedSource(source), PairList((), ())
    if data["source"] != "pairs":
        raise UserError(f"data.source is {data['source']!r}: set it to 'pairs' or 'scenes'")
    folders = {role: path for role, path in dict(data["folders"]).items() if path} or None
    layout = "folders" if folders else data["layout"]
    roots = split_roots(data["root"])
    if all(map(is_packed, roots)):
        how = (data["depth_meaning"], data["depth_scale"], data["verify"], data["val_fraction"])
        packs = tuple(open_packed(root, split, *how) for root in roots)
        joined = JoinedSource(packs, unique_stems(roots, [pack.stems for pack in packs]))
        return _stretched(joined, data), PairList((), ())
    found = find_pairs_in_roots(data["root"], layout, split, folders, data["verify"], data["val_fraction"])
    has_hazy = split != "train"  # where hazy files are taken, training makes its own
    if "depth" in data["haze"]["kinds"] and not all(pair.depth or (has_hazy and pair.hazy) for pair in found.pairs):
        raise UserError("data.haze.kinds has 'depth', but the pairs have no depth maps: add them, or use another kind")
    if not data["depth_meaning"] and any(pair.depth for pair in found.pairs):
        for kind in data["haze"]["kinds"]:
            if kind in HAZE_KINDS and HAZE_KINDS[kind].air:
                raise UserError(f"haze {kind!r} follows the depth maps there are: set data.depth_meaning")
    return _stretched(PairSource(found.pairs, data["depth_meaning"], data["depth_scale"]), data), found


def _stretched(source: Source, data: Mapping[str, Any]) -> Source:
    percentiles = parse_percentiles(data["infrared_percentiles"])
    return StretchedSource(source, percentiles) if percentiles else source


def draw_kind(rng: np.random.Generator, haze: Mapping[str, Any]) -> HazeParams | None:
    """The haze of one image, of a kind from `haze["kinds"]`; None where that is "stored"."""
    kind = haze["kinds"][int(rng.integers(len(haze["kinds"])))]
    return None if kind == STORED else draw_haze(kind, rng, haze["ranges"].get(kind))


def hazy_image(
    example: Example,
    params: HazeParams | None,
    window: tuple[int, int, int, int] | None = None,
    guide: np.ndarray | None = None,
) -> np.ndarray:
    """The hazy image of an example: a stored one where `params` is None.

    Args:
        example: raw, with `clear` and perhaps `depth` and `hazy`.
        params: as `draw_kind` gives.
        window, guide: as in `apply_haze`, when the example is a crop.
    """
    if params is not None:
        return apply_haze(example["clear"], params, example.get("depth"), window, guide)
    if "hazy" not in example:
        raise UserError("data.haze.kinds has 'stored' but there are no hazy files: name a kind of haze instead")
    return example["hazy"]


def check_stored_haze(source: Source, haze: Mapping[str, Any]) -> None:
    """Raises UserError where training would want hazy files that are not there; of packed pairs, the first tells."""
    if STORED not in haze["kinds"]:
        return
    source = source.source if isinstance(source, StretchedSource) else source
    if isinstance(source, PairSource):
        lacking = [pair.stem for pair in source.pairs if not pair.hazy]
    else:
        parts = source.sources if isinstance(source, JoinedSource) else (source,)
        lacking = [part.stems[0] for part in parts if "hazy" not in part[0]]
    if lacking:
        raise UserError(f"data.haze.kinds has 'stored' but {lacking[0]} has no hazy file: name a kind of haze instead")


@dataclasses.dataclass(frozen=True)
class Augment(grain.transforms.RandomMap):
    """Random crop, haze, degradation, flips and quarter turns: a raw example to float32 arrays in [-1, 1].

    With a `whole_size` (height, width) the whole image is hazed and shrunk to it in place of a crop: only then do
    prompts, which are stretched over the image, and haze keep their places to each other. Of that, `window` (low, high)
    is the range of the share of each side that is taken for the whole. With a `min_scale` below 1
    a larger piece of the hazy image is shrunk to the crop, by a factor drawn between it and 1, to show more of a scene.
    `permute_chance` is of another order of the visible image's colours; that and `relight`, the section of a config of
    that name, come before any haze. `with_truth` adds what the haze is made of; then the infrared image fades by the
    power of the transmission that is drawn from `infrared_fading`.
    """

    crop: int
    whole_size: tuple[int, ...]
    window: tuple[float, float]
    min_scale: float
    haze: Mapping[str, Any]
    with_truth: bool
    infrared_fading: tuple[float, float]
    permute_chance: float
    relight: Mapping[str, Any]
    degrade: Mapping[str, Any]
    horizontal_flip: bool
    vertical_flip: bool
    rotations: bool

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """`index`, and `hazy`, `clear` float32[S, S, 3], `infrared` float32[S, S, 1], S = crop (or `whole_size`).

        With truth, also `transmission` float32[S, S] and `airlight` float32[S, S, 3], both in 0..1.
        """
        layers = {name: x for name, x in element.items() if name != "index"}
        if self.permute_chance and rng.random() < self.permute_chance:
            order = rng.permutation(3)
            layers |= {name: layers[name][..., order] for name in ("clear", "hazy") if name in layers}
        layers["clear"] = relight(layers["clear"], rng, self.relight)
        layers = self._whole(layers, rng) if self.whole_size else self._crop(layers, rng)
        layers["hazy"], layers["infrared"] = degrade(layers["hazy"], layers["infrared"], rng, self.degrade)
        flips = (self.vertical_flip and rng.random() < 0.5, self.horizontal_flip and rng.random() < 0.5)
        turns = int(rng.integers(4)) if self.rotations else 0
        out = {"index": element["index"]}
        for name in ("hazy", "infrared", "clear"):
            out[name] = _signed(_turned(layers[name], *flips, turns))
        for name in ("transmission", "airlight") if self.with_truth else ():
            out[name] = _turned(layers[name], *flips, turns)
        return out

    def _whole(self, layers: Example, rng: np.random.Generator) -> Example:
        if self.window != (1.0, 1.0):
            layers = self._window(layers, rng)
        params = draw_kind(rng, self.haze)
        if self.with_truth:
            names = ("hazy", "transmission", "airlight")
            layers |= zip(names, haze_image(layers["clear"], params, layers.get("depth")), strict=True)
            layers["infrared"] = _faded(layers["infrared"], layers["transmission"], rng.uniform(*self.infrared_fading))
        else:
            layers["hazy"] = hazy_image(layers, params)
        return _area_resized(layers, self.whole_size)

    def _window(self, layers: Example, rng: np.random.Generator) -> Example:
        """A part of the scene, of about the shape of `whole_size`."""
        height, width = layers["clear"].shape[:2]
        shape = self.whole_size[1] / self.whole_size[0] * math.exp(rng.uniform(-0.15, 0.15))
        share = rng.uniform(*self.window)
        rows = max(1, round(share * min(height, width / shape)))
        columns = max(1, min(width, round(rows * shape)))
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        return {name: x[top : top + rows, left : left + columns] for name, x in layers.items()}

    def _crop(self, layers: Example, rng: np.random.Generator) -> Example:
        layers = {name: _at_least(x, self.crop) for name, x in layers.items()}
        guide = layers["clear"]
        height, width = guide.shape[:2]
        side = self._side(min(height, width), rng)
        top, left = (int(rng.integers(n - side + 1)) for n in (height, width))
        cut = {name: x[top : top + side, left : left + side] for name, x in layers.items()}
        params = draw_kind(rng, self.haze)
        if params is not None and HAZE_KINDS[params.kind].air and "depth" in layers:
            cut["depth"] = layers["depth"]
        cut["hazy"] = hazy_image(cut, params, (top, left, height, width), guide)
        cut.pop("depth", None)
        return cut if side == self.crop else _area_resized(cut, (self.crop, self.crop))

    def _side(self, longest: int, rng: np.random.Generator) -> int:
        """Of the square that is shrunk to the crop; the factor's logarithm is drawn evenly."""
        if self.min_scale >= 1:
            return self.crop
        low = max(self.min_scale, self.crop / longest)
        return min(round(self.crop / math.exp(rng.uniform(math.log(low), 0.0))), longest)


def augmentation(data: Mapping[str, Any], whole_size: tuple[int, ...]) -> Augment:
    """What a config's `data` section says, with one of its sizes of whole images, () for crops."""
    plain = ("crop", "min_scale", "with_truth", "permute_chance", "horizontal_flip", "vertical_flip", "rotations")
    settings = {name: data[name] for name in plain}
    settings |= {name: tuple(data[name]) for name in ("window", "infrared_fading")}
    settings |= {name: dict(data[name]) for name in ("haze", "relight", "degrade")}
    return Augment(**settings, whole_size=whole_size)


def _faded(infrared: np.ndarray, t: np.ndarray, power: float) -> np.ndarray:
    """The infrared image as seen through haze that is thin for it: towards its mean by t ** power."""
    if not power:
        return infrared
    share = t.astype(np.float32) ** np.float32(power)
    mean = np.float32(infrared.mean())
    return np.rint(mean + share * (infrared.astype(np.float32) - mean)).astype(infrared.dtype)


def _area_resized(layers: Example, size: tuple[int, ...]) -> Example:
    """The images that train, shrunk to (height, width)."""
    names = [name for name in layers if name != "depth"]
    return {name: cv2.resize(layers[name], size[::-1], interpolation=cv2.INTER_AREA) for name in names}


def _at_least(x: np.ndarray, size: int) -> np.ndarray:
    """Mirror-pads an image that is smaller than the crop."""
    bottom, right = (max(0, size - n) for n in x.shape[:2])
    return cv2.copyMakeBorder(x, 0, bottom, 0, right, cv2.BORDER_REFLECT) if bottom or right else x


def _turned(x: np.ndarray, vertical: bool, horizontal: bool, turns: int) -> np.ndarray:
    """Flips, then quarter turns to the left. By OpenCV: numpy is slow where pixels of three values change places."""
    if vertical or horizontal:
        x = cv2.flip(x, -1 if vertical and horizontal else int(horizontal))
    if turns:
        x = cv2.rotate(x, (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)[turns - 1])
    return x


def _signed(x: np.ndarray) -> np.ndarray:
    x = images.to_signed(x)
    return x if x.ndim == 3 else x[..., None]


def whole_sizes(setting: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """`data.whole_size`, one (height, width) or several, as several."""
    several = any(isinstance(size, Sequence) for size in setting)
    sizes = setting if several or not setting else (setting,)
    return tuple(tuple(size) if isinstance(size, Sequence) else (size,) for size in sizes)


def train_iterator(
    data: Mapping[str, Any], source: Source, batch_size: int, seed: int, share: tuple[int, int] = (0, 1)
) -> grain.DatasetIterator:
    """Endless shuffled batches: `hazy`, `clear` float32[B, S, S, 3], `infrared` float32[B, S, S, 1], `index` int64[B].

    The order and every random draw follow from the seed, an epoch and a position; not from the number of workers. The
    last partial batch of an epoch is dropped. Several `whole_size`s take turns, each in an order of its own.
    With a share (i, n) the batches are what the i-th of n processes (from 0) reads of those: every n-th example from
    the i-th, B / n of them; the n processes' k-th batches make up the k-th batch of one. The iterator's state is the
    same in all of them.
    """
    if len(source) < batch_size:
        raise UserError(f"{len(source)} training pairs do not fill a batch of {batch_size}: lower train.batch_size")
    index, count = share
    sizes = whole_sizes(data["whole_size"]) or ((),)
    dataset = grain.MapDataset.mix(
        [
            grain.MapDataset.source(source)
            .seed(_seed(seed, k))
            .shuffle()
            .random_map(augmentation(data, size))
            .slice(slice(len(source) // batch_size * batch_size))
            .slice(slice(index, None, count))
            .batch(batch_size // count)
            .repeat()
            for k, size in enumerate(sizes)
        ]
    )
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    if data["num_workers"]:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=data["num_workers"], per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_start_worker)
    with _workers_off_the_accelerator():
        iterator = iter(dataset)
        iterator.start_prefetch()
    return iterator


def _seed(seed: int, k: int) -> int:
    """Of the k-th size: no two runs share one."""
    return int(np.random.SeedSequence([seed, k]).generate_state(1)[0]) if k else seed


def _start_worker(worker: int, num_workers: int) -> None:
    """Leaves OpenCV one thread, keeps freed memory, and ends this process when the training process is gone.

    Workers are as many as there shall be threads; and a training process that is killed cannot end them.
    """
    cv2.setNumThreads(1)
    _keep_freed_memory()
    with contextlib.suppress(ValueError):  # Ctrl-C is the training process's business
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _keep_freed_memory() -> None:
    """Arrays of an image's size in memory that was used before: new pages cost more than most of what is done to them.

    Where the C library is not glibc, nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(mmap_threshold, 32 * 2**20)
        set_option(trim_threshold, 2**30)


@contextlib.contextmanager
def _workers_off_the_accelerator() -> Iterator[None]:
    """Worker processes that import JAX by accident would each take accelerator memory."""
    before = os.environ.get("JAX_PLATFORMS")
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAX_PLATFORMS"]
        else:
            os.environ["JAX_PLATFORMS"] = before


def whole_example(source: Source, index: int, haze: Mapping[str, Any], seed: int) -> Example:
    """One full-size example for validation or evaluation, always with the same haze.

    A hazy file is taken where there is one; else haze is drawn from a generator of the seed and the file's name.

    Returns:
        `stem`; `hazy`, `clear` uint8|uint16[H, W, 3]; `infrared` uint8|uint16[H, W].
    """
    example = source[index]
    if "hazy" not in example:
        kinds = tuple(kind for kind in haze["kinds"] if kind != STORED) or haze["kinds"]
        rng = np.random.default_rng([seed, zlib.crc32(source.names[index].encode(errors="surrogateescape"))])
        example["hazy"] = hazy_image(example, draw_kind(rng, {**haze, "kinds": kinds}))
    return {"stem": source.stems[index], **{name: example[name] for name in ("hazy", "clear", "infrared")}}
