"""`python -m checkpointflow` is `cpf`."""

import gc

gc.set_threshold(100_000)  # a start makes many objects and no garbage

from checkpointflow.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
