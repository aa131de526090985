import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from gazecore import export, models
from gazecore.data.following import FollowingBatch
from gazecore.errors import NO_INPUT, UNAVAILABLE, USAGE, GazeError


def tiny(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"pretrained": False} if name == "gazelle" else {}
    return models.build(name, "tiny", **options).eval()


@pytest.fixture(scope="module")
def gazelle(tmp_path_factory):
    """A tiny Gaze-LLE, and the folder with its exports gazelle.pt2 and gazelle.onnx."""
    pytest.importorskip("onnxruntime")
    folder, model = tmp_path_factory.mktemp("export"), tiny("gazelle")
    for ending in export.FORMATS:
        found = export.write(folder / f"gazelle{ending}", model, "gazelle", {"note": "made"}, steps=[{"argv": ["gz"]}])
        assert set(found) == {"heatmap", "in_frame"} and max(found.values()) <= 1e-4
    return model, folder


def batch(people: int, images: int) -> FollowingBatch:
    corners = torch.rand(people, 2, 2).sort(dim=1).values.flatten(1)
    return FollowingBatch(
        scene=torch.randn(images, 3, 128, 128),
        image_index=torch.arange(people) % images,
        head_box=corners,
        head_crop=None,
        head_mask=None,
        gaze_targets=torch.full((people, 1, 2), torch.nan),
        in_frame=torch.full((people,), torch.nan),
        target_heatmap=None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("people, images", [(1, 1), (4, 1), (3, 3)])
def test_the_files_give_what_predict_gives_for_any_number_of_people(gazelle, people, images):
    import onnxruntime

    model, folder = gazelle
    given = batch(people, images)
    expected = model.predict(given)
    program = torch.export.load(folder / "gazelle.pt2").module()
    loaded = onnxruntime.InferenceSession(folder / "gazelle.onnx")
    inputs = {"scene": given.scene, "head_box": given.head_box, "image_index": given.image_index}
    for heatmap, in_frame in (
        program(*inputs.values()),
        loaded.run(["heatmap", "in_frame"], {name: value.numpy() for name, value in inputs.items()}),
    ):
        np.testing.assert_allclose(torch.as_tensor(heatmap).detach(), expected.heatmap, atol=1e-5)
        np.testing.assert_allclose(torch.as_tensor(in_frame).detach(), expected.in_frame, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("ending", export.FORMATS)
def test_a_file_says_what_it_is_and_what_it_takes(gazelle, ending):
    model, folder = gazelle
    record = export.metadata(folder / f"gazelle{ending}")
    assert record["format"] == export.FORMAT and record["model"] == "gazelle"
    assert record["preprocessing"] == model.preprocessing and record["config"]["width"] == model.config.width
    assert [(array["name"], array["axes"]) for array in record["inputs"]] == [
        ("scene", ["images", 3, 128, 128]),
        ("head_box", ["people", 4]),
        ("image_index", ["people"]),
    ]
    assert [array["name"] for array in record["outputs"]] == ["heatmap", "in_frame"]
    assert record["note"] == "made" and record["provenance"] == [{"argv": ["gz"]}]


@pytest.mark.slow
def test_onnx_names_its_arrays_and_their_free_axes(gazelle):
    import onnx

    graph = onnx.load(gazelle[1] / "gazelle.onnx").graph
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert axes == {
        "scene": ["images", 3, 128, 128],
        "head_box": ["people", 4],
        "image_index": ["people"],
        "heatmap": ["people", 64, 64],
        "in_frame": ["people"],
    }


def test_nothing_is_left_of_a_file_that_differs_too_much(tmp_path, monkeypatch):
    class Echo(nn.Module):
        """A port whose file is always off by one."""

        inputs = outputs = (export.Array("value", ("people",), ""),)

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, value):
            return (value,)

        def example(self, people):
            return (torch.zeros(people),)

    monkeypatch.setitem(export.PORTS, "vtd", Echo)
    monkeypatch.setattr(export, "_save_pt2", lambda port, path, text: path.write_text(text))
    for wrong in (1.0, torch.nan):
        monkeypatch.setattr(export, "_load_pt2", lambda path, wrong=wrong: lambda inputs: [inputs[0] + wrong])
        with pytest.raises(GazeError, match=r"would differ from the model in value by (1\.0e\+00|nan); allowed is"):
            export.write(tmp_path / "x.pt2", tiny("vtd"), "vtd")
    monkeypatch.setattr(export, "_load_pt2", lambda path: lambda inputs: [inputs[0][:0]])
    with pytest.raises(GazeError, match="by inf"):
        export.write(tmp_path / "x.pt2", tiny("vtd"), "vtd")
    assert not list(tmp_path.iterdir())


def test_outputs_beyond_one_are_compared_as_shares():
    assert export._difference(torch.tensor([400.4]), torch.tensor([400.0])) == pytest.approx(1e-3, rel=1e-3)
    assert export._difference(torch.tensor([0.1]), torch.tensor([0.0])) == pytest.approx(0.1)


def test_other_endings_models_and_defects_are_refused(tmp_path):
    for path, name, message in (
        (tmp_path / "x.pt", "gazelle", r"ends in \.pt2 or \.onnx"),
        (tmp_path / "x.pt2", "diffusion", '"diffusion" cannot be exported; these can: gazelle, vtd'),
    ):
        with pytest.raises(GazeError, match=message) as raised:
            export.check(path, name)
        assert raised.value.code == USAGE
    compat = models.build("vtd-temporal", {"depths": [1] * 5, "width": 8, "compat": "vtd"})
    with pytest.raises(GazeError, match="how many people share a batch"):
        export.write(tmp_path / "x.pt2", compat, "vtd-temporal")


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(GazeError, match=r'pip install "gazecore\[onnx\]", or export a \.pt2') as raised:
        export.check(tmp_path / "x.onnx", "vtd")
    assert raised.value.code == UNAVAILABLE


def test_files_that_are_no_exports_are_named(tmp_path):
    with pytest.raises(GazeError, match="no such file") as raised:
        export.metadata(tmp_path / "lost.pt2")
    assert raised.value.code == NO_INPUT
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("other/data", "")
    (tmp_path / "text.pt2").write_text("nothing")
    for name in ("other.pt2", "text.pt2"):
        with pytest.raises(GazeError, match="does not say what it is"):
            export.metadata(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("ending", export.FORMATS)
@pytest.mark.parametrize("name", ["vtd", "vtd-temporal"])
def test_vtd_is_exported_with_and_without_memory(tmp_path, name, ending):
    if ending == ".onnx":
        pytest.importorskip("onnxruntime")
    found = export.write(tmp_path / f"x{ending}", tiny(name), name)
    assert max(found.values()) <= 1e-4
    outputs = ["heatmap", "in_frame"] + (["next_hidden", "next_cell"] if name == "vtd-temporal" else [])
    assert list(found) == outputs


@pytest.mark.slow
def test_memory_goes_from_frame_to_frame_outside_the_file(tmp_path):
    model = tiny("vtd-temporal")
    export.write(tmp_path / "x.pt2", model, "vtd-temporal")
    program = torch.export.load(tmp_path / "x.pt2").module()
    frames = [export.VtdPort(model).example(2) for _ in range(3)]
    hidden = cell = torch.zeros(2, 2, 64, 7, 7)
    found = []
    with torch.inference_mode():
        for frame in frames:
            heatmap, _, hidden, cell = program(*frame, hidden, cell)
            found.append(heatmap)
        whole = model(*(torch.stack(views) for views in zip(*frames, strict=True)))
    torch.testing.assert_close(torch.cat(found), whole.heatmap, atol=1e-5, rtol=1e-5)
