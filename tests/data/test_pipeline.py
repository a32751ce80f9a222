"""Batches: what is in them, that they are reproducible, and that they resume."""

import dataclasses
import itertools
import os

import numpy as np
import pytest

import tiny
from iassf_jax.data import haze, images, levels, pipeline
from iassf_jax.data.packed import pack
from iassf_jax.errors import UserError
from iassf_jax.scenes import write_scenes
from iassf_jax.train.run_config import ADDED

DATA = tiny.get_config().data.to_dict()
HOMOGENEOUS = {"kinds": ("homogeneous",), "ranges": {}}


def iterator(seed=0, **changes):
    data = {**DATA, **changes}
    source, _ = pipeline.make_source(data, "train")
    return pipeline.train_iterator(data, source, 2, seed), source


def augment_of(crop, kind, whole_size=(), **changes):
    """Haze of one kind on crops or whole images, without flips."""
    data = {**DATA, "crop": crop, "haze": {"kinds": (kind,), "ranges": {}}, "horizontal_flip": False}
    return pipeline.augmentation({**data, "vertical_flip": False, **changes}, whole_size)


def take(it, count):
    batches = [next(it) for _ in range(count)]
    it.close()
    return batches


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys() == {"index", "hazy", "infrared", "clear"}
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_shapes_and_ranges():
    batch = take(iterator()[0], 1)[0]
    assert batch["hazy"].shape == batch["clear"].shape == (2, 24, 24, 3)
    assert batch["infrared"].shape == (2, 24, 24, 1)
    for name in ("hazy", "clear", "infrared"):
        assert batch[name].dtype == np.float32
        assert batch[name].min() >= -1 and batch[name].max() <= 1


def test_the_seed_decides_everything():
    assert_equal(take(iterator()[0], 4), take(iterator()[0], 4))
    other = take(iterator(seed=1)[0], 4)
    assert any((a["hazy"] != b["hazy"]).any() for a, b in zip(take(iterator()[0], 4), other, strict=True))


@pytest.mark.slow
def test_worker_processes_change_nothing():
    assert_equal(take(iterator()[0], 5), take(iterator(num_workers=2)[0], 5))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_state_resumes_exactly(workers):
    it, _ = iterator(num_workers=workers)
    for _ in range(3):
        next(it)
    state = it.get_state()
    expected = take(it, 3)
    again, _ = iterator(num_workers=workers)
    again.set_state(state)
    assert_equal(take(again, 3), expected)


def test_an_epoch_sees_each_pair_once_and_the_next_differs():
    """5 pairs in batches of 2: 4 an epoch, the last is dropped; order and haze are drawn anew."""
    batches = take(iterator()[0], 8)
    epochs = [np.concatenate([b["index"] for b in batches[i : i + 2]]) for i in range(0, 8, 2)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    by_index = {}
    for batch in batches:
        for i, index in enumerate(batch["index"]):
            by_index.setdefault(int(index), []).append(batch["hazy"][i])
    assert all(len({x.tobytes() for x in crops}) == len(crops) for crops in by_index.values())


def test_crops_stay_aligned_and_flips_happen():
    """Clear, infrared and hazy are cut and turned alike: a marked image tells."""
    yy, xx = np.mgrid[:40, :56].astype(np.uint8)
    raw = {"index": np.int64(0), "clear": np.stack([yy, xx, yy], axis=-1), "infrared": (yy + xx).astype(np.uint8)}
    augment = augment_of(24, "none", horizontal_flip=True, vertical_flip=True, rotations=True)
    seen = set()
    for seed in range(60):
        out = augment.random_map(raw, np.random.default_rng(seed))
        y, x, both = (np.round((out[n][..., c] + 1) * 127.5) for n, c in (("clear", 0), ("clear", 1), ("infrared", 0)))
        np.testing.assert_array_equal(y + x, both)
        np.testing.assert_array_equal(out["hazy"], out["clear"])
        seen.add((y[1, 0] - y[0, 0], y[0, 1] - y[0, 0], x[1, 0] - x[0, 0], x[0, 1] - x[0, 0]))
    assert len(seen) == 8  # the symmetries of a square


@pytest.mark.parametrize("kind", ["msrs_release", "depth_like", "depth_like_night"])
def test_haze_of_a_crop_is_the_crop_of_the_haze(kind):
    source, _ = pipeline.make_source({**DATA, "haze": DATA["haze"]}, "train")
    raw = source[0]
    augment = augment_of(24, kind)
    out = augment.random_map(raw, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    top, left = (int(rng.integers(n - 24 + 1)) for n in raw["clear"].shape[:2])
    rng.integers(1)
    full = haze.apply_haze(raw["clear"], haze.draw_haze(kind, rng))
    np.testing.assert_array_equal(out["hazy"], images.to_signed(full[top : top + 24, left : left + 24]))


def test_degraded_inputs_leave_the_clear_image_and_are_reproducible():
    source, _ = pipeline.make_source(DATA, "train")
    raw = source[0]
    off = {name: ADDED[f"data.degrade.{name}"] for name in DATA["degrade"]}
    noisy = {"noise_chance": 1.0, "read_noise": (0.05, 0.05), "infrared_chance": 1.0, "infrared_gain": (0.5, 0.5)}
    first, again, plain = (
        augment_of(24, "none", degrade=chosen).random_map(raw, np.random.default_rng(2))
        for chosen in ({**off, **noisy}, {**off, **noisy}, off)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    np.testing.assert_array_equal(first["clear"], plain["clear"])
    assert 0.03 < np.std(first["hazy"] - plain["hazy"]) / 2 < 0.06
    np.testing.assert_allclose(first["infrared"] + 1, (plain["infrared"] + 1) / 2, atol=2.1 / 255)


def test_whole_images_are_hazed_and_then_shrunk():
    raw = pipeline.make_source(DATA, "train")[0][0]
    augment = augment_of(24, "msrs_release", whole_size=(20, 28))
    out = augment.random_map(raw, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    rng.integers(1)
    full = haze.apply_haze(raw["clear"], haze.draw_haze("msrs_release", rng))
    for name, image in (("hazy", full), ("clear", raw["clear"]), ("infrared", raw["infrared"][..., None])):
        means = image.reshape(20, 2, 28, 2, -1).mean((1, 3))
        assert out[name].shape == means.shape
        np.testing.assert_allclose((out[name] + 1) * 127.5, means, atol=0.51)


def test_whole_images_of_several_sizes_take_turns_and_resume_in_the_right_one():
    data = {**DATA, "haze": HOMOGENEOUS, "whole_size": ((20, 28), (20, 28), (40, 56))}
    source, _ = pipeline.make_source(data, "train")
    batches = take(pipeline.train_iterator(data, source, 2, 0), 9)
    assert [batch["hazy"].shape for batch in batches] == [(2, 20, 28, 3), (2, 20, 28, 3), (2, 40, 56, 3)] * 3
    assert any((a["index"] != b["index"]).any() for a, b in itertools.pairwise(batches[:3]))
    iterator = pipeline.train_iterator(data, source, 2, 0)
    take(iterator, 4)
    state = iterator.get_state()
    resumed = pipeline.train_iterator(data, source, 2, 0)
    resumed.set_state(state)
    for batch, expected in zip(take(resumed, 5), batches[4:], strict=True):
        np.testing.assert_array_equal(batch["hazy"], expected["hazy"])
    one = take(pipeline.train_iterator({**data, "whole_size": (20, 28)}, source, 2, 0), 1)[0]
    np.testing.assert_array_equal(one["hazy"], batches[0]["hazy"])


def test_crops_of_shrunk_images_stay_aligned_and_show_more():
    """The slope of a ramp tells by how much the image was shrunk; it lies between min_scale and 1."""
    yy, xx = np.mgrid[:120, :200].astype(np.uint8)
    raw = {"index": np.int64(0), "clear": np.stack([yy, xx, yy], axis=-1), "infrared": (yy // 2 + xx // 2)}
    augment = augment_of(30, "none", min_scale=0.5)
    slopes = []
    for seed in range(40):
        out = augment.random_map(raw, np.random.default_rng(seed))
        y, x, both = ((out[n][..., c] + 1) * 127.5 for n, c in (("clear", 0), ("clear", 1), ("infrared", 0)))
        np.testing.assert_allclose((y + x) / 2, both, atol=1.6)
        np.testing.assert_array_equal(out["hazy"], out["clear"])
        slopes.append(float(y[-1, 0] - y[0, 0]) / 29)
    assert 0.95 < min(slopes) < 1.2 and 1.7 < max(slopes) < 2.1
    tall = {**raw, "clear": raw["clear"][:40], "infrared": raw["infrared"][:40]}
    assert augment.random_map(tall, np.random.default_rng(0))["clear"].shape == (30, 30, 3)


def test_colours_change_places_before_any_haze():
    raw = pipeline.make_source(DATA, "train")[0][0]
    augment = augment_of(40, "none", permute_chance=0.5)
    for seed in range(5):
        out = augment.random_map(raw, np.random.default_rng(seed))
        np.testing.assert_array_equal(out["hazy"], out["clear"])
    still = augment_of(40, "none", whole_size=raw["clear"].shape[:2])
    means = tuple((still.random_map(raw, np.random.default_rng(0))["clear"].mean((0, 1)) * 1e4).round())
    moved = dataclasses.replace(still, permute_chance=1.0)
    orders = [moved.random_map(raw, np.random.default_rng(i))["clear"].mean((0, 1)) * 1e4 for i in range(60)]
    assert {tuple(x.round()) for x in orders} == set(itertools.permutations(means))


@pytest.mark.parametrize("whole", [(), (48, 64)])
def test_another_light_comes_before_haze(whole):
    """Of black images every light is grey, and what haze adds to that is the same everywhere."""
    raw = {"index": np.int64(0), "clear": np.zeros((48, 64, 3), np.uint8), "infrared": np.zeros((48, 64), np.uint8)}
    light = {**DATA["relight"], "chance": 1.0, "black": (0.2, 0.3)}
    augment = augment_of(24, "homogeneous", whole, relight=light)
    out = augment.random_map(raw, np.random.default_rng(0))
    assert -0.61 < out["clear"].min() == out["clear"].max() < -0.39
    assert (out["hazy"] > out["clear"]).all()
    np.testing.assert_array_equal(out["infrared"], -1)


def test_images_smaller_than_the_crop_are_mirrored():
    raw = {"index": np.int64(0), "clear": np.full((9, 30, 3), 100, np.uint8), "infrared": np.zeros((9, 30), np.uint8)}
    out = augment_of(24, "none").random_map(raw, np.random.default_rng(0))
    assert out["clear"].shape == (24, 24, 3)


@pytest.fixture
def folder(tmp_path):
    write_scenes(tmp_path, 4, height=40, width=56)
    return tmp_path


def test_pairs_from_folders_with_depth(folder):
    folders = {"visible": "vi", "infrared": "ir", "hazy": "", "depth": "depth"}
    data = {**DATA, "source": "pairs", "root": str(folder), "folders": folders}
    data |= {"depth_meaning": "depth", "depth_scale": 0.01}
    source, found = pipeline.make_source(data, "all")
    assert len(source) == 4 and not found.problems
    assert source[0]["depth"].max() > 100  # metres: the sky
    hazy = pipeline.whole_example(source, 0, {"kinds": ("depth",), "ranges": {"depth": {"beta": (0.02, 0.02)}}}, 0)[
        "hazy"
    ]
    assert hazy.astype(int).sum() > source[0]["clear"].astype(int).sum()


def test_depth_maps_beside_the_images_do_without_names_of_folders(folder):
    data = {**DATA, "source": "pairs", "root": str(folder), "depth_meaning": "depth", "depth_scale": 0.01}
    data["haze"] = {"kinds": ("depth",), "ranges": {}}
    assert "depth" in pipeline.make_source(data, "all")[0][0]
    unsaid = {**data, "depth_meaning": "", "haze": {"kinds": ("homogeneous", "outdoor"), "ranges": {}}}
    with pytest.raises(UserError, match="haze 'outdoor' follows the depth maps there are: set data.depth_meaning"):
        pipeline.make_source(unsaid, "all")
    assert "depth" not in pipeline.make_source({**unsaid, "haze": data["haze"] | {"kinds": ("none",)}}, "all")[0][0]
    (folder / "depth").rename(folder / "not_depth")
    with pytest.raises(UserError, match=r"data.haze.kinds has 'depth', but the pairs have no depth maps"):
        pipeline.make_source(data, "all")


def test_names_that_are_no_utf_8_are_hazed_too(folder):
    """Linux allows any bytes; Python has them as lone surrogates."""
    for name in ("vi", "ir", "depth"):
        first = sorted((folder / name).iterdir())[0]
        first.rename(first.with_name(os.fsdecode(b"caf\xe9") + first.suffix))
    source, _ = pipeline.make_source({**DATA, "source": "pairs", "root": str(folder)}, "all")
    at = source.stems.index(os.fsdecode(b"caf\xe9"))
    example = pipeline.whole_example(source, at, {"kinds": ("homogeneous",), "ranges": {}}, 0)
    assert example["hazy"].shape == example["clear"].shape


def test_stored_haze_is_used_where_it_is_asked_for(folder):
    clear = {"visible": "vi", "infrared": "ir", "hazy": "vi"}
    data = {**DATA, "source": "pairs", "root": str(folder), "folders": clear}
    source, _ = pipeline.make_source(data, "all")
    example = pipeline.whole_example(source, 1, {"kinds": ("stored",), "ranges": {}}, 0)
    np.testing.assert_array_equal(example["hazy"], example["clear"])


def test_validation_haze_depends_on_the_stem_and_seed_only():
    source, _ = pipeline.make_source(DATA, "val")
    settings = DATA["haze"]
    first, again = (pipeline.whole_example(source, 1, settings, 7) for _ in range(2))
    np.testing.assert_array_equal(first["hazy"], again["hazy"])
    assert (pipeline.whole_example(source, 1, settings, 8)["hazy"] != first["hazy"]).any()


def test_validation_haze_follows_the_files_name_whatever_stands_beside_it(tmp_path):
    for name in ("a", "b"):
        write_scenes(tmp_path / name, 2, height=40, width=56)
        pack(str(tmp_path / name), tmp_path / f"pack_{name}", raw=True)

    def hazy(*names):
        root = ",".join(str(tmp_path / name) for name in names)
        source, _ = pipeline.make_source({**DATA, "source": "pairs", "root": root}, "all")
        assert len(set(source.stems)) == len(source)
        return pipeline.whole_example(source, 1, HOMOGENEOUS, 0)["hazy"]

    for names in (("a", "b"), ("pack_a",), ("pack_a", "pack_b")):
        np.testing.assert_array_equal(hazy(*names), hazy("a"))


def test_no_size_has_the_batches_of_another_seed():
    sizes = ((20, 28), (20, 28))
    found = [take(iterator(seed, whole_size=sizes, haze=HOMOGENEOUS)[0], 6) for seed in range(3)]
    seen = [batch["hazy"].tobytes() for batches in found for batch in batches]
    assert len(set(seen)) == len(seen)


def test_hazy_files_are_no_depth_for_training(folder):
    data = {**DATA, "source": "pairs", "root": str(folder), "depth_meaning": "depth", "depth_scale": 0.01}
    data |= {"folders": {"visible": "vi", "infrared": "ir", "hazy": "vi"}, "haze": {"kinds": ("depth",), "ranges": {}}}
    pipeline.make_source(data, "val")
    with pytest.raises(UserError, match="the pairs have no depth maps"):
        pipeline.make_source(data, "train")


def test_validation_without_any_haze_to_take_is_refused():
    source, _ = pipeline.make_source(DATA, "val")
    with pytest.raises(UserError, match="no hazy files"):
        pipeline.whole_example(source, 0, {"kinds": ("stored",), "ranges": {}}, 0)


def test_training_and_validation_scenes_differ():
    train, val = (pipeline.make_source(DATA, split)[0] for split in ("train", "val"))
    arrays = {train[i]["clear"].tobytes() for i in range(len(train))}
    assert not arrays & {val[i]["clear"].tobytes() for i in range(len(val))}


def test_two_folders_of_different_sizes_make_batches_together(tmp_path):
    for name, height, width, seed in (("a", 40, 56, 0), ("b", 32, 48, 1)):
        write_scenes(tmp_path / name, 6, seed, height, width)
    data = {**DATA, "source": "pairs", "root": f"{tmp_path / 'a'},{tmp_path / 'b'}", "haze": HOMOGENEOUS}
    source, _ = pipeline.make_source(data, "train")
    assert {source[i]["clear"].shape[:2] for i in range(len(source))} == {(40, 56), (32, 48)}
    batch = take(pipeline.train_iterator(data, source, 4, 0), 1)[0]
    assert batch["hazy"].shape == (4, 24, 24, 3)
    val, _ = pipeline.make_source(data, "val")
    assert not {*val.stems} & {*source.stems}
    stems = [pipeline.whole_example(val, i, HOMOGENEOUS, 0)["stem"] for i in range(len(val))]
    assert len(set(stems)) == len(stems) == 2


@pytest.mark.parametrize(
    "changes, words",
    [({"source": "video"}, "data.source"), ({"source": "pairs", "root": "nowhere"}, "nowhere")],
)
def test_wrong_settings_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        pipeline.make_source({**DATA, **changes}, "train")


def test_too_few_pairs_for_a_batch():
    source, _ = pipeline.make_source(DATA, "train")
    with pytest.raises(UserError, match=r"5 training pairs .* batch of 6"):
        pipeline.train_iterator(DATA, source, 6, 0)


def test_raw_thermal_data_are_stretched_before_training(tmp_path):
    """As fusing files stretches them, from files and from packs; images of 8 bits stay as they are."""
    write_scenes(tmp_path / "d", 3, height=40, width=56)
    paths = sorted((tmp_path / "d/ir").iterdir())
    eight = [images.read_infrared(path) for path in paths]
    for path, image in zip(paths[:2], eight[:2], strict=True):
        images.write_image(path, np.rint(29315 + image / 255 * 1500).astype(np.uint16))
    pack(str(tmp_path / "d"), tmp_path / "p")

    def infrared(root, percentiles):
        data = {**DATA, "source": "pairs", "root": str(root), "infrared_percentiles": percentiles}
        source, _ = pipeline.make_source(data, "all")
        assert source.stems == tuple(path.stem for path in paths) and len(source) == 3
        return [source[i]["infrared"] for i in range(3)]

    for root in (tmp_path / "d", tmp_path / "p"):
        found = infrared(root, "auto")
        assert [x.dtype for x in found] == [np.uint16, np.uint16, np.uint8]
        for x, image in zip(found[:2], eight[:2], strict=True):
            expected = levels.stretch(image, (1, 99))
            np.testing.assert_allclose(x / 65535, expected, atol=0.01)
        assert infrared(root, "none")[0].max() < 31000
        assert infrared(root, "1,99")[2].dtype == np.uint16
    np.testing.assert_array_equal(infrared(tmp_path / "d", "auto")[2], eight[2])
    data = {**DATA, "source": "pairs", "root": str(tmp_path / "d"), "haze": HOMOGENEOUS, "val_fraction": 0.0}
    batch = take(pipeline.train_iterator(data, pipeline.make_source(data, "all")[0], 2, 0), 1)[0]
    assert np.ptp(batch["infrared"], axis=(1, 2, 3)).min() > 0.3
