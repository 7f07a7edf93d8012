"""`make bench`: what a start and a step cost, as ratios measured side by side in one go.

Machines are noisy, so nothing here is asserted, and each figure stands beside its yardstick, measured in
turns with it. A start is compared with `python -c pass`; a step with the bare spawn of its shell; a late
iteration with an early one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.helpers import ask, cli, foreach

ITERATIONS = 5_000


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        os.environ["CHECKPOINTFLOW_BASE_DIR"] = f"{place}/store"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed cpf is compiled
        starts()
        steps()
        iterations()


def starts() -> None:
    """The whole of a cpf process, beside an interpreter that does nothing."""
    waiting = cpf("run", "-f", flow(ask("q")))
    run_id = json.loads(waiting)["run_id"]
    bare = [sys.executable, "-I", "-c", "pass"]
    program = [sys.executable, "-m", "checkpointflow"]
    commands = {
        "cpf --version": [*program, "--version"],
        "cpf status": [*program, "status", "--run-id", run_id],
        "cpf validate, one step": [*program, "validate", "-f", flow(cli("a"))],
        "cpf run, one step": [*program, "run", "-f", flow(cli("a"))],
        "cpf resume, one event": [*program, "resume", "--run-id", run_id],
    }
    print("starts, in bare interpreter starts:")
    for name, command in commands.items():
        print(f"  {name:28} {ratio(lambda c=command: spawn(c), lambda: spawn(bare), 15):6.2f}")


def steps() -> None:
    """A step of a long run (its command, two writes that survive a power cut), beside the bare command."""
    n = 100
    file = flow(*(cli(f"s{i}") for i in range(n)))

    def run() -> None:
        cpf("run", "-f", file)

    def shells() -> None:
        for _ in range(n):
            subprocess.run(["sh", "-c", "true"], check=True)

    print(f"a run of {n} steps, in {n} bare shells: {ratio(run, shells, 3):.2f}")


def iterations() -> None:
    """Iterations around the 500th and the 5,000th of one foreach."""
    Path("n.json").write_text(json.dumps({"n": list(range(ITERATIONS))}))
    run_id = json.loads(cpf("run", "-f", flow(foreach("each", "inputs.n", cli("a"))), "--input", "@n.json"))[
        "run_id"
    ]
    directory = Path(os.environ["CHECKPOINTFLOW_BASE_DIR"], "runs", run_id)
    ends = []
    for line in (directory / "history.jsonl").read_text().splitlines():
        fact = json.loads(line)["fact"]
        if fact["fact"] == "body_closed":
            ends.append(datetime.fromisoformat(fact["at"]).timestamp())
    early, late = cost(ends[250:750]), cost(ends[-500:])
    print(f"an iteration around the 500th: {early * 1000:.2f} ms, around the 5,000th: {late * 1000:.2f} ms")
    size = (directory / "state.json").stat().st_size
    print(f"  late in early ones: {late / early:.2f}; the snapshot: {size} bytes")


def cost(ends: list[float]) -> float:
    return median(later - earlier for earlier, later in pairwise(ends))


def ratio(ours: Callable[[], None], yardstick: Callable[[], None], rounds: int) -> float:
    """How often *yardstick* fits into *ours*: the median over rounds that measure both in turn."""
    return median(seconds(ours) / seconds(yardstick) for _ in range(rounds))


def seconds(what: Callable[[], None]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def spawn(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def cpf(*arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "checkpointflow", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    return answer.stdout


def flow(*given: dict[str, object]) -> str:
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": list(given)}}
    name = f"{abs(hash(json.dumps(document)))}.yaml"
    Path(name).write_text(json.dumps(document))
    return name


if __name__ == "__main__":
    main()
