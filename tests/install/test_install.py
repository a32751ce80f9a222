"""Wheel, source distribution and what the container images get, installed afresh and used from another folder.

Dependencies come from the environment that runs the tests; nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
pytest.importorskip("setuptools", "77", reason="builds with setuptools")


def call(*command, folder, **environment):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A wheel and an sdist of the files under version control (and new ones beside them)."""
    folder = tmp_path_factory.mktemp("build")
    clone = folder / "clone"
    ignored = shutil.ignore_patterns(".git", "*.egg-info", "build", "runs", "results", "__pycache__", ".*_cache")
    shutil.copytree(REPOSITORY, clone, ignore=ignored)
    made = {}
    for kind in ("wheel", "sdist"):
        code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
        made[kind] = folder / call(sys.executable, "-c", code, folder=clone).splitlines()[-1]
    made["image"] = folder / "app"
    for name in copied(clone / "Dockerfile"):
        copy = shutil.copytree if (clone / name).is_dir() else shutil.copy
        made["image"].mkdir(exist_ok=True)
        copy(clone / name, made["image"] / name)
    return made


def copied(dockerfile):
    """What goes into an image."""
    lines = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
    return [name for names in lines for name in names]


def test_both_images_get_the_same_files_and_docker_sees_them():
    names = copied(REPOSITORY / "Dockerfile")
    assert names == copied(REPOSITORY / "Dockerfile.cuda")
    assert {f"!{name}" for name in names} <= set((REPOSITORY / ".dockerignore").read_text().splitlines())


@pytest.fixture(scope="module", params=["wheel", "sdist", "image"])
def installed(request, distributions, tmp_path_factory):
    """The environment's program `iassf-jax`, and an empty folder to call it in."""
    folder = tmp_path_factory.mktemp(request.param)
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    site = Path(
        call(str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", folder=folder).strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    call(*pip, "--ignore-installed", str(distributions[request.param]), folder=folder, PYTHONPATH="")
    here = folder / "here"
    here.mkdir()
    return environment / "bin" / "iassf-jax", here


def test_configs_are_installed_and_can_be_copied(installed):
    program, here = installed
    listed = call(program, "configs", folder=here, PYTHONPATH="")
    for path in (REPOSITORY / "configs").rglob("*.py"):
        name = path.relative_to(REPOSITORY / "configs").with_suffix("")
        assert name.name == "__init__" or f"\n{name} " in f"\n{listed}", name
    call(program, "configs", "--copy", "quickstart", folder=here, PYTHONPATH="")
    assert (here / "quickstart.py").read_bytes() == (REPOSITORY / "configs" / "quickstart.py").read_bytes()


SMALL = [
    *("--config.train.steps=1", "--config.train.batch_size=1", "--config.data.crop=24", "--config.eval.num_images=1"),
    *("--config.model.channels=4", "--config.model.fusion_channels=4", "--config.model.heads_per_channels=4"),
    *("--config.model.prompt_size=4", "--config.model.restoration_blocks=(1,)", "--config.model.fusion_blocks=1"),
    *("--config.data.scenes.num_val=1", "--config.data.scenes.height=48", "--config.data.scenes.width=64"),
]


def test_every_kind_of_command_works_from_another_folder(installed):
    program, here = installed
    assert call(program, "--version", folder=here, PYTHONPATH="").startswith("iassf_jax ")
    call(program, "train", "--config", "quickstart", *SMALL, folder=here, PYTHONPATH="")
    call(program, "eval", "--checkpoint", "runs/quickstart", "--limit", "1", folder=here, PYTHONPATH="")
    assert (here / "results" / "quickstart" / "report.html").is_file()
    call(program, "scenes", "--output", "scenes", "--count", "1", "--size", "48", "64", folder=here, PYTHONPATH="")
    pair = ["--visible", "scenes/vi", "--infrared", "scenes/ir", "--checkpoint", "runs/quickstart"]
    call(program, "fuse", *pair, "--output", "fused", folder=here, PYTHONPATH="")
    assert list((here / "fused").glob("*.png"))
    assert "iassf-haze" in call(program, "fuse", "--help", folder=here, PYTHONPATH="")
