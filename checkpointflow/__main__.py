"""`python -m checkpointflow` is `cpf`."""

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
else:
    try:
        import _signal as signal  # without the enumerations, which take longer to make than all that is asked
    except ImportError:  # another interpreter
        import signal

# Until `prepare` has seen to them, signals wait: one that comes between two imports would break off either.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
gc.set_threshold(100_000)  # a start makes many objects and no garbage

from checkpointflow import late, startup  # noqa: E402

late.defer()
startup.prepare()
signal.pthread_sigmask(signal.SIG_SETMASK, ())  # also what came blocked: nobody would hear it

from checkpointflow.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
