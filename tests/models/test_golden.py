"""Outputs of the networks and of the shipped weights, held over every change of the code: tests/values/golden.npz.

`python tests/models/test_golden.py iassf-haze` stores those of shipped weights anew, and must be run when they are
replaced. Those of a network ("paper", ...) stay as they are, unless it is meant to change.
"""

import sys
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

from iassf_jax.data.haze import apply_haze, draw_haze
from iassf_jax.data.images import to_signed
from iassf_jax.models import build_model
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.scenes import generate_scene
from iassf_jax.weights import shipped
from iassf_jax.weights.formats import read_weights
from iassf_jax.weights.renamed import former_path

FILE = Path(__file__).parents[1] / "values" / "golden.npz"
NETWORKS = {
    "paper": {"name": "iassf", "prompt_size": 8},
    "soft": {"name": "iassf", "prompt_size": 8, "reconstruction": "soft", "channels": 12, "fusion_channels": 6},
    "physical": {
        "name": "iassf",
        "prompt_size": 8,
        "reconstruction": "physical",
        "working_size": 64,
        "patch": 4,
        "fusion_blocks": 3,
    },
    "release": {"name": "iassf_release"},
}
_QUICKLY = {"xla_backend_optimization_level": 0}  # compiles in half the time; outputs differ by 1e-6
STAGES = ("dehazed", "fused", "haze_density")


def seeded(shapes):
    """Weights that no library's random numbers can change: of each parameter's name alone."""

    def draw(path, x):
        name = "".join(f"['{part}']" for part in former_path(tuple(key.key for key in path)))
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        values = rng.standard_normal(x.shape) * min(0.1, np.prod(x.shape[:-1]) ** -0.5)
        return np.float32(values + ("scale" in name or "temperature" in name))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def outputs(name):
    """Each stage as means over 4 x 4 pixels, of a scene in haze whose sides are no multiples of 8."""
    if name in NETWORKS:
        model = build_model(NETWORKS[name])
        params = seeded(abstract_parameters(model))
    else:
        weights = read_weights([name])
        model, params = build_model(weights.model), weights.params
    scene = generate_scene(11, 68, 92)
    hazy = apply_haze(scene.visible, draw_haze("depth_like", np.random.default_rng(0)))
    pair = to_signed(hazy)[None], to_signed(scene.infrared)[None, ..., None]
    out = jax.jit(model.apply, compiler_options=_QUICKLY)(params, *pair)
    return {name: pooled(np.asarray(out[name][0], np.float64)) for name in STAGES if name in out}


def pooled(x):
    """Means over 4 x 4 pixels, as float32."""
    height, width = (n // 4 * 4 for n in x.shape[:2])
    return x[:height, :width].reshape(height // 4, 4, width // 4, 4, -1).mean(axis=(1, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    ["paper", "release", *shipped.names(), *(pytest.param(x, marks=pytest.mark.slow) for x in ("soft", "physical"))],
)
def test_outputs_are_what_they_were(name):
    with np.load(FILE) as stored:
        if name not in NETWORKS:
            anew = f"stored outputs are not of these weights: run python tests/models/test_golden.py {name}"
            assert str(stored.get(f"{name}.sha256")) == shipped.card(name)["sha256"], anew
        # The release rounds its haze planes to 256 levels: the last bit may move a pixel by a level.
        tolerance = 2e-3 if name == "release" else 2e-5 if name in NETWORKS else 1e-4
        for stage, found in outputs(name).items():
            wanted = stored[f"{name}.{stage}"]
            np.testing.assert_allclose(found, wanted, atol=tolerance * max(1, np.abs(wanted).max()))


def store(names):
    """The outputs of these weights or networks in place of the stored ones."""
    with np.load(FILE) as stored:
        arrays = dict(stored)
    for name in names:
        arrays |= {f"{name}.{stage}": x for stage, x in outputs(name).items()}
        if name not in NETWORKS:
            arrays[f"{name}.sha256"] = np.array(shipped.card(name)["sha256"])
    np.savez_compressed(FILE, **arrays)
    print({name: x.shape for name, x in arrays.items()})


if __name__ == "__main__":
    store(sys.argv[1:])
