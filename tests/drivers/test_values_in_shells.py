"""Values in commands, run by real shells: each arrives byte for byte as one word, and nothing happens.

A row is a place: a command with `§` for the hole, the shells that have it, and the words that `show`
is to be given, where `§` stands for the value. Many values go through one shell, a line for each.
Raise CPF_FUZZ_EXAMPLES to try more texts than the default few.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.values import as_text
from checkpointflow.shells.contexts import Shell
from checkpointflow.shells.scripts import (
    MAX_ARGUMENT_BYTES,
    CommandTemplate,
    Script,
    parse_command,
    render_command,
)

EXAMPLES = int(os.environ.get("CPF_FUZZ_EXAMPLES", "0"))

# A command for `sh` must be safe with whatever is installed as that.
PROGRAMS = {
    run_by: program
    for run_by, program in {
        "sh": ["sh"],
        "sh that is bash": ["bash", "--posix"],
        "sh that is zsh": ["zsh", "--emulate", "sh"],
        "dash": ["dash"],
        "bash": ["bash"],
        "zsh": ["zsh", "-f"],
    }.items()
    if shutil.which(program[0]) and (EXAMPLES >= 100 or " " not in run_by)
}

SHOW = """show() {
  printf '%s\\0' "$#"
  for shown do printf '%s\\0' "$shown"; done
}
"""

ANY = ("sh", "dash", "bash", "zsh")
NEW = ("bash", "zsh")
BOURNE = ("sh", "dash", "bash")

# name: (command, shells, what `show` is given)
PLACES: dict[str, tuple[str, tuple[str, ...], list[str]]] = {
    "bare": ("show §", ANY, ["§"]),
    "among words": ("show a § b", ANY, ["a", "§", "b"]),
    "glued": ("show pre§post", ANY, ["pre§post"]),
    "glued to a glob": ("show 'q'§'*'", ANY, ["q§*"]),
    "twice": ("show §§ §", ANY, ["§§", "§"]),
    "behind an option": ("show --x=§", ANY, ["--x=§"]),
    "double quotes": ('show "§" "a § b"', ANY, ["§", "a § b"]),
    "single quotes": ("show '§' 'a § b' 'a\"§`$('", ANY, ["§", "a § b", 'a"§`$(']),
    "mixed quotes": ("""show a'§'"§"§""", ANY, ["a§§§"]),
    "behind two backslashes": (r'show \\§ "\\§" ', ANY, ["\\§", "\\§"]),
    "behind a backslash in single quotes": (r"show '\§'", ANY, ["\\§"]),
    "before a parameter's name": ('show "§name[1]:h"', ANY, ["§name[1]:h"]),
    "substitution": ('show "$(printf %s. §)"', ANY, ["§."]),
    "substitution, quoted": ('show "$(printf "%s." "a§")"', ANY, ["a§."]),
    "substitution, single quotes": ("show \"$(printf '%s.' 'a§')\"", ANY, ["a§."]),
    "backquotes": ('x=`printf %s. §`; show "$x"', ANY, ["§."]),
    "backquotes, quoted": ('show "`printf %s. §`" "`printf %s. \\"a§\\"`"', ANY, ["§.", "a§."]),
    "backquotes, single quotes": ("x=`printf %s. '§'`; show \"$x\"", ANY, ["§."]),
    "backquotes in backquotes": (r'x=`printf %s. "\`printf %s. §\`"`; show "$x"', ANY, ["§.."]),
    "three levels": ('show "$(printf %s. "$(printf %s. "$(printf %s. §)")")"', ANY, ["§..."]),
    "three levels, mixed": ('show "$(printf %s. "`printf %s. "$(printf %s. \'§\')"`")"', ANY, ["§..."]),
    "case in a substitution": ('show "$(case a in a) printf %s. § ;; esac)"', ANY, ["§."]),
    "comment in a substitution": ('show "$(printf %s. § # it\'s ) §\n)"', ANY, ["§."]),
    "assignment": ('x=§; show "$x"', ANY, ["§"]),
    "assignment, glued": ('x=a:§:~; show "$x"', BOURNE, ["a:§:HOME"]),
    "assignment to what exists": ('x=a; x=$x§; show "$x"', ANY, ["a§"]),
    "assignment before a command": ('x=§ env sh -c \'printf "1\\0%s\\0" "$x"\'', ANY, ["§"]),
    "export": ('export x=§; show "$x"', ANY, ["§"]),
    "readonly": ('(readonly y=a§; show "$y")', ANY, ["a§"]),
    "local": ('f() { local z=§; show "$z"; }; f', ANY, ["§"]),
    "function body": ("f() { show §; }; f a b", ANY, ["§"]),
    "set": ('set -- a §; show "$@"', ANY, ["a", "§"]),
    # Hypothesis tries the literals of this file, too: the pattern must be one that no value makes true.
    "case word": ("case §. in nothing) show 0;; *) show §;; esac", ANY, ["§"]),
    "case pattern, itself": ("case § in §) show yes;; *) show no;; esac", ANY, ["yes"]),
    "case pattern, other": ("case '>other<' in (x|a§) show yes;; *) show no;; esac", ANY, ["no"]),
    "for": ('for x in a §; do show "$x"; done', ANY, ["a", "§"]),
    "here-document": ('show "$(cat <<E\na § "§" \'§\' $(printf %s. §)\nE\n)"', ANY, ["a § \"§\" '§' §."]),
    "here-document, indented": ('show "$(cat <<-E\n\ta§.\n\tE\n)"', ANY, ["a§."]),
    "two here-documents": ('show "$(cat <<E; cat <<F\n§.\nE\n§.\nF\n)"', ANY, ["§.\n§."]),
    "here-string": ('show "$(cat <<< §; echo .)"', NEW, ["§\n."]),
    "comment": ("show a # § it's", ANY, ["a"]),
    "comment on its own": ("# § ${x\nshow a", ANY, ["a"]),
    "test": ("if [ § = § ]; then show yes; else show no; fi", ANY, ["yes"]),
    "test, negated": ("[ ! x§ = § ] && show yes", ANY, ["yes"]),
    "test of one": ("[ -n x§ ] && show yes", ANY, ["yes"]),
    "double brackets": ("[[ § == § && x§ != § ]] && show yes", NEW, ["yes"]),
    "double brackets, pattern": ("[[ x§y == x§* ]] && show yes", NEW, ["yes"]),
    "double brackets, other": ("[[ '>other<' == a§ ]] || show no", NEW, ["no"]),
    "double brackets, expression": ("[[ x§ =~ ^x§$ ]] && show yes", ("bash",), ["yes"]),
    "default": ("show ${u:-§}", ANY, ["§"]),
    "default, glued": ("show a${u-b§c}d", ANY, ["ab§cd"]),
    "default, quoted": ('show "${u:-§}" "${u-a §}"', ANY, ["§", "a §"]),
    "default in single quotes": ("show ${u:-'a §'}", ANY, ["a §"]),
    "default in double quotes": ('show ${u:-"a §"}', ANY, ["a §"]),
    "default of a default": ('show ${u:-${v:-§}} "${u:-${v:-§}}"', ANY, ["§", "§"]),
    "default that is assigned": ('show "${w:=§}"; unset w', ANY, ["§"]),
    "default in a here-document": ('show "$(cat <<E\n${u:-§}.\nE\n)"', ANY, ["§."]),
    "alternative": ('y=1; show "${y:+§}" ${y:+§}', ANY, ["§", "§"]),
    "prefix": ('y=§z; show "${y#§}"', ANY, ["z"]),
    "suffix": ('y=z§; show "${y%§}" "${y%%§}"', ANY, ["z", "z"]),
    "prefix in single quotes": ("y=§z; show \"${y#'§'}\"", ANY, ["z"]),
    "suffix, without quotes": ("y=z§; show ${y%§}", ANY, ["z"]),
    "replaced": ('y=x§x; show "${y/x§/b}"', NEW, ["bx"]),
    "replacement": ('y=abc; z=${y/b/§}; show "$z"', NEW, ["a§c"]),
    "list": ('a=(a §); show "${a[@]}"', NEW, ["a", "§"]),
    "element": ('a=(z z); a[1]=§; show "${a[1]}"', NEW, ["§"]),
    "braces": ("show {a,§}", NEW, ["a", "§"]),
    "behind a tilde": ("show ~§ '~'§", BOURNE, ["~§", "~§"]),
    "process substitution": ('show "$(cat <(printf %s. §))"', NEW, ["§."]),
    "pipeline": ('show "$(printf %s. § | cat)"', ANY, ["§."]),
    "group": ("{ show §; } 2>&1", ANY, ["§"]),
    "subshell": ("( show § )", ANY, ["§"]),
    "and, or, not": ("! false && show § || show b", ANY, ["§"]),
    "time": ("time show §", NEW, ["§"]),
    "loop": ("while show §; do break; done", ANY, ["§"]),
    "argument of a shell": ('sh -c \'printf "1\\0%s\\0" "$1"\' _ §', ANY, ["§"]),
    "argument of env": ("env printf '1\\0%s\\0' §", ANY, ["§"]),
    "printf": ("printf '1\\0%s\\0' §", ANY, ["§"]),
}

NASTY = [
    "",
    "  two  blanks ",
    "a\nb\n\n",
    "\n# touch pwned\ntouch pwned\n",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned & touch pwned | touch pwned",
    ") touch pwned (",
    ";; esac; touch pwned",
    "} ; touch pwned; {",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "'\"'; touch pwned #",
    "\\",
    "\\'\\n\\",
    "a[$(touch pwned)]",
    "path[$(touch pwned)]",
    "($(touch pwned))",
    "-va[$(touch pwned)]",
    "*",
    "?",
    "[a-z]*",
    "~root",
    "=ls",
    "{a,b}",
    "-rf",
    "--",
    "-n",
    "!",
    "(",
    "# x",
    "$HOME ${inputs.v} ${CPF_VALUE_1}",
    "&",
    "%s%d%n",
    "E\ntouch pwned\n",
    ">pwned <(touch pwned)",
    "\t\r\x01\x02\x7f\x1b[31m",
    "é ü 漢字 🙂 \u2028 \u00a0 \ufeff",
    "010",
    "x" * 2000,
]

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40) | st.text(
    st.sampled_from("$(){}[]`'\"\\;&|<>*?~=!#%^-+§:,. \n\tab1Eéx"), max_size=12
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A working directory with files that a careless command would match."""
    for name in ("a", "ab", "b c", "-rf", "x", "root"):
        (tmp_path / name).touch()
    return tmp_path


def run(script: Script, program: list[str], directory: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "HOME", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(
        [*program, "-c", script.text],
        env=environment | script.variables,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a shell's own children outlive it
            raise
    assert process.returncode == 0, stderr.decode(errors="replace")
    return stdout.decode()


@functools.cache
def parsed(text: str, shell: Shell) -> CommandTemplate:
    return parse_command(text, shell)


def shown(lines: list[tuple[str, Any]], run_by: str, directory: Path) -> list[list[str]]:
    """The words that `show` is given by each of *lines*, a command and its value each."""
    commands = [line.replace("§", f"${{inputs[{index}]}}") for index, (line, _) in enumerate(lines)]
    template = parsed(SHOW + "\nprintf 'END\\0'\n".join(commands), run_by.split()[0])  # type: ignore[arg-type]
    before = sorted(os.listdir(directory))
    script = render_command(template, {"inputs": [value for _, value in lines]})
    output = run(script, PROGRAMS[run_by], directory)
    assert sorted(os.listdir(directory)) == before
    return [words(part.split("\0")[:-1]) for part in output.split("END\0")]


def words(parts: list[str]) -> list[str]:
    """The words of all calls of `show`, each of which begins with their number."""
    found: list[str] = []
    while parts:
        end = int(parts[0]) + 1
        assert len(parts) >= end
        found += parts[1:end]
        parts = parts[end:]
    return found


ROWS = [
    pytest.param(command, run_by, expected, id=f"{run_by}: {name}")
    for name, (command, shells, expected) in PLACES.items()
    for run_by in PROGRAMS
    if run_by.split()[0] in shells
]


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize(("command", "run_by", "expected"), ROWS)
def test_a_nasty_value_arrives_as_one_word(
    command: str, run_by: str, expected: list[str], directory: Path
) -> None:
    found = shown([(command, value) for value in NASTY], run_by, directory)
    assert found == [[word.replace("§", value) for word in expected] for value in NASTY]


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("run_by", PROGRAMS)
def test_any_text_arrives_as_one_word_in_every_place(run_by: str, directory: Path) -> None:
    rows = [row for row in PLACES.values() if run_by.split()[0] in row[1]]

    @settings(max_examples=EXAMPLES or 5, deadline=None, database=None)
    @given(TEXTS)
    def check(value: str) -> None:
        found = shown([(command, value) for command, _, _ in rows], run_by, directory)
        assert found == [[word.replace("§", value) for word in expected] for _, _, expected in rows]

    check()


# Other values


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("run_by", PROGRAMS)
def test_a_program_is_given_the_value_as_one_argument(run_by: str, directory: Path) -> None:
    dump = f"'{sys.executable}' -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
    for value in ("", "*", "$(touch pwned)", "é\n'\""):
        template = parse_command(f"{dump} a ${{item}} \"${{item}}\" '${{item}}'", run_by.split()[0])  # type: ignore[arg-type]
        output = run(render_command(template, {"item": value}), PROGRAMS[run_by], directory)
        assert json.loads(output) == ["a", value, value, value]


@pytest.mark.parametrize("run_by", PROGRAMS)
def test_a_list_alone_is_a_word_for_each_element(run_by: str, directory: Path) -> None:
    for command in ("show a § b", 'set -- a § b; show "$@"', 'show "$(printf %s. §)"'):
        found = shown([(command, NASTY), (command, []), (command, ["x"])], run_by, directory)
        if "printf" in command:
            assert found == [[".".join([*NASTY, ""])], ["."], ["x."]]
        else:
            assert found == [["a", *NASTY, "b"], ["a", "b"], ["a", "x", "b"]]


@pytest.mark.parametrize("run_by", PROGRAMS)
def test_a_list_elsewhere_is_one_word_of_json(run_by: str, directory: Path) -> None:
    found = shown([('show "§" x§', NASTY)], run_by, directory)
    assert found == [[as_text(NASTY), "x" + as_text(NASTY)]]


@pytest.mark.parametrize("run_by", PROGRAMS)
@pytest.mark.parametrize("name", ["n*w", "-n", "n w", "$(touch n)", "n\n\\", "~n", "é'\"n", "=n", "&1"])
def test_a_redirect_writes_the_file_that_the_value_names(run_by: str, name: str, tmp_path: Path) -> None:
    for command in ("printf x > §", 'printf x >> "§"', "{ printf x; } 2>/dev/null > '§'"):
        template = parse_command(command.replace("§", "${item}"), run_by.split()[0])  # type: ignore[arg-type]
        run(render_command(template, {"item": name}), PROGRAMS[run_by], tmp_path)
        assert os.listdir(tmp_path) == [name]


COMPUTED = {
    'show $((§ + 1)) "$((2 * (§)))"': (ANY, lambda n: [str(n + 1), str(2 * n)]),
    'show "$(( $(printf %s §) - 1 ))"': (ANY, lambda n: [str(n - 1)]),
    "if [ § -gt 3 ]; then show more; else show less; fi": (ANY, lambda n: ["more" if n > 3 else "less"]),
    "[[ § -gt 3 ]] && show more || show less": (NEW, lambda n: ["more" if n > 3 else "less"]),
    "let x=§+1; show $x": (NEW, lambda n: [str(n + 1)]),
    "(( x = § * 2 )); show $x": (NEW, lambda n: [str(n * 2)]),
    "x=abcdefghijklm; show ${x:(§ + 3):1}": (("bash",), lambda n: ["abcdefghijklm"[n + 3]]),
    "x=abcdefghijklm; show a${x:2:§ * §}": (NEW, lambda n: ["a" + "abcdefghijklm"[2 : 2 + n * n]]),
    "a=(1 2 3); a[§*0+1]=9; show ${a[§ * 0 + 1]}": (NEW, lambda n: ["9"]),
    "for ((i = §; i < § + 1; i++)); do show $i; done": (NEW, lambda n: [str(n)]),
    "declare -i x; x=§; show $x": (NEW, lambda n: [str(n)]),
    "(exit $((§ * §))); show $?": (ANY, lambda n: [str(n * n)]),
    "(exit §); show a": (ANY, lambda n: ["a"]),
}


@pytest.mark.parametrize("run_by", PROGRAMS)
@pytest.mark.parametrize("command", COMPUTED)
def test_the_shell_computes_with_an_integer(command: str, run_by: str, directory: Path) -> None:
    shells, expected = COMPUTED[command]
    if run_by.split()[0] in shells:
        for value in (0, 5, -3, "7", "008", "-2"):
            assert shown([(command, value)], run_by, directory) == [expected(int(value))]


@pytest.mark.parametrize("run_by", PROGRAMS)
@pytest.mark.parametrize("command", COMPUTED)
def test_the_shell_computes_with_nothing_else(command: str, run_by: str, directory: Path) -> None:
    if run_by.split()[0] in COMPUTED[command][0]:
        for value in NASTY:
            if value != "010":
                with pytest.raises(EvaluationError):
                    shown([(command, value)], run_by, directory)


@pytest.mark.parametrize("run_by", PROGRAMS)
def test_the_longest_value_arrives(run_by: str, directory: Path) -> None:
    value = "é" * ((MAX_ARGUMENT_BYTES - len("CPF_VALUE_1=")) // 2)
    assert shown([("show §", value)], run_by, directory) == [[value]]


@pytest.mark.parametrize("run_by", PROGRAMS)
def test_a_mebibyte_of_values_arrives(run_by: str, directory: Path) -> None:
    values = ["x" * 100_000] * 10
    assert shown([("show §", values)], run_by, directory) == [values]
