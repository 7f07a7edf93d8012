"""`make schemas`: write the published schemas anew from the Structs."""

from __future__ import annotations

from pathlib import Path

from checkpointflow.cli.schema import SCHEMAS, write_schema

PLACE = Path(__file__).parent.parent / "schemas"

if __name__ == "__main__":
    for name, (file, _, _) in SCHEMAS.items():
        (PLACE / file).write_bytes(write_schema(name))
        print(PLACE / file)
