"""PyTorch files without PyTorch: what is written loads there, and what is malicious or damaged is refused."""

import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest

from iassf_jax.errors import UserError
from iassf_jax.weights.torch_file import read_torch, write_torch

ODICT = b"ccollections\nOrderedDict\n)R"


def archive(program, storages=None, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("x/data.pkl", program)
        for key, data in (storages or {}).items():
            file.writestr(f"x/data/{key}", data)
    return buffer.getvalue()


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def numbers(*values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def tensor(offset=0, shape=(2, 3), strides=(3, 1), numel=6, dtype="FloatStorage", key="0"):
    storage = b"(" + text("storage") + f"ctorch\n{dtype}\n".encode() + text(key) + text("cpu")
    storage += b"J" + struct.pack("<i", numel) + b"tQ"
    place = b"J" + struct.pack("<i", offset) + numbers(*shape) + numbers(*strides)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + place + b"\x89" + ODICT + b"tR."


SIX = {"0": np.arange(6, dtype=np.float32).tobytes()}


def test_what_is_written_is_read_back():
    rng = np.random.default_rng(0)
    first = {"a.weight": rng.standard_normal((2, 3, 4)).astype(np.float32), "b": np.zeros((), np.float32)}
    second = {"c": rng.standard_normal((5, 2)).astype(np.float32).T}
    found = read_torch(write_torch({"one": first, "two": second}), "file")
    assert found.keys() == {"one", "two"}
    for name, x in {**first, **second}.items():
        np.testing.assert_array_equal({**found["one"], **found["two"]}[name], x)


def test_tensors_may_share_a_storage_and_be_transposed():
    np.testing.assert_array_equal(read_torch(archive(tensor(), SIX), "f"), [[0, 1, 2], [3, 4, 5]])
    transposed = read_torch(archive(tensor(shape=(3, 2), strides=(1, 3)), SIX), "f")
    np.testing.assert_array_equal(transposed, [[0, 3], [1, 4], [2, 5]])
    part = read_torch(archive(tensor(offset=4, shape=(2,), strides=(1,)), SIX), "f")
    np.testing.assert_array_equal(part, [4, 5])
    assert read_torch(archive(tensor(shape=(0, 3), strides=(3, 1)), SIX), "f").shape == (0, 3)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"strides": (4, 1)}, "strides"),
        ({"strides": (1, 1)}, "strides"),
        ({"strides": (0, 0)}, "strides"),
        ({"strides": (-3, 1)}, "unknown way"),
        ({"strides": (3,)}, "strides"),
        ({"offset": 1}, "offset 1"),
        ({"offset": -1}, "unknown way"),
        ({"shape": (100_000, 100_000), "strides": (100_000, 1)}, "shape"),
        ({"shape": (2**31 - 1,) * 3, "strides": (0, 0, 0)}, "shape"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, "9 dimensions"),
        ({"numel": 600}, "600 numbers are announced"),
        ({"numel": -1}, "announced"),
        ({"dtype": "DoubleStorage"}, "announced"),
        ({"dtype": "QUInt8Storage"}, "QUInt8Storage"),
        ({"offset": 2**31 - 1, "shape": (1, 1)}, "offset"),
        ({"key": "1"}, "lacks the data"),
        ({"key": "../../0"}, "lacks the data"),
    ],
)
def test_lying_tensors_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        read_torch(archive(tensor(**changes), SIX), "f")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


LONG = b"\x8a\x09" + (2**62).to_bytes(9, "little")  # an integer that does not fit a stride


def rebuilt(storage, shape=b"(K\x01t", strides=b"(K\x01t", rest=b"\x89" + ODICT):
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape + strides + rest + b"tR."


SCALAR = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06tQ"
BOMBS = {
    "a tensor as a storage": rebuilt(tensor()[2:-1]),
    "a storage as a shape": rebuilt(SCALAR, shape=SCALAR),
    "a text as a shape": rebuilt(SCALAR, shape=text("1")),
    "a stride that overflows": rebuilt(SCALAR, strides=b"(" + LONG + b"t"),
    "too many arguments": rebuilt(SCALAR, rest=b"K\x00K\x00K\x00K\x00"),
    "a name that is a list": b"\x80\x04]q\x00"
    + b"".join(b"]h%ca" % i + b"h%caq%c" % (i, i + 1) for i in range(40))
    + b"\x93.",
    "a key that collides": b"\x80\x02}" + LONG + b"K\x01s.",
    "a call of os.system": b"\x80\x02cos\nsystem\n" + text("touch x") + b"\x85R.",
    "a call found by protocol 4": b"\x80\x04" + text("os") + text("system") + b"\x93" + text("touch x") + b"\x85R.",
    "an instance": b"\x80\x02(ios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\n" + text("x") + b"o.",
    "a constructor with arguments": b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
    "a storage that is called": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "an enormous memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "an enormous number": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "an enormous text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"1.",
    "an enormous buffer": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"1.",
    "a persistent name": b"\x80\x02Pfile\n.",
    "attributes of a list": b"\x80\x02]}b.",
    "a list as a dictionary": b"\x80\x02](K\x01K\x02u.",
    "a number as a list": b"\x80\x02K\x01K\x02a.",
    "a key that is a tuple": b"\x80\x02})K\x01s.",
    "an unknown reference": b"\x80\x02h\x05.",
    "more taken than put": b"\x80\x02\x87.",
    "no end": b"\x80\x02}",
    "a mark that is missing": b"\x80\x02t.",
    "an unknown instruction": b"\x80\x02\xff.",
    "text that is none": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_malicious_and_senseless_programs_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "an enormous memo":  # harmless here: the place is a key, not a size
        assert read_torch(archive(BOMBS[name]), "f") == []
        return
    with pytest.raises(UserError, match=r"^f: "):
        read_torch(archive(BOMBS[name], SIX), "f")
    assert not list(tmp_path.iterdir())


def test_pickled_code_is_not_run(tmp_path):
    target = tmp_path / "made"
    with pytest.raises(UserError, match=r"names .*open.* nothing of it was run"):
        read_torch(archive(pickle.dumps({"epoch": 1, "state": Bomb(target)}, 2)), "f")
    assert not target.exists()


def test_deep_nesting_and_laughter_cost_nothing():
    deep = b"\x80\x02" + b")" + b"\x85" * 200_000 + b"0}."
    with pytest.raises(UserError, match="POP"):
        read_torch(archive(deep), "f")
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"(" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"lq" + bytes([i + 1]) for i in range(100)
    )
    with pytest.raises(UserError, match="LIST"):
        read_torch(archive(laughs + b"."), "f")


def test_damaged_and_foreign_archives():
    good = archive(tensor(), SIX)
    for cut in (10, len(good) // 2, len(good) - 10):
        with pytest.raises(UserError, match="not a whole PyTorch file"):
            read_torch(good[:cut], "f")
    position = good.index(SIX["0"])
    with pytest.raises(UserError, match="CRC"):
        read_torch(good[:position] + b"\x01" + good[position + 1 :], "f")
    with pytest.raises(UserError, match="compressed"):
        read_torch(archive(tensor(), {"0": bytes(24)}, zipfile.ZIP_DEFLATED), "f")
    for junk in (b"", b"hello", pickle.dumps({})):
        with pytest.raises(UserError, match="PyTorch 1.6"):
            read_torch(junk, "f")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(UserError, match=r"data\.pkl"):
        read_torch(empty.getvalue(), "f")


def test_an_entry_larger_than_the_file_and_two_of_one_name():
    data = bytearray(archive(tensor(), SIX))
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    struct.pack_into("<II", data, central + 20, 2**31, 2**31)
    with pytest.raises(UserError, match="larger than the file"):
        read_torch(bytes(data), "f")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = io.BytesIO()
        with zipfile.ZipFile(twice, "w") as file:
            file.writestr("x/data.pkl", b".")
            file.writestr("x/data.pkl", tensor())
    with pytest.raises(UserError, match="two entries"):
        read_torch(twice.getvalue(), "f")


def test_entries_that_overlap_cannot_multiply_the_data():
    """Every storage is one stored entry, so 1,000 names for the same bytes are larger than the file."""
    payload = bytes(100_000)
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(payload), len(payload), len(payload), 1, 0)
    body = header + b"a" + payload
    entries = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, zlib.crc32(payload), len(payload), len(payload),
                    4, 0, 0, 0, 0, 0, 0) + f"{i:04d}".encode()
        for i in range(1000)
    )  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1000, 1000, len(entries), len(body), 0)
    with pytest.raises(UserError, match="larger than the file"):
        read_torch(body + entries + end, "f")


def test_only_float32_is_written():
    with pytest.raises(TypeError, match="float64"):
        write_torch({"a": {"x": np.zeros(3)}})


def test_pytorch_itself_reads_and_writes_the_same(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra 'parity')")
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    path = tmp_path / "ours.pth"
    path.write_bytes(write_torch({"state": {"x": x, "scalar": np.float32(2).reshape(())}}))
    loaded = torch.load(path, weights_only=True)
    mapped = torch.load(path, weights_only=True, mmap=True)["state"]
    assert torch.equal(mapped["x"], loaded["state"]["x"]) and mapped["scalar"].data_ptr() % 64 == 0
    assert torch.equal(loaded["state"]["x"], torch.from_numpy(x)) and loaded["state"]["scalar"] == 2

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3, 2, 2)).sum().backward()
    optimizer.step()
    half = {name: torch.ones(3, dtype=getattr(torch, name)) for name in ("float16", "bfloat16", "float64", "int64")}
    torch.save(
        {"epoch": 3, "net": module.state_dict(), "optimizer": optimizer.state_dict(), "t": x.tolist(), "half": half,
         "parameter": torch.nn.Parameter(torch.ones(2, 3).T), "big": 2**40},
        path,
    )  # fmt: skip
    found = read_torch(path.read_bytes(), "f")
    assert found["epoch"] == 3 and found["big"] == 2**40
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(found["net"][name], value.numpy())
    assert found["optimizer"]["state"][0]["exp_avg"].shape == (2, 3, 1, 1)
    assert found["parameter"].shape == (3, 2) and (found["half"]["bfloat16"].astype(np.float32) == 1).all()
