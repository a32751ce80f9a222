"""Finding pairs: every named layout, the list of problems, and wrong calls."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from iassf_jax.data import layouts
from iassf_jax.data.layouts import find_pairs, format_problems
from iassf_jax.errors import UserError
from pair_folders import put, put_pairs, reasons, stems_of

# ---- layouts


@pytest.mark.parametrize(
    "layout, names",
    [
        ("iassf", ("GT", "IR", "hazy")),
        ("iassf", ("GT", "IR")),
        ("msrs", ("vi", "ir")),
        ("msrs", ("VI", "Ir", "Hazy", "depth")),
        ("roadscene", ("crop_LR_visible", "cropinfrared")),
        ("roadscene", ("crop_HR_visible", "cropinfrared")),
        ("m3fd", ("Vis", "Ir")),
        ("plain", ("visible", "infrared")),
    ],
)
@pytest.mark.parametrize("base", ["", "train", "Test"])
def test_named_layouts_directly_and_in_split_folders(tmp_path, layout, names, base):
    put_pairs(tmp_path / base, ["a", "b"], names)
    for given in (layout, "auto"):
        found = find_pairs(tmp_path, given, "all")
        assert [pair.stem for pair in found.pairs] == ["a", "b"] and not found.problems
        first = found.pairs[0]
        assert first.visible == str(tmp_path / base / names[0] / "a.png")
        assert first.infrared == str(tmp_path / base / names[1] / "a.png")
        assert first.hazy == (str(tmp_path / base / names[2] / "a.png") if len(names) > 2 else None)
        assert first.depth == (str(tmp_path / base / names[3] / "a.png") if len(names) > 3 else None)


def test_roadscene_prefers_the_aligned_folder_and_reports_the_other(tmp_path):
    put(tmp_path / "cropinfrared", ["a", "b"], (6, 8))
    put(tmp_path / "crop_HR_visible", ["a", "b"], (12, 16))
    with pytest.raises(UserError, match="a.png: is 8 x 6, but its visible image is 16 x 12") as caught:
        find_pairs(tmp_path, "roadscene", "all")
    assert "\n" not in str(caught.value)
    put(tmp_path / "crop_LR_visible", ["a", "b"], (6, 8))
    assert "crop_LR_visible" in find_pairs(tmp_path, "roadscene", "all").pairs[0].visible


def test_auto_looks_at_each_split_folder_for_itself(tmp_path):
    put_pairs(tmp_path / "train", ["a", "b"], ("vi", "ir"))
    put_pairs(tmp_path / "test", ["c"], ("GT", "IR", "hazy"))
    assert find_pairs(tmp_path, split="test").pairs[0].hazy == str(tmp_path / "test" / "hazy" / "c.png")
    assert all(pair.hazy is None for pair in find_pairs(tmp_path, split="train").pairs)


def test_auto_refuses_to_guess(tmp_path):
    put_pairs(tmp_path, ["a"], ("GT", "IR", "vi"))
    with pytest.raises(UserError, match="fits the layouts iassf and msrs: say which one"):
        find_pairs(tmp_path)
    assert "GT" in find_pairs(tmp_path, "iassf", "all").pairs[0].visible
    assert "vi" in find_pairs(tmp_path, "msrs", "all").pairs[0].visible


def test_given_folders(tmp_path):
    put_pairs(tmp_path, ["a", "b"], ("colour/day", "thermal", "fog"))
    folders = {"visible": "colour/day", "infrared": "thermal"}
    assert stems_of(tmp_path, "all", layout="folders", folders=folders) == ["a", "b"]
    assert stems_of(tmp_path, "all", folders=folders) == ["a", "b"]
    hazy = find_pairs(tmp_path, "folders", "all", {**folders, "hazy": "fog"}).pairs[0].hazy
    assert hazy == str(tmp_path / "fog" / "a.png")
    elsewhere = {role: str(tmp_path / path) for role, path in folders.items()}
    (tmp_path / "empty").mkdir()
    assert stems_of(tmp_path / "empty", "all", folders=elsewhere) == ["a", "b"]
    with pytest.raises(UserError, match="depth: no such folder, but it is given as 'depth'"):
        find_pairs(tmp_path, "folders", "all", {**folders, "depth": "depth"})
    with pytest.raises(UserError, match="found no colour \\+ thermo there"):
        find_pairs(tmp_path, "folders", "all", {"visible": "colour", "infrared": "thermo"})


def test_given_folders_by_split(tmp_path):
    for split, stems in {"train": ["a", "b"], "test": ["c"]}.items():
        put_pairs(tmp_path, stems, (f"rgb/{split}", f"t/{split}"))
        put_pairs(tmp_path / split, stems, ("v", "i"))
    inside = {"visible": "rgb/{split}", "infrared": "t/{split}"}
    outside = {"visible": "v", "infrared": "i"}
    absolute = {role: str(tmp_path / path) for role, path in inside.items()}
    for folders in (inside, outside, absolute):
        assert stems_of(tmp_path, "test", folders=folders) == ["c"]
        assert stems_of(tmp_path, "all", folders=folders) == ["a", "b", "c"]


def test_one_absolute_folder_does_not_serve_two_splits(tmp_path):
    for split in ("train", "test"):
        put(tmp_path / split / "v", ["a", "b"])
    put(tmp_path / "thermal", ["a", "b"])
    with pytest.raises(UserError, match="found no v \\+"):
        find_pairs(tmp_path, folders={"visible": "v", "infrared": str(tmp_path / "thermal")})


# ---- problems


def test_every_problem_is_listed_once_and_the_rest_is_used(tmp_path):
    put_pairs(tmp_path, ["good", "only_hazy", "twice", "text", "cut", "wide", "no_haze"], ("GT", "IR", "hazy"))
    for name in ("GT/only_hazy", "IR/only_hazy", "hazy/no_haze"):
        (tmp_path / f"{name}.png").unlink()
    put(tmp_path / "GT", ["lonely"])
    put(tmp_path / "IR", ["twice"], suffix=".jpg")
    put(tmp_path / "IR", ["wide"], (6, 9))
    (tmp_path / "GT" / "text.png").write_text("not an image")
    whole = (tmp_path / "hazy" / "cut.png").read_bytes()
    (tmp_path / "hazy" / "cut.png").write_bytes(whole[:-20])
    for ignored in (".hidden.png", "Thumbs.db", "notes.txt", ".DS_Store"):
        (tmp_path / "GT" / ignored).write_text("x")
    (tmp_path / "GT" / "folder.png").mkdir()

    found = find_pairs(tmp_path, "iassf", "all")
    assert [pair.stem for pair in found.pairs] == ["good"]
    listed = [(str(Path(p.path).relative_to(tmp_path)), p.reason) for p in found.problems]
    assert listed == [
        ("hazy/cut.png", "is truncated or damaged and cannot be decoded: copy or download it again"),
        ("GT/lonely.png", f"has no partner 'lonely' in {tmp_path / 'IR'} and {tmp_path / 'hazy'}"),
        ("GT/no_haze.png", f"has no partner 'no_haze' in {tmp_path / 'hazy'}"),
        ("hazy/only_hazy.png", f"has no partner 'only_hazy' in {tmp_path / 'GT'} and {tmp_path / 'IR'}"),
        (
            "GT/text.png",
            "is not a PNG, JPEG, WebP, BMP or TIFF image, whatever its name says: convert it",
        ),
        ("IR/twice.jpg", "has the same stem as twice.png in the same folder: keep one of them"),
        ("IR/wide.png", f"is 9 x 6, but its visible image is 8 x 6: {tmp_path / 'GT' / 'wide.png'}"),
    ]
    lines = format_problems(found.problems).splitlines()
    assert len(lines) == 7 and lines[0] == f"{tmp_path}/hazy/cut.png: {listed[0][1]}"

    headers = find_pairs(tmp_path, "iassf", "all", verify=False)  # sees all of it but the truncated one
    assert [pair.stem for pair in headers.pairs] == ["cut", "good"]
    assert len(headers.problems) == 6


def test_suffixes_may_differ_and_case_counts_in_stems(tmp_path):
    put(tmp_path / "vi", ["a", "B"], suffix=".jpg")
    put(tmp_path / "ir", ["a"], suffix=".TIFF")
    put(tmp_path / "ir", ["b", "a.2"], suffix=".bmp")
    put(tmp_path / "vi", ["a.2"], suffix=".webp")
    found = find_pairs(tmp_path, split="all")
    assert [pair.stem for pair in found.pairs] == ["a", "a.2"]
    assert sorted(reasons(found)) == ["B.jpg", "b.bmp"]


def test_depth_maps_as_npy(tmp_path):
    put_pairs(tmp_path, ["a", "b", "c"])
    (tmp_path / "depth").mkdir()
    for stem, array in {"a": np.ones((6, 8)), "b": np.ones((8, 6)), "c": np.ones((6, 8, 3))}.items():
        np.save(tmp_path / "depth" / f"{stem}.npy", array)
    found = find_pairs(tmp_path, split="all")
    assert [pair.depth for pair in found.pairs] == [str(tmp_path / "depth" / "a.npy")]
    assert reasons(found)["b.npy"].startswith("is 6 x 8, but its visible image is 8 x 6")
    assert reasons(found)["c.npy"].startswith("holds float64 of shape (6, 8, 3)")
    data = (tmp_path / "depth" / "a.npy").read_bytes()
    (tmp_path / "depth" / "a.npy").write_bytes(data[:-8])
    np.save(tmp_path / "depth" / "b.npy", np.ones((6, 8)))
    found = find_pairs(tmp_path, split="all")
    assert [pair.stem for pair in found.pairs] == ["b"] and "cannot be read as .npy" in reasons(found)["a.npy"]


def test_no_good_pair_at_all_shows_the_first_problems(tmp_path):
    put(tmp_path / "vi", [f"{index}_vi" for index in range(5)])
    put(tmp_path / "ir", [f"{index}_ir" for index in range(5)])
    with pytest.raises(UserError, match="not one good pair for the split 'all'") as caught:
        find_pairs(tmp_path, split="all")
    message = str(caught.value)
    assert message.count("has no partner") == 3 and message.endswith("; and 7 more") and "\n" not in message


# ---- wrong calls


@pytest.mark.parametrize(
    "name, layout, source",
    [
        ("MSRS", "auto", "github.com/Linfeng-Tang/MSRS"),
        ("x", "roadscene", "github.com/hanna-xu/RoadScene"),
        ("m3fd", "auto", "github.com/JinyuanLiu-CV/TarDAL"),
        ("x", "iassf", "github.com/fangjiaqi0909/IASSF"),
    ],
)
def test_missing_or_empty_root_says_where_the_data_are(tmp_path, name, layout, source):
    with pytest.raises(UserError, match=f"no such folder: correct the data root.*{source}"):
        find_pairs(tmp_path / name, layout)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"found none of the folders .*data.folders.visible=.*{source}") as caught:
        find_pairs(tmp_path / name, layout)
    assert "\n" not in str(caught.value)
    expected = ["GT + IR", "vi + ir", "crop_LR_visible + cropinfrared", "Vis + Ir", "visible + infrared"]
    if layout == "auto":
        assert all(folders in str(caught.value) for folders in expected)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"layout": "coco"}, "unknown layout 'coco': use one of auto, iassf, msrs"),
        ({"split": "valid"}, "unknown split 'valid': use one of train, val, test, all"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0"),
        ({"val_fraction": -0.1}, "val_fraction is -0.1"),
        ({"val_fraction": float("nan")}, "val_fraction is nan"),
        ({"layout": "folders"}, "'folders' needs folders"),
        ({"layout": "msrs", "folders": {"visible": "a", "infrared": "b"}}, "folders given with the layout 'msrs'"),
        ({"folders": {"visible": "a"}}, "'infrared' is unknown or missing"),
        ({"folders": {"visible": "a", "infrared": "b", "masks": "c"}}, "'masks' is unknown or missing"),
    ],
)
def test_wrong_settings(tmp_path, options, match):
    put_pairs(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=match):
        find_pairs(tmp_path, **options)


def test_root_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no such folder"):
        find_pairs(tmp_path / "file")


def test_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UserError, match=r"cannot be listed \(Permission denied\)"):
        layouts.list_images(tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match="cannot be listed"):
        layouts.list_images(tmp_path / "gone")


# ---- the shared data


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the images in {SHARED}")
@pytest.mark.parametrize("name, counts", [("msrs", (240, 60, 60, 300)), ("roadscene", (152, 19, 19, 171))])
def test_shared_data(name, counts):
    for split, count in zip(("train", "val", "test", "all"), counts, strict=True):
        found = find_pairs(SHARED / name, split=split, verify=False)
        assert len(found.pairs) == count and not found.problems
        assert all((pair.hazy is not None) == (name == "msrs") for pair in found.pairs)
    assert not find_pairs(SHARED / "m3fd", split="all", verify=True).problems


def test_both_unicode_forms_of_a_name_pair(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Zürich") for form in ("NFC", "NFD"))
    put(tmp_path / "vi", [composed, "b"])
    put(tmp_path / "ir", [apart, "b"])
    assert stems_of(tmp_path, "all") == sorted([composed, "b"])
    (tmp_path / "split.json").write_text(json.dumps({"train": [apart], "val": ["b"]}))
    assert stems_of(tmp_path) == [composed]
