"""What a GPU program moves through memory, without a GPU: python -m benchmarks.gpu_program [--task "train step"]

Compiles a program of ours for an H200 from its description, and adds up what each of its kernels reads and writes. Over
the bandwidth that is the least time it can take in this form. Needs JAX's CUDA packages, but neither GPU nor driver; no
kernel is tuned by trying, so those of products may be cut otherwise than on a GPU.
"""

import argparse
import collections
import contextlib
import os
import re
from typing import Any
from unittest import mock

os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # it asks the driver

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.speed.cases import Case
from benchmarks.speed.jax_contenders import program_of
from iassf_jax.models.fast import devices

BANDWIDTH = 4.3e12  # bytes a second: a copy within an H200, reads and writes
H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 } threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 device_memory_size: 150000000000
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } device_description_str: "NVIDIA H200"
"""
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "s64": 8, "u64": 8}
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\([^=]*?\)|\S+) ([\w\-]+)\(([^)]*)\)")
_KERNELS = ("fusion", "custom-call", "copy", "dot", "convolution", "reduce", "concatenate", "transpose", "sort")


def size(shapes: str) -> int:
    """Bytes of an array or a tuple of arrays, as a program's text writes them: `f32[2,3]{1,0}`."""
    found = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    return sum(_BYTES.get(kind, 0) * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in found)


def kernels(text: str) -> dict[str, int]:
    """Bytes that each kernel of a compiled program's text reads and writes: its operands and results."""
    shapes = {m[1]: m[2] for m in map(_INSTRUCTION.match, text.splitlines()) if m}
    found, runs = {}, False
    for line in text.splitlines():
        if re.match(r"ENTRY|%", line):
            runs = bool(re.match(r"ENTRY|%command_buffer", line))  # others are the insides of kernels
        match = _INSTRUCTION.match(line)
        if runs and match and match[3] in _KERNELS:
            operands = (re.split(r"[ %]", operand.strip())[-1] for operand in match[4].split(","))
            found[match[1]] = size(match[2]) + sum(size(shapes.get(name, "")) for name in operands)
    return found


def compiled(function: Any, args: Any, own_kernels: bool = True) -> Any:
    """The function's program for an H200, with or without the kernels of `gpu_kernels`."""
    topology = topologies.get_topology_desc(topology_name="gpu", platform="cuda", target_config=H200, topology="1x1x1")
    place = NamedSharding(Mesh(np.array(topology.devices), ("x",)), PartitionSpec())
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    with mock.patch.object(jax, "default_backend", lambda: "gpu"), _gpu_info():
        with mock.patch.object(devices, "_is_recent_nvidia", lambda: own_kernels):
            return jax.jit(function, in_shardings=place, out_shardings=place).lower(*shapes).compile()


def _gpu_info() -> Any:
    """JAX 0.11 and newer ask the GPU at hand what Pallas may use; a context in which they are told."""
    try:
        from jax._src.pallas.triton import gpu_info
    except ImportError:
        return contextlib.nullcontext()
    found = gpu_info.get_gpu_info_from_version(gpu_info.GpuVersion.H200)
    return mock.patch.object(gpu_info, "get_gpu_info", lambda: found)


def main() -> None:
    """Prints a table by kinds of kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("inference", "train step"), default="inference")
    parser.add_argument("--network", choices=("iassf", "iassf_bf16", "release", "release_bf16"), default="iassf_bf16")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--without-kernels", action="store_true", help="cuDNN's depthwise convolutions, not ours")
    args = parser.parse_args()
    function, arrays = program_of(Case(args.task, *args.size, args.batch), args.network)
    program = compiled(function.__wrapped__, arrays, not args.without_kernels)
    by_kind, number = collections.Counter(), collections.Counter()
    for name, moved in kernels(program.as_text()).items():
        kind = re.sub(r"[.\d]+$", "", name)
        by_kind[kind] += moved
        number[kind] += 1
    whole = sum(by_kind.values())
    memory = program.memory_analysis().temp_size_in_bytes / 2**20
    print(f"{sum(number.values())} kernels move {whole / 1e9:.1f} GB: at least {whole / BANDWIDTH * 1e3:.1f} ms; "
          f"temporaries {memory:.0f} MiB\n\n| kernels | number | GB |\n|---|---|---|")  # fmt: skip
    for kind, moved in by_kind.most_common(12):
        print(f"| {kind} | {number[kind]} | {moved / 1e9:.2f} |")


if __name__ == "__main__":
    main()
