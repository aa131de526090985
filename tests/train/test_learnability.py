"""The tiny recipes learn where people look on made scenes, and cannot when they are not told who is meant."""

import json
from pathlib import Path

import pytest
from shell_lines import shell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made photos, several objects in each of which one person looks at one; the test split is of other scenes."""
    folder = tmp_path_factory.mktemp("learn")
    line = "gz make-tiny gazefollow -o raw --n 1200 --seed 3 && gz prep-gazefollow raw -o gf.zarr --images pixels"
    done = shell(line, folder)
    assert done.returncode == 0, done.stderr
    return folder


def trained(work: Path, preset: str, name: str, *settings: str) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of a run on the test split, and those of its last validation, on photos held out from training."""
    given = " ".join(f"--set {setting}" for setting in settings)
    done = shell(
        f"gz train-following gf.zarr --preset {preset} --validate-on 10% --device cpu -q {given} -o {name} && "
        f"gz eval-following gf.zarr --split test --checkpoint {name} --device cpu --json -q > {name}.json",
        work,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((work / f"{name}.json").read_text())["metrics"]
    lines = map(json.loads, (work / name / "metrics.ndjson").read_text().splitlines())
    return {key: value["mean"] for key, value in metrics.items()}, [x for x in lines if x["kind"] == "validation"][-1]


@pytest.mark.parametrize("preset", ["tiny", "vtd-tiny"])
def test_a_tiny_recipe_beats_the_baselines_on_scenes_it_never_saw(work: Path, preset: str):
    scores, held_out = trained(work, preset, preset)
    assert scores["auc"] >= 0.90
    assert scores["average_l2"] <= 0.5 * scores["centre_l2"]
    assert scores["average_l2"] < scores["mean_map_l2"]
    assert held_out["in_frame_ap"] >= 0.9  # everybody in the test split looks into the frame


@pytest.mark.parametrize("preset", ["tiny", "vtd-tiny"])
def test_without_head_crop_and_mask_the_same_training_falls_to_the_baselines(work: Path, preset: str):
    """The distance does. AUC does not: a map of all objects at once covers the one that is looked at."""
    scores, held_out = trained(work, preset, f"{preset}-blank", "blank_head=true")
    assert min(held_out["average_l2"], scores["average_l2"]) > 0.9 * min(scores["centre_l2"], scores["mean_map_l2"])
