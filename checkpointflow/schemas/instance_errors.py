"""What is told of a value that does not fit its schema."""

from __future__ import annotations

from msgspec import Struct


class InstanceError(Struct, frozen=True):
    """One thing in an instance that does not fit; `message` begins with `path`, such as `$.items[3].name`.

    No Diagnostic: it stands in no file, and its fields, as they are, are kept in runs and told in envelopes.
    """

    path: str
    message: str
    keyword: str
