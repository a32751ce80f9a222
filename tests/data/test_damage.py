"""Damaged or foreign files in a run's folder, and bad command lines: one line each, and nothing is lost."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from tensorboardX.proto.event_pb2 import Event

import tiny
from iassf_jax.data import pipeline
from iassf_jax.errors import UserError
from iassf_jax.models import build_model
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.train.checkpoints import Checkpoints, load_weights
from iassf_jax.train.log import RunLog
from iassf_jax.train.loop import train_and_evaluate
from iassf_jax.train.run_config import load_config

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"model": 3}', "\xff"])
def test_a_config_of_the_wrong_form(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        load_config(tmp_path)


def test_garbage_in_the_log_is_dropped_and_good_lines_stay(tmp_path):
    good = [json.dumps({"step": n, "train/loss": 1.0}) for n in (1, 2, 3)]
    lines = [good[0].encode(), b"\xff\xfe", b"[1]", b'{"step": "a"}', good[1].encode(), good[2].encode(), b'{"st']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    with RunLog(tmp_path, 2, 10):
        pass
    assert (tmp_path / "metrics.jsonl").read_text().split() == "\n".join(good[:2]).split()


@pytest.mark.parametrize("start", [0, 2])
def test_tensorboard_hides_steps_that_are_done_again_and_no_other(tmp_path, start):
    """A record is its length, a checksum, the event and another checksum; a start tells from which step on to hide."""
    with RunLog(tmp_path, start, 10):
        pass
    (path,) = (tmp_path / "tensorboard").iterdir()
    data, steps = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        steps += [event.step] if event.HasField("session_log") else []
        data = data[16 + length :]
    assert steps == [start + 1]


def test_an_unknown_split():
    with pytest.raises(UserError, match="train, val, test, all"):
        pipeline.make_source(tiny.get_config().data, "tset")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    with jax.numpy_dtype_promotion("standard"):
        train_and_evaluate(tiny.get_config(), workdir)
    return workdir


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def lose_files(step):
    (step / "params" / "_METADATA").unlink()
    shutil.rmtree(step / "params" / "ocdbt.process_0")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lose_files, lambda step: shutil.rmtree(step / "params")])
def test_damaged_weights_are_named(copy, damage):
    step = copy / "checkpoints" / "4"
    damage(step)
    with pytest.raises(UserError, match=r"checkpoints/4"):
        load_weights(copy, abstract_parameters(build_model(tiny.get_config().model)))
    shutil.rmtree(step)  # what the message says
    assert load_weights(copy, abstract_parameters(build_model(tiny.get_config().model)))[1] == 2


@pytest.mark.slow
def test_weights_from_another_kind_of_device(copy):
    for file in (copy / "checkpoints" / "4").glob("*/_sharding"):
        elsewhere = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": "cuda:0"})
        file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), elsewhere)))
        assert "cuda:0" in file.read_text()
    assert load_weights(copy, abstract_parameters(build_model(tiny.get_config().model)))[1] == 4


@pytest.mark.slow
def test_a_refused_resume_leaves_the_config_alone(copy):
    before = (copy / "config.json").read_bytes()
    config = tiny.get_config()
    config.train.batch_size = 1
    with jax.numpy_dtype_promotion("standard"), pytest.raises(UserError, match=r"train.batch_size was 2, is 1"):
        train_and_evaluate(config, copy)
    assert (copy / "config.json").read_bytes() == before
    assert Checkpoints(copy).latest_step() == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "script, flags, words",
    [
        ("train.py", [], "--config"),
        ("train.py", ["--config", "nowhere.py"], "nowhere.py"),
        ("train.py", ["--config", "LICENSE"], "--config"),
        ("train.py", ["--config", "configs/msrs.py", "--config.train.bogus=1"], "bogus"),
        ("train.py", ["--config", "configs/msrs.py", "--config.train.batch_size=many"], "batch_size"),
        ("train.py", ["--config", "configs/msrs.py", "stray"], "stray"),
        ("eval.py", ["--checkpoint", "nowhere"], "nowhere"),
        ("eval.py", ["--checkpoint", "nowhere", "--output", "out", "--split", "tset"], "split"),
    ],
)
def test_bad_command_lines(script, flags, words):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, script, *flags]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode != 0 and len(lines) == 1
    assert lines[0].startswith("error: ") and words in lines[0]
