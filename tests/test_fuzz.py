"""A minute of `python -m tests.fuzz`, and that it finds what is there to find."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fuzz
from iassf_jax.errors import UserError


def test_problems_are_seen():
    def refuse(data):
        raise UserError("two\nlines" if data else "one line")

    def fail(data):
        if b"x" in data:
            raise IndexError("no")

    assert fuzz.problem_of((refuse, b"")) is None
    assert "not one line" in fuzz.problem_of((refuse, b"1"))
    assert fuzz.problem_of((fail, b"abc")) is None
    assert fuzz.problem_of((fail, b"axc")) == "IndexError at fail"
    assert fuzz.smaller((fail, bytes(100) + b"x" + bytes(100)), "IndexError at fail") == b"x"


def test_a_number_gives_the_same_case_again():
    for kind in ("files", "torch"):
        base = fuzz._base(kind)
        cases = [fuzz.make_case(kind, 3, number, base)[1] for number in (0, 1, 0)]
        assert cases[0] == cases[2] != cases[1]
    rng = np.random.default_rng(0)
    assert fuzz.mutated(rng, b"") is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_a_minute_finds_nothing(tmp_path, kind):
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", "0.2", "--kinds", kind, "--output", tmp_path / "found"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kind}: " in done.stdout and not (tmp_path / "found").exists()
