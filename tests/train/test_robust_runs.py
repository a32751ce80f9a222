"""Runs that meet damage, a second run in their folder, signals at any moment, and a full disk."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types

import cv2
import jax
import numpy as np
import pytest

import one_layer
import runs
from iassf_jax.errors import UserError
from iassf_jax.locks import locked
from iassf_jax.train.checkpoints import Checkpoints
from iassf_jax.train.log import RunLog
from iassf_jax.train.loop import train_and_evaluate
from runs import finish, losses, refuse, start, wait_for


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# ---- a folder is one process's


def test_a_held_folder_is_refused_and_free_afterwards(tmp_path):
    with locked(tmp_path / "run", "--workdir"), pytest.raises(UserError, match="another process works in it"):
        with locked(tmp_path / "run", "--workdir"):
            pytest.fail("held twice")
    with locked(tmp_path / "run", "--workdir"):
        assert not list((tmp_path / "run").iterdir())


def test_sharers_share_and_keep_others_out(tmp_path):
    with locked(tmp_path, "--output", shared=True), locked(tmp_path, "--output", shared=True):
        with pytest.raises(UserError, match="choose another --output"), locked(tmp_path, "--output"):
            pytest.fail("held beside sharers")


def test_a_killed_process_leaves_no_lock(tmp_path):
    script = "import sys, time; from iassf_jax.locks import locked\n"
    script += "with locked(sys.argv[1], ''): print('held', flush=True); time.sleep(100)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process"), locked(tmp_path, "--workdir"):
            pytest.fail("held twice")
        process.kill()
    with locked(tmp_path, "--workdir"):
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "file" / "run", "--workdir"):
        pytest.fail("held")


def test_a_full_disk_under_the_log_is_one_line(tmp_path, monkeypatch):
    with RunLog(tmp_path, 0, 2) as log:
        log.write(1, {"train/loss": 1.0})
        log._file.close()
        log._file = open("/dev/full", "w", buffering=1)  # noqa: SIM115
        with pytest.raises(UserError, match="No space left on device.: free space"):
            log.write(2, {"train/loss": 1.0})
    assert losses(tmp_path) == {1: 1.0}


# ---- damage


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pairs of noise."""
    one_layer.write_pairs(root := tmp_path_factory.mktemp("data"))
    return root


def train(workdir, data, *flags, before=""):
    """A process that trains one layer for six steps, unless `flags` say otherwise."""
    return start(workdir, "off", *flags, config="tests/one_layer.py", before=before, ONE_LAYER_ROOT=str(data))


def seconds_of(workdir, data, *flags):
    """How long a run takes that nothing disturbs."""
    began = time.monotonic()
    finish(train(workdir, data, *flags))
    return time.monotonic() - began


def weights(workdir):
    return runs.weights(workdir, one_layer)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A finished run of six steps, which nothing has disturbed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    finish(train(workdir, data))
    return workdir


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def values(folder):
    """The files of an item of a checkpoint that hold its arrays."""
    return [path for path in folder.glob("**/d/*") if path.is_file()]


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def nan(path):
    """Of floats that are no numbers."""
    path.write_bytes(cv2.imencode(".tif", np.full((40, 56, 3), np.nan, np.float32))[1])


def wait_until_it_has_gone_on(run, process):
    """Until there is a checkpoint that was not there."""
    before = {path.name for path in (run / "checkpoints").iterdir()}
    while not {path.name for path in (run / "checkpoints").iterdir() if path.name.isdigit()} - before:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


DAMAGES = {
    "params-gone": lambda step: shutil.rmtree(step / "params"),
    "tree-gone": lambda step: (step / "params" / "_METADATA").unlink(),
    "values-zero": lambda step: [os.truncate(path, 0) for path in values(step / "opt_state")],
    "values-gone": lambda step: [path.unlink() for path in values(step / "params")],
    "values-cut": lambda step: [cut(path) for path in values(step / "params")],
    "index-cut": lambda step: cut(step / "opt_state" / "manifest.ocdbt"),
    "data-zero": lambda step: os.truncate(step / "data" / "metadata", 0),
    "data-gone": lambda step: shutil.rmtree(step / "data"),
    "all-zero": lambda step: [os.truncate(path, 0) for path in step.rglob("*") if path.is_file()],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of threads that Orbax leaves behind
def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, data, tmp_path, monkeypatch):
    """All kinds of damage, one after the other in one process: what is trained again ends as if nothing had been."""
    expected = weights(whole)
    monkeypatch.setenv("ONE_LAYER_ROOT", str(data))
    with jax.numpy_dtype_promotion("standard"):
        config = one_layer.get_config()
        config.train.steps, config.checkpoint.every = 6, 3
        for name, damage in DAMAGES.items():
            shutil.copytree(whole, run := tmp_path / name)
            damage(run / "checkpoints" / "6")
            train_and_evaluate(config, run)
            same(weights(run), expected)
            assert losses(run) == losses(whole)
            (aside,) = (run / "damaged_checkpoints").iterdir()
            assert aside.name.startswith("6-"), name


@pytest.mark.slow
def test_the_step_before_is_told_and_where_all_are_damaged_nothing_is_moved(copy, data):
    DAMAGES["values-gone"](copy / "checkpoints" / "6")
    told = finish(train(copy, data))
    assert "checkpoint 6 is damaged: moved to " in told and "resuming at step 3" in told
    for step in ("3", "6"):
        DAMAGES["all-zero"](copy / "checkpoints" / step)
    assert "every checkpoint is damaged: remove that folder" in refuse(train(copy, data))
    assert Checkpoints(copy).steps() == [6, 3]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", '{"model": {"na'])
def test_a_cut_config_is_refused_and_training_goes_on_without_it(copy, data, text):
    shutil.rmtree(copy / "checkpoints" / "6")
    (copy / "config.json").write_text(text)
    assert "config.json: cannot be read" in refuse(train(copy, data))
    (copy / "config.json").unlink()  # what the message says
    assert "resuming at step 3" in finish(train(copy, data))


@pytest.mark.slow
def test_a_cut_log_loses_what_was_cut_alone(copy, whole, data):
    shutil.rmtree(copy / "checkpoints" / "6")
    log = copy / "metrics.jsonl"
    log.write_text(log.read_text()[:200])
    finish(train(copy, data))
    told = losses(copy)
    assert {4, 5, 6} <= told.keys() and told.items() <= losses(whole).items()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, os.remove, lambda path: path.write_bytes(b"no image"), nan])
def test_a_file_damaged_while_it_trains_ends_the_run_in_one_line(tmp_path, data, damage):
    """The newest checkpoint stays, and goes on when the file is back."""
    shutil.copytree(data, tmp_path / "data")
    run, victim = tmp_path / "run", tmp_path / "data" / "train" / "vi" / "train3.png"
    flags = ["--config.train.steps=100000", "--config.checkpoint.every=1", "--config.eval.every=0"]
    process = train(run, tmp_path / "data", *flags)
    wait_for(run / "checkpoints" / "1", process)
    content = victim.read_bytes()
    damage(victim)
    assert str(victim) in refuse(process)
    victim.write_bytes(content)
    process = train(run, tmp_path / "data", *flags)
    wait_until_it_has_gone_on(run, process)
    process.send_signal(signal.SIGTERM)
    assert "resuming at step" in finish(process, 130)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of threads that Orbax leaves behind
def test_a_clock_that_is_set_back_changes_nothing(whole, data, tmp_path, monkeypatch):
    """By a day at each checkpoint."""
    now, save, days = time.time, Checkpoints.save, []
    monkeypatch.setenv("ONE_LAYER_ROOT", str(data))
    monkeypatch.setattr(time, "time", lambda: now() - 86400 * len(days))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    monkeypatch.setattr(Checkpoints, "save", lambda *args: days.append(save(*args)))
    run = tmp_path / "run"
    with jax.numpy_dtype_promotion("standard"):
        config = one_layer.get_config()
        config.train.update(steps=6, log_every=1)
        config.checkpoint.every = 3
        train_and_evaluate(config, run)
        shutil.rmtree(run / "checkpoints" / "6")
        train_and_evaluate(config, run)
    assert len(days) == 3 and Checkpoints(run).steps() == [6, 3]
    same(weights(run), weights(whole))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(line.get("train/images_per_second", 1) > 0 for line in lines)
    assert len(losses(run)) == 6 and lines[0]["time"] > lines[-1]["time"]


# ---- two runs, kills, signals, a full disk


@pytest.mark.slow
def test_a_second_run_in_the_folder_is_refused(tmp_path, data):
    first = train(tmp_path / "run", data, "--config.train.steps=100000", "--config.data.num_workers=1")
    wait_for(tmp_path / "run" / "checkpoints" / "3", first)
    assert "another process works in it" in refuse(train(tmp_path / "run", data, "--config.train.steps=100000"))
    first.kill()  # its worker process, which is left for a moment, holds nothing
    first.communicate()
    again = train(tmp_path / "run", data, "--config.train.steps=100000", "--config.data.num_workers=1")
    wait_until_it_has_gone_on(tmp_path / "run", again)
    again.send_signal(signal.SIGTERM)
    assert "resuming at step" in finish(again, 130)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path, whole, data):
    """Also while a checkpoint is saved, as one is after each step; in the end, the parameters are the same bits."""
    rng, flags = random.Random(0), ["--config.checkpoint.every=1", "--config.checkpoint.keep=10"]
    seconds = seconds_of(tmp_path / "calm", data, *flags)
    for _ in range(20):
        process = train(tmp_path / "run", data, *flags)
        time.sleep(rng.uniform(0.5, 1.1) * seconds)
        process.kill()
        process.communicate()
    told = finish(train(tmp_path / "run", data, *flags))
    assert "damaged" not in told
    same(weights(tmp_path / "run"), weights(whole))
    assert losses(tmp_path / "run") == losses(whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_at_random_moments_end_a_run_quietly(tmp_path, whole, data, number):
    """While it loads, compiles, trains, validates and saves; what follows ends with the same bits."""
    rng, flags = random.Random(number), ["--config.checkpoint.every=1", "--config.eval.every=1"]
    seconds = seconds_of(tmp_path / "calm", data, *flags)
    for _ in range(8):
        process = train(tmp_path / "run", data, *flags)
        time.sleep(rng.uniform(0.3, 1.1) * seconds)
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        assert "Traceback" not in errors and process.returncode in (0, 130, -number), errors
    finish(train(tmp_path / "run", data, *flags))
    same(weights(tmp_path / "run"), weights(whole))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_newest_checkpoint_goes_on(tmp_path, whole, data):
    """A file may have 20 kB at first: the picture of the validation does not fit."""
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    line = refuse(train(tmp_path / "run", data, "--config.eval.every=5", before="ulimit -f 20"))
    assert "cannot be written (File too large)" in line
    assert Checkpoints(tmp_path / "run").steps() == [3]
    assert "resuming at step 3" in finish(train(tmp_path / "run", data))
    same(weights(tmp_path / "run"), weights(whole))


def test_answers_to_a_closed_loop_are_dropped_and_nothing_else(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    for _ in range(2):
        Checkpoints(tmp_path).close()
    hook, errors = sys.unraisablehook, (RuntimeError("Event loop is closed"), RuntimeError("x"), OSError("y"))
    met = [types.SimpleNamespace(exc_type=type(error), exc_value=error) for error in errors]
    for one in met:
        hook(one)
    assert told == met[1:]
