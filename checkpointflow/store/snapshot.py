"""A run as it stands in `state.json`, and back. Pure: who reads and writes files is told which.

What is long lies beside the snapshot, in files named by the digests of their contents, so that the snapshot
stays something that a person can read and a list of runs can skim. The cost of a step must not grow with what
came before it either: whoever encodes a run again and again hands back what the last time told him is `known`
by now, and no value that is still the same object is encoded twice.

The fields stand in the order in which a person wants to read them. `Succeeded` is therefore told anew here
and not derived from: a Struct adds its own fields after those that it inherits, and `outputs_in` belongs
where the outputs would be.
"""

# No `from __future__ import annotations`: msgspec would have to compile the texts at each start.
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from checkpointflow.digests import sha256
from checkpointflow.engine.actions import Error, StoredFile
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.facts import RunOutcome
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import (
    Cancelled,
    Cursor,
    Failed,
    Given,
    OfVisit,
    Opened,
    Record,
    Run,
    RunHead,
    Skipped,
    Started,
    Succeeded,
    Waiting,
    find_active,
    group_by_body,
)

STATE_VERSION: Final = "checkpointflow-state/v1"

MAX_INLINE_BYTES = 64 * 1024
MAX_INLINE_ITEMS_BYTES = 4 * 1024


class SavedOpened(Opened, frozen=True, kw_only=True, tag="open"):
    """A block whose bodies are not all done.

    items: of a foreach; begun: how many bodies were begun, in their order; open: the keys of those under
    way; ended: the outputs of those that ended well, by key; survived: the errors of those that failed and
    are put up with; items_in, ended_in, survived_in: the files that hold the items, and what ended before.
    """

    items_in: str | None = None
    ended_in: tuple[str, ...] = ()
    survived_in: tuple[str, ...] = ()


class SavedSucceeded(OfVisit, frozen=True, kw_only=True, tag="succeeded"):
    """next: the step that it chose to go to, if it chose; outputs_in: the file that holds long outputs."""

    outputs: Any = UNSET
    outputs_in: str | None = None
    exit_code: int | None = None
    status_code: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stdout: str | None = None
    stderr: str | None = None
    artifacts: dict[str, StoredFile] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    next: str | None = None
    attempts: int = 1
    started_at: str
    ended_at: str


class SavedFailed(Failed, frozen=True, kw_only=True, tag="failed"):
    """block: how far its bodies had come, if it has any; they can be taken up again from there.

    outputs to lost: what it said, as in a Failure; outputs_in: the file that holds long outputs.
    """

    block: SavedOpened | None = None
    outputs_in: str | None = None


SavedRecord = Started | Waiting | SavedOpened | Skipped | SavedSucceeded | SavedFailed | Cancelled


class Snapshot(
    RunHead,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="schema_version",
    tag=STATE_VERSION,
):
    """One execution of a workflow, at one revision.

    checkpoint_id names the revision and, since it is a chain of digests, all that led to it.
    steps holds the latest visit of each step, by path, in the order in which they were come to.
    answers: the last to each event, by its name.
    inputs_in, outputs_in and their like name a file beside that holds what is too long for a snapshot.
    """

    inputs_in: str | None = None
    env: dict[str, str] | UnsetType = UNSET
    outcome: RunOutcome | None
    cursors: dict[str, Cursor]
    steps: dict[str, SavedRecord]
    answers: dict[str, Given] = field(default_factory=dict)


class _ShortSnapshot(Snapshot, frozen=True, kw_only=True):
    """One in which no record has anything beside, as most are: its records are the engine's own.

    To read it as that spares the conversion of each record, half the time of reading a run of 1,600 steps.
    """

    steps: dict[str, Record]  # type: ignore[assignment]


class Damaged(ValueError):
    """What is wrong with a snapshot, in words that go after its name."""


class Known(Struct, frozen=True):
    """What need not be looked at again, by its identity; it is held, so that the identity stays its own.

    values: with the length from which each lies beside, and the digest that names its file, if it has one;
    records: those in which nothing is long, so that of a long run only what is new costs anything.
    """

    values: dict[tuple[int, int], tuple[Any, str | None]]
    records: dict[int, Record]


class Encoded(Struct, frozen=True):
    """state: the bytes of `state.json`; beside: of the files beside that are not known, by their digests."""

    state: bytes
    beside: dict[str, bytes]
    known: Known


class Decoded(Struct, frozen=True):
    """A run, and what is known of its values for when it is encoded again."""

    run: Run
    known: Known


# Writing


def encode(run: Run, known: Known | None = None) -> Encoded:
    """*run* as it is to stand on disk; *known* is what the last encoding or decoding of it came with."""
    beside = _Beside(known or Known({}, {}))
    short = beside.known.records
    steps = {
        p: record if id(record) in short else _shorten(record, beside) for p, record in run.steps.items()
    }
    records = {id(record): record for p, record in run.steps.items() if steps[p] is record}
    inputs_in = beside.put(run.inputs)
    snapshot = copy_as(
        run,
        Snapshot,
        inputs=run.inputs if inputs_in is None else {},
        inputs_in=inputs_in,
        env=run.env or UNSET,  # most declare none
        # A record in which nothing is long is written as it is, which is the same as one of ours.
        steps=steps,
    )
    data = msgspec.json.format(msgspec.json.encode(snapshot), indent=2) + b"\n"
    return Encoded(data, beside.files, Known(beside.seen, records))


class _Beside:
    """Decides, value by value, what lies beside a snapshot."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.seen: dict[tuple[int, int], tuple[Any, str | None]] = {}
        self.files: dict[str, bytes] = {}

    def put(self, value: Any, limit: int = MAX_INLINE_BYTES) -> str | None:
        """The digest that names the file of *value*, if its JSON is longer than *limit*; UNSET has none."""
        if value is UNSET:
            return None
        key = (id(value), limit)
        found = self.known.values.get(key) or self.seen.get(key)
        if found is None:
            data = msgspec.json.encode(value)
            found = (value, None)
            if len(data) > limit:
                name = sha256(data).hexdigest()
                found, self.files[name] = (value, name), data
        self.seen[key] = found
        return found[1]


def _shorten(record: Record, beside: _Beside) -> Record | SavedRecord:
    """*record* with what is long out of it; itself if nothing is."""
    match record:
        case Succeeded(outputs=outputs) if (name := beside.put(outputs)) is not None:
            return copy_as(record, SavedSucceeded, outputs=UNSET, outputs_in=name)
        case Failed(outputs=outputs) if (name := beside.put(outputs)) is not None:
            return copy_as(record, SavedFailed, outputs=UNSET, outputs_in=name)
        case Opened():
            return _shorten_block(record, beside)
        case Failed(block=Opened() as block):
            return copy_as(record, SavedFailed, block=_shorten_block(block, beside), outputs_in=None)
        case _:
            pass
    return record


def _shorten_block(block: Opened, beside: _Beside) -> SavedOpened:
    """All chunks but the last, which still grows, lie beside, however short they are."""
    items_in = beside.put(block.items, MAX_INLINE_ITEMS_BYTES)
    return copy_as(
        block,
        SavedOpened,
        items=block.items if items_in is None else UNSET,
        items_in=items_in,
        ended=block.ended[-1:],
        ended_in=tuple(str(beside.put(chunk, 0)) for chunk in block.ended[:-1]),
        survived=block.survived[-1:],
        survived_in=tuple(str(beside.put(chunk, 0)) for chunk in block.survived[:-1]),
    )


# Reading


def decode(data: bytes, fetch: Callable[[str], bytes]) -> Decoded:
    """The run that stands in *data*. Raises Damaged, and what *fetch* raises.

    *fetch* gives the contents of the file beside with that digest, having checked that they are it.
    """
    apart = _Apart(fetch)
    snapshot = parse(data)
    odd = next((path for path in snapshot.steps if not is_path(path)), None)
    if odd is not None:
        raise Damaged(f"{odd!r} is no path of a step; the file was left as it is")
    inputs = snapshot.inputs
    if snapshot.inputs_in is not None:
        inputs = apart.get(snapshot.inputs_in, dict[str, Any])
    steps = {path: _complete(record, apart) for path, record in snapshot.steps.items()}
    derived = {"active": find_active(steps), "inside": group_by_body(steps), "env": snapshot.env or {}}
    return Decoded(copy_as(snapshot, Run, inputs=inputs, steps=steps, **derived), Known(apart.known, {}))


def parse(data: bytes) -> Snapshot:
    """What stands in *data* itself. Raises Damaged."""
    try:
        with suppress(msgspec.ValidationError):
            return msgspec.json.decode(data, type=_ShortSnapshot)
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != STATE_VERSION:
            raise Damaged(f"it is of the version {version!r}, and this cpf reads {STATE_VERSION!r}")
        return msgspec.json.decode(data, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        why = error or type(error).__name__
        raise Damaged(f"this is not a state that cpf wrote ({why}); it was left as it is") from None


class _Version(Struct):
    schema_version: str


class _Apart:
    """Gets back what lies beside a snapshot."""

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self.known: dict[tuple[int, int], tuple[Any, str | None]] = {}

    def get(self, name: str, kind: Any = Any, limit: int = MAX_INLINE_BYTES) -> Any:
        """The value, of the type *kind*, whose file has the digest *name*. Raises Damaged."""
        try:
            value = msgspec.json.decode(self._fetch(name), type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            why = error or type(error).__name__
            raise Damaged(f"it names {name}, which is nothing that cpf wrote ({why})") from None
        self.known[id(value), limit] = (value, name)
        return value


def _complete(record: SavedRecord | Record, apart: _Apart) -> Record:
    """*record* with what is long back in place."""
    match record:
        case SavedSucceeded(outputs=outputs, outputs_in=name):
            return copy_as(record, Succeeded, outputs=outputs if name is None else apart.get(name))
        case SavedOpened():
            return _complete_block(record, apart)
        case SavedFailed(block=block, outputs=outputs, outputs_in=name):
            whole = None if block is None else _complete_block(block, apart)
            outputs = outputs if name is None else apart.get(name)
            return copy_as(record, Failed, block=whole, outputs=outputs)
        case _:
            return record


def _complete_block(block: SavedOpened, apart: _Apart) -> Opened:
    items = block.items
    if block.items_in is not None:
        items = apart.get(block.items_in, limit=MAX_INLINE_ITEMS_BYTES)
    ended = [apart.get(name, dict[str, Any], limit=0) for name in block.ended_in]
    survived = [apart.get(name, dict[str, Error], limit=0) for name in block.survived_in]
    whole = {"ended": (*ended, *block.ended), "survived": (*survived, *block.survived)}
    return copy_as(block, Opened, items=items, **whole)
