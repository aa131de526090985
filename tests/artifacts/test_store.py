"""Reading: any container, lazily, and nothing that is no whole artifact."""

import json
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from gazecore import artifacts
from gazecore.artifacts import checks, mapped, shards
from gazecore.errors import IO, NO_INPUT, GazeError

CONTAINERS = (".zarr", ".zarr.zip", ".h5")


@pytest.fixture(scope="module")
def samples(tmp_path_factory, fill):
    """The same gaze samples in the three containers."""
    folder = tmp_path_factory.mktemp("samples")
    return {suffix: fill(folder / f"gaze{suffix}", "gaze-samples", n=9, image=5) for suffix in CONTAINERS}


def test_every_container_reads_the_same(samples, content):
    native, *exports = (content(path) for path in samples.values())
    assert all(export == native for export in exports)


def test_the_content_id_is_that_of_the_stored_values_in_every_container(samples):
    opened = [artifacts.open(path) for path in samples.values()]
    assert {a.id for a in opened} == {a.content_id() for a in opened}
    assert all(checks.problems(a) == [] for a in opened)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_rows_are_taken_in_any_order_and_more_than_once(samples, suffix):
    with artifacts.open(samples[suffix]) as artifact:
        for name in ("head_box_px", "sample_id"):
            whole = artifact[name][:]
            rows = np.array([8, 0, 3, 3, 7])
            np.testing.assert_array_equal(artifact[name].take(rows), whole[rows])
            assert len(artifact[name].take(rows[:0])) == 0


def test_blocks_cover_every_row_once(samples):
    with artifacts.open(samples[".zarr"]) as artifact:
        covered = [row for block in artifact.blocks(most=4) for row in range(len(artifact))[block]]
        assert covered == list(range(9))
        stops = [stop for _, stop in artifact["head_box_px"].row_blocks()]
        assert stops[-1] == 9


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_packed_images_are_the_bytes_that_went_in(samples, suffix):
    with artifacts.open(samples[suffix]) as artifact:
        packed, data = artifact.packed("image_data"), artifact["image_data"][:].tobytes()
        assert len(packed) == 5 and b"".join(packed[i] for i in range(5)) == data
        assert all(packed[i].startswith(b"\x89PNG") for i in range(5))


def test_packed_images_lie_across_mapped_chunks_of_which_few_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PACKED_CHUNK", 64)
    monkeypatch.setattr(mapped, "MOST_MAPS", 2)
    images = [bytes([i]) * (i * 37 % 101) for i in range(40)]
    with artifacts.create(tmp_path / "a.zarr", "gaze-samples") as writer:
        writer.append(dim="image", image_data=images, image_name=["x"] * 40, image_size_px=np.ones((40, 2), int))
        writer.append(
            sample_id=["a"], image_index=np.array([0]), head_box_px=np.ones((1, 4)), gaze_targets=np.zeros((1, 1, 2))
        )
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        packed = artifact.packed("image_data")
        assert [packed[i] for i in (*range(40), 3, 39, 1)] == [*images, images[3], images[39], images[1]]
        assert len(artifact["image_data"].mapped._maps) == 2


def test_a_cut_chunk_of_packed_images_is_an_error_not_half_an_image(samples, tmp_path):
    broken = shutil.copytree(samples[".zarr"], tmp_path / "broken.zarr")
    chunk = broken / "image_data" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    with (
        artifacts.open(broken) as artifact,
        pytest.raises(GazeError, match=r"100 bytes long; expected .* cut short") as e,
    ):
        artifact.packed("image_data")[4]
    assert e.value.code == IO


def test_counts_that_do_not_fit_the_bytes_are_refused(samples, tmp_path):
    broken = shutil.copytree(samples[".zarr"], tmp_path / "broken.zarr")
    zarr.open_group(broken, mode="r+")["image_bytes"][0] = 1
    with artifacts.open(broken) as artifact:
        with pytest.raises(GazeError, match="its counts add up to"):
            artifact.packed("image_data")
        assert any("adds up to" in problem for problem in checks.problems(artifact))


# ---- what is no artifact ---------------------------------------------------------------------------------------------


def test_nothing_there_is_no_input(tmp_path):
    with pytest.raises(GazeError, match=r"no such file or folder; expected an artifact") as error:
        artifacts.open(tmp_path / "none.zarr")
    assert error.value.code == NO_INPUT


def test_another_kind_is_refused_with_the_commands_that_make_the_right_one(samples):
    with pytest.raises(GazeError, match=r'holds "gaze-samples"; expected "pupil-trace". Make them with gz pir'):
        artifacts.open(samples[".zarr"], kind="pupil-trace")


def test_a_variable_that_is_not_there_is_named_with_those_that_are(samples):
    with (
        artifacts.open(samples[".zarr"]) as artifact,
        pytest.raises(GazeError, match='no variable "nose"; it has clip'),
    ):
        artifact["nose"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"plain text", "neither a zarr folder"),
        (b"", "neither"),
        (b"PK\3\4 no zip", "damaged"),
        (b"\x89HDF\r\n\x1a\n", "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, complaint):
    (tmp_path / "a.zarr").write_bytes(content)
    with pytest.raises(GazeError, match=complaint):
        artifacts.open(tmp_path / "a.zarr")


def test_a_folder_that_is_no_artifact_points_to_the_prep_commands(tmp_path):
    with pytest.raises(GazeError, match=r"without zarr.json.*gz prep-"):
        artifacts.open(tmp_path)


def test_an_unfinished_artifact_is_refused(samples, tmp_path):
    part = shutil.copytree(samples[".zarr"], tmp_path / "part.zarr")
    zarr.open_group(part, mode="r+").attrs["gz_complete"] = 0
    consolidated = json.loads((part / "zarr.json").read_text())
    assert consolidated["attributes"]["gz_complete"] == 0
    with pytest.raises(GazeError, match="not finished by its writer"):
        artifacts.open(part)


def test_foreign_containers_are_refused_by_what_they_lack(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(GazeError, match="without the attribute gz_schema"):
        artifacts.open(tmp_path / "a.zarr")
    group.attrs["gz_schema"] = "mine"
    group.create_array("x", shape=(3,), dtype="f4")
    with pytest.raises(GazeError, match="variable x has dimensions without names"):
        artifacts.open(tmp_path / "a.zarr")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["gz_schema"] = "mine"
        file["x"] = np.zeros(3)
    with pytest.raises(GazeError, match="variable x has a dimension without a scale"):
        artifacts.open(tmp_path / "a.h5")


def test_a_variable_without_any_dimension_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["gz_schema"] = "mine"
        file["x"] = 1.0
    with pytest.raises(GazeError, match="x has no dimension"):
        artifacts.open(tmp_path / "a.h5")


def test_groups_inside_an_hdf5_file_are_passed_over(samples, tmp_path):
    copy = shutil.copy(samples[".h5"], tmp_path / "a.h5")
    with h5py.File(copy, "r+") as file:
        file.create_group("somebody_elses")["x"] = 1
    with artifacts.open(copy) as artifact:
        assert "somebody_elses" not in artifact


def test_old_zarr_formats_are_refused_unread(tmp_path):
    with zarr.storage.ZipStore(tmp_path / "a.zarr.zip", mode="w") as file:
        zarr.open_group(file, mode="w", zarr_format=2, attributes={"gz_schema": "mine"})
    with pytest.raises(GazeError, match="damaged or no artifact"):
        artifacts.open(tmp_path / "a.zarr.zip")


def test_one_dimension_has_one_length(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", attributes={"gz_schema": "mine"})
    group.create_array("x", shape=(3,), dtype="f4", dimension_names=("sample",))
    group.create_array("y", shape=(4,), dtype="f4", dimension_names=("sample",))
    with pytest.raises(GazeError, match="dimension sample is 3 long, but 4 in y"):
        artifacts.open(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "provenance", ["{oops", "[1]", '[{"id": 1}]', '{"id": "a"}', '[{"id": "a", "parents": [], "argv": "gz"}]']
)
def test_damaged_provenance_is_an_error_of_the_data(tmp_path, provenance):
    attributes = {"gz_schema": "mine", "gz_provenance": provenance}
    zarr.open_group(tmp_path / "a.zarr", mode="w", attributes=attributes)
    with artifacts.open(tmp_path / "a.zarr") as artifact, pytest.raises(GazeError, match="gz_provenance is damaged"):
        _ = artifact.provenance


# ---- absurd and broken files: refused before memory is taken ---------------------------------------------------------


def claim(path: Path, shape: list[int], chunk: list[int]) -> None:
    """Let a zarr folder claim another shape and chunk of its heat maps, in both places that say so."""
    for file, where in (
        (path / "zarr.json", ("consolidated_metadata", "metadata", "heatmap")),
        (path / "heatmap/zarr.json", ()),
    ):
        document = json.loads(file.read_text())
        array = document
        for key in where:
            array = array[key]
        array["shape"] = shape
        array["chunk_grid"]["configuration"]["chunk_shape"] = chunk
        file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ([10**15, 8, 8], [64, 8, 8]),
        ([6, 10**12, 8], [6, 8, 8]),
        ([6, 8, 8], [10**12, 8, 8]),
        ([6, 1 << 20, 1 << 20], [1, 8, 8]),
    ],
)
def test_absurd_claims_are_refused_at_once(tmp_path, fill, shape, chunk):
    path = fill(tmp_path / "a.zarr", "heatmaps", y=8, x=8)
    claim(path, shape, chunk)
    with pytest.raises(GazeError, match=r"heatmap claims the shape .* refused"):
        artifacts.open(path)


def test_a_dimension_of_a_trillion_rows_costs_no_time_and_no_memory(tmp_path, fill):
    path = fill(tmp_path / "a.zarr", "heatmaps", y=8, x=8, without=())
    for variable in path.iterdir():
        if variable.is_dir() and variable.name != "heatmap":
            shutil.rmtree(variable)
    claim(path, [10**12, 8, 8], [1, 8, 8])
    document = json.loads((path / "zarr.json").read_text())
    del document["consolidated_metadata"]
    (path / "zarr.json").write_text(json.dumps(document))
    with artifacts.open(path) as artifact:
        assert len(checks.missing_chunks(artifact)) == checks.MOST_MISSING
        with pytest.raises(GazeError, match="refused to read them at once"):
            artifact["heatmap"].whole()


@pytest.mark.parametrize("suffix", [".zarr.zip", ".h5"])
def test_every_truncation_is_noticed(samples, tmp_path, suffix):
    whole = samples[suffix].read_bytes()
    for length in (9, 100, len(whole) // 2, len(whole) - 40):
        (tmp_path / f"cut{suffix}").write_bytes(whole[:length])
        with pytest.raises(GazeError, match=r"damaged|neither"):
            artifacts.open(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_flipped_bytes_never_surprise(samples, tmp_path, suffix):
    """Whatever a damaged file does to zarr, zipfile or h5py, the user reads one line about it, or about nothing."""
    rng = np.random.default_rng(5)
    broken = tmp_path / f"broken{suffix}"
    for _ in range(12):
        shutil.rmtree(broken, ignore_errors=True)
        if samples[suffix].is_dir():
            shutil.copytree(samples[suffix], broken)
        else:
            shutil.copy(samples[suffix], broken)
        files = [broken] if broken.is_file() else sorted(broken.rglob("zarr.json"))
        file = files[rng.integers(len(files))]
        data = bytearray(file.read_bytes())
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        file.write_bytes(data)
        try:
            with artifacts.open(broken) as artifact:
                assert isinstance(checks.problems(artifact), list)
        except GazeError as error:
            assert str(broken) in str(error)


def test_a_zip_with_a_member_too_large_is_read_by_chunks_only(samples):
    with zipfile.ZipFile(samples[".zarr.zip"]) as archive:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        assert sum(member.file_size for member in archive.infolist()) < 200_000
