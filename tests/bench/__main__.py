"""`make bench`: what a start, a step and a reader cost, each beside its goal.

Machines are noisy, so nothing here is asserted, and every time stands beside its yardstick, measured in turns
with it: a bare interpreter (`python -I -c pass`), a plain shell loop, or, where CPF_PEER is the command of
another implementation that reads the same documents, that one. `ROWS=run,list` measures only these rows.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from compileall import compile_dir
from datetime import datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import floors
from tests.helpers import ask, branch, cli, foreach, parallel

PACKAGES = ("checkpointflow", "click", "msgspec", "fastjsonschema", "ruamel", "filelock")
BARE = ["python", "-I", "-c", "pass"]
CPF = ["cpf"]
PEER = shlex.split(os.environ.get("CPF_PEER", ""))
ROUNDS = 15
STEPS = 1_000
ITEMS = 5_000
LAPS = 10_000

LINES = b"""
{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
"""
SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from checkpointflow.cli import answer
from checkpointflow.drivers import local
from checkpointflow.engine.actions import Success
if "--feigned" in sys.argv:
    sys.argv.remove("--feigned")
    local.World = partial(local.World, perform=lambda _: Success(outputs={}))
answer(sys.argv[1:])
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""
"""cpf, which tells at its end the most memory that it had, in KiB; --feigned: no command is really run."""


class Row(NamedTuple):
    """measure: gives the figure; unit: of it (nothing: it is a ratio); least: the goal is a least one.

    floor: the figure of a program that does only what nobody can do without, measured in the same minute.
    """

    name: str
    work: str
    goal: float
    measure: Callable[[], float]
    floor: Callable[[], float] | None = None
    unit: str = ""
    least: bool = False


def main() -> None:
    wanted = [name for name in os.environ.get("ROWS", "").split(",") if name]
    if unknown := set(wanted) - {row.name for row in ROWS}:
        raise SystemExit(
            f"no such rows: {', '.join(sorted(unknown))}; there are: {[row.name for row in ROWS]}"
        )
    with tempfile.TemporaryDirectory() as home:
        install(Path(home))
        for row in ROWS:
            if row.name in (wanted or [row.name]) and (PEER or "peer" not in row.name):
                with tempfile.TemporaryDirectory() as place:
                    os.chdir(place)
                    os.environ["CHECKPOINTFLOW_BASE_DIR"] = f"{place}/store"
                    figure = row.measure()
                    tell(row, figure, row.floor and row.floor())
                    os.chdir("/")


def install(home: Path) -> None:
    """cpf as its users have it: compiled, and beside nothing but what it needs.

    msgspec imports typing_extensions where there is one, which takes as long as half an interpreter.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    venv.create(home, symlinks=True)
    [site] = home.glob("lib/*/site-packages")
    for package in PACKAGES:
        [source] = find_spec(package).submodule_search_locations  # type: ignore[union-attr, misc]
        compile_dir(source, quiet=1)
        (site / package).symlink_to(source)
    lines = [
        f"#!{home}/bin/python",
        "import sys",
        "from checkpointflow.__main__ import main",
        "sys.exit(main())",
    ]
    (home / "bin/cpf").write_text("\n".join(lines) + "\n")
    (home / "bin/cpf").chmod(0o700)
    os.environ["PATH"] = f"{home}/bin:{os.environ['PATH']}"


def tell(row: Row, figure: float, floor: float | None) -> None:
    met = figure >= row.goal if row.least else figure <= row.goal
    goal = f"{'>=' if row.least else '<='} {row.goal:g}{row.unit}"
    lowest = "" if floor is None else f"floor {floor:.2f}{row.unit}"
    verdict = "met" if met else "NOT MET"
    print(f"{row.name:14} {row.work:62} {figure:7.2f}{row.unit:3} {goal:10} {verdict:8} {lowest}", flush=True)


# Starts, beside a bare interpreter


def start_floor() -> float:
    return ratio(lambda: spawn([*BARE[:3], floors.START]), lambda: spawn(BARE))


def status() -> float:
    run_id = begin(ask("q"))
    return starts("status", "--run-id", run_id)


def validate() -> float:
    """Of a document that has been run."""
    begin(cli("a"))
    return starts("validate", "-f", flow(cli("a")))


def resume() -> float:
    run_id = begin(ask("q"))
    return starts("resume", "--run-id", run_id)


def deliver() -> float:
    file = flow(ask("q", input_schema={"type": "object"}))
    waiting = iter([begin_file(file) for _ in range(ROUNDS + 1)])
    given = ["--event", "q_event", "--input", "{}"]
    return ratio(lambda: spawn([*CPF, "resume", "--run-id", next(waiting), *given]), lambda: spawn(BARE))


def run() -> float:
    return starts("run", "-f", flow(cli("a")))


def run_peer() -> float:
    file = flow(cli("a"))
    return ratio(lambda: spawn_peer(file), lambda: spawn([*CPF, "run", "-f", file]))


def tools() -> float:
    """Of a client that asks which tools there are, in a directory of three workflows that were checked."""
    Path(".checkpointflow").mkdir()
    for name in "abc":
        write(f".checkpointflow/{name}.yaml", Path(flow(ask("q"), id=name)).read_text())
    begin_file(".checkpointflow/a.yaml")  # there is a store, which has a cache
    return ratio(lambda: spawn([*CPF, "mcp"], LINES), lambda: spawn(BARE))


def starts(*arguments: str) -> float:
    return ratio(lambda: spawn([*CPF, *arguments]), lambda: spawn(BARE))


# Steps, beside a shell that does the same


def thousand() -> float:
    file = flow(*steps())
    return ratio(lambda: spawn([*CPF, "run", "-f", file]), lambda: shells(STEPS), 3)


def step_floor(program: str = floors.STEPS) -> float:
    def work() -> None:
        shutil.rmtree("floor", ignore_errors=True)
        spawn(["python", "-I", "-c", program, str(STEPS)])

    return ratio(work, lambda: shells(STEPS), 3)


def item_floor() -> float:
    return step_floor(floors.ITEMS)


def thousand_peer() -> float:
    """Documents that nobody has seen: of each its id is another."""
    files = iter([flow(*steps(), id=f"w{number}") for number in range(8)])
    return ratio(lambda: spawn_peer(next(files)), lambda: spawn([*CPF, "run", "-f", next(files)]), 3)


def items() -> float:
    file = flow(foreach("each", "inputs.n", cli("a")))
    write("n.json", {"n": list(range(ITEMS))})
    return ratio(lambda: spawn([*CPF, "run", "-f", file, "--input", "@n.json"]), lambda: shells(ITEMS), 1)


def loop() -> float:
    """A step that goes back to itself until it fails."""
    command = f"read n <count; echo $((n + 1)) >count; [ $n -lt {LAPS} ]"
    write("count", 0)
    again = cli("a", command, next="a", on_error={"next": "b"})
    ends = list(step_ends(begin(again, cli("b"))))
    return pace(ends[-500:], 20) / pace(ends[50:550], 20)


def document() -> float:
    file = flow(*steps())
    ends = [list(step_ends(begin_file(file))) for _ in range(5)]
    return median(pace(these[-100:], 10) / pace(these[:100], 10) for these in ends)


def branches() -> float:
    """From the first start to the last end: milliseconds above those that all of them sleep.

    A step goes before them, since to make a run takes seven syncs, which are no matter of the branches.
    """
    file = flow(cli("a"), parallel("p", *(branch(f"b{n}", cli(f"s{n}", "sleep 0.1")) for n in range(16))))
    return median(map(overhead, (begin_file(file) for _ in range(9))))


def branch_floor() -> float:
    return (
        median(seconds(lambda: spawn(["sh", "-c", floors.BRANCHES.format(16)])) for _ in range(9)) - 0.1
    ) * 1000


def overhead(run_id: str) -> float:
    times = [
        at(fact)
        for fact in facts(run_id)
        if fact["fact"] in ("step_started", "step_succeeded") and fact["path"].startswith("p[")
    ]
    return (max(times) - min(times) - 0.1) * 1000


def pace(ends: list[float], lump: int) -> float:
    """What a step costs: the clock of the history is too coarse for one, so by lumps of them."""
    return median(later - earlier for earlier, later in pairwise(ends[::lump])) / lump


# Memory, above that of an empty run


def output() -> float:
    return extra_megabytes(flow(cli("a", "head -c 300000000 /dev/zero | tr '\\0' x")))


def memory() -> float:
    """Of a fifth of the items, five times: a commit for each takes its time."""
    write("n.json", {"n": list(range(20_000))})
    file = flow(foreach("each", "inputs.n", cli("a")))
    return 5 * extra_megabytes(file, "--input", "@n.json", "--feigned")


def outputs() -> float:
    command = "printf '{\"x\": \"'; head -c 500000 /dev/zero | tr '\\0' x; printf '\"}'"
    return extra_megabytes(flow(*(cli(f"s{n}", command) for n in range(100)))) / 50


def extra_megabytes(file: str, *options: str) -> float:
    return (peak(file, *options) - peak(flow(cli("a")))) / 1024


def peak(file: str, *options: str) -> float:
    command = ["python", "-c", SCRIPT, "run", "-f", file, *options]
    told = subprocess.run(command, capture_output=True, check=True, text=True)
    assert json.loads(told.stdout)["status"] == "completed", told.stdout[:2000]
    return float(told.stderr.split()[-1])


# Readers


def listing() -> float:
    """Of the newest thirty, as everybody lists them."""
    make_many()
    return ratio(lambda: spawn([*CPF, "list"]), lambda: spawn(BARE), 3)


def listing_all() -> float:
    make_many()
    return ratio(lambda: spawn([*CPF, "list", "--limit", "0"]), lambda: spawn(BARE), 3)


def make_many() -> None:
    """Ten thousand runs, which all are the same."""
    run_id = begin(ask("q"))
    source = directory(run_id) / "state.json"
    text = source.read_text()
    for number in range(10_000):
        other = f"{run_id[:20]}{number:06d}"
        directory(other).mkdir(exist_ok=True)
        (directory(other) / "state.json").write_text(text.replace(run_id, other))
        (directory(other) / "history.jsonl").hardlink_to(directory(run_id) / "history.jsonl")


def list_floor() -> float:
    """Of the runs that the row before has left."""
    return ratio(lambda: spawn([*BARE[:3], floors.LIST]), lambda: spawn(BARE), 3)


def verify() -> float:
    """Four facts an item: steps that are skipped need no commit of their own."""
    write("n.json", {"n": list(range(25_000))})
    file = flow(foreach("each", "inputs.n", cli("a", **{"if": False}), cli("b", **{"if": False})))
    told = subprocess.run([*CPF, "run", "-f", file, "--input", "@n.json"], capture_output=True, check=True)
    run_id = json.loads(told.stdout)["run_id"]
    history = str(directory(run_id) / "history.jsonl")
    return ratio(
        lambda: spawn([*CPF, "verify", "--run-id", run_id]), lambda: spawn(["sha256sum", history]), 3
    )


def verify_floor() -> float:
    """Of the run that the row before has left."""
    [history] = map(str, Path(os.environ["CHECKPOINTFLOW_BASE_DIR"]).glob("runs/*/history.jsonl"))
    return ratio(lambda: spawn([*BARE[:3], floors.VERIFY, history]), lambda: spawn(["sha256sum", history]), 3)


ROWS = [
    Row("status", "status / bare interpreter", 4, status, start_floor),
    Row("validate", "validate / bare", 5, validate, start_floor),
    Row("resume", "resume of a run that waits on / bare", 5, resume, start_floor),
    Row("deliver", "resume with the event, to the end / bare", 6, deliver, start_floor),
    Row("run", "one-step run / bare", 6, run, start_floor),
    Row("mcp", "mcp: tools/list / bare", 5, tools, start_floor),
    Row("run-peer", "one-step run: peer / ours", 3.8, run_peer, least=True),
    Row("thousand", "1,000 steps, document known / shell loop", 1.9, thousand, step_floor),
    Row("thousand-peer", "1,000 steps, document new: peer / ours", 1.5, thousand_peer, least=True),
    Row("loop", "a step, 10,000th / 100th, of a loop backwards", 1.15, loop),
    Row("document", "a step of 1,000, last / first hundred", 1.15, document),
    Row("foreach", "5,000 iterations / shell loop", 2, items, item_floor),
    Row("branches", "16 branches of sleep 0.1, above the sleep", 20, branches, branch_floor, " ms"),
    Row("output", "300 MB printed: peak above an empty run", 10, output, unit=" MB"),
    Row("memory", "100,000 items: peak above an empty run", 60, memory, unit=" MB"),
    Row("outputs", "50 MB of outputs: peak above an empty run / outputs", 3, outputs),
    Row("list", "list, among 10,000 runs / bare", 40, listing),
    Row("list-all", "list of 10,000 runs, all of them / bare", 40, listing_all, list_floor),
    Row("verify", "verify of 100,000 facts / sha256sum of the history", 12, verify, verify_floor),
]


# What all of them use


def ratio(ours: Callable[[], None], yardstick: Callable[[], None], rounds: int = ROUNDS) -> float:
    """How often *yardstick* fits into *ours*: the median over rounds that measure both in turn."""
    ours() if rounds > 1 else None  # once to warm up
    return median(seconds(ours) / seconds(yardstick) for _ in range(rounds))


def seconds(what: Callable[[], None]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def spawn(command: list[str], given: bytes | None = None) -> None:
    subprocess.run(command, input=given, stdout=subprocess.DEVNULL, check=False)


def spawn_peer(file: str) -> None:
    """Have the other implementation run *file*, which it must be able to."""
    subprocess.run([*PEER, "run", "-f", file], stdout=subprocess.DEVNULL, check=True)


def shells(count: int) -> None:
    spawn(["sh", "-c", f"for i in $(seq {count}); do sh -c true; done"])


def begin(*given: dict[str, object]) -> str:
    return begin_file(flow(*given))


def begin_file(file: str) -> str:
    """Run it; returns the run's id."""
    told = subprocess.run([*CPF, "run", "-f", file], stdout=subprocess.PIPE, check=False)
    envelope = json.loads(told.stdout)
    assert envelope["status"] in ("completed", "waiting"), envelope
    return str(envelope["run_id"])


def steps() -> list[dict[str, object]]:
    return [cli(f"s{number}") for number in range(STEPS)]


def flow(*given: dict[str, object], id: str = "w") -> str:
    """Write a workflow of these steps, as YAML; returns the file's name."""
    head = f"schema_version: checkpointflow/v1\nworkflow:\n  id: {id}\n  inputs: {{type: object}}\n  steps:\n"
    text = head + "".join(map(in_yaml, given))
    return write(f"{abs(hash(text))}.yaml", text)


def in_yaml(step: dict[str, object]) -> str:
    fields = (f"{name}: {json.dumps(value)}" for name, value in step.items())
    return "    - " + "\n      ".join(fields) + "\n"


def write(name: str, value: object) -> str:
    Path(name).write_text(value if isinstance(value, str) else json.dumps(value) + "\n")
    return name


def directory(run_id: str) -> Path:
    return Path(os.environ["CHECKPOINTFLOW_BASE_DIR"], "runs", run_id)


def facts(run_id: str) -> Iterator[dict[str, str]]:
    for line in (directory(run_id) / "history.jsonl").read_text().splitlines():
        yield json.loads(line)["fact"]


def step_ends(run_id: str) -> Iterator[float]:
    return (at(fact) for fact in facts(run_id) if fact["fact"] == "step_succeeded")


def at(fact: dict[str, str]) -> float:
    return datetime.fromisoformat(fact["at"]).timestamp()


if __name__ == "__main__":
    main()
