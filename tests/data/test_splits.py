"""Finding pairs: the splits, what is held out, and split.json."""

import json
import os
import subprocess
import sys

import pytest

from iassf_jax.data import layouts
from iassf_jax.data.layouts import Problem, find_pairs
from iassf_jax.errors import UserError
from pair_folders import put_pairs, reasons, stems_of

STEMS = [f"{index:05d}{'DN'[index % 2]}" for index in range(40)]


# ---- splits


def test_nothing_given_train_and_val_share_the_pairs(tmp_path):
    put_pairs(tmp_path, STEMS)
    train, val = stems_of(tmp_path, "train"), stems_of(tmp_path, "val")
    assert sorted(train + val) == STEMS and not set(train) & set(val)
    assert 1 <= len(val) <= 10
    assert train == sorted(train) and val == sorted(val)
    assert stems_of(tmp_path, "test") == val
    assert stems_of(tmp_path, "all") == STEMS


def test_what_is_held_out_is_known_in_advance_and_stays(tmp_path):
    # int(hashlib.blake2b(stem, digest_size=8).hexdigest(), 16) / 2**64: 0.0909, 0.0717 and 0.0467 for these, more than
    # 0.1 for all the others. If this fails, the val sets of all users change.
    put_pairs(tmp_path, STEMS)
    val = stems_of(tmp_path, "val")
    assert val == ["00011N", "00019N", "00034D"]
    put_pairs(tmp_path, [f"new{index}" for index in range(40)])
    assert [stem for stem in stems_of(tmp_path, "val") if stem in STEMS] == val
    script = (
        "import sys; from iassf_jax.data.layouts import *; print(*[p.stem for p in find_pairs(*sys.argv[1:]).pairs])"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, "msrs", "val"], env=env, capture_output=True, text=True, check=True
    )
    assert [stem for stem in done.stdout.split() if stem in STEMS] == val


@pytest.mark.parametrize("fraction, least, most", [(0.0, 0, 0), (0.01, 1, 5), (0.5, 12, 28), (0.99, 30, 39)])
def test_val_fraction(tmp_path, fraction, least, most):
    put_pairs(tmp_path, STEMS)
    train = stems_of(tmp_path, "train", val_fraction=fraction)
    assert least <= len(STEMS) - len(train) <= most
    if fraction == 0:
        with pytest.raises(UserError, match="raise val_fraction, or use split='all'"):
            find_pairs(tmp_path, split="val", val_fraction=0)
    else:
        assert sorted(train + stems_of(tmp_path, "val", val_fraction=fraction)) == STEMS


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("seed", range(6))
def test_two_pairs_make_one_of_each(tmp_path, fraction, seed):
    put_pairs(tmp_path, [f"x{seed}", f"y{seed}"])
    train, val = (stems_of(tmp_path, split, val_fraction=fraction) for split in ("train", "val"))
    assert len(train) == len(val) == 1 and train != val


def test_a_single_pair_is_for_training(tmp_path):
    put_pairs(tmp_path, ["a"])
    assert stems_of(tmp_path, "train", val_fraction=0.99) == ["a"]
    with pytest.raises(UserError, match="not one good pair for the split 'val'"):
        find_pairs(tmp_path, split="val", val_fraction=0.99)


@pytest.mark.parametrize("fraction", [0.05, 0.9])
def test_damaged_files_neither_empty_a_part_nor_let_parts_overlap(tmp_path, fraction):
    put_pairs(tmp_path, STEMS[:4])
    by_rank = sorted(STEMS[:4], key=layouts._rank)
    for stem in (by_rank[0], by_rank[-1]):  # the ones that would be held out first, and last
        data = (tmp_path / "ir" / f"{stem}.png").read_bytes()
        (tmp_path / "ir" / f"{stem}.png").write_bytes(data[:-20])
    for verify_train in (True, False):
        for verify_val in (True, False):
            train = find_pairs(tmp_path, split="train", val_fraction=fraction, verify=verify_train)
            val = find_pairs(tmp_path, split="val", val_fraction=fraction, verify=verify_val)
            both = [{pair.stem for pair in part.pairs} for part in (train, val)]
            assert not both[0] & both[1]
            assert by_rank[2] in both[0] and by_rank[1] in both[1]
            if verify_train and verify_val:  # each damaged file is reported once
                assert sorted([*reasons(train), *reasons(val)]) == sorted(f"{by_rank[i]}.png" for i in (0, 3))


def test_split_folders_never_hold_out_of_test(tmp_path):
    put_pairs(tmp_path / "train", STEMS)
    put_pairs(tmp_path / "test", ["t1", "t2"])
    train, val = stems_of(tmp_path, "train"), stems_of(tmp_path, "val")
    assert stems_of(tmp_path, "test") == ["t1", "t2"]
    assert val and sorted(train + val) == STEMS
    assert stems_of(tmp_path, "all") == [*STEMS, "t1", "t2"]


def test_a_val_folder_is_used_and_nothing_held_out(tmp_path):
    put_pairs(tmp_path / "train", STEMS)
    put_pairs(tmp_path / "val", ["v1", "v2"])
    assert stems_of(tmp_path, "train") == STEMS
    assert stems_of(tmp_path, "val") == stems_of(tmp_path, "test") == ["v1", "v2"]
    put_pairs(tmp_path / "test", ["t1"])
    assert stems_of(tmp_path, "test") == ["t1"] and stems_of(tmp_path, "val") == ["v1", "v2"]


def test_only_a_train_folder(tmp_path):
    put_pairs(tmp_path / "train", STEMS)
    assert stems_of(tmp_path, "test") == stems_of(tmp_path, "val") != []


def test_only_a_test_folder_gives_nothing_to_train_or_choose_on(tmp_path):
    put_pairs(tmp_path / "test", STEMS)
    assert stems_of(tmp_path, "test") == stems_of(tmp_path, "all") == STEMS
    for split in ("train", "val"):
        with pytest.raises(UserError, match=f"has no train to take '{split}' from, only test"):
            find_pairs(tmp_path, split=split)


def test_images_both_in_the_root_and_in_split_folders(tmp_path):
    put_pairs(tmp_path, ["a", "b"])
    put_pairs(tmp_path / "test", ["c"])
    with pytest.raises(UserError, match="both directly in it and in test: move the former into train"):
        find_pairs(tmp_path, split="test")


def test_the_same_stem_in_two_split_folders_is_told_apart_in_all(tmp_path):
    put_pairs(tmp_path / "train", ["1", "2"])
    put_pairs(tmp_path / "test", ["1", "3"])
    found = find_pairs(tmp_path, split="all").pairs
    assert [pair.stem for pair in found] == ["2", "3", "test_1", "train_1"]
    assert found[2].visible == str(tmp_path / "test" / "vi" / "1.png")


# ---- split.json


def put_list(root, **lists):
    (root / "split.json").write_text(json.dumps({"seed": 0, "rule": "by hand", **lists}))


def test_split_file_decides(tmp_path):
    put_pairs(tmp_path, STEMS, ("GT", "IR", "hazy"))
    put_list(tmp_path, train=STEMS[:5][::-1], val=STEMS[5:8])
    assert stems_of(tmp_path, "train") == STEMS[:5]
    assert stems_of(tmp_path, "val") == stems_of(tmp_path, "test") == STEMS[5:8]
    assert stems_of(tmp_path, "all") == STEMS
    put_list(tmp_path, train=STEMS[:5], val=STEMS[5:8], test=STEMS[8:9])
    assert stems_of(tmp_path, "test") == STEMS[8:9]


def test_split_file_without_val_holds_out_of_its_train(tmp_path):
    put_pairs(tmp_path, STEMS)
    put_list(tmp_path, train=STEMS[:20], test=STEMS[20:])
    train, val = stems_of(tmp_path, "train"), stems_of(tmp_path, "val")
    assert val and sorted(train + val) == STEMS[:20]
    assert stems_of(tmp_path, "test") == STEMS[20:]
    put_list(tmp_path, test=STEMS)
    with pytest.raises(UserError, match="has no train to take 'val' from, only test, unlisted"):
        find_pairs(tmp_path, split="val")


def test_split_file_names_what_is_not_there(tmp_path):
    put_pairs(tmp_path, ["a", "b", "c"])
    (tmp_path / "ir" / "b.png").unlink()
    put_list(tmp_path, train=["a", "b", "gone"], val=["c"])
    found = find_pairs(tmp_path, split="train")
    assert [pair.stem for pair in found.pairs] == ["a"]
    assert found.problems == (
        Problem(str(tmp_path / "vi" / "b.png"), f"has no partner 'b' in {tmp_path / 'ir'}"),
        Problem(str(tmp_path / "split.json"), "lists 'gone' for train, but no folder has it"),
    )
    assert not find_pairs(tmp_path, split="val").problems
    assert len(find_pairs(tmp_path, split="all").problems) == 2


@pytest.mark.parametrize(
    "text, match",
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ('{"train": "a"}', "'train' is no list of stems"),
        ('{"train": [1]}', "'train' is no list of stems"),
        ('{"train": ["a", "b"], "val": ["b"]}', "lists 'b' for two splits"),
    ],
)
def test_damaged_split_file(tmp_path, text, match):
    put_pairs(tmp_path, ["a", "b"])
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(UserError, match=match) as caught:
        find_pairs(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "split.json")) and "\n" not in str(caught.value)


def test_split_file_beside_split_folders(tmp_path):
    put_pairs(tmp_path / "train", ["a", "b"])
    put_list(tmp_path, train=["a"], val=["b"])
    with pytest.raises(UserError, match="not beside it but in split folders: remove it"):
        find_pairs(tmp_path)
