"""Writers killed at random moments, and several processes that write one array."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from gazecore import artifacts
from gazecore.artifacts import checks
from gazecore.errors import GazeError

ROWS = 700
# Reads "TASK PATH ..." lines, runs each in a process of its own and says its number; the imports are paid once.
SERVER = """
import os, sys
from pathlib import Path
import numpy as np, zarr, zarr.codecs, h5py
from gazecore import artifacts
from gazecore.artifacts import export, shards, writer
from gazecore.errors import GazeError

shards.INNER_CHUNK, shards.SMALL_ROW, shards.SHARD_CHUNKS, shards.PACKED_CHUNK = 1024, 64, 4, 4096
writer.COMMIT_ROWS = 20

def write(path):
    with artifacts.create(Path(path), "gaze-predictions", resume=True) as made:
        for row in range(made.rows(), ROWS, 5):
            block = np.arange(row, min(row + 5, ROWS))
            assert made.rows("image") == row
            made.append(dim="image", image_name=[f"{i}.jpg" for i in block], image_size_px=[[4, 3]] * len(block),
                        image_data=[bytes([i % 256]) * (i * 37 % 101) for i in block])
            made.append(sample_id=[f"sample {i}" for i in block], image_index=block,
                        head_box_px=np.zeros((len(block), 4)),
                        gaze_targets=np.sin(block)[:, None, None] * np.ones((1, 1, 2)), in_frame=block % 2,
                        gaze_point=np.ones((len(block), 2)),
                        heatmap=np.cos(block)[:, None, None] * np.ones((8, 8)).astype(np.float32))

def place(path, rank, world):
    array = zarr.open_group(path, mode="r+")["x"]
    for start, stop in shards.my_blocks(array.shape[0], array.shards[0], int(rank), int(world)):
        writer.place(array, start, np.arange(start, stop, dtype=np.int32))

def place_unaligned(path, rank, world):
    array = zarr.open_group(path, mode="r+")["x"]
    for start in range(int(rank) * 64, array.shape[0], int(world) * 64):
        writer.place(array, start, np.arange(start, start + 64, dtype=np.int32))

while line := sys.stdin.readline():
    task, *words = line.split()
    pid = os.fork()
    if not pid:
        code = 0
        try:
            globals()[task](*words)
        except GazeError as error:
            print(error, file=sys.stderr, flush=True)
            code = error.code
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
""".replace("ROWS", str(ROWS))


class Server:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, *words: object) -> int:
        """Begin a task; its process."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """Wait for the task's end; its exit code, or minus the signal that killed it."""
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.process.stdin.close()
    made.process.wait()


@pytest.fixture(scope="module")
def unbroken(server, tmp_path_factory):
    """The content id of a run that nobody disturbed, and how long it took."""
    path = tmp_path_factory.mktemp("unbroken") / "a.zarr"
    began = time.monotonic()
    server.start("write", path)
    assert server.end() == 0
    with artifacts.open(path) as artifact:
        assert len(artifact) == ROWS
        return artifact.id, time.monotonic() - began


def kill_and_resume(server: Server, unbroken: tuple[str, float], path: Path, rng: random.Random, kills: int) -> int:
    """Kill a writer again and again, then let it finish; how many kills met a writer at work."""
    identity, seconds = unbroken
    met = 0
    for number in range(kills):
        if path.exists():
            break
        pid = server.start("write", path)
        while not number and not list(path.parent.glob(".*.part-*")):
            time.sleep(0.001)  # the first kill meets the writer at work, however busy the machine is
        time.sleep(rng.uniform(0, seconds / 3) if number else 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        met += server.end() == -signal.SIGKILL
        assert {p.name.split(".part-")[0] for p in path.parent.iterdir()} <= {path.name, f".{path.name}"}
        if path.exists():
            assert whole(path, identity)
        else:
            assert len([part for part in path.parent.glob(".*.part-??????") if (part / "zarr.json").exists()]) <= 1
    if not path.exists():
        server.start("write", path)
        assert server.end() == 0
    assert whole(path, identity)
    return met


def whole(path: Path, identity: str) -> bool:
    assert path.is_file() or not list(path.rglob("*.partial"))  # zarr's own unfinished files
    with artifacts.open(path) as artifact:
        problems = [p for p in checks.problems(artifact) if "decoded" not in p and "more images" not in p]
        return artifact.id == artifact.content_id() == identity and not problems


@pytest.mark.parametrize("suffix", [".zarr", ".zarr.zip", ".h5"])
def test_a_killed_writer_never_shows_a_half_and_ends_as_if_nothing_had_been(server, unbroken, tmp_path, suffix):
    met = kill_and_resume(server, unbroken, tmp_path / f"a{suffix}", random.Random(suffix), kills=3)
    assert met > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_writers_killed_twenty_times_end_as_if_nothing_had_been(server, unbroken, tmp_path, seed):
    suffix = (".zarr", ".zarr", ".zarr.zip", ".h5")[seed % 4]
    kill_and_resume(server, unbroken, tmp_path / f"a{suffix}", random.Random(seed), kills=20)


# ---- several processes -----------------------------------------------------------------------------------------------


def sized(path: Path) -> Path:
    group = zarr.open_group(path, mode="w")
    group.create_array("x", shape=(5000,), dtype="i4", chunks=(64,), shards=(512,), fill_value=-1)
    return path


def together(tmp_path: Path, task: str) -> list[int]:
    servers = [Server(), Server()]
    for rank, server in enumerate(servers):
        server.process.stdin.write(f"{task} {tmp_path / 'a.zarr'} {rank} 2\n")
    codes = []
    for server in servers:
        server.process.stdout.readline()
        codes.append(server.end())
        server.process.stdin.close()
        server.process.wait()
    return codes


def test_two_processes_that_write_whole_shards_lose_nothing(tmp_path):
    path = sized(tmp_path / "a.zarr")
    assert together(tmp_path, "place") == [0, 0]
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["x"][:], np.arange(5000))


def test_processes_that_write_parts_of_a_shard_are_refused(tmp_path, server):
    path = sized(tmp_path / "a.zarr")
    server.start("place_unaligned", path, 1, 2)
    assert server.end() == GazeError("").code
    assert (zarr.open_group(path, mode="r")["x"][:] == -1).all()


def test_a_copy_that_was_cut_short_is_noticed(server, unbroken, tmp_path):
    server.start("write", tmp_path / "a.zarr")
    assert server.end() == 0
    shutil.rmtree(tmp_path / "a.zarr" / "heatmap")
    with artifacts.open(tmp_path / "a.zarr") as artifact:
        assert any("heatmap is missing" in problem for problem in checks.problems(artifact))
