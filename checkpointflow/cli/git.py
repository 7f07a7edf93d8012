"""A store that is kept in git: what git is told of it.

Locks and files in the making stay out. Nothing may change the bytes of a run, whose digests would no longer
fit, and nothing may merge two histories of one by lines: `cpf import` knows what goes with what.
"""

from __future__ import annotations

from pathlib import Path

from checkpointflow.store.files import make_private, translate_errors
from checkpointflow.store.layout import (
    CACHE,
    CANCEL,
    LOCK,
    LOCKS,
    MCP_KEY,
    OUTPUTS,
    QUESTIONS,
    RUNS,
    STEP_LOCK,
    WORKFLOWS,
)
from checkpointflow.store.store import write_readme

FILES = {
    ".gitignore": (
        f"/{RUNS}/*/{LOCK}",
        f"/{RUNS}/*/{STEP_LOCK}",
        f"/{RUNS}/*/{CANCEL}",
        f"/{RUNS}/*/{QUESTIONS}/",
        f"/{RUNS}/*/*.tmp",
        f"/{RUNS}/*/{OUTPUTS}/*.tmp",
        f"/{RUNS}/*/{WORKFLOWS}/*.tmp",
        f"/{RUNS}/.*",
        f"/{LOCKS}/",
        f"/{CACHE}/",
        f"/{MCP_KEY}*",
    ),
    ".gitattributes": (f"/{RUNS}/** -text -merge -ident -filter -eol",),
}


def prepare(base: Path) -> list[Path]:
    """Write what git has to know into *base*, after whatever its files say already; returns the files."""
    written = []
    with translate_errors(base):
        make_private(base)
        write_readme(base)  # with the rest, so that the first commit of a repository has it
        for name, lines in FILES.items():
            file = base / name
            text = file.read_text(errors="surrogateescape") if file.exists() else ""
            missing = [line for line in lines if line not in text.splitlines()]
            if missing:
                gap = "\n" if text and not text.endswith("\n") else ""
                with file.open("a") as opened:
                    opened.write(gap + "".join(f"{line}\n" for line in missing))
            written.append(file)
    return written
