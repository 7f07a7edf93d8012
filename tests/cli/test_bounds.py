"""What an envelope holds unless more is asked for: at most 16 KiB, and where the rest is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from checkpointflow.cli.schema import write_schema
from tests.conftest import Answer, Cpf
from tests.helpers import ask, cli, end, foreach

MAX_BYTES = 16 * 1024


def is_short(answer: Answer) -> bool:
    return len(answer.text.encode()) <= MAX_BYTES


def test_a_long_output_is_shown_as_its_head_and_where_it_lies(cpf: Cpf) -> None:
    for size in (60_000, 70_000):  # in the snapshot, and in a file beside it
        command = f"""printf '{{"text": "%0{size}d"}}' 7"""
        run_id = cpf.run(cli("a", command), ask("q"))["run_id"]
        inspected = cpf("inspect", run_id)
        shown = inspected["steps"]["a"]["outputs"]
        assert (shown["bytes"], shown["head"][:12]) == (size + 11, '{"text":"000')
        assert f"{'0' * 100}7" in Path(shown["file"]).read_text()
        assert is_short(inspected)
        whole = cpf("inspect", run_id, "--full")
        assert whole["steps"]["a"]["outputs"] == {"text": f"{7:0{size}}"}


def test_a_long_input_is_shown_as_its_head(cpf: Cpf) -> None:
    inputs = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}
    file = cpf.flow(ask("q"), inputs=inputs)
    run_id = cpf("run", file, "--input", json.dumps({"text": "x" * 5_000, "n": 1}))["run_id"]
    shown = cpf("inspect", run_id)["inputs"]
    assert (shown["n"], shown["text"]["bytes"], shown["text"]["head"]) == (1, 5_002, "x" * 200)
    assert cpf("inspect", run_id, "--full")["inputs"]["text"] == "x" * 5_000


def test_the_history_is_told_to_who_asks_for_it(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    assert "history" not in cpf("inspect", run_id).json
    assert cpf("inspect", run_id, "--history")["history"] == cpf("inspect", run_id, "--full")["history"]
    assert len(cpf("inspect", run_id, "--history")["history"]) == len(cpf.history(run_id))


def test_of_many_steps_the_latest_are_shown(cpf: Cpf) -> None:
    run_id = cpf.run(*[cli(f"s{n}") for n in range(120)])["run_id"]
    inspected = cpf("inspect", run_id)
    shown = list(inspected["steps"])
    assert (shown, is_short(inspected)) == ([f"s{n}" for n in range(120 - len(shown), 120)], True)
    assert f"{120 - len(shown)} earlier steps are left out; all of them: --full" in inspected["warnings"]
    assert len(cpf("inspect", run_id, "--full")["steps"]) == 120


def test_many_logs_share_the_room(cpf: Cpf) -> None:
    each = cli("a", "printf '%06000d' ${item}; [ ${item} -ne 7 ]", on_error="continue")
    run_id = cpf.run(foreach("each", list(range(9)), each))["run_id"]
    logs = cpf("logs", run_id)
    assert is_short(logs)
    assert len(logs["logs"]) < 9
    assert f"{18 - len(logs['logs'])} more logs are there; show them with --all" in logs["warnings"]
    assert len(cpf("logs", run_id, "--all")["logs"]) == 18


def test_of_many_mistakes_twenty_are_told_and_how_many_there_are(cpf: Cpf) -> None:
    file = cpf.flow(*[cli(f"s{n}", knid="x") for n in range(50)], end("e"))
    told = cpf("validate", file)
    assert (told.code, len(told["error"]["details"]), told["error"]["count"]) == (10, 20, 50)
    assert "(and 49 more)" in told["error"]["message"]
    assert is_short(told)


# Whatever there is much of

LONG = "x" * 60_000
SCHEMA = {"type": "object", "properties": {f"field_{n}": {"description": "y" * 1_000} for n in range(60)}}
MANY = {f"key_{n}": f"{n:060}" for n in range(1_000)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Cpf:
    """A store with runs that have much of one thing: their ids are `waits`, `result`, `steps` and `fails`."""
    place = tmp_path_factory.mktemp("bounds")
    (place / "work").mkdir()
    return Cpf(place / "work", place / "base")


@pytest.fixture(scope="module")
def runs(store: Cpf) -> dict[str, Answer]:
    question = ask("q", prompt=LONG, instructions=LONG, input_schema=SCHEMA)
    print_ = """printf '{"long": "%060000d", "short": 1}' 7"""
    many = {"type": "object"}
    store.flow(
        foreach("each", list(range(200)), question, max_concurrency=100),
        **{"name": "waits.yaml", "id": "waits", "description": LONG, "inputs": many},
    )
    store.flow(
        cli("a", print_),
        end("e", result={"long": "${steps.a.outputs.long}", "short": "${steps.a.outputs.short}"}),
        **{"name": "result.yaml", "id": "result"},
    )
    store.flow(
        foreach("each", list(range(5_000)), cli("skipped", **{"if": "false"})),
        ask("q"),
        **{"name": "steps.yaml", "id": "steps"},
    )
    lines = "i=0; while [ $i -lt 4000 ]; do printf '\\033line\\n'; i=$((i+1)); done; false"
    store.flow(cli("a", lines), **{"name": "fails.yaml", "id": "fails"})
    (store.cwd / "inputs.json").write_text(json.dumps(MANY))
    inputs = ("--input", "@inputs.json")
    names = ("waits", "result", "steps", "fails")
    return {n: store("run", f"{n}.yaml", *(inputs if n == "waits" else ())) for n in names}


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize("command", ["status", "inspect", "logs", "wait", "verify", "watch"])
def test_whatever_there_is_much_of_in_a_run_an_answer_is_short(
    store: Cpf, runs: dict[str, Answer], command: str
) -> None:
    assert all(map(is_short, runs.values()))
    for answer in runs.values():
        more = ("--for", "waiting") if command == "wait" else ()
        assert is_short(store(command, answer["run_id"], *more))


@pytest.mark.long
def test_whatever_there_is_much_of_an_answer_is_short(store: Cpf, runs: dict[str, Answer]) -> None:
    ids = {name: answer["run_id"] for name, answer in runs.items()}
    for line in (
        ("list",),
        ("waits",),
        ("flows",),
        ("validate", "waits.yaml"),
        ("diff", ids["waits"], ids["result"]),
        ("wait", *ids.values()),
        ("resume", ids["waits"]),
        ("resume", ids["waits"], "--event", "q_event", "--step", "each[0]/q", "--input", '"no"'),
        ("answer", ids["waits"]),
        ("retry", ids["fails"]),
        ("export", ids["waits"]),
        ("tick",),
        ("gc", "--dry-run"),
    ):
        assert is_short(store(*line)), line


def test_a_long_result_is_shown_as_its_head_and_with_the_line_that_shows_all(
    store: Cpf, runs: dict[str, Answer]
) -> None:
    answer = runs["result"]
    line = f"cpf status {answer['run_id']} --base-dir {store.base} --full"
    cut = {"bytes": 60_002, "head": "0" * 200, "command": line}
    assert answer["result"] == {"long": cut, "short": 1}
    assert (answer["next"][0]["command"], answer["next"][0]["why"]) == (line, "see all of what is cut here")
    whole = store(*answer["next"][0]["argv"][1:])
    assert len(whole["result"]["long"]) == 60_000
    assert "next" not in whole.json
    assert len(store("run", "result.yaml", "--full")["result"]["long"]) == 60_000


def test_a_long_question_is_shown_as_its_head_and_can_be_had_whole(
    store: Cpf, runs: dict[str, Answer]
) -> None:
    answer = runs["waits"]
    for name in ("prompt", "instructions", "input_schema"):
        assert set(answer["wait"][name]) == {"bytes", "head", "command"}
    assert re.search(r"of 100 waits are left out; all of them: cpf status .*--full", answer["warnings"][0])
    whole = store(*answer["next"][0]["argv"][1:])
    assert (whole["wait"]["prompt"], len(whole["waits"])) == (LONG, 100)
    assert whole["next"][0]["argv"][1] == "resume"


def test_lists_name_their_own_lines(store: Cpf, runs: dict[str, Answer]) -> None:
    assert runs
    answer = store("waits", "--for", "user")
    assert answer["next"][0]["argv"] == ["cpf", "waits", "--for", "user", "--full"]
    assert len(store(*answer["next"][0]["argv"][1:])["result"]["waits"]) > 100
    shown = len(answer["result"]["waits"])
    assert f"{101 - shown} of 101 result.waits are left out" in answer["warnings"][0]


def test_a_line_of_its_own_is_told_only_where_it_can_be_run(cpf: Cpf) -> None:
    inputs = {"type": "object", "properties": {"f": {"description": LONG}}}
    file = cpf.flow(cli("a"), inputs=inputs)
    answer = cpf("validate", "--", file)
    assert answer["next"][0]["argv"] == ["cpf", "validate", "--full", "--", file]
    assert cpf(*answer["next"][0]["argv"][1:])["result"]["inputs"] == inputs
    text = (cpf.cwd / file).read_text()
    for words in (("-",), ("-f", "-"), ("-f-",), ("--file=-",)):
        assert "next" not in cpf("validate", *words, stdin=text).json


def test_what_is_cut_fits_the_published_schema(store: Cpf, runs: dict[str, Answer]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(write_schema("envelope")))
    for answer in [*runs.values(), store("inspect", runs["waits"]["run_id"])]:
        assert [*validator.iter_errors(answer.json)] == []
