"""Files of environment variables: what all who read them take alike, and nothing else."""

from __future__ import annotations

import pytest

from checkpointflow.documents import environment
from checkpointflow.documents.environment import read_env_file


def read(text: str) -> dict[str, str]:
    found, problems = read_env_file(text.encode(), "my.env")
    assert problems == []
    return found


def test_values_stand_bare_or_in_quotes() -> None:
    text = '\ufeff# ours\n\n  A=1\r\nexport B=a/b:c,d%é=\nC=\nD=\'a $x \\ "#"\'\nE="it\'s # é"\n  # end'
    assert read(text) == {"A": "1", "B": "a/b:c,d%é=", "C": "", "D": 'a $x \\ "#"', "E": "it's # é"}


@pytest.mark.parametrize(
    "line",
    [
        "A", "A =1", "A= 1", "A=a b", "A=a # b", "A=a#b", "A=$B", "A=`b`", "A=a\\b",
        'A="$B"', 'A="a\\n"', "A='a'b",
        "A='a", 'A="a', "1A=1", "A-B=1", "A: 1", "unset A", "A='a'  # b", "A='a\0b'", "CPF_X=1", "A.B=1",
    ],
)  # fmt: skip
def test_what_some_read_otherwise_is_refused_with_its_line_and_without_what_it_holds(line: str) -> None:
    found, (problem,) = read_env_file(f"Z=1\n{line}\nY=2\n".encode(), "my.env")
    assert (found, problem.file, problem.line, problem.text) == ({"Z": "1", "Y": "2"}, "my.env", 2, None)


def test_a_variable_stands_there_once() -> None:
    found, (problem,) = read_env_file(b"A=1\nA=2\n", "my.env")
    assert (found, problem.line, "twice" in problem.message) == ({"A": "1"}, 2, True)


def test_a_file_is_utf_8_and_no_longer_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [problem.message for problem in read_env_file(b"A=\xff", "f")[1]] == ["it is not UTF-8"]
    monkeypatch.setattr(environment, "MAX_FILE_BYTES", 3)
    assert read_env_file(b"A=1", "f") == ({"A": "1"}, [])
    assert "larger than 3" in read_env_file(b"A=12", "f")[1][0].message
