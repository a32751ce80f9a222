"""PyTorch's zip files (`torch.save`, since 1.6), read and written without PyTorch.

A pickle is a program, and Python's unpickler runs what it names. Here it never runs: `_Machine` knows the two dozen
instructions that PyTorch writes for dictionaries of tensors, and the few names they may mention; all else is refused.
"""

import collections
import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from iassf_jax.errors import UserError

MAX_PICKLE_BYTES = 4 * 2**20  # a training checkpoint of the released network has 1.2 MB
MAX_DIMENSIONS = 8
_STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_MARK = object()
_WAY_OUT = "load it with PyTorch and save the two state dicts alone"


class _Storage:
    """Numbers of a file before any view of them is taken."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = numbers


class _Bad(Exception):
    """What is wrong with a file."""


def read_torch(data: bytes, what: str) -> Any:
    """Reads what `torch.save` wrote: dictionaries, lists and numbers, with tensors as read-only NumPy arrays.

    Args:
        data: the file.
        what: its name, for errors.

    Returns:
        The object. Arrays are views of the file's bytes; nothing is copied.

    Raises:
        UserError: not such a file, damaged, or with anything in it that does not belong into a checkpoint.
    """
    try:
        return _read(data)
    except _Bad as error:
        raise UserError(f"{what}: {error}") from None
    # What a damaged zip or a senseless program of permitted instructions raises.
    except (zipfile.BadZipFile, RuntimeError, ValueError, IndexError, TypeError, EOFError, OverflowError) as error:
        words = " ".join(str(error).split())[:120]
        raise UserError(f"{what}: is not a whole PyTorch file ({words}): download or save it again") from None


def _read(data: bytes) -> Any:
    if not data.startswith(b"PK"):
        raise _Bad("is not a zip file of PyTorch 1.6 or newer: load it with PyTorch and torch.save it again")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise _Bad("has compressed entries, which PyTorch does not write: it is refused")
        if sum(info.file_size for info in infos) > len(data):
            raise _Bad("has entries that are larger than the file: it is cut off, or a part of it is missing")
        names = {info.filename for info in infos}
        if len(names) != len(infos):
            raise _Bad("has two entries of one name: it is refused")
        programs = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise _Bad("has no data.pkl: it is not a file of torch.save")
        folder = programs[0].removesuffix("data.pkl")
        if archive.getinfo(programs[0]).file_size > MAX_PICKLE_BYTES:
            raise _Bad(f"has a data.pkl of more than {MAX_PICKLE_BYTES} bytes: it is refused")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise _Bad("was saved on a big-endian machine: save it again on another")

        storages: dict[str, bytes] = {}

        def storage(key: str) -> bytes:
            if key not in storages:
                if f"{folder}data/{key}" not in names:
                    raise _Bad(f"lacks the data of storage {key[:40]!r}: download it again")
                storages[key] = archive.read(f"{folder}data/{key}")
            return storages[key]

        return _Machine(storage).run(archive.read(programs[0]))


class _Machine:
    """Carries out a pickle's instructions, of which none can call or import anything."""

    def __init__(self, storage: Callable[[str], bytes]) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(program):
            name = opcode.name
            if name == "STOP":
                return self._stack.pop()
            if name in _PUSHED_ARGUMENT:
                self._stack.append(argument)
            elif name in _PUSHED:
                self._stack.append(_PUSHED[name]())
            elif name in _TUPLES:
                items = [self._stack.pop() for _ in range(_TUPLES[name])]
                self._stack.append(tuple(reversed(items)))
            elif hasattr(self, f"_do_{name.lower()}"):
                getattr(self, f"_do_{name.lower()}")(argument)
            elif name not in ("PROTO", "FRAME"):
                raise _Bad(f"contains the pickle instruction {name}, which no weights need: {_WAY_OUT}")
        raise _Bad("ends in the middle: download it again")

    def _pop_marked(self) -> list[Any]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _do_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_marked()))

    def _do_append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _do_appends(self, _: Any) -> None:
        self._extend(self._pop_marked())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise _Bad("appends to what is no list: it is refused")
        target.extend(items)

    def _do_setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._update(self._pop_marked())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _Bad("sets items of what is no dictionary: it is refused")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Large integers can be made to collide, so that a dictionary takes hours.
            if not (isinstance(key, str) or (type(key) is int and 0 <= key < 2**31)):
                raise _Bad(f"has a dictionary key that is neither text nor a small number: {_WAY_OUT}")
            target[key] = value

    def _do_binput(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    _do_long_binput = _do_binput

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_binget(self, index: int) -> None:
        if index not in self._memo:
            raise _Bad("refers to what it has not named: it is damaged")
        self._stack.append(self._memo[index])

    _do_long_binget = _do_binget

    def _do_build(self, _: Any) -> None:
        """The attributes of an OrderedDict (a state dict's `_metadata`) are left out."""
        self._stack.pop()
        if not isinstance(self._stack[-1], collections.OrderedDict):
            raise _Bad("sets attributes of what is no dictionary: it is refused")

    def _do_global(self, name: str) -> None:
        self._stack.append(_global(*name.split(" ", 1)))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _Bad("names something by what is no text: it is refused")
        self._stack.append(_global(module, name))

    def _do_reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if function is collections.OrderedDict and arguments == ():
            self._stack.append(collections.OrderedDict())
        elif function is _rebuild_tensor and isinstance(arguments, tuple) and len(arguments) in (6, 7):
            self._stack.append(_rebuild_tensor(*arguments[:4]))
        elif function is _rebuild_parameter and isinstance(arguments, tuple) and len(arguments) == 3:
            self._stack.append(_rebuild_parameter(arguments[0]))
        else:
            raise _Bad(f"calls what no weights need: {_WAY_OUT}")

    def _do_binpersid(self, _: Any) -> None:
        reference = self._stack.pop()
        if not (isinstance(reference, tuple) and len(reference) == 5 and reference[0] == "storage"):
            raise _Bad("refers to something other than a storage: it is refused")
        _, dtype, key, _, numel = reference
        if not (isinstance(dtype, np.dtype) and isinstance(key, str) and isinstance(numel, int)):
            raise _Bad("describes a storage in an unknown way: it is refused")
        data = self._storage(key)
        if numel < 0 or numel * dtype.itemsize != len(data):
            raise _Bad(f"storage {key[:40]!r} has {len(data)} bytes where {numel} numbers are announced: it is damaged")
        self._stack.append(_Storage(np.frombuffer(data, dtype)))


_PUSHED_ARGUMENT = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
_PUSHED = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
    """A view of a storage; every element lies inside it and none is there twice."""
    if not (isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise _Bad("describes a tensor in an unknown way: it is refused")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise _Bad(f"has a tensor of {len(shape)} dimensions and {len(strides)} strides: it is refused")
    if not all(type(n) is int and 0 <= n < 2**48 for n in (offset, *shape, *strides)):
        raise _Bad("describes a tensor in an unknown way: it is refused")
    numbers = storage.numbers
    count, extent, overlaps = math.prod(shape), 1, False
    for stride, n in sorted(zip(strides, shape, strict=True)):
        if n > 1:
            overlaps |= stride < extent
            extent += (n - 1) * stride
    if count and (overlaps or offset + extent > numbers.size):
        raise _Bad(
            f"has a tensor of shape {shape}, strides {strides} and offset {offset} in a storage of {numbers.size} "
            "numbers: it is refused"
        )
    if not count:
        return np.zeros(shape, numbers.dtype)
    steps = tuple(stride * numbers.itemsize if n > 1 else 0 for n, stride in zip(shape, strides, strict=True))
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)


def _rebuild_parameter(tensor: Any) -> np.ndarray:
    if not isinstance(tensor, np.ndarray):
        raise _Bad("has a parameter that is no tensor: it is refused")
    return tensor


_GLOBALS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


def _global(module: str, name: str) -> Any:
    if (module, name) not in _GLOBALS:
        what = f"{module[:60]}.{name[:60]}"
        raise _Bad(f"names {what!r}, which no weights need; nothing of it was run: if you trust it, {_WAY_OUT}")
    return _GLOBALS[module, name]


def write_torch(state_dicts: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """A file that `torch.load(..., weights_only=True)` reads: a dictionary of state dicts of float32 tensors."""
    storages: list[bytes] = []
    program = bytearray(b"\x80\x02}")
    for title, tensors in state_dicts.items():
        program += _text(title) + b"ccollections\nOrderedDict\n)R("
        for name, tensor in tensors.items():
            if tensor.dtype != np.float32:
                raise TypeError(f"{name} is {tensor.dtype}, not float32")
            program += _text(name) + _tensor(str(len(storages)), tensor.shape)
            storages.append(np.ascontiguousarray(tensor, "<f4").tobytes())
        program += b"us"
    program += b"."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "archive/data.pkl", bytes(program))
        _add(archive, "archive/byteorder", b"little")
        for key, data in enumerate(storages):
            _add(archive, f"archive/data/{key}", data)
        _add(archive, "archive/version", b"3\n")
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Adds an entry whose data begins at a multiple of 64 bytes, so that PyTorch can map the file into memory."""
    info = zipfile.ZipInfo(name)
    start = archive.fp.tell() + zipfile.sizeFileHeader + len(name) + 4
    padding = -start % 64
    info.extra = struct.pack("<HH", 0x4246, padding) + bytes(padding)
    archive.writestr(info, data)


def _tensor(key: str, shape: Sequence[int]) -> bytes:
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    reference = _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu") + _int(math.prod(shape))
    sizes = b"(" + b"".join(map(_int, shape)) + b"t(" + b"".join(map(_int, strides)) + b"t"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n((" + reference + b"tQ" + _int(0) + sizes + b"\x89" + hooks + b"tR"


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)
