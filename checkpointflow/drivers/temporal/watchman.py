"""Who ends a dead worker's commands: `python -m checkpointflow.drivers.temporal.watchman MARK`.

Its standard input is a pipe from the worker, which the kernel closes however the worker ends. Whatever then
still has MARK in its environment was started by that worker, and is ended before the cluster gives the step
to another.
"""

from __future__ import annotations

import signal
import subprocess
import sys

MARK = "CPF_WORKER"
GRACE_SECONDS = 1.0


def keep_watch(mark: str) -> subprocess.Popen[bytes]:
    """A watchman for this process, over all that has *mark* in its environment; keep what is returned."""
    command = [sys.executable, "-m", __name__, mark]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env={})


def main() -> None:
    """Wait until the worker is gone, and end what it has left."""
    from checkpointflow.drivers.processes import Family, end
    from checkpointflow.store.locks import read_environment

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    wanted = f"{MARK}={sys.argv[1]}".encode()
    end(Family(lambda pid, _: wanted in read_environment(pid)), GRACE_SECONDS)


if __name__ == "__main__":
    main()
