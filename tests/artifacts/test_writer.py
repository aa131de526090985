"""Writing: rows in, a whole artifact or nothing out."""

import fcntl
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import zarr

from gazecore import artifacts
from gazecore.artifacts import provenance, schema, shards, writer
from gazecore.artifacts.columns import Column
from gazecore.errors import EXISTS, USAGE, GazeError

MAPS = np.random.default_rng(0).random((100, 8, 8)).astype(np.float32)


@pytest.fixture
def small_shards(monkeypatch):
    """Heat maps of 8 x 8 float32 lie in chunks of 4 rows and shards of 16."""
    for name, value in {"INNER_CHUNK": 1024, "SMALL_ROW": 64, "SHARD_CHUNKS": 4}.items():
        monkeypatch.setattr(shards, name, value)


@pytest.fixture(autouse=True)
def own_step(monkeypatch):
    """Every test is a command of its own."""
    monkeypatch.setattr(provenance, "_current", None)


def names(count: int, start: int = 0) -> list[str]:
    return [f"{i}.jpg" for i in range(start, start + count)]


def write(path: Path, portions: list[int], **settings) -> str:
    """MAPS and their names in portions; the content id."""
    with artifacts.create(path, "heatmaps", **settings) as made:
        row = made.rows()
        while row < len(MAPS):
            count = portions[row % len(portions)]
            made.append(heatmap=MAPS[row : row + count], name=names(len(MAPS[row : row + count]), row))
            row += count
    with artifacts.open(path) as artifact:
        return artifact.id


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# ---- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("portions", [[100], [1], [3, 50, 7], [16], [17]])
def test_rows_come_back_as_they_went_in_however_they_were_portioned(tmp_path, small_shards, portions):
    identity = write(tmp_path / "a.zarr", portions)
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        np.testing.assert_array_equal(artifact["heatmap"][:], MAPS)
        assert artifact["name"][:].tolist() == names(100)
        assert artifact["heatmap"].array.shards[0] == 16 and artifact["heatmap"].array.chunks[0] == 4
        assert identity == artifact.content_id() == write(tmp_path / "b.zarr", [100])


def test_small_arrays_are_one_chunk_without_a_shard(tmp_path):
    write(tmp_path / "a.zarr", [100])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["heatmap"].shards is None and group["heatmap"].chunks == (100, 8, 8)
    assert not (tmp_path / "a.zarr" / writer.SMALL).exists()


def test_arrays_that_were_committed_early_are_made_small_too(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_ROWS", 10)
    committed = write(tmp_path / "a.zarr", [7])
    assert zarr.open_group(tmp_path / "a.zarr", mode="r")["heatmap"].chunks == (100, 8, 8)
    assert committed == write(tmp_path / "b.zarr", [100])


def test_the_writer_keeps_its_own_copy_of_rows_that_wait(tmp_path):
    block, text = np.empty((4, 8, 8), np.float32), np.array(["a"] * 4, np.dtypes.StringDType())
    with artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        for value in range(5):
            block[:], text[:] = value, str(value)
            made.append(heatmap=block, name=text)
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact["heatmap"][:, 0, 0].tolist() == [v for v in range(5) for _ in range(4)]
        assert artifact["name"][:].tolist() == [str(v) for v in range(5) for _ in range(4)]
        assert artifact.id == artifact.content_id()


def test_ragged_rows_bring_their_counts(tmp_path, fill):
    fixations = [np.ones((2, 2), np.float32), np.empty((0, 2), np.float32), [], np.zeros((3, 2))]
    seconds = [[0.1, 0.2], [], (), np.array([1.0, 2, 3])]
    with artifacts.create(
        tmp_path / "a.zarr", "other", extra=list(vqa("fixation_count", "fixation_px", "fixation_s"))
    ) as made:
        made.append(fixation_px=fixations, fixation_s=seconds)
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact["fixation_count"][:].tolist() == [2, 0, 0, 3]
        assert artifact["fixation_px"].shape == (5, 2) and artifact["fixation_s"].shape == (5,)
        assert artifact.ragged_dims == {"fixation_row": "fixation_count"}


def vqa(*wanted: str) -> tuple[schema.VariableSpec, ...]:
    return tuple(schema.load("vqa-samples").variables[name] for name in wanted)


def test_ragged_siblings_have_the_same_counts(tmp_path):
    extra = vqa("fixation_count", "fixation_px", "fixation_s")
    with (
        pytest.raises(GazeError, match="fixation_s does not have the numbers of rows that fixation_count says"),
        artifacts.create(tmp_path / "a.zarr", "other", extra=extra) as made,
    ):
        made.append(fixation_px=[np.ones((2, 2))], fixation_s=[[0.1]])


def test_ragged_variables_may_stay_empty(tmp_path):
    with artifacts.create(tmp_path / "a.zarr", "vqa-samples") as made:
        made.append(dim="image", image_name=["a"], image_size_px=[[3, 4]], image_data=[b""])
        made.append(sample_id=["a"], image_index=[0], question=["?"], answers=[[]], fixation_px=[[]], fixation_s=[[]])
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact["fixation_px"].shape == (0, 2) and artifact["answers"].shape == (0,)
        assert artifact.packed("image_data")[0] == b""


def test_an_empty_block_before_the_first_does_not_fix_the_dtype(tmp_path):
    with artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(heatmap=[], name=[])
        made.append(heatmap=MAPS, name=names(100))
        made.append(heatmap=[], name=[])
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact["heatmap"].dtype_name == "float32" and len(artifact) == 100


def test_attributes_are_text_and_numbers_in_every_container(tmp_path):
    attrs = {"list": [1, 2], "nan": np.nan, "number": np.float32(0.5), "yes": True, "count": np.int64(3), "none": None}
    for suffix in (".zarr", ".zarr.zip", ".h5"):
        write(tmp_path / f"a{suffix}", [100], attrs=attrs)
        with artifacts.open(tmp_path / f"a{suffix}") as artifact:
            found = {key: artifact.attrs.get(key) for key in attrs}
        assert found == {"list": "[1, 2]", "nan": None, "number": 0.5, "yes": 1, "count": 3, "none": None}


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"nose": [1]}, '"heatmaps" has no variable nose; it has heatmap'),
        ({"name": ["a"], "heatmap": MAPS[:2]}, r"different lengths in one append: \{'name': 1, 'heatmap': 2\}"),
        ({"heatmap": MAPS[0]}, r"heatmap has rows of shape \(8,\); expected \(y, x\)"),
        ({"valid": np.array([1, 300])}, "valid is uint8, which cannot hold 300"),
        ({"valid": np.array([0.5, 1])}, "valid is uint8, which cannot hold 0.5"),
        ({"valid": np.array([np.nan])}, "valid: invalid value encountered in cast; expected uint8"),
        ({"frame": ["one"]}, "frame: could not convert string to float"),
        ({"name": ["a\udcff"]}, "name: .*surrogates"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_stays(tmp_path, columns, complaint):
    with pytest.raises(GazeError, match=complaint), artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(**columns)
    assert left(tmp_path) == []


def test_half_precision_does_not_turn_large_values_into_infinity(tmp_path):
    with pytest.raises(GazeError, match="overflow"), artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(heatmap=np.zeros((1, 2, 2), np.float16))
        made.append(heatmap=np.full((1, 2, 2), 1e6, np.float32))


def test_rows_keep_their_shape(tmp_path):
    with (
        pytest.raises(GazeError, match=r"heatmap: rows of shape \(4, 4\) after rows of shape \(8, 8\)"),
        artifacts.create(tmp_path / "a.zarr", "heatmaps") as made,
    ):
        made.append(heatmap=MAPS)
        made.append(heatmap=np.zeros((1, 4, 4), np.float32))


def test_what_departs_from_the_schema_is_never_finished(tmp_path):
    with (
        pytest.raises(GazeError, match="what was written is no heatmaps: none of heatmap, point is there"),
        artifacts.create(tmp_path / "a.zarr", "heatmaps") as made,
    ):
        made.append(name=["a"])
    assert left(tmp_path) == []


def test_any_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), artifacts.create(tmp_path / "a.h5", "heatmaps") as made:
        made.append(heatmap=MAPS)
        _ = 1 / 0
    assert left(tmp_path) == []


def test_an_error_while_finishing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        writer.export, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a.h5", [100])
    assert left(tmp_path) == []


@pytest.mark.parametrize("suffix", [".zarr", ".zarr.zip", ".h5"])
def test_a_target_that_exists_is_refused_before_anything(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    write(target, [100])
    with pytest.raises(GazeError, match="exists; --overwrite replaces it") as error:
        artifacts.create(target, "heatmaps")
    assert error.value.code == EXISTS and left(tmp_path) == [target.name]
    before = target.stat().st_ino
    write(target, [50], overwrite=True)
    assert target.stat().st_ino != before and left(tmp_path) == [target.name]


def test_overwriting_a_link_replaces_the_link_not_what_it_points_to(tmp_path):
    write(tmp_path / "real.zarr", [100])
    (tmp_path / "link.zarr").symlink_to("real.zarr")
    write(tmp_path / "link.zarr", [100], overwrite=True)
    assert not (tmp_path / "link.zarr").is_symlink() and left(tmp_path) == ["link.zarr", "real.zarr"]


def test_a_dangling_link_is_a_target_that_exists(tmp_path):
    (tmp_path / "a.zarr").symlink_to("nowhere")
    with pytest.raises(GazeError, match="exists"):
        artifacts.create(tmp_path / "a.zarr", "heatmaps")


def test_a_target_that_appears_meanwhile_stays(tmp_path):
    appeared = pytest.raises(GazeError, match="appeared while it was being written")
    with appeared as error, artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(heatmap=MAPS)
        (tmp_path / "a.zarr").write_text("mine")
    assert error.value.code == EXISTS
    assert (tmp_path / "a.zarr").read_text() == "mine" and left(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize(
    ("target", "code", "complaint"),
    [("a.npz", USAGE, r"end in \.zarr, \.zarr\.zip, \.h5"), ("no/a.zarr", EXISTS, "folder .* does not exist")],
)
def test_hopeless_targets_are_refused_first(tmp_path, target, code, complaint):
    with pytest.raises(GazeError, match=complaint) as error:
        artifacts.create(tmp_path / target, "heatmaps")
    assert error.value.code == code


def test_a_folder_that_takes_no_files_is_one_that_cannot_be_written():
    with pytest.raises(GazeError, match=r"cannot write beside /proc/a\.zarr") as error:
        artifacts.create(Path("/proc/a.zarr"), "heatmaps")
    assert error.value.code == EXISTS


# ---- signals ---------------------------------------------------------------------------------------------------------


def test_ctrl_c_inside_a_write_waits_for_the_write_and_leaves_nothing(tmp_path, monkeypatch):
    put, events = Column._put, []

    def interrupted(column: Column, rows: np.ndarray) -> None:
        signal.raise_signal(signal.SIGINT)
        put(column, rows)
        events.append(column.name)

    monkeypatch.setattr(shards, "SMALL_ROW", 64)
    monkeypatch.setattr(shards, "SHARD_CHUNKS", 1)
    monkeypatch.setattr(shards, "INNER_CHUNK", 1024)
    monkeypatch.setattr(Column, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt), artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(heatmap=MAPS, name=names(100))
        raise AssertionError("the append ended without the interrupt")
    assert events == ["heatmap"] and left(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_signals_stay_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        write(tmp_path / "a.zarr", [100])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# ---- resume ----------------------------------------------------------------------------------------------------------


def stop_after(path: Path, rows: int, commit: bool) -> None:
    """A resumable writer that is killed after so many rows (its lock goes with its process)."""
    made = artifacts.create(path, "heatmaps", resume=True)
    made.append(heatmap=MAPS[:rows], name=names(rows))
    if commit:
        made.commit()
        made.append(heatmap=MAPS[:3] + 1, name=names(3))  # never committed
        made._columns["heatmap"].flush()
    writer._unfinished.remove(made)
    os.close(made._lock)


@pytest.mark.parametrize("rows", [1, 16, 17, 99])
@pytest.mark.parametrize("commit", [True, False])
def test_a_resumed_run_ends_as_an_unbroken_one(tmp_path, small_shards, rows, commit):
    stop_after(tmp_path / "a.zarr", rows, commit)
    with artifacts.create(tmp_path / "a.zarr", "heatmaps", resume=True) as made:
        assert made.rows() == (rows if commit else 0)
        made.append(heatmap=MAPS[made.rows() :], name=names(100 - made.rows(), made.rows()))
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact.id == artifact.content_id() == write(tmp_path / "b.zarr", [100])
    assert left(tmp_path) == ["a.zarr", "b.zarr"]


def test_a_resumable_run_that_is_interrupted_keeps_whole_records_only(tmp_path):
    with pytest.raises(KeyboardInterrupt), artifacts.create(tmp_path / "a.zarr", "gaze-samples", resume=True) as made:
        samples(made, 0, 5)
        made.append(dim="image", image_name=["orphan"], image_size_px=[[3, 4]])
        raise KeyboardInterrupt
    with artifacts.create(tmp_path / "a.zarr", "gaze-samples", resume=True) as made:
        assert (made.rows(), made.rows("image")) == (5, 5)
        samples(made, 5, 3)
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact["image_name"][:].tolist() == names(8)


def samples(made: writer.Writer, start: int, count: int) -> None:
    made.append(dim="image", image_name=names(count, start), image_size_px=[[3, 4]] * count)
    made.append(
        sample_id=names(count, start), image_index=np.arange(start, start + count), head_box_px=np.zeros((count, 4)),
        gaze_targets=np.zeros((count, 1, 2)), in_frame=np.ones(count),
    )  # fmt: skip


@pytest.mark.parametrize("moment", ["_take_small", "_export_and_rename"])
def test_a_run_killed_while_finishing_is_finished_by_the_next(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(writer, "COMMIT_ROWS", 10)  # so that arrays are on disk before they are made small
    with monkeypatch.context() as killed:
        killed.setattr(writer.Writer, moment, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a.zarr", [7], resume=True)
    assert not (tmp_path / "a.zarr").exists() and len(left(tmp_path)) == 1
    with artifacts.create(tmp_path / "a.zarr", "heatmaps", resume=True) as made:
        assert made.rows() == 100
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert artifact.id == artifact.content_id() == write(tmp_path / "b.zarr", [100])
        assert artifact["heatmap"].array.chunks == (100, 8, 8)


def test_a_run_with_other_options_or_inputs_does_not_go_on(tmp_path):
    provenance.begin(provenance.Step(["gz", "make"], {"sigma": 3, "out": "a", "workers": 1}))
    stop_after(tmp_path / "a.zarr", 20, commit=True)
    provenance.begin(provenance.Step(["gz", "make"], {"sigma": 3, "out": "b", "workers": 4}))
    stop_after(tmp_path / "a.zarr", 10, commit=True)  # where and how fast do not matter
    provenance.begin(provenance.Step(["gz", "make"], {"sigma": 4, "out": "a"}))
    with pytest.raises(
        GazeError, match=r"begun with other options or inputs: .*\"sigma\": 3.* instead of .*\"sigma\": 4"
    ):
        artifacts.create(tmp_path / "a.zarr", "heatmaps", resume=True)
    provenance.begin(provenance.Step(["gz", "make"], {"sigma": 3, "out": "a"}))
    provenance.current().add_input("in.zarr", "another id", [])
    with pytest.raises(GazeError, match="other options or inputs"):
        artifacts.create(tmp_path / "a.zarr", "heatmaps", resume=True)


def test_two_commands_do_not_write_one_part(tmp_path):
    made = artifacts.create(tmp_path / "a.zarr", "heatmaps", resume=True)
    with pytest.raises(GazeError, match="another command is writing") as error:
        artifacts.create(tmp_path / "a.zarr", "heatmaps", resume=True)
    assert error.value.code == EXISTS
    made.resumable = False
    made.abandon()
    assert left(tmp_path) == []


def test_a_part_says_that_it_is_none_yet(tmp_path):
    made = artifacts.create(tmp_path / "a.zarr", "heatmaps")
    made.append(heatmap=MAPS)
    made.commit()
    assert json.loads((made.part / "zarr.json").read_text())["attributes"]["gz_complete"] == 0
    with pytest.raises(GazeError, match="not finished"):
        artifacts.open(made.part)
    with pytest.raises(BlockingIOError):
        fcntl.flock(os.open(made.part, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    made.abandon()


def test_only_named_artifacts_wait_for_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write(tmp_path / "a.zarr", [100], durable=False)
    assert not synced
    write(tmp_path / "b.zarr", [100])
    assert len(synced) >= len([p for p in (tmp_path / "b.zarr").rglob("*") if p.is_file()])
