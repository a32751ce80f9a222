"""Peak memory of a process."""

import resource
from pathlib import Path


def peak() -> int:
    """Bytes resident at most in this program so far.

    Linux hands the parent's peak through fork and exec to getrusage; /proc tells this program's own.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
