"""The container conventions and the contract of the pipe.

The folder's README gives the formulas of demo.zarr.zip and demo.h5, demo.json what a reader must find in them,
pipe_cases.json the contract: P makes an artifact, C reads one, `exit` is bash's PIPESTATUS. A case or a promise of that
file that is not known here fails.
"""

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import zarr

from gazecore import artifacts

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "cli"
DEMO = json.loads((GOLDEN / "demo.json").read_text("utf-8"))
RECIPE = json.loads((GOLDEN / "recipe.json").read_text()) if (GOLDEN / "recipe.json").exists() else {}
CASES = json.loads((GOLDEN / "pipe_cases.json").read_text("utf-8"))
GZ = Path(sys.executable).with_name("gz")

N, H, W = (RECIPE.get(key, default) for key, default in (("N", 7), ("H", 8), ("W", 9)))
SHIFT, STEP = RECIPE.get("c0", 0), RECIPE.get("step", 0.37)


# ---- the demo artifacts ----------------------------------------------------------------------------------------------


def sine(count: int, phase: float) -> np.ndarray:
    return np.sin(STEP * np.arange(count) + phase)


def check_values(found: dict[str, np.ndarray]) -> None:
    """The six variables against demo.json and the formulas of the README."""
    heatmap, box, blob = found["heatmap"], found["box"], found["blob"]
    assert heatmap.dtype == np.float32 and heatmap.shape == (N, H, W)
    np.testing.assert_array_equal(heatmap, (0.5 + 0.5 * sine(N * H * W, SHIFT)).astype(np.float32).reshape(N, H, W))
    assert hashlib.sha256(heatmap.astype("<f4").tobytes()).hexdigest() == DEMO["heatmap_sha256_le_f4"]
    assert heatmap.sum(dtype=np.float64) == pytest.approx(DEMO["heatmap_sum"], rel=1e-9)
    peaks = np.stack(np.unravel_index(heatmap.reshape(N, -1).argmax(1), (H, W)), axis=1)
    assert peaks.tolist() == DEMO["heatmap_argmax_yx"]

    assert found["box_count"].tolist() == DEMO["box_count"] and box.shape == (sum(DEMO["box_count"]), 4)
    np.testing.assert_allclose(box[0], DEMO["box_first_row"], rtol=1e-6)
    np.testing.assert_array_equal(box, (100 * (1 + sine(box.size, SHIFT + 1))).astype(np.float32).reshape(-1, 4))

    assert found["blob_size"].tolist() == DEMO["blob_size"] and len(blob) == sum(DEMO["blob_size"])
    assert hashlib.sha256(blob.astype(np.uint8).tobytes()).hexdigest() == DEMO["blob_sha256"]
    assert found["name"].tolist() == DEMO["name"]


@pytest.mark.parametrize("file", ["demo.zarr.zip", "demo.h5"])
def test_our_reader_finds_what_the_demo_holds(file):
    with artifacts.open(GOLDEN / file) as artifact:
        assert artifact.kind == DEMO["attrs"]["gz_schema"] and artifact.dims == DEMO["sizes"]
        assert {key: artifact.attrs[key] for key in DEMO["attrs"]} == DEMO["attrs"]
        assert artifact.ragged_dims == {"box_row": "box_count", "blob_byte": "blob_size"}
        assert artifact.provenance == json.loads(DEMO["attrs"]["gz_provenance"])
        check_values({name: variable[:] for name, variable in artifact.variables.items()})
        blob = artifact["blob"][:].tobytes()
        ends = np.cumsum(DEMO["blob_size"])
        packed = artifact.packed("blob")
        assert [packed[i] for i in range(N)] == [blob[e - s : e] for s, e in zip(DEMO["blob_size"], ends, strict=True)]


def test_both_demo_containers_have_one_content_id():
    with artifacts.open(GOLDEN / "demo.zarr.zip") as first, artifacts.open(GOLDEN / "demo.h5") as second:
        assert first.content_id() == second.content_id()


@pytest.mark.parametrize(
    ("file", "engine"), [("demo.zarr.zip", "zarr"), ("demo.h5", "h5netcdf"), ("demo.h5", "netcdf4")]
)
@pytest.mark.parametrize("origin", ["theirs", "ours"])
def test_xarray_reads_the_demo_and_what_we_make_of_it(tmp_path, file, engine, origin):
    """In a process of its own: netCDF4 and h5py, two builds of HDF5, do not live together."""
    path = GOLDEN / file
    if origin == "ours":
        path = tmp_path / file
        subprocess.run([GZ, "convert", GOLDEN / "demo.h5", "-o", path], check=True, capture_output=True)
    opened = {
        "zarr": "xarray.open_zarr(zarr.storage.ZipStore(path, mode='r'), consolidated=False, chunks=None)",
        "h5netcdf": "xarray.open_dataset(path, engine='h5netcdf')",
        "netcdf4": "xarray.open_dataset(path, engine='netcdf4')",
    }
    script = (
        f"import json, sys, xarray{', zarr' if engine == 'zarr' else ''}\n"
        f"path = sys.argv[1]; dataset = {opened[engine]}\n"
        "found = {name: (str(v.dtype), v.values.tolist()) for name, v in dataset.variables.items()}\n"
        "print(json.dumps((dict(dataset.sizes), dict(dataset.attrs), found), default=lambda number: number.item()))"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    sizes, attrs, found = json.loads(done.stdout)
    found = {n: np.array(v, dtype if dtype[0] in "fiu" else object) for n, (dtype, v) in found.items()}
    own = {"history", "gz_provenance"} if origin == "ours" else set()
    assert sizes == DEMO["sizes"]
    assert {k: attrs[k] for k in DEMO["attrs"] if k not in own} == {
        k: v for k, v in DEMO["attrs"].items() if k not in own
    }
    check_values(found)


# ---- the contract of the pipe ----------------------------------------------------------------------------------------

P, C = "gz select demo.zarr", "gz info --json"
BIG = "gz convert big.npz"
SPECIAL = {  # what the contract says in words -> how it is brought about
    "P(bad data)": "gz select damaged.zarr",
    "P(kill -9)": f"sh -c 'echo $$ > pid; exec {BIG}'",
    "C(bad data)": "gz select --where 'box_count > 999' -o chosen.zarr",
}
WITHOUT_BASH = {
    "P (on a pty)": lambda run: run.on_terminal(P, stdin=False),
    "C (on a pty)": lambda run: run.on_terminal(C, stdin=True),
    "SIGINT to P": lambda run: run.stopped(signal.SIGINT),
    "SIGTERM to P": lambda run: run.stopped(signal.SIGTERM),
}


@dataclass
class Run:
    """One case in a folder of its own, and what came of it."""

    case: dict
    folder: Path
    codes: list[int] = field(default_factory=list)
    out: str = ""
    err: str = ""
    records: list[dict] = field(default_factory=list)  # what P printed
    bytes_of_p: bytes = b""
    before: dict[str, str] = field(default_factory=dict)

    @property
    def temp(self) -> Path:
        return self.folder / "temp"

    @property
    def environment(self) -> dict[str, str]:
        path = f"{GZ.parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "GZ_TMPDIR": str(self.temp), "OMP_NUM_THREADS": "1"}

    @property
    def line(self) -> str:
        """The shell line of the case, with our commands for P and C."""
        line = self.case["shell"]
        for words, command in SPECIAL.items():
            line = line.replace(words, command)
        line = line.replace("/home/u/", f"{self.folder}/strangers/")
        line = re.sub(r"(?<![\w-])P(?![\w-])", P, line)
        return re.sub(r"(?<![\w-])C(?![\w-])", C, line)

    def prepare(self, demo: Path) -> None:
        """Everything that cases name, so that a line can be run as it stands."""
        self.temp.mkdir()
        for name in ("demo.zarr", "a.zarr", "b.zarr", "big.zarr", "strangers/data.zarr"):
            shutil.copytree(demo, self.folder / name)
        zarr.open_group(self.folder / "big.zarr", mode="r+").attrs["notes"] = "long " * 100_000
        for name in ("demo.h5", "demo.zarr.zip"):
            shutil.copy(GOLDEN / name, self.folder / name)
        (self.folder / "damaged.zarr").write_bytes(b"no artifact")
        if "exists" in self.case["case"] or "--overwrite" in self.case["shell"]:
            shutil.copytree(demo, self.folder / "out.zarr")
        if "kill -9" in self.case["shell"] or " to P" in self.case["shell"]:
            maps = np.random.default_rng(0).random((6000, 64, 64)).astype(np.float32)
            np.savez(self.folder / "big.npz", heatmaps=maps)
        self.before = {name: digest(self.folder / name) for name in ("out.zarr", "strangers/data.zarr")}

    def run(self) -> None:
        shell = self.case["shell"]
        if shell in WITHOUT_BASH:
            WITHOUT_BASH[shell](self)
            return
        assert not re.search(r"\b[PC] ?\(", self.line), f"no way is known to bring about {shell!r}"
        script = f'{self.line}\necho "${{PIPESTATUS[*]}}" > codes'
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        if "kill -9" in shell:
            wait_until(lambda: list(self.temp.glob(".*.part-*")))
            os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)
        out, err = process.communicate(timeout=120)
        self.out, self.err = out.decode(), err.decode()
        self.codes = [int(code) for code in (self.folder / "codes").read_text().split()]

    def listen_to_p(self) -> None:
        """Run the first command of the line alone and keep what it prints."""
        first = self.line.split(" | ")[0].replace("out.zarr", "listened.zarr")
        done = subprocess.run(
            ["bash", "-c", f"{first} | cat"], cwd=self.folder, env=self.environment, capture_output=True, check=True
        )
        self.bytes_of_p = done.stdout
        if done.stdout[:1] == b"{":
            self.records = [json.loads(line) for line in done.stdout.splitlines()]

    def on_terminal(self, command: str, stdin: bool) -> None:
        ours, theirs = pty.openpty()
        done = subprocess.run(
            command.split(), cwd=self.folder, env=self.environment | {"PYTHONPROFILEIMPORTTIME": "1"}, text=True,
            stdin=theirs if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE if stdin else theirs,
            stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
        os.close(ours)
        os.close(theirs)
        self.codes, self.err = [done.returncode], done.stderr

    def stopped(self, number: int) -> None:
        words = [*BIG.split(), "-o", "out.zarr"]
        process = subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        wait_until(lambda: list(self.folder.glob(".out.zarr.part-*")))
        process.send_signal(number)
        self.err = process.communicate(timeout=60)[1].decode()
        self.codes = [process.returncode]

    def kept(self) -> list[Path]:
        """Temporary artifacts that are still there."""
        return [path for path in self.temp.iterdir() if path.suffix == ".zarr" and not path.name.startswith(".")]


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def digest(folder: Path) -> str:
    sha = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            sha.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return sha.hexdigest()


# ---- what the cases promise ------------------------------------------------------------------------------------------


def nothing_left(run: Run) -> None:
    wait_until(lambda: not list(run.temp.iterdir()), seconds=20)  # bash does not wait for >(...)


def no_traceback(run: Run) -> None:
    assert "Traceback" not in run.err and "Exception ignored" not in run.err


def kept_and_named(run: Run) -> None:
    kept = run.kept()
    assert kept and all(str(path) in run.err for path in kept)
    for path in kept:
        with artifacts.open(path) as artifact:
            assert artifact.id == artifact.content_id()
    no_traceback(run)


def one_json_line(run: Run, keys: str) -> None:
    run.listen_to_p()
    assert run.bytes_of_p.count(b"\n") == 1 and len(run.bytes_of_p) <= 4096
    assert set(keys.split(", ")) <= run.records[0].keys()


def a_tar_stream(run: Run) -> None:
    run.listen_to_p()
    assert run.bytes_of_p[257:262] == b"ustar"


def out_stays(run: Run) -> None:
    with artifacts.open(run.folder / "out.zarr") as artifact:
        assert artifact.id == artifact.content_id() and len(artifact) == N


def not_temporary(run: Run) -> None:
    run.listen_to_p()
    assert run.records[0]["temp"] is False


def c_names_p(run: Run) -> None:
    p, c = (command.split()[1] for command in (P, C))
    told = next(line for line in run.err.splitlines() if line.startswith(f"gz {p}: "))
    assert f"gz {c}: gz {p} failed: {told.removeprefix(f'gz {p}: ')}" in run.err.splitlines()


def processed(run: Run, count: str) -> None:
    documents = json.loads(run.out)
    assert len(documents) == {"two": 2, "three": 3, "four": 4}[count]
    assert Path(documents[-1]["path"]).name == "out.zarr" and all("temp" in d["path"] for d in documents[:-1])


def two_lines(run: Run) -> None:
    commands = [line.split(":")[0] for line in run.err.splitlines()]
    assert commands == [f"gz {P.split()[1]}", f"gz {C.split()[1]}"]


def both_succeed(run: Run) -> None:
    wait_until(lambda: not list(run.temp.iterdir()), seconds=20)
    assert (
        json.loads(run.out)["records"] == N
        and json.loads(run.err[run.err.index("{") : run.err.rindex("}") + 1])["records"] == N
    )


def no_model(run: Run) -> None:
    loaded = {line.rpartition("|")[2].strip() for line in run.err.splitlines() if "import time:" in line}
    assert "typer" in loaded and not loaded & {"torch", "transformers", "timm"}


def no_partial(run: Run) -> None:
    assert not (run.folder / "out.zarr").exists() and not list(run.folder.glob(".out.zarr*"))
    no_traceback(run)


def unchanged(run: Run, name: str) -> None:
    assert digest(run.folder / name) == run.before[name]


PROMISES: dict[str, Callable[..., None]] = {
    r"temp artifact and its lock are gone|nothing left in the temp folder": nothing_left,
    r"the last one deletes the temp artifact": nothing_left,
    r"no traceback": no_traceback,
    r"(?:the (?:temp )?artifact is kept and its path is printed)(?: on stderr)?": kept_and_named,
    r"one JSON line, <= 4096 bytes, keys (.*)": one_json_line,
    r"a tar stream \(ustar at offset 257\)": a_tar_stream,
    r"out\.zarr stays": out_stays,
    r"temp=false in the record": not_temporary,
    r"out\.zarr unchanged": lambda run: unchanged(run, "out.zarr"),
    r"the file is untouched": lambda run: unchanged(run, "strangers/data.zarr"),
    r"C names P and its message": c_names_p,
    r"(\w+) artifacts processed, in order": processed,
    r"two lines, one for each command": two_lines,
    r"C says that nothing arrived on stdin": lambda run: (
        f"gz {C.split()[1]}: nothing arrived on stdin" in run.err or pytest.fail(run.err)
    ),
    r"both succeed": both_succeed,
    r"fails before any model is loaded": no_model,
    r"no partial artifact under its final name": no_partial,
    r"empty": lambda run: run.err == "" or pytest.fail(run.err),
}


def check_promise(run: Run, promise: str) -> None:
    for pattern, check in PROMISES.items():
        found = re.fullmatch(pattern, promise)
        if found:
            check(run, *found.groups())
            return
    pytest.fail(f"the contract promises {promise!r}, which no check here knows")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo as a zarr folder of ours."""
    path = tmp_path_factory.mktemp("demo") / "demo.zarr"
    subprocess.run([GZ, "convert", GOLDEN / "demo.h5", "-o", path], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_contract_of_the_pipe(case, demo, tmp_path):
    assert case.keys() <= {"case", "shell", "exit", "after", "stderr", "stdout_of_P"}
    run = Run(case, tmp_path)
    run.prepare(demo)
    run.run()
    assert len(run.codes) == len(case["exit"]), (run.codes, run.err)
    assert all(want in ("*", code) for want, code in zip(case["exit"], run.codes, strict=True)), (run.codes, run.err)
    no_traceback(run)
    for key in ("after", "stderr", "stdout_of_P"):
        for promise in filter(None, case.get(key, "").split("; ")):
            check_promise(run, promise)
