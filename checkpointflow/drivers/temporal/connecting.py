"""A connection to a cluster, and what it says in our words."""

from __future__ import annotations

import asyncio
import os
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
        problem = f"the cluster cannot be reached ({str(error).partition(chr(10))[0]})"
    raise PersistenceError(file=address, problem=problem)


@contextmanager
def translate_refusals(address: Address) -> Iterator[None]:
    """Raise PersistenceError for what the cluster refuses."""
    try:
        yield
    except RPCError as error:
        raise PersistenceError(file=address, problem=f"the cluster says: {error.message}") from None
