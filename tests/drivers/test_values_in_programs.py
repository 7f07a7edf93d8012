"""A value in a program text is code: seen to run, by the real interpreters, and seen not to by the way out.

A row of `ROWS` is a command in which a shell puts a value into a program, as anybody would write it by hand,
and a value: it runs what the value says. cpf refuses the same command. Then comes what its hint says instead;
`echo §` where that is to leave the value out. Programs that are not installed are left out by name.
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
        ("python3 -m timeit -n 1 §", "open('pwned','w')", "x=§ python3 -c 'import os; print(os.environ[\"x\"])'"),
        ("python3 -m timeit -n 1 -s § 1", "open('pwned','w')", "x=§ python3 -c 'import os; print(os.environ[\"x\"])'"),
        ("echo 1 > f.py; python3 -m pdb -c § -c q f.py", "!open('pwned','w')", "x=§ python3 -c 'import os; print(os.environ[\"x\"])'"),
        ("echo § | python3 -m code", "open('pwned','w')", "x=§ python3 -c 'import os; print(os.environ[\"x\"])'"),
        ("echo \"open('pwned','w')\" > e.py; PYTHONSTARTUP=§ python3 -i", "e.py", "x=§ python3 -c 'import os; print(os.environ[\"x\"])'"),
    ],
    "perl": [
        ("perl -e \"print '§'\"", "'.`touch pwned`.'", "x=§ perl -e 'print $ENV{x}'"),
        ("echo a | perl -pe \"s/a/§/\"", "x/;`touch pwned`;s/b/", "echo a | x=§ perl -pe 's/a/$ENV{x}/'"),
        ("echo a | perl -lane \"print '§'\"", "'.`touch pwned`.'", "perl -e 'print $ARGV[0]' -- §"),
        ("perl -M§ -e 1", 'strict;open(F,">pwned")', "perl -e 'print $ARGV[0]' -- §"),
        ("perl -Mstrict <<E\nprint '§';\nE", "'.`touch pwned`.'", "x=§ perl -Mstrict <<'E'\nprint $ENV{x}\nE"),
        ("PERL5OPT=§ perl -e 1", "-Mstrict;open(F,\">pwned\")", "x=§ perl -Mstrict -e 'print $ENV{x}'"),
        ("PERL5DB=§ perl -d -e 1", "BEGIN{open(F,\">pwned\")}", "x=§ perl -Mstrict -e 'print $ENV{x}'"),
    ],
    "ruby": [
        ("ruby -e \"puts '§'\"", "'+`touch pwned`+'", "x=§ ruby -e 'puts ENV[\"x\"]'"),
        ("echo 'File.write(\"pwned\",\"\")' > e.rb; RUBYOPT=§ ruby -e 1", "-r./e", "x=§ ruby -e 'puts ENV[\"x\"]'"),
        ("echo \"puts '§'\" | irb", "'+`touch pwned`+'", "echo §"),
    ],
    "node": [
        ("node -e \"console.log('§')\"", "'+require('fs').writeFileSync('pwned','')+'", "x=§ node -e 'console.log(process.env.x)'"),
        ("node --eval=\"'§'\"", "'+require('fs').writeFileSync('pwned','')+'", "node -e 'console.log(process.argv[1])' -- §"),
        ("node -p \"'§'\"", "'+require('fs').writeFileSync('pwned','')+'", "x=§ node -p 'process.env.x'"),
        ("echo \"'§'\" | node", "'+require('fs').writeFileSync('pwned','')+'", "x=§ node -p 'process.env.x'"),
        ("NODE_OPTIONS=§ node -e 1", "--import=data:text/javascript,import{writeFileSync}from'fs';writeFileSync('pwned','')", "node --title=§ -p process.title"),
    ],
    "php": [("php -r \"echo '§';\"", "'.`touch pwned`.'", "x=§ php -r 'echo getenv(\"x\");'")],
    "lua": [
        ("lua -e \"print('§')\"", "'..tostring(os.execute('touch pwned'))..'", "x=§ lua -e 'print(os.getenv(\"x\"))'"),
        ("LUA_INIT=§ lua -e 'x=1'", "os.execute('touch pwned')", "x=§ lua -e 'print(os.getenv(\"x\"))'"),
    ],
    "Rscript": [
        ("Rscript -e \"cat('§')\"", "',system('touch pwned'),'", "x=§ Rscript -e 'cat(Sys.getenv(\"x\"))'"),
        ("echo 'system(\"touch pwned\")' > e.R; R_PROFILE_USER=§ Rscript -e 1", "e.R", "x=§ Rscript -e 'cat(Sys.getenv(\"x\"))'"),
    ],
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
        ("sqlite3 -cmd '.headers on' :memory: <<E\nselect '§';\nE", "'; select writefile('pwned', 1); --", "x=$(printf '%s' § | sed \"s/'/''/g\"); sqlite3 :memory: \"select '$x'\""),
    ],
    "make": [
        ("printf 'a:\\n\\t@echo $(X)\\n' > Makefile; make X=§", "$(shell touch pwned)", "printf 'a:\\n\\t@echo \"$$x\"\\n' > Makefile; x=§ make"),
        ("printf 'a:\\n\\t@echo $(CFLAGS)\\n' > Makefile; make §", "CFLAGS=$(shell touch pwned)", "printf 'a:\\n\\t@echo \"$$x\"\\n' > Makefile; x=§ make"),
        ("printf 'a:\\n' > Makefile; MAKEFLAGS=§ make", "--eval=b:;touch\\ pwned", "printf 'a:\\n\\t@echo \"$$x\"\\n' > Makefile; x=§ make"),
        ("printf 'a:\\n' > Makefile; GNUMAKEFLAGS=§ make", "--eval=b:;touch\\ pwned", "printf 'a:\\n\\t@echo \"$$x\"\\n' > Makefile; x=§ make"),
    ],
    "git": [
        ("git -c alias.x=§ x", "!touch pwned", "git -c user.name=§ version"),
        ("git init -q; echo a > f; git add f; git grep --open-files-in-pager=§ a", "touch pwned;", "git -c user.name=§ version"),
        ("git init -q; git archive --remote=. --exec=§ HEAD", "touch pwned;", "git -c user.name=§ version"),
        ("git init -q; git clone -q -u § . c", "touch pwned;", "git -c user.name=§ version"),
        ("GIT_SSH_COMMAND=§ git ls-remote ssh://h/x", "touch pwned;", "x=§ GIT_SSH_COMMAND='echo \"$x\" >&2;' git ls-remote ssh://h/x 2>&1"),
        ("printf '#!/bin/sh\\ntouch pwned\\n' > e; chmod +x e; GIT_SSH=§ git ls-remote ssh://h/x", "./e", "git -c user.name=§ version"),
        ("git init -q; echo a > f; git add f; echo b > f; GIT_EXTERNAL_DIFF=§ git diff", "touch pwned;", "git init -q; echo a > f; git add f; echo b > f; x=§ GIT_EXTERNAL_DIFF='echo \"$x\"; :' git diff"),
        ("git init -q; EDITOR=§ git -c user.name=a -c user.email=b commit -q --allow-empty", "touch pwned;", "git -c user.name=§ version"),
        ("git init -q; VISUAL=§ TERM=xterm git -c user.name=a -c user.email=b commit -q --allow-empty", "touch pwned;", "git -c user.name=§ version"),
        ("git init -q; GIT_EDITOR=§ git -c user.name=a -c user.email=b commit -q --allow-empty", "touch pwned;", "git -c user.name=§ version"),
        ("GIT_CONFIG_PARAMETERS=§ git x", "'alias.x'='!touch pwned'", "git -c user.name=§ version"),
        ("git init -q; git config alias.x §; git x", "!touch pwned", "git init -q; git config user.name -- §; git config user.name"),
    ],
    "tar": [
        ("touch b; tar cf a.tar b; tar xf a.tar --to-command=§", "touch pwned", "touch b; tar cf a.tar -- b; echo § | cat"),
        ("touch b; tar cIf § a.tar b", "touch pwned", "touch b; tar cf a.tar b; echo § | cat"),
        ("touch b; TAR_OPTIONS=§ tar cf a.tar b", "--checkpoint=1 --checkpoint-action=exec=touch\\ pwned", "touch b; tar cf a.tar b; echo § | cat"),
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
    "gdb": [
        ("gdb -batch -ex §", "shell touch pwned", "echo §"),
        ("gdb -q -ex 'p 1' <<E\n§\nE", "shell touch pwned", "echo §"),
    ],
    "vim": [
        ("vim -es -u NONE -c § -c qa", "!touch pwned", "echo §"),
        ("EXINIT=§ TERM=xterm script -qec 'vim +q' /dev/null", "silent !touch pwned", "echo §"),
        ("vim -es -u NONE +\"§\" +qa", "!touch pwned", "echo §"),
        ("vim -es -u NONE § +qa", "+!touch pwned", "echo §"),
        ("echo a > f; vim -es -u NONE -c 'normal x' f <<E\n§\nE", "!touch pwned", "echo §"),
    ],
    "timeout": [("timeout 9 sh -c \"echo '§'\"", "'; touch pwned; '", "timeout 9 sh -c 'echo \"$1\"' _ §")],
    "ex": [
        ("echo a > f; ex -s f <<E\ns/a/§/\nE", "b/\n!touch pwned\n", "echo §"),
    ],
    "ed": [
        ("ed -s <<E\na\n§\n.\nE", "x\n.\n!touch pwned\na", "echo §"),
        ("echo § | ed -s", "!touch pwned", "echo §"),
    ],
    "less": [
        ("echo a > f; LESSOPEN=§ less f", "|touch pwned; : %s", "echo a > f; less f; echo §"),
        ("echo a > f; LESS=§ TERM=xterm timeout -s KILL 1 script -qec 'less f' /dev/null", "+!touch pwned\r", "echo §"),
    ],
    "m4": [
        ("echo § | m4", "syscmd(touch pwned)", "echo §"),
        ("m4 -DX=§ <<'E'\nX\nE", "syscmd(touch pwned)", "echo §"),
    ],
    "dc": [
        ("dc -e §", "!touch pwned", "echo §"),
    ],
    "split": [
        ("echo a > f; split --filter=§ f", "touch pwned", "echo §"),
    ],
    "sort": [
        ("printf '#!/bin/sh\\ntouch pwned\\ncat\\n' > e; chmod +x e; seq 99999 > f; sort -S 100k --compress-program=§ f", "./e", "echo §"),
    ],
    "zip": [
        ("touch b; zip -q -T -TT § a.zip b", "touch pwned;", "echo §"),
        ("touch b; zip -q -T --unzip-command=§ a.zip b", "touch pwned;", "echo §"),
    ],
    "rsync": [
        ("rsync -e § h:x y", "sh -c 'touch pwned'", "echo §"),
        ("RSYNC_RSH=§ rsync h:x y", "sh -c 'touch pwned'", "echo §"),
    ],
    "socat": [
        ("socat -u \"SYSTEM:echo '§'\" -", "'; touch pwned; '", "echo §"),
        ("socat -u § -", "EXEC:touch pwned", "echo §"),
        ("socat - \"OPEN:§\"", "f,create!!EXEC:touch pwned", "echo §"),
    ],
    "tmux": [
        ("tmux -S s -f /dev/null new-session -d §; while tmux -S s ls; do sleep .1; done", "touch pwned", "echo §"),
        ("until [ -e pwned ]; do tmux -S s -f /dev/null new-session -d -s § 'sleep 9'; sleep .2; tmux -S s kill-server; done", "#(touch pwned)", "echo §"),
        ("tmux -S s -f /dev/null new-session -d sh; tmux -S s send-keys § Enter exit Enter; while tmux -S s ls; do sleep .1; done", "touch pwned", "echo §"),
    ],
    "screen": [
        ("export SCREENDIR=$PWD/.s; screen -dm -S z sh; until [ -e pwned ]; do screen -S z -X stuff \"§\n\"; sleep .1; done; screen -S z -X quit", "touch pwned", "echo §"),
    ],
    "hyperfine": [
        ("hyperfine -r 1 -i \"echo '§'\"", "'; touch pwned; '", "echo §"),
        ("hyperfine -r 1 -p § true", "touch pwned", "echo §"),
    ],
    "entr": [
        ("echo a > f; echo f | entr -nzs §", "touch pwned", "echo §"),
    ],
    "parallel": [
        ("parallel \"echo '§'\" ::: a", "'; touch pwned; '", "echo §"),
        ("parallel ::: §", "touch pwned", "echo §"),
    ],
    "watch": [
        ("TERM=xterm timeout 2 watch -n 1 §", "touch pwned", "echo §"),
    ],
    "guile": [
        ("guile -c \"(display \\\"§\\\")\"", "\")(system \"touch pwned\")(display \"", "x=§ guile -c '(display (getenv \"x\"))'"),
    ],
    "gnuplot": [
        ("gnuplot -e \"print '§'\"", "';system('touch pwned');print '", "x=§ gnuplot -e 'print system(\"printf %s \\\"$x\\\"\")'  2>&1"),
    ],
    "elixir": [
        ("elixir -e \"IO.puts \\\"§\\\"\"", "#{System.cmd(\"touch\",[\"pwned\"]);1}", "x=§ elixir -e 'IO.puts System.get_env(\"x\")'"),
    ],
    "erl": [
        ("erl -noshell -eval \"io:format(\\\"§\\\")\" -s init stop", "\"),os:cmd(\"touch pwned\"),io:format(\"", "x=§ erl -noshell -eval 'io:put_chars(os:getenv(\"x\"))' -s init stop"),
        ("ERL_FLAGS=§ erl -noshell -s init stop", "-eval 'os:cmd(\"touch pwned\").'", "echo §"),
    ],
    "octave": [
        ("octave --eval \"disp('§')\"", "');system('touch pwned');disp('", "x=§ octave --eval 'disp(getenv(\"x\"))'"),
    ],
    "emacs": [
        ("emacs --batch --eval \"(list \\\"§\\\")\"", "\" (call-process \"touch\" nil nil nil \"pwned\") \"", "x=§ emacs --batch --eval '(princ (getenv \"x\"))'"),
    ],
    "nvim": [
        ("VIMINIT=§ nvim --headless +q", "silent !touch pwned", "echo §"),
        ("nvim -es -u NONE +\"§\" +qa", "!touch pwned", "echo §"),
    ],
    "sbcl": [
        ("sbcl --non-interactive --eval \"(list \\\"§\\\")\"", "\" (run-program \"/usr/bin/touch\" (list \"pwned\")) \"", "x=§ sbcl --non-interactive --eval '(princ (posix-getenv \"x\"))'"),
        ("sbcl --noinform --eval '(princ 1)' <<E\n(princ \"§\")\nE", "\")(run-program \"/usr/bin/touch\" (list \"pwned\"))(princ \"", "echo §"),
    ],
    "ocaml": [
        ("echo \"print_string \\\"§\\\";;\" | ocaml", "\"; ignore (Sys.command \"touch pwned\"); print_string \"", "echo §"),
    ],
    "swipl": [
        ("swipl -g \"writeln('§')\" -t halt", "'),shell('touch pwned'),writeln('", "echo §"),
        ("echo \"writeln('§').\" | swipl -g true", "'),shell('touch pwned'),writeln('", "echo §"),
    ],
    "groovy": [
        ("groovy -e \"println '§'\"", "'+'touch pwned'.execute().waitFor()+'", "x=§ groovy -e 'println System.getenv(\"x\")'"),
    ],
    "fish": [
        ("fish -c \"echo '§'\"", "'; touch pwned; '", "fish -c 'echo $argv[1]' §"),
    ],
    "tcsh": [
        ("tcsh -fc \"echo '§'\"", "'; touch pwned; '", "echo §"),
    ],
    "busybox": [
        ("busybox sh -c \"echo '§'\"", "'; touch pwned; '", "busybox sh -c 'echo \"$1\"' _ §"),
    ],
    "fakeroot": [
        ("fakeroot python3 -c \"print('§')\"", "'+str(open('pwned','w'))+'", "echo §"),
    ],
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


@pytest.mark.long(but_one_in=5)
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


@pytest.mark.long(but_one_in=5)
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
    "git config remote.§.url §",
    "git config --global user.email §; git config --get §",
    "sort -t, -k § -o § -- §",
    "split -l § f § && zip -qr §.zip .",
    "screen -dmS § sleep 1; tmux kill-session -t §",
    "ENV=§ GIT_CONFIG_VALUE_0=§ ./x; echo EDITOR=§",
    "python3 -m http.server §",
    "less -- §",
    "x=§ GIT_SSH_COMMAND='ssh -i \"$x\"' git fetch",
    "python3 <(cat §) §",
]


@pytest.mark.parametrize("command", EVERYDAY)
def test_everyday_commands_are_let_through(command: str) -> None:
    script = render_command(parse_command(command.replace("§", "${item}"), "bash"), {"item": "1.2"})
    assert script.variables


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
