"""Models of gaze following against numbers of their authors' code (golden/following: VTD, Gaze-LLE, DINOv2)."""

import functools
import importlib.util
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from gazecore import losses
from gazecore.models import dinov2, gazelle
from gazecore.models.vtd import Vtd
from gazecore.models.vtd_temporal import VtdTemporal, VtdTemporalConfig

pytestmark = pytest.mark.golden

OURS = Path(__file__).parents[1] / "golden"
GOLDEN = Path(os.environ.get("GZ_GOLDEN", OURS)) / "following"


def _recipe():
    path = next(folder / "recipe.py" for folder in (GOLDEN, OURS / "following") if (folder / "recipe.py").is_file())
    spec = importlib.util.spec_from_file_location("following_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recipe = _recipe()
constants = json.loads((GOLDEN / "recipe.json").read_text()) if (GOLDEN / "recipe.json").is_file() else {}
SHIFT = constants.get("shift", 0)
VTD_GAIN = constants.get("vtd_gain", 1.2)
GAIN = constants.get("gain", 2**0.5)


@functools.cache
def golden(name):
    path = GOLDEN / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def cases(name, pattern):
    return [case for case in golden(name) if re.fullmatch(pattern, case)]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def inp(shape, a, c):
    return torch.from_numpy(recipe.inp(tuple(shape), a, c + phase_shift()))


@functools.cache
def phase_shift():
    """What is added to the phase of every input: the folder's shift, unless the smallest record shows otherwise.

    Formulas written out in the records say "+shift", those in the README do not.
    """
    sizes = {case: math.prod(golden("dinov2_tiny")[case]["shape"]) for case in cases("dinov2_tiny", HUB_CASE)}
    if SHIFT == 0 or not sizes:
        return SHIFT
    smallest = min(sizes, key=sizes.get)

    def error(shift):
        summary = recipe.summary(hub_features(hub_vit(), smallest, shift).numpy())
        return np.abs(np.subtract(summary["values"], golden("dinov2_tiny")[smallest]["values"])).max()

    return min((SHIFT, 0), key=error)


def filled(shapes, gain, keep=()):
    """The state dict of the golden run: every entry from its name and shape."""
    return {
        name: torch.from_numpy(np.asarray(recipe.fill(name, tuple(shape), gain, SHIFT)))
        for name, shape in shapes.items()
        if name not in keep
    }


def assert_close(output, expected):
    output = output.detach().numpy()
    assert output.size == np.prod(expected["shape"])
    tolerance = 1e-4 * expected["std"] + 2e-5
    summary = recipe.summary(output)
    np.testing.assert_allclose(summary["values"], expected["values"], rtol=0, atol=tolerance)
    for name in ("mean", "min", "max"):
        assert summary[name] == pytest.approx(expected[name], abs=tolerance), name


def shapes_of(model):
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def parameters_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def head_masks(boxes, side):
    masks = torch.zeros(len(boxes), 1, side, side)
    for mask, (x_min, y_min, x_max, y_max) in zip(masks, boxes, strict=True):
        mask[0, y_min:y_max, x_min:x_max] = 1
    return masks


def loaded(model_class, config, shapes):
    model = model_class(config)
    assert shapes_of(model) == shapes
    model.load_state_dict(filled(shapes, VTD_GAIN), assign=True)
    return model.eval()


def vtd_inputs(case, rows, scene, head):
    """Scenes, head crops and head masks of a VTD case; scene, head: (a, c) of their formulas."""
    side = constants.get("vtd_side", 224)
    return (
        inp((rows, 3, side, side), *scene),
        inp((rows, 3, side, side), *head),
        head_masks(case["boxes_x0y0x1y1"], side),
    )


def one_frame(case):
    scene, head = constants.get("spatial_scene", (0.013, 0.2)), constants.get("spatial_head", (0.017, 1.1))
    return vtd_inputs(case, len(case["boxes_x0y0x1y1"]), scene, head)


# ---- VTD


@pytest.fixture(scope="module")
def vtd_temporal():
    shapes = golden("vtd_models").get("temporal_state_dict")
    if shapes is None:
        return None
    layers = len([name for name in shapes if name.startswith("convlstm_scene.weight_ih")])
    return loaded(VtdTemporal, VtdTemporalConfig(lstm_layers=layers, compat="vtd"), shapes)


@pytest.mark.parametrize("case", cases("vtd_models", "spatial(?!_state_dict|_params).*"))
@torch.inference_mode()
def test_vtd_equals_its_authors(case):
    record = golden("vtd_models")
    model = loaded(Vtd, Vtd.presets["default"], record["spatial_state_dict"])
    assert parameters_of(model) == record["spatial_params"]

    output = model(*one_frame(record[case]))

    assert_close(output.heatmap, record[case]["heatmap"])
    assert_close(output.attention, record[case]["attention"])
    assert_close(output.in_frame_logit, record[case]["inout_logit"])


def test_vtd_temporal_has_its_authors_parameters(vtd_temporal):
    if vtd_temporal is not None:
        assert parameters_of(vtd_temporal) == golden("vtd_models")["temporal_params"]


@pytest.mark.parametrize("case", cases("vtd_models", "temporal_one_step.*"))
@torch.inference_mode()
def test_one_step_of_vtd_temporal_equals_its_authors(case, vtd_temporal):
    expected = golden("vtd_models")[case]
    rows = expected["heatmap"]["shape"][0]
    boxes = expected if "boxes_x0y0x1y1" in expected else golden("vtd_models")["spatial"]

    output = vtd_temporal(*(tensor[:rows] for tensor in one_frame(boxes)))

    check_temporal(output, expected)


@pytest.mark.parametrize("case", cases("vtd_models", "temporal_chunk.*"))
@torch.inference_mode()
def test_a_chunk_of_vtd_temporal_equals_its_authors(case, vtd_temporal):
    expected = golden("vtd_models")[case]
    scene, head = constants.get("chunk_scene", (0.011, 0.5)), constants.get("chunk_head", (0.019, 0.9))
    hidden, cell = constants.get("chunk_hidden", (0.03, 0.1)), constants.get("chunk_cell", (0.05, 0.3))
    gain = constants.get("chunk_state_gain", 0.2)
    state = tuple(gain * inp(expected[name]["shape"], *phase) for name, phase in (("h", hidden), ("c", cell)))
    inputs = vtd_inputs(expected, sum(expected["batch_sizes"]), scene, head)

    output = vtd_temporal(*inputs, state=state, batch_sizes=expected["batch_sizes"])

    check_temporal(output, expected)
    for record in filter(None, [golden("vtd_models").get(f"losses_on_{case.removeprefix('temporal_')}")]):
        shape, a, c = re.search(r"inp\(\(([\d,]+)\),([\d.]+),([\d.]+)", record["target"]).groups()
        phase = float(c) + SHIFT * ("+shift" in record["target"])
        target = torch.from_numpy(recipe.inp([int(size) for size in shape.split(",")], float(a), phase)).sigmoid()
        inside = torch.tensor(record["inside"])
        assert losses.heatmap_mse(output.heatmap, target, inside).item() == pytest.approx(record["l2"], rel=1e-4)
        assert losses.in_frame_bce(output.in_frame_logit, inside).item() == pytest.approx(record["xent"], rel=1e-4)


def check_temporal(output, expected):
    assert_close(output.heatmap, expected["heatmap"])
    assert_close(output.in_frame_logit, expected["inout_logit"])
    assert_close(output.state[0], expected["h"])
    assert_close(output.state[1], expected["c"])


# ---- Gaze-LLE


class Features(nn.Module):
    """A backbone whose features are handed to decode instead."""

    patch, mean, std = 14, dinov2.IMAGENET_MEAN, dinov2.IMAGENET_STD

    def __init__(self, width):
        super().__init__()
        self.width = width


def decoder(shapes, height, width):
    layers = len({name.split(".")[1] for name in shapes if name.startswith("transformer.")})
    config = gazelle.GazelleConfig(
        in_frame="inout_token.weight" in shapes,
        width=shapes["linear.weight"][0],
        depth=layers,
        input_size=(height * Features.patch, width * Features.patch),
    )
    return gazelle.Gazelle(config, backbone=Features(shapes["linear.weight"][1])).eval()


@pytest.mark.parametrize(
    "case", [name for name, record in golden("gazelle_decoder").items() if "bboxes" in str(record)]
)
@torch.inference_mode()
def test_gazelle_decoder_equals_its_authors(case):
    expected, shapes = golden("gazelle_decoder")[case], golden("gazelle_decoder")[f"{case}_state_dict"]
    model = decoder(shapes, *expected["feature_shape"][2:])
    assert shapes_of(model) == shapes
    assert parameters_of(model) == golden("gazelle_decoder")[f"{case}_params"]
    model.load_state_dict(filled(shapes, GAIN, keep=("pos_embed",)), strict=False)
    features = inp(expected["feature_shape"], *constants.get("gazelle_features", (0.0137, 0.2)))
    head_box, image_index = gazelle.people(expected["bboxes"])

    output = model.decode(features, head_box, image_index)

    for image, heatmap in enumerate(expected["heatmap"]):
        assert_close(output.heatmap[image_index == image], heatmap)
        if expected["inout"] is not None:
            probability = output.in_frame_logit[image_index == image].sigmoid()
            np.testing.assert_allclose(probability, expected["inout"][image], rtol=0, atol=2e-5)
    assert (expected["inout"] is None) == (output.in_frame_logit is None)


@pytest.mark.parametrize("shape", golden("gazelle_decoder").get("posenc", {}))
def test_gazelle_positions_equal_their_authors(shape):
    table = gazelle.sine_positions(*map(int, shape.split("x")))
    assert_close(table, golden("gazelle_decoder")["posenc"][shape])


@pytest.mark.parametrize("case", golden("metrics").get("head_channel", []))
def test_compat_head_maps_equal_gazelle(case):
    size = torch.tensor([case["width"], case["height"]] * 2, dtype=torch.float64)
    (key,) = [key for key in case["out"] if re.fullmatch(r"gazelle\d+", key)]
    cells = int(key.removeprefix("gazelle"))

    drawn = gazelle.head_maps(torch.tensor([case["bbox"]], dtype=torch.float64) / size, cells, cells, "gazelle")

    assert drawn.sum() == case["out"][f"{key}_sum"]
    if case["out"][key] is not None:
        y_min, y_max, x_min, x_max = case["out"][key]
        assert drawn[0, y_min:y_max, x_min:x_max].sum() == drawn.sum()


# ---- DINOv2


HUB_CASE = r"tiny_\d+x\d+"


@functools.cache
def hub_vit():
    shapes = golden("dinov2_tiny")["tiny_state_dict"]
    patch, (_, positions, width) = shapes["patch_embed.proj.weight"][-1], shapes["pos_embed"]
    vit = VisionTransformer(
        img_size=round((positions - 1) ** 0.5) * patch,
        patch_size=patch,
        embed_dim=width,
        depth=len({name.split(".")[1] for name in shapes if name.startswith("blocks.")}),
        num_heads=constants.get("dinov2_heads", 3),
        mlp_ratio=shapes["blocks.0.mlp.fc1.weight"][0] / width,
        init_values=1.0,
        num_classes=0,
        dynamic_img_size=True,
    )
    vit.load_state_dict(filled(shapes, GAIN, keep=("mask_token",)))
    return vit.eval()


@torch.inference_mode()
def hub_features(vit, case, shift):
    """The patch features (1, patches, d) of a case's image."""
    height, width = map(int, case.removeprefix("tiny_").split("x"))
    a, c = constants.get("dinov2_image", (0.0091, 0.6))
    image = torch.from_numpy(recipe.inp((1, 3, height, width), a, c + shift))
    return dinov2.VitBackbone(vit, hub_positions=True)(image).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("case", cases("dinov2_tiny", HUB_CASE))
def test_patch_features_equal_the_dinov2_hub(case):
    assert_close(hub_features(hub_vit(), case, phase_shift()), golden("dinov2_tiny")[case])


@pytest.mark.parametrize("case", cases("dinov2_tiny", r"posembed_\d+to\d+"))
@torch.inference_mode()
def test_positions_are_resampled_as_the_hub_does(case):
    new = int(case.rsplit("to", 1)[1])
    resampled = dinov2.resample_positions(hub_vit().pos_embed[:, 1:], (new, new))
    assert_close(resampled, golden("dinov2_tiny")[case]["hub"])
