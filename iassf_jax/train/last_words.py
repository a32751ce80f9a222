"""One line in place of what JAX's runtime dumps, a check failure with its C++ stack, when it loses another process.

The runtime then aborts, from a thread of its own: nothing in this process can speak any more. So a small process reads
what it writes to stderr. Run as a program this file is that process, and imports nothing of the package.
"""

import os
import signal
import subprocess
import sys

_DUMP = (b"distributed service detected fatal errors", b"Polled an error from coordination service")
_token: int | None = None


def lost(reason: str) -> str:
    """The line."""
    return (
        f"error: another process of this run has ended, or cannot be reached ({reason}): start all of them again by "
        "the same command, and the run goes on from its newest checkpoint"
    )


def watch() -> None:
    """From here on Python writes to stderr itself, and what C++ writes there goes by way of the small process."""
    global _token
    _token, put = os.pipe()
    os.write(put, b"1")
    os.set_blocking(_token, False)
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    command = [sys.executable, "-I", "-S", __file__, str(_token)]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[_token], process_group=0)
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()


def is_mine(token: int | None = None) -> bool:
    """Whether the line is still to be said: true for who asks first, this process or the small one."""
    token = _token if token is None else token
    try:
        return token is None or bool(os.read(token, 1))
    except BlockingIOError:
        return False


def _pass_on(token: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the process that trains
        signal.signal(number, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        if any(words in line for words in _DUMP):
            if is_mine(token):
                os.write(2, f"{lost('it was process 0, or silent')}\n".encode())
            return
        os.write(2, line)


if __name__ == "__main__":
    _pass_on(int(sys.argv[1]))
