"""Being told to stop: SIGINT, SIGTERM and SIGHUP, heard only where stopping is safe.

A signal must not break off a commit, so outside of `listen` it is remembered.

Python hears signals in its main thread only. A run that is driven in another one is told to stop by whoever
cancels it, or by nobody.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ignores_children() -> bool:
    """Whether the system forgets how children end: then each of them seems to have ended with exit code 0."""
    return signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN


class Interrupts:
    """Takes over the signals for as long as it is entered; in another thread than the main one, none."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._listening = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in SIGNALS:
            # Ignored: nohup, or a shell's background job. None: taken by what is not Python, which could not
            # be given it back.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._hear)
        if ignores_children():  # inherited from whoever started us
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def listen(self, wait: Callable[[float], None], seconds: float) -> None:
        """Let *wait* take up to that many *seconds*: a signal, or one that came before, breaks it off.

        Raises KeyboardInterrupt then.
        """
        self._listening = True
        try:
            if self.name is not None:
                raise KeyboardInterrupt
            wait(seconds)
        finally:
            self._listening = False

    def _hear(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        if self._listening:
            self._listening = False
            raise KeyboardInterrupt
