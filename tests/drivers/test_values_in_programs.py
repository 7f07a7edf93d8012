"""A value in a program text is code: seen to run, by the real interpreters, and seen not to by the way out.

Each row of `WITHOUT` is a command in which a shell puts a value into a program, as anybody would write it by
hand: it runs what the value says. cpf refuses the same command, and `WITH` has what its hint says instead.
Interpreters that are not installed are left out by name.
"""

# ruff: noqa: E501  (a row a line)
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.shells.scripts import parse_command, render_command

EXAMPLES = int(os.environ.get("CPF_FUZZ_EXAMPLES", "0"))

# program: (a command that runs a value, the value, the way out)
ROWS: dict[str, list[tuple[str, str, str]]] = {
    "python3": [
        ("python3 -c \"print('§')\"", "'+str(open('pwned','w'))+'", "x=§ python3 -c 'import os; print(os.environ[\"x\"])'"),
        ("python3 -Ic \"print('§')\"", "'+str(open('pwned','w'))+'", "python3 -Ic 'import sys; print(sys.argv[1])' §"),
        ("echo \"print('§')\" | python3", "'+str(open('pwned','w'))+'", "echo § | python3 -c 'import sys; print(sys.stdin.read())'"),
        ("python3 - <<E\nprint('§')\nE", "'+str(open('pwned','w'))+'", "x=§ python3 <<'E'\nimport os\nprint(os.environ['x'])\nE"),
        ("echo § | xargs python3 -c", "\"open('pwned','w')\"", "echo § | xargs -0 python3 -c 'import sys; print(sys.argv[1])'"),
    ],
    "perl": [
        ("perl -e \"print '§'\"", "'.`touch pwned`.'", "x=§ perl -e 'print $ENV{x}'"),
        ("echo a | perl -pe \"s/a/§/\"", "x/;`touch pwned`;s/b/", "echo a | x=§ perl -pe 's/a/$ENV{x}/'"),
        ("echo a | perl -lane \"print '§'\"", "'.`touch pwned`.'", "perl -e 'print $ARGV[0]' -- §"),
        ("perl -M§ -e 1", 'strict;open(F,">pwned")', "perl -e 'print $ARGV[0]' -- §"),
    ],
    "ruby": [("ruby -e \"puts '§'\"", "'+`touch pwned`+'", "x=§ ruby -e 'puts ENV[\"x\"]'")],
    "node": [
        ("node -e \"console.log('§')\"", "'+require('fs').writeFileSync('pwned','')+'", "x=§ node -e 'console.log(process.env.x)'"),
        ("node --eval=\"'§'\"", "'+require('fs').writeFileSync('pwned','')+'", "node -e 'console.log(process.argv[1])' -- §"),
        ("node -p \"'§'\"", "'+require('fs').writeFileSync('pwned','')+'", "x=§ node -p 'process.env.x'"),
        ("echo \"'§'\" | node", "'+require('fs').writeFileSync('pwned','')+'", "x=§ node -p 'process.env.x'"),
    ],
    "php": [("php -r \"echo '§';\"", "'.`touch pwned`.'", "x=§ php -r 'echo getenv(\"x\");'")],
    "lua": [("lua -e \"print('§')\"", "'..tostring(os.execute('touch pwned'))..'", "x=§ lua -e 'print(os.getenv(\"x\"))'")],
    "Rscript": [("Rscript -e \"cat('§')\"", "',system('touch pwned'),'", "x=§ Rscript -e 'cat(Sys.getenv(\"x\"))'")],
    "julia": [("julia -e \"print(\\\"§\\\")\"", "\",run(`touch pwned`),\"", "x=§ julia -e 'print(ENV[\"x\"])'")],
    "tclsh": [("echo \"puts \\\"§\\\"\" | tclsh", "[exec touch pwned]", "x=§ tclsh <<'E'\nputs $env(x)\nE")],
    "expect": [("expect -c \"puts \\\"§\\\"\"", "[exec touch pwned]", "x=§ expect -c 'puts $env(x)'")],
    "awk": [
        ("awk \"BEGIN{print \\\"§\\\"}\"", '";system("touch pwned");print "', "x=§ awk 'BEGIN{print ENVIRON[\"x\"]}'"),
        ("echo a | awk -F: \"{print \\\"§\\\"}\"", '";system("touch pwned");print "', "awk -v x=§ 'BEGIN{print x}'"),
    ],
    "gawk": [("gawk -e \"BEGIN{print \\\"§\\\"}\"", '";system("touch pwned");print "', "x=§ gawk 'BEGIN{print ENVIRON[\"x\"]}'")],
    "sed": [
        ("echo a | sed \"s/a/§/\"", "/;1e touch pwned\n#", "echo a | x=§ perl -pe 's/a/$ENV{x}/'"),
        ("echo a | sed -n \"§p\"", "1e touch pwned\n", "echo a | x=§ perl -pe 's/a/$ENV{x}/'"),
        ("echo a > f; sed s,a,b, f §", "-e1e touch pwned", "echo a > f; sed s,a,b, -- f ./§ || true"),
    ],
    "sqlite3": [
        ("sqlite3 :memory: \"select '§'\"", "'; select writefile('pwned', 1); --", "x=$(printf '%s' § | sed \"s/'/''/g\"); sqlite3 :memory: \"select '$x'\""),
        ("echo \"select '§';\" | sqlite3 :memory:", "'; select writefile('pwned', 1); --", "x=$(printf '%s' § | sed \"s/'/''/g\"); sqlite3 :memory: \"select '$x'\""),
    ],
    "make": [
        ("printf 'a:\\n\\t@echo $(X)\\n' > Makefile; make X=§", "$(shell touch pwned)", "printf 'a:\\n\\t@echo \"$$x\"\\n' > Makefile; x=§ make"),
        ("printf 'a:\\n\\t@echo $(CFLAGS)\\n' > Makefile; make §", "CFLAGS=$(shell touch pwned)", "printf 'a:\\n\\t@echo \"$$x\"\\n' > Makefile; x=§ make"),
    ],
    "git": [
        ("git -c alias.x=§ x", "!touch pwned", "git -c user.name=§ version"),
        ("git init -q; echo a > f; git add f; git grep --open-files-in-pager=§ a", "touch pwned;", "git -c user.name=§ version"),
        ("git init -q; git archive --remote=. --exec=§ HEAD", "touch pwned;", "git -c user.name=§ version"),
        ("git init -q; git clone -q -u § . c", "touch pwned;", "git -c user.name=§ version"),
    ],
    "tar": [
        ("touch b; tar cf a.tar b; tar xf a.tar --to-command=§", "touch pwned", "touch b; tar cf a.tar -- b; echo § | cat"),
        ("touch b; tar cIf § a.tar b", "touch pwned", "touch b; tar cf a.tar b; echo § | cat"),
    ],
    "find": [
        ("find . -maxdepth 0 -exec sh -c \"echo '§'\" \\;", "'; touch pwned; '", "find . -maxdepth 0 -exec sh -c 'echo \"$1\"' _ § \\;"),
    ],
    "xargs": [
        ("echo a | xargs sh -c \"echo '§'\"", "'; touch pwned; '", "echo a | xargs sh -c 'echo \"$1\"' _ §"),
        ("printf '%s\\n' § | xargs -iX sh -c 'echo X'", "$(touch pwned)", "printf '%s\\n' § | xargs -0 -iX sh -c 'echo \"$1\"' _ X"),
        ("printf '%s\\n' § | xargs --replace=X sh -c 'echo X'", "$(touch pwned)", "printf '%s\\n' § | xargs -0 -I{} sh -c 'echo \"$1\"' _ {}"),
        ("printf '%s\\n' § | xargs -I{} sh -c 'echo {}'", "$(touch pwned)", "printf '%s\\n' § | xargs -0 -I{} sh -c 'echo \"$1\"' _ {}"),
    ],
    "setpriv": [("setpriv --nnp sh -c \"echo '§'\"", "'; touch pwned; '", "setpriv --nnp sh -c 'echo \"$1\"' _ §")],
    "env": [("env -S §", "touch pwned", "env x=§ sh -c 'echo \"$x\"'")],
    "script": [("script -qc § /dev/null", "touch pwned", "x=§ script -qc 'echo \"$x\"' /dev/null")],
    "gdb": [("gdb -batch -ex §", "shell touch pwned", "echo §")],
    "vim": [("vim -es -u NONE -c § -c qa", "!touch pwned", "echo §")],
    "timeout": [("timeout 9 sh -c \"echo '§'\"", "'; touch pwned; '", "timeout 9 sh -c 'echo \"$1\"' _ §")],
}  # fmt: skip
CASES = [pytest.param(name, *row, id=f"{name}: {row[0]!r}") for name, rows in ROWS.items() for row in rows]


def require(name: str, command: str) -> None:
    missing = [one for one in (name, "perl") if one in command and shutil.which(one) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")


def run(text: str, variables: dict[str, str], directory: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["sh", "-c", text], env=environment | variables, cwd=directory, timeout=60, capture_output=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.stdout.decode(errors="replace")


def render(command: str, value: str) -> tuple[str, dict[str, str]]:
    script = render_command(parse_command(command.replace("§", "${item}"), "sh"), {"item": value})
    return script.text, script.variables


@pytest.mark.parametrize(("name", "command", "value", "way_out"), CASES)
def test_the_command_by_hand_runs_what_the_value_says(
    name: str, command: str, value: str, way_out: str, tmp_path: Path
) -> None:
    require(name, command)
    run(command.replace(" §", ' "$V"').replace("=§", '="$V"').replace("§", "${V}"), {"V": value}, tmp_path)
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize(("name", "command", "value", "way_out"), CASES)
def test_cpf_lets_the_value_not_through(name: str, command: str, value: str, way_out: str) -> None:
    with pytest.raises((ExpressionError, EvaluationError)):
        render(command, value)


@pytest.mark.parametrize(("name", "command", "value", "way_out"), CASES)
def test_the_way_out_runs_nothing(name: str, command: str, value: str, way_out: str, tmp_path: Path) -> None:
    require(name, way_out)
    output = run(*render(way_out, value), tmp_path)
    assert not (tmp_path / "pwned").exists()
    if not way_out.startswith(("git", "echo a > f; sed", "awk -v")):
        assert value.strip() in output.replace("\r\n", "\n")


EVERYDAY = [
    'grep -rl § . | xargs sed -i "s/a/§/g"',
    'grep -rl a . | xargs -I{} sed -i "s/a/§/g" {}',
    "find . -name § | xargs rm -f",
    "tar czf §.tgz d",
    "tar xzf § -C §",
    "git clone --branch § --depth 1 https://x/§.git d",
    "git grep -n -- §",
    "git archive --prefix=§/ HEAD",
    "kubectl run p --image=§ --command -- sleep §",
    "docker build -t x:§ --build-arg V=§ -f Dockerfile.§ .",
]


@pytest.mark.parametrize("command", EVERYDAY)
def test_everyday_commands_are_let_through(command: str) -> None:
    render(command, "1.2")


@pytest.mark.parametrize(
    "command",
    ['kubectl run p --image=i -- sh -c "echo §"', "oc rsh p sh -c §", 'fish -c "echo §"', "csh -c §"],
)
def test_a_shell_elsewhere_is_a_shell_too(command: str) -> None:
    with pytest.raises(ExpressionError):
        render(command, "x")


# sed, which lets some values through

PROGRAMS = [
    "s/a/§/",
    "s,a,§,;p",
    "s|a|§|w out",
    "/§/d",
    "§p",
    "§,§p",
    "s/a/b/§",
    "a §",
    "2q§",
    "s:§:b:;n;d",
    "y,a,§,",
]
HOSTILE = ["/e", ",e", ",w pwned", "|w pwned", "1e touch pwned", "e touch pwned", "w pwned", "r /etc/passwd", "\n1e touch pwned\n",
           "}e touch pwned", "/;e touch pwned;s/a/", "&", "\\", "\\n", "1w pwned", "0", "$e touch pwned", ":w pwned"]  # fmt: skip


@pytest.mark.skipif(shutil.which("sed") is None, reason="sed is not installed")
def test_what_sed_is_given_writes_and_runs_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "work"
    directory.mkdir()

    def check(program: str, value: str) -> None:
        try:
            text, variables = render(f'printf "a\\na\\n" | sed "{program}"', value)
        except EvaluationError:
            return
        run(text, variables, directory)
        assert set(os.listdir(directory)) <= {"out"}

    for program in PROGRAMS:
        for value in HOSTILE:
            check(program, value)
    texts = st.text("/,|:; \n\\&{}ewrtouchpnd1$-", max_size=12)
    search = given(st.sampled_from(PROGRAMS), texts)(check)
    settings(max_examples=EXAMPLES or 30, deadline=None, database=None)(search)()
