"""The results as a table in Markdown."""

from typing import Any

from benchmarks.speed.cases import OURS, TITLES

_HEADER = (
    "| | seconds | ratio to PyTorch | to compiled | peak memory, MiB | when compiling | first call, s | when compiling "
    "| of the limit |"
)


def as_markdown(results: dict[str, Any]) -> str:
    """All sections of `python -m benchmarks`'s JSON."""
    machine, limits = results["machine"], results["limits"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['device']}, {machine['cores']} cores; {machine['date']}; {versions}.",
        f"At most {limits['operations'] / 1e9:.0f} GFLOP/s (a large matrix product) and "
        f"{limits['bytes'] / 1e9:.1f} GB/s (x + 1).",
        "",
    ]
    for title, contenders in results["cases"].items():
        lines += [f"**{title}**", "", _HEADER, "|---" * 9 + "|"]
        lines += [_row(name, result, contenders, limits) for name, result in contenders.items()]
        lines.append("")
    return "\n".join(lines + _host(results))


def roofline_seconds(result: dict[str, Any], limits: dict[str, float]) -> float:
    """The time that the machine's limits leave for a program's products, and for the bytes that these must move."""
    return max(result["operations"] / limits["operations"], result["bytes"] / limits["bytes"])


def _row(name: str, result: dict[str, Any], contenders: dict[str, Any], limits: dict[str, float]) -> str:
    if "failure" in result:
        return f"| {TITLES[name]} | failed: {result['failure']} |" + " |" * 7
    ours = name.removesuffix("_bf16") in OURS
    cells = [TITLES[name], f"{result['seconds']:.4g}"]
    for reference in ("torch", "torch_compiled"):
        other = contenders.get(reference, {}).get("seconds")
        cells.append(f"{other / result['seconds']:.2f}" if ours and other else "")
    compiling = result.get("compiling", {})
    cells += [f"{x['memory'] / 2**20:.0f}" if "memory" in x else "" for x in (result, compiling)]
    cells += [f"{x['first_call_s']:.1f}" if "first_call_s" in x else "" for x in (result, compiling)]
    cells.append(f"{roofline_seconds(result, limits) / result['seconds']:.0%}" if result.get("bytes") else "")
    return "| " + " | ".join(cells) + " |"


def _host(results: dict[str, Any]) -> list[str]:
    lines = []
    if start := results.get("start_up"):
        times = f"{start['cold']:.1f} s the first time on a machine, {start['warm']:.1f} s from then on."
        lines += [f"`iassf_jax fuse` of one 640x480 pair, the whole process: {times}", ""]
    if rates := results.get("data"):
        lines += ["| training data | images a second |", "|---|---|"]
        lines += [f"| {title} | {rate:.0f} |" for title, rate in rates.items()]
        lines.append("")
    return lines
