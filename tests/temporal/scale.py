"""How a cluster grows, measured: `python -m tests.temporal.scale [RUNS] [STEPS] [WAITING]`.

All of it is on this machine, so that more workers share its cores: of steps that do nothing CPU time is told,
of the workers and of the server, beside what the local driver takes for the same steps in the same minutes.
Steps that wait a second leave the cores free, so that they show how workers add up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.helpers import cli, end
from tests.temporal.world import Server, Site

TICK = os.sysconf("SC_CLK_TCK")


def read_cpu(pid: int) -> float:
    """The seconds of CPU that *pid* and its children, as far as they have ended, have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def read_memory(pid: int) -> float:
    """The MB that *pid* has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def start_many(site: Site, file: str, number: int) -> list[Any]:
    """Start *number* runs of *file* from this one process, and follow none."""
    from checkpointflow.drivers.sources import read_workflow
    from checkpointflow.drivers.temporal.address import parse_address
    from checkpointflow.drivers.temporal.hosted import Cluster, HostedStore
    from checkpointflow.drivers.temporal.hosting import begin
    from checkpointflow.drivers.temporal.shelf import open_shelf

    os.chdir(site.cwd)
    store = HostedStore(Cluster(parse_address(site.url), open_shelf(str(site.shelf))), site.local.base)
    checked = read_workflow(Path(file), to_run=True)
    return [begin(store, checked, {}, drives=False)[0] for _ in range(number)]


def await_status(directories: list[Any], status: str) -> None:
    """Return once all are in *status*, by the list of all: to read each again and again would be a load."""
    cluster, ids = directories[0].cluster, {directory.run_id for directory in directories}
    while any(
        head.status != status for run_id, head in cluster.do(cluster.list_heads()).items() if run_id in ids
    ):
        time.sleep(0.5)


def measure_steps(
    server: Server, place: Path, runs: int, steps: int, workers: int, command: str = "true"
) -> None:
    """Tell what a step of *command* costs, with so many *workers*, each for four steps at once."""
    name = f"{command.split()[0]}-{workers}"
    site = Site(server.url, place / name, name)
    try:
        file = site.local.flow(*(cli(f"s{n}", command) for n in range(steps)), end("z"))
        processes = [site.work("--jobs", "4") for _ in range(workers)]
        before = [read_cpu(process.pid) for process in processes], read_cpu(server.pid)
        begin = time.monotonic()
        directories = start_many(site, file, runs)
        started = time.monotonic() - begin
        await_status(directories, "completed")
        elapsed, total = time.monotonic() - begin, runs * steps
        length, size = measure_history(directories[0])
        worked = sum(read_cpu(p.pid) for p in processes) - sum(before[0])
        served = read_cpu(server.pid) - before[1]
        print(
            f"{workers} worker(s): {runs} runs of {steps} steps `{command}` in {elapsed:.1f} s, "
            f"{total / elapsed:.0f} steps a second (starting them took {started:.1f} s); "
            f"CPU of a step: {1000 * worked / total:.1f} ms of the workers, with its shell, "
            f"{1000 * served / total:.1f} ms of the server; "
            f"history of a run: {length} events, {size / 1024:.0f} kB",
            flush=True,
        )
    finally:
        site.close()


def measure_history(directory: Any) -> tuple[int, int]:
    """The number of events of a run's history in Temporal, and their size in bytes."""

    async def fetch() -> tuple[int, int]:
        client = await directory.cluster.connect()
        history = await client.get_workflow_handle(directory.run_id).fetch_history()
        return len(history.events), sum(event.ByteSize() for event in history.events)

    return directory.cluster.do(fetch())


def measure_local(place: Path, steps: int) -> None:
    """Tell what the same steps cost the local driver, with its start taken off."""
    from tests.conftest import Cpf

    place.mkdir()
    cpf = Cpf(place, place / "store")

    def take(number: int) -> float:
        file = cpf.flow(*(cli(f"s{n}", "true") for n in range(number)), end("z"))
        line = [sys.executable, "-m", "checkpointflow", "run", "-f", file]
        process = subprocess.Popen(line, cwd=cpf.cwd, env=cpf.env, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0
        return used.ru_utime + used.ru_stime

    take(1)  # the cache
    cost = (min(take(steps + 1) for _ in range(3)) - min(take(1) for _ in range(3))) / steps
    print(f"local driver: a step takes {1000 * cost:.1f} ms of CPU with its shell", flush=True)


def measure_waiting(server: Server, place: Path, number: int) -> None:
    """Tell what *number* waiting runs take: memory of the server and a worker, and the time to list them."""
    from tests.helpers import ask

    site = Site(server.url, place / "waiting", "waiting")
    try:
        file, worker = site.local.flow(cli("a", "true"), ask("q"), end("z")), site.work("--jobs", "4")
        before = read_memory(server.pid), read_memory(worker.pid)
        directories = start_many(site, file, number)
        await_status(directories, "waiting")
        grown = read_memory(server.pid) - before[0], read_memory(worker.pid) - before[1]
        begin = time.monotonic()
        listed = site.cpf("list", "--limit", str(number)).json["result"]["runs"]
        print(
            f"{number} waiting runs: {1000 * grown[0] / number:.0f} kB of memory each in the server, "
            f"{1000 * grown[1] / number:.0f} kB in the worker; `cpf list` of {len(listed)} took "
            f"{time.monotonic() - begin:.1f} s",
            flush=True,
        )
    finally:
        site.close()


def main() -> None:
    """Measure all of it."""
    runs, steps, waiting = (int(word) for word in [*sys.argv[1:], *("20", "20", "1000")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        server = Server(place)
        try:
            measure_local(place / "local", 200)
            for workers in (1, 2, 4):
                measure_steps(server, place, runs, steps, workers)
            for workers in (1, 2, 4):
                measure_steps(server, place, 16 * workers, 5, workers, "sleep 1")
            measure_waiting(server, place, waiting)
            measure_local(place / "local-again", 200)
        finally:
            server.close()


if __name__ == "__main__":
    main()
