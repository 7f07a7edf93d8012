"""What a store holds, by its names. Pure.

    <base>/README                        what this is, for whoever finds it
           locks/                        of the locks that all runs share
           cache/                        documents that were understood; all of it may go
           keys/                         which run has which run key, by the digests of the keys
           mcp.key                       what `cpf mcp` seals with, for the store's owner only
           config.yaml                   what its operator has set
           runs/<run id>/state.json      the snapshot, replaced atomically
                         history.jsonl   the facts that led to it, a line each, chained by digests
                         workflow.yaml   the document as it was when the run started
                         workflows/      those that it calls, and files of variables, named by their digests
                         outputs/        what is too long for the snapshot, named by its digest
                         stdout/ stderr/ what each attempt of each step printed
                         artifacts/      what steps left behind
                         values/         what commands under way are given in files
                         run.lock        the writer's lock, with a hint at who holds it
                         questions/      the locks of who has one answered
                         step.lock       held by the commands too, should they outlive the writer
                         cancel.json     why somebody, who holds its lock, asks the writer to cancel the run
                         note.json       what was said when it was handed over, which no digest covers
                         imported        it came in an archive, and nobody has said yet where it goes on
                         driver.log      what a cpf in the background, which locks it, told; it has no digest

A name is relative to the run's directory, its parts joined by "/".
"""

from __future__ import annotations

import re

from checkpointflow.digests import sha256
from checkpointflow.engine.path import is_path

README, RUNS, LOCKS, CACHE, KEYS, MCP_KEY = "README", "runs", "locks", "cache", "keys", "mcp.key"
CONFIG = "config.yaml"
STATE, HISTORY, DOCUMENT, NOTE = "state.json", "history.jsonl", "workflow.yaml", "note.json"
LOCK, STEP_LOCK, CANCEL, IMPORTED = "run.lock", "step.lock", "cancel.json", "imported"
DRIVER_LOG = "driver.log"
QUESTIONS = "questions"
WORKFLOWS, OUTPUTS, ARTIFACTS, VALUES = "workflows", "outputs", "artifacts", "values"
STREAMS = ("stdout", "stderr")

_RUN_ID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
_OF_IDS = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_DIGEST = r"[0-9a-f]{64}"


def is_run_id(text: str) -> bool:
    """Whether *text* is a whole run id."""
    return len(text) == 26 and is_id_part(text) and text[0] in "01234567"


def is_id_part(text: str) -> bool:
    """Whether *text* is enough of a run id to look for."""
    return 0 < len(text) <= 26 and _OF_IDS.issuperset(text)  # no pattern: it would be compiled at each start


def is_aside(name: str) -> bool:
    """Whether *name*, beside the runs, is one that only a deletion or an import of ours gives."""
    return re.fullmatch(rf"\.(?:deleting|importing)-{_RUN_ID}", name) is not None


def is_digest(text: str) -> bool:
    """Whether *text* could be the digest of a file."""
    return re.fullmatch(_DIGEST, text) is not None


def output_name(digest: str) -> str:
    """The name of the file that holds the value whose JSON has this *digest*."""
    return f"{OUTPUTS}/{digest}.json"


def document_name(digest: str) -> str:
    """The name of the run's copy of a called workflow."""
    return f"{WORKFLOWS}/{digest}.yaml"


def digest_in(name: str) -> str | None:
    """The digest that *name* says that its file has, if it says one."""
    parts = re.fullmatch(rf"(?:{OUTPUTS}/({_DIGEST})\.json|{WORKFLOWS}/({_DIGEST})\.yaml)", name)
    return parts and (parts[1] or parts[2])


def log_name(stream: str, path: str, attempt: int) -> str:
    """What the *attempt*-th try of the step at *path* has its *stream* called."""
    return f"{stream}/{path}.txt" if attempt == 1 else f"{stream}/{path}.{attempt}.txt"


def log_names(path: str, attempt: int) -> tuple[str, ...]:
    """All that the *attempt*-th try of the step at *path* may print to; the last is for its JSON."""
    logs = [log_name(stream, path, attempt) for stream in STREAMS]
    return (*logs, f"{logs[0].removesuffix('.txt')}.json")


def value_name(path: str, variable: str, value: object) -> str:
    """The file of a *value* that the step at *path* is given by *variable*: of text as it is, or of JSON."""
    return f"{VALUES}/{path}/{variable}.{'txt' if isinstance(value, str) else 'json'}"


def question_name(path: str) -> str:
    """The lock of whoever has the question at *path* answered."""
    return f"{QUESTIONS}/{sha256(path.encode()).hexdigest()}.lock"


def is_value(name: str) -> bool:
    """Whether *name* is of a file that a command was given."""
    return name.startswith(f"{VALUES}/")


def is_log(name: str) -> bool:
    """Whether *name* is of what a step printed."""
    parts = re.fullmatch(r"(?:stdout|stderr)/(.+?)(?:\.[1-9][0-9]*)?\.(?:txt|json)", name)
    return parts is not None and is_path(parts[1])


def is_artifact(name: str) -> bool:
    """Whether *name* is of what a step left behind."""
    return name.startswith(f"{ARTIFACTS}/")


def is_member(name: str) -> bool:
    """Whether *name* is of a file that an archive of the run holds."""
    is_record = name in (STATE, HISTORY, DOCUMENT, NOTE) or digest_in(name) is not None
    return is_record or is_artifact(name) or is_log(name)


def is_local(name: str) -> bool:
    """Whether *name* is of a file that only this store needs, or that somebody here is just writing."""
    return (
        name in (LOCK, STEP_LOCK, CANCEL, IMPORTED, DRIVER_LOG)
        or is_value(name)
        or name.startswith(f"{QUESTIONS}/")
        or ("/" not in name and name.endswith(".tmp"))
    )
