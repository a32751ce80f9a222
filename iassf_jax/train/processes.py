"""Several processes that train together, by JAX's own runtime: joining them, and ending with them."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

import jax

from iassf_jax.errors import UserError
from iassf_jax.train import last_words

HEARTBEAT_SECONDS = 30
"""A process that is silent for so long counts as dead, and the others end."""
_SHUTDOWN_SECONDS = 60


@contextlib.contextmanager
def joined(coordinator: str | None, count: int | None, index: int | None) -> Iterator[None]:
    """Joins the processes of one run; alone where nothing says that there are others.

    Slurm, Open MPI and Kubernetes tell who is who; elsewhere the arguments do. Call it before anything else runs on a
    device. An error ends this process at once: the others must not be waited for, and they end as they notice.

    Args:
        coordinator: HOST:PORT of process 0.
        count: number of processes.
        index: of this one, from 0.

    Raises:
        UserError: some arguments without the others, or processes that do not come.
    """
    if not _join(coordinator, count, index):
        yield
        return
    try:
        yield
    except (UserError, jax.errors.JaxRuntimeError) as error:
        _end(_told(error), 1)
    except KeyboardInterrupt:
        _end("", 130)
    except Exception:
        traceback.print_exc()
        _end("", 1)


def _join(coordinator: str | None, count: int | None, index: int | None) -> bool:
    given = [x is not None for x in (coordinator, count, index)]
    if any(given) and not all(given):
        raise UserError("--coordinator, --num_processes and --process_id go together: give all three")
    if all(given):
        host, _, port = coordinator.rpartition(":")
        if not (host and port.isdecimal()):
            raise UserError(f"--coordinator is {coordinator!r}: give HOST:PORT of process 0, e.g. 10.0.0.1:12345")
        if not 0 <= index < count:
            raise UserError(f"--process_id is {index}, of {count} processes: use 0 to {count - 1}")
    elif not _launched_together():
        return False
    last_words.watch()
    jax.config.update("jax_enable_preemption_service", False)  # the loop sees to SIGTERM itself
    jax.config.update("jax_check_proxy_envs", False)  # told below, if anything comes of it
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            cluster_detection_method="deactivate" if all(given) else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        cures = ", ".join(["check --coordinator", *(f"unset {name}" for name in os.environ if _names_proxy(name))])
        raise UserError(f"the processes did not find each other ({_line(error)}): {cures}") from None
    return True


def _names_proxy(variable: str) -> bool:
    """Whether a variable may send what processes tell each other through a proxy."""
    return variable.lower() in ("grpc_proxy", "http_proxy", "https_proxy")


def _launched_together() -> bool:
    """Whether a launcher that JAX knows has started several processes, of which this is one."""
    tasks = os.environ.get("SLURM_NTASKS", "1") if "SLURM_STEP_NODELIST" in os.environ else "1"
    ranks = os.environ.get("OMPI_COMM_WORLD_SIZE", "1")
    pods = "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
    return pods or any(n.isdecimal() and int(n) > 1 for n in (tasks, ranks))


def _told(error: Exception) -> str:
    first = last_words.is_mine()  # what follows from this process's end needs no line
    if isinstance(error, UserError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"error: {_line(error)}"
    return last_words.lost(_line(error)[:120]) if first else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _end(words: str, code: int) -> None:
    """Without the farewell of JAX's runtime, which waits for processes that may be gone."""
    print(words, file=sys.stderr, end="\n" if words else "", flush=True)
    sys.stdout.flush()
    os._exit(code)
