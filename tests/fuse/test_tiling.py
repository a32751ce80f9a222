"""Statistics of the whole image that are recorded and given, and tiles that give what the whole image gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from iassf_jax.errors import UserError
from iassf_jax.fuse.network import Predictor, next_bucket
from iassf_jax.fuse.tiling import Tiling, mosaic, spans
from iassf_jax.models import build_model
from iassf_jax.models.layers import resize_bilinear, resize_bilinear_aligned
from iassf_jax.models.whole_image import GLOBALS, Region, resize_aligned_into, resize_into

NETWORKS = {
    "iassf": dict(tiny.get_config().model)
    | {"restoration_blocks": (1, 1, 1), "fusion_blocks": 3},
    "iassf_release": {"name": "iassf_release", "depths": (0, 0, 2, 0, 0), "prompt_size": 8},
}


def scene(height, width, seed=0):
    """Smooth shapes with detail; left and right differ, so that tiles have statistics of their own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    base = np.stack([np.sin(9 * x * y), np.cos(5 * x), x], axis=-1) * 0.4 + 0.5
    noise = rng.random((height, width, 3)) * 0.2 * x[..., None]
    visible = np.clip(255 * (base * 0.8 + noise), 0, 255).astype(np.uint8)
    infrared = np.clip(255 * (0.5 + 0.5 * np.sin(7 * y - 3 * x)), 0, 255).astype(np.uint8)
    return visible[None], infrared[None]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    model = build_model(NETWORKS[request.param])
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1)))
    return model, variables


def largest_difference(a, b):
    return max(np.abs(a[name].astype(int) - b[name]).max() for name in ("fused", "dehazed"))


def test_initialisation_keeps_no_statistics(network):
    assert set(network[1]) == {"params"}


def test_given_statistics_of_the_same_image_change_nothing(network):
    predictor = Predictor(*network)
    pair = scene(64, 64)
    out, own = predictor.with_statistics(*pair, record=True)
    again, none = predictor.with_statistics(*pair, own)
    assert largest_difference(out, again) <= 1 and none is None  # two programs, and roundings at .5
    other, _ = predictor.with_statistics(*scene(64, 64, 5)[:1], pair[1] // 3, own)
    alone = predictor(scene(64, 64, 5)[0], pair[1] // 3)
    assert largest_difference(other, alone) > 0


@pytest.mark.slow
def test_tiles_give_the_whole_image(network):
    """Also at a size that needs padding; tiles on their own are far off, and a refinement brings them nearer."""
    pair = scene(150, 210)
    whole = Predictor(*network)(*pair)

    def error(tiling):
        tiled = Predictor(*network, tiling=tiling)(*pair)
        assert tiled["fused"].shape == whole["fused"].shape
        np.testing.assert_allclose(tiled["haze_density"], whole["haze_density"], atol=0.1)
        differences = [np.abs(tiled[n].astype(float) - whole[n]).mean() for n in ("fused", "dehazed")]
        return max(differences)

    plain = Predictor(*network)(*(x[:, :128, 64:192] for x in pair))["fused"]
    separate = np.abs(plain.astype(float) - whole["fused"][:, :128, 64:192]).mean()
    errors = [error(Tiling(128, 64, n)) for n in (0, 1)]
    assert errors[1] < errors[0] and errors[1] < separate / 10, (errors, separate)

    # Given statistics, as of the frames before in a video, count in tiles as in the whole: the haze scale too.
    _, given = Predictor(*network).with_statistics(*(x // 3 + 20 for x in pair), record=True)
    of_given, *in_tiles = (
        Predictor(*network, tiling=tiling).with_statistics(*pair, given)[0]["haze_density"]
        for tiling in (None, Tiling(128, 64, 0), Tiling(128, 64, 1))
    )
    change = np.abs(of_given - whole["haze_density"]).mean()
    for density in in_tiles:
        assert np.abs(of_given - density).mean() < change / 10


@pytest.mark.parametrize("size, tile, overlap", [(32, 128, 64), (128, 128, 0), (160, 128, 64), (4000, 1024, 64)])
def test_spans(size, tile, overlap):
    size = -(-size // 32) * 32
    found = spans(size, tile, overlap)
    assert found[0].start == found[0].core_start == 0 and found[-1].stop == found[-1].core_stop == size
    assert {s.stop - s.start for s in found} == {min(tile, size)}
    for left, right in zip(found, found[1:], strict=False):
        assert left.stop - right.start >= overlap and left.core_stop == right.core_start
        assert right.start <= left.core_stop <= left.stop
    assert all(n % 32 == 0 for s in found for n in (s.start, s.stop, s.core_start, s.core_stop))


def test_mosaic_keeps_the_order_and_the_pixels():
    image = np.arange(640 * 64).reshape(640, 64, 1)
    small = mosaic(image, 256)
    assert small.shape == (256, 64, 1) and mosaic(image, 640) is image
    rows = small[:, 0, 0] // 64
    assert (np.diff(rows) > 0).all() and rows[0] == 48 and rows[-1] == 591


@pytest.mark.parametrize("size, whole", [((6, 8), (4, 4)), ((12, 8), (9, 5)), ((5, 4), (16, 16))])
def test_a_region_of_a_resized_map_is_cut_out_of_it(size, whole):
    x = jax.random.normal(jax.random.key(0), (2, *whole, 3))
    full = (4 * size[0], 4 * size[1])
    region = Region(size[0], 2 * size[1], *full)
    cut = np.s_[:, region.top : region.top + size[0], region.left : region.left + size[1]]
    np.testing.assert_allclose(resize_into(x, size, region), resize_bilinear(x, full)[cut], atol=1e-5)
    aligned = resize_aligned_into(x, size, Region.whole(x), region)
    np.testing.assert_allclose(aligned, resize_bilinear_aligned(x, full)[cut], atol=1e-5)


def test_buckets_are_few_and_near():
    buckets = [next_bucket(n) for n in range(1, 4097)]
    assert len(set(buckets)) <= 24 and all(b % 32 == 0 for b in buckets)
    assert all(n <= b <= max(n + 31, n * 4 / 3) for n, b in enumerate(buckets, 1))
    assert next_bucket(640) == 640


@pytest.mark.parametrize(
    "values, word", [((100,), "max_tile"), ((256, 160), "overlap"), ((256, 64, -1), "refinements")]
)
def test_tilings_that_cannot_be_are_refused(values, word):
    with pytest.raises(UserError, match=word):
        Tiling(*values)


@pytest.mark.slow
def test_ablations_run_in_tiles():
    settings = NETWORKS["iassf"] | {"without_hde": True, "without_p_ir": True, "without_p_vi": True}
    model = build_model(settings)
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1)))
    out = Predictor(model, variables, tiling=Tiling(128, 32, 1))(*scene(160, 160))
    assert "haze_density" not in out and out["fused"].shape == (1, 160, 160, 3)


def test_statistics_are_means_over_the_pixels(network):
    """Those of two halves, counted apart, average to those of the whole: the layers before any border differs."""
    from iassf_jax.fuse.tiling import run_network

    model, variables = network
    pair = tuple(np.asarray(x, np.float32) / 127.5 - 1 for x in (scene(64, 64)[0], scene(64, 64)[1][..., None]))
    _, whole = run_network(model, variables, None, pair, want=(), record=True)
    halves = [
        run_network(model, variables, whole, pair, core=np.int32(core), want=(), record=True)[1]
        for core in ([0, 64, 0, 32], [0, 64, 32, 64])
    ]
    whole.pop("haze_scale")
    for half in halves:
        half.pop("haze_scale")
    means = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), means, whole)
    assert GLOBALS not in whole
