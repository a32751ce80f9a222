"""Packed pairs: what is read back, splits, batches, and damage."""

import json

import numpy as np
import pytest

import tiny
from iassf_jax.cli.main import main
from iassf_jax.data import images, pipeline
from iassf_jax.data.packed import open_packed, pack
from iassf_jax.errors import UserError
from iassf_jax.scenes import write_scenes


@pytest.fixture
def scenes(tmp_path):
    """Five scenes with depth, hazy files for all, and a split file."""
    root = tmp_path / "scenes"
    stems = write_scenes(root, 5, 0, 40, 56)
    for stem in stems:
        images.write_image(root / "hazy" / f"{stem}.png", images.read_image(root / "vi" / f"{stem}.png") // 2)
    (root / "split.json").write_text(json.dumps({"train": stems[:3], "val": stems[3:]}))
    return root


def config(root, **settings):
    data = tiny.get_config().data
    data.update(source="pairs", root=str(root), depth_meaning="depth", depth_scale=1.0, **settings)
    return data


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("how", [{"quality": None}, {"raw": True}])
@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_lossless_packs_give_the_files_examples(scenes, tmp_path, split, how):
    packed = pack(str(scenes), tmp_path / "packed", **how, shard_bytes=15_000)
    assert packed.pairs == 5 and 1 < packed.shards <= 5
    files, _ = pipeline.make_source(config(scenes), split)
    source, found = pipeline.make_source(config(tmp_path / "packed"), split)
    assert source.stems == files.stems and not found.problems
    for i in range(len(files)):
        assert {"clear", "infrared", "hazy", "depth"} <= source[i].keys()
        same(source[i], files[i])


def test_validation_haze_is_that_of_the_files(tmp_path):
    """Drawn from a file's name, which train and test may share; the pack calls the pairs by other names then."""
    for split in ("train", "val", "test"):
        write_scenes(tmp_path / "data" / split, 2, 0, 40, 56)
    pack(str(tmp_path / "data"), tmp_path / "packed", raw=True)
    for split in ("val", "test"):
        roots = (tmp_path / "data", tmp_path / "packed")
        files, packed = (pipeline.make_source(config(root, folders={}), split)[0] for root in roots)
        assert packed.names == files.names and packed.stems != files.stems
        for i in range(2):
            haze = {"kinds": ("homogeneous",), "ranges": {}}
            one, other = (pipeline.whole_example(source, i, haze, 3) for source in (files, packed))
            np.testing.assert_array_equal(one["hazy"], other["hazy"])


def test_jpeg_keeps_images_within_a_few_levels_and_16_bits_and_depth_exactly(scenes, tmp_path):
    path = scenes / "ir" / (sorted(p.stem for p in (scenes / "ir").iterdir())[0] + ".png")
    deep = images.read_image(path).astype(np.uint16) * 257 + 3
    images.write_image(path, deep)
    pack(str(scenes), tmp_path / "packed", quality=92, with_hazy=False)
    source = open_packed(tmp_path / "packed", "all", "depth", 1.0)
    files, _ = pipeline.make_source(config(scenes), "all")
    np.testing.assert_array_equal(source[0]["infrared"], deep)
    for i in range(5):
        assert "hazy" not in source[i]
        np.testing.assert_array_equal(source[i]["depth"], files[i]["depth"])
        difference = np.abs(source[i]["clear"].astype(int) - files[i]["clear"])
        assert 0 < difference.mean() < 3


def test_raw_keeps_16_bits_and_grey_images(scenes, tmp_path):
    paths = sorted((scenes / "ir").iterdir())
    deep = images.read_image(paths[0]).astype(np.uint16) * 257 + 3
    images.write_image(paths[0], deep)
    grey = images.read_image(scenes / "vi" / paths[1].name)[..., 0]
    images.write_image(scenes / "vi" / paths[1].name, grey)
    with pytest.raises(SystemExit, match="0"):
        main(["pack", "--data", str(scenes), "--output", str(tmp_path / "packed"), "--raw"])
    source = open_packed(tmp_path / "packed", "all", "depth", 1.0)
    np.testing.assert_array_equal(source[0]["infrared"], deep)
    np.testing.assert_array_equal(source[1]["clear"], np.stack([grey] * 3, axis=-1))
    assert json.loads((tmp_path / "packed" / "pack.json").read_text())["encoding"] == "NPY, lossless"


def test_a_part_held_out_is_that_of_the_config(scenes, tmp_path):
    """A split file decides for itself; without one, another part would put pairs of training among those scored."""
    pack(str(scenes), tmp_path / "listed", raw=True)
    pipeline.make_source(config(tmp_path / "listed", val_fraction=0.4), "val")
    (scenes / "split.json").unlink()
    pack(str(scenes), tmp_path / "held", raw=True, val_fraction=0.2)
    pipeline.make_source(config(tmp_path / "held", val_fraction=0.2), "train")
    pipeline.make_source(config(tmp_path / "held", val_fraction=0.4), "all")
    with pytest.raises(UserError, match=r"packed with 0.2 of its pairs .* set data.val_fraction=0.2, or pack it again"):
        pipeline.make_source(config(tmp_path / "held", val_fraction=0.4), "train")


def test_hazy_images_are_not_stretched(scenes, tmp_path):
    with pytest.raises(UserError, match="has hazy images"):
        pack(str(scenes), tmp_path / "packed", stretch=True)
    assert pack(str(scenes), tmp_path / "packed", stretch=True, with_hazy=False).pairs == 5


def test_a_stem_of_several_packs_gets_the_packs_name(scenes, tmp_path):
    for name in ("one", "other"):
        pack(str(scenes), tmp_path / name, raw=True)
    source, _ = pipeline.make_source(config(f"{tmp_path / 'one'},{tmp_path / 'other'}"), "val")
    alone, _ = pipeline.make_source(config(tmp_path / "one"), "val")
    assert source.stems == tuple(f"{name}_{stem}" for name in ("one", "other") for stem in alone.stems)
    same(source[3], {**alone[1], "index": np.int64(3)})


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_are_those_of_the_files(scenes, tmp_path, workers):
    pack(str(scenes), tmp_path / "packed", quality=None)
    batches = []
    for root in (scenes, tmp_path / "packed"):
        data = config(root, num_workers=workers)
        source, _ = pipeline.make_source(data, "train")
        iterator = pipeline.train_iterator(data, source, 2, 0)
        batches.append([next(iterator) for _ in range(3)])
        iterator.close()
    for one, other in zip(*batches, strict=True):
        same(one, other)


def test_command_line_says_what_it_wrote(scenes, tmp_path, capsys):
    (scenes / "vi" / "alone.png").write_bytes(b"no image")
    with pytest.raises(SystemExit, match="1"):
        main(["pack", "--data", str(scenes), "--output", str(tmp_path / "out"), "--without-hazy"])
    told = capsys.readouterr()
    assert "5 pairs" in told.out and "1 files are left out" in told.err and "alone" in told.err
    assert open_packed(tmp_path / "out", "val").stems == open_packed(tmp_path / "out", "test").stems


def test_folders_by_role(scenes, tmp_path):
    command = ["pack", "--data", str(scenes), "--output", str(tmp_path / "out"), "--folder", "visible=vi"]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--folder", "infrared=ir", "--lossless"])
    assert len(open_packed(tmp_path / "out", "all")) == 5


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: (folder / "pairs-00000.array_record").unlink(), "cannot be read"),
        (lambda folder: (folder / "pairs-00000.array_record").write_bytes(b"short"), "is not as it was packed"),
        (lambda folder: flip(folder / "pairs-00000.array_record"), "is not as it was packed"),
        (lambda folder: (folder / "pack.json").write_text("{"), "pack the data again"),
        (lambda folder: (folder / "pack.json").write_text("[]"), "pack the data again"),
        (lambda folder: edit(folder, format=2), "has format 2"),
        (lambda folder: edit(folder, splits={"train": [0, 99]}), "pack the data again"),
        (lambda folder: edit(folder, splits={"val": [0]}), "without a pair for the split 'train', only val"),
    ],
)
def test_damage_is_one_line(scenes, tmp_path, spoil, words):
    pack(str(scenes), tmp_path / "packed")
    spoil(tmp_path / "packed")
    with pytest.raises(UserError, match=words) as error:
        pipeline.make_source(config(tmp_path / "packed"), "train")
    assert "\n" not in str(error.value)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(folder, **fields):
    path = folder / "pack.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_cannot_be_packed(scenes, tmp_path):
    pack(str(scenes), tmp_path / "packed")
    for root, output, words in [
        (scenes, tmp_path / "packed", "is there already"),
        (tmp_path / "packed", tmp_path / "again", "is a packed folder"),
        (f"{scenes},{tmp_path / 'packed'}", tmp_path / "again", "is a packed folder"),
        (tmp_path / "nowhere", tmp_path / "again", "no such folder"),
        (scenes, scenes / "split.json" / "below", "cannot be written"),
    ]:
        with pytest.raises(UserError, match=words):
            pack(str(root), output)
    with pytest.raises(UserError, match="quality is 0"):
        pack(str(scenes), tmp_path / "again", quality=0)
    assert not list(tmp_path.glob(".again*")) and not (tmp_path / "again").exists()


def test_a_full_disk_leaves_nothing(scenes, tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_):
            pass

        def write(self, _):
            raise RuntimeError("write() failed: No space left on device; writing pairs")

        def close(self):
            raise RuntimeError("write() failed: No space left on device; writing pairs")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter", Full)
    with pytest.raises(UserError, match="No space left on device\\): check the folder and the disk"):
        pack(str(scenes), tmp_path / "packed")
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
