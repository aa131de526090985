"""The shell of gz: commands that load when they are called, options, exit codes, plug-ins."""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from gazecore.tools import __main__ as program

from gazecore import __version__, artifacts, cli
from gazecore.artifacts import pipe, provenance
from gazecore.errors import DATA, EXISTS, NO_INPUT, UNAVAILABLE, USAGE

ROOT = Path(__file__).parents[1]
GZ = Path(sys.executable).with_name("gz")
HEAVY = {"torch", "numpy", "zarr", "h5py", "transformers", "scipy", "timm", "PIL", "rich", "pydantic", "yaml"}


@pytest.fixture
def gz(monkeypatch, capfd, tmp_path):
    """gz(words...): run the program in this process, in a folder of its own; .code, .out, .err."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GZ_TMPDIR", str(tmp_path / "temp"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(pipe, "_stdout_kind", lambda: "terminal")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*words: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["gz", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            program.main()
            sys.exit(0)
        out, err = capfd.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=out, err=err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    monkeypatch.setattr(provenance, "_current", None)


@pytest.fixture
def maps(tmp_path):
    """Heat maps a.zarr with six samples."""
    provenance.begin(provenance.Step(["gz", "fixture"]))
    with artifacts.create(tmp_path / "a.zarr", "heatmaps", durable=False) as made:
        made.append(heatmap=np.arange(24, dtype=np.float32).reshape(6, 2, 2), name=list("abcdef"))
    return tmp_path / "a.zarr"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "temp")


# ---- loaded when called ----------------------------------------------------------------------------------------------

SILENT = """
import contextlib, io, json, os, sys
from gazecore.tools.__main__ import COMMANDS, app
import typer
command = typer.main.get_command(app)
texts = {}

def ask(name, words, **environment):
    os.environ.update(environment)
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.suppress(SystemExit):
        command.main(words, prog_name="gz")
    for key in environment:
        del os.environ[key]
    texts[name] = stream.getvalue()

for words in [["--help"], *([name, "--help"] for name in COMMANDS)]:
    ask(" ".join(words), words)
for line in ("gz sel", "gz select --li", "gz convert --", "gz make-tiny "):
    words = line.split(" ")
    ask("bash " + line, [], _GZ_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    ask("zsh " + line, [], _GZ_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line)
    ask("fish " + line, [], _GZ_COMPLETE="complete_fish", _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args")
print(json.dumps({"loaded": sorted(sys.modules), "texts": texts}), file=sys.__stdout__)
"""


@pytest.fixture(scope="module")
def asked():
    """A fresh interpreter that was asked for help on everything and for completions, and what it loaded for that."""
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_help_and_completion_load_nothing_heavy(asked):
    assert not HEAVY & {module.split(".")[0] for module in asked["loaded"]}


def test_help_lists_every_command_with_its_text_in_its_panel(asked):
    words = " ".join(asked["texts"]["--help"].split())
    for name, (_, text, panel) in program.COMMANDS.items():
        assert f"{name} {text}" in words.replace("- ", "-") or f"{name} {text}" in words
        assert f" {panel}: " in words
    assert "66 no or failed input" in words


@pytest.mark.parametrize("name", program.COMMANDS)
def test_a_commands_help_is_its_documentation(asked, name):
    documentation = inspect.getdoc(importlib.import_module(program.COMMANDS[name][0])) or ""
    assert documentation.splitlines()[0] == program.COMMANDS[name][1]
    text = asked["texts"][f"{name} --help"]
    assert text.startswith(f"Usage: gz {name} ")
    assert documentation.split("\n\n")[-1].splitlines()[0] in text  # its example, in one line
    assert "--print-config" in text.split("Shell:")[1] and "--help" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_values_complete(asked, shell):
    found = {line: asked["texts"][f"{shell} {line}"] for line in ("gz sel", "gz select --li", "gz make-tiny ")}
    assert "select" in found["gz sel"] and "concat" not in found["gz sel"]
    assert "--limit" in found["gz select --li"] and "--where" not in found["gz select --li"]
    assert "gazefollow" in found["gz make-tiny "]


def test_the_program_itself_starts_as_light():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", GZ, "--help"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded and not HEAVY & loaded


def test_the_version_is_said(gz):
    assert gz("--version").out == f"gz {__version__}\n"


def test_no_tool_hides_a_module_of_the_standard_library():
    stems = {path.stem for path in (ROOT / "tools").glob("*.py")}
    assert not stems & sys.stdlib_module_names and not stems & HEAVY


@pytest.mark.parametrize("words", [["-m", "gazecore.tools.select_"], [str(ROOT / "tools" / "select_.py")]])
def test_a_tool_runs_as_a_module_and_as_a_file(maps, tmp_path, words):
    done = subprocess.run(
        [sys.executable, *words, "a.zarr", "--limit", "2", "-o", "b.zarr"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "gz select: kept 2 of 6 records" in done.stderr
    with artifacts.open(tmp_path / "b.zarr") as artifact:
        assert artifact.provenance[-1]["argv"] == ["gz", "select", "a.zarr", "--limit", "2", "-o", "b.zarr"]


# ---- mistyped --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["selct"], "No such command 'selct'. Did you mean 'select'"),
        (["select", "--lmit", "3"], "No such option: --lmit"),
        (["select", "a.zarr", "--limit", "x"], "Invalid value for '--limit'"),
        (["select", "a.zarr", "--limit", "0"], "Invalid value for '--limit'"),
        (["select", "a.zarr", "--limit", "1.5"], "Invalid value for '--limit'"),
        (["select", "a.zarr", "--progress", "loud"], "Invalid value for '--progress'"),
        (["select", "a.zarr", "b.zarr"], "unexpected extra argument"),
        (["convert", "a.zarr", "--to", "npz"], "--to writes files: name their folder with -o"),
        (["select", "a.zarr"], "stdout is a terminal: name the artifact with -o"),
    ],
)
def test_a_mistyped_line_is_a_usage_error_in_a_few_words(gz, maps, words, complaint):
    done = gz(*words)
    assert done.code == USAGE and complaint in done.err and "Traceback" not in done.err and done.out == ""


# ---- values of options -----------------------------------------------------------------------------------------------


def kept(path: Path) -> int:
    with artifacts.open(path) as artifact:
        return len(artifact)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(gz, maps, monkeypatch, tmp_path):
    (tmp_path / "options.yaml").write_text("limit: 2\n")
    line = ["select", "a.zarr", "--overwrite", "-o", "b.zarr"]
    assert gz(*line).code == 0 and kept(tmp_path / "b.zarr") == 6
    line += ["--config", "options.yaml"]
    assert gz(*line).code == 0 and kept(tmp_path / "b.zarr") == 2
    monkeypatch.setenv("GZ_SELECT_LIMIT", "3")
    assert gz(*line).code == 0 and kept(tmp_path / "b.zarr") == 3
    assert gz(*line, "--limit", "4").code == 0 and kept(tmp_path / "b.zarr") == 4


def test_what_the_config_prints_is_a_config(gz, maps, monkeypatch, tmp_path):
    monkeypatch.setenv("GZ_SELECT_SEED", "7")
    (tmp_path / "first.yaml").write_text("where: \"name != 'b: #c'\"\nshuffle: true\n")
    printed = gz("select", "a.zarr", "-o", "b.zarr", "--limit", "3", "--config", "first.yaml", "--print-config")
    assert printed.code == 0 and left(tmp_path) == ["a.zarr", "first.yaml"]
    for line in ("limit: 3  # flag", "seed: 7  # environment", "shuffle: true  # file", "split: null  # default"):
        assert line in printed.out.splitlines()
    (tmp_path / "second.yaml").write_text(printed.out)
    monkeypatch.delenv("GZ_SELECT_SEED")
    again = gz("select", "--config", "second.yaml", "--print-config")
    assert yaml.safe_load(again.out) == yaml.safe_load(printed.out)
    assert gz("select", "--config", "second.yaml").code == 0 and kept(tmp_path / "b.zarr") == 3


def test_lists_and_paths_go_through_a_config_too(gz, maps, tmp_path):
    (tmp_path / "concat.yaml").write_text("input: [a.zarr, a.zarr]\nout: b.zarr\n")
    assert gz("concat", "--config", "concat.yaml").code == 0 and kept(tmp_path / "b.zarr") == 12
    printed = gz("clean", "x", "y", "--print-config")
    assert yaml.safe_load(printed.out)["folders"] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("limt: 3", 'options.yaml: select has no option "limt"; did you mean limit?'),
        ("zzz: 3", 'options.yaml: select has no option "zzz"'),
        ("limit: x", "options.yaml: limit: "),
        ("limit: [1]", "options.yaml: limit: "),
        ("limit: 0", "options.yaml: limit: "),
        ("split: on", "options.yaml: split: true is yes or no; put quotes around a text"),
        ("progress: loud", "options.yaml: progress: "),
        ("[1, 2]", "options.yaml holds list; expected `option: value` lines"),
        ("a: b: c", "options.yaml is no YAML"),
    ],
)
def test_what_is_wrong_in_a_config_is_said_with_its_name(gz, maps, tmp_path, text, complaint):
    (tmp_path / "options.yaml").write_text(text)
    done = gz("select", "a.zarr", "-o", "b.zarr", "--config", "options.yaml")
    assert done.code == USAGE and complaint in " ".join(done.err.split())
    assert left(tmp_path) == ["a.zarr", "options.yaml"]


def test_a_config_that_is_not_there_is_named(gz):
    assert "none.yaml cannot be read" in gz("select", "--config", "none.yaml").err


def test_values_are_coerced_as_typer_would(gz, maps, tmp_path):
    """Ours only takes what is plainly right; the rest goes to typer's own, slower way."""
    for words in (["--limit", "1_0"], ["--limit", " 3 "], ["--limit", "+3"], ["--no-provenance"]):
        assert gz("select", "a.zarr", "-o", "b.zarr", "--overwrite", *words).code == 0


# ---- what every command can ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["select", "a.zarr", "-o", "b.zarr"],
        ["concat", "a.zarr", "a.zarr", "-o", "b.zarr"],
        ["convert", "a.zarr", "-o", "b.h5"],
        ["convert", "a.zarr", "--to", "npz", "-o", "out"],
        ["clean", "--older-than", "0", "."],
        ["verify", "a.zarr"],
        ["info", "a.zarr"],
    ],
)
def test_a_dry_run_writes_and_deletes_nothing(gz, maps, tmp_path, words):
    (tmp_path / ".dead.zarr.part-abcdef").mkdir()
    before = left(tmp_path)
    done = gz(*words, "--dry-run")
    assert done.code == 0 and left(tmp_path) == before
    if words[0] in ("select", "concat", "convert", "clean"):
        assert "would " in done.err


def test_a_dry_run_finds_what_the_run_would_find(gz, maps, tmp_path):
    assert gz("select", "a.zarr", "-o", "a.zarr", "--dry-run").code == EXISTS
    assert gz("select", "none.zarr", "-o", "b.zarr", "--dry-run").code == NO_INPUT
    assert gz("select", "a.zarr", "--split", "test", "-o", "b.zarr", "--dry-run").code == DATA


def test_json_is_one_strict_document(gz, maps, tmp_path):
    info = json.loads(gz("info", "a.zarr", "--json").out, parse_constant=pytest.fail)
    assert info["schema"] == "heatmaps 1.0" and info["variables"]["heatmap"]["shape"] == [6, 2, 2]
    assert info["provenance"][-1]["argv"] == ["gz", "fixture"]
    both = json.loads(gz("info", "a.zarr", "a.zarr", "--json").out)
    assert [document["path"] for document in both] == ["a.zarr", "a.zarr"]
    assert json.loads(gz("verify", "a.zarr", "--json").out) == {"a.zarr": []}
    assert json.loads(gz("log", "a.zarr", "--json").out)[0]["argv"] == ["gz", "fixture"]


def test_every_artifact_is_verified_even_when_one_is_broken(gz, maps, tmp_path):
    (tmp_path / "bad.zarr").write_text("no artifact")
    done = gz("verify", "bad.zarr", "none.zarr", "a.zarr", "--json")
    assert done.code == DATA and "2 of 3 artifacts are not whole: bad.zarr, none.zarr" in done.err
    checked = json.loads(done.out)
    assert checked["a.zarr"] == [] and "neither a zarr folder" in checked["bad.zarr"][0]


def test_quiet_says_nothing(gz, maps):
    done = gz("select", "a.zarr", "-o", "b.zarr", "-q")
    assert done.code == 0 and "kept" not in done.err


def test_debug_shows_where_an_error_comes_from(gz, maps, monkeypatch, tmp_path):
    from gazecore.errors import GazeError

    monkeypatch.setattr(sys, "argv", ["gz", "info", "none.zarr", "--debug"])
    with pytest.raises(GazeError, match="no such file"):
        program.main()


def test_provenance_can_be_left_out(gz, maps, tmp_path):
    gz("select", "a.zarr", "-o", "b.zarr", "--no-provenance")
    with artifacts.open(tmp_path / "b.zarr") as artifact:
        assert artifact.provenance == [] and "history" not in artifact.attrs


def test_exit_codes(gz, maps, tmp_path):
    (tmp_path / "bad.zarr").write_text("no artifact")
    (tmp_path / "file.npz").write_text("no maps")
    for code, words in {
        0: ["info", "a.zarr"],
        DATA: ["info", "bad.zarr"],
        NO_INPUT: ["info", "none.zarr"],
        EXISTS: ["select", "a.zarr", "-o", "bad.zarr"],
        74: ["convert", "file.npz", "-o", "b.zarr"],
        USAGE: ["select", "a.zarr", "--where", "import os", "-o", "b.zarr"],
    }.items():
        done = gz(*words)
        assert done.code == code and (not code or done.err.startswith(f"gz {words[0]}: ")), done.err
    assert left(tmp_path) == ["a.zarr", "bad.zarr", "file.npz"]


def test_leftovers_of_killed_commands_go_at_the_next_start(gz, maps, tmp_path):
    gz("info", "a.zarr")
    old = tmp_path / "temp" / "heatmaps-0123456789ab.zarr"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    gz("info", "a.zarr")
    assert not old.exists()


def test_clean_deletes_what_it_says(gz, maps, tmp_path):
    (tmp_path / ".dead.zarr.part-abcdef").mkdir()
    young = tmp_path / "temp" / "heatmaps-0123456789ab.zarr"
    young.mkdir(parents=True)
    assert gz("clean", ".").code == 0 and young.exists()
    done = gz("clean", ".", "--older-than", "0", "--json")
    assert json.loads(done.out) == [str(young), ".dead.zarr.part-abcdef"]
    assert left(tmp_path) == ["a.zarr"] and not young.exists()


# ---- plug-ins --------------------------------------------------------------------------------------------------------

PLUGIN = '''
"""Say hello.

Example: gz hello
"""
from gazecore.cli_options import Out

def main(name: str = "you", out: Out = None, api_token: str = "") -> None:
    import numpy as np
    from gazecore import artifacts
    if name == "bug":
        raise ZeroDivisionError
    print(f"hello {name}")
    if out:
        with artifacts.Output(out).create("heatmaps") as writer:
            writer.append(heatmap=np.ones((1, 2, 2), np.float32))

import typer
app = typer.Typer()

@app.command()
def own(times: int = 1) -> None:
    print("own" * times)
'''


@pytest.fixture
def plugins(tmp_path_factory, monkeypatch):
    """A package beside ours with good and bad commands."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "gz_hello.py").write_text(PLUGIN)
    (folder / "gz_broken.py").write_text("import no_such_module")
    (folder / "gz_leaves.py").write_text("import sys; sys.exit(3)")
    (folder / "hello-1.0.dist-info").mkdir()
    (folder / "hello-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    (folder / "hello-1.0.dist-info" / "entry_points.txt").write_text(
        "[gz.commands]\nhello = gz_hello:main\nown = gz_hello:app\nbroken = gz_broken:main\nnone = gz_hello:nothing\n"
        "leaves = gz_leaves:main\ninfo = gz_hello:main\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("gz_hello", "gz_broken", "gz_leaves"):
        sys.modules.pop(name, None)


def test_commands_of_other_packages_are_listed_and_run(gz, plugins):
    listed = gz("--help").out
    assert "Plug-ins:" in listed and "hello" in listed.split("Plug-ins:")[1]
    assert gz("hello", "--name", "Ada").out == "hello Ada\n"
    assert gz("own", "--times", "2").out == "ownown\n"
    assert "--print-config" in gz("hello", "--help").out


@pytest.mark.parametrize("name", ["broken", "none", "leaves"])
def test_a_broken_plug_in_is_reported_and_harms_no_other_command(gz, plugins, maps, name):
    done = gz(name)
    assert done.code == UNAVAILABLE and f"gz: plug-in {name} cannot be loaded: " in done.err
    assert "Traceback" not in done.err
    assert name in gz("--help").out and gz("info", "a.zarr").code == 0


def test_our_own_commands_win_and_say_so(gz, plugins, maps):
    assert "gz_hello:main is hidden by the command info" in gz("--help").err
    assert "heatmaps 1.0" in gz("info", "a.zarr").out


def test_a_bug_keeps_its_traceback(gz, plugins, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gz", "hello", "--name", "bug"])
    with pytest.raises(ZeroDivisionError):
        program.main()


def test_secrets_do_not_reach_the_artifact(gz, plugins, tmp_path):
    for words in (["--api-token", "s3cr3t"], ["--api-token=s3cr3t"]):
        assert gz("hello", "-o", "b.zarr", "--overwrite" if False else "--name", "x", *words).code == 0
        for file in (tmp_path / "b.zarr").rglob("*"):
            assert not file.is_file() or b"s3cr3t" not in file.read_bytes()
        for file in sorted((tmp_path / "b.zarr").rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        (tmp_path / "b.zarr").rmdir()


# ---- the log, run again ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_log_as_a_shell_script_makes_the_same_content_again(gz, tmp_path):
    maps = np.random.default_rng(0).random((9, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "one.npz", heatmaps=maps)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "one.npz").symlink_to(tmp_path / "one.npz")
    environment = os.environ | {"PATH": f"{GZ.parent}{os.pathsep}{os.environ['PATH']}"}

    def bash(script: str, folder: Path) -> None:
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, check=True, timeout=120)

    bash("gz convert one.npz | gz select --where 'frame != 3' --shuffle --seed 5 -o 'my maps.zarr'", tmp_path)
    assert gz("concat", "my maps.zarr", "my maps.zarr", "-o", "all.zarr").code == 0
    bash(gz("log", "all.zarr", "--as-shell").out, tmp_path / "again")
    with artifacts.open(tmp_path / "all.zarr") as first, artifacts.open(tmp_path / "again" / "all.zarr") as second:
        assert first.id == second.id and len(first) == 16


# ---- talk ------------------------------------------------------------------------------------------------------------


def test_a_table_is_plain_lines_where_nobody_looks(gz, maps):
    rows = [line.split("\t") for line in gz("info", "a.zarr").out.splitlines()]
    assert ["schema", "heatmaps 1.0"] in rows and ["heatmap", "float32", "sample 6 x y 2 x x 2", "1"] in [
        r[:4] for r in rows
    ]


def test_progress_yields_everything_in_any_style(monkeypatch, capsys):
    for style in ("auto", "rich", "plain", "off"):
        monkeypatch.setattr(cli, "_run", cli.Run(progress=style))
        assert list(cli.progress(iter(range(50)), 50, "count")) == list(range(50))
        assert list(cli.progress(range(3), None, "count")) == [0, 1, 2]


def test_plain_progress_is_a_line_every_tenth_after_two_seconds(monkeypatch, capsys):
    clock = iter(range(10_000))
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(cli, "_run", cli.Run(progress="plain"))
    list(cli.progress(range(20), 20, "count"))
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("count: 20 of 20") and 9 <= len(told) <= 11
