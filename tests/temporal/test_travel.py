"""A run moves between a directory and a cluster, in both directions, as one chain."""

from __future__ import annotations

from tests.conftest import Cpf
from tests.helpers import ask, cli, end

MAKE = cli("s", "echo art > art.txt; echo '{\"a\":1}'", artifacts=[{"name": "art", "path": "art.txt"}])
USE = cli("t", 'cat "$CPF_RUN_DIR"/${steps.s.artifacts.art.path}')
STEPS = MAKE, ask("q"), USE, ask("r"), end("e", result="${steps.t.stdout}")


def _move(run_id: str, from_: Cpf, to: Cpf) -> str:
    """What came of moving the run there."""
    assert from_("export", run_id, "-o", "run.tar.gz", "--force").code == 0
    taken = to("import", "run.tar.gz")
    assert taken.code == 0, taken
    return str(taken["result"]["outcome"])


def test_from_a_laptop_to_a_cluster_and_back_it_is_one_chain(cpf: Cpf, hosted: Cpf) -> None:
    run_id = cpf.run(*STEPS)["run_id"]
    assert _move(run_id, cpf, hosted) == "added"
    assert hosted.resume(run_id, "q_event", {}, "--trust").code == 40
    assert _move(run_id, hosted, cpf) == "fast_forwarded"
    done = cpf.resume(run_id, "r_event", {}, "--trust")
    assert (done.code, done["result"]) == (0, "art")
    assert cpf("verify", run_id).code == 0
    assert _move(run_id, cpf, hosted) == "fast_forwarded"
    assert hosted("verify", run_id).code == 0
    there, here = (where("inspect", run_id, "--full")["history"] for where in (hosted, cpf))
    assert there == here


def test_from_a_cluster_to_a_directory_and_back(hosted: Cpf, cpf: Cpf) -> None:
    run_id = hosted.run(*STEPS)["run_id"]
    assert _move(run_id, hosted, cpf) == "added"
    assert cpf.resume(run_id, "q_event", {}, "--trust").code == 40
    assert _move(run_id, cpf, hosted) == "fast_forwarded"
    assert _move(run_id, cpf, hosted) == "unchanged"
    done = hosted.resume(run_id, "r_event", {}, "--trust")
    assert (done.code, done["result"]) == (0, "art")
    assert _move(run_id, hosted, cpf) == "fast_forwarded"


def test_a_run_that_went_on_in_both_places_is_refused(hosted: Cpf, cpf: Cpf) -> None:
    run_id = hosted.run(*STEPS)["run_id"]
    assert _move(run_id, hosted, cpf) == "added"
    assert hosted.resume(run_id, "q_event", {"who": "cluster"}).code == 40
    assert cpf.resume(run_id, "q_event", {"who": "laptop"}, "--trust").code == 40
    for from_, to in ((hosted, cpf), (cpf, hosted)):
        assert from_("export", run_id, "-o", "run.tar.gz", "--force").code == 0
        refused = to("import", "run.tar.gz")
        assert (refused.code, refused.error_code) == (70, "ERR_RUN_DIVERGED")
    done = hosted.resume(run_id, "r_event", {})
    assert (done.code, done["result"]) == (0, "art"), "and the run is as it was"
