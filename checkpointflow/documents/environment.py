"""The environment variables that the steps of a document read, and those of its file.

The variables that commands read are those of whoever goes on with a run. A file has lines `NAME=value`, also
with `export`, blank ones and comments; a value stands bare or in quotes, and means what all who read such
files take it for. What some would read otherwise (`$`, backslashes, blanks, `#`) is refused, or goes in
single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from checkpointflow.diagnostics import Diagnostic, Path, shorten
from checkpointflow.documents.model import Cli
from checkpointflow.documents.program import Program
from checkpointflow.patterns import compile_late
from checkpointflow.shells.environment import find_variables

MAX_FILE_BYTES = 64 * 1024

_LINE = compile_late(
    r"""(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=
    (?:'(?P<single>[^']*)'|"(?P<double>[^"\\$`]*)"|(?P<bare>[^\s"'\\$`\#]*))""",
    re.VERBOSE,
)
_SECRET = compile_late(
    r"(?:.*_)?(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|PRIVATE_KEY)", re.IGNORECASE
)


def list_variables(program: Program) -> list[str]:
    """The variables that its commands and its secrets read, and those of all that it calls, sorted."""
    found = set[str]()
    for compiled in program.steps:
        step = compiled.step
        found |= set(compiled.secrets)
        if isinstance(step, Cli):
            command = step.command if isinstance(step.command, str) else "\n".join(step.command)
            given = step.env.keys() | compiled.inherited_env.keys()
            found |= find_variables(command, compiled.shell) - given
    for called in program.called.values():
        found |= set(list_variables(called))
    return sorted(found)


def read_env_file(data: bytes, file: str) -> tuple[dict[str, str], list[Diagnostic]]:
    """The variables in *data*, which came from *file*, and what is wrong with it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {}, [Diagnostic("it is not UTF-8", file=file)]
    if len(data) > MAX_FILE_BYTES:
        return {}, [Diagnostic(f"it is larger than {MAX_FILE_BYTES} bytes", file=file)]
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        wrong = _read_line(line.strip(), found)
        if wrong is not None:
            problems.append(
                Diagnostic(wrong, hint=_HOW, file=file, line=number)
            )  # no text: who knows what it holds
    return found, problems


_HOW = "write NAME=value, NAME='any text' or # and a comment"


def _read_line(line: str, found: dict[str, str]) -> str | None:
    """Put what *line* says into *found*; why not, if that cannot be."""
    if not line or line.startswith("#"):
        return None
    read = _LINE.fullmatch(line)
    if read is None:
        return "this is no variable, or not all programs would read it alike"
    name = read["name"]
    if name in found:
        return f'"{shorten(name)}" stands here twice'
    if name.startswith("CPF_"):
        return f'"{shorten(name)}" cannot be set: names that start with CPF_ are cpf\'s own'
    if "\0" in line:
        return "an environment variable cannot hold the character NUL"
    found[name] = read["single"] or read["double"] or read["bare"] or ""
    return None


def warn_of_secrets(named: Iterable[tuple[str, Path]]) -> Iterator[Diagnostic]:
    """That what is called as secrets are would be written down, for each that is *named*, and where."""
    for name, path in named:
        if _SECRET.fullmatch(name):
            message = f'"{shorten(name)}" is called as secrets are, and is written down in each run'
            yield Diagnostic(message, path, "hand secrets over as ${secrets.NAME}", id="W136")
