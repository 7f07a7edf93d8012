"""`python -m checkpointflow` is `cpf`."""

import gc
import signal

# Until `prepare` has seen to them, signals wait: one that comes between two imports would break off either.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
gc.set_threshold(100_000)  # a start makes many objects and no garbage

from checkpointflow import startup  # noqa: E402

startup.prepare()

from checkpointflow.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
