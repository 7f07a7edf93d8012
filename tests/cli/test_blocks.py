"""foreach, parallel, workflow and api from the command line: waits anywhere, events in any order."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import Answer, Cpf
from tests.helpers import ask, branch, call, cli, end, foreach, parallel, switch


def files(cpf: Cpf, **flows: list[dict[str, Any]]) -> str:
    """Write workflows of these steps (`a__b` is a/b.yaml); returns the file of the first."""
    names = []
    for name, steps in flows.items():
        names.append(name.replace("__", "/") + ".yaml")
        (cpf.cwd / names[-1]).parent.mkdir(parents=True, exist_ok=True)
        cpf.flow(*steps, name=names[-1])
    return names[0]


def waiting(answer: Answer) -> list[str]:
    """The steps that wait, all of them."""
    assert (answer.code, answer["status"]) == (40, "waiting"), answer.text
    shown = answer.json.get("waits") or [answer["wait"]]
    assert shown[0] == answer["wait"]
    return [wait["step"] for wait in shown]


# Every order of events


Payload = Callable[[str], Any]


class Tree:
    """All the ways that a waiting run may go, one event after the other, in copies of its directory."""

    def __init__(self, cpf: Cpf, place: Path, payload: Payload, first: int) -> None:
        self.cpf, self.place, self.payload, self.first = cpf, place, payload, first
        self.ends: list[tuple[list[str], Any, list[str]]] = []

    def explore(self, answer: Answer, run: Path, order: list[str]) -> None:
        """Note what becomes of *run*, which answered so, for each order in which its waits may end."""
        if answer.code != 40:
            assert answer.code == 0, answer.text
            done = (run / "artifacts/log").read_text().splitlines()
            self.ends.append((order, answer["result"], sorted(done)))
            return
        shown = answer.json.get("waits") or [answer["wait"]]
        for number, wait in enumerate(shown):
            if not order and number != self.first:
                continue
            copy = self.place / f"{len(order)}.{number}"
            shutil.copytree(run, copy)
            given = ("--event", wait["event_name"], "--step", wait["step"])
            payload = json.dumps(self.payload(wait["step"]))
            after = self.cpf("resume", "--run-dir", str(copy), *given, "--input", payload)
            self.explore(after, copy, [*order, wait["step"]])
            shutil.rmtree(copy)


def every_order(
    cpf: Cpf, answer: Answer, payload: Payload, first: int
) -> list[tuple[list[str], Any, list[str]]]:
    """For each order of events that begins with the *first* wait of *answer*: the order, the result, and what
    was done on the way."""
    memory = (
        "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    )  # hundreds of syncs, which prove nothing here
    with TemporaryDirectory(dir=memory) as place:
        tree = Tree(cpf, Path(place), payload, first)
        tree.explore(answer, cpf.directory(answer["run_id"]), [])
    orders = [tuple(order) for order, _, _ in tree.ends]
    assert len(set(orders)) == len(orders)
    return tree.ends


DONE = 'echo "$CPF_STEP" >> "$CPF_ARTIFACTS_DIR/log"'


def did(id: str, **more: Any) -> dict[str, Any]:
    """A step that leaves a note that it was done, in its run."""
    return cli(id, DONE, **more)


def everything_at_once() -> list[dict[str, Any]]:
    each = foreach("each", "${inputs.names}", ask("q"), did("use"), max_concurrency=2)
    done = end("done", result="${steps.review.outputs}")
    verdict = switch("verdict", ('steps.review.outputs.say == "again"', "draft"), default="done")
    return [
        parallel(
            "all",
            branch("items", each),
            branch("loop", did("draft"), ask("review"), verdict, done),
            branch("sub", call("child", "child.yaml", inputs={"n": 7})),
        ),
        end("e", result="${steps.all.outputs}"),
    ]  # fmt: skip


CHILD = [ask("sign"), did("note"), end("out", result={"n": "${inputs.n}", "by": "${steps.sign.outputs.say}"})]


def said(step: str) -> dict[str, str]:
    """What is answered at *step*: the first review asks for another."""
    if step.endswith("review"):
        return {"say": "again"}
    return {"say": step.rpartition("/")[0] or step}


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("first", range(4))
def test_the_order_of_events_makes_no_difference(cpf: Cpf, first: int) -> None:
    file = files(cpf, w=everything_at_once(), child=CHILD)
    answer = cpf("run", "-f", file, "--input", '{"names": ["a", "b"]}')
    ends = every_order(cpf, answer, said, first)
    reviewed = waiting(answer)[first].endswith("review")
    assert len(ends) == (24 if reviewed else 12)  # 60 in all: 5 events, two of them in turn, so 5! / 2
    sub, loop = "all[sub]/child", "all[loop]"
    for order, result, done in ends:
        assert result == {
            "items": {
                "each": {"iterations": [{"q": {"say": f"all[items]/each[{n}]"}, "use": {}} for n in (0, 1)]}
            },
            "loop": {"say": loop},
            "sub": {"child": {"n": 7, "by": sub}},
        }, order
        assert done == sorted(
            [f"{loop}/draft", f"{loop}/draft@2", f"{sub}/note"]
            + [f"all[items]/each[{n}]/use" for n in (0, 1)]
        ), order


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("first", range(2))
def test_nor_when_a_loop_goes_back_over_the_blocks(cpf: Cpf, first: int) -> None:
    child = call("child", "child.yaml", inputs={"n": 1})
    lap = [{"when": "event.say == 'each'", "next": "each"}, {"when": True, "next": "e"}]
    steps = [
        foreach("each", ["a", "b"], ask("q"), did("use"), max_concurrency=2),
        parallel("p", branch("x", ask("r"), did("keep")), branch("y", child)),
        ask("again", transitions=lap),
        end("e", result=["${steps.each.outputs.iterations}", "${steps.p.outputs}"]),
    ]

    def answer(step: str) -> dict[str, str]:
        return {"say": "each"} if step == "again" else {"say": step.rpartition("/")[0]}

    ends = every_order(cpf, cpf("run", "-f", files(cpf, w=steps, child=CHILD)), answer, first)
    assert len(ends) == 2**4 / 2
    for order, result, done in ends:
        assert order[4] == "again" and order[9] == "again@2"
        assert result == [
            [{"q": {"say": f"each@2[{n}]"}, "use": {}} for n in (0, 1)],
            {"x": {"r": {"say": "p@2[x]"}, "keep": {}}, "y": {"child": {"n": 1, "by": "p@2[y]/child"}}},
        ], order
        each = [f"{each}[{n}]/use" for each in ("each", "each@2") for n in (0, 1)]
        both = [f"{p}{use}" for p in ("p", "p@2") for use in ("[x]/keep", "[y]/child/note")]
        assert done == sorted(each + both), order


@pytest.mark.long
def test_nor_when_every_event_comes_to_a_process_of_its_own(cpf: Cpf) -> None:
    file = files(cpf, w=everything_at_once(), child=CHILD)
    answer = cpf.real("run", "-f", file, "--input", '{"names": ["a", "b"]}')
    order = []
    while answer.code == 40:
        step = waiting(answer)[-1]
        order.append(step)
        (cpf.cwd / "response.json").write_text(json.dumps(said(step)))
        line = next(w for w in answer.json.get("waits") or [answer["wait"]] if w["step"] == step)
        answer = cpf.real(*shlex.split(line["resume"]["command"])[1:])
    assert (answer.code, len(order)) == (0, 5)
    assert answer["result"]["loop"] == {"say": "all[loop]"}
    assert len((cpf.directory(answer["run_id"]) / "artifacts/log").read_text().splitlines()) == 5


# Several waits


def test_all_open_waits_are_listed(cpf: Cpf) -> None:
    answer = cpf.run(parallel("p", branch("a", ask("x", prompt="X?")), branch("b", ask("y", prompt="Y?"))))
    assert [(w["step"], w["event_name"], w["prompt"]) for w in answer["waits"]] == [
        ("p[a]/x", "x_event", "X?"),
        ("p[b]/y", "y_event", "Y?"),
    ]
    assert answer["wait"] == answer["waits"][0]
    assert cpf("status", "--run-id", answer["run_id"])["waits"] == answer["waits"]


def test_a_single_wait_is_not_listed_twice(cpf: Cpf) -> None:
    answer = cpf.run(parallel("p", branch("a", ask("x")), branch("b", ask("y"))))
    after = cpf.resume(answer["run_id"], "y_event", {})
    assert (after.code, after["wait"]["step"], "waits" in after.json) == (40, "p[a]/x", False)


def test_an_event_finds_the_one_wait_that_it_fits(cpf: Cpf) -> None:
    answer = cpf.run(
        parallel("p", branch("a", ask("x")), branch("b", ask("y"))), end("e", result="${steps.p.outputs}")
    )
    cpf.resume(answer["run_id"], "y_event", {"n": 2})
    assert cpf.resume(answer["run_id"], "x_event", {"n": 1})["result"] == {
        "a": {"x": {"n": 1}},
        "b": {"y": {"n": 2}},
    }


def test_an_event_that_two_waits_fit_is_refused_with_their_paths(cpf: Cpf) -> None:
    run_id = cpf.run(foreach("each", [1, 2], ask("q"), max_concurrency=2))["run_id"]
    before = cpf.state(run_id)
    answer = cpf.resume(run_id, "q_event", {})
    assert (answer.code, answer.error_code) == (20, "ERR_RESUME_EVENT_MISMATCH")
    assert "each[0]/q, each[1]/q" in answer["error"]["message"]
    assert "--step" in answer["error"]["message"]
    assert [wait["step"] for wait in answer["error"]["details"]["waits"]] == ["each[0]/q", "each[1]/q"]
    assert cpf.state(run_id) == before


def test_step_picks_one_of_them(cpf: Cpf) -> None:
    steps = [foreach("each", [1, 2], ask("q"), max_concurrency=2), end("e", result="${steps.each.outputs}")]
    run_id = cpf.run(*steps)["run_id"]
    after = cpf.resume(run_id, "q_event", {"n": 2}, "--step", "each[1]/q")
    assert waiting(after) == ["each[0]/q"]
    result = cpf.resume(run_id, "q_event", {"n": 1})["result"]
    assert result == {"iterations": [{"q": {"n": 1}}, {"q": {"n": 2}}]}


@pytest.mark.parametrize("step", ["each[2]/q", "q", "each", "nowhere", "../x"])
def test_a_step_that_does_not_wait_for_it_is_refused(cpf: Cpf, step: str) -> None:
    run_id = cpf.run(foreach("each", [1, 2], ask("q"), max_concurrency=2))["run_id"]
    answer = cpf.resume(run_id, "q_event", {}, "--step", step)
    assert (answer.code, answer.error_code) == (20, "ERR_RESUME_EVENT_MISMATCH")


def test_a_wait_answered_once_takes_no_second_answer(cpf: Cpf) -> None:
    run_id = cpf.run(foreach("each", [1, 2], ask("q"), max_concurrency=2))["run_id"]
    cpf.resume(run_id, "q_event", {}, "--step", "each[0]/q")
    again = cpf.resume(run_id, "q_event", {}, "--step", "each[0]/q")
    assert (again.code, again["replayed"], again["wait"]["step"]) == (40, True, "each[1]/q")
    assert (
        cpf.resume(run_id, "q_event", {"a": 1}, "--step", "each[0]/q").error_code == "ERR_ANSWERED_OTHERWISE"
    )


# At once


def meet(me: str, other: str) -> str:
    """A command that ends only if the *other* one is under way meanwhile."""
    return f"touch {me}; n=0; until [ -e {other} ]; do sleep 0.02; n=$((n+1)); [ $n -lt 250 ] || exit 9; done"


def test_branches_run_at_once(cpf: Cpf) -> None:
    answer = cpf.run(
        parallel("p", branch("a", cli("x", meet("a", "b"))), branch("b", cli("y", meet("b", "a"))))
    )
    assert answer.code == 0


def test_iterations_run_at_once_when_allowed(cpf: Cpf) -> None:
    items = [["a", "b"], ["b", "a"]]
    step = foreach("each", items, cli("x", meet("${item.0}", "${item.1}")), max_concurrency=2)
    assert cpf.run(step).code == 0


def test_no_more_iterations_run_at_once_than_are_allowed(cpf: Cpf) -> None:
    command = "mkdir busy.1 2>/dev/null && n=1 || { mkdir busy.2 && n=2; } && sleep 0.05 && rmdir busy.$n"
    assert cpf.run(foreach("each", [0] * 6, cli("x", command), max_concurrency=2)).code == 0


def test_iterations_run_one_after_the_other_unless_told_otherwise(cpf: Cpf) -> None:
    command = "mkdir busy && sleep 0.05 && rmdir busy"
    assert cpf.run(foreach("each", [1, 2, 3], cli("x", command))).code == 0


def test_a_branch_goes_on_while_another_waits(cpf: Cpf) -> None:
    answer = cpf.run(
        parallel("p", branch("a", ask("q")), branch("b", cli("x", "sleep 0.1"), cli("y", "touch y")))
    )
    assert waiting(answer) == ["p[a]/q"]
    assert (cpf.cwd / "y").exists()


# What they yield


def test_iterations_yield_their_outputs_in_the_order_of_the_items(cpf: Cpf) -> None:
    slow = 'sleep 0.${item.wait}; printf \'{"name": "%s"}\' ${item.name}'
    answer = cpf.run(
        foreach("each", "${inputs.items}", cli("x", slow), max_concurrency=3),
        end("e", result="${steps.each.outputs.iterations}"),
        inputs={"items": [{"wait": 2, "name": "a"}, {"wait": 1, "name": "b"}, {"wait": 0, "name": "c"}]},
    )
    assert answer["result"] == [{"x": {"name": name}} for name in "abc"]


def test_an_end_closes_its_iteration_with_a_result(cpf: Cpf) -> None:
    body = (
        switch("s", ("item > 1", "big"), default="small"),
        end("small"),
        end("big", result={"n": "${item}"}),
    )
    answer = cpf.run(foreach("each", [1, 2], *body), end("e", result="${steps.each.outputs.iterations.1}"))
    assert answer["result"] == {"n": 2}


def test_an_item_that_looks_like_an_expression_stays_text(cpf: Cpf) -> None:
    items = ["${run.id}", "$(touch pwned)", "$${x}", "'; touch pwned; '"]
    answer = cpf.run(
        foreach(
            "each", "inputs.items", cli("x", "printf %s ${item} > ${item_index}"), end("e", result="${item}")
        ),
        end("all", result="${steps.each.outputs.iterations}"),
        inputs={"items": items},
    )
    assert answer["result"] == items
    assert [(cpf.cwd / str(n)).read_text() for n in range(4)] == items
    assert not (cpf.cwd / "pwned").exists()


def test_no_items_no_iterations(cpf: Cpf) -> None:
    answer = cpf.run(foreach("each", [], cli("x", "touch ran")), end("e", result="${steps.each.outputs}"))
    assert (answer["result"], (cpf.cwd / "ran").exists()) == ({"iterations": []}, False)


@pytest.mark.parametrize(
    "items", ["inputs.text", "inputs.number", "inputs.object", "inputs.nothing", "inputs.null"]
)
def test_items_that_are_no_list_fail_the_step(cpf: Cpf, items: str) -> None:
    inputs = {"text": "[1]", "number": 3, "object": {"a": 1}, "null": None}
    answer = cpf.run(foreach("each", items, cli("x", "touch ran")), inputs=inputs)
    assert (answer.code, answer.error_code, answer["error"]["step_id"]) == (30, "ERR_STEP_FAILED", "each")
    assert items in answer["error"]["message"]
    assert not (cpf.cwd / "ran").exists()


def test_a_failed_iteration_ends_the_run_and_names_its_step(cpf: Cpf) -> None:
    answer = cpf.run(foreach("each", [0, 3, 0], cli("x", "echo ${item} >> seen; exit ${item}")))
    assert (answer.code, answer["error"]["step_id"]) == (30, "each[1]/x")
    assert (cpf.cwd / "seen").read_text() == "0\n3\n"


def test_all_branches_are_let_end_and_every_failed_one_is_named(cpf: Cpf) -> None:
    answer = cpf.run(
        parallel(
            "p",
            branch("a", cli("x", "echo no a >&2; exit 1")),
            branch("b", cli("y", "sleep 0.1; touch b")),
            branch("c", cli("z", "echo no c >&2; exit 2")),
        )
    )
    assert answer.code == 30
    assert all(text in answer["error"]["message"] for text in ("p[a]", "no a", "p[c]", "no c"))
    assert {detail["step_id"] for detail in answer["error"]["details"]} == {"p[a]/x", "p[c]/z"}
    assert (cpf.cwd / "b").exists()


def test_branches_of_steps_in_the_list_are_not_run_again_by_the_list(cpf: Cpf) -> None:
    note = "echo ${run.id} >> $CPF_STEP.txt"
    answer = cpf.run(
        parallel("p", {"start_at": "a"}, {"start_at": "b"}),
        cli("a", "echo a >> a.txt", next="a2"),
        cli("a2", "echo a2 >> a2.txt"),
        cli("b", note.replace("$CPF_STEP", "b")),
        cli("after", "cat a.txt a2.txt | tr '\\n' ' '"),
        end("e", result="${steps.after.stdout}"),
    )
    assert answer["result"] == "a a2 "
    assert len((cpf.cwd / "b.txt").read_text().splitlines()) == 1


# Workflows in workflows


def nested(cpf: Cpf) -> str:
    """A workflow that calls another, in a directory of its own, that calls a third in yet another."""
    one = call("one", "sub/one.yaml", inputs={"n": "${inputs.n}"})
    two = call("two", "../../lib/two.yaml", inputs={"m": "${inputs.n}"})
    q = ask("q", prompt="${inputs.m}?")
    return files(
        cpf,
        flows__main=[one, end("e", result="${steps.one.outputs}")],
        flows__sub__one=[two, end("e", result=["${steps.two.outputs}"])],
        lib__two=[q, cli("say", "echo done"), end("e", result="${steps.q.outputs.n}")],
    )


def test_a_run_goes_on_from_its_own_copies_of_all_that_it_calls(cpf: Cpf) -> None:
    answer = cpf("run", "-f", nested(cpf), "--input", '{"n": 1}')
    assert (waiting(answer), answer["wait"]["prompt"]) == (["one/two/q"], "1?")
    for name in ("flows", "lib"):
        shutil.rmtree(cpf.cwd / name)
    assert cpf.resume(answer["run_id"], "q_event", {"n": 5})["result"] == [5]


def test_changing_a_called_workflow_changes_no_run_under_way(cpf: Cpf) -> None:
    answer = cpf("run", "-f", nested(cpf), "--input", '{"n": 1}')
    files(cpf, lib__two=[end("e", result="changed")])
    assert cpf.resume(answer["run_id"], "q_event", {"n": 5})["result"] == [5]


def test_what_is_called_is_relative_to_the_document_and_not_to_the_shell(cpf: Cpf) -> None:
    nested(cpf)
    elsewhere = cpf.cwd / "elsewhere"
    elsewhere.mkdir()
    answer = cpf("run", "-f", "../flows/main.yaml", "--input", '{"n": 1}', cwd=elsewhere)
    assert waiting(answer) == ["one/two/q"]


def test_a_run_directory_is_whole_wherever_it_is_taken(cpf: Cpf) -> None:
    answer = cpf("run", "-f", nested(cpf), "--input", '{"n": 1}')
    away = cpf.cwd / "away"
    shutil.copytree(cpf.directory(answer["run_id"]), away)
    for name in ("flows", "lib"):
        shutil.rmtree(cpf.cwd / name)
    shutil.rmtree(cpf.base)
    given = ("--event", "q_event", "--input", '{"n": 5}')
    assert cpf("resume", "--run-dir", str(away), *given)["result"] == [5]


def told(cpf: Cpf, file: str) -> dict[str, Any]:
    """The one problem that both validate and run tell of *file*."""
    answers = [cpf(command, "-f", file) for command in ("validate", "run")]
    assert [answer.code for answer in answers] == [10, 10]
    assert answers[0]["error"] == answers[1]["error"]
    assert not (cpf.base / "runs").exists()
    (detail,) = answers[0]["error"]["details"]
    return detail | {"code": answers[0].error_code}


def line_of(cpf: Cpf, file: str, text: str) -> int:
    lines = (cpf.cwd / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_a_missing_called_workflow_is_told_where_it_is_called(cpf: Cpf) -> None:
    nested(cpf)
    (cpf.cwd / "lib/two.yaml").unlink()
    found = told(cpf, "flows/main.yaml")
    assert (found["code"], Path(found["file"])) == ("ERR_FILE_NOT_FOUND", Path("flows/sub/one.yaml"))
    assert found["line"] == line_of(cpf, "flows/sub/one.yaml", "workflow_ref")
    assert "lib/two.yaml: there is no such file" in found["message"]


@pytest.mark.parametrize("back", ["../main.yaml", "one.yaml", "../sub/./one.yaml"])
def test_workflows_that_call_each_other_in_a_circle_are_told(cpf: Cpf, back: str) -> None:
    files(cpf, flows__main=[call("one", "sub/one.yaml")], flows__sub__one=[cli("x"), call("two", back)])
    found = told(cpf, "flows/main.yaml")
    assert (found["code"], Path(found["file"])) == ("ERR_VALIDATION_WORKFLOW", Path("flows/sub/one.yaml"))
    assert found["line"] == line_of(cpf, "flows/sub/one.yaml", "workflow_ref")
    assert "circle" in found["message"] and "sub/one.yaml" in found["message"]


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize(("count", "code"), [(199, 0), (200, 10)])
def test_at_most_200_workflows_make_one(cpf: Cpf, count: int, code: int) -> None:
    for n in range(count):
        cpf.flow(end("e"), name=f"c{n}.yaml")
    answer = cpf("validate", "-f", cpf.flow(*(call(f"s{n}", f"c{n}.yaml") for n in range(count))))
    assert answer.code == code
    if code:
        assert "more than 200 workflows are called from one" in answer["error"]["message"]


def test_a_workflow_that_calls_itself_is_told(cpf: Cpf) -> None:
    found = told(cpf, files(cpf, w=[call("a", "w.yaml")]))
    assert "w.yaml -> w.yaml" in found["message"]


def test_a_mistake_in_a_called_workflow_is_told_in_its_file(cpf: Cpf) -> None:
    nested(cpf)
    files(cpf, lib__two=[cli("a"), cli("b", next="nowhere")])
    found = told(cpf, "flows/main.yaml")
    assert (cpf.cwd / found["file"]).resolve() == cpf.cwd / "lib/two.yaml"
    assert found["line"] == line_of(cpf, "lib/two.yaml", "nowhere")
    assert "nowhere" in found["message"]


def test_what_is_called_may_be_no_file_at_all(cpf: Cpf) -> None:
    (cpf.cwd / "place").mkdir()
    found = told(cpf, files(cpf, w=[call("a", "place")]))
    assert (found["code"], found["line"]) == ("ERR_FILE_NOT_FOUND", line_of(cpf, "w.yaml", "workflow_ref"))


def test_one_workflow_may_be_called_twice(cpf: Cpf) -> None:
    file = files(
        cpf,
        w=[
            call("a", "c.yaml", inputs={"n": 1}),
            call("b", "./c.yaml", inputs={"n": "${steps.a.outputs}"}),
            end("e", result="${steps.b.outputs}"),
        ],
        c=[end("e", result="${inputs.n}")],
    )
    assert cpf("run", "-f", file)["result"] == 1


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "unit": {"default": "km"}},
    "required": ["n"],
}


def test_a_called_workflow_has_inputs_and_step_names_of_its_own(cpf: Cpf) -> None:
    cpf.flow(cli("same", "echo 2"), end("e", result="${inputs.n} ${inputs.unit} ${steps.same.stdout}"),
             name="c.yaml", inputs=SCHEMA)  # fmt: skip
    answer = cpf.run(
        cli("same", "echo 1"),
        call("c", "c.yaml", inputs={"n": 3}),
        end("e", result=["${steps.same.stdout}", "${steps.c.outputs}"]),
    )
    assert answer["result"] == ["1", "3 km 2"]


def test_inputs_that_do_not_fit_the_called_workflow_fail_its_step(cpf: Cpf) -> None:
    cpf.flow(cli("x", "touch ran"), name="c.yaml", inputs=SCHEMA)
    answer = cpf.run(call("c", "c.yaml", inputs={"n": "${inputs.n}"}), inputs={"n": "three"})
    assert (answer.code, answer.error_code) == (30, "ERR_VALIDATION_INPUT")
    assert answer["error"]["step_id"] == "c"
    assert not (cpf.cwd / "ran").exists()


def test_the_mapped_outputs_of_a_called_workflow_are_its_result(cpf: Cpf) -> None:
    mapped = {"type": "object", "properties": {"n": {"from": "steps.x.outputs.n", "type": "integer"}}}
    cpf.flow(cli("x", 'echo \'{"n": 4, "m": 5}\''), name="c.yaml", outputs=mapped)
    answer = cpf.run(call("c", "c.yaml"), end("e", result="${steps.c.outputs}"))
    assert answer["result"] == {"n": 4}


def test_a_workflow_may_be_called_for_each_item(cpf: Cpf) -> None:
    cpf.flow(
        ask("q", prompt="${inputs.n}?"), end("e", result="${steps.q.outputs.a}"), name="c.yaml", inputs=SCHEMA
    )
    each = foreach("each", [1, 2], workflow_ref="c.yaml", inputs={"n": "${item}"}, max_concurrency=2)
    answer = cpf.run(each, end("e", result="${steps.each.outputs.iterations}"))
    assert [(w["step"], w["prompt"]) for w in answer["waits"]] == [("each[0]/q", "1?"), ("each[1]/q", "2?")]
    cpf.resume(answer["run_id"], "q_event", {"a": "y"}, "--step", "each[1]/q")
    assert cpf.resume(answer["run_id"], "q_event", {"a": "x"})["result"] == ["x", "y"]


def test_a_value_chooses_among_the_workflows_of_a_list_all_kept_with_the_run(cpf: Cpf) -> None:
    cpf.flow(end("e", result="A"), name="a.yaml")
    cpf.flow(ask("q"), end("e", result="B"), name="b.yaml")
    step = call("c", "${inputs.flow}.yaml", one_of=["a.yaml", "b.yaml"])
    file = cpf.flow(step, end("e", result="${steps.c.outputs}"))
    assert cpf("run", file, "--input", '{"flow": "a"}')["result"] == "A"
    answer = cpf("run", file, "--input", '{"flow": "b"}')
    assert waiting(answer) == ["c/q"]
    for name in ("a.yaml", "b.yaml"):
        (cpf.cwd / name).write_text("changed")
    assert cpf.resume(answer["run_id"], "q_event", {})["result"] == "B"
    assert cpf("verify", answer["run_id"]).code == 0


def test_a_workflow_of_the_list_that_is_not_there_or_wrong_is_told_where_it_stands(cpf: Cpf) -> None:
    cpf.flow(end("e", next="e"), name="b.yaml")
    file = cpf.flow(call("c", "${inputs.flow}", one_of=["a.yaml", "b.yaml"]))
    details = cpf("validate", file)["error"]["details"]
    assert {detail["file"].rpartition("/")[2] for detail in details} == {"w.yaml", "b.yaml"}
    assert "workflow.steps[0].one_of[0]" in [detail["path"] for detail in details]


def test_a_workflow_that_is_not_in_the_list_is_not_run(cpf: Cpf) -> None:
    cpf.flow(end("e", result="A"), name="a.yaml")
    cpf.flow(end("e", result="secret"), name="other.yaml")
    answer = cpf(
        "run", cpf.flow(call("c", "${inputs.flow}", one_of=["a.yaml"])), "--input", '{"flow": "other.yaml"}'
    )
    assert (answer.code, answer.error_code) == (30, "ERR_STEP_FAILED")
    assert "workflow_ref: expected a.yaml, and the value here is none of them" in answer["error"]["message"]


# Calls


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers with what it was asked; /missing is not there."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            heard = {"path": self.path, "x": self.headers["X-Header"], "body": body and json.loads(body)}
            self.send_response(404 if self.path == "/missing" else 201)
            self.end_headers()
            self.wfile.write(json.dumps(heard).encode())

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def api(id: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "api", "url": url, **more}


def test_a_call_sends_values_with_their_types_and_yields_the_answer(cpf: Cpf, url: str) -> None:
    step = api("a", url + "/x/${inputs.n}", method="POST", headers={"X-Header": "n=${inputs.n}"},
               body={"n": "${inputs.n}", "all": "${inputs}", "text": "n: ${inputs.n}"})  # fmt: skip
    answer = cpf.run(step, end("e", result=["${steps.a.outputs}", "${steps.a.status_code}"]), inputs={"n": 3})
    body = {"n": 3, "all": {"n": 3}, "text": "n: 3"}
    assert answer["result"] == [{"path": "/x/3", "x": "n=3", "body": body}, 201]


def test_the_answer_is_in_the_logs(cpf: Cpf, url: str) -> None:
    run_id = cpf.run(api("a", url + "/x"))["run_id"]
    (log,) = cpf("logs", "--run-id", run_id, "--stream", "stdout")["logs"]
    assert (log["step"], json.loads(log["text"])["path"]) == ("a", "/x")


def test_a_status_that_is_no_success_fails_the_step_and_can_be_decided_on(cpf: Cpf, url: str) -> None:
    answer = cpf.run(api("a", url + "/missing"))
    assert (answer.code, answer.error_code) == (30, "ERR_STEP_FAILED")
    assert "404" in answer["error"]["message"]
    step = api("a", url + "/missing", on_error="continue")
    assert cpf.run(step, end("e", result="${steps.a.error.status_code}"))["result"] == 404


def test_a_call_that_lasts_too_long_is_a_time_out(cpf: Cpf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        answer = cpf.run(api("a", url, timeout_seconds=0.2))
    assert (answer.code, answer.error_code) == (30, "ERR_TIMEOUT")


def test_calls_are_made_at_once(cpf: Cpf, url: str) -> None:
    each = foreach("each", list(range(20)), api("a", url + "/${item}"), max_concurrency=10)
    answer = cpf.run(each, end("e", result="${steps.each.outputs.iterations}"))
    assert [i["a"]["path"] for i in answer["result"]] == [f"/{n}" for n in range(20)]


def test_a_command_ends_with_its_first_line_that_fails_in_whatever_it_stands(cpf: Cpf) -> None:
    """But where `defaults` of its own document, or the step, say that it goes on."""
    lines, on = "false\necho $CPF_STEP >> went-on", {"on_error": "continue"}

    def pair(n: int) -> list[dict[str, Any]]:
        return [cli(f"strict{n}", lines, **on), cli(f"lax{n}", lines, fail_fast=False, **on)]

    cpf.flow(*pair(1), name="plain.yaml")
    loose = [cli("lax5", lines), cli("strict5", lines, fail_fast=True, **on)]
    cpf.flow(*loose, name="loose.yaml", defaults={"fail_fast": False})
    called = [call("c", "plain.yaml"), call("d", "loose.yaml")]
    blocks = parallel("p", branch("x", *pair(3)), branch("y", *called)), foreach("f", [1], *pair(4))
    answer = cpf.run(*pair(2), *blocks)
    assert answer.code == 0, answer.text
    went_on = (cpf.cwd / "went-on").read_text().split()
    assert sorted(went_on) == ["f[0]/lax4", "lax2", "p[x]/lax3", "p[y]/c/lax1", "p[y]/d/lax5"]


# Keys, and failures that are put up with


ORDERS = {"orders": [{"id": "o.17", "n": 1}, {"id": 4, "n": 2}, {"id": "b", "n": 3}]}


def test_an_item_is_found_by_its_key(cpf: Cpf) -> None:
    """A wait, logs, a retry and a copy of the run, each by a path that the key is part of."""
    work = cli("work", 'echo "at $CPF_STEP"; test -f good || test ${item_index} -ne 1')
    each = foreach("each", "inputs.orders", ask("q"), work, key="${item.id}", max_concurrency=3)
    cpf.flow(each, end("e", result="${steps.each.outputs.iterations}"), inputs={"type": "object"})
    at = cpf("run", "-f", "w.yaml", "--input", json.dumps(ORDERS))
    assert waiting(at) == ["each[o.17]/q", "each[4]/q", "each[b]/q"]
    for step in ("each[4]/q", "each[o.17]/q", "each[b]/q"):
        at = cpf("resume", at["run_id"], "--step", step, "--input", json.dumps({"at": step}))
    assert (at.code, at["error"]["step_id"]) == (30, "each[4]/work")
    shown = cpf("logs", at["run_id"], "--step", "each[o.17]/work")
    assert "at each[o.17]/work" in shown.text
    assert cpf("verify", at["run_id"]).code == 0
    cpf("export", at["run_id"], "-o", "run.tar.gz")
    copy = cpf("import", "run.tar.gz", "--as-new")["run_id"]
    (cpf.cwd / "good").touch()
    for run_id in (at["run_id"], copy):
        answer = cpf("retry", run_id, "--step-id", "each[4]/work", "--trust")
        assert [it["q"]["at"] for it in answer["result"]] == ["each[o.17]/q", "each[4]/q", "each[b]/q"]
        assert cpf("verify", run_id).code == 0


def test_a_key_that_would_lead_elsewhere_fails_the_step_and_writes_nothing(cpf: Cpf) -> None:
    each = foreach("each", ["a", "../../../../up"], cli("work", "touch ran"), key="${item}")
    answer = cpf.run(each)
    assert (answer.code, answer["error"]["step_id"]) == (30, "each")
    assert "the key of item 1 holds '/'" in answer["error"]["message"]
    assert not (cpf.cwd / "ran").exists()


def test_items_that_fail_are_told_beside_those_that_did_not(cpf: Cpf) -> None:
    each = foreach(
        "each", {"from": 1, "to": 4}, cli("work", 'test "$((${item} % 2))" -eq 0 && echo \'{"ok": true}\''),
        on_item_error="continue", max_failures=2, max_concurrency=2,
    )  # fmt: skip
    answer = cpf.run(each, end("e", result="${steps.each.outputs}"))
    assert answer["result"]["iterations"] == [None, {"work": {"ok": True}}, None, {"work": {"ok": True}}]
    assert [(f["index"], f["item"], f["error"]["step_id"]) for f in answer["result"]["failures"]] == [
        (0, 1, "each[0]/work"), (2, 3, "each[2]/work"),
    ]  # fmt: skip
    each["max_failures"] = 1
    answer = cpf.run(each)
    assert (answer.code, answer["error"]["step_id"]) == (30, "each[2]/work")
    assert answer["error"]["message"].startswith("more than 1 items failed; ")
