"""`make schemas`: write the published schemas anew from the Structs."""

from __future__ import annotations

from pathlib import Path

from checkpointflow.cli.schema import SCHEMAS, text

PLACE = Path(__file__).parent.parent / "schemas"

if __name__ == "__main__":
    for name, (file, _, _) in SCHEMAS.items():
        (PLACE / file).write_bytes(text(name))
        print(PLACE / file)
