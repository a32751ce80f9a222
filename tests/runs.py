"""Training runs as processes of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tiny
from iassf_jax.models import build_model
from iassf_jax.models.parameters import abstract_parameters
from iassf_jax.train.checkpoints import load_weights

REPOSITORY = Path(__file__).parents[1]


def start(workdir, cache, *flags, config="tests/tiny.py", before="", **environment):
    """A process that trains for six steps, with a checkpoint every three, unless `flags` say otherwise.

    Args:
        before: shell commands that the process is started after, e.g. limits.
        environment: variables of the process.
    """
    command = [sys.executable, "train.py", "--config", config, "--workdir", str(workdir)]
    command += ["--compilation_cache", str(cache), "--config.train.steps=6", "--config.checkpoint.every=3", *flags]
    if before:
        command = ["bash", "-c", f'{before}; exec "$@"', "bash", *command]
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths, **environment}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    """What a process that ends well has told; code 130 where it was asked to stop."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors
    return errors


def refuse(process):
    """The one line of a process that ends with an error; nothing else of what it told is an error."""
    _, errors = process.communicate(timeout=600)
    lines = [line for line in errors.splitlines() if line.strip()]
    assert process.returncode == 1 and lines[-1].startswith("error: "), errors
    assert "Traceback" not in errors and "Exception" not in errors and errors.count("rror: ") == 1, errors
    return lines[-1]


def weights(workdir, config=tiny):
    """Parameters and step of the newest checkpoint."""
    return load_weights(workdir, abstract_parameters(build_model(config.get_config().model)))


def losses(workdir):
    """By step, as logged."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def wait_for(path, *running):
    """Until a file or folder is there, which processes are to write."""
    deadline = time.monotonic() + 300
    while not path.exists():
        assert all(process.poll() is None for process in running), [process.stderr.read() for process in running]
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)
