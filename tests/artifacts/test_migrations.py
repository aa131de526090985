"""Older and newer versions of a schema."""

import pytest
import zarr

from gazecore import artifacts
from gazecore.artifacts import checks, migrations, schema
from gazecore.artifacts.store import Variable
from gazecore.errors import GazeError


@pytest.fixture
def version(monkeypatch):
    """version("2.0"): from now on the schema of plr has this version."""

    def set_version(text: str) -> None:
        known = schema.load("plr")
        newer = schema.Schema(**{**known.__dict__, "version": text})
        monkeypatch.setattr(schema, "load", lambda kind: newer)

    return set_version


def renamed(artifact: artifacts.Artifact) -> None:
    """A migration: trial was once called name."""
    old = artifact.variables.pop("name")
    artifact.variables["trial"] = Variable("trial", old.array, old.dims, old.attrs)


@pytest.fixture
def old(tmp_path, fill):
    """An artifact as the version before would have written it."""
    path = fill(tmp_path / "old.zarr", "plr")
    (path / "trial").rename(path / "name")
    with artifacts.open(path, incomplete=True) as artifact:
        identity = artifact.content_id()
    zarr.open_group(path, mode="r+").attrs["gz_id"] = identity
    return path


def test_an_older_version_is_migrated_while_it_is_read_and_said_in_one_line(old, version, monkeypatch, caplog):
    version("2.0")
    monkeypatch.setitem(migrations.MIGRATIONS, ("plr", 1), renamed)
    with artifacts.open(old, kind="plr") as artifact:
        assert "trial" in artifact and "name" not in artifact
        assert artifact.version == "2.0" and schema.problems(artifact) == []
        assert len(artifact["trial"][:]) == len(artifact)
        assert checks.problems(artifact) == []  # its content id is that of what is stored
    told = caplog.messages
    assert told == [f"{old} holds plr version 1.0, read as 2.0; gz convert writes it anew"]


def test_versions_are_migrated_one_after_another(old, version, monkeypatch):
    order = []
    version("3.1")
    monkeypatch.setitem(migrations.MIGRATIONS, ("plr", 1), lambda _: order.append(1))
    monkeypatch.setitem(migrations.MIGRATIONS, ("plr", 2), lambda _: order.append(2))
    artifacts.open(old).close()
    assert order == [1, 2]


def test_an_older_version_that_nothing_migrates_is_refused(old, version):
    version("2.0")
    with pytest.raises(GazeError, match=r"holds plr version 1\.0; nothing migrates it"):
        artifacts.open(old)


def test_a_newer_major_version_asks_for_a_newer_gz(old):
    zarr.open_group(old, mode="r+").attrs["gz_schema_version"] = "2.0"
    with pytest.raises(GazeError, match=r"holds plr version 2\.0; this gz reads up to 1\.x: update gz"):
        artifacts.open(old)


def test_any_minor_version_of_the_same_major_version_is_read(tmp_path, fill, caplog):
    path = fill(tmp_path / "a.zarr", "plr")
    group = zarr.open_group(path, mode="r+")
    group.attrs["gz_schema_version"] = "1.99"
    group.create_array("of_the_future", shape=(6,), dtype="f4", dimension_names=("sample",))
    with artifacts.open(path) as artifact:
        assert schema.problems(artifact) == [] and "of_the_future" in artifact
    assert caplog.messages == []


@pytest.mark.parametrize("text", ["", "one", "v1.0", "٣.0"])
def test_a_version_is_a_number(tmp_path, fill, text):
    path = fill(tmp_path / "a.zarr", "plr")
    zarr.open_group(path, mode="r+").attrs["gz_schema_version"] = text
    with pytest.raises(GazeError, match=r"gz_schema_version is .*; expected a number such as"):
        artifacts.open(path)
