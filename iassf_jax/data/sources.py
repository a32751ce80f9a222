"""Random access to raw examples: image files, generated scenes, and either with infrared images stretched."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from iassf_jax.data import images
from iassf_jax.data.haze import load_depth
from iassf_jax.data.layouts import Pair
from iassf_jax.data.levels import Percentiles, stretched_16_bits
from iassf_jax.data.names import composed
from iassf_jax.scenes import SceneSource

Example = dict[str, Any]


class Source(Protocol):
    """Random access to raw examples: `clear` uint8|uint16[H, W, 3], `infrared` [H, W], `hazy`, `depth` if there.

    Attributes:
        stems: what examples are called, each name once.
        names: of the files, without suffix, which may be there several times.
    """

    stems: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@dataclasses.dataclass(frozen=True)
class PairSource:
    """Image files. `depth_meaning` and `depth_scale` as `load_depth` takes them, where pairs have depth maps."""

    pairs: tuple[Pair, ...]
    depth_meaning: str = ""
    depth_scale: float = 1.0

    @functools.cached_property
    def stems(self) -> tuple[str, ...]:
        """In the order of the pairs."""
        return tuple(pair.stem for pair in self.pairs)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """In the order of the pairs."""
        return tuple(composed(Path(pair.visible).stem) for pair in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        pair = self.pairs[index]
        example = {
            "index": np.int64(index),
            "clear": images.read_visible(pair.visible),
            "infrared": images.read_infrared(pair.infrared),
        }
        if pair.hazy:
            example["hazy"] = images.read_visible(pair.hazy)
        if pair.depth and self.depth_meaning:
            example["depth"] = load_depth(pair.depth, self.depth_meaning, self.depth_scale)
        return example


@dataclasses.dataclass(frozen=True)
class GeneratedSource:
    """Generated scenes, made anew at each access."""

    scenes: SceneSource

    @property
    def stems(self) -> tuple[str, ...]:
        """Made-up names, by number."""
        return tuple(f"scene{i:05d}" for i in range(len(self.scenes)))

    @property
    def names(self) -> tuple[str, ...]:
        """The same."""
        return self.stems

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Example:
        scene = self.scenes[index]
        return {
            "index": np.int64(index),
            "clear": scene.visible,
            "infrared": scene.infrared,
            "depth": scene.depth,
        }


@dataclasses.dataclass(frozen=True)
class StretchedSource:
    """Another source, with infrared images that are stretched as fusing files does it; see `stretched_16_bits`."""

    source: Source
    infrared_percentiles: Percentiles

    @property
    def stems(self) -> tuple[str, ...]:
        """Those of the other source."""
        return self.source.stems

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the other source."""
        return self.source.names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        return {**example, "infrared": stretched_16_bits(example["infrared"], self.infrared_percentiles)}
