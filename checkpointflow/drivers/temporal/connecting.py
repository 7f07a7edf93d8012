"""A connection to a cluster, and what it says in our words."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import Client
from temporalio.service import RPCError

from checkpointflow.drivers.temporal.address import Address, make_connect_options
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.drivers.temporal.wire import make_converter
from checkpointflow.errors import PersistenceError

CONNECTING_SECONDS = 1.5


async def connect(address: Address, shelf: Shelf) -> Client:
    """A client of the cluster at *address*. Raises PersistenceError, UsageError."""
    options = make_connect_options(address, dict(os.environ))
    try:
        connecting = Client.connect(**options, data_converter=make_converter(shelf))
        return await asyncio.wait_for(connecting, CONNECTING_SECONDS)
    except TimeoutError:
        problem = f"the cluster did not answer within {CONNECTING_SECONDS:g} seconds"
    except (RuntimeError, ValueError) as error:
        problem = f"the cluster cannot be reached: {_shorten(str(error))}"
    raise PersistenceError(file=address, problem=problem)


def _shorten(problem: str) -> str:
    """The innermost of what the SDK says of a connection, which is all that helps."""
    found = re.search(r'(?:message|error): "([^"]+)"', problem)
    if found is not None:
        return found[1]
    if "InvalidContentType" in problem:
        return "it does not speak TLS, which the URL or Temporal's configuration asks for"
    return problem.partition("\n")[0][:200]


@contextmanager
def translate_refusals(address: Address) -> Iterator[None]:
    """Raise PersistenceError for what the cluster refuses."""
    try:
        yield
    except RPCError as error:
        raise PersistenceError(file=address, problem=f"the cluster says: {error.message}") from None
