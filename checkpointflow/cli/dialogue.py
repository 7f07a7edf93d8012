"""A person at the terminal, who can be asked."""

from __future__ import annotations

import select
import sys

import click

from checkpointflow.cli.screen import Line, Span, find_screen
from checkpointflow.drivers.signals import PROCESS

LISTENING_SECONDS = 0.2


class Terminal:
    """Questions go to stderr, so that stdout holds nothing but the answer of the command."""

    def __init__(self) -> None:
        self._screen = find_screen(sys.stderr)

    def ask(self, question: Line) -> str:
        """A line, without blanks around it. Raises EOFError where no more comes, KeyboardInterrupt."""
        *lines, last = self._screen.fold(question)
        sys.stderr.write(self._screen.render(lines) + self._screen.render_line(last))
        sys.stderr.flush()
        PROCESS.start_listening()  # a run that was driven before has left it deaf
        try:
            # By turns: of a signal that comes just before a read begins, Python tells only when that returns.
            while not select.select([sys.stdin], [], [], LISTENING_SECONDS)[0]:
                pass
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            self.tell((Span("  this is no text in the encoding of this terminal", "bad"),))
            return self.ask(question)
        finally:
            PROCESS.is_listening = False
        if not line:
            raise EOFError
        return line.strip()

    def tell(self, *lines: Line) -> None:
        """Show them, broken at blanks."""
        sys.stderr.write(self._screen.render(part for line in lines for part in self._screen.fold(line)))

    def edit(self, text: str) -> str | None:
        """*text* as it was left in $VISUAL or $EDITOR; None if that failed."""
        try:
            return click.edit(text, extension=".json", require_save=False)
        except click.ClickException as error:  # there is none, or it failed
            self.tell((Span(f"  {error.format_message()}", "bad"),))
            return None
