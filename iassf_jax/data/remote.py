"""Bytes at paths and at URLs (fsspec: s3://, gs://, file://, ...); nothing here imports JAX."""

from pathlib import Path
from typing import Any

from iassf_jax import files
from iassf_jax.errors import UserError

_FILE = "file://"


def is_url(path: str) -> bool:
    """Whether fsspec must be asked for it; file:// is a path."""
    return "://" in path and not path.startswith(_FILE)


def absolute(path: str, folder: str = "") -> str:
    """The path or URL, from whatever folder (default: the working one) it is seen; file:// goes."""
    path = path.removeprefix(_FILE)
    if is_url(path):
        return path
    if folder and is_url(folder) and not path.startswith("/"):
        return f"{folder.rstrip('/')}/{path}"
    return str((Path(folder) / path).absolute())


def parent(path: str) -> str:
    """The folder of a path or URL."""
    return path.rpartition("/")[0] if is_url(path) else str(Path(path).parent)


def stem(path: str) -> str:
    """The name of a file without folders and suffix."""
    return Path(path.rpartition("/")[2]).stem


def read_bytes(path: str) -> bytes:
    """The content of a file; a UserError if it cannot be had."""
    if not is_url(path):
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file: check the path") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None
    system, inside = _system(path)
    try:
        return system.cat_file(inside)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check the URL") from None
    except Exception as error:  # each kind of store raises errors of its own
        raise UserError(f"{path}: cannot be read ({_words(error)}): check the URL and your rights there") from None


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file as a whole or not at all; a UserError if that is refused."""
    if not is_url(path):
        return files.write_bytes(path, data)
    system, inside = _system(path)
    try:
        system.makedirs(parent(inside), exist_ok=True)
        system.pipe_file(inside, data)
    except Exception as error:
        raise UserError(f"{path}: cannot be written ({_words(error)}): check the URL and your rights there") from None
    return None


def remove(path: str) -> None:
    """Removes a file; a UserError if that is refused."""
    try:
        if not is_url(path):
            return Path(path).unlink()
        system, inside = _system(path)
        system.rm_file(inside)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be removed ({_words(error)}): check your rights there") from None
    return None


def files_in(folder: str, suffix: str) -> list[str]:
    """The files of a folder with this suffix, sorted; none where there is no folder."""
    if not is_url(folder):
        return sorted(str(path) for path in Path(folder).glob(f"*{suffix}") if not path.name.startswith("."))
    system, inside = _system(folder)
    try:
        found = system.ls(inside, detail=False)
    except FileNotFoundError:
        return []
    except Exception as error:
        raise UserError(f"{folder}: cannot be listed ({_words(error)}): check the URL and your rights there") from None
    return sorted(system.unstrip_protocol(name) for name in found if name.endswith(suffix))


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UserError(f"{url}: {_words(error)}: install what it names, or copy the files here") from None
    except ValueError as error:
        raise UserError(f"{url}: is not understood ({_words(error)}): use a path, s3://, gs:// or file://") from None
    except Exception as error:  # some stores are connected to at once
        raise UserError(f"{url}: cannot be reached ({_words(error)}): check the URL and your rights there") from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
