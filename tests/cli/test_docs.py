"""The pages: their size, their links, and that every command in them is one that the program takes."""

import functools
import importlib
import re
import shlex
from pathlib import Path

import pytest

from iassf_jax.cli import eval as eval_command
from iassf_jax.cli import experiment, train
from iassf_jax.cli.main import _parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_FLAGS = {"train": train, "eval": eval_command, "experiment": experiment}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands(page):
    """The words of each command of ours in the page's blocks: `iassf-jax NAME ...`, `python train.py ...`."""
    found = []
    for language, block in BLOCK.findall(page.read_text()):
        if language:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\s{2,}#|;|&$", line):
                words = part.replace("@@", "").split("iassf-jax ", 1)
                script = re.search(r"python (train|eval)\.py (.*)", part.replace("@@", ""))
                if script:
                    found.append([script[1], *shlex.split(script[2])])
                elif len(words) == 2:
                    found.append(shlex.split(words[1]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_its_links_lead_somewhere(page):
    text = page.read_text()
    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            there = page.parent / path if path else page
            assert there.exists() and (not anchor or anchor in anchors(there)), target


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of the library that reads configs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, *words in commands(page):
        if name not in WITH_FLAGS:
            _parser().parse_args([name, *words])  # leaves with exit code 2 where it does not know a word
            continue
        flags = importlib.reload(WITH_FLAGS[name])._FLAGS  # absl's are parsed once
        reached = []
        with pytest.raises(SystemExit) as left:
            flags.run([name, *words], functools.partial(reached.append, name))
        assert reached, (left.value, name, words)
