"""What a second `iassf-jax fuse` takes for done: files that runs with the same settings made from the same pair."""

import json

import numpy as np
import pytest

from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.files import Options, fuse_files
from iassf_jax.fuse.strengths import Strengths
from stub_fuser import StubFuser

STEMS = ("a", "b", "c")
HALF = Strengths(dehaze=0.5)


class Network(StubFuser):
    """Its images are those of the stand-in, times the strength; it tells no haze density."""

    def fuse_prepared(self, pair, strengths):
        result = super().fuse_prepared(pair, strengths)
        for image in (result.fused, result.dehazed):
            np.multiply(image, strengths.dehaze, out=image, casting="unsafe")
        return result


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, stem in enumerate(STEMS):
        images.write_image(f"vi/{stem}.png", np.full((8, 9, 3), 100 + i, np.uint8))
        images.write_image(f"ir/{stem}.png", np.full((8, 9), 10 * i, np.uint8))
    return tmp_path


def fuse(visible="vi", infrared="ir", output="out", **options):
    """The stems of what was made, and of what was there."""
    outcome = fuse_files(Network(), visible, infrared, output, Options(**options))
    assert not outcome.problems
    return "".join(item.stem for item in outcome.made), "".join(item.stem for item in outcome.there)


def level(path):
    return images.read_image(path).flat[0]


def test_extras_of_former_settings_are_made_anew():
    assert fuse(save=("dehazed",)) == ("abc", "")
    assert fuse(strengths=HALF, overwrite=True) == ("abc", "")
    assert level("out/dehazed/a.png") == 100
    assert fuse(strengths=HALF, save=("dehazed",)) == ("abc", "")
    assert level("out/dehazed/a.png") == 50
    assert fuse(strengths=HALF, save=("dehazed",)) == fuse(strengths=HALF) == ("", "abc")


def test_extras_that_are_asked_for_one_after_another_are_all_known():
    for kind in ("dehazed", "panel"):
        assert fuse(save=(kind,)) == ("abc", "")
    assert fuse(save=("panel", "dehazed")) == ("", "abc")


@pytest.mark.parametrize("first, second", [(1, 2), (2, 1), (2, 3)])
def test_what_other_shards_overwrote_is_not_passed_off(first, second):
    def all_shards(count, **options):
        return [fuse(shard=(i + 1, count), **options) for i in range(count)]

    all_shards(first)
    all_shards(second, strengths=HALF, overwrite=True)
    with pytest.raises(UserError, match="results of other strengths are there: .*--overwrite"):
        all_shards(first)
    assert level("out/a.png") == 25
    assert {made for made, _ in all_shards(second, strengths=HALF)} == {""}
    all_shards(first, overwrite=True)
    assert {made for made, _ in all_shards(first)} == {""} and level("out/a.png") == 50


def test_a_result_that_was_changed_is_made_anew(folders):
    fuse()
    (folders / "out/b.png").write_bytes(b"half")
    assert fuse() == ("b", "ac") and level("out/b.png") == 56


def test_one_manifest_of_two_files_knows_whose_extras_are_there():
    one, other = ("vi/a.png", "ir/a.png"), ("vi/b.png", "ir/b.png")
    assert fuse(*one, "r.png", save=("dehazed",), manifest=True) == ("r", "")
    with pytest.raises(UserError, match="^r_dehazed.png: was made from other images"):
        fuse(*other, "r.jpg", save=("dehazed",), manifest=True)
    with pytest.raises(UserError, match="was made from other images"):
        fuse(*other, "r.jpg", manifest=True)
    assert level("r_dehazed.png") == 100
    assert fuse(*one, "r.jpg", manifest=True) == ("r", "")
    assert fuse(*one, "r.png", save=("dehazed",)) == fuse(*one, "r.jpg") == ("", "r")


def test_manifests_of_former_versions_count_as_before(folders):
    fuse(save=("dehazed",))
    path = folders / "out/manifest.json"
    content = json.loads(path.read_text())
    assert content["items"]["a"].pop("files").keys() == {"a.png", "dehazed/a.png"}
    del content["items"]["b"]["files"], content["items"]["c"]["files"]
    path.write_text(json.dumps(content))
    assert fuse() == fuse(save=("dehazed",)) == ("", "abc")
    assert fuse(save=("panel",)) == ("abc", "")


def test_what_a_network_does_not_give_is_told_once():
    outcome = fuse_files(Network(), "vi", "ir", "out", Options(save=("haze",)))
    assert [str(note) for _, note in outcome.notes] == ["the network gives no haze image"] * 3
    assert fuse(save=("haze",)) == ("", "abc")
    assert fuse(save=("haze", "dehazed")) == ("abc", "")
