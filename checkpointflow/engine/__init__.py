"""What follows: a run and a message in, a run and the facts that led to it out. Nothing is done here.

The engine has no clock, no disk, no thread: whoever drives a run hands everything in inside a message, and
does what the run then asks for. The whole of a driver is:

    run, facts = advance(program, None, Begin(now=now(), run_id=run_id, inputs=inputs, digest=digest))
    save(run, facts)
    while pending(run):
        action = pending(run)[0]
        outcome = perform(action)
        message = Report(now=now(), path=action.path, attempt=action.attempt, outcome=outcome)
        run, facts = advance(program, run, message)
        save(run, facts)
    print(run.outcome or waits(run))

- The engine owns what follows: which step is next, what it may be told, what a failure leads to. A message
  that makes no sense raises, and leaves the run as it was.
- The driver owns what is done, and when: time (`now`, UTC), ids, secrets, threads. It may perform all that is
  pending at once and report in any order; what has fallen away meanwhile is not heard.
- `save` owns the law: it returns once the facts would survive a crash, all of them or none, and only then is
  anything performed. So what is pending on disk is exactly what may or may not have happened: whoever finds
  it after a crash says `Recover(now=now(), lost=unanswered(run))` before anything is performed.
- A run that waits is answered with `Deliver(now=now(), path=…, payload=…)`, and goes on as above.
- Equal runs behave equally: `run` is all of the state, and plain data. Folding the facts through `evolve`
  gives it again. Nobody but `evolve` makes one out of another.

`drivers/local.py` is that loop with signals, locks and several actions at once. The names below are imported
when they are first used: whoever reads a run needs no rules.
"""

from __future__ import annotations

__all__ = [
    "Action",
    "Answer",
    "Begin",
    "Cancel",
    "ChooseDirectory",
    "Defer",
    "Deliver",
    "Fact",
    "Failure",
    "Interrupt",
    "Message",
    "Outcome",
    "Program",
    "Recover",
    "Report",
    "Retry",
    "Run",
    "Seal",
    "Slept",
    "Success",
    "advance",
    "evolve",
    "find_wait",
    "pending",
    "unanswered",
    "waits",
]

TYPE_CHECKING = False  # typing's would cost its import
if TYPE_CHECKING:
    from checkpointflow.documents.program import Program
    from checkpointflow.engine.actions import Action, Failure, Outcome, Slept, Success
    from checkpointflow.engine.answers import Answer, find_wait
    from checkpointflow.engine.evolution import evolve
    from checkpointflow.engine.facts import Fact
    from checkpointflow.engine.messages import (
        Begin,
        Cancel,
        ChooseDirectory,
        Defer,
        Deliver,
        Interrupt,
        Message,
        Recover,
        Report,
        Retry,
        Seal,
    )
    from checkpointflow.engine.rules import advance
    from checkpointflow.engine.run import Run, pending, unanswered, waits
else:  # so that a type checker still tells a name that is not there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from checkpointflow.engine import actions, answers, evolution, facts, messages, rules, run

        homes = (rules, answers, evolution, run, messages, facts, actions)
        return next(getattr(home, name) for home in homes if hasattr(home, name))
