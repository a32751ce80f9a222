"""Every Python snippet of the README and the documentation runs as it stands, after the README's first commands."""

import re
from pathlib import Path

import pytest

from iassf_jax.data.haze.folder import haze_folder
from iassf_jax.scenes import write_scenes

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Wants cameras.
ELSEWHERE = {"live.md": "tests/live/test_live.py"}


def snippets(page):
    """Line and text of each."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, re.S | re.M)
    return [(text[: match.start(1)].count("\n"), match.group(1)) for match in found]


WITH_SNIPPETS = [page for page in PAGES if snippets(page) and page.name not in ELSEWHERE]


def test_there_is_one_in_the_readme_and_none_is_forgotten():
    assert PAGES[0] in WITH_SNIPPETS
    for name, test in ELSEWHERE.items():
        assert snippets(ROOT / "docs" / name) and name in (ROOT / test).read_text()
    for page in PAGES:  # another word for the language would hide them
        assert not re.search(r"^```(py|python3|Python|pycon)$", page.read_text(encoding="utf-8"), re.M), page


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """The README's scenes, smaller, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_scenes("scenes", 4, height=48, width=64)
    haze_folder("scenes/vi", "scenes/hazy", "homogeneous", 0)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_run_as_they_stand(page, scenes):
    names = {"__name__": "__main__"}
    for line, code in snippets(page):
        exec(compile("\n" * line + code, str(page), "exec"), names)
