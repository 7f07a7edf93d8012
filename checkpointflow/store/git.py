"""A store that is kept in git: what git is told of it.

Locks and files in the making stay out. Nothing may change the bytes of a run, whose digests would no longer
fit, and nothing may merge two histories of one by lines: `cpf import` knows what goes with what.
"""

from __future__ import annotations

from pathlib import Path

from checkpointflow.store.directory import CANCEL, LOCK, LOCKS, OUTPUTS, STEP_LOCK, WORKFLOWS, telling
from checkpointflow.store.files import make_private

FILES = {
    ".gitignore": (
        f"/runs/*/{LOCK}",
        f"/runs/*/{STEP_LOCK}",
        f"/runs/*/{CANCEL}",
        "/runs/*/*.tmp",
        f"/runs/*/{OUTPUTS}/*.tmp",
        f"/runs/*/{WORKFLOWS}/*.tmp",
        "/runs/.*",
        f"/{LOCKS}/",
    ),
    ".gitattributes": ("/runs/** -text -merge -ident -filter -eol",),
}


def prepare(base: Path) -> list[Path]:
    """Write what git has to know into *base*, after whatever its files say already; returns the files."""
    written = []
    with telling(base):
        make_private(base)
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
