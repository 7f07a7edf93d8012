"""`cpf graph` and `cpf report`: a workflow and a run as pictures, in which data is only ever text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli, end, foreach, parallel, switch

EVIL = '"]; click n0_0 href "javascript:x" <script>alert(1)</script>\\" %% <img src=http://x/y onerror=x>'


def branch(id: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "steps": list(steps)}


def house(cpf: Cpf) -> str:
    """A workflow with all kinds of lists."""
    return cpf.flow(
        cli("build", on_error={"next": "fix"}),
        foreach("each", "${inputs.l}", cli("item")),
        parallel("both", branch("left", cli("l")), branch("right", ask("r"))),
        switch("choose", ("inputs.big", "big"), (True, "fix")),
        end("big"),
        ask(
            "fix", timeout_seconds=9, on_timeout={"next": "big"}, transitions=[{"when": True, "next": "big"}]
        ),
    )


def report(cpf: Cpf, run_id: str, *more: str) -> str:
    assert cpf("report", run_id, "-o", "r.html", "--force", *more).code == 0
    return (cpf.cwd / "r.html").read_text()


# Graph


def test_a_workflow_is_drawn_with_bodies_as_subgraphs(cpf: Cpf) -> None:
    text = cpf("graph", "-f", house(cpf)).text
    assert text.startswith("flowchart TD\n")
    for part in (
        'subgraph g1["each: each item"]', 'subgraph g2["both: left"]', 'n0_3{"choose"}', 'n0_5{{"fix"}}',
        'n0_4(["big"])', 'n0_3 -->|"inputs.big"| n0_4', "n0_0 -.->", "n0_1 --- g1",
    ):  # fmt: skip
        assert part in text
    assert text.count("subgraph") == text.count("\n  end\n")
    assert "classDef" not in text


def test_of_a_run_each_step_has_its_state(cpf: Cpf) -> None:
    run = cpf("run", house(cpf), "--input", '{"l": [1], "big": true}')
    assert run.code == 40, run.text
    text = cpf("graph", run["run_id"]).text
    assert 'n0_0["build"]:::done' in text
    assert 'n0_4(["big"]):::ahead' in text
    assert '"r"}}:::waiting' in text
    assert "classDef waiting fill:" in text
    listed = cpf("graph", run["run_id"], "--format", "text").text
    assert "build (cli) [done]" in listed and "r (await_event) [waiting]" in listed


@pytest.mark.parametrize("form", ["mermaid", "dot", "text"])
def test_a_condition_is_only_a_label(cpf: Cpf, form: str) -> None:
    condition = f"inputs.x == {json.dumps(EVIL[:50])}"
    file = cpf.flow(switch("s", (condition, "e"), (True, "e")), end("e"))
    text = cpf("graph", "-f", file, "--format", form).text
    assert text != ""
    for line in text.splitlines():
        if form == "mermaid":
            assert re.fullmatch(r'[^"]*("[^"]*"[^"]*)*', line)
            assert not re.search(r"[<>`\\]", line.replace("-->", "").replace("-.->", ""))
            assert "click n0_0 href" not in line or "#34;" in line
        elif form == "dot":
            quoted = re.sub(r'"(\\.|[^"\\])*"', "", line)
            assert '"' not in quoted and "script" not in quoted


@pytest.mark.parametrize("words", [(), ("X", "-f", "w.yaml")])
def test_one_thing_is_drawn(cpf: Cpf, words: tuple[str, ...]) -> None:
    cpf.flow(end("e"))
    cpf.run(end("e"))
    answer = cpf("graph", *(word.replace("X", "@latest") for word in words))
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")


def test_a_document_may_be_named_as_a_word(cpf: Cpf) -> None:
    file = cpf.flow(end("e"))
    assert cpf("graph", file, "--format", "text").text == cpf("graph", "-f", file, "--format", "text").text
    assert cpf("graph", file, "-f", file).code != 0


def test_what_cannot_be_drawn_is_an_envelope(cpf: Cpf) -> None:
    cpf.write("bad.yaml", "workflow: 3")
    assert cpf("graph", "-f", "bad.yaml").code == 10
    assert cpf("graph", "-f", "none.yaml").error_code == "ERR_FILE_NOT_FOUND"
    assert cpf("graph", "ZZZZ").error_code == "ERR_RUN_NOT_FOUND"


# Report


WIDTHS = (400, 1400)


class Page(HTMLParser):
    """tags: all there are; text: what is shown; names: of attributes; balanced: each tag has its end."""

    VOID = ("meta", "path", "rect", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.is_balanced = True
        self.feed(text)
        self.is_balanced = self.is_balanced and not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            self.is_balanced = self.is_balanced and self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(cpf: Cpf) -> list[str]:
    schema = {"properties": {EVIL: {"enum": [EVIL, 1]}}}
    document = json.loads((cpf.cwd / cpf.flow(ask("q", prompt=EVIL, input_schema=schema))).read_text())
    document["workflow"] |= {"name": EVIL, "version": EVIL, "description": EVIL}
    asked = cpf("run", cpf.write("evil.yaml", json.dumps(document)))["run_id"]
    cpf.resume(asked, "q_event", {EVIL: EVIL})
    printed = 'printf "%s\\n" ${inputs.x} >&2; exit 1'
    choice = switch("s", (f"inputs.x == {json.dumps(EVIL[:50])}", "e"), (True, "a"))
    failed = cpf.run(choice, cli("a", printed), end("e"), inputs={"x": EVIL, EVIL: EVIL})["run_id"]
    cancelled = cpf.run(ask("q"))["run_id"]
    cpf("cancel", cancelled, "--reason", EVIL)
    return [asked, failed, cancelled, cpf.run(end("e", result={EVIL: EVIL}))["run_id"]]


def test_a_report_shows_data_as_text_and_fetches_and_runs_nothing(cpf: Cpf) -> None:
    for run_id in hostile(cpf):
        text = report(cpf, run_id)
        page = Page(text)
        assert page.is_balanced
        assert (
            page.tags & {"script", "img", "a", "link", "iframe", "object", "base", "form", "input"} == set()
        )
        assert not [name for name in page.names if name.startswith("on") or name in ("href", "src")]
        assert "<script>alert(1)</script>" in page.text
        assert "default-src 'none'" in text
        assert not re.search(r"url\((?!#)|@import", text)


def test_a_report_tells_what_who_when_and_how_long(cpf: Cpf) -> None:
    run = cpf("run", house(cpf), "--input", '{"l": [1, 2], "big": true}')
    run_id = run["run_id"]
    cpf.resume(run_id, "r_event", {"yes": "of course"})
    text = Page(report(cpf, run_id)).text
    for part in (
        run_id, "completed", "build", "each: each item", "both: right", "of course", "started by",
        "answered by", "each[1]/item", str(cpf.cwd),
    ):  # fmt: skip
        assert part in text
    assert re.search(r"took[0-9.]+s", text)


BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--enable-logging=stderr"]
needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no browser here")


def browse(cpf: Cpf, name: str) -> tuple[Page, str]:
    """The page as a browser has it in the end, and what that says of it."""
    done = subprocess.run(
        [*BROWSER, f"file://{cpf.cwd}/{name}"],
        capture_output=True, text=True, check=True, timeout=60, env=cpf.env,
    )  # fmt: skip
    return Page(done.stdout), done.stderr


@pytest.mark.long
@needs_browser
def test_a_browser_shows_it_and_runs_nothing(cpf: Cpf) -> None:
    report(cpf, hostile(cpf)[1])
    page, said = browse(cpf, "r.html")
    assert "script" not in page.tags and "img" not in page.tags
    assert all(part in page.text for part in ("failed", "Error", "Time", "<script>alert(1)</script>"))
    assert "Refused to" not in said  # nothing was even tried


@pytest.mark.long
@needs_browser
def test_a_page_fits_a_narrow_window_and_a_wide_one(cpf: Cpf) -> None:
    """Of a run that has ended, one that waits and one that failed; each in a frame, which is measured."""
    completed = cpf.run(cli("a", "echo '{\"n\": 1}'", name="word " * 30), end("e"))["run_id"]
    waiting = cpf.run(ask("q", prompt="x" * 300))["run_id"]
    failed = cpf.run(cli("a", f"echo {'y' * 300} >&2; exit 1"))["run_id"]
    pages = [escape(report(cpf, run_id)) for run_id in (completed, waiting, failed)]
    framed = '<iframe srcdoc="{}" style="width: {}px; border: 0"></iframe>'
    frames = "".join(framed.format(page, width) for page in pages for width in WIDTHS)
    inner = "[...document.querySelectorAll('iframe')].map(frame => frame.contentDocument.documentElement)"
    measure = f"{inner}.map(page => page.scrollWidth)"
    script = f"<script>onload = () => document.body.append('widths: ' + {measure})</script>"
    cpf.write("frames.html", f"<!doctype html><body>{frames}{script}")
    page, _ = browse(cpf, "frames.html")
    found = [int(width) for width in re.findall(r"\d+", page.text.rpartition("widths: ")[2])]
    assert all(width <= most for width, most in zip(found, WIDTHS * 3, strict=True)), found


def test_a_failure_is_shown_with_the_end_of_what_was_printed(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", "echo first; echo why >&2; exit 7"))["run_id"]
    text = Page(report(cpf, run_id)).text
    assert "Error" in text and "exit code 7" in text and "why" in text


def test_a_run_under_way_and_one_that_waits_are_shown(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q", prompt="Go on?"), end("e"))["run_id"]
    page = Page(report(cpf, run_id))
    assert page.is_balanced and "waiting" in page.text
    assert all(part in page.text for part in ("Waits for", "Go on?", "since"))


def test_no_secret_is_in_a_report(cpf: Cpf) -> None:
    cpf.env |= {"TOKEN": "hunter2-hunter2"}
    answer = cpf.run(cli("a", "echo bad ${secrets.TOKEN} >&2; exit 1"))
    text = report(cpf, answer["run_id"])
    assert ("hunter2" in text, "bad ***" in text) == (False, True)
    assert answer["error"]["tail"] == ["bad ***"]


def test_a_report_overwrites_nothing_unasked(cpf: Cpf) -> None:
    run_id = cpf.run(end("e"))["run_id"]
    cpf.write("r.html", "mine")
    answer = cpf("report", run_id, "-o", "r.html")
    assert (answer.code, answer.error_code) == (10, "ERR_FILE_EXISTS")
    assert (cpf.cwd / "r.html").read_text() == "mine"
    assert cpf("report", run_id, "-o", "nowhere/r.html").error_code == "ERR_PERSISTENCE"
    answer = cpf("report", run_id)
    assert answer["result"]["file"] == f"{run_id}.html"
    assert os.stat(cpf.cwd / f"{run_id}.html").st_mode & 0o077 == 0
    assert (cpf.cwd / f"{run_id}.html").stat().st_size == answer["result"]["bytes"]


def test_a_link_in_place_of_a_report_is_not_followed(cpf: Cpf) -> None:
    run_id = cpf.run(end("e"))["run_id"]
    kept = Path(cpf.write("kept", "mine"))
    (cpf.cwd / "r.html").symlink_to(kept)
    assert cpf("report", run_id, "-o", "r.html").error_code == "ERR_FILE_EXISTS"
    assert cpf("report", run_id, "-o", "r.html", "--force").code == 0
    assert (cpf.cwd / "kept").read_text() == "mine"


def test_nothing_in_a_report_turns_round_what_is_read_or_speaks_to_a_terminal(cpf: Cpf) -> None:
    """Failed with: the characters themselves, also where somebody looks into the file with `cat`."""
    odd = "a\x9b31m\x7f\u202eb\u2066\u2028"
    run_id = cpf.run(end("e", result=odd), name="w.yaml", description=odd)["run_id"]
    text = report(cpf, run_id)
    assert (set(odd) - {"a", "b", "3", "1", "m"}) & set(text) == set()
    assert "a\\x9b31m\\x7f\\u202eb" in text


def test_a_word_that_can_be_no_run_is_a_file_also_where_there_is_none(cpf: Cpf) -> None:
    """Failed with: that missing.yaml is no run id."""
    answer = cpf("graph", "missing.yaml")
    assert (answer.code, answer.json["error"]["message"]) == (10, "missing.yaml: there is no such file")
    assert "is no run id" in cpf("graph", "@latst").json["error"]["message"]
