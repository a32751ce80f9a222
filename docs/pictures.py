"""Makes the documentation's pictures anew, from the shipped weights and generated scenes: python -m docs.pictures.

About two minutes on one core. `pictures.json` notes which weights each picture shows, so that a test can tell when one
of them has changed. One picture is made elsewhere: `images/demo.png` is left by the browser's test of
the web page.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import iassf_jax
from iassf_jax.data import images
from iassf_jax.data.haze import HazeParams, draw_haze, haze_image
from iassf_jax.evaluate.baselines import baselines
from iassf_jax.metrics.psnr import psnr
from iassf_jax.report.pictures import colour_map, sample_grid
from iassf_jax.runtime import set_up
from iassf_jax.scenes import SKY_DEPTH, generate_scene
from iassf_jax.weights import shipped

DOCS = Path(__file__).parent
NOTES = DOCS / "pictures.json"
SIZE = (360, 480)  # of every scene: one program for all pictures
Example = dict[str, np.ndarray]

# Place, seed of the scene, seed of its fog.
IN_FOG = (("shore", 1, 4), ("shore", 5, 16), ("plain", 1, 7))
TRIALS = 6  # scenes of which the worst are shown as failures


def in_fog(place: str, seed: int, fog: int) -> Example:
    """A scene by day in outdoor fog that follows its depth: `hazy`, `infrared`, `clear`."""
    scene = generate_scene(seed, *SIZE, "day", place)
    params = HazeParams("outdoor", (0.82, 0.84, 0.86), 2.2, noise=0.004, seed=fog)
    return {
        "hazy": haze_image(scene.visible, params, scene.depth)[0],
        "infrared": scene.infrared,
        "clear": scene.visible,
    }


def drawn(kind: str, lighting: str | None = None) -> Iterator[Example]:
    """Scenes with a road in drawn haze of a kind."""
    for seed in range(100, 100 + TRIALS):
        scene = generate_scene(seed, *SIZE, lighting)
        params = draw_haze(kind, np.random.default_rng(seed))
        hazy = haze_image(scene.visible, params, scene.depth)[0]
        yield {"hazy": hazy, "infrared": scene.infrared, "clear": scene.visible}


def fused(weights: str, example: Example) -> Example:
    """The example with `haze_density`, `dehazed` and `fused` by shipped weights."""
    result = _fuser(weights)(example["hazy"], example["infrared"])
    density = {} if result.haze_density is None else {"haze_density": result.haze_density}
    return {**example, "dehazed": result.dehazed, "fused": result.fused, **density}


@functools.cache
def _fuser(weights: str) -> iassf_jax.Fuser:
    return iassf_jax.load(weights)


def worst(weights: str, examples: Iterator[Example]) -> Example:
    """The example whose dehazed image is farthest from the clear one."""
    made = [fused(weights, example) for example in examples]
    return min(made, key=lambda x: float(psnr(x["dehazed"][None], x["clear"][None], 255.0)[0]))


def samples(weights: str) -> np.ndarray:
    """The README's first picture: outdoors, in fog."""
    rows = [fused(weights, in_fog(*scene)) for scene in IN_FOG]
    return sample_grid(rows, 200, ("hazy", "infrared", "haze density", "dehazed", "fused"))


def failures(weights: str, kinds: Sequence[tuple[str, str | None]]) -> np.ndarray:
    """The worst of some scenes in haze of each kind."""
    return sample_grid([worst(weights, drawn(*kind)) for kind in kinds], 180)


def methods(weights: str) -> np.ndarray:
    """Fused images beside those of two-stage baselines, as a report shows them."""
    rows = []
    for scene in IN_FOG[:2]:
        example = fused(weights, in_fog(*scene))
        others = {name: pair[1] for name, pair in baselines(example["hazy"], example["infrared"]).items()}
        rows.append({"hazy": example["hazy"], "infrared": example["infrared"], weights: example["fused"], **others})
    columns = ["hazy", "infrared", weights, *(name for name in rows[0] if name.startswith("dark channel"))]
    return sample_grid(rows, 180, columns)


def scenes() -> np.ndarray:
    """Generated scenes: visible, infrared, depth (near bright, sky dark)."""
    rows = []
    for place, lighting, seed in (("street", "day", 4), ("country", "night", 2), ("shore", "dusk", 5)):
        scene = generate_scene(seed, *SIZE, lighting, place)
        near = 1 - np.log(np.clip(scene.depth, 2, SKY_DEPTH) / 2) / np.log(SKY_DEPTH / 2)
        maps = {"visible": scene.visible, "infrared": scene.infrared, "depth": colour_map(near)}
        rows.append({"hazy": scene.visible, **maps})  # whose shape all tiles follow
    return sample_grid(rows, 200, ("visible", "infrared", "depth"))


# Picture -> the weights that it shows, and what makes it.
PICTURES = {
    "samples.png": ("iassf-haze", lambda: samples("iassf-haze")),
    "report.png": ("iassf-haze", lambda: methods("iassf-haze")),
    "images/failures.png": (
        "iassf-haze",
        lambda: failures("iassf-haze", (("dense", "day"), ("depth_like_night", "night"))),
    ),
    "images/failures_msrs.png": (
        "iassf-msrs",
        lambda: failures("iassf-msrs", (("msrs_release", None), ("outdoor", "day"))),
    ),
    "scenes.png": (None, scenes),
}


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def notes() -> Mapping[str, Mapping[str, str | None]]:
    """Picture -> its SHA-256 (`picture`), the weights that it shows, if any (`weights`), and theirs (`sha256`)."""
    made = {}
    for name, (weights, _) in PICTURES.items():
        shown = sha256(shipped.FOLDER / f"{weights}.safetensors") if weights else None
        made[name] = {"picture": sha256(DOCS / name), "weights": weights, "sha256": shown}
    return made


def main() -> None:
    """Writes the pictures, then the notes."""
    set_up()
    for name, (_, make) in PICTURES.items():
        images.write_image(DOCS / name, make())
        print(f"docs/{name}", flush=True)
    images.write_bytes(NOTES, (json.dumps(notes(), indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
