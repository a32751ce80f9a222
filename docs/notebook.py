"""Runs examples/quickstart.ipynb anew, from top to bottom, and keeps what it shows: python -m docs.notebook.

Needed where the default weights or the notebook have changed; a test tells. Needs the extra 'dev'.
"""

from pathlib import Path

import nbclient
import nbformat

from iassf_jax.data import images

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


def main() -> None:
    """Runs it and writes it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.metadata = {}
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    client = nbclient.NotebookClient(
        notebook, timeout=3600, kernel_name="python3", resources=where, record_timing=False
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # what Matplotlib and others tell on a fresh machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    images.write_bytes(NOTEBOOK, nbformat.writes(notebook).encode() + b"\n")


if __name__ == "__main__":
    main()
