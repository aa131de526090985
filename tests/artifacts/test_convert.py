"""Containers into one another, and heat maps from and to the files of other programs."""

import itertools

import h5py
import numpy as np
import pytest
from PIL import Image

from gazecore import artifacts
from gazecore.artifacts import checks, copying
from gazecore.errors import EXISTS, IO, USAGE, GazeError
from gazecore.prep import heatmap_files

CONTAINERS = (".zarr", ".zarr.zip", ".h5")


def convert(source, target, **options):
    with (
        artifacts.open(source) as artifact,
        artifacts.create(
            target,
            artifact.kind,
            copying.carried_attrs(artifact, target.parent),
            extra=copying.copied_specs(artifact),
            **options,
        ) as writer,
    ):
        copying.copy_table(artifact, writer)
    return target


@pytest.mark.parametrize(("before", "after"), list(itertools.product(CONTAINERS, CONTAINERS)))
def test_every_container_turns_into_every_other_with_the_same_content(tmp_path, fill, content, before, after):
    source = fill(tmp_path / f"a{before}", "vqa-samples", n=7, attrs={"source": "made up"})
    target = convert(source, tmp_path / f"b{after}")
    with artifacts.open(source) as first, artifacts.open(target) as second:
        assert first.id == second.id == second.content_id()
        assert second.attrs["source"] == "made up" and checks.problems(second) == []
    assert content(source) == content(target)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_half_precision_keeps_its_content_id_in_every_container(tmp_path, fill, suffix):
    source = fill(tmp_path / "a.zarr", "gaze-predictions", dtypes={"heatmap": "float16"})
    with artifacts.open(source) as first, artifacts.open(convert(source, tmp_path / f"b{suffix}")) as second:
        assert second["heatmap"].dtype_name == "float16" and first.id == second.id == second.content_id()
        assert second["heatmap"][:].dtype == np.float16


def test_hdf5_holds_single_precision_unless_half_is_asked_for(tmp_path, fill):
    source = fill(tmp_path / "a.zarr", "gaze-predictions", dtypes={"heatmap": "float16"})
    for keep_half, dtype in ((False, "float32"), (True, "float16")):
        target = convert(source, tmp_path / f"{dtype}.h5", keep_half=keep_half)
        with h5py.File(target) as file:
            assert file["heatmap"].dtype == dtype


def test_no_records_are_no_reason_to_lose_a_variable(tmp_path, content):
    with artifacts.create(tmp_path / "a.zarr", "gaze-samples") as made:
        made.append(dim="image", image_name=[], image_size_px=np.empty((0, 2), np.int32))
        made.append(
            sample_id=[], image_index=[], head_box_px=np.empty((0, 4)), gaze_targets=np.empty((0, 3, 2)), in_frame=[]
        )
    for suffix in CONTAINERS:
        target = convert(tmp_path / "a.zarr", tmp_path / f"b{suffix}")
        assert content(target) == content(tmp_path / "a.zarr")


def test_a_zip_holds_each_member_once_stored_and_unsharded(tmp_path, fill):
    import zipfile

    source = fill(tmp_path / "a.zarr", "heatmaps", n=70, y=64, x=64)
    with zipfile.ZipFile(convert(source, tmp_path / "b.zarr.zip")) as archive:
        members = archive.infolist()
        assert len({m.filename for m in members}) == len(members)
        assert {m.compress_type for m in members} == {zipfile.ZIP_STORED}
        assert sum("heatmap/c/" in m.filename for m in members) == 2  # chunks of 64


# ---- heat maps as plain files ----------------------------------------------------------------------------------------


def maps_of_two_videos() -> tuple[list[str], np.ndarray]:
    heatmaps = np.random.default_rng(0).random((5, 4, 6)).astype(np.float32)
    return ["b", "a", "b", "a", "a"], heatmaps


@pytest.fixture
def two_videos(tmp_path):
    names, heatmaps = maps_of_two_videos()
    with artifacts.create(tmp_path / "maps.zarr", "heatmaps") as made:
        made.append(name=names, heatmap=heatmaps)
    return artifacts.open(tmp_path / "maps.zarr")


def read_back(path):
    blocks = list(heatmap_files.read(path))
    return (
        [name for block in blocks for name in block["name"]],
        np.concatenate([b["heatmap"] for b in blocks]),
        np.concatenate([b["frame"] for b in blocks]),
    )


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_maps_go_out_by_video_and_come_back_exactly(tmp_path, two_videos, form):
    count = heatmap_files.write(two_videos, tmp_path / "out", form, overwrite=False)
    names, heatmaps = maps_of_two_videos()
    found, values, frames = read_back(tmp_path / "out")
    order = [1, 3, 4, 0, 2]  # by name, then in the order of the artifact
    assert count == (2 if form == "npz" else 5)
    assert found == [names[i] for i in order] and frames.tolist() == [0, 1, 2, 0, 1]
    np.testing.assert_array_equal(values, heatmaps[order])


def test_png_keeps_the_shape_of_each_map_in_16_bits(tmp_path, two_videos):
    heatmap_files.write(two_videos, tmp_path / "out", "png", overwrite=False)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a.png", "a_000001.png", "a_000002.png", "b.png", "b_000001.png",
    ]  # fmt: skip
    names, values, _ = read_back(tmp_path / "out")
    first = maps_of_two_videos()[1][1]
    assert names[0] == "a"
    np.testing.assert_allclose(values[0] / 65535, first / first.max(), atol=1 / 65535)


def test_bytes_with_a_scale_become_values(tmp_path):
    with artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(name=["v"], heatmap=np.array([[[0, 255]]], np.uint8), scale=np.array([0.5], np.float32))
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        heatmap_files.write(artifact, tmp_path / "out", "npz", overwrite=False)
    assert read_back(tmp_path / "out")[1].tolist() == [[[0.0, 0.5]]]


def test_names_become_files_inside_the_folder_and_never_the_same(tmp_path):
    names = ["../../etc/passwd", "a/b", "a_b", "A_B", "", ".hidden", "x" * 400]
    with artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(name=names, heatmap=np.ones((7, 2, 2), np.float32))
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        for form in ("npz", "npy", "png"):
            heatmap_files.write(artifact, tmp_path / form, form, overwrite=False)
            files = [p for p in (tmp_path / form).rglob("*") if p.is_file()]
            assert len(files) == 7 and len({str(p).lower() for p in files}) == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "npy", "npz", "png"]


def test_many_maps_of_one_name_each_take_no_square_time(tmp_path):
    names = [f"{i}" for i in range(3000)]
    with artifacts.create(tmp_path / "a.zarr", "heatmaps") as made:
        made.append(name=names, heatmap=np.ones((3000, 2, 2), np.float32))
    assert len(set(heatmap_files._file_names(names).values())) == 3000


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("cut.npz", IO, "cut.npz cannot be read"),
        ("cut.npy", IO, "cut.npy cannot be read"),
        ("cut.png", IO, "cut.png cannot be read"),
        ("pickle.npy", IO, "pickle.npy cannot be read"),
        ("array.npz", IO, "array.npz cannot be read"),
        ("huge.npy", IO, "huge.npy cannot be read"),
        ("flat.npz", 65, r"heatmaps has the shape \(4,\); expected \[T, H, W\]"),
        ("none.npz", 65, r"none.npz holds a, b; expected one array \[T, H, W\], best named heatmaps"),
        ("stack.npy", 65, r"stack.npy holds an array of \(2, 2, 2\); expected one map \[H, W\]"),
    ],
)
def test_files_that_are_no_heat_maps_are_named(tmp_path, file, code, complaint):
    path = tmp_path / file
    np.savez(tmp_path / "whole.npz", heatmaps=np.random.default_rng(0).random((2, 9, 9)))
    np.save(tmp_path / "whole.npy", np.zeros((9, 9)))
    Image.fromarray(np.arange(81, dtype=np.uint8).reshape(9, 9)).save(tmp_path / "whole.png")
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000), }"
    contents = {
        "cut": lambda: path.write_bytes((tmp_path / f"whole{path.suffix}").read_bytes()[:-60]),
        "pickle": lambda: np.save(path, np.array([{}], object)),
        "array": lambda: path.write_bytes((tmp_path / "whole.npy").read_bytes()),
        "huge": lambda: path.write_bytes(header.ljust(127) + b"\n" + bytes(80)),
        "flat": lambda: np.savez(path, heatmaps=np.zeros(4)),
        "none": lambda: np.savez(path, a=np.zeros(4), b=np.zeros(4)),
        "stack": lambda: np.save(path, np.zeros((2, 2, 2))),
    }
    contents[path.stem]()
    with pytest.raises(GazeError, match=complaint) as error:
        list(heatmap_files.read(path))
    assert error.value.code == code


def test_maps_of_two_sizes_are_refused_by_name(tmp_path):
    for name, size in (("a", 4), ("b", 5)):
        np.savez(tmp_path / f"{name}.npz", heatmaps=np.zeros((1, size, size)))
    with pytest.raises(GazeError, match=r"b is \(5, 5\), the maps before it \(4, 4\)"):
        list(heatmap_files.read(tmp_path))


def test_a_folder_with_files_and_an_unknown_format_are_refused(tmp_path, two_videos):
    with pytest.raises(GazeError, match="exists and is not empty") as error:
        heatmap_files.write(two_videos, tmp_path, "npz", overwrite=False)
    assert error.value.code == EXISTS
    with pytest.raises(GazeError, match="--to gif: expected npz, npy, png") as error:
        heatmap_files.write(two_videos, tmp_path / "out", "gif", overwrite=False)
    assert error.value.code == USAGE
