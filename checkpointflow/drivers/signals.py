"""Being told to stop: SIGINT, SIGTERM and SIGHUP, heard only where stopping is safe.

A signal between two writes must not tear a commit, so outside of `listening` it is remembered, and
raised as KeyboardInterrupt at the next place that listens.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Takes over the signals for as long as it is entered, in the main thread."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._listening = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupts:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it a signal, or one that came before, raises KeyboardInterrupt."""
        self._listening = True
        try:
            if self.name is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._listening = False

    def _heard(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        if self._listening:
            self._listening = False
            raise KeyboardInterrupt
