"""Folders in which one process at a time may work."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from iassf_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, nothing keeps two processes apart
    fcntl = None


@contextlib.contextmanager
def locked(folder: str | Path, option: str, shared: bool = False) -> Iterator[None]:
    """Holds a folder for this process; it is free when the process has ended, in whatever way, and nothing stays in it.

    Where the file system knows no locks (some network drives), two processes are not kept apart.

    Args:
        folder: made, if it is not there.
        option: that names another folder, for the message, e.g. "--workdir".
        shared: others may hold it too, if they share it as well.

    Raises:
        UserError: another process holds the folder, or it cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY) if fcntl else None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}): choose another {option}") from None
    try:
        if handle is not None:
            _lock(handle, folder, option, shared)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, folder: str | Path, option: str, shared: bool) -> None:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        words = f"another process works in it: wait until it ends, or choose another {option}"
        raise UserError(f"{folder}: {words}") from None
    except OSError:
        return
