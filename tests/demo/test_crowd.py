"""Some people at once on the page; `python -m tests.crowd` is the same with more of them, for longer."""

import importlib.util

import pytest

from tests.crowd import crowd


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="needs Gradio: pip install 'iassf-jax[demo]'")
def test_many_people_at_once(tmp_path):
    found = crowd(8, 1.0, tmp_path)
    assert not found["failed"] and found["fused"] >= 8
    half = len(found["memory"]) // 2
    assert max(found["disk"][half:]) < 2 * 20_000 * 8 * 64  # as much as the page keeps
    assert found["left"] == 0 and "Traceback" not in found["errors"]
