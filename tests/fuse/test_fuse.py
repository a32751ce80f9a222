"""`iassf-jax fuse` on files: what is made where, what is passed over, and what bad input gives."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest

import tiny
from iassf_jax.cli.main import main
from iassf_jax.data import images
from iassf_jax.errors import UserError
from iassf_jax.files import SCRATCH
from iassf_jax.weights.formats import write_weights

STEMS = ("a", "b", "c")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_weights(tiny.weights(), path)
    return path


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for stem in STEMS:
        images.write_image(tmp_path / "vi" / f"{stem}.png", rng.integers(0, 255, (20, 30, 3), np.uint8))
        images.write_image(tmp_path / "ir" / f"{stem}.png", rng.integers(0, 255, (20, 30), np.uint8))
    return tmp_path


@pytest.fixture
def fuse(folders, weights, capsys, monkeypatch):
    """Runs the command in the folder of the pairs; gives exit code, stdout and stderr."""
    monkeypatch.chdir(folders)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets it

    def run(visible="vi", infrared="ir", output="out", *more):
        command = ["fuse", "--visible", visible, "--infrared", infrared, "--output", output, "--checkpoint", weights]
        with pytest.raises(SystemExit) as leave:
            main([str(word) for word in (*command, *more)])
        output = capsys.readouterr()
        code = leave.value.code
        return (1, output.out, code) if isinstance(code, str) else (code, output.out, output.err)

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_folders_with_everything_saved(fuse, folders, weights):
    code, out, _ = fuse("vi", "ir", "out", "--save", "dehazed,haze,panel")
    assert code == 0 and out.startswith("3 fused images in out")
    kinds = ("", "dehazed/", "haze/", "panel/")
    assert files(folders / "out") == sorted(
        [f"{kind}{stem}.png" for kind in kinds for stem in STEMS] + ["manifest.json"]
    )
    assert images.read_image(folders / "out/a.png").shape == (20, 30, 3)
    assert images.read_image(folders / "out/haze/a.png").shape == (20, 30)
    manifest = json.loads((folders / "out/manifest.json").read_text())
    assert set(manifest["items"]) == set(STEMS) and manifest["failures"] == []
    assert manifest["weights"]["name"] == str(weights) and len(manifest["weights"]["sha256"]) == 64
    assert manifest["settings"]["tiling"]["max_tile"] == 1024 and manifest["iassf_jax"] and manifest["jax"]


def test_one_pair_to_a_file_or_into_a_folder(fuse, folders):
    assert fuse("vi/a.png", "ir/b.png", "one.jpg", "--save", "dehazed")[0] == 0
    assert {path for path in files(folders) if path.startswith("one")} == {"one.jpg", "one_dehazed.png"}
    assert "one.jpg: is there already" in fuse("vi/a.png", "ir/b.png", "one.jpg")[2]
    assert fuse("vi/a.png", "ir/b.png", "two.png", "--manifest")[0] == 0
    assert "folder" not in json.loads((folders / "two_manifest.json").read_text())["weights"]
    assert fuse("vi/a.png", "ir/b.png", "some/where")[0] == 0
    assert files(folders / "some") == ["where/a.png", "where/manifest.json"]


def test_a_pair_the_wrong_way_round_is_refused(fuse, folders):
    code, _, error = fuse("ir/a.png", "vi/a.png", "out.png")
    assert code == 1 and "swap them" in error and not (folders / "out.png").exists()


def test_globs(fuse, folders):
    assert fuse("vi/[ab].png", "i?/*.png", "out")[1].startswith("2 fused") is True
    assert {"a.png", "b.png"} < set(files(folders / "out"))


def test_what_is_done_is_passed_over(fuse, folders):
    fuse()
    (folders / "out/b.png").unlink()
    before = (folders / "out/a.png").stat().st_mtime_ns
    assert fuse()[1] == "1 fused image in out (2 were there)\n"
    assert (folders / "out/a.png").stat().st_mtime_ns == before
    assert fuse("vi", "ir", "out", "--save", "dehazed")[1].startswith("3 fused")
    assert fuse("vi", "ir", "out", "--overwrite")[1].startswith("3 fused images in out\n")
    assert set(json.loads((folders / "out/manifest.json").read_text())["items"]) == set(STEMS)


def test_results_of_other_settings_are_not_mixed(fuse, folders):
    fuse()
    code, _, error = fuse("vi", "ir", "out", "--max-tile", "512")
    assert code == 1 and "other tiling" in error and "--overwrite" in error
    assert fuse("vi", "ir", "out", "--max-tile", "512", "--overwrite")[0] == 0
    (folders / "out/manifest.json").write_text("{")
    assert "is damaged" in fuse()[2]
    (folders / "out/manifest.json").unlink()
    assert "is there already" in fuse()[2]


def test_results_of_other_images_are_not_passed_off(fuse, folders):
    assert fuse("vi/a.png", "ir/a.png", "one.png", "--manifest")[0] == 0
    code, _, error = fuse("vi/b.png", "ir/b.png", "one.png")
    assert code == 1 and "one.png: was made from other images" in error
    fuse()
    (folders / "moved").mkdir()
    for stem in STEMS:
        (folders / f"moved/{stem}.png").write_bytes((folders / f"vi/{stem}.png").read_bytes())
    assert "(3 were there)" in fuse("moved", "ir", "out")[1]
    (folders / "moved/b.png").write_bytes((folders / "vi/a.png").read_bytes())
    assert "b.png: was made from other images" in fuse("moved", "ir", "out")[2]


def test_an_input_that_can_no_longer_be_read_is_one_bad_file(fuse, folders, monkeypatch):
    fuse()
    read = images.read_file

    def refuse(path):
        if str(path).endswith("vi/b.png"):
            raise UserError(f"{path}: may not be read: change its permissions")
        return read(path)

    monkeypatch.setattr(images, "read_file", refuse)
    code, out, errors = fuse()
    assert code == 1 and "(2 were there)" in out and errors.startswith("1 left out:\n") and "vi/b.png" in errors


def test_a_run_that_made_nothing_stands_in_no_ones_way(fuse, folders):
    cv2.imwrite(str(folders / "ir/a.png"), np.zeros((5, 6), np.uint8))
    assert fuse("vi/a.png", "ir/a.png", "one.png")[0] == 1
    assert not list(folders.glob("one*"))
    assert fuse("vi/a.png", "ir/a.png", "one.png", "--resize-infrared")[0] == 0


def test_shards_share_the_work(fuse, folders):
    assert fuse("vi", "ir", "out", "--shard", "2/2")[1].startswith("1 fused")
    assert files(folders / "out") == ["b.png", "manifest-2-of-2.json"]
    assert fuse("vi", "ir", "out", "--shard", "1/2")[1].startswith("2 fused")
    assert {f"{stem}.png" for stem in STEMS} < set(files(folders / "out"))
    assert fuse()[1] == "0 fused images in out (3 were there)\n"
    assert "(1 was there)" in fuse("vi", "ir", "out", "--shard", "3/3")[1]


def test_bad_files_are_told_at_the_end_and_the_rest_is_done(fuse, folders):
    (folders / "vi/b.png").write_bytes((folders / "vi/b.png").read_bytes()[:200])
    (folders / "vi/text.png").write_text("hello")
    shutil.copy(folders / "ir/a.png", folders / "ir/text.png")
    (folders / "vi/empty.png").write_bytes(b"")
    shutil.copy(folders / "ir/a.png", folders / "ir/empty.png")
    shutil.copy(folders / "ir/a.png", folders / "ir/alone.png")
    images.write_image(folders / "ir/c.png", np.zeros((9, 9), np.uint8))
    code, out, errors = fuse()
    assert code == 1 and out.startswith("1 fused image ") and errors.startswith("5 left out:\n")
    lines = errors.splitlines()[1:]
    for stem, words in {
        "b.png": "truncated",
        "text.png": "",
        "empty.png": "",
        "alone.png": "no visible image of this name",
    }.items():
        assert any(f"/{stem}: " in line and words in line for line in lines), (stem, lines)
    assert any("infrared is 9 x 9" in line and "--resize-infrared" in line for line in lines)
    assert len(json.loads((folders / "out/manifest.json").read_text())["failures"]) == 5
    assert "Traceback" not in errors
    assert fuse("vi", "ir", "out2", "--resize-infrared")[1].startswith("2 fused")


@pytest.mark.filterwarnings("always")
def test_sixteen_bit_thermal_gives_a_hint_and_percentiles_help(fuse, folders):
    for stem in STEMS:
        x = (8000 + np.arange(600).reshape(20, 30)).astype(np.uint16)
        images.write_image(folders / "ir" / f"{stem}.png", x)
    assert fuse()[2].startswith("note: 3 pairs: raw thermal data were stretched")
    assert fuse("vi", "ir", "out2", "--infrared-percentiles", "1", "99")[2].count("note") == 0
    assert "give 0 <= low" in fuse("vi", "ir", "out3", "--infrared-percentiles", "99", "1")[2]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("nowhere", "ir", "out"), "nowhere: there is no such file"),
        (("vi/*.tif", "ir", "out"), "matches no image"),
        (("vi", "ir", "out.png"), "several pairs need a folder"),
        (("vi/a.png", "ir", "out.png"), "vi/a.png is one image, and the other input a folder"),
        (("vi/a.png", "vi", "out/a.png"), "vi/a.png is one image, and the other input a folder"),
        (("vi", "ir", "vi"), "is a folder of inputs"),
        (("vi/a.png", "ir/a.png", "out.pgn"), "'.pgn' is no image format"),
        (("vi", "ir", "out", "--infrared-percentiles", "99", "1"), "give 0 <= low < high <= 100"),
        (("vi/a.png", "ir/a.png", "ir/a.png"), "would be overwritten"),
        (("vi/a.png", "ir", "out", "--checkpoint", "nonsense"), "nonsense: there is no such file"),
        (("vi", "ir", "out", "--overlap", "900"), "overlap"),
        (("vi/a.png", "b.mp4", "out.mp4"), "b.mp4: there is no such file"),
        (("vi/a.png", "ir/a.png", "out.xyz/a.gif/../../vi/a.png/x"), "cannot be written"),
    ],
)
def test_errors_are_one_line(fuse, arguments, words):
    code, _, error = fuse(*arguments)
    assert code == 1 and words in error and "\n" not in error.strip()


def test_folders_without_partners(fuse, folders):
    os.rename(folders / "ir", folders / "old")
    for stem in STEMS:
        images.write_image(folders / "ir" / f"{stem}_ir.png", np.zeros((20, 30), np.uint8))
    assert "no visible and infrared image share a name" in fuse()[2]


BAD_NUMBERS = [("--overlap", "-1"), ("--smoothing", "nan"), ("--smoothing", "1"), ("--smoothing", "x")]
BAD_NUMBERS += [("--refinements", "-1"), ("--max-tile", "0"), ("--max-tile", "1e3")]


@pytest.mark.parametrize("option", [("--shard", "3/2"), ("--shard", "x"), ("--save", "everything"), *BAD_NUMBERS])
def test_malformed_options_are_explained(fuse, option):
    code, _, errors = fuse("vi", "ir", "out", *option)
    assert code == 2 and option[0] in errors


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_file(folders, weights):
    """A file size limit of 700 bytes: no image fits, one line each says so."""
    command = f"ulimit -f 1; exec {sys.executable} -m iassf_jax fuse --visible vi --infrared ir --output out"
    run = subprocess.run(
        ["bash", "-c", f"{command} --checkpoint {weights}"],
        cwd=folders, capture_output=True, text=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": "off", "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )  # fmt: skip
    assert run.returncode == 1 and "cannot be written" in run.stderr and "Traceback" not in run.stderr
    written = [name for name in files(folders / "out") if name.endswith(".png")]
    assert not [name for name in written if cv2.imread(str(folders / "out" / name)) is None]
    assert not [name for name in files(folders / "out") if SCRATCH in name]


@pytest.mark.slow
def test_tiles_bound_the_memory_of_a_large_pair(weights):
    """As `python -m benchmarks.large` measures it, with a tiny network."""
    command = [sys.executable, "-m", "benchmarks.large", "--checkpoint", weights, "--size", "1152", "1536"]
    environment = {**os.environ, "XLA_FLAGS": ""}  # little is compiled here, and much is run
    peaks = []
    for side in ("256", "1536"):  # in tiles, and as a whole
        run = subprocess.run(
            [*command, "--max-tile", side], check=True, capture_output=True, text=True, env=environment
        )
        peaks.append(float(re.search(r"peak ([\d.]+) GiB", run.stdout).group(1)))
    assert peaks[0] < 0.7 * peaks[1]
