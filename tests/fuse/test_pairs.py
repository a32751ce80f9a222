"""Which files become pairs, by folders, globs, prefixes and suffixes, and where their results go."""

import unicodedata

import pytest

from iassf_jax.errors import UserError
from iassf_jax.fuse.pairs import Affixes, find_items
from pair_folders import put


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(visible, infrared, here, **affixes):
    """Result -> the two files; and the files that were left out."""
    items, problems = find_items(visible, infrared, here / "out", Affixes(**affixes))
    results = {str(item.target.relative_to(here / "out")): (item.visible, item.infrared) for item in items}
    assert {item.stem + ".png" for item in items} == set(results)
    return results, [problem.path for problem in problems]


def test_folders_in_folders_pair_by_what_is_open(here):
    for video in ("V000", "V001"):
        put(here / "s" / video / "visible", ["I0", "I1"])
        put(here / "s" / video / "lwir", ["I0", "I1"], suffix=".tif")
    results, left = found("s/*/visible/*.png", "s/*/lwir/*", here)
    assert left == [] and results["V001/I0.png"] == ("s/V001/visible/I0.png", "s/V001/lwir/I0.tif")
    assert set(results) == {f"{video}/{stem}.png" for video in ("V000", "V001") for stem in ("I0", "I1")}
    (item, *_), _ = find_items("s/*/visible/*.png", "s/*/lwir/*", here / "out")
    assert item.output("panel") == here / "out/panel/V000/I0.png"
    (here / "s/V001/lwir/I1.tif").unlink()
    results, left = found(f"{here}/s/*/visible/*.png", "s/*/lwir/*", here)
    assert len(results) == 3 and left == [f"{here}/s/V001/visible/I1.png"]


def test_no_result_takes_the_place_of_another_ones_dehazed_image(here):
    for side in "VR":
        put(here / side, ["a"])
        put(here / side / "dehazed", ["a", "b"])
    results, left = found("V/**/*.png", "R/**/*.png", here)
    assert set(results) == {"a.png", "dehazed/b.png"} and left == ["V/dehazed/a.png"]


def test_where_all_names_are_doubled_that_is_what_is_told(here):
    put(here / "V", ["1"])
    put(here / "V", ["1"], suffix=".jpg")
    put(here / "R", ["1"])
    with pytest.raises(UserError, match="has the same name as .*: keep one of them"):
        find_items("V", "R", here / "out")


def test_any_depth_of_folders(here):
    for folder in ("a/b", "c", "."):
        put(here / "s" / folder / "vi", ["x", "y"])
        put(here / "s" / folder / "ir", ["x", "y"])
    results, left = found("s/**/vi/*.png", "s/**/ir/*.png", here)
    assert left == [] and set(results) == {f"{d}{stem}.png" for d in ("a/b/", "c/", "") for stem in "xy"}
    assert results["a/b/x.png"] == ("s/a/b/vi/x.png", "s/a/b/ir/x.png")
    (here / "t").mkdir()
    (here / "s").rename(here / "t/s")
    put(here / "s/a/b/vi", ["x"])
    assert found("t/s/**", "s/**", here)[0] == {"a/b/vi/x.png": ("t/s/a/b/vi/x.png", "s/a/b/vi/x.png")}


def test_open_parts_of_names_and_fixed_names(here):
    put(here / "d", ["1_vis", "1_ir", "2_vis", "2_ir", "3_vis"])
    results, left = found("d/*_vis.png", "d/*_ir.png", here)
    assert results["1_vis.png"] == ("d/1_vis.png", "d/1_ir.png") and left == ["d/3_vis.png"]
    for night in ("n1", "n2"):
        put(here / night, ["colour", "heat"])
    results, _ = found("n?/colour.png", "n?/heat.png", here)
    assert results == {f"{i}/colour.png": (f"n{i}/colour.png", f"n{i}/heat.png") for i in "12"}


def test_where_open_parts_pair_nothing_names_do(here):
    put(here / "vi_day", ["a", "b"])
    put(here / "ir_scan", ["a", "b"])
    results, left = found("vi_*/*.png", "ir_*/*.png", here)
    assert left == [] and results["a.png"] == ("vi_day/a.png", "ir_scan/a.png")
    results, _ = found("vi_day", "ir_*/[ab].png", here)
    assert results["b.png"] == ("vi_day/b.png", "ir_scan/b.png")


def test_prefixes_and_suffixes(here):
    put(here / "d", ["1_vis", "1_ir", "2_vis", "2_ir", "thumb"])
    results, left = found("d", "d/", here, visible_suffix="_vis", infrared_suffix="_ir")
    assert left == [] and results["2.png"] == ("d/2_vis.png", "d/2_ir.png") and len(results) == 2
    put(here / "e", ["VIS_1", "IR_1", "VIS_", "IR_2"])
    results, left = found("e/*", "e/*", here, visible_prefix="VIS_", infrared_prefix="IR_")
    assert results == {"1.png": ("e/VIS_1.png", "e/IR_1.png")} and left == ["e/IR_2.png"]
    put(here / "v/s1", ["1_vis"])
    put(here / "i/s1", ["1"])
    results, _ = found("v/*/*", "i/*/*", here, visible_suffix="_vis")
    assert results == {"s1/1.png": ("v/s1/1_vis.png", "i/s1/1.png")}
    with pytest.raises(UserError, match="no image has a name of the form 'RGB_NAME'"):
        found("d", "d", here, visible_prefix="RGB_")


def test_names_without_partners_are_told_with_the_options_that_help(here):
    put(here / "v", ["a_vis"])
    put(here / "i", ["a_ir"])
    with pytest.raises(UserError, match="called 'a_vis' and 'a_ir': .*--visible-suffix"):
        found("v", "i", here)


def test_two_forms_of_one_name_pair(here):
    name = "Übersicht é"
    composed, apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != apart
    put(here / "v", [composed])
    put(here / "i", [apart])
    results, left = found("v", "i", here)
    assert left == [] and list(results) == [f"{composed}.png"]
    assert found("v/*", "i/*", here)[0].keys() == results.keys()
    put(here / "v", [apart])
    with pytest.raises(UserError, match="has the same name as"):
        found("v", "i", here)


def test_brackets_in_names_of_folders(here):
    put(here / "a[1]", ["x"])
    put(here / "b", ["x"])
    assert found("a[1]", "b", here)[0] == {"x.png": ("a[1]/x.png", "b/x.png")}
    assert found("a[[]1]/*", "b/*", here)[0] == {"x.png": ("a[1]/x.png", "b/x.png")}


def test_a_result_never_takes_anothers_place(here):
    put(here / "v", ["a1x", "a2x"])
    put(here / "v", ["a1x"], suffix=".bmp")
    put(here / "i", ["a1x", "a2x"])
    results, left = found("v/*", "i/*", here)
    assert set(results) == {"a2x.png"} and left == ["v/a1x.bmp"]
