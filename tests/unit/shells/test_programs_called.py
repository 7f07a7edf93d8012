"""Which programs a command calls by name."""

from __future__ import annotations

import pytest

from checkpointflow.shells.commands import find_programs


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("pg_ctl promote && echo done", "pg_ctl"),
        ("if pg_isready -q; then foo | bar >x; fi", "pg_isready foo bar"),
        ("x=$(lvs -o x) y=1 cmd", "lvs cmd"),
        ("for i in 1 2; do case $i in 1) foo;; *) ! bar;; esac; done; ((i=1)); [[ -f x ]]", "foo bar"),
        ("cat <<E\nhello\nE\nexec qux", "cat qux"),
        ("sudo -u pg foo", "sudo"),
        ("f() { g a; }; f", "g"),
        ("cd x; echo a; test -f b; set -e; true", ""),
        ('\0 a; \0/b c; "$X" d; $(e); ./g; /usr/bin/h', "e"),
        ("command -v jq >/dev/null && jq .", ""),
        ("type foo && foo; which bar; bar; hash baz; baz; qux", "qux"),
        ("PATH=/opt/bin foo", ""),
        ("export PATH=/opt/bin; foo", ""),
        (". ./env; foo", ""),
        ("foo 'never ends", ""),
        ("", ""),
    ],
)
def test_what_is_no_builtin_no_function_and_not_looked_for_first(command: str, programs: str) -> None:
    assert find_programs(command, "bash") == set(programs.split())
