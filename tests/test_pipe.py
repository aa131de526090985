"""The pipe in detail: what is held, deleted, kept and refused."""

import fcntl
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gazecore import artifacts
from gazecore.artifacts import bytestream, pipe, provenance, temporary, writer
from gazecore.errors import DATA, EXISTS, IO, NO_INPUT, USAGE, GazeError

GZ = Path(sys.executable).with_name("gz")
MAPS = np.random.default_rng(0).random((6, 4, 5)).astype(np.float32)


def make(path: Path, value: float = 0) -> Path:
    with artifacts.create(path, "heatmaps", durable=False) as made:
        made.append(heatmap=MAPS + np.float32(value), name=["a"] * 6)
    return path


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """Our own folder of temporary artifacts."""
    monkeypatch.setenv("GZ_TMPDIR", str(tmp_path / "temp"))
    monkeypatch.setattr(provenance, "_current", provenance.Step(["gz", "test"]))
    monkeypatch.setattr(pipe, "_json", False)
    monkeypatch.setattr(temporary, "_held", [])
    return temporary.temp_folder()


@pytest.fixture
def stdin(monkeypatch):
    """stdin(bytes): what arrives."""

    def arrive(data: bytes | str) -> None:
        data = data.encode() if isinstance(data, str) else data
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return arrive


@pytest.fixture
def stdout(monkeypatch):
    """stdout("pipe"): the kind of stdout from now on; the lines that were written to it."""
    lines: list[dict] = []

    def of_kind(kind: str) -> list[dict]:
        monkeypatch.setattr(pipe, "_stdout_kind", lambda: kind)
        monkeypatch.setattr(pipe, "_write_line", lambda line: lines.append(json.loads(line)))
        return lines

    return of_kind


def record(path: Path, **changes: object) -> str:
    return (
        json.dumps(
            {"gz": 1, "kind": "artifact", "path": str(path), "temp": True, "host": socket.gethostname()} | changes
        )
        + "\n"
    )


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def ours(kind: str = "heatmaps", number: int = 0, suffix: str = ".zarr") -> str:
    return f"{kind}-{number:012x}{suffix}"


# ---- what a command writes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "kind", "options", "expected"),
    [
        (None, "pipe", {}, "reference"),
        (None, "terminal", {}, "name the artifact with -o"),
        (None, "terminal", {"report": True}, "discarded"),
        (None, "file", {}, "would dangle"),
        (None, "file", {"report": True}, "would dangle"),
        ("a.zarr", "pipe", {}, "reference"),
        ("a.zarr", "file", {}, "reference"),
        ("a.zarr", "terminal", {}, "told"),
        ("-", "pipe", {}, "bytes"),
        ("-", "file", {}, "bytes"),
        ("-", "terminal", {}, "writes bytes; stdout is a terminal"),
        ("a.zarr", "pipe", {"json": True}, "nothing"),
        (None, "pipe", {"json": True, "report": True}, "discarded"),
        (None, "pipe", {"json": True}, "no room for a reference"),
        ("-", "pipe", {"json": True}, "writes bytes"),
        (None, "terminal", {"resume": True, "report": True}, "--resume goes on with a named artifact"),
    ],
)
def test_where_an_artifact_goes(
    temp, tmp_path, stdout, monkeypatch, capsysbinary, caplog, out, kind, options, expected
):
    lines, options = stdout(kind), dict(options)
    monkeypatch.chdir(tmp_path)
    pipe.give_stdout_to_json(options.pop("json", False))
    if " " in expected:
        with pytest.raises(GazeError, match=expected) as error:
            pipe.Output(out, **options)
        assert error.value.code == USAGE and left(temp) == []
        return
    with caplog.at_level("INFO"), pipe.Output(out, **options).create("heatmaps") as made:
        made.append(heatmap=MAPS)
    written = capsysbinary.readouterr()
    assert bool(lines) == (expected == "reference")
    assert (written.out[257:262] == b"ustar") == (expected == "bytes")
    assert ("wrote a.zarr" in caplog.messages) == (expected == "told")
    assert (tmp_path / "a.zarr").exists() == (out == "a.zarr")
    assert len(left(temp)) == (2 if expected == "reference" and out is None else 0)  # the artifact and its lock


def test_a_reference_is_one_short_line_that_says_what_it_names(temp, stdout):
    lines = stdout("pipe")
    with pipe.Output().create("heatmaps") as made:
        made.append(heatmap=MAPS)
        made.summary = {"cc": 0.5, "nan": np.nan}
    (line,) = lines
    with artifacts.open(line["path"]) as artifact:
        assert line == {
            "gz": 1, "kind": "artifact", "schema": "heatmaps/1", "path": str(artifact.path), "temp": True,
            "host": socket.gethostname(), "id": artifact.content_id(), "n": 6, "summary": {"cc": 0.5, "nan": None},
        }  # fmt: skip


def test_a_summary_too_long_for_one_atomic_line_stays_in_the_artifact(temp, stdout):
    lines = stdout("pipe")
    with pipe.Output().create("heatmaps") as made:
        made.append(heatmap=MAPS)
        made.summary = {f"score {i}": i / 7 for i in range(400)}
    assert lines[0]["summary"] == {} and len(json.dumps(lines[0])) < 4096
    with artifacts.open(lines[0]["path"]) as artifact:
        assert len(json.loads(artifact.attrs["gz_summary"])) == 400


@pytest.mark.parametrize("error", [GazeError("no"), KeyboardInterrupt(), SystemExit(143), ZeroDivisionError()])
@pytest.mark.parametrize("out", [None, "-", "a.zarr"])
def test_a_command_that_fails_leaves_neither_artifact_nor_lock(temp, tmp_path, stdout, monkeypatch, error, out):
    lines = stdout("pipe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(type(error)), pipe.Output(out).create("heatmaps") as made:
        made.append(heatmap=MAPS)
        raise error
    assert left(temp) == [] and left(tmp_path) == ["temp"] and lines == []


def test_when_nobody_reads_the_artifact_is_kept_and_named(temp, stdout, monkeypatch, caplog):
    stdout("pipe")
    monkeypatch.setattr(pipe, "_write_line", lambda _: (_ for _ in ()).throw(BrokenPipeError))
    with pytest.raises(BrokenPipeError), pipe.Output().create("heatmaps") as made:
        made.append(heatmap=MAPS)
    kept = [name for name in left(temp) if not name.endswith(".lock")]
    assert len(kept) == 1 and f"nobody reads the pipe; the artifact is kept: {temp / kept[0]}" in caplog.messages


def test_one_named_output_takes_one_input(temp, tmp_path, stdout):
    stdout("pipe")
    output = pipe.Output(tmp_path / "a.zarr")
    with output.create("heatmaps") as made:
        made.append(heatmap=MAPS)
    with pytest.raises(GazeError, match="a second input arrived: join them with gz concat first") as error:
        output.create("heatmaps").__enter__()
    assert error.value.code == USAGE


def test_the_kind_of_a_foreign_artifact_does_not_choose_the_folder(temp, stdout):
    lines = stdout("pipe")
    with pipe.Output().create("../../Évil kind") as made:
        made.commit()
    assert Path(lines[0]["path"]).parent == temp and temporary.is_ours(Path(lines[0]["path"]))


# ---- what a command reads: held, then deleted ------------------------------------------------------------------------


def test_a_temporary_input_is_held_while_it_is_read_and_deleted_after_success(temp, stdin):
    path = make(temp / ours())
    stdin(record(path))
    for artifact in pipe.inputs("-"):
        assert artifact.path == path and np.array_equal(artifact["heatmap"][:], MAPS)
        with (temp / f"{path.name}.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert temporary.leftovers(0) == []
    pipe.settle(success=True)
    assert left(temp) == []


def test_after_failure_the_input_is_kept_and_named(temp, stdin, caplog):
    path = make(temp / ours())
    stdin(record(path))
    list(pipe.inputs("-"))
    pipe.settle(success=False)
    assert path.exists() and f"the input is kept: {path}" in caplog.messages


def test_of_several_readers_the_last_one_deletes(temp, stdin):
    path = make(temp / ours())
    other = temporary.Lock(path)  # another command that still reads
    stdin(record(path))
    list(pipe.inputs("-"))
    pipe.settle(success=True)
    assert path.exists()
    assert other.is_last()


def test_an_input_by_name_is_never_deleted(temp, tmp_path, stdin):
    named = make(tmp_path / "a.zarr")
    stdin(record(named, temp=False) + f"{record(named, temp=False)}")
    assert [a.path for a in pipe.inputs("-")] == [named, named]
    pipe.settle(success=True)
    assert named.exists()


def test_references_are_handled_in_their_order(temp, stdin):
    paths = [make(temp / ours(number=i), value=i) for i in range(3)]
    stdin("".join(map(record, paths)))
    assert [float(a["heatmap"][0, 0, 0] - MAPS[0, 0, 0]) for a in pipe.inputs("-")] == pytest.approx(
        [0, 1, 2], abs=1e-6
    )
    pipe.settle(success=True)
    assert left(temp) == []


def test_each_output_has_only_its_own_input_as_a_parent(temp, stdin, stdout):
    lines = stdout("pipe")
    for i in range(2):
        provenance.begin(provenance.Step(["gz", f"maker{i}"]))
        make(temp / ours(number=i))
    provenance.begin(provenance.Step(["gz", "select"]))
    stdin("".join(record(temp / ours(number=i)) for i in range(2)))
    for artifact in pipe.inputs("-"):
        with pipe.Output().create("heatmaps") as made:
            made.append(heatmap=artifact["heatmap"][:])
    chains = [[e["argv"][1] for e in artifacts.open(line["path"]).provenance] for line in lines]
    assert chains == [["maker0", "select"], ["maker1", "select"]]


def test_a_collected_output_has_all_inputs_as_parents(temp, stdin, stdout):
    lines = stdout("pipe")
    for i in range(2):
        provenance.begin(provenance.Step(["gz", f"maker{i}"]))
        make(temp / ours(number=i))
    provenance.begin(provenance.Step(["gz", "concat"]))
    stdin("".join(record(temp / ours(number=i)) for i in range(2)))
    collected = list(pipe.inputs("-"))
    with pipe.Output().create("heatmaps") as made:
        made.append(heatmap=np.concatenate([a["heatmap"][:] for a in collected]))
    entry = artifacts.open(lines[0]["path"]).provenance[-1]
    assert len(entry["parents"]) == 2 and all(i["piped"] for i in entry["inputs"])


def test_an_input_that_is_passed_on_is_left_to_the_next_command(temp, stdin, stdout):
    lines = stdout("pipe")
    path = make(temp / ours())
    stdin(record(path))
    output = pipe.Output(shows=True)
    for artifact in pipe.inputs("-"):
        output.pass_on(artifact)
    assert lines[0]["path"] == str(path) and lines[0]["temp"] is True
    assert temporary.Lock(path).is_last()  # so that the next command, if it ends first, deletes
    pipe.settle(success=True)
    assert path.exists()


def test_an_input_that_is_shown_on_a_terminal_is_not_passed_on_but_deleted(temp, stdin, stdout):
    lines = stdout("terminal")
    path = make(temp / ours())
    stdin(record(path))
    output = pipe.Output(shows=True)
    for artifact in pipe.inputs("-"):
        output.pass_on(artifact)
    pipe.settle(success=True)
    assert lines == [] and left(temp) == []


def test_a_scratch_artifact_goes_away_even_after_failure(temp):
    artifact = pipe.scratch("heatmaps", [{"heatmap": MAPS}], {})
    assert len(artifact) == 6
    pipe.settle(success=False)
    assert left(temp) == []


def test_unknown_kinds_of_records_are_passed_over(temp, stdin):
    path = make(temp / ours())
    stdin('{"gz":1,"kind":"note"}\n\n{"gz":1}\n' + record(path))
    assert [a.path for a in pipe.inputs("-")] == [path]


# ---- crafted and broken lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrives", "code", "complaint"),
    [
        (b"", NO_INPUT, "nothing arrived on stdin"),
        (b"\n \n", NO_INPUT, "only empty lines"),
        (b"{oops\n", DATA, "is not JSON"),
        (b'{"kind":"artifact"}\n', DATA, 'has no number "gz"'),
        (b'{"gz":"1"}\n', DATA, 'has no number "gz"'),
        (b'{"gz":99,"kind":"artifact","path":"x"}\n', DATA, "pipe protocol 99 arrived; this gz speaks 1"),
        (b'{"gz":1,"kind":"note"}\n', NO_INPUT, "only records of other kinds"),
        (
            b'{"gz":1,"error":{"command":"gz a","exit":65,"message":"bad line 3"}}\n',
            NO_INPUT,
            "gz a failed: bad line 3",
        ),
        (b'{"gz":1,"error":"text"}\n', NO_INPUT, "the command before failed: text"),
        (b'{"gz":1,"kind":"artifact"}\n', DATA, "folder without zarr.json"),
        (b'{"gz":1,"kind":"artifact","path":"/no/such.zarr"}\n', NO_INPUT, "named on stdin, does not exist$"),
        (b'{"gz":1,"kind":"artifact","path":"/no/such.zarr","host":"far"}\n', NO_INPUT, "on far: send bytes with -o -"),
        (b'{"gz":1,' + b" " * 100_000, DATA, "neither an artifact nor lines"),
        (b"\x00\x01\x02" * 100_000, DATA, "neither an artifact nor lines"),
        (b"x" * 100_000, DATA, "neither an artifact nor lines"),
        (b"no/such/artifact.zarr\n", NO_INPUT, "no such file or folder"),
        (b"PK\3\4" + bytes(600), DATA, "damaged"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), DATA, "damaged"),
        (bytes(257) + b"ustar" + bytes(300), NO_INPUT, "cut short"),
    ],
)
def test_what_is_no_artifact_is_refused_with_its_exit_code(
    temp, stdin, monkeypatch, tmp_path, arrives, code, complaint
):
    monkeypatch.chdir(tmp_path)
    stdin(arrives)
    with pytest.raises(GazeError, match=complaint) as error:
        list(pipe.inputs("-"))
    pipe.settle(success=False)
    assert error.value.code == code and left(temp) == []


def test_names_need_not_be_utf8(temp, tmp_path, stdin):
    named = make(tmp_path / os.fsdecode(b"caf\xe9.zarr"))
    stdin(os.fsencode(named) + b"\n")
    assert [a.path for a in pipe.inputs("-")] == [named]


@pytest.mark.parametrize(
    "path",
    [
        "/home/u/data.zarr", "data.zarr", "{temp}/../precious.zarr", "{temp}/sub/heatmaps-000000000000.zarr",
        "{temp}/precious.zarr", "{temp}/link-000000000000.zarr", "{temp}", "{temp}/.", "", "/",
        "{temp}/heatmaps-00000000000.zarr", "{temp}/heatmaps-000000000000.zarr.lock",
        "{temp}/.heatmaps-000000000000.zarr.part-abcdef",
    ],
)  # fmt: skip
def test_a_record_may_not_make_us_delete_what_is_not_ours(temp, tmp_path, stdin, path):
    precious = [make(tmp_path / "precious.zarr"), make(temp / "precious.zarr")]
    (temp / "sub").mkdir()
    precious.append(make(temp / "sub" / ours()))
    (temp / ours("link")).symlink_to(tmp_path / "precious.zarr")
    stdin(record(Path(path.format(temp=temp))))
    with pytest.raises(GazeError, match=r"is called temporary, but is none of .*; refused") as error:
        list(pipe.inputs("-"))
    pipe.settle(success=True)
    assert error.value.code == DATA and all(p.exists() for p in precious)


def test_a_temporary_artifact_that_is_gone_leaves_no_lock_behind(temp, stdin):
    stdin(record(temp / ours()))
    with pytest.raises(GazeError, match="does not exist"):
        list(pipe.inputs("-"))
    pipe.settle(success=False)
    assert left(temp) == []


def test_another_kind_is_refused_and_the_input_kept(temp, stdin):
    path = make(temp / ours())
    stdin(record(path))
    with pytest.raises(GazeError, match='holds "heatmaps"; expected "plr"'):
        list(pipe.inputs("-", kind="plr"))
    pipe.settle(success=False)
    assert path.exists()


def test_what_cannot_be_opened_is_passed_over_when_the_command_says_so(temp, tmp_path, stdin):
    good = make(tmp_path / "good.zarr")
    (tmp_path / "bad.zarr").write_text("no")
    stdin(f"{tmp_path / 'bad.zarr'}\n{good}\n{tmp_path / 'none.zarr'}\n")
    told: list[str] = []
    found = [a.path for a in pipe.inputs("-", refused=lambda path, _: told.append(path.name))]
    assert found == [good] and told == ["bad.zarr", "none.zarr"]


# ---- bytes -----------------------------------------------------------------------------------------------------------


def tar_of(folder: Path, order=sorted) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in order(p for p in folder.rglob("*") if p.is_file()):
            tar.add(path, f"x.zarr/{path.relative_to(folder)}")
    return stream.getvalue()


def test_bytes_of_any_container_arrive_and_go_away(temp, tmp_path, stdin):
    folder = make(tmp_path / "a.zarr")
    contents = [tar_of(folder), tar_of(folder, lambda files: sorted(files, reverse=True))]
    contents += [make(tmp_path / f"a{suffix}").read_bytes() for suffix in (".h5", ".zarr.zip")]
    for data in contents:
        stdin(data)
        for artifact in pipe.inputs("-"):
            np.testing.assert_array_equal(artifact["heatmap"][:], MAPS)
            assert artifact.path.parent == temp
        pipe.settle(success=True)
        assert left(temp) == []


def test_our_tar_is_what_tar_knows(tmp_path):
    stream = io.BytesIO()
    bytestream.send(make(tmp_path / "a.zarr"), stream)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "x", "-C", tmp_path / "out"], input=stream.getvalue(), check=True)
    with artifacts.open(tmp_path / "out" / "artifact.zarr") as artifact:
        assert artifact.id == artifact.content_id()
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as tar:
        members = tar.getmembers()
        assert members[-1].name == "artifact.zarr/zarr.json"
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}


def test_a_tar_is_noticed_to_be_cut_wherever_it_is_cut(temp, tmp_path, stdin):
    for order in (sorted, lambda files: sorted(files, reverse=True)):  # zarr.json last, or first
        data = tar_of(make(tmp_path / f"{order is sorted}.zarr"), order)
        for length in [*range(600, len(data) - 10240, 512), len(data.rstrip(b"\0"))]:
            stdin(data[:length])
            with pytest.raises(GazeError, match="cut short") as error:
                list(pipe.inputs("-"))
            pipe.settle(success=False)
            assert error.value.code == NO_INPUT and left(temp) == []


def member(name: str, **settings: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in settings.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("hostile", "code", "complaint"),
    [
        (member("../escaped"), DATA, "outside its folder"),
        (member("x.zarr/../../../escaped"), DATA, "outside its folder"),
        (member("x.zarr/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), DATA, "which no artifact has"),
        (member("x.zarr/link", type=tarfile.LNKTYPE, linkname="/etc/passwd"), DATA, "which no artifact has"),
        (member("x.zarr/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), DATA, "which no artifact has"),
        (member("x.zarr/fifo", type=tarfile.FIFOTYPE), DATA, "which no artifact has"),
        (member("x.zarr/huge", size=10**15), IO, "brings 1,000,000,000,000,000 bytes; .* free"),
    ],
)
def test_hostile_members_of_a_tar_are_refused_and_nothing_is_left(temp, tmp_path, stdin, hostile, code, complaint):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(member("x.zarr/first", size=3), io.BytesIO(b"abc"))
        tar.addfile(hostile, io.BytesIO(bytes(3)) if hostile.size == 3 else None)
    stdin(stream.getvalue())
    with pytest.raises(GazeError, match=complaint) as error:
        list(pipe.inputs("-"))
    pipe.settle(success=False)
    assert error.value.code == code and left(temp) == [] and left(tmp_path) == ["temp"]


def test_an_absolute_name_in_a_tar_stays_inside(temp, tmp_path, stdin):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(member(f"{tmp_path}/escaped", size=3), io.BytesIO(b"abc"))
    stdin(stream.getvalue())
    with pytest.raises(GazeError, match="cut short"):
        list(pipe.inputs("-"))
    assert left(tmp_path) == ["temp"]


@pytest.mark.parametrize("claim", [{"shape": [10**15, 4, 5]}, {"chunk_shape": [10**12, 4, 5]}])
def test_an_absurd_claim_in_a_tar_is_refused_before_it_takes_memory(temp, tmp_path, stdin, claim):
    folder = make(tmp_path / "a.zarr")
    document = json.loads((folder / "heatmap" / "zarr.json").read_text())
    document["shape"] = claim.get("shape", document["shape"])
    document["chunk_grid"]["configuration"]["chunk_shape"] = claim.get("chunk_shape", [6, 4, 5])
    (folder / "heatmap" / "zarr.json").write_text(json.dumps(document))
    stdin(tar_of(folder))
    with pytest.raises(GazeError, match="heatmap claims the shape") as error:
        list(pipe.inputs("-"))
    pipe.settle(success=False)
    assert error.value.code == DATA and left(temp) == []


@pytest.mark.parametrize("suffix", [".h5", ".zarr.zip"])
def test_containers_that_were_cut_short_are_refused_and_nothing_is_left(temp, tmp_path, stdin, suffix):
    data = make(tmp_path / f"a{suffix}").read_bytes()
    for length in (600, len(data) // 2, len(data) - 30):
        stdin(data[:length])
        with pytest.raises(GazeError, match="damaged"):
            list(pipe.inputs("-"))
        pipe.settle(success=False)
        assert left(temp) == []


# ---- leftovers -------------------------------------------------------------------------------------------------------


def aged(path: Path, hours: float) -> Path:
    when = time.time() - hours * 3600
    os.utime(path, (when, when), follow_symlinks=False)
    return path


def test_only_our_own_old_unlocked_leftovers_are_cleaned(temp):
    gone = [aged(make(temp / ours(number=1)), 25), temp / ours(number=1, suffix=".zarr.lock")]
    gone[1].touch()
    gone.append(temp / ours(number=2, suffix=".zarr.lock"))
    gone.append(temp / f".{ours(number=3)}.part-abcdef")
    gone.append(temp / ours("incoming", 4, ".h5"))
    gone.append(temp / ours("incoming", 5, ".zarr.tar"))
    for path in gone[2:]:
        path.touch()
        aged(path, 25)
    kept = [
        make(temp / ours(number=6)),
        aged(make(temp / ours(number=7)), 25),
        aged(make(temp / "users_own.zarr"), 999),
    ]
    kept += [aged(make(temp / ours(number=8)), 23)]
    reader = temporary.Lock(kept[1])
    for name in ("notes.txt", ".hidden", "thesis.lock"):
        (temp / name).touch()
        kept.append(aged(temp / name, 999))
    temporary.clean_leftovers()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    reader.release()
    temporary.clean_leftovers()
    assert not kept[1].exists() and kept[2].exists()


def test_work_in_progress_is_no_leftover_however_old(temp, stdout):
    stdout("pipe")
    with pipe.Output().create("heatmaps") as made:
        made.append(heatmap=MAPS)
        for path in temp.iterdir():
            aged(path, 99)
        assert len(left(temp)) == 2 and temporary.leftovers() == []


def test_the_unfinished_work_of_killed_writers_is_found_and_that_of_others_not(tmp_path):
    at_work = artifacts.create(tmp_path / "at_work.zarr", "heatmaps", resume=True)
    (tmp_path / f"{at_work.part.name}.file").touch()
    dead = artifacts.create(tmp_path / "dead.h5", "heatmaps", resume=True)
    os.close(dead._lock)
    writer._unfinished.remove(dead)
    (tmp_path / ".there.zarr.old-abcdef").mkdir()
    make(tmp_path / "there.zarr")
    (tmp_path / ".gone.zarr.old-abcdef").mkdir()  # the only copy, of a command killed between two renames
    assert temporary.unfinished(tmp_path, 0) == [dead.part, tmp_path / ".there.zarr.old-abcdef"]
    assert temporary.unfinished(tmp_path, 3600) == []
    at_work.abandon()


def test_the_folder_is_ours_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("GZ_TMPDIR", str(tmp_path / "a" / "b"))
    assert temporary.temp_folder().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(GazeError, match="belongs to somebody else") as error:
        temporary.temp_folder()
    assert error.value.code == EXISTS and temporary.leftovers(0) == []


def test_a_link_in_the_place_of_the_default_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("GZ_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "victims").mkdir()
    (tmp_path / f"gz-{os.getuid()}").symlink_to("victims")
    with pytest.raises(GazeError, match="belongs to somebody else"):
        temporary.temp_folder()


def test_a_folder_that_cannot_be_made_is_said(monkeypatch):
    monkeypatch.setenv("GZ_TMPDIR", "/proc/none")
    with pytest.raises(GazeError, match=r"/proc/none, cannot be made") as error:
        temporary.temp_folder()
    assert error.value.code == EXISTS


# ---- real processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    """shell(line): run it with bash in a folder of its own; .codes is PIPESTATUS."""

    def run(line: str, **settings) -> SimpleNamespace:
        environment = os.environ | {
            "PATH": f"{GZ.parent}{os.pathsep}{os.environ['PATH']}",
            "GZ_TMPDIR": str(tmp_path / "temp"),
        }
        done = subprocess.run(
            ["bash", "-c", f'{line}\necho "${{PIPESTATUS[*]}}" > {tmp_path}/codes'], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=120, **settings,
        )  # fmt: skip
        codes = [int(code) for code in (tmp_path / "codes").read_text().split()]
        return SimpleNamespace(codes=codes, out=done.stdout, err=done.stderr)

    (tmp_path / "temp").mkdir()
    return run


@contextmanager
def small_disk(folder: Path, size: str):
    """A disk of a few megabytes, where mounting is allowed; else None."""
    folder.mkdir(exist_ok=True)
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "gz-test", folder], capture_output=True
        ).returncode
        == 0
    )
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


def random_maps(path: Path, count: int) -> Path:
    np.savez(path, heatmaps=np.random.default_rng(0).random((count, 64, 64)).astype(np.float32))
    return path


@pytest.mark.parametrize("target", ["disk/out.zarr", "disk/out.h5", "-", ""])
def test_a_full_disk_is_said_in_one_line_and_nothing_is_left(tmp_path, shell, target):
    random_maps(tmp_path / "maps.npz", 900)  # 15 MB
    with small_disk(tmp_path / "disk", "4m") as disk:
        limit = "" if disk else "ulimit -f 4000; "
        out = f"-o {target}" if target else ""
        done = shell(f"({limit}GZ_TMPDIR=$PWD/disk exec gz convert maps.npz {out}) | cat > /dev/null")
        assert done.codes == [74, 0], done.err
        assert done.err.count("\n") == 1 and ("no space left on the disk" if disk else "too large") in done.err
        assert left(tmp_path / "disk") == []


def test_bytes_that_do_not_fit_the_disk_of_the_reader_are_refused(tmp_path, shell):
    random_maps(tmp_path / "maps.npz", 900)
    with small_disk(tmp_path / "disk", "4m") as disk:
        if not disk:
            return  # the limit of a file's size does not show here
        done = shell("gz convert maps.npz -o - | GZ_TMPDIR=$PWD/disk gz info")
        assert done.codes[1] == 74 and "Set GZ_TMPDIR" in done.err and "Traceback" not in done.err
        assert left(tmp_path / "disk") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_reader_that_is_interrupted_keeps_its_input(tmp_path, number, code):
    make(tmp_path / "a.zarr")
    environment = os.environ | {"GZ_TMPDIR": str(tmp_path / "temp")}
    reader = subprocess.Popen(
        [GZ, "verify"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path
    )
    (tmp_path / "temp").mkdir()
    kept = make(tmp_path / "temp" / ours())
    reader.stdin.write(record(kept).encode())
    reader.stdin.flush()
    wait_until(lambda: (tmp_path / "temp" / f"{kept.name}.lock").exists())
    time.sleep(0.1)
    reader.send_signal(number)
    _, told = reader.communicate(timeout=60)
    assert reader.returncode == code and kept.exists()
    assert f"the input is kept: {kept}" in told.decode() and "Traceback" not in told.decode()


def wait_until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


RESUMABLE = """
import time
from gazecore.cli import run
from gazecore.cli_options import Out, Resume

def main(out: Out = None, resume: Resume = False, pause: float = 0.02) -> None:
    import numpy as np
    from gazecore import artifacts
    with artifacts.Output(out, resume=resume).create("heatmaps") as writer:
        for row in range(writer.rows(), 40):
            writer.append(heatmap=np.full((1, 4, 4), row, np.float32))
            time.sleep(pause)

if __name__ == "__main__":
    run(main)
"""


def test_a_resumable_command_that_is_stopped_says_so_and_goes_on(tmp_path):
    (tmp_path / "tool.py").write_text(f'"""Make maps."""\n{RESUMABLE}')
    words = [sys.executable, "tool.py", "-o", "out.zarr", "--resume"]
    stopped = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: list(tmp_path.glob(".out.zarr.part-*/zarr.json")))
    time.sleep(0.3)
    stopped.send_signal(signal.SIGINT)
    _, told = stopped.communicate(timeout=60)
    assert stopped.returncode == 75 and "the same command line with --resume goes on" in told
    assert not (tmp_path / "out.zarr").exists() and len(list(tmp_path.glob(".out.zarr.part-*"))) == 1
    rows = json.loads(
        json.loads(next(tmp_path.glob(".out.zarr.part-*/zarr.json")).read_text())["attributes"]["gz_rows"]
    )
    assert rows["heatmap"] > 0
    done = subprocess.run([*words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with artifacts.open(tmp_path / "out.zarr") as artifact:
        assert artifact["heatmap"][:, 0, 0].tolist() == list(range(40))
    assert not list(tmp_path.glob(".out.zarr.part-*"))


def test_closed_streams_are_no_reason_to_fail(tmp_path, shell):
    make(tmp_path / "a.zarr")
    done = shell("gz info a.zarr <&- >&-")
    assert done.codes == [0] and done.err == ""
    assert shell("gz select a.zarr -o b.zarr 2>&- >&-").codes == [0]
    with artifacts.open(tmp_path / "b.zarr") as artifact:
        assert artifact.id == artifact.content_id()


def test_a_stopped_reader_ends_the_producer_of_bytes_quietly(tmp_path, shell):
    make(tmp_path / "a.zarr")
    done = shell("gz select a.zarr -o - -q | true")
    assert done.codes == [141, 0] and done.err == "" and left(tmp_path / "temp") == []
