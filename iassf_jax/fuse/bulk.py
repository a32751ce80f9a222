"""Fusing the pairs of a table, millions of them: on this machine, or on a Ray cluster; resumable."""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from iassf_jax.align.placing import prepare_placed
from iassf_jax.data import images, remote
from iassf_jax.data.notes import Kinds, Note
from iassf_jax.errors import UserError
from iassf_jax.fuse.files import Options, about, pictures, pipelined, sweep
from iassf_jax.fuse.fuser import Fuser, Result
from iassf_jax.fuse.prepare import Prepared
from iassf_jax.fuse.reading import HashedReads, read_pair
from iassf_jax.fuse.table import (
    MANIFEST,
    Row,
    failures_path,
    forget,
    keep_inputs,
    keep_others,
    made_before,
    part_path,
    read_pairs,
    settings_text,
    write_table,
)
from iassf_jax.fuse.tiling import Tiling
from iassf_jax.locks import locked
from iassf_jax.runtime import use_compilation_cache
from iassf_jax.weights.formats import Weights

_ABOUT = ("weights_sha256", "settings")
_RECORD = ("name", "visible", "infrared", "inputs_sha256", "fused_sha256", "saved", "notes", *_ABOUT, "time")
_FAILURE = ("name", "visible", "infrared", "reason")
_OUTCOME = (*_FAILURE, "notes")
Chunk = Mapping[str, np.ndarray]
Engine = Callable[["ChunkFuser", list[Chunk]], Iterator[Chunk]]


@dataclasses.dataclass
class ChunkFuser:
    """Fuses chunks of a table: reads, fuses and writes each pair, then the chunk's piece of the manifest.

    Attributes:
        weights, tiling: of the `Fuser`, which is made where and when the first chunk comes.
        options: as for folders.
        output: folder or URL.
        told: `weights_sha256` and `settings`, for the manifest.
    """

    weights: Weights
    tiling: Tiling | None
    options: Options
    output: str
    told: Mapping[str, str]

    @functools.cached_property
    def fuser(self) -> Fuser:
        """Compiled once for each size of images that comes."""
        use_compilation_cache()
        return Fuser(self.weights, self.tiling)

    def __call__(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """The chunk's `name`, `visible`, `infrared`, `notes` as JSON, and why a pair could not be fused, else ""."""
        rows = [
            Row(*map(str, values)) for values in zip(*(chunk[f.name] for f in dataclasses.fields(Row)), strict=True)
        ]
        records, outcomes = [], []
        run = pipelined(self.fuser, rows, self.options.strengths, self._read, self._write)
        for row, outcome in run:
            pair, notes, reason = dataclasses.asdict(row), [], ""
            if isinstance(outcome, UserError):
                reason = str(outcome)
            else:
                record, notes = outcome
                records.append({**pair, **record, **self.told, "time": time.time()})
            outcomes.append({**pair, "reason": reason, "notes": json.dumps(notes)})
        if records:
            write_table(part_path(self.output, [row.name for row in rows]), records, _RECORD)
        return {name: np.array([outcome[name] for outcome in outcomes], object) for name in _OUTCOME}

    def _read(self, row: Row) -> tuple[Prepared, list[Note], str]:
        notes: list[Note] = []
        read = HashedReads(_read_image)
        pair = read_pair(row.visible, row.infrared, self.options.orient, self.options.damaged, notes, read)
        prepared = prepare_placed(*pair, self.options.preparation, self.options.placing, notes)
        return prepared, notes, read.sha256()

    def _write(
        self, row: Row, pair: Prepared, notes: list[Note], digest: str, result: Result
    ) -> tuple[dict[str, str], list[Note]]:
        for kind, image in pictures(self.options.save, pair, result):
            path = f"{self.output}/{kind}/{row.name}.png"
            remote.write_bytes(path, images.encode_image(path, image, ".png"))
        path = f"{self.output}/{row.name}.png"
        data = images.encode_image(path, result.fused, ".png")
        remote.write_bytes(path, data)
        record = {"inputs_sha256": digest, "fused_sha256": hashlib.sha256(data).hexdigest()}
        return record | {"saved": ",".join(self.options.save), "notes": "; ".join(map(str, notes))}, notes


def _read_image(path: str) -> bytes:
    return remote.read_bytes(path) if remote.is_url(path) else images.read_file(path)


def here(work: ChunkFuser, chunks: list[Chunk]) -> Iterator[Chunk]:
    """Runs the chunks in this process."""
    yield from map(work, chunks)


def fuse_table(
    fuser: Fuser,
    pairs: str,
    output: str,
    options: Options,
    engine: Engine = here,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int, int, Kinds]:
    """Fuses the pairs of a table. What a run with the same weights and settings has made already is passed over.

    Beside the images `NAME.png` the output gets `manifest/*.parquet` and, where pairs could not be fused,
    `failures.parquet` (of a shard: `failures-I-of-N.parquet`).

    Args:
        fuser: the network; it runs here, or its weights go to the workers.
        pairs: the table, see `table.read_pairs`.
        output: a folder or URL.
        options: how.
        engine: what runs the chunks.
        progress: called with the number of finished pairs and of all.

    Returns:
        How many pairs were made, were there, and could not be fused, and what is to be said of those that were made.

    Raises:
        UserError: a table that is none, an input that would be overwritten, an output of other settings, files or runs,
            or a folder in which another process works.
    """
    index, count = options.shard
    rows, output = read_pairs(pairs), remote.absolute(output)
    keep_inputs(output, rows)
    rows = rows[index - 1 :: count]
    if remote.is_url(output):
        return _fuse_rows(fuser, rows, output, options, engine, progress)
    with locked(output, "--output", shared=count > 1):
        if count == 1:
            kinds = ("", MANIFEST, *options.save)
            sweep(*{Path(output, kind, row.name).parent for row in rows for kind in kinds})
        keep_others(output, () if options.overwrite else rows, options.save)
        return _fuse_rows(fuser, rows, output, options, engine, progress)


def _fuse_rows(
    fuser: Fuser,
    rows: Sequence[Row],
    output: str,
    options: Options,
    engine: Engine,
    progress: Callable[[int, int], None],
) -> tuple[int, int, int, Kinds]:
    """`fuse_table`, from its rows."""
    facts = about(fuser, options)
    told = {"weights_sha256": str(facts["weights"].get("sha256", "")), "settings": settings_text(facts["settings"])}
    if options.overwrite:
        forget(output)
    there = made_before(output, told, rows, options.save)
    todo = [row for row in rows if row.name not in there]
    weights = dataclasses.replace(fuser.weights, params=jax.tree.map(np.asarray, fuser.weights.params))
    work = ChunkFuser(weights, getattr(fuser.predictor, "tiling", None), options, output, told)
    if engine is here:
        work.fuser = fuser
    made, failures, known, notes = 0, [], len(rows) - len(todo), Kinds()
    for outcome in engine(work, _chunks(todo)):
        failed = [i for i, reason in enumerate(outcome["reason"]) if reason]
        failures += [{name: str(outcome[name][i]) for name in _FAILURE} for i in failed]
        for path, said in zip(outcome["visible"], outcome["notes"], strict=True):
            for note in json.loads(said):
                notes.add(str(path), Note(*note))
        made += len(outcome["reason"]) - len(failed)
        progress(known + made + len(failures), len(rows))
    path = failures_path(output, options.shard)
    if failures or remote.files_in(output, path.rpartition("/")[2]):
        write_table(path, failures, _FAILURE)
    return made, known, len(failures), notes


def _chunks(rows: Sequence[Row]) -> list[Chunk]:
    """What a worker does at a time and, where it is killed, does again."""
    size = min(max(64, len(rows) // 20_000), 4096)
    names = [field.name for field in dataclasses.fields(Row)]
    return [
        {name: np.array([getattr(row, name) for row in rows[i : i + size]], object) for name in names}
        for i in range(0, len(rows), size)
    ]
