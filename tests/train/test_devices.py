"""Runs on several devices and in several processes give what one device gives, and end and go on together."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import one_layer
import tiny
from iassf_jax.data import pipeline
from iassf_jax.errors import UserError
from iassf_jax.train import devices, processes
from runs import finish, wait_for

REPOSITORY = Path(__file__).parents[2]
TELLS = ("20 training and", "compiling ", "step ")  # of a run in which nothing is amiss


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A compilation cache for all of these runs, beside their images."""
    folder = tmp_path_factory.mktemp("shared")
    one_layer.write_pairs(folder / "pairs")
    return folder / "cache"


def start(workdir, cache, *flags, count=1):
    command = [sys.executable, "train.py", "--config", "tests/one_layer.py", "--workdir", str(workdir), *flags]
    xla_flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
    environment = {**os.environ, "XLA_FLAGS": xla_flags, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/tests"}
    environment |= {"ONE_LAYER_ROOT": str(cache.parent / "pairs"), "NO_PROXY": "localhost"}  # JAX warns of any proxy
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def start_two(workdir, cache, *flags):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        where = f"localhost:{free.getsockname()[1]}"
    together = (f"--coordinator={where}", "--num_processes=2")
    return [start(workdir, cache, *flags, *together, f"--process_id={i}") for i in range(2)]


def logged(workdir, prefix):
    """Numbers by step and name, but for times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        (line["step"], name): value
        for line in lines
        for name, value in line.items()
        if name.startswith(prefix) and name != "train/images_per_second"
    }


def assert_same(run, expected):
    for prefix in ("train/", "val/"):
        found, wanted = logged(run, prefix), logged(expected, prefix)
        assert found.keys() == wanted.keys() and found
        np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache):
    """Twenty steps on one device."""
    workdir = tmp_path_factory.mktemp("alone")
    finish(start(workdir, cache))
    return workdir


@pytest.mark.slow
def test_eight_devices_train_as_one_and_one_goes_on_for_them(tmp_path, cache, alone):
    said = finish(start(tmp_path, cache, count=8))
    assert "20 steps on 8 x cpu" in said
    assert_same(tmp_path, alone)
    shutil.rmtree(tmp_path / "checkpoints" / "20")
    said = finish(start(tmp_path, cache))
    assert "resuming at step 10 of 20 steps on cpu" in said
    assert_same(tmp_path, alone)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path, cache, alone):
    said = [finish(process) for process in start_two(tmp_path, cache)]
    assert "20 steps on 2 x cpu" in said[0] and not said[1]
    assert_same(tmp_path, alone)


@pytest.mark.slow
def test_a_fresh_and_a_resumed_run_share_one_program(tmp_path, cache, alone):
    programs = list(cache.glob("jit_train_step-*-cache"))
    shutil.copytree(alone, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "20")
    said = finish(start(tmp_path, cache))
    assert "resuming at step 10" in said
    assert programs and list(cache.glob("jit_train_step-*-cache")) == programs
    assert logged(tmp_path, "train/") == logged(alone, "train/")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_both_go_on(tmp_path, cache, victim):
    flags = ["--config.train.steps=1000000", "--config.train.log_every=10", "--config.eval.every=0"]
    flags += ["--config.eval.num_images=0", "--config.checkpoint.every=20"]
    running = start_two(tmp_path, cache, *flags)
    wait_for(tmp_path / "checkpoints" / "20", *running)
    running[victim].kill()
    killed_at = time.monotonic()
    _, said = running[1 - victim].communicate(timeout=60)
    assert time.monotonic() - killed_at < 60 and running[1 - victim].returncode not in (0, None)
    running[victim].communicate()
    told = [line for line in said.splitlines() if not line.startswith(TELLS)]
    assert len(told) == 1 and told[0].startswith("error: another process of this run has ended"), said

    running = start_two(tmp_path, cache, *flags)
    newest = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    wait_for(tmp_path / "checkpoints" / str(newest + 20), *running)
    for process in running[victim:]:  # both, or the second alone
        process.send_signal(signal.SIGTERM)
    said = [finish(process, 130) for process in running]
    assert f"resuming at step {newest} of" in said[0] and not said[1]
    assert said[0].count("asked to stop: saved step") == 1
    step = int(said[0].rpartition("saved step ")[2].partition(";")[0])
    assert (tmp_path / "checkpoints" / str(step)).is_dir()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_processes_share_the_batches_of_one(count):
    data = tiny.get_config().data.to_dict()
    data["scenes"]["num_train"] = 11  # two batches of four an epoch
    source, _ = pipeline.make_source(data, "train")

    def batches(share):
        iterator = pipeline.train_iterator(data, source, 4, 0, share)
        found = [next(iterator) for _ in range(5)]
        state = iterator.get_state()
        iterator.close()
        return found, state

    whole, state = batches((0, 1))
    shares = [batches((i, count)) for i in range(count)]
    assert all(share_state == state for _, share_state in shares)
    for k, batch in enumerate(whole):
        for i, (share, _) in enumerate(shares):
            for name, x in batch.items():
                np.testing.assert_array_equal(share[k][name], x[i::count])


def test_a_batch_that_devices_do_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(devices.jax, "device_count", lambda: 8)
    devices.check_batch_size(16)
    for size, good in ((12, "8 or 16"), (6, "8")):
        with pytest.raises(UserError, match=f"is {size}, for all 8 devices .* multiple of 8, e.g. {good}$"):
            devices.check_batch_size(size)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("localhost:1", None, 0), "give all three"),
        (("localhost", 2, 0), "give HOST:PORT"),
        (("localhost:1", 2, 2), "--process_id is 2, of 2 processes: use 0 to 1"),
    ],
)
def test_processes_that_are_told_half_of_it_are_refused(arguments, words):
    with pytest.raises(UserError, match=words), processes.joined(*arguments):
        pass


def test_launchers_are_known_by_what_they_set(monkeypatch):
    for name in ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with processes.joined(None, None, None):
        pass
    joined = []
    monkeypatch.setattr(processes.last_words, "watch", lambda: None)
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda *args, **_: joined.append(args))
    for settings in (
        {"SLURM_STEP_NODELIST": "a[1-2]", "SLURM_NTASKS": "2"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"},
    ):
        with monkeypatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(name, value)
            with processes.joined(None, None, None):
                pass
    assert joined == [(None, None, None)] * 3


def test_processes_that_do_not_meet_are_told_of_proxies(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DEADLINE_EXCEEDED:\nno answer")

    monkeypatch.setattr(processes.last_words, "watch", lambda: None)
    monkeypatch.setattr(processes.jax.distributed, "initialize", fail)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "localhost")
    found = r"^the processes did not find each other \(DEADLINE_EXCEEDED: no answer\): check --coordinator"
    with pytest.raises(UserError, match=f"{found}$"), processes.joined("localhost:1", 2, 0):
        pass
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    with pytest.raises(UserError, match=f"{found}, unset HTTPS_PROXY$"), processes.joined("localhost:1", 2, 0):
        pass


DUMP = """
from iassf_jax.train import last_words
import os, sys
last_words.watch()
if {told}:
    assert last_words.is_mine()
print("python's", file=sys.stderr)
os.write(2, b"a library's\\n")
os.write(2, b"F1130 client.h:80] Terminating because the JAX distributed service detected fatal errors.\\n  @ 0x7f\\n")
os.abort()
"""


@pytest.mark.parametrize("told", [False, True])
def test_what_the_runtime_dumps_is_one_line_unless_it_was_told(told):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", DUMP.format(told=told)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == -signal.SIGABRT
    lines = process.stderr.splitlines()
    told_now = [line for line in lines if line.startswith("error: another process of this run has ended")]
    assert len(told_now) == (not told) and sorted(lines) == sorted(["a library's", "python's", *told_now])
