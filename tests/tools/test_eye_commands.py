"""Eyes through the shell: made eyes in, a trained model, masks, scores and pupil-iris ratios out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell_lines import shell

from gazecore import artifacts


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made eyes, prepared, and segmented by the shipped weights."""
    folder = tmp_path_factory.mktemp("eyes")
    done = shell(
        "gz make-tiny eyes -o raw --n 20 --seed 3 && gz prep-eyes raw --size 160x120 -o eyes.zarr -q && "
        "gz segment-eyes eyes.zarr --probabilities --device cpu -o masks.zarr -q",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_prepared_eyes_hold_images_masks_and_the_exact_truth(work: Path):
    with artifacts.open(work / "eyes.zarr", kind="eye-samples") as samples:
        assert samples["image"].shape == (20, 120, 160, 3) and samples["labels"].shape == (20, 120, 160)
        assert set(samples["split"].whole().tolist()) == {"train", "val", "test"}
        assert set(samples["mode"].whole().tolist()) == {"rgb", "nir"} and not np.isnan(samples["pir"][:]).any()
        assert "gz (0 background, 1 iris, 2 pupil, 3 sclera)" in samples.attrs["label_map"]


def test_a_label_map_that_does_not_fit_stops_the_command(work: Path):
    done = shell("gz prep-eyes raw --label-map openeds -o wrong.zarr", work)
    assert done.returncode == 65 and "--label-map gz" in done.stderr and not (work / "wrong.zarr").exists()


@pytest.mark.slow
def test_rendering_goes_on_where_it_was_stopped_and_is_what_make_tiny_makes(work: Path):
    assert (
        shell("gz prep-eyes --render 20 --seed 3 -o r.zarr -q && gz prep-eyes raw -o m.zarr -q", work).returncode == 0
    )
    with artifacts.open(work / "r.zarr") as rendered, artifacts.open(work / "m.zarr") as made:
        assert np.array_equal(rendered["image"][:], made["image"][:])
        assert np.array_equal(rendered["labels"][:], made["labels"][:])


def test_masks_carry_probabilities_and_the_annotation_along(work: Path):
    with artifacts.open(work / "masks.zarr", kind="eye-masks") as masks:
        assert masks["probability"].shape == (20, 4, 120, 160)
        probability = masks["probability"][:].astype(np.float32)
        assert probability.sum(axis=1) == pytest.approx(np.ones((20, 120, 160)), abs=5e-3)
        with artifacts.open(work / "eyes.zarr") as samples:
            assert np.array_equal(masks["labels_true"][:], samples["labels"][:])


@pytest.mark.slow
def test_masks_from_the_pipe_and_samples_with_weights_score_alike(work: Path):
    piped = shell("gz segment-eyes eyes.zarr --probabilities --device cpu -q | gz eval-eyes --json", work)
    direct = shell("gz eval-eyes eyes.zarr --shipped --device cpu --json", work)
    assert piped.returncode == direct.returncode == 0, piped.stderr + direct.stderr
    one, other = json.loads(piped.stdout), json.loads(direct.stdout)
    assert one["n"] == other["n"] == 20 and one["metrics"].keys() >= {"mean_iou", "boundary_f_1px", "pir_mape"}
    assert one["metrics"]["mean_iou"]["mean"] == other["metrics"]["mean_iou"]["mean"] > 0.9
    assert one["metrics"]["pir_mape"]["mean"] == pytest.approx(other["metrics"]["pir_mape"]["mean"], abs=0.02)
    assert set(one["strata"]["mode"]) == {"rgb", "nir"}


def test_scores_are_stored_beside_each_mask(work: Path):
    assert shell("gz eval-eyes masks.zarr -o scored.zarr -q && gz verify scored.zarr", work).returncode == 0
    with artifacts.open(work / "scored.zarr") as scored:
        assert np.nanmin(scored["mean_iou"][:]) > 0.5
        assert scored["pir_error"][:] == pytest.approx(scored["pir_predicted"][:] - scored["pir_true"][:], nan_ok=True)


def test_ratios_of_a_folder_come_as_artifact_and_as_table(work: Path):
    done = shell("gz pir raw/images --fps 30 --csv pupil.csv -o pupil.zarr --device cpu --json", work)
    assert done.returncode == 0, done.stderr
    said, rows = json.loads(done.stdout), rows_of(work / "pupil.csv")
    assert said["frames"] == len(rows) == 20 and said["with_ratio"] >= 15
    assert list(rows[0])[:6] == ["frame", "time_s", "eye", "subject", "trial", "pir"]
    truth = {Path(row["file"]).stem: float(row["pir"]) for row in rows_of(work / "raw" / "truth.csv")}
    with artifacts.open(work / "pupil.zarr", kind="pupil-trace") as trace:
        names = [str(name).split(".")[0] for name in trace["sample_id"].whole()]
        error = np.abs(trace["pir"][:] / [truth[name] for name in names] - 1)
        assert np.nanmedian(error) < 0.04 and trace.attrs["unit"] == "ratio"


@pytest.mark.slow
def test_ratios_of_stored_masks_need_no_network(work: Path):
    done = shell("gz pir masks.zarr --csv from_masks.csv --json", work)
    assert done.returncode == 0 and json.loads(done.stdout)["frames"] == 20 and "device" not in done.stderr
    pupil = shell("gz pir masks.zarr --csv labs.csv --schema pupil -q", work)
    assert pupil.returncode == 0 and {"pupil_timestamp", "eye_id", "diameter"} <= set(rows_of(work / "labs.csv")[0])


@pytest.mark.slow
def test_a_damaged_frame_is_a_flagged_row_and_the_others_are_measured(work: Path, tmp_path: Path):
    for path in sorted((work / "raw" / "images").iterdir())[:4]:
        Image.open(path).save(tmp_path / path.name)
    second = sorted(tmp_path.iterdir())[1]
    second.write_bytes(second.read_bytes()[:100])
    done = shell(f"gz pir {tmp_path} --csv {tmp_path}/out.csv --device cpu -q", work)
    rows = rows_of(tmp_path / "out.csv")
    assert done.returncode == 0 and len(rows) == 4
    assert rows[1]["pir"] == "" and "no_image" in rows[1]["flags"]
    assert all("no_image" not in rows[i]["flags"] for i in (0, 2, 3))


def test_what_cannot_be_measured_is_said(work: Path):
    assert shell("gz pir nowhere.mp4 --csv x.csv", work).returncode == 66
    assert shell("gz prep-eyes raw --render 4 -o x.zarr", work).returncode == 2
    done = shell("gz train-eyes eyes.zarr --preset segformer-tny -o runs", work)
    assert done.returncode == 2 and "did you mean segformer-tiny" in done.stderr


@pytest.mark.slow
def test_a_model_that_trained_quickly_segments_unseen_eyes(work: Path):
    done = shell(
        "gz make-tiny eyes -o many --n 300 --seed 11 && gz prep-eyes many --size 160x120 -o many.zarr -q && "
        "gz train-eyes many.zarr --preset segformer-tiny-quick --device cpu -o run -q && "
        "gz prep-eyes --render 60 --seed 12 --size 160x120 -o unseen.zarr -q && "
        "gz eval-eyes unseen.zarr --checkpoint run/best.safetensors --device cpu --json -q > scores.json",
        work,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((work / "scores.json").read_text())["metrics"]
    assert metrics["mean_iou"]["mean"] >= 0.80 > metrics["mean_mask_mean_iou"]["mean"]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(work: Path):
    line = "gz train-eyes eyes.zarr --preset segformer-tiny-quick --steps 3 --batch-size 6 --device cpu -q"
    launch = "torchrun --nproc-per-node 2 -m gazecore.tools.train_eyes eyes.zarr --preset segformer-tiny-quick"
    assert shell(f"{line} -o one", work).returncode == 0
    done = shell(f"{launch} --steps 3 --batch-size 6 --device cpu -q -o two", work)
    assert done.returncode == 0, done.stderr
    from safetensors.numpy import load_file

    one, two = (load_file(work / name / "last" / "model.safetensors") for name in ("one", "two"))
    for key, value in one.items():
        assert two[key] == pytest.approx(value, abs=2e-3), key  # Adam divides by small gradients
    logs = ((work / name / "metrics.ndjson").read_text().splitlines() for name in ("one", "two"))
    first, second = ([line["loss"] for line in map(json.loads, log) if "loss" in line] for log in logs)
    assert first and second == pytest.approx(first, rel=1e-5)
