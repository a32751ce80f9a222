"""A rig is found again from scenes that were warped by a known one, chance is refused, and pairs are placed by it."""

import json

import cv2
import numpy as np
import pytest

import tiny
from iassf_jax.align import warps
from iassf_jax.align.edges import edge_field
from iassf_jax.align.find import find_rig, register
from iassf_jax.align.lenses import Lens
from iassf_jax.align.placing import Placing, placed_pair, prepare_placed
from iassf_jax.align.rig import Rig, largest_rectangle
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.fuse.files import Options, fuse_files
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.scenes import generate_scene

SIZE, SMALL = (320, 240), (200, 150)  # of the visible and the infrared image


def true_warp():
    """To an infrared image of another resolution, smaller field, shifted, turned by 3 degrees."""
    about = warps.shift(-159.5, -119.5)
    c, s = 1.1 * np.cos(0.052), 1.1 * np.sin(0.052)
    turned = np.array([[c, -s, 9], [s, c, -7], [0, 0, 1.0]])
    return warps.resizing(SIZE, SMALL) @ np.linalg.inv(about) @ turned @ about


def seen_by_rig(infrared):
    return cv2.warpPerspective(infrared, true_warp(), SMALL, borderMode=cv2.BORDER_REFLECT_101)


@pytest.fixture(scope="module")
def scenes():
    return [generate_scene(seed, *SIZE[::-1], "day") for seed in range(4)]


@pytest.fixture(scope="module")
def pairs(scenes):
    return [(scene.visible, seen_by_rig(scene.infrared)) for scene in scenes]


@pytest.fixture(scope="module")
def found(pairs):
    return find_rig(pairs)


def off_by(rig):
    return warps.corner_distance(rig.matrix, true_warp(), SIZE)


def test_a_rig_is_found_from_some_pairs(found):
    assert off_by(found.rig) < 2
    assert found.after > found.before + 0.05
    assert found.rig.visible_size == SIZE and found.rig.infrared_size == SMALL


def test_bright_heat_or_dark_heat_is_the_same(pairs):
    heat = pairs[0][1].astype(np.float32)
    np.testing.assert_allclose(edge_field(heat, 1.0), edge_field(255 - heat, 1.0), atol=1e-4)


@pytest.mark.slow
def test_a_pair_that_does_not_belong_is_left_out(pairs):
    rng = np.random.default_rng(0)
    noise = tuple(cv2.GaussianBlur(rng.normal(128, 60, s[::-1]), (0, 0), 3) for s in (SIZE, SMALL))
    found = find_rig([*pairs, tuple(np.clip(x, 0, 255).astype(np.uint8) for x in noise)])
    assert off_by(found.rig) < 2.5 and 4 not in found.used


def test_what_does_not_convince_is_refused(pairs):
    rng = np.random.default_rng(1)
    noise = [cv2.GaussianBlur(rng.normal(128, 60, SIZE[::-1]), (0, 0), 3).clip(0, 255).astype(np.uint8) for _ in "abc"]
    wrong = [(visible, other) for (visible, _), other in zip(pairs, noise, strict=False)]
    with pytest.raises(UserError, match="no alignment convinces"):
        find_rig(wrong)
    with pytest.raises(UserError, match="no alignment convinces"):
        find_rig([(np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320), np.uint8))])
    with pytest.raises(UserError, match="several sizes"):
        find_rig([pairs[0], (pairs[1][0], pairs[1][1][:100])])


def test_a_hand_held_pair_is_registered_from_the_rig(found, pairs):
    visible, heat = pairs[1]
    moved = cv2.warpPerspective(heat, warps.shift(3, -2), SMALL, borderMode=cv2.BORDER_REFLECT_101)
    rig = register(visible, moved, found.rig)
    assert warps.corner_distance(rig.matrix, warps.shift(3, -2) @ true_warp(), SIZE) < 3


def test_a_pair_that_fails_falls_back_to_the_rig(found, pairs):
    blank = np.zeros(SMALL[::-1], np.uint8)
    np.testing.assert_array_equal(Placing(found.rig, True).of_pair(pairs[0][0], blank).matrix, found.rig.matrix)
    with pytest.raises(UserError, match="convinces"):
        Placing(register=True).of_pair(pairs[0][0], blank)


def test_a_pair_that_falls_back_to_the_rig_is_told():
    rng, notes = np.random.default_rng(0), []
    visible, blank = rng.integers(0, 255, (30, 40, 3), np.uint8), np.zeros((30, 20), np.uint8)
    prepare_placed(visible, blank, placing=Placing(half_rig(), register=True), notes=notes)
    assert "could not be registered: the rig was used" in [note.about for note in notes]


def test_a_rig_file_comes_back_and_fits_other_resolutions(found, tmp_path):
    found.rig.write(tmp_path / "rig.json")
    rig = Rig.read(tmp_path / "rig.json")
    np.testing.assert_array_equal(rig.matrix, found.rig.matrix)
    large = rig.of_sizes((640, 480), (400, 300))
    point = np.array([[99.0, 50.0]])  # the centre of a pixel, and where that is at twice the size
    there = (warps.apply(rig.matrix, point) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(warps.apply(large.matrix, (point + 0.5) * 2 - 0.5), there, atol=1e-6)
    with pytest.raises(UserError, match="align it anew"):
        rig.of_sizes((640, 360), (400, 300))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "iassf_jax rig 1", "matrix": [[1]]}'])
def test_a_bad_rig_file_is_told_in_one_line(tmp_path, text):
    path = tmp_path / "rig.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is no rig file") as error:
        Rig.read(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        Rig.read(tmp_path / "none.json")


@pytest.mark.parametrize("size", [1e400, float("nan")])
def test_a_rig_of_no_size_is_told_in_one_line(tmp_path, size):
    lens = wide_lens(60, 0, 0, 0, 0)
    for rig in (Rig(np.eye(3), (64, 48), (size, 48)), Rig(np.eye(3), (64, 48), (64, 48), lenses=(None, lens))):
        rig.write(tmp_path / "rig.json")
        text = (tmp_path / "rig.json").read_text().replace('"size": [\n        64', f'"size": [{json.dumps(size)}')
        (tmp_path / "rig.json").write_text(text)
        with pytest.raises(UserError, match="is no rig file"):
            Rig.read(tmp_path / "rig.json")


def test_settings_tell_rigs_apart_by_all_that_decides_the_results():
    lenses = wide_lens(60, 0, 0, 0, 0), wide_lens(60, -0.1, 0, 0, 0)
    rigs = [Rig(np.eye(3), (64, 48), (64, 48), lenses=(None, lens)) for lens in (None, *lenses)]
    settings = [Placing(rig).as_dict() for rig in [*rigs, Rig(np.eye(3), (64, 48), (32, 24))]]
    assert all(settings.count(one) == 1 for one in settings)
    assert json.loads(json.dumps(settings)) == settings


def half_rig():
    """The infrared image fills the right half of the visible one."""
    return Rig(warps.shift(-20, 0), (40, 30), (20, 30), "translation")


def test_infrared_lies_where_the_rig_says_and_goes_on_smoothly():
    heat = np.tile(np.linspace(40, 200, 20), (30, 1)).astype(np.uint8)
    rig = half_rig()
    placed = rig.placed(heat)
    np.testing.assert_array_equal(placed[:, 20:], heat)
    assert (np.abs(placed[:, 19].astype(int) - heat[:, 0]) < 60).all() and placed[:, :20].std() < 40
    assert (rig.weight[:, :20] == 0).all() and rig.weight[15, 30] == 1
    assert np.abs(np.diff(rig.weight[15])).max() < 0.9
    assert rig.overlap == (slice(0, 30), slice(20, 40))


def test_where_there_is_no_infrared_the_dehazed_image_stands():
    fuser, rng = Fuser(tiny.weights()), np.random.default_rng(0)
    visible, heat = rng.integers(0, 255, (30, 40, 3), np.uint8), rng.integers(0, 255, (30, 20), np.uint8)
    result = fuser(visible, heat, placing=Placing(half_rig()))
    np.testing.assert_array_equal(result.fused[:, :20], result.dehazed[:, :20])
    assert (result.fused[:, 25:] != result.dehazed[:, 25:]).any()
    cropped = fuser(visible, heat, placing=Placing(half_rig(), crop_to_overlap=True))
    assert cropped.fused.shape == (30, 20, 3)


def test_a_full_overlap_changes_nothing():
    rng = np.random.default_rng(0)
    visible, heat = rng.integers(0, 255, (30, 40, 3), np.uint8), rng.integers(0, 65535, (30, 40), np.uint16)
    _, placed, weight = placed_pair(visible, heat, Placing(Rig(np.eye(3), (40, 30), (40, 30))))
    np.testing.assert_array_equal(placed, heat)
    assert (weight == 1).all()


def test_the_largest_rectangle():
    rng = np.random.default_rng(0)
    for share in (0.5, 0.8, 0.95):
        inside = rng.random((7, 9)) < share
        best = max(
            (b - a) * (d - c)
            for a in range(7)
            for b in range(a + 1, 8)
            for c in range(9)
            for d in range(c + 1, 10)
            if inside[a:b, c:d].all()
        )
        rows, columns = largest_rectangle(inside)
        assert inside[rows, columns].all() and inside[rows, columns].size == best
    assert largest_rectangle(np.zeros((3, 3), bool)) is None


def test_lenses_bend_and_straighten(tmp_path):
    path = str(tmp_path / "lens.yml")
    file = cv2.FileStorage(path, cv2.FILE_STORAGE_WRITE)
    file.write("image_width", 320)
    file.write("image_height", 240)
    file.write("camera_matrix", np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]))
    file.write("distortion_coefficients", np.array([[-0.2, 0.05, 0.001, -0.001, 0.0]]))
    file.release()
    lens = Lens.read(path)
    points = np.array([[10.0, 20], [160, 120], [300, 200]])
    np.testing.assert_allclose(lens.straightened(lens.bent(points)), points, atol=0.01)
    assert np.abs(lens.bent(points) - points).max() > 3
    rig = Rig(np.eye(3), (320, 240), (320, 240), lenses=(lens, lens))
    ramp = np.tile(np.arange(320, dtype=np.float32), (240, 1))
    np.testing.assert_allclose(rig.placed(ramp)[20:-20, 20:-20], ramp[20:-20, 20:-20], atol=0.05)  # there and back
    rig.write(tmp_path / "rig.json")
    np.testing.assert_array_equal(Rig.read(tmp_path / "rig.json").lenses[1].matrix, lens.matrix)
    (tmp_path / "bad.yml").write_text("%YAML:1.0\n---\nx: 1\n")
    for name in ("bad.yml", "none.yml"):
        with pytest.raises(UserError, match="calibration"):
            Lens.read(tmp_path / name)


def wide_lens(degrees, *distortion):
    """Of 64 x 48 pixels, of which the middle row sees so many degrees where it is straight."""
    focal = 32 / np.tan(np.radians(degrees / 2))
    return Lens(np.array([[focal, 0, 31.5], [0, focal, 23.5], [0, 0, 1]]), np.array(distortion, float), (64, 48))


@pytest.mark.parametrize(
    "lens",
    [
        wide_lens(100, -0.3, 0.1, 0.001, -0.001, -0.02),
        wide_lens(120, -0.25, 0.06, 0, 0, -0.006),
        wide_lens(110, 0.1, 0.2, 0, 0, 0.3, 0.4, 0.3, 0.1),
    ],
)
def test_wide_lenses_are_straightened_up_to_where_they_fold(lens):
    pixels = np.stack(np.meshgrid(np.arange(64.0), np.arange(48.0)), axis=-1).reshape(-1, 2)
    bent = lens.bent(pixels)
    seen = np.isfinite(bent[:, 0])
    assert seen.mean() > 0.99
    np.testing.assert_allclose(lens.straightened(bent[seen]), pixels[seen], atol=0.15)
    found = lens.straightened(pixels)  # corners of an image may have no place in its lens
    known = np.isfinite(found[:, 0])
    assert known.mean() > 0.4
    np.testing.assert_allclose(lens.bent(found[known]), pixels[known], atol=0.01)


def test_what_a_lens_does_not_see_does_not_fold_into_its_image():
    lens = wide_lens(60, -0.3, 0, 0, 0)
    visible = np.linalg.inv(wide_lens(120, 0, 0, 0, 0).matrix)
    rig = Rig(lens.matrix @ visible, (64, 48), (64, 48), lenses=(None, lens))
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    tangent = np.hypot(visible[0, 0] * (x - 31.5), visible[0, 0] * (y - 23.5))
    assert (rig.weight[tangent > 1.06] == 0).all() and (rig.weight[tangent < 0.4] == 1).all()
    assert np.isfinite(rig.placed(np.full((48, 64), 7, np.float32))).all()


def test_align_then_fuse_as_a_user_does(pairs, tmp_path, capsys):
    for name, (visible, heat) in zip("abcd", pairs, strict=True):
        images.write_image(tmp_path / f"vi/{name}.png", visible)
        images.write_image(tmp_path / f"ir/{name}.png", heat)
    inputs = [str(tmp_path / side) for side in ("vi", "ir")]
    with pytest.raises(SystemExit) as leave:
        main(["align", "--visible", inputs[0], "--infrared", inputs[1], "--output", str(tmp_path / "rig.json")])
    assert leave.value.code == 0
    assert off_by(Rig.read(tmp_path / "rig.json")) < 2
    assert images.image_size(tmp_path / "rig_overlay.png") == (4 * 360, 960)
    assert "score" in capsys.readouterr().out
    options = Options(placing=Placing(Rig.read(tmp_path / "rig.json")))
    outcome = fuse_files(Fuser(tiny.weights()), *inputs, tmp_path / "fused", options)
    assert len(outcome.made) == 4 and not outcome.problems
    settings = json.loads((tmp_path / "fused/manifest.json").read_text())["settings"]
    assert settings["placing"]["matrix"] == Rig.read(tmp_path / "rig.json").matrix.tolist()
    with pytest.raises(SystemExit) as leave:
        main(["fuse", "--visible", inputs[0], "--infrared", inputs[1], "--output", "o", "--crop-to-overlap"])
    assert "--rig" in leave.value.code
