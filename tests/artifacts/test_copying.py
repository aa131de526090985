"""Select and concat: rows with everything that belongs to them."""

import numpy as np
import pytest
import zarr

from gazecore import artifacts
from gazecore.artifacts import checks, copying
from gazecore.errors import GazeError


def select(source, target, rows):
    with (
        artifacts.open(source) as artifact,
        artifacts.create(
            target, artifact.kind, copying.carried_attrs(artifact, target.parent), extra=copying.copied_specs(artifact)
        ) as writer,
    ):
        copying.copy_rows(artifact, writer, np.asarray(rows))
    return artifacts.open(target)


def concat(target, *sources):
    opened = [artifacts.open(source) for source in sources]
    joined = copying.Concatenation(opened, target.parent)
    with artifacts.create(target, opened[0].kind, joined.attrs, extra=joined.specs) as writer:
        for artifact in opened:
            joined.append(artifact, writer)
    return artifacts.open(target)


def images(artifact) -> list[bytes]:
    """The scene of each sample."""
    packed = artifact.packed("image_data")
    return [packed[i] for i in artifact["image_index"][:].tolist()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("copying")


@pytest.fixture(scope="module")
def samples(folder, fill):
    """Sources of twelve questions about seven pictures, in every container."""
    return {s: fill(folder / f"vqa{s}", "vqa-samples", n=12, image=7) for s in (".zarr", ".zarr.zip", ".h5")}


# ---- select ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zarr", ".zarr.zip", ".h5"])
@pytest.mark.parametrize("rows", [[0], [11, 3, 3, 5], list(range(12)), [4, 5, 6, 7]])
def test_selected_rows_bring_their_images_answers_and_fixations(samples, tmp_path, suffix, rows):
    with artifacts.open(samples[suffix]) as source, select(samples[suffix], tmp_path / "out.zarr", rows) as chosen:
        assert checks.problems(chosen) == []
        assert images(chosen) == [images(source)[row] for row in rows]
        np.testing.assert_array_equal(chosen["question"][:], source["question"][:][rows])
        assert len(chosen["image_name"]) == len(set(source["image_index"][:][rows].tolist()))
        for counts, ragged in (("answers_count", "answers"), ("fixation_count", "fixation_px")):
            ends = np.cumsum(source[counts][:])
            pieces = [source[ragged][ends[r] - source[counts][r] : ends[r]] for r in rows]
            np.testing.assert_array_equal(chosen[ragged][:], np.concatenate(pieces))
            np.testing.assert_array_equal(chosen[counts][:], source[counts][:][rows])


def test_rows_without_any_ragged_row_keep_the_empty_variable(samples, tmp_path):
    with artifacts.open(samples[".zarr"]) as source:
        none = np.flatnonzero(source["answers_count"][:] == 0)[:1]
    with select(samples[".zarr"], tmp_path / "out.zarr", none) as chosen:
        assert chosen["answers"].shape == (0,) and chosen["answers_count"][:].tolist() == [0]


def test_selecting_everything_gives_the_same_content(samples, tmp_path, folder, fill):
    source = fill(tmp_path / "plr.zarr", "plr", n=9)
    with artifacts.open(source) as before, select(source, tmp_path / "out.zarr", np.arange(9)) as after:
        assert before.id == after.id


def test_variables_that_no_schema_knows_are_copied_too(tmp_path, fill):
    source = fill(tmp_path / "a.zarr", "plr", n=3)
    group = zarr.open_group(source, mode="r+")
    group.create_array("my_score", shape=(3,), dtype="f4", dimension_names=("sample",))[:] = [1, 2, 3]
    with select(source, tmp_path / "out.zarr", [2, 0]) as chosen:
        assert chosen["my_score"][:].tolist() == [3, 1]


def test_the_folder_of_the_images_stays_reachable_from_another_folder(tmp_path, fill):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    packed = ("image_data", "image_bytes")
    source = fill(tmp_path / "a.zarr", "gaze-samples", without=packed, attrs={"image_root": "raw/images"})
    with select(source, tmp_path / "deep/er/out.zarr", [0]) as chosen:
        assert chosen.attrs["image_root"] == "../../raw/images"
        assert copying.image_root(chosen) == (tmp_path / "raw/images").resolve()


def test_pointers_and_counts_that_lie_are_errors_of_the_data(samples, tmp_path):
    import shutil

    for name, value, complaint in (
        ("image_index", 7, "points outside its table image"),
        ("answers_count", 99, "does not count"),
    ):
        broken = shutil.copytree(samples[".zarr"], tmp_path / f"{name}.zarr")
        zarr.open_group(broken, mode="r+")[name][0] = value
        with pytest.raises(GazeError, match=complaint):
            select(broken, tmp_path / "out.zarr", [0, 1])


# ---- concat ----------------------------------------------------------------------------------------------------------


def test_joined_artifacts_hold_all_rows_and_their_pointers_move(tmp_path, samples, fill):
    more = fill(tmp_path / "more.zarr", "vqa-samples", n=5, image=3, seed=1)
    with concat(tmp_path / "out.zarr", samples[".h5"], more, samples[".zarr"]) as joined:
        assert checks.problems(joined) == [] and len(joined) == 29 and joined.dims["image"] == 17
        parts = [artifacts.open(path) for path in (samples[".h5"], more, samples[".zarr"])]
        assert images(joined) == [image for part in parts for image in images(part)]
        for name in ("question", "answers", "answers_count", "fixation_px", "fixation_s"):
            np.testing.assert_array_equal(joined[name][:], np.concatenate([part[name][:] for part in parts]))


def test_halves_of_an_artifact_join_to_the_whole(tmp_path, fill):
    whole = fill(tmp_path / "whole.zarr", "gaze-predictions", n=8, image=3)
    select(whole, tmp_path / "a.zarr", np.arange(3)).close()
    select(whole, tmp_path / "b.zarr", np.arange(3, 8)).close()
    with (
        artifacts.open(whole) as before,
        concat(tmp_path / "c.zarr", tmp_path / "a.zarr", tmp_path / "b.zarr") as after,
    ):
        for name in ("heatmap", "gaze_targets", "sample_id"):
            np.testing.assert_array_equal(before[name][:], after[name][:])
        assert images(before) == images(after)


def test_fewer_annotators_are_padded_with_missing_ones(tmp_path, fill):
    one = fill(tmp_path / "one.zarr", "gaze-samples", n=2, annotator=1)
    ten = fill(tmp_path / "ten.zarr", "gaze-samples", n=3, annotator=10, seed=1)
    with concat(tmp_path / "out.zarr", one, ten) as joined, artifacts.open(one) as first:
        targets = joined["gaze_targets"][:]
        assert targets.shape == (5, 10, 2)
        np.testing.assert_array_equal(targets[:2, :1], first["gaze_targets"][:])
        assert np.isnan(targets[:2, 1:]).all() and not np.isnan(targets[2:]).all()


def test_the_wider_precision_wins(tmp_path, fill):
    half = fill(tmp_path / "half.zarr", "gaze-predictions", n=2, dtypes={"heatmap": "float16"})
    single = fill(tmp_path / "single.zarr", "gaze-predictions", n=2, seed=1, dtypes={"heatmap": "float32"})
    for sources in ((half, single), (single, half)):
        with concat(tmp_path / f"{sources[0].stem}-first.zarr", *sources) as joined:
            assert joined["heatmap"].dtype_name == "float32"


def test_missing_numbers_are_nan_and_missing_names_empty(tmp_path, fill, monkeypatch):
    monkeypatch.setattr(copying, "MISSING_BLOCK", 2)
    full = fill(tmp_path / "full.zarr", "heatmaps", n=2, without=("scale",))
    lacking = fill(tmp_path / "lacking.zarr", "heatmaps", n=5, without=("scale", "cc", "name", "point"))
    with concat(tmp_path / "out.zarr", full, lacking) as joined:
        assert np.isnan(joined["cc"][2:]).all() and joined["name"][2:].tolist() == [""] * 5
        assert joined["point"].shape == (7, 2)


def test_tables_that_all_share_are_taken_once(tmp_path, fill):
    train = fill(tmp_path / "train.zarr", "action-clips", n=4, seed=3)
    with artifacts.open(train) as artifact:
        select(train, tmp_path / "val.zarr", [1, 2]).close()
        with concat(tmp_path / "out.zarr", train, tmp_path / "val.zarr") as joined:
            assert len(joined) == 6
            assert {d: joined.dims[d] for d in ("verb", "noun", "action")} == {
                d: artifact.dims[d] for d in ("verb", "noun", "action")
            }
            assert joined.dims["video"] == artifact.dims["video"]


def test_everything_that_keeps_artifacts_apart_is_listed(tmp_path, fill):
    first = fill(tmp_path / "first.zarr", "heatmaps", y=8, x=8, without=("scale",), dtypes={"heatmap": "float16"})
    other_size = fill(tmp_path / "size.zarr", "heatmaps", y=4, x=8, dtypes={"heatmap": "uint8"}, without=("valid",))
    other_kind = fill(tmp_path / "kind.zarr", "plr")
    with pytest.raises(GazeError, match="these artifacts cannot be joined") as error:
        concat(tmp_path / "out.zarr", first, other_size, other_kind)
    listed = str(error.value)
    assert f'{other_kind} holds "plr", {first} holds "heatmaps"' in listed
    assert "heatmap is float16 and uint8" in listed
    assert "valid is missing in" in listed and "cannot be NaN" in listed
    other_size = fill(tmp_path / "size2.zarr", "heatmaps", y=4, x=8, without=("scale",))
    with pytest.raises(GazeError, match=r"heatmap has rows of \(4, 8\) and \(8, 8\)"):
        concat(tmp_path / "out.zarr", first, other_size)


def test_classes_with_other_names_are_not_joined(tmp_path, fill):
    first, second = (fill(tmp_path / f"{seed}.zarr", "action-clips", seed=seed) for seed in (0, 1))
    with pytest.raises(GazeError, match="action_pair differs, so the classes do too"):
        concat(tmp_path / "out.zarr", first, second)


def test_images_by_path_are_named_from_their_common_folder(tmp_path, fill):
    packed = ("image_data", "image_bytes")
    sources = []
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        sources.append(fill(tmp_path / name / "a.zarr", "gaze-samples", without=packed, attrs={"image_root": "."}))
    with concat(tmp_path / "out.zarr", *sources) as joined, artifacts.open(sources[0]) as first:
        assert joined.attrs["image_root"] == "."
        before, after = first["image_name"][:].tolist(), joined["image_name"][:].tolist()
        assert after == [f"left/{name}" for name in before] + [f"right/{name}" for name in before]


def test_packed_images_and_paths_are_not_joined(tmp_path, fill):
    packed = fill(tmp_path / "packed.zarr", "gaze-samples")
    by_path = fill(
        tmp_path / "paths.zarr", "gaze-samples", without=("image_data", "image_bytes"), attrs={"image_root": "."}
    )
    with pytest.raises(GazeError, match=r"packed\.zarr hold their images, .*paths\.zarr name files; prepare all"):
        concat(tmp_path / "out.zarr", packed, by_path)
