"""SHA-256 without OpenSSL, which takes longer to load than the digests of a start take.

OpenSSL's own is several times as fast: for what is large it is worth loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256
    except ImportError:  # before Python 3.12
        try:
            from _sha256 import sha256
        except ImportError:  # another interpreter
            from hashlib import sha256

__all__ = ["sha256"]
