"""The command line. `answer` is where every exception ends: whatever happens, stdout gets one envelope.

A command is a module of this package with a click command called `command`, which returns the envelope
to print, or None when it has printed its own text. It is imported when it is called: a start pays only
for what it uses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from checkpointflow import __version__
from checkpointflow.errors import CheckpointflowError, InternalError, Interrupted, UsageError

if TYPE_CHECKING:
    from checkpointflow.cli.envelope import Envelope

COMMANDS = {
    "init": "Write a workflow to start from.",
    "guide": "Print the whole user guide.",
    "validate": "Check a workflow before anything runs.",
    "flows": "List the workflows that can be run by their ids.",
    "run": "Start a run, to its end or to the next wait.",
    "resume": "Deliver an event, or go on where nothing is needed from outside.",
    "status": "Show where a run stands.",
    "inspect": "Show everything about a run: inputs, steps, outputs, history.",
    "logs": "Show what the steps of a run printed.",
    "retry-step": "Run a failed or interrupted step again, and go on.",
    "cancel": "Stop a run for good.",
    "list": "List the runs of the store, newest first.",
    "diff": "Show what differs between two runs, or two checkpoints of one.",
    "export": "Write a run into one file, to hand it over.",
    "import": "Take in a run that somebody hands over.",
    "verify": "Check a run: its history, its snapshot, every digest.",
    "delete": "Remove a run that has ended.",
    "gc": "Remove old runs, and what crashes have left.",
    "schema": "Print a published JSON Schema: workflow, envelope or state.",
}


def module_of(name: str) -> str:
    """The module of the command called *name*; a word of Python's gets an underscore."""
    return f"{__name__}.{name.replace('-', '_')}{'_' if name in ('list', 'import') else ''}"


class Cpf(click.Group):
    """The group of all commands, each imported when it is asked for."""

    asked: str = "cpf"
    debug: bool = False

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        self.asked = cmd_name
        module = import_module(module_of(cmd_name))
        command: click.Command = module.command
        if HELP not in command.params:
            command.params.append(HELP)
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _tell(names: list[str], about: str, text: Callable[[click.Context], str]) -> click.Option:
    """An option to print *text* and nothing else.

    Click's own look for translations of their help at every start, which imports `locale`.
    """

    def tell(context: click.Context, _: click.Parameter, asked: bool) -> None:
        if asked and not context.resilient_parsing:
            click.echo(text(context), color=context.color)
            context.exit()

    return click.Option(names, is_flag=True, is_eager=True, expose_value=False, help=about, callback=tell)


VERSION = _tell(["--version"], "Show the version and exit.", lambda _: f"cpf {__version__}")
HELP = _tell(["-h", "--help"], "Show this message and exit.", click.Context.get_help)


@click.group(
    cls=Cpf,
    epilog="Exit codes: 0 success, 2 usage, 10 validation, 20 runtime, 30 step failed, 40 waiting, "
    "50 cancelled, 60 persistence, 70 lock, 80 unsupported, 90 internal. See: cpf guide",
)
@click.option("--debug", is_flag=True, help="Show the traceback of a bug on stderr.")
@click.pass_context
def group(ctx: click.Context, debug: bool) -> None:
    """Run workflows: portable state machines in YAML that pause for people, agents and systems."""
    assert isinstance(ctx.command, Cpf)
    ctx.command.debug = debug


group.params += [VERSION, HELP]


def answer(arguments: list[str]) -> int:
    """Do what *arguments* ask for, print the answer, and return the exit code."""
    group.asked = "cpf"
    group.debug = False
    try:
        given = group.main(arguments, prog_name="cpf", standalone_mode=False)
    except click.UsageError as error:
        return _refuse(_translate_usage_error(error))
    except (KeyboardInterrupt, click.Abort):
        return _refuse(Interrupted(signal="SIGINT"))
    except CheckpointflowError as error:
        return _refuse(error)
    except BrokenPipeError:
        return 60  # nobody reads the answer any more
    except Exception as error:  # noqa: BLE001, here every exception ends
        return _refuse(_report_bug(error))
    if isinstance(given, int):
        return given
    try:
        return _print(given)
    except Exception as error:  # noqa: BLE001, an envelope that cannot be written is a bug, too
        return _refuse(_report_bug(error))


def main() -> NoReturn:
    """The entry point of `cpf`."""
    code = answer(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 60
    os._exit(code)  # the interpreter's own goodbye takes longer than most answers


def _print(envelope: Envelope | None) -> int:
    if envelope is None:
        return 0
    from checkpointflow.cli.envelope import encode
    from checkpointflow.cli.options import is_watched

    if envelope.warnings and is_watched():
        from checkpointflow.cli.terminal import show_warnings

        show_warnings(envelope.warnings)
    try:
        sys.stdout.buffer.write(encode(envelope))
        sys.stdout.buffer.flush()
    except OSError:
        return envelope.exit_code or 60
    return envelope.exit_code


def _refuse(error: CheckpointflowError) -> int:
    from checkpointflow.cli.envelope import wrap_error
    from checkpointflow.cli.options import is_watched

    if is_watched():
        from checkpointflow.cli.terminal import show_error

        show_error(error)
    return _print(wrap_error(_name(), error))


def _translate_usage_error(error: click.UsageError) -> UsageError:
    path = error.ctx.command_path if error.ctx else "cpf"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return UsageError(problem=f"a command is missing; see: {path} --help")
    return UsageError(problem=f"{error.format_message().rstrip('.')}; see: {path} --help")


def _report_bug(error: Exception) -> InternalError:
    if group.debug:
        import traceback

        traceback.print_exception(error)
    return InternalError(problem=f"{type(error).__name__}: {error}")


def _name() -> str:
    name: Any = group.asked
    return str(name)
