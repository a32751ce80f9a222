"""How well rigs and single pairs are aligned: python -m benchmarks.align --data FOLDER

Aligned pairs of FOLDER/SET/vi and FOLDER/SET/ir are brought to 640x480, and the infrared images are warped by known
warps: scale 0.8 to 1.25, shift up to 8 %, rotation up to 5 degrees, corners moved by up to 3 % for perspective. The
error is the mean distance of the visible image's corners from where they belong, in its pixels. The pairs' own
registration limits it, so "repeated" is the error against where the unwarped pairs were found to lie. Chance is
measured with pairs whose infrared image is of another scene: every one that is accepted counts as wrong, though roads
look alike.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from iassf_jax.align import warps
from iassf_jax.align.find import find_rig, register
from iassf_jax.align.rig import Rig
from iassf_jax.data import images
from iassf_jax.data.haze import HazeParams, apply_haze
from iassf_jax.data.layouts import list_images
from iassf_jax.errors import UserError

SIZE = (640, 480)
Pair = tuple[np.ndarray, np.ndarray]
Find = Callable[[Sequence[Pair]], Rig]
_SINGLES = 3  # pairs of each rig that are also aligned alone
# Name: folders of the visible and the infrared images, last letter of the stems, whether haze is added.
SETS = {
    "cidis": ("cidis/vi", "cidis/ir", "", False),
    "flir": ("flir/vi", "flir/ir", "", False),
    "cidis haze": ("cidis/vi", "cidis/ir", "", True),
    "flir haze": ("flir/vi", "flir/ir", "", True),
    "msrs day": ("msrs/GT", "msrs/IR", "D", False),
    "msrs day haze": ("msrs/hazy", "msrs/IR", "D", False),
    "msrs night": ("msrs/GT", "msrs/IR", "N", False),
}


def random_warp(rng: np.random.Generator) -> np.ndarray:
    """Visible to infrared pixels of equal sizes: float64[3, 3]."""
    w, h = SIZE
    middle = warps.shift(-(w - 1) / 2, -(h - 1) / 2)
    scale, turn = np.exp(rng.uniform(np.log(0.8), np.log(1.25))), np.deg2rad(rng.uniform(-5, 5))
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    turned = np.linalg.inv(middle) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ middle
    bent = warps.from_corners(SIZE, warps.corners(SIZE) + rng.uniform(-0.03, 0.03, (4, 2)) * (w, h))
    return warps.shift(*(rng.uniform(-0.08, 0.08, 2) * (w, h))) @ turned @ bent


def read(data: Path, name: str, rng: np.random.Generator, count: int) -> list[Pair]:
    """So many pairs at random, at `SIZE`."""
    visible, infrared, letter, hazy = SETS[name]
    sides = [list_images(data / side) for side in (visible, infrared)]
    stems = sorted(stem for stem in sides[0].keys() & sides[1].keys() if stem.endswith(letter))
    pairs = []
    for stem in rng.permutation(stems)[:count]:
        pair = images.read_visible(sides[0][stem][0]), images.read_infrared(sides[1][stem][0])
        frame, heat = (cv2.resize(x, SIZE, interpolation=cv2.INTER_AREA) for x in pair)
        if hazy:
            frame = apply_haze(frame, HazeParams("outdoor", (0.8, 0.8, 0.82), rng.uniform(1, 2.5), seed=len(pairs)))
        pairs.append((frame, heat))
    return pairs


def warped(infrared: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """What a camera of that warp would see; mirrored where the image ends, which is outside the visible one."""
    return cv2.warpPerspective(infrared, warp, SIZE, borderMode=cv2.BORDER_REFLECT_101)


def tried(find: Find, pairs: Sequence[Pair]) -> np.ndarray | None:
    """The warp found; None where it was refused."""
    try:
        return find(pairs).matrix
    except UserError:
        return None


def distance(found: np.ndarray | None, warp: np.ndarray) -> float | None:
    """The error at the corners."""
    return None if found is None else warps.corner_distance(found, warp, SIZE)


def trial(find: Find, pairs: Sequence[Pair], others: Sequence[Pair], warp: np.ndarray) -> dict[str, float | None]:
    """Errors with the pairs' own infrared images, also against the unwarped pairs, and with those of other scenes."""
    mixed = [(frame, heat) for (frame, _), (_, heat) in zip(pairs, others, strict=True)]
    found, wrong = (tried(find, [(frame, warped(heat, warp)) for frame, heat in those]) for those in (pairs, mixed))
    errors = {"": distance(found, warp), " wrong": distance(wrong, warp)}
    if found is not None and (plain := tried(find, pairs)) is not None:
        errors[" repeated"] = distance(found, warp @ plain)
    return errors


def measure(pairs: Sequence[Pair], others: Sequence[Pair], warp: np.ndarray, model: str | None) -> dict[str, list]:
    """Errors of the rig and of some pairs alone, by kind of trial."""
    trials = [("rig", trial(lambda those: find_rig(those, model).rig, pairs, others, warp))]
    for pair, other in zip(pairs[:_SINGLES], others, strict=False):
        trials.append(("pair", trial(lambda those: register(*those[0]), [pair], [other], warp)))
    errors: dict[str, list] = {}
    for name, found in trials:
        for kind, error in found.items():
            errors.setdefault(name + kind, []).append(error)
    return errors


def line(errors: Sequence[float | None], wrong: bool) -> str:
    """What came of one kind of trial."""
    good = [error for error in errors if error is not None]
    if wrong:
        return f"accepted {len(good)} of {len(errors)}"
    if not good:
        return f"all {len(errors)} refused"
    return (
        f"median {np.median(good):.2f} px, worst {max(good):.1f}, over 10 px {sum(e > 10 for e in good)}, "
        f"refused {len(errors) - len(good)} of {len(errors)}"
    )


def main() -> None:
    """Prints for each set and round what is known so far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rounds", type=int, default=10, help="warps a set")
    parser.add_argument("--pairs", type=int, default=16, help="of a rig")
    parser.add_argument("--model", help="of the rigs (default: as align chooses)")
    args = parser.parse_args()
    cv2.setNumThreads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0)
    known: dict[tuple[str, str], list] = {}
    for number in range(args.rounds):
        for name in args.sets:
            rng = np.random.default_rng((number, list(SETS).index(name)))
            start = time.process_time()
            pairs = read(args.data, name, rng, 2 * args.pairs)
            found = measure(pairs[: args.pairs], pairs[args.pairs :], random_warp(rng), args.model)
            for kind, errors in found.items():
                known.setdefault((name, kind), []).extend(errors)
                print(f"{name:14} {kind:13} {line(known[name, kind], 'wrong' in kind)}", flush=True)
            print(f"{name:14} round {number + 1}: {time.process_time() - start:.0f} s of a core", flush=True)


if __name__ == "__main__":
    main()
