"""What no implementation in Python can do without, as programs that do just that and nothing else.

A goal that lies below its floor, or a little above, is not to be had; see `python -m tests.bench`.
"""

from __future__ import annotations

START = "from checkpointflow import late; late.defer(); import click, msgspec"
"""The command line is Click's, and files are read by msgspec; what neither needs for it is left out."""

STEPS = """
import os, select, sys
os.makedirs("floor/logs")
history = os.open("floor/history", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
environment = dict(os.environ)
for number in range(int(sys.argv[1])):
    names = f"floor/logs/{number}.stdout", f"floor/logs/{number}.stderr"
    out, err = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) for name in names)
    duplicates = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)]
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "true"], environment, file_actions=duplicates, setsid=True)
    os.close(out)
    os.close(err)
    watch = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.poll()
    os.close(watch)
    os.waitpid(pid, 0)
    os.write(history, b"x" * 600)
    os.fdatasync(history)
"""
"""Of a step: two files for what it prints, a process in a session of its own, its end, a synced append."""

ITEMS = STEPS.replace(
    'f"floor/logs/{number}.stdout", f"floor/logs/{number}.stderr"',
    'f"floor/stdout/{number}/a", f"floor/stderr/{number}/a"\n    for name in names:\n        '
    "os.makedirs(os.path.dirname(name))",
)
"""Of a step of an iteration: its files lie in directories of the iteration's own."""

BRANCHES = "for n in $(seq {}); do sh -c 'sleep 0.1' & done; wait"

LIST = """
import os, msgspec
runs = os.environ["CHECKPOINTFLOW_BASE_DIR"] + "/runs"
class Head(msgspec.Struct):
    status: str
for name in os.listdir(runs):
    with open(f"{runs}/{name}/state.json", "rb") as file:
        msgspec.json.decode(file.read(), type=Head)
    os.stat(f"{runs}/{name}/history.jsonl")
"""
"""Of a run: one file read, and the length of another looked at."""

VERIFY = """
import sys, msgspec
from _sha256 import sha256
class Entry(msgspec.Struct):
    checkpoint_id: str
    fact: msgspec.Raw
class Fact(msgspec.Struct):
    fact: str
    path: str = ""
before = ""
for line in open(sys.argv[1], "rb"):
    entry = msgspec.json.decode(line, type=Entry)
    assert sha256(b"%s\\n%s" % (before.encode(), entry.fact)).hexdigest() == entry.checkpoint_id
    before = entry.checkpoint_id
    msgspec.json.decode(entry.fact, type=Fact)
"""
"""Of a fact: its line read, its digest worked out, and what it says decoded; nothing is made of it."""
