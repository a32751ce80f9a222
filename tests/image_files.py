"""Image files of several tests: random pixels, files of given bytes, and how a bad one must be told."""

import numpy as np
import pytest

from iassf_jax.errors import UserError


def refused(path, match, function, *args):
    """The call fails with one line that names the file, says what is wrong and how to mend it."""
    with pytest.raises(UserError, match=match) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ") and message.count(": ") >= 2


def sample(shape=(20, 30, 3), dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape)
    return values.astype(dtype)


def save(path, data):
    path.write_bytes(bytes(data))
    return path
