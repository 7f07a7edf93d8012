"""A run as it stands in `state.json`: encoded and decoded by pure functions."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from typing import Any

import msgspec
import pytest

from checkpointflow.engine.actions import Error, Failure
from checkpointflow.engine.run import Failed, Opened, Run, Succeeded
from checkpointflow.store.snapshot import Damaged, SavedFailed, SavedOpened, SavedSucceeded, decode, encode
from tests.helpers import Story, ask, branch, cli, foreach, parallel

LONG = "x" * 70_000


def reopened(run: Run) -> Run:
    """*run*, written and read."""
    encoded = encode(run)
    return decode(encoded.state, encoded.beside.__getitem__).run


def of_everything() -> Story:
    """A run with a record of each kind, and something long in each that can hold it."""
    return copy.copy(told_once())


@functools.cache
def told_once() -> Story:
    story = Story(
        cli("plan"),
        cli("short"),
        cli("not", **{"if": "false"}),
        parallel(
            "par",
            branch("a", foreach("each", "inputs.n", cli("one"))),
            branch("b", ask("q")),
            branch("c", foreach("few", [1, 2], cli("two"))),
        ),
        inputs={"n": list(range(2_000)), "text": LONG},
    )
    story.succeed("plan", {"text": LONG}).succeed("short", [])
    for n in range(300):
        story.succeed(f"par[a]/each[{n}]/one", {"n": n})
    return story


def test_a_run_that_is_written_and_read_is_the_same() -> None:
    story = of_everything()
    assert reopened(story.run) == story.run
    assert reopened(story.fail("par[c]/few[0]/two").run) == story.run
    assert reopened(story.cancel().run) == story.run


def test_a_failed_block_is_too() -> None:
    story = Story(foreach("each", list(range(200)), cli("a")))
    for n in range(150):
        story.succeed(f"each[{n}]/a", {"n": n})
    run = story.fail("each[150]/a").run
    assert isinstance(run.steps["each"], Failed)
    assert len(encode(run).beside) == 1
    assert reopened(run) == run


def test_so_are_failures_that_are_put_up_with() -> None:
    story = Story(foreach("each", {"count": 200}, cli("a"), on_item_error="continue"))
    for n in range(150):
        story.fail(f"each[{n}]/a")
    encoded = encode(story.run)
    assert [len(encoded.beside), len(json.loads(encoded.state)["steps"]["each"]["survived"][0])] == [1, 22]
    assert reopened(story.run) == story.run


@pytest.mark.parametrize("said", [{}, {"outputs": {"n": 1}, "stderr": "x"}, {"outputs": {"text": LONG}}])
def test_of_a_step_that_failed_long_outputs_lie_beside(said: dict[str, Any]) -> None:
    run = Story(cli("a")).report("a", Failure(Error(code="ERR_STEP_FAILED", message="no"), **said)).run
    assert len(encode(run).beside) == (LONG in str(said))
    assert reopened(run) == run


def test_what_is_long_lies_beside_by_its_digest() -> None:
    encoded = encode(of_everything().run)
    state = json.loads(encoded.state)
    names = {
        state["inputs_in"],
        state["steps"]["plan"]["outputs_in"],
        state["steps"]["par[a]/each"]["items_in"],
        *state["steps"]["par[a]/each"]["ended_in"],
    }
    assert len(names) == 5
    assert names == encoded.beside.keys()
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in encoded.beside.items())
    assert state["inputs"] == {}
    assert state["steps"]["short"] == msgspec.to_builtins(of_everything().run.steps["short"])


def test_long_outputs_stand_where_the_short_would() -> None:
    record = json.loads(encode(of_everything().run).state)["steps"]["plan"]
    assert list(record)[:3] == ["state", "outputs_in", "exit_code"]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(SavedSucceeded, Succeeded), (SavedOpened, Opened), (SavedFailed, Failed)]
)
def test_a_saved_record_has_all_fields_of_the_record(ours: Any, theirs: Any) -> None:
    fields = [name for name in ours.__struct_fields__ if not name.endswith("_in")]
    assert fields == list(theirs.__struct_fields__)
    for setting in ("tag", "tag_field", "forbid_unknown_fields", "omit_defaults", "frozen"):
        assert getattr(ours.__struct_config__, setting) == getattr(theirs.__struct_config__, setting)


def test_what_is_known_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed with: forgetting what is known of a value once its record has not changed."""
    counted: list[Any] = []
    real = msgspec.json.encode
    monkeypatch.setattr(msgspec.json, "encode", lambda value: counted.append(value) or real(value))
    story = of_everything()
    known = encode(story.run).known
    for _ in range(3):
        expected = encode(story.run).state
        counted.clear()
        encoded = encode(story.run, known)
        known = encoded.known
        assert (encoded.state, encoded.beside) == (expected, {})
        assert len(counted) <= 2, "the chunk that grows, and the snapshot"
        number = story.run.steps["par[a]/each"].begun - 1  # type: ignore[union-attr]
        story.succeed(f"par[a]/each[{number}]/one", {"n": number})


def test_what_was_read_is_known() -> None:
    run = of_everything().run
    first = encode(run)
    again = decode(first.state, first.beside.__getitem__)
    second = encode(again.run, again.known)
    assert (second.state, second.beside) == (first.state, {})


def test_the_same_value_may_be_long_in_one_place_and_short_in_another() -> None:
    items = ["x" * 20] * 500
    run = (
        Story(cli("a"), foreach("each", "steps.a.outputs", cli("b")), cli("last"), inputs={})
        .succeed("a", items)
        .run
    )
    assert run.steps["a"].outputs is run.steps["each"].items  # type: ignore[union-attr]
    encoded = encode(run)
    assert json.loads(encoded.state)["steps"]["a"]["outputs"] == items
    assert list(encoded.beside) == [json.loads(encoded.state)["steps"]["each"]["items_in"]]
    assert encode(run, encoded.known).state == encoded.state


# What is damaged


def damaged(old: bytes, new: bytes) -> str:
    """What is said of a snapshot in which *new* stands in place of *old*."""
    encoded = encode(of_everything().run)
    assert old in encoded.state
    with pytest.raises(Damaged) as damage:
        decode(encoded.state.replace(old, new, 1), encoded.beside.__getitem__)
    return str(damage.value)


def test_another_version_is_told_apart_from_damage() -> None:
    problem = damaged(b"checkpointflow-state/v1", b"checkpointflow-state/v9")
    assert problem == (
        "it is of the version 'checkpointflow-state/v9', and this cpf reads 'checkpointflow-state/v1'"
    )


def test_what_does_not_fit_is_damage() -> None:
    assert damaged(b'"revision": ', b'"revision": "no", "x": ').startswith(
        "this is not a state that cpf wrote"
    )
    assert "is no path of a step" in damaged(b'"plan": {', b'"../plan": {')


def test_a_file_beside_that_is_nothing_of_ours_is_damage() -> None:
    encoded = encode(of_everything().run)
    for data in (b"[", b"\xff", b"[]"):
        with pytest.raises(Damaged, match="which is nothing that cpf wrote"):
            decode(encoded.state, dict.fromkeys(encoded.beside, data).__getitem__)
