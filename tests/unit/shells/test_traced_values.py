"""A value that comes to code or arithmetic by way of the script's names is judged as if it stood there."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.expressions.syntax import parse
from checkpointflow.shells.scripts import (
    check_variable,
    find_demands,
    find_input_demands,
    parse_command,
    render_command,
)


def render(command: str, value: Any, shell: Any = "bash") -> list[str]:
    template = parse_command(command.replace("§", "${inputs.v}"), shell)
    return list(render_command(template, {"inputs": {"v": value}}).variables.values())


@pytest.mark.parametrize(
    "command",
    [
        "n=§; (( n > 3 ))", "n=§; echo $((n + 1))", "(( n > 3 )); n=§", "n=§; [[ $n -gt 3 ]]",
        "n=§; [[ n -gt 3 ]]",
        "for n in 1 §; do (( n )); done", "f() { echo $(( $1 * 2 )); }; f §",
        "function f { (( $2 )); }; f 1 §",
        'f() { n="$1"; (( n )); }; m=§; f "$m"', "set -- §; echo $(( $1 ))", "read -r n <<< §; (( n ))",
        "while read -r n; do (( n )); done <<E\n§\nE", "echo § | while read n; do (( n )); done",
        "n=§; y=abc; echo ${y:$n}", "n=§; echo ${a[$n]}", "n=§; a[n]=1", "n=§; m=$n; k=x; (( m ))",
        "n=§; let m=n",
        "n=§; exit $n", "local n=§; (( n ))", "printf -v n %s §; (( n ))", "echo \"${n:=§}\"; (( n ))",
    ],
)  # fmt: skip
def test_what_the_shell_computes_with_later_is_an_integer(command: str) -> None:
    assert render(command, "7") == ["7"]
    with pytest.raises(EvaluationError, match="only an integer"):
        render(command, "a[$(touch x)]")


def test_a_list_of_integers_is_a_list() -> None:
    assert render("for n in §; do (( n )); done", [1, 2]) == ["1", "2"]


@pytest.mark.parametrize(
    "command",
    [
        "f=§; trap \"rm -f '$f'\" EXIT", 'f=§; eval "$f"', 'f=§; sh -c "echo $f"', "f=§; g=$f; eval $g",
        'f() { eval "$1"; }; f §', "n=§; [[ -v $n ]]", 'n=§; unset "$n"',
        "f=§; bash $f", "f=§; bash $f x.sh",
        "y=§; BASH_ENV=$y bash -c true", 'y=§; env GIT_SSH_COMMAND="$y" git fetch', "y=§; PS4=$y; set -x",
        'y=§; docker run -e "NODE_OPTIONS=$y" i', "env 'BASH_FUNC_ls%%=() { §; }' bash -c ls",
        "ENV=§ sh -i -c true", "export ENV=§; exec sh -ic true", "env ENV=§ bash --posix -i",
        "y=§; ENV=$y; sudo sh -i", "PROMPT=§ zsh -i", "RPROMPT=§ zsh -o interactive", "MAILPATH=§ bash -i",
        "docker run -e ENV=§ i sh -i", "n=§; printf -v $n x",
    ],
)  # fmt: skip
def test_what_is_run_later_is_refused(command: str) -> None:
    with pytest.raises(ExpressionError, match="no value can stand here"):
        render(command, "x")


@pytest.mark.parametrize(
    "command",
    [
        "f=§; trap 'rm -f \"$f\"' EXIT", 'f=§; sh -c \'echo "$1"\' _ "$f"', 'n=§; echo "$n" $((m + 1))',
        "f() { echo $1; }; f §; g § $(( 1 ))", 'n=§; [ -n "$n" ] && eval "x=\\$n"', "read x <<< §; (( y ))",
        'x=$(printf %s § | sed "s/x/y/"); sqlite3 :memory: "$x"',
    ],
)  # fmt: skip
def test_what_stays_data_is_let_through(command: str) -> None:
    assert render(command, "a b") == ["a b"] * command.count("§")


@pytest.mark.parametrize("command", ["ENV=§ make", "export ENV=§; sh -c true", "env ENV=§ sh a.sh -i"])
def test_a_name_for_an_environment_holds_no_expansion(command: str) -> None:
    assert render(command, "staging-1") == ["staging-1"]
    for value in ("$(touch x)", "`touch x`", "${PATH:0:1}"):
        with pytest.raises(EvaluationError, match=r"hold \$` can be the variable ENV"):
            render(command, value)


def test_a_prompt_is_any_text_where_no_shell_shows_it() -> None:
    assert render("PROMPT=§ llm", "Why $(x)?") == ["Why $(x)?"]


# What the command finds in its environment


def demand(command: str, name: str, shell: Any = "bash") -> Any:
    template = parse_command(command.replace("§", "${inputs.v}"), shell)
    (hole,) = find_demands(template, {name: parse("inputs.e")})
    return hole


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("N", "(( N > 3 ))"), ("N", "[[ $N -gt 3 ]]"), ("N", "echo $((N))"), ("N", "m=$N; let m++"),
        ("N", "echo ${a[N]}"), ("N", "f() { (( $1 )); }; f $N"), ("SECONDS", "true"),
        ("N", "cat §; ((N)); ${raw:inputs.v}"), ("N", "((N)); cat <<E"),
    ],
)  # fmt: skip
def test_the_environment_holds_integers_where_the_shell_computes_with_them(name: str, command: str) -> None:
    hole = demand(command, name)
    check_variable("-7", hole)
    with pytest.raises(EvaluationError, match=r"only an integer.*inputs\.e"):
        check_variable("a[$(touch x)]", hole)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("E", 'eval "$E"'), ("E", 'sh -c "echo $E"'), ("E", 'trap "$E" EXIT'), ("E", "x=$E; eval $x"),
        ("E", "bash $E"), ("E", '. "$E"'), ("ENV", "sh -i"), ("PROMPT", "zsh -i"), ("BASH_ENV", "true"),
        ("NODE_OPTIONS", "true"), ("E", 'GIT_SSH_COMMAND="ssh -i $E" git fetch'), ("E", 'unset "$E"'),
        ("E", 'printf -v "$E" x'),
    ],
)  # fmt: skip
def test_no_value_is_in_a_variable_of_the_environment_that_the_command_runs(name: str, command: str) -> None:
    assert "no value can stand here" in demand(command, name).context.problem
    assert demand(command, "OTHER").context.only == "anything"


@pytest.mark.parametrize(
    "command",
    [
        'echo "$E"', "eval 'echo \"$E\"'", "sh -c 'echo \"$E\"'", '. "$E/f"', "cat <<E",
        "GIT_SSH_COMMAND='ssh -i \"$E\"' git fetch",
    ],
)  # fmt: skip
def test_others_hold_anything(command: str) -> None:
    check_variable("a[$(touch x)]", demand(command, "E"))


def test_what_powershell_makes_of_its_environment_is_not_looked_into() -> None:
    assert demand("iex $env:E", "E", "pwsh").context.only == "anything"
    assert demand("x", "NODE_OPTIONS", "pwsh").context.problem


# What the command reads on standard input


def demand_input(command: str, shell: Any = "bash") -> list[Any]:
    return find_input_demands(parse_command(command.replace("§", "${inputs.v}"), shell), parse("inputs.i"))


@pytest.mark.parametrize(
    ("command", "shell", "problem"),
    [
        ("sh", "sh", "the input of a shell"), ("python3 -", "sh", "the input of python3"),
        ("true; { jq .x | psql db; }", "bash", "the input of psql"),
        ("xargs sh -c", "zsh", "the input of xargs"),
        ('read x; eval "$x"', "bash", "eval runs"), ('x=$(cat); eval "$x"', "sh", "eval runs"),
        ('sh -c "$(cat -)"', "dash", "a shell runs it"), ('eval "$(< /dev/stdin)"', "bash", "eval runs"),
        (". /dev/stdin", "bash", "the input of a shell"),
        ("bash < /dev/stdin", "bash", "the input of a shell"),
        ("cat <<E; sh\nE", "bash", "the input of a shell"), ("sh 3< a", "bash", "the input of a shell"),
        ("$input | iex", "pwsh", "beside iex"), ("'a'\npython - §", "pwsh", "beside python"),
    ],
)  # fmt: skip
def test_no_value_is_where_the_command_reads_code(command: str, shell: str, problem: str) -> None:
    problems = [hole.context.problem for hole in demand_input(command, shell) if hole.context.problem]
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    "command",
    [
        "jq .id", "python3 a.py", "psql -f a.sql", "sh a.sh", "bash <<E\ntrue\nE", "bash 0< a.sh", "xargs rm",
        'x=$(cat); echo "$x"', "while read -r x; do echo $x; done", "cat <<E", "python3 - < a.py",
    ],
)  # fmt: skip
def test_elsewhere_it_reads_data(command: str) -> None:
    assert {hole.context.only for hole in demand_input(command)} == {"anything"}
    assert not [hole for hole in demand_input(command) if hole.context.problem]
    assert [hole.context.problem for hole in demand_input("$x = $input; python x.py", "pwsh")] == [None]


@pytest.mark.parametrize("command", ["n=$(cat); echo $((n + 1))", "read n; (( n ))", "echo $(( `cat` ))"])
def test_it_reads_an_integer_where_the_shell_computes_with_it(command: str) -> None:
    hole = next(hole for hole in demand_input(command) if hole.context.only == "integer")
    check_variable("-7", hole)
    with pytest.raises(EvaluationError, match=r"only an integer.*inputs\.i"):
        check_variable("a[$(touch x)]", hole)
