"""What a command says that its shell may read otherwise than its author."""

from __future__ import annotations

import pytest

from checkpointflow.shells.portability import find_bashisms, find_word_as_comment

BASHISMS = [
    "if [[ v1 == v1 ]]; then echo; fi", "x=(a b)", "echo {1..3}", "mkdir -p {a,b}/c", "cp x{,.bak}",
    "set -euo pipefail", "set -o pipefail\na", "[ a == b ]", "echo -e 'x\\n'", "cmd &> f", "cmd |& tee",
    "cat <<< x", "diff <(a) <(b)", "for ((i=0;i<3;i++)); do", "function f { :; }", 'echo "${x//a/b}"',
    'echo "${x^^}"', "echo ${x:1:2}", "echo ${a[0]}", "echo ${a[@]}", "${!x}", "echo $'a\\n'", "read -p x y",
    "declare -A m", "trap 'x' ERR", "echo $((i++))", "echo $RANDOM", "(( n > 3 )) && x", "while ((n)); do",
    "let i=1", ". x && source y",
]  # fmt: skip
PORTABLE = [
    "echo '[[ a ]]'", "bash -c '[[ a ]] && b'", "cat <<'E'\n[[ a ]]\nE", 'echo "{1..3} [[ x ]]"',
    "grep 'a$' f", "find . -exec rm {} +", "x=${y:-z}",
    '${inputs.list[0]} ${steps.a.outputs["b"]} ${item[0]}',
    "(a || b) && c", "((a; b) | c)", "echo a > f 2>&1", "a >&2", "a 2>&1 | b", "[ a = b ]",
    "x=${x%%/*} ${x#a} ${#x} ${x:=3} ${x:?m} ${x:+y}", "read -r x", "docker ps --format '{{.ID}}'",
    "git show stash@{0}", "curl -d '{\"a\":1,\"b\":2}'", "jq '.[] | select(.a == \"b\")' f",
    "echo $((a - 1))",
    "python3 - <<'E'\nx = {1,2}\nif a == b: pass\nE", "{ a; b; }", "trap 'rm x' EXIT", "a &\nb > c",
    'echo "$(grep "[[ x" f)"', "echo a # [[ x ]]", "echo \\$'x'", "echo lets declared",
]  # fmt: skip


@pytest.mark.parametrize("command", BASHISMS)
def test_what_not_every_sh_knows_is_found(command: str) -> None:
    assert len(find_bashisms(command, "sh")) == 1
    assert find_bashisms(command, "bash") == []


@pytest.mark.parametrize("command", PORTABLE)
def test_what_every_sh_knows_is_not(command: str) -> None:
    assert find_bashisms(command, "dash") == []


@pytest.mark.parametrize(
    ("command", "comment"),
    [
        ("echo fixes issue #12", "#12"), ("# x\npost #general hi", "#general hi"), ("make #build", "#build"),
        ("echo a # b", None), ("echo 'a #12'", None), ("echo a#b", None), ("a; #note", None),
        ("a\n  #x", None),
        ('echo "x #1"', None), ("echo a \\#12", None), ("{ #x\n a; }", None), ("echo $# a", None),
        ("a #!/bin", None), ("cat <<E\nfixes #12\nE", None),
    ],
)  # fmt: skip
def test_a_word_that_is_a_comment(command: str, comment: str | None) -> None:
    assert find_word_as_comment(command) == comment
