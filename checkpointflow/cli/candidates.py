"""Words that a shell may complete, each with what it is: runs, events, steps, workflows, topics."""

from __future__ import annotations

from collections.abc import Iterator

import click

from checkpointflow.cli.artifacts import list_artifacts
from checkpointflow.cli.guide import read_topics
from checkpointflow.cli.location import find_run, find_store, make_shortener
from checkpointflow.drivers.catalog import list_flows
from checkpointflow.engine.run import Run, waits
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import locate
from checkpointflow.store.listing import list_runs

Candidates = Iterator[tuple[str, str]]


def list_run_ids(context: click.Context) -> Candidates:
    """The runs of the store, by the ends of their ids, and whole; newest first."""
    runs = list(list_runs(find_store(context.params.get("base_dir"))))
    shorten = make_shortener([run.run_id for run in runs])
    for run in runs:
        about = "damaged" if run.head is None else f"{run.head.workflow.id}, {run.head.status}"
        yield shorten(run.run_id), about
    yield "@latest", "the newest run"
    yield from ((run.run_id, "") for run in runs)


def list_events(context: click.Context) -> Candidates:
    """The events that the run waits for."""
    for path, record in waits(_load(context)).items():
        yield record.wait.event_name, f"{path}, for {record.wait.audience}"


def list_step_paths(context: click.Context) -> Candidates:
    """The steps that the run has come to."""
    for path, record in _load(context).steps.items():
        yield path, str(record.__struct_config__.tag)


def list_artifact_names(context: click.Context) -> Candidates:
    """What the steps of the run left behind."""
    directory = _find(context)
    for kept in list_artifacts(directory, directory.load()):
        yield kept.name, kept.step


def list_flow_ids(context: click.Context) -> Candidates:
    """The workflows that `cpf flows` lists."""
    for found in list_flows(locate(), find_store(context.params.get("base_dir")).base):
        if found.workflow is not None:
            yield found.workflow.id, found.workflow.name or ""


def list_topics(_: click.Context) -> Candidates:
    """The parts of the guide."""
    yield from ((name, "") for name in read_topics())


def _load(context: click.Context) -> Run:
    return _find(context).load()


def _find(context: click.Context) -> RunDirectory:
    given = context.params
    # After an option that lacks its value, click leaves the words before it in args.
    run = given.get("run") or given.get("run_id") or next(iter(context.args), None)
    return find_run(run, given.get("run_dir"), None if given.get("run_dir") else given.get("base_dir"))
