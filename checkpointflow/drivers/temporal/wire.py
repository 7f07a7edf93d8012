"""What goes over the wire: all of it Structs, as JSON.

A payload that is long lies on the shelf among the files of its run, named by its digest, and the name is sent
instead. An error of ours goes home as what it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace as replace_fields
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    BinaryNullPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    EncodingPayloadConverter,
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)
from temporalio.exceptions import ApplicationError

from checkpointflow import errors
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.engine.actions import Effect, Outcome, StoredFile, Success
from checkpointflow.engine.answers import Answer
from checkpointflow.engine.evolution import evolve
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError, PersistenceError, StateCorrupt
from checkpointflow.store.layout import DOCUMENT, RUNS, digest_in, is_artifact, is_log, is_run_id
from checkpointflow.store.snapshot import decode, encode

WORKFLOW, LOCK = "checkpointflow", "checkpointflow.lock"
DECIDE, PERFORM, SALVAGE, KEEP, ARCHIVE = "decide", "perform", "salvage", "keep", "archive"
DELIVER, ADOPT, CANCEL, REPORT = "deliver", "adopt", "cancel", "report"
HEAD = "cpf"
BEGUN = "begun"  # of a deed, in the heartbeats of whoever does it

MAX_PAYLOAD_BYTES = 64 * 1024


class Image(Struct, frozen=True):
    """A run at one checkpoint: its snapshot, and what lies beside it, by name."""

    state: msgspec.Raw
    beside: dict[str, msgspec.Raw]


class Start(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a workflow takes a run up.

    documents: by their names among the run's files; past: the names on the shelf of what happened up to
    *image* (None: nothing); facts: those that follow; seals: of files, up to there; secrets: what the
    documents name; holds: nothing is done before somebody says so; is_foreign: and says where; whys: steps
    were put off, by path.
    """

    documents: dict[str, bytes]
    past: tuple[str, ...] = ()
    image: Image | None = None
    facts: list[Fact] = []
    seals: dict[str, StoredFile] = {}
    secrets: tuple[str, ...] = ()
    holds: bool = False
    is_foreign: bool = False
    whys: dict[str, Refusal] = {}


class Refusal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CheckpointflowError that goes home."""

    kind: str
    message: str
    step_id: str | None = None
    details: Any = None


class Decision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts that follow from what a run heard; or why it makes no sense.

    is_foreign: whether from now on somebody must say first where its commands run, if that has changed.
    """

    facts: list[Fact] = []
    replayed: bool = False
    is_foreign: bool | None = None
    refusal: Refusal | None = None


class Work(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An action for a worker. secrets: all that the run's documents name."""

    run_id: str
    cwd: str | None
    action: Effect
    secrets: tuple[str, ...] = ()


class Done(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker did. outcome: None if it was stopped, or not begun; why: it cannot begin there.

    has_begun: else it is still to be done; printed: its logs; left: all that lies in `artifacts/`.
    """

    outcome: Outcome | None = None
    printed: tuple[StoredFile, ...] = ()
    left: tuple[StoredFile, ...] = ()
    why: Refusal | None = None
    has_begun: bool = True


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answers, all or none, and to go on; by: who gives them; cwd, trust: where commands run, if it is said.

    retries: what failed, or the step at *step*, is to be done again.
    """

    answers: list[Answer] = []
    retries: bool = False
    step: str | None = None
    by: str | None = None
    cwd: str | None = None
    trust: bool = False


class Taken(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request was taken: the revision of the run then; replayed: all of it had been given before."""

    revision: int
    replayed: bool = False


def picture(run: Run) -> Image:
    """*run*, to be sent."""
    encoded = encode(run)
    beside = {name: msgspec.Raw(data) for name, data in encoded.beside.items()}
    return Image(msgspec.Raw(encoded.state), beside)


def take_up(start: Start) -> Run:
    """The run that *start* takes up."""
    run = None
    if start.image is not None:
        beside = start.image.beside
        run = decode(bytes(start.image.state), lambda name: bytes(beside[name])).run
    for fact in start.facts:
        run = evolve(run, fact)
    assert run is not None, "something has happened to it"
    return run


def check_names(start: Start, run: Run, run_id: str) -> None:
    """Raise StateCorrupt unless *start* is of the run *run_id*, and names no file but of it.

    Whoever may write to the namespace can have started it, with what names he likes.
    """
    others = [name for name in start.documents if name != DOCUMENT and digest_in(name) is None]
    others += [name for name in start.past if not name.startswith(f"{RUNS}/{run_id}/past/")]
    if run.run_id != run_id or not is_run_id(run_id) or others:
        raise StateCorrupt(file=f"workflow {run_id}", problem="it is not one that cpf has started")


def names_its_own(done: Done) -> bool:
    """Whether *done* names no files but such as steps print and leave behind: anybody may send it."""
    files = [*done.printed, *done.left]
    if isinstance(done.outcome, Success):
        files += done.outcome.artifacts.values()
    names = [file.path for file in files]
    return all((is_log(n) or is_artifact(n)) and {"", ".", ".."}.isdisjoint(n.split("/")) for n in names)


# Errors that go home


def make_refusal(error: CheckpointflowError, step_id: str | None = None) -> Refusal:
    """*error*, to be sent; step_id: the step that it is about, unless it says so itself."""
    return Refusal(
        kind=type(error).__name__,
        message=str(error),
        step_id=error.step_id or step_id,
        details=error.details,
    )


def make_failure(error: CheckpointflowError) -> ApplicationError:
    """*error*, as an update tells it."""
    return ApplicationError(str(error), make_refusal(error), type=error.code, non_retryable=True)


def revive(refusal: Refusal) -> CheckpointflowError:
    """The error that *refusal* was."""
    kind = getattr(errors, refusal.kind, PersistenceError)
    error: CheckpointflowError = kind.__new__(kind)
    Exception.__init__(error, refusal.message)
    error.step_id, error.details, error.fields = refusal.step_id, refusal.details, {}
    error.run = error.directory = None
    return error


# Payloads


class _Json(EncodingPayloadConverter):
    """Any value as JSON, read back as what is expected."""

    encoding = "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(metadata={"encoding": b"json/plain"}, data=msgspec.json.encode(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return msgspec.json.decode(payload.data, type=type_hint or Any)


class _Payloads(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(BinaryNullPayloadConverter(), _Json())


class _OnTheShelf(StorageDriver):
    """Long payloads lie among the files of their run, by their digests."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def name(self) -> str:
        return "cpf"

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        target = context.target
        run_id = target.id if isinstance(target, StorageDriverWorkflowInfo) and target.id else "unknown"
        return [await asyncio.to_thread(self._keep, run_id, payload) for payload in payloads]

    def _keep(self, run_id: str, payload: Payload) -> StorageDriverClaim:
        data = payload.SerializeToString(deterministic=True)
        name = f"{RUNS}/{run_id}/payloads/{sha256(data).hexdigest()}"
        self._shelf.write(name, data)
        return StorageDriverClaim({"name": name})

    async def retrieve(
        self,
        context: StorageDriverRetrieveContext,  # noqa: ARG002
        claims: Sequence[StorageDriverClaim],
    ) -> list[Payload]:
        return [await asyncio.to_thread(self._find, claim.claim_data["name"]) for claim in claims]

    def _find(self, name: str) -> Payload:
        data = _read(self._shelf, name)
        if sha256(data).hexdigest() != name.rpartition("/")[2]:
            raise ValueError(f"{name} is not what its name, a digest, says")
        return Payload.FromString(data)


def make_converter(shelf: Shelf) -> DataConverter:
    """How all that is ours goes over the wire."""
    storage = ExternalStorage(drivers=[_OnTheShelf(shelf)], payload_size_threshold=MAX_PAYLOAD_BYTES)
    return replace_fields(DataConverter.default, payload_converter_class=_Payloads, external_storage=storage)


# The past of a run, on the shelf


def lay_down(shelf: Shelf, run_id: str, number: int, facts: list[Fact]) -> str:
    """Lay the *number*-th stretch of a run's history on the shelf; returns its name there."""
    data = b"".join(msgspec.json.encode(fact) + b"\n" for fact in facts)
    name = f"{RUNS}/{run_id}/past/{number:06}-{sha256(data).hexdigest()[:16]}.jsonl"
    shelf.write(name, data)
    return name


def read_past(shelf: Shelf, names: Iterable[str]) -> list[Fact]:
    """The facts that were laid down as *names*. Raises StateCorrupt."""
    decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
    return [decoder.decode(line) for name in names for line in _read(shelf, name).splitlines()]


def _read(shelf: Shelf, name: str) -> bytes:
    """What the cluster says lies on the shelf as *name*. Raises StateCorrupt."""
    try:
        return shelf.read(name)
    except FileNotFoundError:
        raise StateCorrupt(file=f"{shelf.url}/{name}", problem="it is not on this shelf") from None
