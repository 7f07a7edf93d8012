"""Which cluster the operator of a store means where no other is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from checkpointflow.cli.config import read_cluster_config, read_config
from checkpointflow.errors import UsageError

ON = "temporal://h:7233/orders?queue=q"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir(mode=0o700)
    return tmp_path / "base"


def config(base: Path, text: str, mode: int = 0o600) -> None:
    (base / "config.yaml").write_text(text)
    (base / "config.yaml").chmod(mode)


@pytest.mark.parametrize(
    ("text", "on", "shelf"),
    [
        (f"on: {ON}\nshelf: s3://bucket/runs\nnotify: {{failed: 'true'}}", ON, "s3://bucket/runs"),
        (f"{{'on': {ON}, shelf: /mnt/runs}}", ON, "/mnt/runs"),
        (f"on: {ON}", ON, None),
        ("shelf: /mnt/runs", None, "/mnt/runs"),
        ("on: ''\nshelf: ''", None, None),
        (f"# on: {ON}\n", None, None),
        ("notify: {failed: 'true'}", None, None),
        ("", None, None),
    ],
)
def test_the_cluster_and_its_shelf_are_read(base: Path, text: str, on: str | None, shelf: str | None) -> None:
    config(base, text)
    assert read_cluster_config(base) == (on, shelf)


def test_where_there_is_no_file_none_is_meant(base: Path) -> None:
    assert read_cluster_config(base) == read_cluster_config(base / "none") == (None, None)


def test_beside_it_what_is_done_at_rest_stands_as_ever(base: Path) -> None:
    config(base, f"on: {ON}\nnotify: {{failed: 'true'}}")
    found = read_config(base)
    assert found.notify is not None and (found.notify.failed, found.on) == ("true", ON)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("on: [temporal://h]", "config.yaml: Expected `str | null`, got `array` - at `$.on`"),
        ("on: temporal://h\nshelve: x", "unknown field `shelve`"),
        ("on: temporal://h\n  x: [", "config.yaml:2"),
        ("shelf: runs", "a URL, or a directory from the root on, not 'runs'"),
        ("shelf: ~/runs", "a URL, or a directory from the root on, not '~/runs'"),
    ],
)
def test_what_is_wrong_is_refused(base: Path, text: str, problem: str) -> None:
    config(base, text)
    with pytest.raises(UsageError) as caught:
        read_cluster_config(base)
    assert problem in str(caught.value)


def test_a_cluster_that_another_may_have_written_is_refused_and_nothing_else(base: Path) -> None:
    config(base, f"on: {ON}", 0o620)
    with pytest.raises(UsageError, match="others may write into it"):
        read_cluster_config(base)
    config(base, "notify: {failed: 'true'}", 0o620)
    assert read_cluster_config(base) == (None, None)
    (base / "config.yaml").rename(base / "other.yaml")
    (base / "config.yaml").symlink_to("other.yaml")
    assert read_cluster_config(base) == (None, None)
    (base / "other.yaml").write_text(f"on: {ON}")
    with pytest.raises(UsageError, match="cannot be read"):
        read_cluster_config(base)


def test_who_names_no_cluster_there_reads_no_yaml(base: Path) -> None:
    config(base, "notify: {failed: 'true'}")
    code = """
import sys
from pathlib import Path
from checkpointflow.cli.config import read_cluster_config
read_cluster_config(Path(sys.argv[1]))
assert "ruamel" not in "".join(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, base], check=True)
