"""Runs that are killed, stopped and resumed, as processes of their own."""

import signal
import time

import jax
import numpy as np
import pytest

from runs import finish, losses, start, wait_for, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A compilation cache for all of these runs: they compile the same programs."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_after_kill_is_exact(tmp_path, cache, workers):
    flags = [f"--config.data.num_workers={workers}"]
    finish(start(tmp_path / "whole", cache, *flags))

    # So many steps that the kill comes before the end; the schedule's length must stay, so steps stay 6 in the rerun.
    killed = start(tmp_path / "killed", cache, *flags)
    wait_for(tmp_path / "killed" / "checkpoints" / "3", killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    # Where the run outran the kill, its second checkpoint goes too: what resumes is always step 3.
    late = tmp_path / "killed" / "checkpoints" / "6"
    if late.exists():
        late.rename(tmp_path / "late")
    errors = finish(start(tmp_path / "killed", cache, *flags))
    assert "resuming at step 3" in errors

    (whole, step), (resumed, resumed_step) = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert step == resumed_step == 6
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


def test_sigterm_saves_and_leaves(tmp_path, cache):
    process = start(tmp_path / "run", cache, "--config.train.steps=100000", "--config.train.log_every=1")
    log = tmp_path / "run" / "metrics.jsonl"
    wait_for(log, process)
    while not log.read_text():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    errors = finish(process, 130)
    assert "asked to stop: saved step" in errors
    _, step = weights(tmp_path / "run")
    assert step == max(losses(tmp_path / "run"))


def test_sigterm_while_compiling_stops_at_once(tmp_path):
    process = start(tmp_path / "run", tmp_path / "empty")
    for line in process.stderr:
        if line.startswith("compiling the train step for 24 x 24 pixels"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM  # not 130, as after a step that was finished and saved
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--config.data.source=pairs", "--config.data.haze.kinds=('none',)", "--config.data.root=nowhere"], "nowhere"),
        (["--config.data.source=pairs"], "data.folders with depth maps"),
        (["--config.train.batch_size=99"], "lower train.batch_size"),
        (["--config.model.fusion_blocks=2"], "odd"),
        (["--config.data.haze.kinds=('fog',)"], "fog"),
        (["--config.model.dtype=float16"], "float32, bfloat16"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, cache, flags, words):
    process = start(tmp_path / "run", cache, *flags)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.strip()]
    assert lines[-1].startswith("error: ") and words in lines[-1]
    assert "Traceback" not in errors
