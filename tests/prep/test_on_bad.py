"""What is wrong in a data set: --on-bad fail lists all of it at once, --on-bad skip leaves it out and counts it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shell_lines import shell

from gazecore import artifacts


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def half(path: Path) -> None:
    """Its header can be read, its end is missing."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def gazefollow(root: Path) -> list[str]:
    table = root / "train_annotations_release.txt"
    lines = table.read_bytes().splitlines(keepends=True)
    lines[1] = b"too,few,columns\r\n"
    table.write_bytes(b"".join(lines))
    pictures = sorted((root / "train").rglob("*.jpg"))
    pictures[3].unlink()
    truncated(pictures[5])
    half(pictures[6])
    return ["line 2 has 3 columns", "no such image", "truncated|cannot be|is not an image"]


def videoattentiontarget(root: Path) -> list[str]:
    table = sorted((root / "annotations" / "train").rglob("*.txt"))[0]
    table.write_text(table.read_text() + "00001.jpg,1,2,3\n")
    min((root / "images").rglob("*.jpg")).unlink()
    return ["4 columns; expected a frame and 6 numbers", "no such image"]


def childplay(root: Path) -> list[str]:
    min(root.rglob("*.jpg")).unlink()
    return ["no such image"]


def goo(root: Path) -> list[str]:
    sorted(root.rglob("*.jpg"))[-1].unlink()  # by the first one the folder of the pictures is found
    return ["no such image"]


def objectattention(root: Path) -> list[str]:
    min([*root.rglob("*.ppm"), *root.rglob("*.jpg")]).unlink()
    return ["no such image"]


CASES = [
    ("gazefollow", "prep-gazefollow", gazefollow),
    ("videoattentiontarget", "prep-videoattentiontarget", videoattentiontarget),
    ("childplay", "prep-childplay", childplay),
    ("goo-real", "prep-goo", goo),
    ("objectattention", "prep-objectattention", objectattention),
]


@pytest.mark.slow
@pytest.mark.parametrize("dataset, command, spoil", CASES)
def test_everything_wrong_is_listed_at_once_or_skipped_and_counted(
    tmp_path: Path, dataset: str, command: str, spoil: Callable[[Path], list[str]]
):
    done = shell(f"gz make-tiny {dataset} -o raw --n 16 && gz {command} raw -o whole.zarr", tmp_path)
    assert done.returncode == 0, done.stderr
    said = spoil(tmp_path / "raw")

    failed = shell(f"gz {command} raw -o failed.zarr", tmp_path)
    assert failed.returncode in (65, 66) and not (tmp_path / "failed.zarr").exists()
    assert "--on-bad skip leaves them out" in failed.stderr
    for words in said:
        assert any(word in failed.stderr for word in words.split("|")), failed.stderr

    skipped = shell(f"gz {command} raw --on-bad skip -o skipped.zarr && gz verify skipped.zarr", tmp_path)
    assert skipped.returncode == 0, skipped.stderr
    with artifacts.open(tmp_path / "whole.zarr") as whole, artifacts.open(tmp_path / "skipped.zarr") as rest:
        counted = json.loads(rest.attrs["gz_summary"])["skipped"]
        assert 0 < len(rest) < len(whole) and counted >= len(said)
        assert set(rest["sample_id"].whole().tolist()) <= set(whole["sample_id"].whole().tolist())
