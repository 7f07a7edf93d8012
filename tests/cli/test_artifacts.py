"""What steps leave behind: sets of files, and `cpf artifacts`, which lists them and copies them out."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, Cpf, on_a_terminal, until
from tests.helpers import cli, end

MAKE = """mkdir -p r/css r/.git; echo a > r/a.html; echo b > r/css/b.css; echo h > r/.hid; echo g > r/.git/x
ln -s /etc/passwd r/link; ln -s /etc r/etc; mkfifo r/pipe; echo app > app"""


def step(*artifacts: dict[str, Any], command: str = MAKE, **more: Any) -> dict[str, Any]:
    return cli("a", command, artifacts=list(artifacts), **more)


def kept(cpf: Cpf, answer: Answer) -> list[str]:
    place = cpf.directory(answer["run_id"]) / "artifacts"
    return sorted(str(file.relative_to(place)) for file in place.rglob("*") if not file.is_dir())


def test_a_directory_and_a_pattern_are_sets_of_files_without_links_and_hidden_ones(cpf: Cpf) -> None:
    artifacts = ({"name": "all", "path": "r/"}, {"name": "css", "path": "**/*.css", "media_type": "text/css"})
    answer = cpf.run(step(*artifacts), end("z", result="${steps.a.artifacts.css.files.0}"))
    assert answer.code == 0, answer.text
    assert kept(cpf, answer) == ["a/all/a.html", "a/all/css/b.css", "a/css/r/css/b.css"]
    file = answer["result"]
    assert (file["name"], file["size"], file["media_type"]) == ("r/css/b.css", 2, "text/css")
    assert cpf("verify", answer["run_id"])["result"]["files_unchecked"] == []
    (cpf.directory(answer["run_id"]) / "artifacts/a/all/a.html").write_text("x")
    assert cpf("verify", answer["run_id"]).error_code == "ERR_STATE_CORRUPT"


def test_later_steps_find_the_set_in_its_directory(cpf: Cpf) -> None:
    show = cli("b", 'cat "$CPF_RUN_DIR"/${steps.a.artifacts.all.path}/css/b.css')
    answer = cpf.run(step({"name": "all", "path": "r/"}), show, end("z", result="${steps.b.stdout}"))
    assert answer["result"] == "b"


@pytest.mark.parametrize("path", ["gone", "gone/", "r/*.nothing", "gone/**/x", "app/"])
def test_where_there_is_none_the_step_has_failed_or_goes_on_without(cpf: Cpf, path: str) -> None:
    answer = cpf.run(step({"name": "n", "path": path}))
    assert (answer.code, answer["error"]["step_id"]) == (30, "a")
    (cpf.cwd / "r").rename(cpf.cwd / "before")
    answer = cpf.run(step({"name": "n", "path": path, "if_missing": "skip"}), end("z", result="went on"))
    assert (answer.code, answer.json.get("result")) == (0, "went on"), answer.text
    assert kept(cpf, answer) == []


@pytest.mark.parametrize(
    ("command", "path", "problem"),
    [
        ("mkdir d", "d", "d/ would be all in it"), ("ln -s /etc e", "e/", "a symbolic link is on the way"),
        ("mkdir d; touch d/$(printf 'a\\377')", "d/", "is not UTF-8"),
        ("touch a b c", "?", "more than 2 files"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_told(
    cpf: Cpf, command: str, path: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpointflow.drivers.command.MAX_SET_FILES", 2)
    answer = cpf.run(step({"name": "n", "path": path, "if_missing": "skip"}, command=command))
    assert (answer.code, problem in answer["error"]["message"]) == (30, True), answer.text


def test_the_store_itself_is_no_part_of_a_set(cpf: Cpf) -> None:
    inside = Cpf(cpf.cwd, cpf.cwd / "store")
    answer = inside.run(step({"name": "all", "path": "**"}, command="echo x > x"))
    assert (answer.code, kept(inside, answer)) == (0, ["a/all/w.yaml", "a/all/x"])


def test_a_set_has_nothing_of_an_attempt_that_failed(cpf: Cpf) -> None:
    command = "mkdir -p d; rm -f d/*; echo x > d/$CPF_ATTEMPT; [ $CPF_ATTEMPT = 1 ] || touch late"
    artifacts = ({"name": "set", "path": "d/"}, {"name": "late", "path": "late"})
    more = {"retry": {"max_attempts": 2, "backoff_seconds": 0}, "idempotent": True}
    answer = cpf.run(step(*artifacts, command=command, **more))
    assert (answer.code, kept(cpf, answer)) == (0, ["a/late", "a/set/2"]), answer.text
    assert cpf("verify", answer["run_id"]).code == 0


def test_a_set_goes_with_the_run_and_is_gone_with_it(cpf: Cpf) -> None:
    run_id = cpf.run(step({"name": "all", "path": "r/"}))["run_id"]
    assert cpf("export", run_id, "-o", "a.tgz").code == 0
    other = Cpf(cpf.cwd, cpf.base / "other")
    assert other("import", "a.tgz").code == 0
    assert other("artifacts", run_id, "all", "-o", "out").code == 0
    assert (cpf.cwd / "out/all/css/b.css").read_text() == "b\n"
    assert other("delete", run_id).code == 0
    assert other("artifacts", run_id).error_code == "ERR_RUN_NOT_FOUND"


def test_a_kill_while_a_set_is_kept_loses_nothing_of_it(cpf: Cpf) -> None:
    command = "mkdir -p many; i=0; while [ $i -lt 800 ]; do echo $i > many/$i; i=$((i+1)); done"
    file = cpf.flow(step({"name": "all", "path": "many/"}, command=command, idempotent=True))
    process = cpf.start("run", "-f", file)
    until(lambda: list((cpf.base / "runs").glob("*/artifacts/a/all/*")))
    process.kill()
    process.communicate()
    (run_id,) = [place.name for place in (cpf.base / "runs").iterdir()]
    assert cpf("resume", run_id, "--lock-timeout", "5").code == 0
    (all_of_it,) = cpf("artifacts", run_id)["result"]["artifacts"]
    assert all_of_it["files"] == 800
    assert cpf("verify", run_id).code == 0


# cpf artifacts

TWO = ({"name": "app", "path": "app", "media_type": "text/plain"}, {"name": "all", "path": "r/"})


def test_it_lists_them_with_the_line_that_copies_one(cpf: Cpf) -> None:
    run_id = cpf.run(step(*TWO))["run_id"]
    answer = cpf("artifacts", run_id)
    app, whole = answer["result"]["artifacts"]
    place = cpf.directory(run_id) / "artifacts/a"
    assert (app["step"], app["name"], app["size"], app["media_type"]) == ("a", "app", 4, "text/plain")
    assert app["file"] == str(place / "app")
    assert whole == {"step": "a", "name": "all", "files": 2, "size": 4, "file": str(place / "all")}
    (cpf.cwd / "app").unlink()
    assert cpf(*answer["next"][0]["argv"][1:]).code == 0
    assert (cpf.cwd / "app").read_text() == "app\n"
    names = [one["name"] for one in cpf("artifacts", run_id, "all")["result"]["artifacts"]]
    assert names == ["all/a.html", "all/css/b.css"]
    out, _ = on_a_terminal(cpf, "artifacts", run_id)
    assert "all" in out and str(place / "all")[-20:] in out
    none = cpf.run(cli("b"))["run_id"]
    assert cpf("artifacts", none)["result"] == {"artifacts": []}
    assert cpf("artifacts", none, "--text").text == "Its steps left nothing behind.\n"


def test_copies_are_private_and_overwrite_only_by_force(cpf: Cpf) -> None:
    run_id = cpf.run(step(*TWO))["run_id"]
    answer = cpf("artifacts", run_id, "-o", "out/deep")
    copies = [Path(one["file"]) for one in answer["result"]["artifacts"]]
    assert [str(copy) for copy in copies] == [
        f"out/deep/a/{name}" for name in ("app", "all/a.html", "all/css/b.css")
    ]
    assert [(cpf.cwd / copy).read_text() for copy in copies] == ["app\n", "a\n", "b\n"]
    modes = {stat.S_IMODE(os.stat(file).st_mode) for file in (cpf.cwd / "out").rglob("*")}
    assert modes == {0o600, 0o700}
    (cpf.cwd / "out/deep/a/all/css/b.css").write_text("mine")
    (cpf.cwd / "out/deep/a/app").unlink()
    assert cpf("artifacts", run_id, "-o", "out/deep").error_code == "ERR_FILE_EXISTS"
    assert not (cpf.cwd / "out/deep/a/app").exists()
    assert (cpf.cwd / "out/deep/a/all/css/b.css").read_text() == "mine"
    assert cpf("artifacts", run_id, "-o", "out/deep", "--force").code == 0
    assert (cpf.cwd / "out/deep/a/all/css/b.css").read_text() == "b\n"
    assert not list((cpf.cwd / "out").rglob("*.tmp"))


def test_one_that_was_changed_is_not_copied(cpf: Cpf) -> None:
    run_id = cpf.run(step(*TWO))["run_id"]
    file = cpf.directory(run_id) / "artifacts/a/app"
    file.write_text("new\n")
    answer = cpf("artifacts", run_id, "app", "-o", "out")
    assert answer.error_code == "ERR_STATE_CORRUPT"
    assert list((cpf.cwd / "out").iterdir()) == []
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert cpf("artifacts", run_id, "app", "-o", "out").error_code == "ERR_STATE_CORRUPT"


def test_of_several_steps_one_is_named(cpf: Cpf) -> None:
    inner = cli("a", "echo ${item} > f", artifacts=[{"name": "f", "path": "f"}])
    run_id = cpf.run({"id": "each", "kind": "foreach", "items": ["x", "y"], "body": [inner]})["run_id"]
    refused = cpf("artifacts", run_id, "f", "-o", "out")
    assert (refused.code, "each[0]/a, each[1]/a" in refused["error"]["message"]) == (2, True)
    assert cpf("artifacts", run_id, "f", "--step", "each[1]/a", "-o", "out").code == 0
    assert (cpf.cwd / "out/f").read_text() == "y\n"
    assert cpf("artifacts", run_id, "-o", "all").code == 0
    assert (cpf.cwd / "all/each[0]/a/f").read_text() == "x\n"
    for words in (("g",), ("--step", "b"), ("f", "--step", "b")):
        answer = cpf("artifacts", run_id, *words)
        assert (answer.code, "there are: f" in answer["error"]["message"]) == (2, True)


@pytest.mark.parametrize(
    ("name", "file"),
    [("../x", "artifacts/a/app"), ("x", "artifacts/../../x"), ("x", "state.json"),
     ("x/../..", "artifacts/a/app"), ("/x", "artifacts/a/app"), ("x", "artifacts/a/./app")],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_never_paths(cpf: Cpf, name: str, file: str) -> None:
    run_id = cpf.run(step(TWO[0]))["run_id"]
    history = cpf.directory(run_id) / "history.jsonl"
    text = history.read_text()
    history.write_text(
        text.replace('"app":{"path":"artifacts/a/app"', f'{json.dumps(name)}:{{"path":"{file}"')
    )
    assert history.read_text() != text
    answer = cpf("artifacts", run_id, "-o", "out")
    assert (answer.error_code, (cpf.cwd / "x").exists()) == ("ERR_STATE_CORRUPT", False), answer.text
    assert not (cpf.cwd / "out").exists()


def test_a_link_below_the_directory_is_not_followed(cpf: Cpf) -> None:
    run_id = cpf.run(step(*TWO))["run_id"]
    (cpf.cwd / "elsewhere").mkdir()
    (cpf.cwd / "out").mkdir()
    (cpf.cwd / "out/all").symlink_to(cpf.cwd / "elsewhere")
    assert cpf("artifacts", run_id, "all", "-o", "out").code == 60
    assert list((cpf.cwd / "elsewhere").iterdir()) == []
