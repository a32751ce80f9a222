"""Tables of pairs to fuse, and the tables of what was made of them (Parquet)."""

import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iassf_jax.data import remote
from iassf_jax.errors import UserError
from iassf_jax.fuse.pairs import EXTRAS

MANIFEST = "manifest"
_REQUIRED = ("visible", "infrared")


@dataclasses.dataclass(frozen=True)
class Row:
    """One pair: the name of its results, and its files as paths or URLs."""

    name: str
    visible: str
    infrared: str

    def places(self) -> tuple[str, str]:
        """Of both files, to compare: a file of this machine has one, however its folder is written."""
        return _place(self.visible), _place(self.infrared)


def arrow() -> Any:
    """The library that reads and writes tables."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise UserError("tables of pairs need pyarrow: pip install 'iassf-jax[tables]'") from None
    return pyarrow


def read_pairs(path: str) -> list[Row]:
    """Reads a CSV or Parquet table with columns `visible`, `infrared` and perhaps `name` (default: visible's stem).

    Args:
        path: of the table, or its URL. Paths in it are relative to its folder.

    Raises:
        UserError: no such table, columns or values that are missing, or names that are no names or come twice.
    """
    pa, path = arrow(), remote.absolute(path)
    data = remote.read_bytes(path)
    try:
        if path.lower().endswith(".csv"):
            words = dict.fromkeys((*_REQUIRED, "name"), pa.string())  # 007 is a name, not a number
            table = pa.csv.read_csv(
                io.BytesIO(data), convert_options=pa.csv.ConvertOptions(column_types=words, strings_can_be_null=False)
            )
        else:
            table = pa.parquet.read_table(pa.BufferReader(data))
        there = table.column_names
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: is no CSV or Parquet table ({str(error).splitlines()[0][:120]}): check it") from None
    if missing := [name for name in _REQUIRED if name not in there]:
        raise UserError(f"{path}: has no column {' and '.join(missing)}, but {', '.join(there)}: rename columns")
    columns = [_texts(path, table, name) for name in _REQUIRED]
    names = _texts(path, table, "name") if "name" in there else None
    folder, rows = remote.parent(path), []
    for i, (visible, infrared) in enumerate(zip(*columns, strict=True)):
        name = names[i] if names else remote.stem(visible or "")
        if not (visible and infrared and _is_name(name)):
            raise UserError(f"{path}: row {i + 1} has {name!r}, {visible!r}, {infrared!r}: give a name and two files")
        rows.append(Row(name, remote.absolute(visible, folder), remote.absolute(infrared, folder)))
    if not rows:
        raise UserError(f"{path}: has no rows: list pairs of images in it")
    _refuse_twins(path, rows)
    return rows


def _texts(path: str, table: Any, name: str) -> list[str | None]:
    """The values of a column."""
    pa = arrow()
    try:
        return table[name].cast(pa.string()).to_pylist()
    except KeyError:
        raise UserError(f"{path}: has two columns {name}: remove one") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0][:120]
        raise UserError(f"{path}: the column {name} is no text in UTF-8 ({why}): write names and paths") from None


def _is_name(name: str | None) -> bool:
    """Of a file below the output folder; "/" makes folders there."""
    return bool(name) and "\\" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def _refuse_twins(path: str, rows: Sequence[Row]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.name in seen:
            raise UserError(f"{path}: two pairs are named {row.name!r}: tell them apart by a column 'name'")
        seen.add(row.name)
    for row in rows:
        folder, _, rest = row.name.partition("/")
        if folder in EXTRAS and rest in seen:
            raise UserError(f"{path}: {row.name!r} is where the {folder} image of {rest!r} goes: name it otherwise")


def _place(path: str) -> str:
    folder, name = os.path.split(path)
    return path if remote.is_url(path) else f"{_real(folder)}/{name}"


@functools.lru_cache(4096)
def _real(folder: str) -> str:
    return Path(os.path.realpath(folder)).as_posix().rstrip("/")


def keep_inputs(output: str, rows: Sequence[Row]) -> None:
    """Raises UserError where a result, of whatever kind, would take the place of a file of the table."""
    _real.cache_clear()  # links may have changed since the last table
    root = output.rstrip("/") if remote.is_url(output) else _real(output)
    inside = {place for row in rows for place in row.places() if place.startswith(f"{root}/")}
    for row in rows if inside else ():
        for path in (f"{row.name}.png", *(f"{kind}/{row.name}.png" for kind in EXTRAS)):
            if f"{root}/{path}" in inside:
                raise UserError(f"{output}/{path}: is an input and would be overwritten: choose another --output")


def keep_others(output: str, rows: Sequence[Row], save: Sequence[str]) -> None:
    """Raises UserError where a local folder has images of these names but no manifest; begins one."""
    manifest = Path(output, MANIFEST)
    if manifest.is_dir():
        return
    for row in rows:
        for kind in ("", *save):
            if (path := Path(output, kind, f"{row.name}.png")).exists():
                raise UserError(f"{path}: is there already: choose another --output, or --overwrite")
    try:
        manifest.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}): choose another --output") from None


def failures_path(output: str, shard: tuple[int, int]) -> str:
    """Of the table of what the last call could not fuse; each shard has its own."""
    return f"{output}/failures{'' if shard[1] == 1 else f'-{shard[0]}-of-{shard[1]}'}.parquet"


def write_table(path: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Writes rows as Parquet."""
    pa = arrow()
    table = pa.table({name: [row[name] for row in rows] for name in names})
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    remote.write_bytes(path, sink.getvalue().to_pybytes())


def part_path(output: str, names: Sequence[str]) -> str:
    """Of the piece of the manifest that tells of these pairs: made again, it replaces itself."""
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:20]
    return f"{output}/{MANIFEST}/{digest}.parquet"


def made_before(output: str, about: Mapping[str, Any], rows: Sequence[Row], save: Sequence[str]) -> set[str]:
    """Names of the rows that earlier runs have made, with the images that `save` asks for.

    Raises:
        UserError: other weights or settings than those of `about` made something there, or other files one of the rows.
    """
    there = set()
    for name, (_, other, saved) in _newest(output, about, {row.name: row for row in rows}, set(save)).items():
        if not (remote.is_url(output) or Path(output, f"{name}.png").is_file()):
            continue  # asking a store for every file would take longer than many of them
        if other:
            raise UserError(f"{output}/{name}.png: was made from {other}: choose another --output, or --overwrite")
        if saved:
            there.add(name)
    return there


def _newest(
    output: str, about: Mapping[str, Any], rows: Mapping[str, Row], save: set[str]
) -> dict[str, tuple[float, str, bool]]:
    """What the manifest tells last of rows: the time, the files if they are others, and whether all was saved."""
    pa, found = arrow(), {}
    for path in remote.files_in(f"{output}/{MANIFEST}", ".parquet"):
        try:
            table = pa.parquet.read_table(pa.BufferReader(remote.read_bytes(path)))
            other = [name for name in about if any(x != about[name] for x in table[name].unique().to_pylist())]
            columns = [table[name].to_pylist() for name in ("time", "name", "visible", "infrared")]
        except (pa.ArrowInvalid, KeyError, OSError):
            raise UserError(f"{path}: is damaged: remove it, and its pairs are made anew") from None
        if other:
            what = " and ".join(name.removesuffix("_sha256") for name in other)
            raise UserError(f"{path}: results of other {what} are there: choose another --output, or --overwrite")
        saved = table["saved"].to_pylist() if "saved" in table.column_names else [""] * table.num_rows
        for kinds, time, *record in zip(saved, *columns, strict=True):
            made = Row(*record)
            row = rows.get(made.name)
            if row and time >= found.get(row.name, (0,))[0]:
                same = made == row or made.places() == row.places()
                files = "" if same else f"{made.visible} and {made.infrared}"
                found[row.name] = time, files, save.issubset(kinds.split(","))
    return found


def forget(output: str) -> None:
    """Removes the manifest, so that everything is made anew."""
    for path in remote.files_in(f"{output}/{MANIFEST}", ".parquet"):
        remote.remove(path)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as one value of a column."""
    return json.dumps(settings, sort_keys=True)
