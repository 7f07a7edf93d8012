"""`${file:…}`: the name of a file that holds the value, where a whole word is data, and nowhere else."""

# ruff: noqa: E501  (a row a line)
from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.expressions.templates import parse_template
from checkpointflow.shells import scripts
from checkpointflow.shells.scripts import Script, check_input, parse_command, render_command

SHELLS = ("sh", "dash", "bash", "zsh", "pwsh")


def render(command: str, value: Any = "v", shell: Any = "bash", **others: Any) -> Script:
    template = parse_command(command.replace("§", "${file:inputs.v}"), shell)
    return render_command(template, {"inputs": {"v": value, **others}})


def refuse(command: str, shell: Any = "bash") -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        render(command, shell=shell)
    return caught.value


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("jq . §", 'jq . "${V}"'), ('jq . "§"', 'jq . "${V}"'), ("jq . '§'", "jq . ''\"${V}\"''"),
        ("cat < §", 'cat < "${V}"'), ("f=§", 'f="${V}"'),
        ("dd if=§ of=b", 'dd if="${V}" of=b'), ('[ -s "§" ]', '[ -s "${V}" ]'), ("x=$(wc -c < §)", 'x=$(wc -c < "${V}")'),
        ("for f in § b; do cat $f; done", 'for f in "${V}" b; do cat $f; done'), ("# see §", "# see ${V}"),
        ('f=§; curl -d "@$f" u', 'f="${V}"; curl -d "@$f" u'), ("echo ${ file: inputs.v }", 'echo "${V}"'),
        ("f() { cat $1; }; f §", 'f() { cat $1; }; f "${V}"'), ("grep bash §", 'grep bash "${V}"'),
        ("python3 x.py §", 'python3 x.py "${V}"'), ("python3 x.py < §", 'python3 x.py < "${V}"'),
        ("bash x.sh §", 'bash x.sh "${V}"'), ("sh -c 'cat \"$1\"' _ §", "sh -c 'cat \"$1\"' _ \"${V}\""),
        ("awk '{print}' §", "awk '{print}' \"${V}\""), ("xargs echo < §", 'xargs echo < "${V}"'),
        ("read -r x < §; echo $x", 'read -r x < "${V}"; echo $x'),
        ("case § in *) ;; esac", 'case "${V}" in *) ;; esac'), ("kubectl apply -f §", 'kubectl apply -f "${V}"'),
        ('f=§; cat "$f"; psql < a.sql', 'f="${V}"; cat "$f"; psql < a.sql'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh"])
def test_it_stands_where_a_whole_word_is_data(command: str, text: str, shell: Any) -> None:
    script = render(command, {"a": [1]}, shell)
    assert script == Script(text.replace("V", "CPF_VALUE_1"), {}, {"CPF_VALUE_1": {"a": [1]}})


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("Get-Content §", 'Get-Content "${env:V}"'), ('Get-Content "§"', 'Get-Content "${env:V}"'),
        ("$x = gc -Raw §", '$x = gc -Raw "${env:V}"'), ("python x.py §", 'python x.py "${env:V}"'),
        ("$f = §; python x.py $f", '$f = "${env:V}"; python x.py $f'),
        ("[IO.File]::ReadAllText(§)", '[IO.File]::ReadAllText("${env:V}")'),
    ],
)  # fmt: skip
def test_it_stands_as_a_word_of_powershell(command: str, text: str) -> None:
    script = render(command, ["a"], "pwsh")
    assert script.text == scripts.POWERSHELL_GUARD + text.replace("V", "CPF_VALUE_1")
    assert script.files == {"CPF_VALUE_1": ["a"]}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "command",
    ["cat a§", "curl -d @§ u", "x --data=§", 'echo "see §"', "echo 'see §'", "cat §/b", "cat §§"],
)
def test_it_is_refused_elsewhere(command: str, shell: Any) -> None:
    refuse(command, shell)


@pytest.mark.parametrize(
    "command",
    [
        "cat <<E\n§\nE", "echo $((§))", "(( § > 1 ))", "[ § -gt 1 ]", "exit §", "a[§]=1", "echo ${x:-§}", "env § a",
        "sudo § a", "find . -exec § ;", "§", "§ a", "xargs § a", "let x=§", "head -n $(( $(cat §) ))", "sed s/a/§/",
    ],
)  # fmt: skip
def test_a_place_where_its_name_would_not_be_plain_data_is_told_with_a_way_out(command: str) -> None:
    assert refuse(command).hint


RUN = [
    "bash §", ". §", "source §", "bash < §", "cat § | sh", "cat < § | sh", "ssh h < §", "ssh h bash < §", "eval §",
    'eval "$(cat §)"', "bash <(cat §)", "python3 §", "python3 < §", "cat § | python3", "perl §", "node §",
    "node -r § a.js", "node --require=§ a.js", "awk -f §", "awk -f§", "sed -f § a", "jq -f § a", "psql -f §", "psql < §",
    "cat § | psql", "mysql < §", "sqlite3 db < §", "sqlite3 -init § db", "make -f §", "vim -S §", "emacs -l §",
    "gdb -x § a", "lua -l § a.lua", "julia -L § a", "ruby -r § a", "php -f §", "php -c § a", "m4 §", "gnuplot §",
    "sudo bash §", "env bash §", "timeout 9 python3 §", "xargs -a § sh -c", "xargs sh -c < §", "at -f § now",
    "crontab §", "parallel -a §", "parallel < §", "docker exec c bash §", "bash -s < §", "find . -exec bash § ;",
    "f=§; bash $f", 'f=§; bash "./$f"', 'f=§; . "$f"', 'f=§; . "./$f"', 'f=§; python3 "$f"', 'f=§; psql -f "$f"',
    'f=§; cat "$f" | psql', 'f=§; psql < "$f"', 'f=§; g="$f"; bash < $g', "for f in §; do python3 $f; done",
    'f() { python3 "$1"; }; f §', "set -- §; . ./$1", "read f <<< §; awk -f $f", 'f=§; x=$(cat "$f"); eval "$x"',
    "read -r x < §; (( x ))", 'while read -r l; do eval "$l"; done < §', 'f=§; read -r x < "$f"; (( x ))',
    "mapfile -t a < §; (( a ))", "cat § | while read -r n; do [[ $n -gt 3 ]]; done", 'x="$(< §)"; eval "$x"',
    "BASH_ENV=§ bash a", "ssh -F § host", "sqlcmd -i §", "beeline -f §",
]  # fmt: skip


@pytest.mark.parametrize("command", RUN)
def test_no_interpreter_is_given_one_to_run(command: str) -> None:
    assert refuse(command).hint


@pytest.mark.parametrize("command", ["python §", "$f = §; python $f", ". §", "& §", "awk -f §"])
def test_nor_is_one_of_powershell(command: str) -> None:
    refuse(command, "pwsh")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("cat ${fil:inputs.v}", 'did you mean "file"?'), ("cat ${files:inputs.v}", 'did you mean "file"?'),
        ("cat ${File:inputs.v}", 'did you mean "file"?'), ("echo ${row:inputs.v}", 'did you mean "raw"?'),
        ('echo ${json:inputs["v"]}', "before a value there can be raw: or file:"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", SHELLS)
def test_another_word_before_a_value_is_told_with_what_was_meant(command: str, hint: str, shell: Any) -> None:
    error = refuse(command, shell)
    assert (error.column, error.hint) == (command.index("{") + 2, hint)


@pytest.mark.parametrize(
    "theirs", ["${file:1:2}", "${file:-x}", "${file%.*}", "${x:item}", "${x:item[0]}", "${file}"]
)
def test_the_shell_keeps_its_own(theirs: str) -> None:
    assert render(f"echo {theirs}") == Script(f"echo {theirs}", {}, {})
    assert render("echo $${fil:inputs.v}").text == "echo ${fil:inputs.v}"


def test_a_text_that_is_no_command_has_no_files() -> None:
    with pytest.raises(ExpressionError, match="file: is for commands"):
        parse_template("${file:inputs.x}")


def test_what_is_not_there_is_an_error_as_elsewhere() -> None:
    with pytest.raises(EvaluationError, match="nothing"):
        render("cat ${file:inputs.nothing}")


def test_a_value_too_long_for_a_command_is_told_the_way_out_which_takes_it() -> None:
    long = "x" * 200_000
    with pytest.raises(EvaluationError, match=r"in a file, \$\{file:…\}"):
        render("echo ${inputs.v}", long)
    with pytest.raises(EvaluationError, match=r"NUL; .*\$\{file:…\}"):
        render("echo ${inputs.v}", "a\0b")
    assert render("wc -c §", long).files == {"CPF_VALUE_1": long}


def test_there_is_a_limit_for_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "MAX_FILES_BYTES", 9)
    assert render("cat § §", "abc")
    with pytest.raises(EvaluationError, match="more than 9 bytes altogether"):
        render("cat § §", "abcde")
    with pytest.raises(EvaluationError, match="half a character"):
        render("cat §", "\ud800")


def test_raw_text_moves_it_nowhere_else() -> None:
    command = "${raw:inputs.r} §"
    assert render(command, r="cat").files == {"CPF_VALUE_1": "v"}
    for raw in ("bash", "cat a; .", '"', "psql <", "echo $(("):
        with pytest.raises(EvaluationError, match="raw text"):
            render(command, r=raw)


def test_standard_input_takes_what_can_be_written_and_is_not_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scripts, "MAX_FILES_BYTES", 4)
    check_input("é\0a")
    check_input([10])
    for value, problem in (
        ("ééé", "at most 4 bytes"),
        ([100], "at most 4 bytes"),
        ("\udc80", "half a character"),
    ):
        with pytest.raises(EvaluationError, match=problem):
            check_input(value)
