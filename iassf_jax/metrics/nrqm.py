"""No-reference quality by Ma et al. (NRQM) and the perceptual index that PIRM-2018 made of it and NIQE.

The features are computed here; the three regression forests that score them are the authors' and are not part of this
package: `model.mat` of github.com/chaoma99/sr-metric.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iassf_jax.errors import UserError
from iassf_jax.metrics.nrqm_features import N_FEATURES, features

__all__ = ["ForestModel", "features", "nrqm", "perceptual_index"]

_MEND = "take model.mat from github.com/chaoma99/sr-metric"
_TREE_FIELDS = ("lDau", "rDau", "mbest", "upper", "avnode")


@dataclass(frozen=True)
class _Forest:
    """Regression trees, a column each; nodes count from 1, children come after their parent, 0 marks a leaf."""

    left: np.ndarray  # int[nodes, trees]
    right: np.ndarray  # int[nodes, trees]
    variable: np.ndarray  # int[nodes, trees], from 1; 1 at leaves
    threshold: np.ndarray  # float64[nodes, trees]
    value: np.ndarray  # float64[nodes, trees]
    correction: tuple[float, float]  # offset and slope

    def predict(self, x: np.ndarray) -> float:
        """Mean over the trees of the value at the leaf that `x` reaches."""
        trees = np.arange(self.left.shape[1])
        node = np.zeros_like(trees)
        while (left := self.left[node, trees]).any():
            goes_left = x[self.variable[node, trees] - 1] <= self.threshold[node, trees]
            child = np.where(goes_left, left, self.right[node, trees]) - 1
            node = np.where(left > 0, child, node)
        offset, slope = self.correction
        return float(offset + slope * self.value[node, trees].mean())


@dataclass(frozen=True)
class ForestModel:
    """The trained part of NRQM: a forest per feature group and the line that joins their answers."""

    forests: tuple[_Forest, _Forest, _Forest]
    linear: np.ndarray

    @classmethod
    def load(cls, path: str | Path) -> "ForestModel":
        """Read `model.mat` of the authors.

        The file holds a struct `model` with the cell `rf` of three forests and the vector `linear`. The names around
        the forests do not matter, their order does. Forests are structs of the MATLAB package randomforest-matlab:
        `lDau`, `rDau`, `mbest`, `upper` and `avnode`, [nodes, trees] each.

        Args:
            path: MATLAB file of version 6 or 7 (format 5.0, little-endian).

        Raises:
            UserError: if the file cannot be read or does not hold three sound forests and `linear`.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}): {_MEND}") from error
        if content.startswith(b"MATLAB 7.3"):
            raise UserError(f"{path} is a MATLAB v7.3 file: save it again in MATLAB with save(..., '-v7')")
        try:
            structs = list(_structs(_variables(content)))
            found = [s for s in structs if all(name in s for name in _TREE_FIELDS)]
            linear = [s["linear"] for s in structs if "linear" in s]
            if len(found) != len(N_FEATURES) or len(linear) != 1:
                raise _Unsound(f"{len(found)} forests and {len(linear)} fields 'linear', not 3 and 1")
            forests = tuple(_forest(s, i) for i, s in enumerate(found))
            return cls(forests, _linear(linear[0]))
        except _Unsound as error:
            raise UserError(f"{path} is not the model or is damaged ({error}): {_MEND}") from error

    def score(self, features: Sequence[np.ndarray]) -> float:
        """Quality of one image, about 0 (worst) to 10.

        Args:
            features: what `features` gives, float[18], float[45] and float[75].

        Raises:
            UserError: for other lengths.
        """
        if [np.shape(f) for f in features] != [(n,) for n in N_FEATURES]:
            raise UserError(f"NRQM scores vectors of {N_FEATURES} features, got {[np.shape(f) for f in features]}")
        answers = [forest.predict(x) for forest, x in zip(self.forests, features, strict=True)]
        return float(self.linear @ [1.0, *answers])


def nrqm(luma: np.ndarray, model: ForestModel) -> float:
    """No-reference quality of one image, about 0 (worst) to 10.

    Args:
        luma: uint8[H, W], at least 84 pixels each side. The PIRM-2018 protocol takes Y of ITU-R BT.601 in 16..235
            (MATLAB's `rgb2ycbcr`) without 4 pixels on each side; grey images go through RGB as well.
        model: the authors' forests.

    Raises:
        UserError: for an image that the features are not defined for (see `features`).

    Source:
        Ma et al., "Learning a no-reference quality metric for single-image super-resolution", CVIU 2017.
    """
    return model.score(features(luma))


def perceptual_index(niqe: float, nrqm: float) -> float:
    """Perceptual index (lower is better) of NIQE (lower is better) and NRQM (higher is better).

    Source:
        Blau et al., "The 2018 PIRM challenge on perceptual image super-resolution", ECCV workshops 2018.
    """
    return (10 - nrqm + niqe) / 2


class _Unsound(Exception):
    """What is wrong inside the file."""


def _structs(value: object) -> Iterator[Mapping[str, object]]:
    """Every struct within a value of `_matrix`, in the order of the file, outer ones first."""
    if isinstance(value, dict):
        yield value
        value = value.values()
    elif not isinstance(value, list):
        return
    for item in value:
        yield from _structs(item)


def _forest(fields: Mapping[str, object], index: int) -> _Forest:
    # The field `nodestatus` only repeats which nodes are leaves, in bytes packed into text: not read.
    left, right, variable = (_whole(fields, name) for name in _TREE_FIELDS[:3])
    threshold, value = (_numbers(fields[name], name) for name in _TREE_FIELDS[3:])
    if {a.shape for a in (right, variable, threshold, value)} != {left.shape} or left.ndim != 2 or not left.size:
        raise _Unsound(f"the arrays of forest {index + 1} differ in shape or are empty")
    nodes = np.arange(1, len(left) + 1)[:, None]
    inner = (left != 0) | (right != 0)
    for child in (left, right):
        if (inner & ((child <= nodes) | (child > len(left)))).any():
            raise _Unsound(f"forest {index + 1} has a child outside 1..{len(left)} or before its parent")
    if (inner & ((variable < 1) | (variable > N_FEATURES[index]))).any():
        raise _Unsound(f"forest {index + 1} splits by a feature outside 1..{N_FEATURES[index]}")
    variable = np.where(inner, variable, 1)
    used = slice(max(1, int(left.max()), int(right.max())))  # most rows are spare
    kept = (a[used].copy() for a in (left, right, variable, threshold, value))
    return _Forest(*kept, _correction(fields))


def _correction(fields: Mapping[str, object]) -> tuple[float, float]:
    coefficients = _numbers(fields.get("coef", np.zeros(2)), "coef").ravel()
    if not coefficients.any():  # the usual case: trained without bias correction
        return 0.0, 1.0
    if coefficients.size != 2:
        raise _Unsound("'coef' does not hold 2 numbers")
    return float(coefficients[0]), float(coefficients[1])


def _linear(value: object) -> np.ndarray:
    linear = _numbers(value, "linear").ravel()
    if linear.size != 4:
        raise _Unsound(f"'linear' holds {linear.size} numbers, not 4")
    return linear


def _numbers(value: object, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        raise _Unsound(f"'{name}' does not hold numbers")
    if not np.isfinite(value).all():
        raise _Unsound(f"'{name}' holds a number that is not finite")
    return value.astype(np.float64, copy=False)


def _whole(fields: Mapping[str, object], name: str) -> np.ndarray:
    numbers = _numbers(fields[name], name)
    if (numbers != np.floor(numbers)).any() or (np.abs(numbers) > 2**31 - 1).any():
        raise _Unsound(f"'{name}' holds something else than indices")
    return numbers.astype(np.int32)


# MATLAB files. SciPy's reader is not used: damaged files can crash the interpreter in it.

_HEADER_BYTES = 128
_TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 2, 6, 15


def _variables(content: bytes) -> dict[str, object]:
    """The variables of a MATLAB file of format 5.0, as `_matrix` gives them."""
    if not content.startswith(b"MATLAB 5.0 MAT-file") or content[_HEADER_BYTES - 2 : _HEADER_BYTES] != b"IM":
        raise _Unsound("it is no MATLAB file of format 5.0")
    try:
        variables = {}
        for kind, data in _elements(memoryview(content)[_HEADER_BYTES:]):
            if kind == _COMPRESSED:
                ((kind, data),) = _elements(memoryview(zlib.decompress(data)))
            if kind == _MATRIX:
                name, value = _matrix(data)
                variables[name] = value
        return variables
    except (ValueError, IndexError, KeyError, struct.error, zlib.error, RecursionError, MemoryError) as error:
        raise _Unsound("its parts do not fit together") from error


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the elements that follow one another in `data`."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        start = at + 8
        at = start + size
        if kind != _COMPRESSED:
            at += -size % 8
        if kind >> 16:  # up to four bytes share the eight of the tag
            kind, size, start, at = kind & 0xFFFF, kind >> 16, start - 4, start
        if start + size > min(at, len(data)):
            raise ValueError("an element reaches beyond its container")
        yield kind, data[start : start + size]


def _matrix(data: memoryview) -> tuple[str, object]:
    """Name and value: an array, a list for a cell, a list of dicts for structs, None for all else."""
    if not data:  # MATLAB's short form of []
        return "", np.zeros((0, 0))
    (_, flags), (_, shape), (_, name), *parts = _elements(data)
    kind, shape, name = flags[0], np.frombuffer(shape, "<i4").tolist(), bytes(name).decode("latin-1")
    if kind == _CELL:
        return name, [_matrix(item)[1] for _, item in parts]
    if kind == _STRUCT:
        (_, length), (_, names), *items = parts
        length = struct.unpack("<i", length)[0]
        names = [bytes(names[i : i + length]).split(b"\0")[0].decode("latin-1") for i in range(0, len(names), length)]
        values = iter([_matrix(item)[1] for _, item in items])
        return name, [dict(zip(names, values, strict=False)) for _ in range(len(items) // max(1, len(names)))]
    if _FIRST_NUMERIC <= kind <= _LAST_NUMERIC:
        stored, numbers = parts[0]
        return name, np.frombuffer(numbers, _TYPES[stored]).reshape(shape, order="F")
    return name, None
