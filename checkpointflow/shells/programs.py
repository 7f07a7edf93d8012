"""What programs do with their words: shells, interpreters, and what runs another command.

`judge_command` restricts the holes of a command that is not the shell's own. It looks through wrappers, and
follows the tables of `interpreters.py` and `wrappers.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from checkpointflow.shells.contexts import AS_ARGUMENT, BARE, EXPANDED, HOLE, SHELLS, Findings, Input, Word
from checkpointflow.shells.interpreters import INTERPRETERS
from checkpointflow.shells.sed_programs import Part, find_parts
from checkpointflow.shells.shell_builtins import ASSIGNMENT, KINDS, PREFIXES, keep_single, refuse_all
from checkpointflow.shells.usages import Arguments, Text, Usage, read_arguments, unbundle
from checkpointflow.shells.variables import BY_INTERACTIVE_SHELLS, INTERACTIVE
from checkpointflow.shells.wrappers import CALLERS, WRAPPERS

SHELL_INPUT = Input(
    "the input of a shell",
    "it reads code there; hand it over as an argument: bash -s -- ${…} <<'E', with \"$1\" in it",
    takes_files=False,
    hint_for_files="fetch it into a file first, as in curl -fo install.sh …/${…} && sh install.sh",
)
_STDIN = ("-", "/dev/stdin")
_AS_OPERAND = "it would be an option; write -- or ./ before it"


# Which program it is


@functools.cache
def _index(usages: tuple[Usage, ...]) -> dict[str, Usage]:
    return {name.strip(): usage for usage in usages for name in usage.names.split(",")}


def find_usage(name: str) -> Usage | None:
    """The usage of the program *name*, with its verb, and perhaps with a version: `python3.11`, `lua5.4`."""
    program, blank, verb = name.partition(" ")
    for table in map(_index, (INTERPRETERS, CALLERS, WRAPPERS)):
        for candidate in (name, program.rstrip("0123456789.-") + blank + verb):
            if usage := table.get(candidate):
                return usage
    return None


def name_of(command: Word) -> str:
    """The program that *command* names; for an expansion, one that is named within: `${PYTHON:-python3}`."""
    name = command.text.rpartition("/")[2].replace(EXPANDED, "").removeprefix("=")  # to zsh, =sh is /bin/sh
    if EXPANDED not in command.text:
        return name
    within: list[str] = re.findall(r"(?<![\w${])[\w.]+|SHELL\b", command.source)
    variables: list[str] = [found.lower() for found in re.findall(r"\$\{?([A-Z]{3,}\d*)\b", command.source)]
    for kind in ("code", "shell", "name"):
        for found in within:
            if kind_of(found) == kind:
                return found
    if EXPANDED not in command.text.rpartition("/")[2] or is_known(name):
        return name
    candidates = [found for found in within if is_known(found)]
    candidates += [found for found in variables if _index(INTERPRETERS).get(found.rstrip("0123456789"))]
    return candidates[0] if candidates else name


def kind_of(name: str) -> str | None:
    """What kind of command the shell's own *name* is, or `shell`."""
    return "shell" if name in SHELLS else KINDS.get(name)


def is_known(name: str) -> bool:
    return bool(kind_of(name) or find_usage(name) or name in _OTHERS)


_OTHERS = ("find",)


def reads_code(command: Sequence[str], *, is_sole: bool) -> bool:
    """Whether the words of *command*, which are values, name what would take values as code or as names.

    If it *is_sole*, without other values beside it, it may be an interpreter with data.
    """
    name = command[0].rpartition("/")[2]
    usage = find_usage(name)
    if kind_of(name) or name in (*PREFIXES, *_OTHERS) or usage in WRAPPERS or (usage and not is_sole):
        return True
    trial = Findings()
    trial.holes = [BARE] * len(command)
    words = [Word(text, text, range(number, number + 1)) for number, text in enumerate(command)]
    judge_arguments(name, words[1:], trial)
    return any(hole.problem for hole in trial.holes)


def judge_name(word: Word, arguments: Sequence[Word], found: Findings) -> None:
    """Restrict the holes in the name of a command."""
    if word.splits or word.text.count(HOLE) < len(word.holes):
        found.refuse(word.holes, "what it prints would be run", "write the name of the command")
    elif HOLE in word.text and _could_read_code(word.text):  # `e${…}` could become `eval`
        found.refuse(word.holes, "part of a command's name", "write a path that ends in /${…}")
    is_sole = not any(argument.holes for argument in arguments)
    for hole in word.holes:
        found.holes[hole] = replace(
            found.holes[hole], name="the name of the command", only="sole command" if is_sole else "command"
        )
    found.allow_spread(word)


def _could_read_code(text: str) -> bool:
    """Whether values could make *text*, whose last part is not one alone, a name that `reads_code`."""
    last = text.rpartition("/")[2]
    pattern = re.compile(".*".join(map(re.escape, re.split(f"[{HOLE}{EXPANDED}]", last))), re.DOTALL)
    names = (*KINDS, *PREFIXES, *SHELLS, *_OTHERS, *_index(WRAPPERS))
    return last != HOLE and any(pattern.fullmatch(name) for name in names)


# Commands


def judge_command(words: Sequence[Word], found: Findings) -> Input | None:
    """Restrict the holes of a program and its arguments; what its standard input is, if that is code."""
    while words and words[0].may_vanish and not is_known(name_of(words[0])):
        found.refuse(words[0].holes, "what it prints would be run", "write the name of the command")
        words = words[1:]
    if not words:
        return None
    judge_name(words[0], words[1:], found)
    return judge_arguments(name_of(words[0]), words[1:], found)


def judge_arguments(name: str, words: Sequence[Word], found: Findings) -> Input | None:
    """As `judge_command`, for the *words* behind the *name* of a program."""
    if kind_of(name) == "shell":
        return judge_shell(words, found, is_sure=True)
    if name == "find":
        _judge_find(words, found)
    elif usage := find_usage(name):
        return _judge_usage(name, usage, words, found)
    else:
        _judge_unknown(words, found)
    return None


def _judge_unknown(words: Sequence[Word], found: Findings) -> None:
    """A program that may run another one: a shell whose option is -c, or what stands behind `--`."""
    for index, word in enumerate(words):
        name = word.text.rpartition("/")[2]
        if name in SHELLS:
            judge_shell(words[index + 1 :], found, is_sure=False)
        elif index and words[index - 1].text == "--" and find_usage(name):
            judge_arguments(name, words[index + 1 :], found)


def judge_shell(words: Sequence[Word], found: Findings, *, is_sure: bool) -> Input | None:
    """Options, then the code or a file of it, or else code from standard input; the rest is arguments.

    Not *is_sure*, `grep bash ${…}` is more likely than a shell: only what `-c` makes code counts.
    """
    letters, index, is_over = "", 0, False
    while index < len(words) and not is_over and _is_option_of_shell(words[index], words[index + 1 :]):
        text = words[index].text
        is_over = text in ("--", "-")
        letters += text if text.startswith("-") and text[1:2] != "-" else ""
        found.refuse_code(words[index], "an option of a shell", AS_ARGUMENT)
        index += 1
        if re.fullmatch(r"[-+]\w*[oO]|--rcfile|--init-file", text):
            refuse_all(words[index : index + 1], found, f"an option of {text}", AS_ARGUMENT)
            index += 1
    if is_sure and ("i" in letters or any(word.text == "interactive" for word in words[:index])):
        found.code |= dict.fromkeys(BY_INTERACTIVE_SHELLS, INTERACTIVE)
    if index >= len(words) or (is_sure and words[index].text == "/dev/stdin"):
        return SHELL_INPUT if is_sure and "c" not in letters else None
    is_fed = "s" in letters and "c" not in letters
    is_file = "c" not in letters and (not is_sure or names_file(words[index]))
    if is_file and is_sure:
        found.run_file(words[index], "a shell runs what is in it", AS_ARGUMENT)
    elif not is_file and not (is_fed and is_over):
        hint = "write -- before it, as in sh -s -- ${…}" if is_fed else hint_for(words[index], found)
        found.refuse_code(words[index], "a shell runs it", hint)
    return SHELL_INPUT if is_sure and is_fed else None


def names_file(word: Word) -> bool:
    """Whether *word* begins with text of its own, as in `venv-${…}/activate`, and so can only name a file."""
    is_whole = word.text.count(HOLE) == len(word.holes)
    begins = word.text[:1] not in ("", HOLE, EXPANDED) or "/" in word.text.partition(HOLE)[0]
    return is_whole and begins and word.text[0] not in "-+"


def hint_for(word: Word, found: Findings) -> str:
    """What to write in place of *word*, which is run: it may be what a command prints of a file."""
    is_fetched = bool(word.holes) and found.holes_in_files.issuperset(word.holes)
    return (SHELL_INPUT.hint_for_files or "") if is_fetched else AS_ARGUMENT


def _is_option_of_shell(word: Word, after: Sequence[Word]) -> bool:
    """Whether a shell takes *word* for an option; an expansion may be one, or the file to run."""
    if word.source.startswith("<("):
        return False
    if word.text == EXPANDED:
        runs_text = any(re.fullmatch(r"-(?!-)\w*c\w*", other.text) for other in after)
        return not word.source.startswith('"') or runs_text
    return word.text[:1] in ("-", "+") and HOLE not in word.text


def _judge_find(words: Sequence[Word], found: Findings) -> None:
    """The directories, conditions, and what -exec runs up to a `;` or a `+`."""
    index, is_option = 0, False
    while index < len(words):
        word = words[index]
        index += 1
        if word.text in ("-exec", "-execdir", "-ok", "-okdir"):
            texts = [*(other.text for other in words[index:]), ";"]
            end = min(index + texts.index(end) for end in (";", "+") if end in texts)
            judge_command(words[index:end], found)
            index = end + 1
        elif is_option:
            found.allow_spread(word, is_allowed=False)
        elif word.text.startswith(HOLE):
            found.restrict(word.holes[:1], "operand", "an argument of find", _AS_OPERAND)
        is_option = word.text.startswith("-")


# Programs with a usage


def _judge_usage(name: str, usage: Usage, words: Sequence[Word], found: Findings) -> Input | None:
    if usage.bundles:
        words = unbundle(words, usage)
    arguments = read_arguments(words, usage)
    if name == "parallel":
        command = words[: [*(word.text[:3] for word in words), ":::"].index(":::")]
        arguments = before if (before := read_arguments(command, usage)).operands else arguments
    keep_single(arguments.singles, found)
    refuse_all(arguments.unclear, found, f"an option of {name}", usage.hint)
    # env takes it for an assignment, vim for a command
    without = "=" if usage.first == "command" else "+" if "+" in usage.glued.split() else ""
    for word in arguments.loose if usage.first != "targets" else ():
        found.restrict(word.holes[:1], "operand", f"an argument of {name}", _AS_OPERAND, without)
    for setting in arguments.settings:
        _judge_setting(name, usage, setting, found)
    _judge_files(name, usage, arguments, found)
    operands = arguments.operands
    if operands and (verb := find_usage(f"{name} {operands[0].text}")):
        return _judge_usage(f"{name} {operands[0].text}", verb, operands[1:], found)
    if usage.first == "verb":
        _judge_unknown(operands, found)  # `kubectl run … -- sh -c`
    code, rest = _divide(usage, arguments)
    for text in code:
        _refuse_code(name, usage, text, found)
    if "awk" in usage.names.split(", "):
        for word in (*(setting.word for setting in arguments.settings), *rest):
            found.note_change(word.holes if "=" in word.text else (), "awk")
    match usage.first:
        case "targets":
            _judge_targets(rest, usage, found)
        case "setting":
            _judge_name_and_value(name, usage, rest, found)
        case "command":
            return _judge_wrapped(name, usage, arguments, found)
        case "remote":
            keep_single(operands[: usage.skips], found)  # a second word of the host would be code
            remote = operands[usage.skips :]
            return SHELL_INPUT if not remote else judge_command(remote, found)
    given = _find_input(name, usage, arguments)
    if given:
        for word in arguments.singles:  # parallel -a FILE
            found.run_file(word, given.name, given.hint)
    return given


def _divide(usage: Usage, arguments: Arguments) -> tuple[list[Text], list[Word]]:
    """The program texts, and the operands that are none."""
    operands = arguments.operands
    code: Iterable[Word] = ()
    match usage.first:
        case "program" if not arguments.has_program:
            is_suffix = operands and operands[0].text[:1] in ("", ".")  # as in BSD's `sed -i '' …`
            end = 2 if is_suffix and usage.joined else 1
            code, operands = operands[:end], operands[end:]
        case "statements":
            code, operands = operands[1:], operands[:1]
        case "code" | "remote":
            operands = [word for word in operands if word.text != "-"]  # su -
            code, operands = operands[usage.skips :], operands[: usage.skips]
    if usage.tail_is_code and arguments.is_over:
        code, operands = operands, []
    return [*arguments.code, *(Text(word.text, word) for word in code)], operands


def _refuse_code(name: str, usage: Usage, code: Text, found: Findings) -> None:
    if "sed" in usage.names.split(", "):
        _judge_sed(code, usage, found)
    else:
        # A variable may hold what the script has escaped for it, which is the way out for some of them.
        found.refuse(code.word.holes, f"{name} {usage.verdict}", usage.hint)


def _judge_sed(code: Text, usage: Usage, found: Findings) -> None:
    holes = code.word.holes
    parts = find_parts(code.text)
    signs = [part for part in parts if part.sign == HOLE]
    if len(signs) < len(holes):  # some are within expansions, and it cannot be told in which
        kinds = {part.only for part in parts}
        delimiters = "".join(sorted({part.delimiter for part in parts}))
        signs = [Part(HOLE, kinds.pop() if len(kinds) == 1 else None, delimiters)] * len(holes)
    for hole, part in zip(holes, signs, strict=True):
        if part.only == "plain":
            found.restrict([hole], "plain", "a part of a program for sed", usage.hint, part.delimiter)
        elif part.only == "integer":
            found.restrict([hole], "integer", "a number in a program for sed", usage.hint)
        else:
            found.refuse([hole], "sed reads it as code", f"let it stand within s/…/…/, or {usage.hint}")


def _judge_setting(name: str, usage: Usage, setting: Text, found: Findings) -> None:
    """NAME=VALUE, as git and ssh take them; some are commands."""
    key = setting.text.partition("=")[0].partition(" ")[0]
    if HOLE in key or EXPANDED in key:
        found.refuse(setting.word.holes, f"the name of a setting of {name}", "write the name itself")
    elif usage.danger and re.match(usage.danger, key, re.IGNORECASE):
        found.refuse(setting.word.holes, f"{name} runs what {key} holds", usage.hint)


def _judge_name_and_value(name: str, usage: Usage, words: Sequence[Word], found: Findings) -> None:
    """NAME VALUE, as git writes them; a value may be part of a name: `remote.${…}.url`."""
    if len(words) < 2:
        return
    key = words[0].text
    if {key[:1], key[-1:]} & {HOLE, EXPANDED}:
        holes = [hole for word in words for hole in word.holes]
        found.refuse(holes, f"the name of a setting of {name}", "write the name itself")
    elif re.match(usage.danger, key, re.IGNORECASE):
        refuse_all(words, found, f"{name} runs what {key.replace(HOLE, '…')} holds", usage.hint)


def _judge_files(name: str, usage: Usage, arguments: Arguments, found: Findings) -> None:
    """A file with the program can be what a command prints: `python3 <(…)`, or what holds a value."""
    files = [file.word for file in (*arguments.files, *arguments.loaded)]
    if usage.first == "script" and not arguments.has_program:
        files += arguments.operands[:1]
    for word in files:
        if word.source.startswith(("<(", "=(")):
            found.refuse(set(word.holes) - found.holes_in_files, f"{name} {usage.verdict}", usage.hint)
        found.run_file(word, f"{name} {usage.verdict}", usage.hint)


def _judge_targets(words: Sequence[Word], usage: Usage, found: Findings) -> None:
    """What make is to make, and variables: make expands `$(shell …)` in these."""
    for word in words:
        before = re.split(f"[{HOLE}{EXPANDED}]", word.text)[0]
        if "=" in before:
            found.refuse(word.holes, "make expands what its variables hold, and runs it", usage.hint)
        else:
            found.restrict(word.holes, "operand", "a target of make", "make takes NAME=… for a variable", "=")


def _judge_wrapped(name: str, usage: Usage, arguments: Arguments, found: Findings) -> Input | None:
    """The command behind the options and operands of a wrapper."""
    words = arguments.operands[usage.skips :]
    while usage.takes_assignments and words and ASSIGNMENT.match(words[0].text):
        words = words[1:]
    if words and words[0].text in usage.code.split():  # flock FILE -c …
        refuse_all(words[1:2], found, f"{name} {usage.verdict}", usage.hint)
        return None
    if entrypoint := arguments.given.get("--entrypoint"):
        words = [Word(entrypoint, entrypoint, range(0)), *words]
    if not words:
        return SHELL_INPUT if usage.is_fed else None
    given = judge_command(words, found)
    if name.endswith("xargs") and _passes_code(words, arguments):
        given = Input("the input of xargs, which makes code of it", _AFTER_XARGS)
        for word in arguments.singles:  # -a FILE
            found.run_file(word, given.name, given.hint)
    return given


_AFTER_XARGS = "hand it over as an argument: xargs sh -c '… \"$@\" …' _"


def _passes_code(words: Sequence[Word], arguments: Arguments) -> bool:
    """Whether xargs puts what it reads where the command that it runs reads code."""
    placeholder = next(filter(None, map(arguments.given.get, ("-I", "-i", "--replace"))), "{}")
    marked = []
    for word in words:
        text = word.text.replace(HOLE, "_")  # values of the command itself have been judged
        source = word.source.replace(HOLE, "_")
        marked.append(Word(source, text.replace(placeholder, HOLE), range(text.count(placeholder))))
    if not any(word.holes for word in marked):
        marked.append(Word(HOLE, HOLE, range(1)))
    trial = Findings()
    trial.holes = [BARE] * max(len(word.holes) for word in marked)
    judge_command(marked, trial)
    return any(hole.problem is not None or "command" in hole.only for hole in trial.holes)


def _find_input(name: str, usage: Usage, arguments: Arguments) -> Input | None:
    """What standard input is to a program that was given none, or `-` for the file of it."""
    operands = arguments.operands
    is_given = arguments.has_program
    match usage.first:
        case "script":
            is_read = not (is_given or arguments.is_over) and (not operands or operands[0].text in _STDIN)
        case "statements":
            is_read = len(operands) < 2 and not ("-c" in arguments.given or "-s" in arguments.given)
        case "code":
            is_read = not is_given and len([word for word in operands if word.text != "-"]) <= usage.skips
        case _:
            is_read = not is_given
    is_read = (is_read and usage.is_fed) or any(file.text in _STDIN for file in arguments.files)
    if not is_read:
        return None
    is_shell = usage in WRAPPERS
    return SHELL_INPUT if is_shell else Input(f"the input of {name}, which reads it as code", usage.hint)
