"""The notebook in `examples/`: as it is committed, and run from top to bottom in a fresh kernel.

Running it needs nbclient and ipykernel (extra 'dev'); without them that test is skipped.
"""

import json
import os
import re
from pathlib import Path

import pytest

from iassf_jax.weights import shipped

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
MAX_BYTES = 500_000
CELL_SECONDS = 900  # of one cell on a busy CPU; most of it is compiling
# A path from the root of a file system, of a Windows drive, or of a home folder.
ABSOLUTE = re.compile(r"(?<![\w./<])/(?:home|Users|root|tmp|var|opt|usr|mnt|work|private)\b|\b[A-Za-z]:\\|~/")


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def texts(notebook):
    """What each cell says, figures apart. What it prints may come in several pieces; a fresh machine has more to say.

    (Matplotlib, for one, tells on stderr that it makes its list of fonts.)
    """
    found = []
    for cell in code_cells(notebook):
        told = [x for x in cell["outputs"] if x.get("name") != "stderr"]
        pieces = [{"text/plain": x["text"]} if "text" in x else x["data"] for x in told]
        found.append("".join("".join(x[kind]) for x in pieces for kind in sorted(x) if kind.startswith("text/")))
    return found


def without_numbers(text):
    """Numbers depend on the device, and so does which of them is bold."""
    return re.sub(r"[-+\d.*\s]+", " ", text)


@pytest.fixture(scope="module")
def committed():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_the_committed_notebook_was_run_from_top_to_bottom(committed):
    counts = [cell["execution_count"] for cell in code_cells(committed)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = [output["output_type"] for output in outputs(committed)]
    assert set(kinds) <= {"stream", "display_data", "execute_result"}, "an error, or another output"
    assert all(output["name"] == "stdout" for output in outputs(committed) if output["output_type"] == "stream")
    assert any("image/jpeg" in output.get("data", {}) for output in outputs(committed))


def test_the_committed_notebook_is_small_and_names_no_machine(committed):
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    for text in (*texts(committed), *("".join(cell["source"]) for cell in committed["cells"])):
        assert not ABSOLUTE.search(text), text
    assert committed["metadata"]["kernelspec"]["name"] == "python3"
    assert all(not cell["metadata"] for cell in committed["cells"]), "times, or an editor's own notes"


def test_the_committed_notebook_shows_the_card_as_it_is(committed):
    shown = json.dumps(shipped.card(shipped.DEFAULT), indent=2)
    assert any(shown in text for text in texts(committed)), "run it again: python -m docs.notebook"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the client's own packages; the notebook runs in another process
def test_the_notebook_runs_in_a_fresh_kernel(committed, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel", reason="needs ipykernel (extra 'dev')")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (extra 'dev')")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (extra 'dev')")
    # From any folder; nothing of the user's own settings, and nothing left in theirs.
    folders = {name: tmp_path / name for name in ("here", "temporary", "jupyter", "cache")}
    for folder in folders.values():
        folder.mkdir()
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folders["jupyter"]))
    monkeypatch.setenv("TMPDIR", str(folders["temporary"]))
    monkeypatch.setenv("XLA_FLAGS", "")  # as users run it; what the tests spare in compiling, its cells take to run
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folders["cache"]))

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    where = {"metadata": {"path": str(folders["here"])}}
    nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=where).execute()

    fresh, kept = ([without_numbers(text) for text in texts(x)] for x in (notebook, committed))
    assert fresh == kept, "run it again: python -m docs.notebook"
    assert not list(folders["here"].iterdir()) and not list(folders["temporary"].iterdir())
