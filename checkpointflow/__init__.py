"""checkpointflow: deterministic, resumable workflows for agents, operators and shells.

From Python, `load` checks a workflow, and `Store(base).start(…)` begins a run and returns a `RunHandle`; see
`checkpointflow.api`. These names are imported when they are first used, so that `cpf` pays nothing for them.
"""

__version__ = "2.0.0"

__all__ = [
    "CallHttp",
    "CheckedWorkflow",
    "CheckpointflowError",
    "Failure",
    "InvalidWorkflow",
    "LockConflict",
    "Run",
    "RunCommand",
    "RunHandle",
    "Store",
    "Success",
    "Wait",
    "fail",
    "load",
]

TYPE_CHECKING = False  # typing's would cost its import
if TYPE_CHECKING:
    from checkpointflow.api import (
        CallHttp,
        CheckedWorkflow,
        CheckpointflowError,
        Failure,
        InvalidWorkflow,
        LockConflict,
        Run,
        RunCommand,
        RunHandle,
        Store,
        Success,
        Wait,
        fail,
        load,
    )
else:  # so that a type checker still tells a name that is not there

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from checkpointflow import api

        return getattr(api, name)

    def __dir__():
        return sorted([*globals(), *__all__])
