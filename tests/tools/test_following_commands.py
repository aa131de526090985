"""Gaze following through the shell: made data in its original layout in, scores and pictures out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell_lines import shell

from gazecore import artifacts


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made data, prepared and predicted once."""
    folder = tmp_path_factory.mktemp("following")
    done = shell(
        "gz make-tiny gazefollow -o raw --n 16 --seed 3 && gz prep-gazefollow raw -o gf.zarr && "
        "gz predict-following gf.zarr --split test --checkpoint gazelle:tiny --device cpu -o predictions.zarr",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_prep_reports_every_repaired_and_dropped_row(work: Path):
    done = shell("gz prep-gazefollow raw -o again.zarr --json", work)
    counts = json.loads(done.stdout)
    made = json.loads(shell("gz make-tiny gazefollow -o raw2 --n 16 --seed 3 --json", work).stdout)
    assert counts["dropped: in_frame is -1"] == made["invalid"]
    assert counts["repaired: swapped box"] == made["swapped_boxes"]
    with artifacts.open(work / "gf.zarr") as samples:
        assert counts["samples"] == len(samples) == made["train_people"] + made["test_people"] - made["invalid"]


def test_images_by_path_and_packed_are_the_same_pictures(work: Path):
    from gazecore import images
    from gazecore.artifacts.gaze_samples import Scenes

    assert shell("gz prep-gazefollow raw -o paths.zarr --images paths", work).returncode == 0
    with artifacts.open(work / "paths.zarr") as by_path, artifacts.open(work / "gf.zarr") as packed:
        for row in range(len(Scenes(packed))):
            assert np.array_equal(images.load(Scenes(by_path)[row]), images.load(Scenes(packed)[row]))


@pytest.mark.slow
def test_a_changed_image_file_is_noticed(work: Path, tmp_path: Path):
    shell(f"cp -r raw {tmp_path}/raw && cd {tmp_path} && gz prep-gazefollow raw -o p.zarr --images paths", work)
    first = next((tmp_path / "raw" / "test2").rglob("*.jpg"))
    os.utime(first, (1, 1))
    done = shell("gz predict-following p.zarr --checkpoint gazelle:tiny --split test -o x.zarr", tmp_path)
    assert done.returncode == 65 and "changed since" in done.stderr


def test_predictions_hold_a_map_a_point_and_a_score_for_everybody(work: Path):
    with artifacts.open(work / "predictions.zarr", kind="gaze-predictions") as predictions:
        heatmaps = predictions["heatmap"][:].astype(np.float32)
        assert heatmaps.shape[1:] == (64, 64) and predictions["heatmap"].dtype_name == "float16"
        assert ((predictions["in_frame_score"][:] >= 0) & (predictions["in_frame_score"][:] <= 1)).all()
        assert set(predictions["split"].whole().tolist()) == {"test"}
        assert len(np.unique(predictions["image_index"][:])) == predictions.dims["image"]


@pytest.mark.slow
def test_evaluating_predictions_or_samples_gives_the_same_scores(work: Path):
    piped = json.loads(shell("gz eval-following predictions.zarr --json", work).stdout)
    direct = json.loads(
        shell("gz eval-following gf.zarr --split test --checkpoint gazelle:tiny --device cpu --json", work).stdout
    )
    own = {name for name in direct["metrics"] if not name.startswith("mean_map")}  # that needs the training split
    assert {name: piped["metrics"][name] for name in own} == {name: direct["metrics"][name] for name in own}
    assert piped["protocol"] == "gazelle" and piped["metrics"]["auc"]["n"] == piped["n"]


@pytest.mark.parametrize("protocol", ["vtd", "tonini", "sharingan"])
def test_other_protocols_are_named_in_output_and_artifact(work: Path, protocol: str):
    line = f"gz eval-following predictions.zarr --protocol {protocol} -o {protocol}.zarr | jq -r .summary.protocol"
    done = shell(line.replace("| jq -r .summary.protocol", "> record.json"), work)
    assert done.returncode == 0, done.stderr
    assert json.loads((work / "record.json").read_text())["summary"]["protocol"] == protocol
    with artifacts.open(work / f"{protocol}.zarr") as scored:
        assert scored.attrs["auc_protocol"] == protocol
        assert np.isfinite(scored["auc"][:]).all()


@pytest.mark.slow
def test_out_of_frame_samples_are_skipped_counted_and_give_an_average_precision(work: Path):
    line = "gz eval-following gf.zarr --split train --checkpoint gazelle:tiny --device cpu --json"
    summary = json.loads(shell(line, work).stdout)
    with artifacts.open(work / "gf.zarr") as samples:
        train = samples["split"].whole() == "train"
        out = int((samples["in_frame"].whole()[train] == 0).sum())
    assert out and summary["skipped"]["out of frame"] == out
    assert summary["metrics"]["in_frame_ap"]["n"] == summary["n"]
    assert summary["metrics"]["auc"]["n"] == summary["n"] - out


def test_the_whole_pipe_ends_in_a_report_and_leaves_no_temporary_artifact(work: Path):
    done = shell(
        "gz select gf.zarr --split test --limit 6 | gz predict-following --checkpoint gazelle:tiny --device cpu "
        "| gz eval-following | gz visualize -o report.html > /dev/null",
        work,
    )
    assert done.returncode == 0, done.stderr
    assert "shows 6 of 6 samples" in done.stderr
    assert list((work / "tmp").iterdir()) == []


@pytest.mark.slow
def test_resumed_prediction_has_the_content_of_an_unbroken_one(work: Path):
    line = "gz predict-following gf.zarr --checkpoint gazelle:tiny --device cpu --batch-size 4"
    assert shell(f"{line} -o whole.zarr", work).returncode == 0
    assert shell(f"{line} -o part.zarr --resume", work).returncode == 0
    with artifacts.open(work / "whole.zarr") as whole, artifacts.open(work / "part.zarr") as part:
        assert whole.id == part.id


@pytest.mark.slow
def test_vtd_and_gazelle_share_command_and_artifact(work: Path):
    done = shell("gz predict-following gf.zarr --split test --limit 3 --checkpoint vtd:tiny -o by-vtd.zarr", work)
    assert done.returncode == 0, done.stderr
    with artifacts.open(work / "by-vtd.zarr") as predictions:
        assert predictions.attrs["model"] == "vtd" and predictions["heatmap"].shape == (3, 64, 64)


def test_samples_without_checkpoint_cannot_be_evaluated(work: Path):
    done = shell("gz eval-following gf.zarr -o x.zarr", work)
    assert done.returncode == 2 and "--checkpoint" in done.stderr


def test_an_artifact_of_another_kind_is_refused_by_name(work: Path):
    shell("gz convert predictions.zarr --to npz -o npz && gz convert npz -o maps.zarr", work)
    done = shell("gz eval-following maps.zarr -o x.zarr", work)
    assert done.returncode == 65 and 'holds "heatmaps"; expected "gaze-predictions" or "gaze-samples"' in done.stderr


@pytest.mark.slow
def test_a_photo_becomes_an_overlay(work: Path, tmp_path: Path):
    from skimage import data

    Image.fromarray(data.astronaut()).save(tmp_path / "photo.jpg", quality=95)
    done = shell(
        "gz prep-images photo.jpg --detect haar | gz predict-following --checkpoint gazelle:tiny --device cpu "
        "| gz visualize -o out",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (picture,) = (tmp_path / "out").glob("*.png")
    with Image.open(picture) as drawn:
        assert drawn.width > 400 and drawn.height > 300


def test_head_boxes_from_a_table_reach_the_artifact(tmp_path: Path):
    Image.new("RGB", (64, 48), (90, 120, 60)).save(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text("image,x_min,y_min,x_max,y_max\na.png,4,5,20,25\na.png,30,6,50,28\n")
    assert shell("gz prep-images a.png --boxes boxes.csv -o s.zarr", tmp_path).returncode == 0
    with artifacts.open(tmp_path / "s.zarr") as samples:
        assert samples["head_box_px"][:].tolist() == [[4, 5, 20, 25], [30, 6, 50, 28]]
        assert samples.dims["image"] == 1 and np.isnan(samples["gaze_targets"][:]).all()
