"""The command line. `answer` is where every exception ends: whatever happens, stdout gets one envelope.

A command is a module of this package with a click command called `command`, which returns the envelope
to print, or None when it has printed its own text. It is imported when it is called: a start pays only
for what it uses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, NoReturn

import click

from checkpointflow import __version__
from checkpointflow.diagnostics import find_nearest
from checkpointflow.drivers.signals import PROCESS
from checkpointflow.errors import CheckpointflowError, InternalError, Interrupted, SystemRefused, UsageError

if TYPE_CHECKING:
    from checkpointflow.cli.envelope import Reply

COMMANDS = {
    "init": "Write a workflow to start from.",
    "guide": "Print the whole user guide.",
    "validate": "Check a workflow before anything runs.",
    "explore": "Walk every way that a workflow can go; nothing is run.",
    "test": "Run the tests of workflows, in which nothing is started.",
    "record": "Print a run as such a test.",
    "flows": "List the workflows that can be run by their ids.",
    "plan": "Say what a run would come to, before it does.",
    "run": "Start a run, to its end or to the next wait.",
    "resume": "Deliver an event, or go on where nothing is needed from outside.",
    "status": "Show where a run stands.",
    "watch": "Look on until a run rests.",
    "wait": "Wait until runs rest.",
    "inspect": "Show everything about a run: inputs, steps, outputs, history.",
    "logs": "Show what the steps of a run printed.",
    "retry": "Run a failed or interrupted step again, and go on.",
    "tick": "Go on with every run in which something is due.",
    "cancel": "Stop a run for good.",
    "answer": "Answer what a run asks, field by field, at a terminal.",
    "waits": "List what the runs of the store wait for.",
    "work": "Have a command answer what waits.",
    "list": "List the runs of the store, newest first.",
    "diff": "Show what differs between two runs, or two checkpoints of one.",
    "graph": "Draw a workflow, or a run of one.",
    "report": "Write a run as one HTML page.",
    "artifacts": "List what the steps of a run left behind, or copy it out.",
    "export": "Write a run into one file, to hand it over.",
    "import": "Take in a run that somebody hands over.",
    "verify": "Check a run: its history, its snapshot, every digest.",
    "delete": "Remove a run that has ended.",
    "gc": "Remove old runs, and what crashes have left.",
    "completion": "Print what a shell needs to complete the words of cpf.",
    "worker": "Work for the runs of a cluster, until told to stop.",
    "mcp": "Serve workflows as tools for models (MCP).",
    "schema": "Print a published JSON Schema: workflow, envelope or state.",
}


ALIASES = {"retry-step": "retry"}
ALONE = "overview"
"""What `cpf` without a word means at a terminal."""

ON, SHELF = "checkpointflow.on", "checkpointflow.shelf"

TEXTS = ("guide", "graph", "record", "completion", "mcp", "schema")
"""Those whose answer is no envelope."""
OWN_WORDS = ("list", "import", "answer", "test")


def module_of(name: str) -> str:
    """The module of the command called *name*; a word of Python's, or of ours, gets an underscore."""
    return f"{__name__}.{name.replace('-', '_')}{'_' if name in OWN_WORDS else ''}"


class Cpf(click.Group):
    """The group of all commands, each imported when it is asked for."""

    asked: str = "cpf"
    debug: bool = False
    form: str | None = None
    is_whole: bool = False
    arguments: Sequence[str] = ()

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in (*COMMANDS, ALONE):
            raise UsageError(problem=_describe_unknown(cmd_name))
        self.asked = cmd_name
        module = import_module(module_of(name))
        command: click.Command = module.command
        PROCESS.start_listening()  # not before: what is half imported is not imported again
        if JSON not in command.params:
            command.params += [JSON, TEXT, *([] if name in TEXTS else [FULL])]
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _describe_unknown(name: str) -> str:
    near = find_nearest(name, [*COMMANDS, *ALIASES])
    return f"there is no command {name}; " + (f"did you mean {near}?" if near else "see: cpf --help")


def _ask_for(form: str, about: str) -> click.Option:
    """An option that chooses how the answer is shown, wherever it stands."""

    def choose(context: click.Context, _: click.Parameter, asked: bool) -> None:
        from checkpointflow.cli.output import choose_form

        choose_form(context, form if asked else None)

    return click.Option(
        [f"--{form}"], is_flag=True, is_eager=True, expose_value=False, help=about, callback=choose
    )


JSON = _ask_for("json", "Show the answer as JSON, also on a terminal.")
TEXT = _ask_for("text", "Show the answer as text for people, also in a pipe.")


def _show_all(context: click.Context) -> None:
    from checkpointflow.cli.output import show_all

    show_all(context)


FULL = click.Option(
    ["--full"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _show_all(context) if asked else None,
    help="Show all of the answer, however long; else what is over 16 KiB is cut.",
)


@click.group(
    cls=Cpf,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 2 usage, 10 validation, 20 runtime, 30 step failed, 40 waiting, "
    "50 cancelled, 60 persistence, 70 lock, 80 unsupported, 90 internal. See: cpf guide",
)
@click.option("--debug", is_flag=True, help="Show the traceback of a bug on stderr.")
@click.option(
    "--on",
    metavar="URL",
    envvar="CPF_ON",
    help="The cluster whose runs are meant: temporal://HOST:PORT/NAMESPACE (default $CPF_ON).",
)
@click.option(
    "--shelf",
    metavar="URL",
    envvar="CPF_SHELF",
    help="What its machines share: a directory, or s3://BUCKET/PREFIX (default $CPF_SHELF, else the store).",
)
@click.version_option(__version__, message="cpf %(version)s")
@click.pass_context
def group(ctx: click.Context, debug: bool, on: str | None, shelf: str | None) -> None:
    """checkpointflow runs workflows: portable state machines in YAML that pause for people, agents, systems.

    A run is a directory: it can be resumed in another process, on another machine, in other hands.
    """
    assert isinstance(ctx.command, Cpf)
    ctx.command.debug = debug
    ctx.meta[ON], ctx.meta[SHELF] = on, shelf


group.params += [JSON, TEXT]


def answer(arguments: list[str]) -> int:
    """Do what *arguments* ask for, print the answer, and return the exit code."""
    group.asked = "cpf"
    group.debug = False
    group.form, group.is_whole = None, False
    group.arguments = arguments
    if not arguments and sys.stdout.isatty():
        from checkpointflow.cli.output import shows_text

        arguments = [ALONE] if shows_text(None) else []
    asked: dict[str, Any] = {}  # what is found out of it, by the names in cli.location
    try:
        return _answer(arguments, asked)
    finally:
        if "store" in asked:
            asked["store"].close()


def _answer(arguments: list[str], asked: dict[str, Any]) -> int:
    try:
        _refuse_odd_bytes(arguments)
        given = _do(arguments, asked)
    except click.UsageError as error:
        return _refuse(_translate_usage_error(error), asked)
    except (KeyboardInterrupt, click.Abort):
        return _refuse(Interrupted(signal=PROCESS.name or "SIGINT"), asked)
    except CheckpointflowError as error:
        return _refuse(error, asked)
    except Exception as error:  # noqa: BLE001, here every exception ends
        return _refuse(_report_bug(error), asked)
    if isinstance(given, int):
        return given
    try:
        return 0 if given is None else _print(given)
    except Exception as error:  # noqa: BLE001, an envelope that cannot be written is a bug, too
        return _refuse(_report_bug(error), asked)


def _do(arguments: list[str], asked: dict[str, Any]) -> Any:
    try:
        return group.main(arguments, prog_name="cpf", standalone_mode=False, obj=asked)
    finally:
        PROCESS.is_listening = False  # from here on the answer is what matters
        if "progress" in asked:
            asked["progress"].stop()


def _refuse_odd_bytes(arguments: list[str]) -> None:
    """Raise UsageError for what is no text: it could stand in no envelope, and in no state."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError as error:
        given = error.object[error.start : error.end].encode(errors="surrogateescape")
        problem = f"{given!r} in what is given to cpf is not UTF-8, as all of it must be"
        raise UsageError(problem=problem) from None


def main() -> NoReturn:
    """The entry point of `cpf`."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no text is too much for a terminal
    code = answer(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 60
    os._exit(code)  # the interpreter's own goodbye takes longer than most answers


def _print(answer: Reply, error: CheckpointflowError | None = None) -> int:
    """Show *answer*, as text or as JSON; returns the exit code. An *error* is told on stderr as well."""
    from checkpointflow.cli.output import is_indented, is_on_github, is_watched, shows_text

    envelope, as_text = answer.envelope, shows_text(group.form)
    with suppress(OSError):  # who cannot be told of an error has its exit code all the same
        if as_text or is_watched():
            from checkpointflow.cli.terminal import tell

            tell(answer, error)
        if is_on_github():
            from checkpointflow.cli.ci import tell_github

            tell_github(answer, error)
    try:
        if not as_text:
            from checkpointflow.cli.encoding import encode
            from checkpointflow.cli.envelope import bound

            shown = envelope if group.is_whole else bound(answer, group.arguments)
            sys.stdout.buffer.write(encode(shown, indented=is_indented()) + b"\n")
        elif error is None:
            from checkpointflow.cli.screen import find_screen
            from checkpointflow.cli.text import show

            sys.stdout.write(show(answer, find_screen()))
        sys.stdout.flush()
    except OSError:
        return envelope.exit_code or 60
    return envelope.exit_code


def _refuse(error: CheckpointflowError, asked: dict[str, Any]) -> int:
    from checkpointflow.cli.envelope import MAX_DETAILS, wrap_error

    most = None if group.is_whole else MAX_DETAILS
    return _print(wrap_error(group.asked, error, asked.get("directory"), most), error)


def _translate_usage_error(error: click.UsageError) -> UsageError:
    path = error.ctx.command_path if error.ctx else "cpf"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return UsageError(problem=f"a command is missing; see: {path} --help")
    return UsageError(problem=f"{error.format_message().rstrip('.')}; see: {path} --help")


def _report_bug(error: Exception) -> InternalError | SystemRefused:
    if group.debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError | MemoryError):
        return SystemRefused(problem=str(error) or "there is not enough memory")
    return InternalError(problem=f"{type(error).__name__}: {error}")
