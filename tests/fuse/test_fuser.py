"""`iassf_jax.load` and `Fuser`: what goes in, what comes out, and what is refused in one line."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import iassf_jax
import tiny
from iassf_jax.data import images
from iassf_jax.data.levels import stretch
from iassf_jax.errors import UserError
from iassf_jax.fuse import network
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.fuse.prepare import Preparation, prepare_pair
from iassf_jax.fuse.strengths import Strengths
from iassf_jax.models import full_settings
from iassf_jax.weights import shipped
from iassf_jax.weights.formats import Weights, read_weights


@pytest.fixture(scope="module")
def fuser():
    return Fuser(tiny.weights())


def pair(height=20, width=30, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random((height, width, 3), np.float32), rng.random((height, width), np.float32)
    top = np.iinfo(dtype).max
    return rng.integers(0, top, (height, width, 3), dtype), rng.integers(0, top, (height, width), dtype)


def same(a, b, limit=1):
    return all(np.abs(x.astype(int) - y).max() <= limit for x, y in ((a.fused, b.fused), (a.dehazed, b.dehazed)))


@pytest.mark.parametrize("size", [(20, 30), (1, 1), (3, 70), (33, 2)])
def test_any_size_gives_that_size(fuser, size):
    result = fuser(*pair(*size))
    assert result.fused.shape == result.dehazed.shape == (*size, 3)
    assert result.fused.dtype == result.dehazed.dtype == np.uint8
    assert result.haze_density.shape == size and result.haze_density.dtype == np.float32
    assert 0 <= result.haze_density.min() and result.haze_density.max() <= 1
    assert result.prompt_weights["ir"].shape == (5,) and result.prompt_weights["vi"].sum() == pytest.approx(1)


def test_types_and_channels_of_one_image_agree(fuser):
    visible, infrared = pair()
    base = fuser(visible, infrared)
    for v in (visible.astype(np.uint16) * 257, visible / np.float32(255), visible / 255.0):
        for i in (infrared, infrared[..., None], np.repeat(infrared[..., None], 3, axis=2), infrared / 255.0):
            assert same(base, fuser(v, i))
    grey = np.repeat(infrared[..., None], 3, axis=2)
    assert same(fuser(infrared, infrared), fuser(grey, infrared), 0)
    assert same(fuser(infrared[..., None], infrared), fuser(grey, infrared), 0)


def test_a_result_shows_its_shapes_only(fuser):
    assert repr(fuser(*pair())) == "Result(fused (20, 30, 3), dehazed (20, 30, 3), haze_density (20, 30))"


@pytest.mark.parametrize("read", [tiny.weights, lambda: read_weights([shipped.DEFAULT])])
def test_nan_from_broken_weights_is_refused(read):
    weights = read()
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), weights.params)
    with pytest.raises(UserError, match="the network's result holds NaN"):
        Fuser(dataclasses.replace(weights, params=broken))(*pair())


def test_what_is_no_image_and_no_weights_is_told(fuser):
    with pytest.raises(UserError, match="a.png: no such file"):
        fuser("a.png", "b.png")
    with pytest.raises(UserError, match="give a name"):
        iassf_jax.load(None)


def test_coloured_infrared_becomes_its_luma():
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[..., 1] = 100
    assert (prepare_pair(pair(2, 2)[0], colour).infrared == 59).all()


def test_paths_are_as_good_as_arrays_and_results_are_saved(fuser, tmp_path):
    visible, infrared = pair()
    files = tmp_path / "vi.png", tmp_path / "ir.png"
    for file, image in zip(files, (visible, infrared), strict=True):
        images.write_image(file, image)
        assert (iassf_jax.read_image(file) == image).all()
    result = fuser(visible, infrared)
    for one in (fuser(*files), fuser(str(files[0]), infrared), fuser([files[0]], [infrared])[0]):
        assert same(result, one, 0)
    saved = result.save(tmp_path / "new" / "folder")
    assert [file.name for file in saved] == ["fused.png", "dehazed.png", "haze.png"]
    assert (iassf_jax.read_image(saved[0]) == result.fused).all()
    assert iassf_jax.read_image(saved[2]).max() == np.rint(255 * result.haze_density.max())
    with pytest.raises(UserError, match="a batch of 1 results"):
        fuser(visible[None], infrared[None]).save(tmp_path)


def test_a_pair_the_wrong_way_round_is_refused(fuser):
    visible, infrared = pair()
    for grey in (infrared, np.repeat(infrared[..., None], 3, axis=2)):
        with pytest.raises(UserError, match="swap them"):
            fuser(grey, visible)
    prepare_pair(visible, visible)  # an infrared image in false colours
    prepare_pair(infrared, infrared)  # a grey camera


def test_a_fuser_says_what_it_is():
    text = repr(iassf_jax.load("iassf-msrs"))
    assert "iassf-msrs" in text and "parameters" in text and shipped.card("iassf-msrs")["haze"] in text


def test_lists_and_batches_are_many_single_pairs(fuser):
    pairs = [pair(seed=1), pair(seed=2), pair(9, 40, seed=3)]
    alone = [fuser(*p) for p in pairs]
    listed = fuser(*map(list, zip(*pairs, strict=True)))
    assert isinstance(listed, list) and all(same(a, b, 0) for a, b in zip(alone, listed, strict=True))
    batch = fuser(np.stack([pairs[0][0], pairs[1][0]]), np.stack([pairs[0][1], pairs[1][1]]))
    assert batch.fused.shape == (2, 20, 30, 3) and batch.prompt_weights["ir"].shape == (2, 5)
    for i in range(2):
        assert np.abs(batch.fused[i].astype(int) - alone[i].fused).max() <= 1
    assert fuser([], []) == []


def test_infrared_of_another_size(fuser):
    visible, infrared = pair()
    with pytest.raises(UserError, match="15 x 10, visible 30 x 20: align them"):
        fuser(visible, infrared[::2, ::2])
    assert fuser(visible, infrared[::2, ::2], resize_infrared=True).fused.shape == visible.shape
    resized = prepare_pair(visible, np.full((40, 60), 20000, np.uint16), Preparation(resize_infrared=True)).infrared
    assert resized.shape == (20, 30) and resized.dtype == np.uint16 and (resized == 20000).all()


def test_the_order_of_bytes_does_not_matter():
    """As FITS and some cameras' dumps have them."""
    visible, infrared = pair(dtype=np.uint16)
    infrared //= 16  # raw
    other = [x.astype(x.dtype.newbyteorder(">")) for x in (visible, infrared)]
    for how in (Preparation(), Preparation(resize_infrared=True)):
        native, swapped = (prepare_pair(*x, how, notes=[])[:2] for x in ((visible, infrared), other))
        assert [x.dtype for x in native] == [x.dtype for x in swapped]
        jax.tree.map(np.testing.assert_array_equal, native, swapped)


def test_numbers_of_numpy_are_strengths():
    assert dataclasses.asdict(Strengths(np.float32(0.5), np.int64(1), np.float64(0.2))) == {
        "dehaze": 0.5,
        "infrared": 1.0,
        "t0": 0.2,
    }
    json.dumps(dataclasses.asdict(Strengths(np.float32(0.5))))


def test_the_released_networks_density_and_padding(monkeypatch):
    """Its density leaves 0..1 a little; its statistics count the padding, of which it gets what its authors have."""
    seen = []

    def run(model, variables, known, images, *_, **__):
        seen.append(images[0].shape[1:3])
        density = np.linspace(-0.3, 1.2, images[0][..., 0].size).reshape(images[0].shape[:3])
        return {"dehazed": images[0], "fused": images[0], "haze_density": density}, None

    monkeypatch.setattr(network, "run_network", run)
    result = Fuser(Weights(full_settings({"name": "iassf_release"}), {}))(*pair(101, 104))
    assert result.haze_density.min() == 0 and result.haze_density.max() == 1
    assert seen == [(104, 104)]


def test_raw_thermal_is_stretched_or_told(fuser):
    visible, _ = pair()
    counts = (8000 + np.arange(600).reshape(20, 30)).astype(np.uint16)
    stretched = stretch(counts, (0, 100))
    assert stretched[0, 0] == 0 and stretched[-1, -1] == 1 and stretched.dtype == np.float32
    robust = counts.copy()
    robust[0, 0] = 65535
    assert stretch(robust, (1, 99))[10, 0] == pytest.approx(stretch(counts, (1, 99))[10, 0], abs=0.02)
    assert (stretch(np.full((4, 4), 300.5), (1, 99)) == 0).all()
    with pytest.warns(UserWarning, match="raw thermal data were stretched"):
        told = fuser(visible, counts)
    assert same(told, fuser(visible, counts, infrared_percentiles=(1, 99)), 0)
    dark = fuser(visible, counts, infrared_percentiles=None)
    assert not same(told, dark, 0)
    celsius = counts.astype(np.float64) / 100 - 90
    assert same(
        fuser(visible, counts, infrared_percentiles=(1, 99)), fuser(visible, celsius, infrared_percentiles=(1, 99))
    )


NAN = np.full((4, 4, 3), np.nan, np.float32)
IMAGE, HEAT = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)

BAD_PERCENTILES = [
    (True, 99),
    (1,),
    (1, 2, 3),
    5,
    (None, None),
    "ab",
    "15",
    (1, "99"),
    (),
    {1: 99},
    (1, np.nan),
    ([1], [99]),
    b"15",
]
NO_NUMBERS = [
    np.full((4, 4, 3), "text"),
    np.full((4, 4, 3), "2020-01-01", "datetime64[D]"),
    np.zeros((4, 4, 3), "f4,i4"),
    np.full((4, 4, 3), None),
    np.zeros((4, 4, 3), complex),
    np.zeros((4, 4, 3), bool),
]


@pytest.mark.parametrize(
    "visible, infrared, options, words",
    [
        (NAN, HEAT, {}, "visible: the float image holds NaN"),
        (IMAGE, NAN[..., 0], {}, "infrared: the float image holds NaN"),
        (IMAGE, NAN[..., 0], {"infrared_percentiles": (1, 99)}, "not finite"),
        (IMAGE.astype(np.float32) + 200, HEAT, {}, "scale it to 0..1"),
        (IMAGE.astype(np.int64), HEAT, {}, "int64"),
        (np.zeros((4, 4, 4), np.uint8), HEAT, {}, "drop its alpha"),
        (np.zeros((4, 4, 2), np.uint8), HEAT, {}, "visible image has shape"),
        (np.zeros((0, 4, 3), np.uint8), HEAT, {}, "empty"),
        (IMAGE, np.zeros((4,), np.uint8), {}, "infrared image has shape"),
        (IMAGE, HEAT, {"infrared_percentiles": (99, 1)}, "percentiles 99, 1"),
        *((IMAGE, HEAT, {"infrared_percentiles": bad}, "infrared percentiles") for bad in BAD_PERCENTILES),
        *((bad, HEAT, {}, "visible image holds") for bad in NO_NUMBERS),
        *((IMAGE, bad[..., 0], {"resize_infrared": True}, "infrared image holds") for bad in NO_NUMBERS),
        *((IMAGE, bad[..., 0], {"infrared_percentiles": (1, 99)}, "infrared image holds") for bad in NO_NUMBERS),
        (np.ma.masked_less(IMAGE, 3), HEAT, {}, "visible image has a mask"),
        (IMAGE, np.ma.masked_less(HEAT, 3), {"infrared_percentiles": (1, 99)}, "infrared image has a mask"),
        (IMAGE, [[1, 2], [3]], {}, "infrared image is no array"),
        (IMAGE, np.tile([[-1.7e308], [1.7e308]], (2, 4)), {"infrared_percentiles": (1, 99)}, "holds values up to 1.7e"),
        (IMAGE[None], HEAT, {}, "equal batches"),
        ([IMAGE], HEAT, {}, "a list of as many"),
        ([IMAGE], [HEAT, HEAT], {}, "a list of as many"),
        (IMAGE.tolist(), HEAT, {}, "as many"),
    ],
)
def test_bad_input_is_told_in_one_line(fuser, visible, infrared, options, words):
    with pytest.raises(UserError, match=words) as error:
        fuser(visible, infrared, **options)
    assert "\n" not in str(error.value)


def test_shipped_weights_have_cards_that_fit():
    assert shipped.DEFAULT in shipped.names()
    for name in shipped.names():
        card = shipped.card(name)
        digest = hashlib.sha256((shipped.FOLDER / f"{name}.safetensors").read_bytes()).hexdigest()
        assert card["sha256"] == digest
        assert {"network", "data", "haze", "training", "results", "known_failures"} <= card.keys()


def test_weights_by_name_with_their_hash():
    fuser = iassf_jax.load("iassf-msrs")
    assert fuser.weights.source["name"] == "iassf-msrs"
    assert fuser.weights.source["sha256"] == shipped.card("iassf-msrs")["sha256"]
    assert fuser.weights.source.keys() <= {"name", "sha256", "step"}, "names of whoever trained them"


def test_a_folder_of_the_name_is_not_taken_for_them(tmp_path, monkeypatch):
    """A first run's `--output iassf-haze` would end the second, and whose weights were used would be told wrongly."""
    (tmp_path / "iassf-msrs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert iassf_jax.load("iassf-msrs").weights.source["sha256"] == shipped.card("iassf-msrs")["sha256"]
    with pytest.raises(UserError, match=r"no config\.json there"):
        iassf_jax.load("./iassf-msrs")


def test_a_path_is_never_a_name(tmp_path, monkeypatch):
    """`Path("./iassf-msrs")` has lost its dot."""
    (tmp_path / "iassf-msrs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no config\.json there"):
        iassf_jax.load(Path("./iassf-msrs"))


def test_unknown_weights_are_told_with_the_names_there_are():
    with pytest.raises(UserError, match="iassf-msrs"):
        iassf_jax.load("iassf-nonsense")


def test_a_changed_file_of_weights_is_refused(tmp_path, monkeypatch):
    data = (shipped.FOLDER / "iassf-msrs.safetensors").read_bytes()
    (tmp_path / "iassf-msrs.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (tmp_path / "iassf-msrs.json").write_text(json.dumps(shipped.card("iassf-msrs")))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="SHA-256"):
        iassf_jax.load("iassf-msrs")


def test_importing_the_package_does_not_import_jax():
    code = "import iassf_jax, sys; assert 'jax' not in sys.modules; iassf_jax.Fuser; assert 'jax' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_shipped_weights_leaves_what_trains_alone():
    unwanted = {"orbax", "optax", "grain", "iassf_jax.models.fast.gpu_kernels"}
    code = f"import iassf_jax, sys; iassf_jax.load(); assert not {unwanted} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
