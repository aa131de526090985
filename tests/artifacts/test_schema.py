"""The documents in schemas/: each is sound, can be written, and opens with xarray in every container."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import zarr
from gazecore.tools.__main__ import COMMANDS

from gazecore import artifacts
from gazecore.artifacts import checks, schema
from gazecore.errors import GazeError

KINDS = schema.names()
FOLDER = files("gazecore.schemas")


def document(kind: str) -> dict:
    return json.loads((FOLDER / f"{kind}.json").read_text("utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_follows_the_meta_schema(kind):
    meta = json.loads((FOLDER / "_meta.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(meta)
    jsonschema.validate(document(kind), meta, cls=jsonschema.Draft202012Validator)
    assert document(kind)["name"] == kind


@pytest.mark.parametrize("kind", KINDS)
def test_dimensions_are_declared_used_and_never_share_a_name_with_a_variable(kind):
    known = schema.load(kind)
    used = {dim for spec in known.variables.values() for dim in spec.dims}
    assert used == set(known.dims)
    assert not used & known.variables.keys()  # one name space in HDF5
    assert known.dims["sample"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_dimensions_are_named_after_their_variable_and_counted(kind):
    variables = schema.load(kind).variables
    for spec in variables.values():
        ragged = spec.dims[0].endswith(("_row", "_byte"))
        assert ragged == (spec.ragged_by is not None)
        if spec.ragged_by:
            counter = variables[spec.ragged_by]
            assert counter.dtypes == ("int64",) or counter.dtypes == ("int32",)
            assert len(counter.dims) == 1 and counter.ragged_by is None
        if spec.packed:
            assert spec.dims[0].endswith("_byte") and spec.dtypes == ("uint8",) and len(spec.dims) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_pointers_ranges_and_groups_name_what_there_is(kind):
    known = schema.load(kind)
    for spec in known.variables.values():
        assert spec.indexes is None or (spec.indexes in known.dims and spec.dtypes[0].startswith("int"))
        if spec.minimum is not None and spec.maximum is not None:
            assert spec.minimum < spec.maximum
        if spec.dtypes == ("string",):
            assert spec.minimum is spec.maximum is None
        if spec.dtypes[0] == "uint8":
            assert (spec.minimum or 0) >= 0 and (spec.maximum or 0) <= 255
    assert all(name in known.variables for group in known.any_of for name in group)


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_that_make_a_kind_are_named_as_commands_are(kind):
    for command in schema.load(kind).made_by:
        task = {"prep", "make", "predict", "eval", "segment", "calibrate", "pir", "plr", "convert"}
        assert command in COMMANDS or command.partition("-")[0] in task


def test_a_kind_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(GazeError, match='no artifact kind "maps"; there are action-clips, '):
        schema.load("maps")


# ---- written and read by others --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory, fill):
    """One artifact of each kind with random values, as a zarr folder and as HDF5."""
    folder = tmp_path_factory.mktemp("kinds")
    for number, kind in enumerate(KINDS):
        for suffix in (".zarr", ".h5"):
            fill(folder / f"{kind}{suffix}", kind, seed=number)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_random_values_within_the_ranges_make_a_whole_artifact(every_kind, kind):
    for suffix in (".zarr", ".h5"):
        with artifacts.open(every_kind / f"{kind}{suffix}", kind=kind) as artifact:
            assert checks.problems(artifact) == []
            assert set(artifact.variables) == set(schema.load(kind).variables)


SCRIPT = """
import json, sys, warnings
import xarray
warnings.simplefilter("error")
found = {}
for path in sys.argv[2:]:
    opened = xarray.open_zarr(path) if path.endswith(".zarr") else xarray.open_dataset(path, engine=sys.argv[1])
    with opened as dataset:
        variables = {n: (v.dims, v.values.tolist(), str(v.dtype)) for n, v in dataset.variables.items()}
        found[path] = (dict(dataset.attrs), variables, dict(dataset.sizes))
print(json.dumps(found, default=lambda number: number.item()))
"""


@pytest.mark.parametrize(("engine", "suffixes"), [("h5netcdf", (".zarr", ".h5")), ("netcdf4", (".h5",))])
def test_xarray_reads_every_kind_with_equal_values_and_no_warning(every_kind, engine, suffixes):
    """In a process of its own: netCDF4 and h5py, two builds of HDF5, do not live together."""
    paths = [str(every_kind / f"{kind}{suffix}") for kind in KINDS for suffix in suffixes]
    done = subprocess.run([sys.executable, "-c", SCRIPT, engine, *paths], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    for path, (attrs, variables, sizes) in json.loads(done.stdout).items():
        with artifacts.open(path) as artifact:
            assert attrs == artifact.attrs and sizes == artifact.dims
            assert variables.keys() == artifact.variables.keys()
            for name, (dims, found, dtype) in variables.items():
                ours = artifact[name]
                assert tuple(dims) == ours.dims, (path, name)
                if ours.dtype_name == "string":
                    assert found == ours[:].tolist(), (path, name)
                else:
                    np.testing.assert_array_equal(np.array(found), ours[:].astype(np.float64), f"{path} {name}")
                    stored = ours.dtype_name if artifact.container == "zarr" else ours.dtype_name.replace("16", "32")
                    assert dtype == stored


# ---- what departs from a schema --------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    group = zarr.open_group(
        tmp_path / "a.zarr", mode="w", attributes={"gz_schema": "heatmaps", "gz_schema_version": "1.0"}
    )
    group.create_array("point", shape=(3, 5), dtype="f4", dimension_names=("sample", "xy"))
    group.create_array("name", shape=(3,), dtype="i4", dimension_names=("row",))
    group.create_array("users_own", shape=(3,), dtype="i4", dimension_names=("row",))
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert schema.problems(artifact) == [
            "name has dims (row); expected (sample)",
            "name is int32; expected string",
            "point is float32; expected float64",
            "point: dimension xy is 5 long; expected 2",
        ]


def test_values_outside_their_range_are_counted(tmp_path, fill):
    path = fill(tmp_path / "a.zarr", "gaze-samples", image=5)
    group = zarr.open_group(path, mode="r+")
    group["image_index"][1:3] = [-1, 5]
    group["in_frame"][0] = 2
    with artifacts.open(path) as artifact:
        found = schema.problems(artifact, values=True)
    assert "image_index: 2 values outside 0..4" in found and "in_frame: 1 values outside 0..1" in found


def test_a_changed_value_is_found_by_its_content_id(tmp_path, fill):
    path = fill(tmp_path / "a.zarr", "pupil-trace")
    zarr.open_group(path, mode="r+")["time_s"][0] = 77.0
    with artifacts.open(path) as artifact:
        assert any("content id" in problem for problem in checks.problems(artifact))


def test_a_missing_chunk_is_found(tmp_path, fill):
    path = fill(tmp_path / "a.zarr", "heatmaps")
    (path / "heatmap" / "c" / "0" / "0" / "0").unlink()
    with artifacts.open(path) as artifact:
        assert checks.problems(artifact) == ["1 chunk files are missing, for example heatmap/c/0/0/0"]


def test_an_image_that_cannot_be_decoded_is_found(tmp_path):
    with artifacts.create(tmp_path / "a.zarr", "gaze-samples") as made:
        made.append(dim="image", image_name=["a"], image_size_px=np.array([[4, 4]]), image_data=[b"no image"])
        made.append(
            sample_id=["a"], image_index=np.array([0]), head_box_px=np.ones((1, 4)), gaze_targets=np.zeros((1, 1, 2))
        )
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert any("image_data[0] cannot be decoded" in problem for problem in checks.problems(artifact))


def test_documents_lie_in_the_package():
    assert Path(str(FOLDER)).is_dir() and {f"{kind}.json" for kind in KINDS} <= {p.name for p in FOLDER.iterdir()}
