"""Several data roots: layouts and splits of each, stems, and what is refused."""

import json

import pytest

from iassf_jax.data.layouts import find_pairs
from iassf_jax.data.roots import find_pairs_in_roots, split_roots
from iassf_jax.errors import UserError
from pair_folders import put, put_pairs


@pytest.fixture
def two(tmp_path):
    """One root with split folders, one with another layout and a split.json."""
    put_pairs(tmp_path / "a" / "train", ["a1", "a2", "same"])
    put_pairs(tmp_path / "a" / "val", ["a3"])
    put_pairs(tmp_path / "b", ["b1", "b2", "same"], ("GT", "IR"))
    (tmp_path / "b" / "split.json").write_text(json.dumps({"train": ["b1", "same"], "val": ["b2"]}))
    return f"{tmp_path / 'a'},{tmp_path / 'b'}"


def stems(root, split, **options):
    return [pair.stem for pair in find_pairs_in_roots(root, split=split, **options).pairs]


def test_each_root_has_its_own_layout_and_split(two):
    assert stems(two, "train") == ["a1", "a2", "a_same", "b1", "b_same"]
    assert stems(two, "val") == stems(two, "test") == ["a3", "b2"]
    paths = [pair.infrared for pair in find_pairs_in_roots(two, split="val").pairs]
    assert "/a/val/ir/" in paths[0] and "/b/IR/" in paths[1]


def test_one_root_is_as_it_always_was(two):
    root = two.split(",")[0]
    assert find_pairs_in_roots(root) == find_pairs(root)


def test_problems_of_all_roots_are_told(two, tmp_path):
    put(tmp_path / "a" / "train" / "vi", ["lonely"])
    put(tmp_path / "b" / "IR", ["alone"])
    problems = [problem.path for problem in find_pairs_in_roots(two, split="train").problems]
    assert any("lonely" in path for path in problems)
    found = [problem.path for problem in find_pairs_in_roots(two, split="all").problems]
    assert any("lonely" in path for path in found) and any("alone" in path for path in found)


def test_folders_of_one_name_get_numbers(tmp_path):
    for name in ("x", "y"):
        put_pairs(tmp_path / name / "set", ["s1", "s2"])
    root = f"{tmp_path / 'x' / 'set'}, {tmp_path / 'y' / 'set'}"
    assert sorted(stems(root, "all")) == ["set0_s1", "set0_s2", "set1_s1", "set1_s2"]


def test_numbers_do_not_make_one_folders_name_that_of_another(tmp_path):
    for name in ("x/set", "y/set", "set1"):
        put_pairs(tmp_path / name, ["s1"])
    root = ",".join(str(tmp_path / name) for name in ("x/set", "y/set", "set1"))
    assert stems(root, "all") == ["0_set_s1", "1_set_s1", "2_set1_s1"]


def test_a_folder_with_a_comma_in_its_name(tmp_path):
    put_pairs(tmp_path / "a,b", ["s"])
    assert split_roots(str(tmp_path / "a,b")) == (str(tmp_path / "a,b"),)
    assert stems(str(tmp_path / "a,b"), "all") == ["s"]


@pytest.mark.parametrize(
    "root, options, words",
    [
        ("{a},", {}, "empty name between its commas"),
        ("{a},{a}/", {}, "names .*a twice"),
        ("{a},{a}/nowhere", {}, "nowhere: no such folder"),
        ("{a},{a}/train", {"split": "video"}, "unknown split 'video'"),
        ("{a},{b}", {"folders": {"visible": "/vi", "infrared": "ir"}}, "folders.visible would be the same"),
        ("{a},{b}", {"layout": "m3fd"}, "a: found none of the folders Vis"),
    ],
)
def test_what_is_refused(two, root, options, words):
    a, b = two.split(",")
    with pytest.raises(UserError, match=words):
        find_pairs_in_roots(root.format(a=a, b=b), **options)
