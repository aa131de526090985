"""The video sets and GOO through the shell: made in their original layouts, prepared, mixed, predicted and scored."""

import json
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from shell_lines import shell

from gazecore import artifacts, images
from gazecore.artifacts.gaze_samples import Scenes

pytestmark = pytest.mark.slow


def done(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One shell line that succeeds."""
    finished = shell(line, folder)
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ObjectAttention (.ppm) and VideoAttentionTarget (.jpg), made and prepared."""
    folder = tmp_path_factory.mktemp("prep")
    done(
        "gz make-tiny objectattention -o oa --n 3 --seed 1 --json > oa.json; gz prep-objectattention oa -o oa.zarr;"
        "gz make-tiny videoattentiontarget -o vat --n 4 --seed 1 --json > vat.json;"
        "gz prep-videoattentiontarget vat -o vat.zarr",
        folder,
    )
    return folder


def test_what_failed_by_hand_works_in_a_pipe_shows_of_one_set_with_the_other_ppm_with_jpg(work: Path):
    done(
        """gz select vat.zarr --where "startswith(clip, 'Veep/') or startswith(clip, 'Jamie_Oliver/')" -o shows.zarr;"""
        "gz concat oa.zarr shows.zarr -o all.zarr; gz verify all.zarr;"
        "gz select all.zarr --shuffle --limit 8 | gz predict-following --checkpoint vtd:tiny --device cpu"
        " | gz eval-following -o scored.zarr > record.json",
        work,
    )
    with artifacts.open(work / "all.zarr", kind="gaze-samples") as mixed:
        assert {Path(name).suffix for name in mixed["image_name"].whole()} == {".ppm", ".jpg"}
        assert set(mixed["dataset"].whole().tolist()) == {"objectattention", "videoattentiontarget"}
        assert set(mixed["split"].whole().tolist()) == {"train", "test"}
        shows = {str(clip).split("/")[0] for clip in mixed["clip"].whole() if "participant" not in str(clip)}
        assert shows == {"Veep", "Jamie_Oliver"}
    with artifacts.open(work / "scored.zarr") as scored:
        in_frame = scored["in_frame"][:] == 1
        assert len(scored) == 8 and np.isfinite(scored["minimum_l2"][:][in_frame]).all()


def test_prepared_video_holds_tracks_and_the_pixels_of_its_frames(work: Path):
    made = json.loads((work / "vat.json").read_text())
    with artifacts.open(work / "vat.zarr", kind="gaze-samples") as samples:
        assert len(samples) == made["in_frame"] + made["out_of_frame"]
        tracks = {*zip(samples["clip"].whole().tolist(), samples["track_id"].whole().tolist(), strict=True)}
        assert len(tracks) == made["train_tracks"] + made["test_tracks"]
        names = samples["image_name"].whole().tolist()
        assert len(names) == len(set(names)) <= made["frames"]  # each once, whoever is in it
        frames = np.diff(samples["frame"][:])
        assert (frames > 1).sum() >= made["interrupted_tracks"]
    with artifacts.open(work / "oa.zarr") as samples:
        name = str(samples["image_name"].whole()[0])
        assert np.array_equal(images.load(Scenes(samples)[0]), images.load(work / "oa/images" / name))
        assert len(samples) == (made := json.loads((work / "oa.json").read_text()))["frames"] - made["head boxes None"]


def test_frames_as_recorded_become_a_sequence_and_an_artifact(tmp_path: Path):
    line = "gz prep-objectattention raw --xml --work retrain"
    done(f"gz make-tiny objectattention-raw -o raw --n 3; {line} --test-session participant_2 -o oa.zarr", tmp_path)
    with artifacts.open(tmp_path / "oa.zarr", kind="gaze-samples") as samples:
        assert set(samples["split"].whole().tolist()) == {"train", "test"}
        assert len(samples) == len(list((tmp_path / "raw").rglob("*.ppm"))) and (samples["in_frame"][:] == 1).all()
        widths = np.diff(samples["head_box_px"][:][:, [0, 2]])
        assert (widths > 20).all() and (widths < 40).all()  # a head, not an object
    again = shell(f"{line} -o again.zarr", tmp_path)
    assert again.returncode == 73 and "participant_1/" in again.stderr and not (tmp_path / "again.zarr").exists()
    assert "prepare retrain as it is" in again.stderr


def test_options_that_do_not_go_together_are_refused(work: Path, tmp_path: Path):
    for line, message in (
        ("gz prep-objectattention oa --xml -o x.zarr", "--xml and --work go together"),
        ("gz prep-objectattention oa --xml --work oa/work -o x.zarr", "lies in oa"),
    ):
        refused = shell(line, work)
        assert refused.returncode == 2 and message in refused.stderr
    assert not (work / "x.zarr").exists() and not (work / "oa/work").exists()


def test_a_dry_run_needs_the_data_and_writes_nothing(work: Path):
    planned = shell("gz prep-videoattentiontarget vat -o planned.zarr --dry-run", work)
    assert planned.returncode == 0 and "would write planned.zarr" in planned.stderr
    assert not (work / "planned.zarr").exists()
    for command in ("prep-videoattentiontarget", "prep-goo"):
        missing = shell(f"gz {command} nowhere -o planned.zarr --dry-run", work)
        assert missing.returncode == 66 and "expected" in missing.stderr, missing.stderr


def test_childplay_reports_every_row_that_it_drops(tmp_path: Path):
    made = json.loads(done("gz make-tiny childplay -o cp --n 3 --json", tmp_path).stdout)
    counts = json.loads(done("gz prep-childplay cp -o cp.zarr --json", tmp_path).stdout)
    assert counts["dropped: gaze_shift"] == made["gaze_shift"]
    with artifacts.open(tmp_path / "cp.zarr", kind="gaze-samples") as samples:
        assert len(samples) == counts["samples"] and set(samples["split"].whole().tolist()) == {"train", "val", "test"}
        assert {str(track)[0] for track in samples["track_id"].whole()} <= {"a", "c"}


def test_goo_is_prepared_from_its_pickles(tmp_path: Path):
    done("gz make-tiny goo-real -o goo --n 4; gz prep-goo goo -o goo.zarr", tmp_path)
    with artifacts.open(tmp_path / "goo.zarr", kind="gaze-samples") as samples:
        assert len(samples) == 4 and set(samples["dataset"].whole().tolist()) == {"goo-real"}
        size = samples["image_size_px"].whole()[0]
        assert (samples["head_box_px"][:] <= np.tile(size, 2)).all() and not np.isnan(samples["eye"][:]).any()


def test_a_hostile_pickle_is_one_line_and_runs_nothing(tmp_path: Path):
    class Hostile:
        def __reduce__(self):
            return os.system, ("touch owned",)

    (tmp_path / "testrealhumans.pickle").write_bytes(pickle.dumps([{"filename": "a.jpg", "seg": Hostile()}]))
    refused = shell("gz prep-goo . -o goo.zarr", tmp_path)
    assert refused.returncode == 65 and "refers to posix.system" in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "owned").exists() and not (tmp_path / "goo.zarr").exists()


def test_annotations_of_another_project_replace_the_tables_of_a_split(work: Path):
    frame = next((work / "vat/images/Jamie_Oliver").rglob("*.jpg")).relative_to(work / "vat").as_posix()
    head = {"bbox_norm": [0.1, 0.1, 0.3, 0.4], "gazex_norm": [0.5], "gazey_norm": [0.5], "inout": 1, "head_id": 0}
    (work / "test_preprocessed.json").write_text(json.dumps([{"frames": [{"path": frame, "heads": [head]}]}]))
    done("gz prep-videoattentiontarget vat --split test --annotations test_preprocessed.json -o gz.zarr", work)
    with artifacts.open(work / "gz.zarr") as samples:
        assert samples["gaze_targets"][:].tolist() == [[[0.5, 0.5]]] and str(samples["track_id"].whole()[0]) == "0"


def test_too_few_clips_are_refused(tmp_path: Path):
    few = shell("gz make-tiny childplay -o few --n 2", tmp_path)
    assert few.returncode == 2 and "at least 3 are needed" in few.stderr and not (tmp_path / "few").exists()
