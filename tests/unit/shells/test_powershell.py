"""Where a value may stand in a PowerShell script, and what stands there for it."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.shells.powershell import find_contexts
from checkpointflow.shells.scripts import POWERSHELL_GUARD as GUARD
from checkpointflow.shells.scripts import join_commands, list_arguments, parse_command, render_command

# § is a hole; what it becomes is ${env:CPF_VALUE_1} and so on, written V1.
WRITTEN = [
    ("git log §", 'git log "V1"'),
    ("§", '"V1"'),
    ("a §; b §", 'a "V1"; b "V2"'),
    ("f(§, §)", 'f("V1", "V2")'),
    ("a | b §", 'a | b "V1"'),
    ("a && b § || c", 'a && b "V1" || c'),
    ("if (§ -eq 'x') { a § } else {§}", 'if ("V1" -eq \'x\') { a "V2" } else {"V3"}'),
    ("$x = §", '$x = "V1"'),
    ('$x="§"; a K="§" --k="a§b"', '$x="V1"; a K="V2" --k="aV3b"'),
    ('a "b § c" "§"', 'a "b V1 c" "V2"'),
    ("a “§”", "a “V1”"),
    ('a "x""§""y" "`"§"', 'a "x""V1""y" "`"V2"'),
    ('a "$(b §) §"', 'a "$(b "V1") V2"'),
    ('a "$(b "§")"', 'a "$(b "V1")"'),
    ('a "${x y}§" ${x"y}', 'a "${x y}V1" ${x"y}'),
    ('$h["§"] $h[§]', '$h["V1"] $h["V2"]'),
    ('@{ a = §; b = "§" }', '@{ a = "V1"; b = "V2" }'),
    ('a @"\nb "§"\n"@', 'a @"\nb "V1"\n"@'),
    ("a @'\n\"\n'@ §", 'a @\'\n"\n\'@ "V1"'),
    ("# it's §\na §", '# it\'s V1\na "V2"'),
    ("a <# it's § #> §", 'a <# it\'s V1 #> "V2"'),
    ("a#b'c' §", "a#b'c' \"V1\""),
    ("a 'it''s' §", "a 'it''s' \"V1\""),
    ("a `' §", 'a `\' "V1"'),
    ("& git §", '& git "V1"'),
    ('& "git" §', '& "git" "V1"'),
    ("& { git § }", '& { git "V1" }'),
    ("git config user.name §; $env:X = §", 'git config user.name "V1"; $env:X = "V2"'),
    ("$env:PAGER = 'cat'; git log §", "$env:PAGER = 'cat'; git log \"V1\""),
    ("find . -name § .", 'find . -name "V1" .'),
    ("a & b §", 'a & b "V1"'),
    ("foreach ($x in §) { a $x § }", 'foreach ($x in "V1") { a $x "V2" }'),
    ("a | % { b § } | c §", 'a | % { b "V1" } | c "V2"'),
    ("./deploy.sh §", './deploy.sh "V1"'),
    ("python x.py §", 'python x.py "V1"'),
    ("'x' | python x.py § | jq --arg x § '.a'", "'x' | python x.py \"V1\" | jq --arg x \"V2\" '.a'"),
    ("1..3 | ForEach-Object { a § }", '1..3 | ForEach-Object { a "V1" }'),
    ("Set-Content -Encoding utf8 -Path x -Value §", 'Set-Content -Encoding utf8 -Path x -Value "V1"'),
    ("a ${name} ${env:HOME} $$ §", 'a ${name} ${env:HOME} $$ "V1"'),
]

REFUSED = {
    "it is part of a longer word": [
        "a x§", "a §x", "a §§", "a --x=§", "$x=§", "a §.txt", 'a §"b"', 'a "§"b', 'a x"§"', '("§").x "§".y',
        "$env:§", "&§", 'K="§"', '="§"', '&="§"', '& $x="§"', 'git["§"]',
        '=@"\n§\n"@', '$x."a§"', 'g$(x y)="§"', "a -x:§", 'a -x:"§"',
    ],
    "single quotes": ["a '§'", "a ‘§’", 'a "$(b \'§\')"'],
    "this here-string": ["a @'\n§\n'@"],
    "a backtick": ["a `§"],
    "a $ or a backtick": ['a "$§"', 'a "`§"'],
    "no value can name the command to run": [
        "& §", ". §", '& "§"', '& "a$(b §)"', "& (a §)", "a; & §", "{& §}", "a && & §",
        "& # b\n §", "<##>& §", '&$("§")', '&@("§")', ". §",
    ],
    "no value can name a member": [
        '$x.(a §)', '$x.(§)', "[a]:: §", "[a]::\n§", "[a]::(§)",
        "a | % §", 'a | ForEach-Object "§"', "a |foreach  §", "1 | % -m §", "a | ForEach-Object -Verbose §",
        "a | % (b §)",
    ],
    "it could become code": [
        "Invoke-Expression §", "IEX §", "a; sh -c §", "/bin/bash §", "ssh h §", "[scriptblock]::Create(§)",
        "pwsh -c §", "Add-Type §", "a --% §", "Start-Process a §", "$x.InvokeScript(§)", "a -MemberName §",
        "sal x §", "Invoke-WmiMethod x §",
        "Set-Item Function:x §",
        "python -c \"print('§')\"", '& python3.exe -Ic "a b §"', '"§" | python3', 'awk "{ § }" f', "jq §",
        'sqlite3 a.db “select §”', 'a; sed "s/a/§/"',
        'git -c "alias.x=§" x', 'git config alias.x §', 'tar "--to-command=§" -xf a',
    ],
    "what GIT_SSH_COMMAND holds is run": ['$env:GIT_SSH_COMMAND = "x §"', "${env:GIT_SSH_COMMAND} += §"],
    "must begin a script": ["using namespace System\na §", "  param($x)\na §", "# b\n<# c #>param($x)\na §"],
    "does not end": ["a 'b §", 'a "b §', "a (b §", "a <# §", 'a @"\n§', "a § ${b", 'a § "`'],
    "<# within a word": ["§ a<# b #>"],
    "closes nothing": ["a ) §", "a } §"],
    "part of a variable's name": ["a ${b§}"],
}  # fmt: skip


def command(text: str) -> str:
    return text.replace("§", "${inputs.v}")


def written(text: str, value: Any = "x") -> str:
    script = render_command(parse_command(command(text), "pwsh"), {"inputs": {"v": value}})
    assert script.text.startswith(GUARD)
    return script.text.removeprefix(GUARD)


@pytest.mark.parametrize(("text", "expected"), WRITTEN)
def test_a_value_stands_as_a_reference_to_the_environment(text: str, expected: str) -> None:
    for number in range(1, text.count("§") + 1):
        expected = expected.replace(f"V{number}", f"${{env:CPF_VALUE_{number}}}")
    assert written(text) == expected


@pytest.mark.parametrize(("problem", "text"), [(p, text) for p, texts in REFUSED.items() for text in texts])
def test_a_value_is_refused_where_it_would_not_be_one_word_or_not_data(problem: str, text: str) -> None:
    found = find_contexts(text.replace("§", "\0"))
    assert len(found) == text.count("§")
    assert any(problem in str(place.problem) and place.hint for place in found), found


def test_a_refusal_is_told_with_its_place() -> None:
    with pytest.raises(ExpressionError) as told:
        parse_command("a\n& ${inputs.v}", "pwsh")
    assert (told.value.text, told.value.column) == ("& ${inputs.v}", 3)


def test_a_script_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse_command("(" * 50 + "${inputs.v}" + ")" * 50, "pwsh")


def test_a_list_alone_is_an_array_of_its_elements() -> None:
    assert written("git add §", ["a", 1]) == 'git add @("${env:CPF_VALUE_1_1}", "${env:CPF_VALUE_1_2}")'
    assert written("git add §", []) == "git add @()"
    assert written('git add "§"', ["a"]) == 'git add "${env:CPF_VALUE_1}"'


def test_a_script_without_values_is_left_as_it_is() -> None:
    script = render_command(parse_command("param($x)\niex 'a ${HOME}'", "pwsh"), {})
    assert (script.text, script.variables) == ("param($x)\niex 'a ${HOME}'", {})


def test_raw_text_is_read_again() -> None:
    template = parse_command("a ${raw:inputs.a} ${inputs.b}", "pwsh")
    script = render_command(template, {"inputs": {"a": "b |", "b": "x"}})
    assert script.text == GUARD + 'a b | "${env:CPF_VALUE_1}"'
    for raw in ("&", "'", "iex", "b)"):
        with pytest.raises(EvaluationError, match="leaves no place"):
            render_command(template, {"inputs": {"a": raw, "b": "x"}})


@given(st.text(st.sampled_from("§$(){}[]'\"`@#<>|&;.:=%, \n“‘ab-"), max_size=25))
def test_every_hole_of_any_script_has_a_place(text: str) -> None:
    assert len(find_contexts(text.replace("§", "\0"))) == text.count("§")


NASTY = [
    "",
    " a  b ",
    "$(throw 1)",
    '"; throw 1; "',
    "'",
    "`",
    "*",
    "-Force",
    "--",
    "%s",
    "a\nb",
    "é 🙂",
    "\\",
]


@pytest.mark.skipif(shutil.which("pwsh") is None, reason="there is no PowerShell")
@pytest.mark.parametrize("text", ["a §", 'a "§"', 'a "$("§")"', 'a @"\n§\n"@', "$x = §; a $x", 'a "<§>"'])
def test_a_nasty_value_arrives_as_one_word(text: str) -> None:
    for value in NASTY:
        template = parse_command(command(text).replace("a ", "/usr/bin/printf '<%s>' "), "pwsh")
        script = render_command(template, {"inputs": {"v": value}})
        arguments = ["pwsh", "-NoProfile", "-NonInteractive", "-Command", script.text]
        ended = subprocess.run(arguments, env=script.variables, capture_output=True, check=True, timeout=60)
        shown = f"<{value}>" if "<§>" not in text else f"<<{value}>>"
        assert ended.stdout.decode() == shown


def test_powershell_stops_at_what_fails_unless_something_must_stand_first() -> None:
    begin = ["-NoProfile", "-NonInteractive", "-Command"]
    stop = "$ErrorActionPreference = 'Stop'; $PSNativeCommandUseErrorActionPreference = $true;"
    assert list_arguments("pwsh", "a", fail_fast=True) == [*begin, stop, "a"]
    assert list_arguments("pwsh", "a", fail_fast=False) == [*begin, "a"]
    assert list_arguments("pwsh", "param($x)\na", fail_fast=True) == [*begin, "param($x)\na"]


def test_a_list_for_powershell_is_statements_and_no_blocks_of_text() -> None:
    assert join_commands(("a", "b"), "pwsh") == "a\nif (-not $?) { exit 1 }\nb"
