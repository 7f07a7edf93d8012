"""The names in a store: what each of them says that it is."""

from __future__ import annotations

import pytest

from checkpointflow.store.layout import (
    digest_in,
    document_name,
    is_artifact,
    is_aside,
    is_digest,
    is_id_part,
    is_local,
    is_log,
    is_member,
    is_run_id,
    log_name,
    log_names,
    output_name,
    question_name,
)

RUN_ID = "01JQ0000000000000000000000"
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "odd", ["", RUN_ID[:-1], RUN_ID + "0", RUN_ID.lower(), "8" + RUN_ID[1:], f"{RUN_ID}\n"]
)
def test_a_run_id_is_26_letters_and_digits(odd: str) -> None:
    assert is_run_id(RUN_ID)
    assert not is_run_id(odd)


def test_a_part_of_an_id_is_enough_to_look_for() -> None:
    assert is_id_part(RUN_ID[:4]) and is_id_part(RUN_ID)
    assert not any(map(is_id_part, ("", "IIII", "../x", RUN_ID + "0")))


def test_what_is_put_aside_is_known_by_its_name() -> None:
    assert is_aside(f".deleting-{RUN_ID}") and is_aside(f".importing-{RUN_ID}")
    assert not any(map(is_aside, (RUN_ID, f".other-{RUN_ID}", ".deleting-x", f".deleting-{RUN_ID}x")))


def test_a_file_named_by_its_digest_says_so() -> None:
    assert is_digest(DIGEST) and not is_digest("../" + DIGEST[3:])
    assert digest_in(output_name(DIGEST)) == digest_in(document_name(DIGEST)) == DIGEST
    odd = (
        f"outputs/{DIGEST}.yaml",
        f"outputs/x/{DIGEST}.json",
        f"{DIGEST}.json",
        f"outputs/{DIGEST}.json.tmp",
    )
    assert not any(map(digest_in, odd))


def test_the_lock_of_a_question_is_one_file_whatever_its_path() -> None:
    assert is_local(question_name("each[1]/q@2")) and not is_member(question_name("q"))
    assert question_name("a/b").count("/") == 1 and question_name("q") != question_name("q@2")


def test_the_first_attempt_has_no_number() -> None:
    assert log_name("stdout", "each[1]/a", 1) == "stdout/each[1]/a.txt"
    assert log_names("a", 2) == ("stdout/a.2.txt", "stderr/a.2.txt", "stdout/a.2.json")


def test_a_log_is_known_by_its_name() -> None:
    assert all(
        map(is_log, [*log_names("each[1]/a@2", 1), *log_names("a", 12), *log_names("each[v1.2.txt]/a", 3)])
    )
    odd = (
        "stdout/../a.txt",
        "stdout/a.0.txt",
        "stdout/a.md",
        "artifacts/a.txt",
        "stdin/a.txt",
        "stdout/.txt",
    )
    assert not any(map(is_log, odd))


def test_an_archive_holds_records_logs_and_artifacts() -> None:
    members = (
        "state.json",
        "history.jsonl",
        "workflow.yaml",
        "note.json",
        output_name(DIGEST),
        "stderr/a.txt",
        "artifacts/x",
    )
    assert all(map(is_member, members))
    assert is_artifact("artifacts/x") and not is_artifact("artifacts")
    assert not any(
        map(is_member, ("run.lock", "step.lock", "cancel.json", "stdout/a.jsonl", "x", "state.json.tmp"))
    )
