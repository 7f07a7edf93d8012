"""checkpointflow: deterministic, resumable workflows for agents, operators and shells."""

__version__ = "2.0.0"
