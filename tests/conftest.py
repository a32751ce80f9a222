"""Strict modes for every test, and what several tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of these tests' time; what they check does not depend on LLVM's expensive passes.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_backend_extra_options=xla_cpu_disable_tiled_emitter",  # a train step compiles in a seventh less time
)
# Test processes run side by side: numpy's own threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

TEST_DATA = Path(__file__).parent / "values"
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="module", autouse=True)
def release_programs() -> Iterator[None]:
    """A process that keeps a thousand tests' compiled programs was seen to crash while it stored one more."""
    yield
    jax.clear_caches()


@pytest.fixture
def real_data() -> Path:
    """Folder of real image pairs beside the project (not redistributable)."""
    return _shared("data")


@pytest.fixture
def golden() -> Path:
    """Folder of reference values beside the project that contain images which are not redistributable."""
    return _shared("golden")


def _shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not there")
    return SHARED / name
