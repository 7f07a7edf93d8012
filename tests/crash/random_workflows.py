"""Workflows by chance, and what each must come to, which is never worked out from the document.

All kinds of steps and policies come up, within each other and in called workflows. Commands note in a ledger,
which no crash takes back, that they began and ended. The same seed always gives the same documents.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tests.helpers import ask, branch, call, cli, end, foreach, parallel, switch

Answers = dict[str, Any]
"""The payloads that waits took, by their paths."""

Value = Callable[[str, Answers], Any]
"""What a step or a body comes to, by what stands before its own name in the path, and the answers."""

SECRET = "CHAOS_SECRET"
LOCK = "chaos"
MAX_DEPTH = 3
LOOPS = 3
ANSWER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
SAY = """printf '{"at":"%s"}' "$CPF_STEP" """


def note(word: str) -> str:
    """A command that writes *word* into the ledger, and which attempt of what it is told by."""
    return f'echo "{word} $CPF_RUN_ID $CPF_STEP $CPF_ATTEMPT" >> "$LEDGER"'


BEGAN, ENDED = note("began"), note("ended")
SECOND_TRY = f'[ "$CPF_ATTEMPT" -gt 1 ] || {{ {ENDED}; exit 9; }}'
ALONE = (
    f'! grep -q CPF_STEP "/proc/$(cat "$LEDGER.lock")/environ" 2> /dev/null || {note("crowd")}',
    'echo $$ > "$LEDGER.lock"',
)
LEAVE = (
    "echo content > made-$$; mv made-$$ made-STEP-ID",
    'echo loose > "$CPF_ARTIFACTS_DIR/loose-$CPF_ATTEMPT"',
)
PRINT_SECRETS = f"echo ${{secrets.{SECRET}}} >&2; printf %s ${{secrets.{SECRET}}} | base64 >&2"


class Recipe(NamedTuple):
    """A kind of command. STEP-ID in it stands for the step's id.

    fields: of the step; lines: after it has begun and slept; shows, value: what the document refers to, and
    what that is; truth: what to answer where an attempt is in doubt that had ended; tries: how often it may
    begin by itself; again: and once more after each fault; needs_retry: the run fails, until asked.
    """

    weight: float
    lines: tuple[str, ...] = (ENDED, SAY)
    fields: Mapping[str, Any] = MappingProxyType({})
    shows: str = "outputs"
    value: Callable[[str], Any] = lambda path: {"at": path}
    truth: Literal["succeeded", "failed", "retry"] = "succeeded"
    tries: int = 1
    again: bool = False
    needs_retry: bool = False


def _retry(tries: int, strategy: str = "fixed") -> dict[str, Any]:
    return {"retry": {"max_attempts": tries, "backoff_seconds": 0.05, "strategy": strategy}}


_AT = {"type": "object", "required": ["at"], "properties": {"at": {"type": "string"}}}
_MADE = [{"name": "made", "path": "made-STEP-ID"}]
_GO_ON = {"on_error": "continue"}
_X = 70_000

RECIPES = {
    "plain": Recipe(6),
    "idempotent": Recipe(3, fields={"idempotent": True}, again=True),
    "keyed": Recipe(1, fields={"idempotency_key": "STEP-ID of ${run.id}", "outputs": _AT}),
    "retried": Recipe(3, fields=_retry(3), tries=3),
    "flaky": Recipe(3, (SECOND_TRY, ENDED, SAY), _retry(2, "exponential"), truth="retry", tries=2),
    "doomed": Recipe(1, (SECOND_TRY, ENDED, SAY), truth="retry", needs_retry=True),
    "failing": Recipe(2, (ENDED, "exit 3"), _GO_ON, "error.code", lambda _: "ERR_STEP_FAILED", "failed"),
    "telling": Recipe(2, (ENDED, SAY, "echo no >&2; exit 3"), _GO_ON, truth="retry"),
    "slow": Recipe(
        1, ("setsid sleep 9 &", "sleep 9"), {"timeout_seconds": 0.2, **_GO_ON}, "error.code",
        lambda _: "ERR_TIMEOUT", "retry",
    ),
    "large": Recipe(
        2, (ENDED, f"""printf '{{"x":"%s"}}' "$(head -c {_X} /dev/zero | tr '\\0' x)" """),
        value=lambda _: {"x": "x" * _X},
    ),
    "output": Recipe(2, ("echo noise; echo noise >&2", f'{SAY} > "$CPF_OUTPUT"', ENDED)),
    "printing": Recipe(1, (ENDED, 'echo "$CPF_STEP"'), {}, "stdout", lambda path: path, "retry"),
    "artifact": Recipe(
        2, (*LEAVE, ENDED), {"artifacts": _MADE, "idempotent": True}, "artifacts.made.size", lambda _: 8,
        "retry", again=True,
    ),
    "set": Recipe(
        1, (*LEAVE, ENDED), {"artifacts": [{"name": "made", "path": "?ade-STEP-ID"}], "idempotent": True},
        "artifacts.made.files.0.size", lambda _: 8, "retry", again=True,
    ),
    "fed": Recipe(1, ('test "$(cat)" = "STEP-ID ${run.id}"', ENDED, SAY), {"stdin": "STEP-ID ${run.id}"}),
    "locked": Recipe(2, (*ALONE, "sleep 0.1", ENDED, SAY), {"lock": {"key": LOCK, "timeout_seconds": 30}}),
    "secret": Recipe(2, (PRINT_SECRETS, ENDED, f'{SAY} > "$CPF_OUTPUT"')),
    "odd code": Recipe(1, (ENDED, SAY, "exit 3"), {"success": {"exit_codes": [0, 3]}}),
    "leaving": Recipe(1, ('(eval "exec $CPF_LOCK_FD>&-"; sleep 0.1; echo late) &', ENDED, SAY)),
    "skipped": Recipe(1, fields={"if": "1 > 2"}, shows="", tries=0),
}  # fmt: skip
AGAIN = Recipe(
    0, (ENDED, f'case "$CPF_STEP" in *@{LOOPS}) A=false;; *) A=true;; esac', """echo '{"again":'$A'}' """),
    value=lambda path: {"again": not path.endswith(f"@{LOOPS}")},
)  # fmt: skip
CALLED = Recipe(0)
_GOOD_AND_BAD = RECIPES["plain"], RECIPES["failing"]


class Workflow:
    """One workflow, with those that it calls, by the chances of *seed*. *port*: of the server to be called;
    *is_slow*: its steps take their time.

    documents: by the names of their files; recipes: of what is performed, by step ids, of which all
    documents together have none twice; result: what a run of it comes to; cleanups: the steps of each
    `finally`, by those that it follows.
    """

    def __init__(self, seed: str, port: int, size: int, is_slow: bool = False) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.recipes: dict[str, Recipe] = {}
        self.cleanups: dict[str, list[str]] = {}
        self._chance = random.Random(seed)
        self._port, self._size, self._ids = port, size, 0
        self._pauses = [0.5, 1.5] if is_slow else [0, 0.02, 0.05, 0.1]
        self.result = self._document("main.yaml", self._chance.randint(0, min(size // 2, MAX_DEPTH)))

    def _id(self, letter: str) -> str:
        self._ids += 1
        return f"{letter}{self._ids}"

    def _document(self, name: str, depth: int) -> Value:
        steps, value = self._body(depth, self._size)
        workflow = {"id": name.partition(".")[0], "version": "1", "steps": steps}
        if self._chance.random() < 0.3:
            kinds = self._chance.choices(["plain", "idempotent", "retried", "failing"], k=2)
            cleanup = [self._perform(RECIPES[kind]) for kind in kinds]
            workflow["finally"] = [step for _, step in cleanup]
            self.cleanups |= {step["id"]: [name for name, _ in cleanup] for step in steps}
        self.documents[name] = {"schema_version": "checkpointflow/v1", "workflow": workflow}
        return value

    def _body(self, depth: int, size: int = 3) -> tuple[list[dict[str, Any]], Value]:
        """Some steps, closed by an `end` that shows what each came to."""
        kinds: dict[Callable[[int], _Part], float] = {
            self._command: 10, self._call: 1, self._wait: 3, self._timed_wait: 1, self._loop: 1,
            self._diverted: 1, self._tolerant: 1, self._foreach: 2, self._parallel: 2, self._called: 1.5,
        }  # fmt: skip
        blocks = (self._tolerant, self._foreach, self._parallel, self._called)
        flat = [k for k in kinds if depth or k not in blocks]
        chosen = self._chance.choices(flat, [kinds[k] for k in flat], k=self._chance.randint(1, size))
        parts = [kind(depth - 1) for kind in chosen]
        shown = {part.name: f"${{steps.{part.name}.{part.shows}}}" for part in parts if part.shows}
        steps = [step for part in parts for step in part.steps]
        return [*steps, end(self._id("z"), result=shown)], lambda before, answers: {
            part.name: part.value(before, answers) for part in parts if part.shows
        }

    # What a body is made of

    def _perform(self, recipe: Recipe) -> tuple[str, dict[str, Any]]:
        """A step by *recipe*."""
        name = self._id("s")
        self.recipes[name] = recipe
        command = "\n".join([BEGAN, f"sleep {self._chance.choice(self._pauses)}", *recipe.lines])
        step = cli(name, command, **recipe.fields)
        return name, json.loads(json.dumps(step).replace("STEP-ID", name))

    def _command(self, depth: int) -> _Part:
        names = list(RECIPES)
        recipe = RECIPES[self._chance.choices(names, [RECIPES[n].weight for n in names])[0]]
        name, step = self._perform(recipe)
        return _Part(name, [step], recipe.shows, lambda before, _: recipe.value(before + name))

    def _diverted(self, depth: int) -> _Part:
        """A step that fails, and the one that its failure leads to."""
        name, step = self._perform(RECIPES["plain"])
        failing, failed = self._perform(RECIPES["failing"])
        failed["on_error"] = {"next": name}
        return _Part(failing, [failed, step], "error.code", lambda _, __: "ERR_STEP_FAILED")

    def _loop(self, depth: int) -> _Part:
        """A step that is visited until it says that this is enough."""
        name, step = self._perform(AGAIN)
        after, last = self._perform(RECIPES["plain"])
        back = switch(self._id("x"), (f"steps.{name}.outputs.again", name), default=after)
        return _Part(
            name, [step, back, last], "outputs", lambda before, _: AGAIN.value(f"{before}{name}@{LOOPS}")
        )

    def _call(self, depth: int) -> _Part:
        name = self._id("h")
        safe = self._chance.random() < 0.5
        self.recipes[name] = CALLED._replace(again=safe)
        step = {"id": name, "kind": "api", "method": "POST", "url": f"http://127.0.0.1:{self._port}/"}
        step |= {"body": {}, "idempotent": safe}
        return _Part(name, [step], "outputs", lambda before, _: {"at": before + name})

    def _wait(self, depth: int) -> _Part:
        name, then = self._id("w"), self._perform(RECIPES["plain"])
        step = ask(name, input_schema=ANSWER)
        if self._chance.random() < 0.3:
            step["transitions"] = [{"when": "event.n < 0", "next": name}, {"when": True, "next": then[0]}]
        return _Part(name, [step, then[1]], "outputs", lambda before, answers: answers[before + name])

    def _timed_wait(self, depth: int) -> _Part:
        name, then = self._id("t"), self._perform(RECIPES["plain"])
        step = ask(name, input_schema=ANSWER, timeout_seconds=0.4, on_timeout={"next": then[0]})
        return _Part(then[0], [step, then[1]], "outputs", lambda before, _: {"at": before + then[0]})

    def _foreach(self, depth: int) -> _Part:
        name, number = self._id("f"), self._chance.randint(2, 3)
        more: dict[str, Any] = {"max_concurrency": self._chance.randint(1, 3)}
        if self._chance.random() < 0.3:
            more["workflow_ref"] = f"{name}.yaml"
            body, value = [], self._document(f"{name}.yaml", depth)
        else:
            body, value = self._body(depth)
        prefix = self._chance.choice(["", "k."])
        more |= {"key": f"{prefix}${{item}}"} if prefix else {}
        items = self._chance.choice([list(range(number)), {"count": number}])
        step = foreach(name, items, *body, **more)

        def iterate(before: str, answers: Answers) -> Any:
            return {"iterations": [value(f"{before}{name}[{prefix}{n}]/", answers) for n in range(number)]}

        return _Part(name, [step], "outputs", iterate)

    def _tolerant(self, depth: int) -> _Part:
        """Three items, of which the first fails."""
        name, (good, step), (_, failing) = self._id("f"), *map(self._perform, _GOOD_AND_BAD)
        failing = {k: v for k, v in failing.items() if k != "on_error"} | {"if": "item == 0"}
        more = {"on_item_error": "continue", "max_failures": 1, "max_concurrency": self._chance.randint(1, 3)}
        each = foreach(name, {"count": 3}, step, failing, **more)

        def iterate(before: str, answers: Answers) -> Any:
            return [None, *({good: {"at": f"{before}{name}[{n}]/{good}"}} for n in (1, 2))]

        return _Part(name, [each], "outputs.iterations", iterate)

    def _parallel(self, depth: int) -> _Part:
        name = self._id("p")
        bodies = {self._id("b"): self._body(depth) for _ in range(self._chance.randint(2, 3))}
        step = parallel(name, *(branch(key, *steps) for key, (steps, _) in bodies.items()))

        def branches(before: str, answers: Answers) -> Any:
            return {key: value(f"{before}{name}[{key}]/", answers) for key, (_, value) in bodies.items()}

        return _Part(name, [step], "outputs", branches)

    def _called(self, depth: int) -> _Part:
        name = self._id("c")
        value = self._document(f"{name}.yaml", depth)
        step = call(name, f"{name}.yaml")
        return _Part(name, [step], "outputs", lambda before, answers: value(f"{before}{name}/", answers))


class _Part(NamedTuple):
    """Steps that belong together; what their `end` shows of the one called *name*."""

    name: str
    steps: list[dict[str, Any]]
    shows: str
    value: Value
