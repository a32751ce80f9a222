"""`iassf-jax fuse --pairs`: tables of pairs, on this machine and on a local Ray cluster."""

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import one_layer
from iassf_jax.cli.main import main
from iassf_jax.data import images, remote
from iassf_jax.errors import UserError
from iassf_jax.fuse import bulk, table
from iassf_jax.fuse.files import Options
from iassf_jax.fuse.fuser import Fuser
from iassf_jax.weights.formats import Weights, write_weights

pa = pytest.importorskip("pyarrow", reason="tables of pairs need pyarrow")
TESTS = Path(__file__).parents[1]
STEMS = [f"p{i:02d}" for i in range(6)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    images_in = (jnp.zeros((1, 2, 2, channels)) for channels in (3, 1))
    made = Weights({"name": "one_layer"}, one_layer.OneLayer().init(jax.random.key(0), *images_in))
    path = tmp_path_factory.mktemp("weights") / "one_layer.safetensors"
    write_weights(made, path)
    return path


def write_pairs(folder, stems, size=(20, 30)):
    rng = np.random.default_rng(0)
    for stem in stems:
        images.write_image(folder / "vi" / f"{stem}.png", rng.integers(0, 255, (*size, 3), np.uint8))
        images.write_image(folder / "ir" / f"{stem}.png", rng.integers(0, 255, size, np.uint8))


def write_csv(folder, stems, infrared="ir"):
    lines = [f"vi/{stem}.png,{infrared}/{stem}.png" for stem in stems]
    (folder / "pairs.csv").write_text("\n".join(["visible,infrared", *lines]) + "\n")


@pytest.fixture
def fuse(tmp_path, weights, capsys, monkeypatch):
    """Runs the command in the folder of the table; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", None)  # the command sets it
    write_pairs(tmp_path, STEMS)
    write_csv(tmp_path, STEMS)

    def run(*arguments):
        with pytest.raises(SystemExit) as leave:
            main(["fuse", "--checkpoint", str(weights), *arguments])
        said, code = capsys.readouterr(), leave.value.code
        return (1, said.out, code) if isinstance(code, str) else (code, said.out, said.err)

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def manifest(folder):
    paths = remote.files_in(f"{folder}/manifest", ".parquet")
    return [row for path in paths for row in pa.parquet.read_table(path).to_pylist()]


def test_a_table_gives_what_folders_give_and_a_second_call_only_what_is_missing(fuse):
    assert fuse("--pairs", "pairs.csv", "--output", "out")[:2] == (0, "6 fused images in out\n")
    assert fuse("--visible", "vi", "--infrared", "ir", "--output", "folder")[0] == 0
    assert contents("out") == contents("folder") and len(contents("out")) == 6
    record = {row["name"]: row for row in manifest("out")}["p03"]
    assert record["fused_sha256"] == hashlib.sha256(Path("out/p03.png").read_bytes()).hexdigest()
    assert record["visible"] == str(Path("vi/p03.png").absolute()) and record["weights_sha256"] and record["time"] > 0
    Path("out/p03.png").unlink()
    before = Path("out/p00.png").stat().st_mtime_ns
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1] == "1 fused image in out (5 were there)\n"
    assert contents("out") == contents("folder") and Path("out/p00.png").stat().st_mtime_ns == before


def test_what_fails_is_in_a_table_of_its_own(fuse):
    Path("vi/p01.png").write_bytes(b"no image")
    Path("ir/p02.png").unlink()
    code, out, errors = fuse("--pairs", "pairs.csv", "--output", "out", "--save", "dehazed")
    assert code == 1 and out == "4 fused images in out\n" and "2 left out, with reasons: out/failures.parquet" in errors
    failures = {row["name"]: row["reason"] for row in pa.parquet.read_table("out/failures.parquet").to_pylist()}
    assert failures.keys() == {"p01", "p02"} and "no such file" in failures["p02"]
    assert contents("out").keys() == contents("out/dehazed").keys()
    write_pairs(Path(), STEMS)
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1] == "2 fused images in out (4 were there)\n"
    assert not pa.parquet.read_table("out/failures.parquet").num_rows


def test_inputs_and_images_of_others_stay(fuse):
    before = contents("vi")
    Path("link").symlink_to("vi", target_is_directory=True)
    for output in ("vi", "ir/../vi", "link"):
        message = fuse("--pairs", "pairs.csv", "--output", output, "--overwrite")[2]
        assert "p00.png: is an input and would be overwritten" in message and "\n" not in message
    Path("out").mkdir()
    Path("out/p03.png").write_bytes(b"another's")
    message = fuse("--pairs", "pairs.csv", "--output", "out")[2]
    assert "p03.png: is there already: choose another --output, or --overwrite" in message
    assert contents("out") == {"p03.png": b"another's"} and contents("vi") == before
    assert fuse("--pairs", "pairs.csv", "--output", "out", "--overwrite")[0] == 0


def test_extras_do_not_replace_inputs(tmp_path):
    row = table.Row("a", f"{tmp_path}/panel/a.png", "s3://x/out/a.png")
    for output, path in ((str(tmp_path), "panel/a.png"), ("s3://x/out/", "a.png")):
        with pytest.raises(UserError, match=f"{path}: is an input"):
            table.keep_inputs(output, [row])
    table.keep_inputs(f"{tmp_path}/panel/a", [row])


def test_what_a_killed_run_left_is_made_again(fuse, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "write_table", lambda *_: sys.exit("killed"))
        assert fuse("--pairs", "pairs.csv", "--output", "out")[2] == "killed"
    assert len(contents("out")) == 6 and not manifest("out")
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1] == "6 fused images in out\n"


def test_other_files_of_the_same_names_are_refused(fuse, monkeypatch):
    assert fuse("--pairs", "pairs.csv", "--output", "out")[0] == 0
    with monkeypatch.context() as patch:
        patch.chdir("vi")
        assert fuse("--pairs", "../pairs.csv", "--output", "../out")[1].endswith("(6 were there)\n")
    Path("day2").symlink_to("ir", target_is_directory=True)
    write_csv(Path(), STEMS, infrared="day2")
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1].endswith("(6 were there)\n")
    Path("day2").unlink()
    code, out, message = fuse("--pairs", "pairs.csv", "--output", "out")
    assert code == 1 and not out and "\n" not in message
    assert f"p00.png: was made from {Path('vi').absolute()}/p00.png and {Path('ir').absolute()}/p00.png:" in message
    Path("ir").rename("day2")
    Path("out/p00.png").unlink()
    assert "p01.png: was made from" in fuse("--pairs", "pairs.csv", "--output", "out")[2]
    for stem in STEMS:
        Path("out", f"{stem}.png").unlink(missing_ok=True)
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1] == "6 fused images in out\n"
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1].endswith("(6 were there)\n")


def test_what_is_saved_later_is_made_later(fuse):
    run = ("--pairs", "pairs.csv", "--output", "out")
    assert fuse(*run, "--shard", "1/2")[0] == fuse(*run, "--shard", "2/2")[0] == 0
    for path in Path("out/manifest").iterdir():  # as they were written before there was such a column
        pa.parquet.write_table(pa.parquet.read_table(path).drop_columns(["saved", "notes"]), path)
    assert fuse(*run, "--save", "dehazed,panel")[1] == "6 fused images in out\n"
    assert contents("out").keys() == contents("out/dehazed").keys() == contents("out/panel").keys()
    for kinds in ("panel", "panel,dehazed"):
        assert fuse(*run, "--save", kinds)[1].endswith("(6 were there)\n")
    assert fuse(*run)[1].endswith("(6 were there)\n")


def test_each_shard_has_its_failures(fuse):
    Path("vi/p01.png").write_bytes(b"no image")
    for shard, code in (("2/2", 1), ("1/2", 0)):
        assert fuse("--pairs", "pairs.csv", "--output", "out", "--shard", shard)[0] == code
    assert [path.name for path in Path("out").glob("failures*")] == ["failures-2-of-2.parquet"]
    assert pa.parquet.read_table("out/failures-2-of-2.parquet")["name"].to_pylist() == ["p01"]
    assert "out/failures-2-of-2.parquet" in fuse("--pairs", "pairs.csv", "--output", "out", "--shard", "2/2")[2]


def test_notes_are_told_once_and_kept(fuse):
    for stem in STEMS[:2]:
        images.write_image(Path("ir", f"{stem}.png"), np.arange(600, dtype=np.uint16).reshape(20, 30))
    errors = fuse("--pairs", "pairs.csv", "--output", "out")[2]
    (line,) = [line for line in errors.splitlines() if line.startswith("note: ")]
    assert line.startswith("note: 2 pairs: ") and "the first: " in line and "p00.png" in line
    notes = {row["name"]: row["notes"] for row in manifest("out")}
    assert "percentile" in notes["p00"] and "percentile" in notes["p01"] and notes["p02"] == ""


def test_a_file_that_is_its_own_partner_is_told(fuse):
    write_csv(Path(), STEMS, infrared="ir/../vi")
    code, out, errors = fuse("--pairs", "pairs.csv", "--output", "out")
    assert code == 0 and out.startswith("6 ") and "note: 6 pairs: one file is given for both sides" in errors


def test_other_settings_are_refused_and_shards_add_up(fuse):
    assert fuse("--pairs", "pairs.csv", "--output", "out", "--shard", "2/2")[1].startswith("3 fused")
    message = fuse("--pairs", "pairs.csv", "--output", "out", "--infrared-strength", "0.5")[2]
    assert "results of other settings are there" in message
    assert fuse("--pairs", "pairs.csv", "--output", "out")[1].endswith("(3 were there)\n")
    assert "leave --shard" in fuse("--pairs", "pairs.csv", "--output", "out", "--overwrite", "--shard", "2/2")[2]
    assert sorted(row["name"] for row in manifest("out")) == STEMS
    before = contents("out")
    anew = ("--overwrite", "--dehaze-strength", "0.5")
    assert fuse("--pairs", "pairs.csv", "--output", "out", *anew)[1] == "6 fused images in out\n"
    assert contents("out") != before and sorted(row["name"] for row in manifest("out")) == STEMS


def test_urls_are_read_and_written(weights, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    write_pairs(tmp_path, ["a"])
    for side in ("vi", "ir"):
        store.pipe_file(f"/in/{side}/a.png", (tmp_path / side / "a.png").read_bytes())
    rows = pa.table({"name": ["x/one", "x/two"], "visible": ["vi/a.png"] * 2, "infrared": ["ir/a.png", "ir/none.png"]})
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(rows, sink)
    store.pipe_file("/in/pairs.parquet", sink.getvalue().to_pybytes())
    from iassf_jax.weights.formats import read_weights

    fuser = Fuser(read_weights([str(weights)]))
    run = (fuser, "memory://in/pairs.parquet", "memory://out", Options())
    assert bulk.fuse_table(*run)[:3] == (1, 0, 1)
    assert images.decode_image("x", store.cat_file("/out/x/one.png")).shape == (20, 30, 3)
    assert bulk.fuse_table(*run)[:3] == (0, 1, 1)


@pytest.mark.parametrize(
    "text, words",
    [
        ("visible,ir\na,b\n", "has no column infrared, but visible, ir: rename columns"),
        ("visible,infrared\n", "has no rows"),
        ("visible,infrared\na.png,\n", "row 1 has 'a', 'a.png', ''"),
        ("visible,infrared,name\na.png,b.png,../x\n", "row 1 has '../x'"),
        ("visible,infrared\na/x.png,b.png\nc/x.png,d.png\n", "two pairs are named 'x'"),
        ("visible,infrared,name\na,b,x\nc,d,dehazed/x\n", "'dehazed/x' is where the dehazed image of 'x' goes"),
        ("visible,infrared,visible\na,b,c\n", "has two columns visible: remove one"),
        (b"visible,infr\xffared\na,b\n", "is no CSV or Parquet table"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, words):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=words) as error:
        table.read_pairs(str(tmp_path / "t.csv"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [b"\xff.png", ["a.png"], {"path": "a.png"}])
def test_columns_without_text_are_refused(tmp_path, value):
    path = str(tmp_path / "t.parquet")
    pa.parquet.write_table(pa.table({"visible": ["a.png"], "infrared": [value]}), path)
    with pytest.raises(UserError, match="the column infrared is no text in UTF-8") as error:
        table.read_pairs(path)
    assert "\n" not in str(error.value)


def test_names_are_words_and_paths_begin_at_the_table(tmp_path):
    (tmp_path / "t.csv").write_text("visible,infrared,name\na.png,/b.png,007\nfile:///c.png,s3://x/d.png,2024-01-01\n")
    here = str(tmp_path / "a.png")
    assert table.read_pairs(str(tmp_path / "t.csv")) == [
        table.Row("007", here, "/b.png"), table.Row("2024-01-01", "/c.png", "s3://x/d.png")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--pairs", "pairs.csv", "--visible", "vi"], "leave --visible"),
        (["--visible", "vi"], "what shall be fused"),
        (["--visible", "vi", "--infrared", "ir", "--engine", "ray"], "--engine is for tables"),
        (["--pairs", "pairs.csv", "--address", "auto"], "are for --engine ray"),
        (["--pairs", "pairs.csv", "--workers", "2"], "are for --engine ray"),
        (["--pairs", "pairs.csv", "--gpus-per-worker", "0"], "are for --engine ray"),
        (["--pairs", "pairs.csv", "--manifest"], "leave --manifest, prefixes and suffixes out"),
        (["--pairs", "pairs.csv", "--infrared-suffix", "_ir"], "leave --manifest, prefixes and suffixes out"),
        (["--pairs", "none.csv"], "none.csv: no such file"),
        (["--pairs", "vi/p00.png"], "is no CSV or Parquet table"),
        (["--pairs", "nowhere://x/p.csv"], "use a path, s3://"),
    ],
)
def test_wrong_arguments_are_one_line(fuse, arguments, words):
    code, _, error = fuse(*arguments, "--output", "out")
    assert code == 1 and words in error and "\n" not in error.strip()


def ray_workers(driver):
    """Processes of Ray's actors below that one."""
    parents, titles = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, IndexError):
                continue

    def is_below(pid):
        while pid in parents:
            pid = parents[pid]
            if pid == driver:
                return True
        return False

    return [pid for pid, title in titles.items() if title.startswith("ray::") and "Map" in title and is_below(pid)]


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_though_a_worker_is_killed(tmp_path, fuse, weights):
    if not importlib.util.find_spec("ray"):
        pytest.skip("Ray is not installed")
    stems = [f"q{i:03d}" for i in range(100)]
    write_pairs(tmp_path, stems, size=(60, 80))
    write_csv(tmp_path, stems)
    assert fuse("--pairs", "pairs.csv", "--output", "here")[0] == 0

    def on_ray():
        command = [sys.executable, "-m", "two_workers", "fuse", "--checkpoint", str(weights), "--pairs", "pairs.csv"]
        command += ["--output", "out", "--engine", "ray", "--workers", "2", "--gpus-per-worker", "0"]
        environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "JAX_PLATFORMS": "cpu"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def said(process):
        out, errors = process.communicate(timeout=900)
        assert process.returncode == 0, (out, errors)
        return out.splitlines()  # also Ray's, of what it tries again

    process = on_ray()
    killed = None
    while killed is None and process.poll() is None:
        if len(list(Path("out/manifest").glob("*.parquet"))) >= 2 and (workers := ray_workers(process.pid)):
            os.kill(workers[0], signal.SIGKILL)
            killed = len(list(Path("out").glob("*.png")))
        time.sleep(0.01)
    assert "100 fused images in out" in said(process)
    assert killed and killed < 100  # in mid-run
    assert contents("out") == contents("here")
    assert sorted(row["name"] for row in manifest("out")) == stems  # nothing lost, nothing twice
    assert "0 fused images in out (100 were there)" in said(on_ray())
