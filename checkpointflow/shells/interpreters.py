r"""The interpreters that take a program from the command line or from standard input, one row each.

To the shell, `python3 -c "print('${…}')"` has one word with a value in it, and no code. To python3 that word
is the program, and a value with a quote in it goes on as code. So no value may stand in a program text. The
ways out: the environment, which any program can read, or what an interpreter has for parameters.

A value that is all of an argument is data, and so is one in a file's name, or behind an option that is not
about code. The rows know the options that are in use; what a program does with its data is its own affair.
"""

from __future__ import annotations

from checkpointflow.shells.contexts import AS_ARGUMENT
from checkpointflow.shells.usages import Usage


def _advise(call: str) -> str:
    return f"hand it over in the environment: x=${{…}} {call}; ${{raw:…}} if code is meant"


_BY_FILE = "write it into a file, or use what the program has for parameters; ${raw:…} if code is meant"
_JQ_DATA = "--indent --tab-width -L --library-path"
_JQ_PAIRS = "--arg --argjson --slurpfile --rawfile --argfile"

INTERPRETERS: tuple[Usage, ...] = (
    Usage("python, pypy, ipython", _advise("python3 -c '… os.environ[\"x\"] …'"),
        "script", code="-c", data="-W -X --check-hash-based-pycs", ends="-c -m", is_fed=True),
    Usage("python timeit, pypy timeit", _advise("python3 -m timeit -s 'import os' '… os.environ[\"x\"] …'"),
        "code", code="-s --setup", data="-n --number -r --repeat -u --unit"),
    Usage("python pdb", _BY_FILE, code="-c --command", data="-m", is_fed=True),
    Usage("python code, python asyncio", _advise("python3 -c '… os.environ[\"x\"] …'"), is_fed=True),
    Usage("perl", _advise("perl -e '… $ENV{x} …'"),
        "script", code="-e -E", data="-I", joined="-i", glued="-F -M -m -d", is_fed=True),
    Usage("raku, perl6", _advise("raku -e '… %*ENV<x> …'"), "script", code="-e", data="-I -M", is_fed=True),
    Usage("prename, file-rename", _advise("prename '… $ENV{x} …'"), "program", code="-e -E"),
    Usage("ruby, jruby, irb", _advise("ruby -e '… ENV[\"x\"] …'"),
        "script", code="-e", data="-C -E -I -X --encoding", loads="-r",
        joined="-i -F -K -T -W -x", is_fed=True),
    Usage("node, nodejs, bun, tsx, ts-node, electron", _advise("node -e '… process.env.x …'"),
        "script", code="-e -p -pe -ep --eval --print --import --loader --experimental-loader",
        loads="-r --require", data="-C --conditions --env-file --cwd", is_fed=True, is_wordy=True),
    Usage("deno", _advise("deno eval '… Deno.env.get(\"x\") …'"), "verb"),
    Usage("deno eval", _advise("deno eval '… Deno.env.get(\"x\") …'"), "program", data="--ext -c --config"),
    Usage("deno repl", _advise("deno eval '… Deno.env.get(\"x\") …'"), ahead="--eval", is_fed=True),
    Usage("deno run", _advise("deno eval '… Deno.env.get(\"x\") …'"), "script", data="-c --config",
        is_fed=True),
    Usage("php", _advise("php -r '… getenv(\"x\") …'"),
        "script", code="-r -B -R -E --run --process-begin --process-code --process-end",
        settings="-d --define", files="-f --file -F --process-file", loads="-c --php-ini -z", data="-t -S",
        danger="auto_", is_fed=True),
    Usage("lua, luajit, texlua", _advise("lua -e '… os.getenv(\"x\") …'"),
        "script", code="-e", loads="-l", data="-j", joined="-O -b", is_fed=True),
    Usage("Rscript, R", _advise("Rscript -e '… Sys.getenv(\"x\") …'"),
        "script", code="-e", files="-f --file", data="-g --gui -d", ends="--args", is_fed=True),
    Usage("osascript",
        "hand it over as an argument: osascript -e 'on run argv' -e '… item 1 of argv …' -e 'end run' ${…}",
        "script", code="-e", data="-l -s", is_fed=True),
    Usage("julia", _advise("julia -e '… ENV[\"x\"] …'"),
        "script", code="-e -E --eval --print", loads="-L --load -J", data="-p -t -C -H -O -g", is_fed=True),
    Usage("pwsh, powershell", _advise("pwsh -Command '… $env:x …'"),
        "script", code="-c -command -e -ec -encodedcommand -cwa -commandwithargs", files="-f -file",
        data="-ep -executionpolicy -wd -workingdirectory -o -of -outputformat -if -inputformat -config "
        "-configurationname -settingsfile -w -windowstyle -v -version",
        ends="-c -command -e -ec -encodedcommand", tail_is_code=True, is_fed=True, is_wordy=True),
    Usage("fish, csh, tcsh, nu, elvish, xonsh", AS_ARGUMENT, "script", code="-c --command", is_fed=True),
    Usage("tclsh, wish", _advise("tclsh <<'E', with $env(x) in it"), "script", is_fed=True),
    Usage("expect", _advise("expect -c '… $env(x) …'"), "script", code="-c", files="-f", data="-D",
        is_fed=True),
    Usage("groovy", _advise("groovy -e '… System.getenv(\"x\") …'"), "script", code="-e", data="-cp",
        is_wordy=True),
    Usage("scala", _advise("scala -e '… sys.env(\"x\") …'"), "script", code="-e", data="-cp", is_wordy=True),
    Usage("elixir, iex", _advise("elixir -e '… System.get_env(\"x\") …'"),
        "script", code="-e --eval --rpc-eval", loads="-r -S -pr", data="-pa -pz", is_wordy=True),
    Usage("erl", _advise("erl -eval '… os:getenv(\"x\") …'"), code="-eval", data="-pa -s -sname",
        is_wordy=True),
    Usage("guile", _advise("guile -c '… (getenv \"x\") …'"), "script", code="-c", loads="-l", data="-L -e",
        ends="-c", is_fed=True),
    Usage("sbcl", _advise("sbcl --eval '… (posix-getenv \"x\") …'"), ahead="--eval", loads="--load --script",
        is_fed=True),
    Usage("octave", _advise("octave --eval '… getenv(\"x\") …'"), "script", code="--eval", data="-p --path",
        is_fed=True),
    Usage("matlab", _advise("matlab -batch '… getenv(\"x\") …'"), code="-batch -r", is_wordy=True),
    Usage("gnuplot", _advise("gnuplot -e '… system(\"printf %s \\\"$x\\\"\") …'"), "script", code="-e",
        is_fed=True),
    Usage("ghc, ghci, ocaml, swipl", _BY_FILE, "script", code="-e", ahead="-g", is_fed=True, is_wordy=True),
    Usage("dc", "compute with $(( )) or bc; to dc a ! begins a command", code="-e --expression",
        files="-f --file", is_fed=True),
    Usage("m4", "use envsubst or sed; to m4 a value can be a macro, and m4 runs commands", "script",
        code="-D --define", data="-I --include", is_fed=True),
    Usage("ed, red", "edit with sed or perl; to the editor a ! begins a command", data="-p", is_fed=True),
    Usage("vim, vi, nvim, view, vimdiff, ex", _advise("vim -c '… $x …'"),
        ahead="-c --cmd", glued="+", loads="-S -u -U -s", data="-i -w -W -T", permutes=True, is_fed=True),
    Usage("less, more, most", "write the command itself; to less a ! begins one of the shell", glued="+",
        data="-b -h -j -k -o -O -p -P -t -T -x -y -z", permutes=True),
    Usage("emacs", _advise("emacs --batch --eval '… (getenv \"x\") …'"),
        code="-eval --eval -execute --execute", loads="-l -load --load -script --script",
        data="-f -funcall -L", is_wordy=True, permutes=True),
    Usage("gdb", _BY_FILE, ahead="-ex -iex -eval-command -init-eval-command", loads="-x -command -ix",
        data="-p -pid -d -cd -c -core", ends="--args -args", is_fed=True, is_wordy=True, permutes=True),
    Usage("lldb", _BY_FILE, ahead="-o --one-line -O -k", loads="-s -S --source", data="-p -n -f",
        is_fed=True, permutes=True),
    Usage("awk, gawk, mawk, nawk", _advise("awk '… ENVIRON[\"x\"] …'").replace("; ${raw",
        " (or -v x=${…}, which reads \\ in it); ${raw"),
        "program", code="-e --source", files="-f --file -E --exec", settings="-v --assign",
        loads="-i --include -l --load", data="-F --field-separator -W"),
    Usage("sed, gsed, ssed", "for any text: x=${…} perl -pe 's/VERSION/$ENV{x}/'",
        "program", code="-e --expression", files="-f --file", data="-l --line-length", joined="-i -I",
        permutes=True),
    Usage("jq, gojq, jaq, xq, tomlq", "hand it over beside the filter: jq --arg x ${…} '… $x …'",
        "program", files="--from-file -f", data=_JQ_DATA, pairs=_JQ_PAIRS, ends="--args --jsonargs",
        permutes=True),
    Usage("yq, yq e, yq ea, yq eval, yq eval-all", _advise("yq '… strenv(x) …'").replace("; ${raw",
        " (or --arg x ${…}, to the yq that is made of jq); ${raw"),
        "program", code="--expression", files="--from-file", pairs=_JQ_PAIRS, permutes=True,
        data=f"{_JQ_DATA} -o --output-format -p --input-format -I -s --split-exp --front-matter "
        "--xml-attribute-prefix"),
    Usage("psql", "hand it over beside the text: psql -v x=${…} <<'E', with :'x' in it",
        code="-c --command", files="-f --file", settings="-v --set --variable",
        data="-d --dbname -U --username -h --host -p --port -L --log-file -o --output -F --field-separator "
        "-R --record-separator -P --pset -T --table-attr", is_fed=True, permutes=True),
    Usage("mysql, mariadb",
        "encode it: x=$(printf %s ${…} | base64 -w0); mysql -e \"… CONVERT(FROM_BASE64('$x') USING utf8mb4) "
        "…\"", code="-e --execute", ahead="--init-command", joined="-p -T",
        data="-u --user -h --host -P --port -D --database -S --socket --protocol --default-character-set "
        "--delimiter", is_fed=True, permutes=True),
    Usage("sqlite", "double its quotes: x=$(printf %s ${…} | sed \"s/'/''/g\"); sqlite3 db \"… '$x' …\"",
        "statements", ahead="-cmd", loads="-init",
        data="-separator -newline -nullvalue -maxsize -mmap -vfs -escape",
        pairs="-lookaside -pagecache", is_fed=True, is_wordy=True, permutes=True),
    Usage("duckdb", _advise("duckdb db -c \"… getenv('x') …\""),
        "statements", code="-c -s", ahead="-cmd", files="-f", loads="-init",
        data="-separator -newline -nullvalue", is_fed=True, is_wordy=True, permutes=True),
    Usage("clickhouse-client, clickhouse-local, clickhouse client, clickhouse local",
        "hand it over beside the query: --param_x=${…} -q '… {x:String} …'",
        code="-q --query", files="--queries-file", is_fed=True, permutes=True,
        data="-h --host -u --user -d --database --port --password --format -S --structure -N --table -f "
        "--file"),
    Usage("clickhouse", _BY_FILE, "verb"),
    Usage("mongosh, mongo", _advise("mongosh --eval '… process.env.x …'"), code="--eval",
        data="-u -p --host --port", permutes=True),
    Usage("sqlcmd", _BY_FILE, code="-Q -q", files="-i", data="-S -U -P -d -o -v", is_fed=True, permutes=True),
    Usage("cqlsh, hive, beeline, spark-sql, trino, presto", _BY_FILE, code="-e --execute",
        files="-f --file", data="-u -n -p", is_fed=True, permutes=True),
    Usage("make, gmake",
        'x=${…} make …, and "$$x" in the recipe; $(x) in there, or in any Makefile, is code again',
        "targets", code="-E --eval", files="-f --file --makefile", joined="-j -l -O",
        data="-C --directory -I --include-dir -o --old-file -W --what-if", permutes=True),
)  # fmt: skip
