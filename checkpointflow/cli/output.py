"""Who reads what cpf prints, and so how it is shown. Decided here, and nowhere else.

stdout that is a terminal gets text for people; everything else gets the one envelope. `--text` and `--json`
win over both; `LLM=true` and `CPF_FORMAT=json` ask for the envelope on a terminal, too.
"""

from __future__ import annotations

import os
import sys

import click


def shows_text(asked: str | None) -> bool:
    """Whether the answer is shown as text for people, else it is the envelope; *asked*: "text" or "json"."""
    if asked is not None:
        return asked == "text"
    return sys.stdout.isatty() and not is_agent() and os.environ.get("CPF_FORMAT", "").lower() != "json"


def choose_form(context: click.Context, form: str | None) -> None:
    """Have the answer shown in *form*, "text" or "json", if it is one."""
    if form is not None:
        context.find_root().command.form = form  # type: ignore[attr-defined]


def show_all(context: click.Context) -> None:
    """Have all of the answer shown, however long it is: whoever called asked for that."""
    context.find_root().command.is_whole = True  # type: ignore[attr-defined]


def shows_all() -> bool:
    """Whether the answer of the command that runs will be shown whole."""
    context = click.get_current_context(silent=True)
    return context is not None and getattr(context.find_root().command, "is_whole", False)


def asks_people() -> bool:
    """Whether somebody can be asked who reads text, so that a question may come unasked for."""
    return can_ask() and is_read_as_text()


def is_read_as_text() -> bool:
    """Whether the answer of the command that runs will be shown as text."""
    context = click.get_current_context(silent=True)
    return shows_text(None if context is None else getattr(context.find_root().command, "form", None))


def can_ask() -> bool:
    """Whether somebody sits at the terminal who can be asked."""
    return sys.stdin.isatty() and is_watched()


def is_indented() -> bool:
    """Whether the envelope is indented: only a terminal has the room."""
    return sys.stdout.isatty()


def is_watched() -> bool:
    """Whether a person looks on: hints and progress go to stderr only then."""
    return sys.stderr.isatty() and not is_agent()


def is_on_github() -> bool:
    """Whether a runner of GitHub Actions reads all that is printed, and obeys some of it."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def is_agent() -> bool:
    """Whether whoever calls has said that they are a model."""
    return os.environ.get("LLM", "").lower() == "true"
