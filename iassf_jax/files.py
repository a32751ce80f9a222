"""Files and folders that appear complete or not at all, and their digests."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from iassf_jax.errors import UserError

SCRATCH = ".iassf-tmp-"


def scratch_of(target: Path) -> Path:
    """A temporary name in the same folder, since a rename is atomic only inside one file system; hidden from listings.

    It is short: a target's name may be as long as the file system takes.
    """
    return target.with_name(f"{SCRATCH}{os.getpid()}-{threading.get_ident()}{target.suffix}")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file as a whole or not at all; parent folders are made.

    Args:
        path: the file to write or replace.
        data: its content.

    Raises:
        UserError: the folder or the disk refuses.
    """
    target = Path(path)
    scratch = scratch_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(data)
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"{path}: cannot be written ({why}): check the folder, its permissions and the disk") from None


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder beside the output, which is new or empty, that becomes the output at the end, or is removed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".iassf-new-", dir=output.parent))
    try:
        yield scratch
        scratch.chmod(0o777 & ~_umask())
        if output.exists():
            output.rmdir()
        os.replace(scratch, output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
