"""Workflows as tools for models, by the Model Context Protocol: what `cpf mcp` does.

The client starts the server and speaks with it on its standard streams, a JSON object a line. Nothing of a
run lies in the server: it starts runs that others drive, looks at them, and has other cpf deliver answers.
So it may be killed at any moment, and the next one goes on, by the run's id.

One thread does all. A call that has to wait is a generator: it yields after how many seconds it wants to look
again, and what it returns is the answer (`Steps`).
"""

from __future__ import annotations
