"""What a user waits for beside the network: the first fused image, and the training data."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs import haze, msrs
from iassf_jax.data import images, pipeline
from iassf_jax.data.packed import pack
from iassf_jax.scenes import SceneSource


def start_up(height: int = 480, width: int = 640) -> dict[str, float]:
    """Seconds of `iassf_jax fuse` for one pair, from start to end of its process: first on the machine, then again."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scene = SceneSource(1, 0, height, width)[0]
        images.write_image(root / "visible.png", scene.visible)
        images.write_image(root / "infrared.png", scene.infrared)
        command = [sys.executable, "-m", "iassf_jax", "fuse", "--visible", root / "visible.png"]
        command += ["--infrared", root / "infrared.png", "--overwrite", "--output", root / "fused.png"]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(root / "cache")}

        def run() -> float:
            start = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            return time.perf_counter() - start

        return {"cold": run(), "warm": min(run() for _ in range(3))}


def data_rates(batches: int = 40, height: int = 480, width: int = 640) -> dict[str, float]:
    """Training images a second that the pipeline makes of PNG files, and of the same pairs packed, as JPEG and raw."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i, scene in enumerate(SceneSource(24, 0, height, width)):
            images.write_image(root / "png" / "vi" / f"{i}.png", scene.visible)
            images.write_image(root / "png" / "ir" / f"{i}.png", scene.infrared)
        pack(str(root / "png"), root / "packed", val_fraction=0.0)
        pack(str(root / "png"), root / "raw", val_fraction=0.0, raw=True)
        rates = {}
        for title, config, workers in _settings():
            for form in ("png", "packed", "raw"):
                with config.unlocked():
                    config.data.update(root=str(root / form), num_workers=workers, val_fraction=0.0)
                rates[f"{title}, {form}"] = _rate(config, batches)
        return rates


def _settings() -> Iterator[tuple[str, Any, int]]:
    for workers in sorted({0, 1, min(8, len(os.sched_getaffinity(0)))}):  # one and many: how it grows with workers
        yield f"configs/msrs.py, crop 256, {workers} workers", msrs.get_config(), workers
        yield f"configs/haze.py, crop 128, {workers} workers", haze.get_config(), workers


def _rate(config: Any, batches: int) -> float:
    source, _ = pipeline.make_source(config.data, "train")
    iterator = pipeline.train_iterator(config.data, source, config.train.batch_size, 0)
    for _ in range(5):
        next(iterator)
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * config.train.batch_size / (time.perf_counter() - start)
