"""Being told to stop: SIGINT, SIGTERM and SIGHUP, heard only where stopping is safe.

A signal must not break off a commit, so where nobody listens it is remembered. A cpf takes the signals over
at its start (`PROCESS`), and a command listens until it holds a run in order to change it. From there on one
is heard where the run may be stopped; else the answer tells what became of the run, not of the signal.

Python hears signals in its main thread only. A run that is driven in another one is told to stop by whoever
cancels it, or by nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from types import FrameType
else:
    try:
        import _signal as signal  # as in __main__: most starts need no enumeration
    except ImportError:  # another interpreter
        import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ignores_children() -> bool:
    """Whether the system forgets how children end: then each of them seems to have ended with exit code 0."""
    return signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN


def name_signal(number: int) -> str:
    """What people call it; real-time signals have no names."""
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return str(number)


class Interrupts:
    """Takes over the signals for as long as it is entered; in another thread than the main one, none.

    is_listening: whether one that comes raises KeyboardInterrupt. It does so once; what comes later, when all
    is being stopped already, changes nothing.
    """

    def __init__(self) -> None:
        self.is_listening = False
        self._came: int | None = None
        self._was_heard = False
        self._before: dict[int, object] = {}

    @property
    def name(self) -> str | None:
        """That of the signal that came, if one has."""
        return None if self._came is None else name_signal(self._came)

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
        PROCESS.is_listening = False
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._came is not None and not self._was_heard:
            signal.raise_signal(self._came)  # for whoever hears them now

    def listen(self, wait: Callable[[float], None], seconds: float) -> None:
        """Let *wait* take up to that many *seconds*: a signal, or one that came before, breaks it off.

        Raises KeyboardInterrupt then.
        """
        self.start_listening()
        try:
            wait(seconds)
        finally:
            self.is_listening = False

    def start_listening(self) -> None:
        """Hear what comes, or came before. Raises KeyboardInterrupt then."""
        self.is_listening = True
        if self._came is not None:
            self._break_off()

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._came = number
        if self.is_listening:
            self._break_off()

    def _break_off(self) -> None:
        self.is_listening = False
        if not self._was_heard:
            self._was_heard = True
            raise KeyboardInterrupt


PROCESS = Interrupts()
"""Those of a cpf, from its start to its end; never entered where checkpointflow is a library."""
