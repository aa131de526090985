"""The chain of commands that an artifact carries."""

import json
import subprocess

import pytest

from gazecore import artifacts
from gazecore.artifacts import provenance
from gazecore.artifacts.provenance import Step, as_shell, hide_secrets, parsed, strict_json


def step(*argv: str, inputs: tuple[list[dict], ...] = (), piped: bool = False, **settings) -> list[dict]:
    """The entries of a command that read artifacts with the given chains, each from a file named after its maker."""
    made = Step(list(argv), **settings)
    for entries in inputs:
        made.add_input(f"{entries[-1]['argv'][1]}.zarr", "content", entries, piped)
    return made.entries()


def test_an_entry_says_who_made_what_from_what():
    first = step("gz", "prep", "raw", seed=3, device="cpu", config={"limit": 4})
    second = step("gz", "predict", "prep.zarr", inputs=(first,))
    assert [entry["argv"][1] for entry in second] == ["prep", "predict"]
    assert second[1]["parents"] == [first[0]["id"]] and first[0]["parents"] == []
    assert second[1]["inputs"] == [{"path": "prep.zarr", "id": "content", "step": first[0]["id"]}]
    assert first[0]["seed"] == 3 and first[0]["device"] == "cpu" and first[0]["config"] == {"limit": 4}
    assert first[0]["packages"]["numpy"] and first[0]["started"].endswith("Z")


def test_several_inputs_make_a_graph_in_topological_order_without_doubles():
    root = step("gz", "prep")
    left, right = step("gz", "left", inputs=(root,)), step("gz", "right", inputs=(root,))
    joined = step("gz", "concat", inputs=(left, right))
    assert [e["argv"][1] for e in joined] == ["prep", "left", "right", "concat"]
    seen: set[str] = set()
    for entry in joined:
        assert set(entry["parents"]) <= seen
        seen.add(entry["id"])


def test_the_same_command_twice_is_two_steps():
    assert step("gz", "prep")[0]["id"] != step("gz", "prep", started=1.0)[0]["id"]


def test_an_input_that_became_an_output_of_its_own_is_forgotten():
    made = Step(["gz", "select"])
    number = made.add_input("a.zarr", "1", step("gz", "a"))
    made.add_input("weights", "2", step("gz", "train"))
    made.forget(number)
    assert [e["argv"][1] for e in made.entries()] == ["train", "select"]
    assert made.add_input("b.zarr", "3", []) == 3


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["gz", "x", "--hf-token", "sesame", "in.zarr"], ["gz", "x", "--hf-token", "***", "in.zarr"]),
        (["gz", "x", "--api-key=sesame"], ["gz", "x", "--api-key=***"]),
        (["gz", "x", "--password", "-sesame", "--limit", "3"], ["gz", "x", "--password", "***", "--limit", "3"]),
        (["gz", "x", "--token", "--limit", "3"], ["gz", "x", "--token", "--limit", "3"]),
        (["gz", "x", "token", "keys.zarr"], ["gz", "x", "token", "keys.zarr"]),
    ],
)
def test_secrets_are_hidden(argv, shown):
    assert hide_secrets(argv) == shown
    entry = step(*argv, config={"hf_token": "sesame", "limit": 3})[0]
    assert "sesame" not in strict_json(entry) and entry["config"] == {"hf_token": "***", "limit": 3}


def test_history_is_newest_first_and_can_be_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_current", Step(["gz", "two words", "it's"]))
    attributes = provenance.attributes(provenance.current(), "then gz before")
    assert attributes["history"].splitlines()[1] == "then gz before"
    assert attributes["history"].splitlines()[0].endswith("gz 'two words' 'it'\"'\"'s'")
    assert json.loads(attributes["gz_provenance"])[0]["argv"] == ["gz", "two words", "it's"]
    assert provenance.attributes(Step(["gz"], keep=False), "before") == {}


def test_without_provenance_equal_content_is_equal_bytes(tmp_path, fill, monkeypatch):
    files = []
    for number, name in enumerate(("one", "two")):
        monkeypatch.setattr(provenance, "_current", Step(["gz", name], keep=False, started=float(number)))
        folder = tmp_path / name
        folder.mkdir()
        fill(folder / "a.zarr.zip", "gaze-samples")
        files.append((folder / "a.zarr.zip").read_bytes())
        with artifacts.open(folder / "a.zarr.zip") as artifact:
            assert artifact.provenance == [] and "history" not in artifact.attrs
    assert files[0] == files[1]


def test_json_is_strict():
    value = {"nan": float("nan"), "list": [float("inf"), 1.5], "tuple": (1, None), 3: True, "path": artifacts}
    text = strict_json(value)
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["nan"] is None and json.loads(text)["list"] == [None, 1.5]


@pytest.mark.parametrize("text", ["", "null", "{}", "[null]", '[{"id": "a", "parents": null, "argv": []}]', "[[]]"])
def test_what_is_no_chain_is_refused(text):
    with pytest.raises(ValueError, match=r"Expecting value|is no entry"):
        parsed(text)


# ---- as a script -----------------------------------------------------------------------------------------------------


def replay(entries: list[dict], folder) -> list[str]:
    """Run the script with a `gz` that writes down how it was called; the calls, in order of their end."""
    (folder / "gz").write_text('#!/bin/bash\n[ -p /dev/stdin ] && cat > /dev/null\necho "$*" >> calls\n')
    (folder / "gz").chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", as_shell(entries)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (folder / "calls").read_text().splitlines()


def test_a_pipe_is_a_pipe_again(tmp_path):
    entries = step("gz", "prep", "raw")
    entries = step("gz", "select", "--where", "a < 1", inputs=(entries,), piped=True)
    entries = step("gz", "eval", "-o", "out.zarr", inputs=(entries,), piped=True)
    assert as_shell(entries).splitlines()[-1] == "gz prep raw | gz select --where 'a < 1' | gz eval -o out.zarr"
    assert replay(entries, tmp_path) == ["prep raw", "select --where a < 1", "eval -o out.zarr"]


def test_named_files_are_made_before_they_are_read(tmp_path):
    first = step("gz", "prep", "raw", "-o", "prep.zarr")
    second = step("gz", "eval", "prep.zarr", "--out=eval.zarr", inputs=(first,))
    assert as_shell(second).splitlines()[1:] == ["gz prep raw -o prep.zarr", "gz eval prep.zarr --out=eval.zarr"]
    assert replay(second, tmp_path) == ["prep raw -o prep.zarr", "eval prep.zarr --out=eval.zarr"]


def test_what_two_commands_read_goes_into_a_file(tmp_path):
    root = step("gz", "prep", "raw")
    left = step("gz", "left", inputs=(root,), piped=True)
    right = step("gz", "right", inputs=(root,), piped=True)
    lines = as_shell(step("gz", "concat", "left.zarr", "right.zarr", inputs=(left, right))).splitlines()
    stored = f"step-{root[0]['id']}.zarr"
    assert lines[1:] == [
        f"gz prep raw -o {stored}", f"gz left {stored} -o left.zarr", f"gz right {stored} -o right.zarr",
        "gz concat left.zarr right.zarr",
    ]  # fmt: skip
