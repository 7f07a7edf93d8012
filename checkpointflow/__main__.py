"""`python -m checkpointflow` is `cpf`."""

from checkpointflow.cli import main

if __name__ == "__main__":
    main()
