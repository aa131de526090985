"""Models of eye regions against numbers of their authors' code (golden/eyes: transformers 5.23, RITnet)."""

import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from transformers.models.mask2former import modeling_mask2former as library

from gazecore.models.mask2former import Mask2Former, Mask2FormerConfig, semantic_map
from gazecore.models.ritnet import Ritnet
from gazecore.models.segformer import Segformer, SegformerConfig

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "eyes"
RECIPE = json.loads((GOLDEN / "recipe.json").read_text()) if (GOLDEN / "recipe.json").is_file() else {}
MODELS = json.loads((GOLDEN / "models.json").read_text())
SHAPES = json.loads((GOLDEN / "models_state_dict_shapes.json").read_text())
ARRAYS = np.load(GOLDEN / "models.npz")

GAIN, RITNET_GAIN = RECIPE.get("gain", 1.0), RECIPE.get("ritnet_gain", 4.0)
PHASE = MODELS.get("input_phase", 0.0)
MATCHING = MODELS["mask2former_matching"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def filled(model, gain, prefix=""):
    """The model with the weights of the golden run, each from its name and shape."""
    state = {}
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        i = np.arange(tensor.numel())
        s = np.sin(0.7 * i + zlib.crc32(name.removeprefix(prefix).encode()) % 1000)
        if name.endswith("running_mean"):
            values = 0.1 * s
        elif name.endswith("running_var"):
            values = 1 + 0.5 * s**2
        elif tensor.ndim >= 2:
            values = gain * s / np.sqrt(tensor.numel() / len(tensor))
        else:
            values = 1 + 0.1 * s if name.endswith("weight") else 0.1 * s
        state[name] = torch.tensor(values.reshape(tensor.shape), dtype=tensor.dtype)
    model.load_state_dict(state, strict=False)
    return model.eval()


def images(batch, height, width, channels=3):
    b, c, h, w = np.ogrid[:batch, :channels, :height, :width]
    return torch.tensor(np.sin(0.05 * h + 0.07 * w + 1.1 * c + 0.5 * b + PHASE), dtype=torch.float32)


def images_of(case):
    """The input of a case whose name ends in its shape: segformer_tiny_2x96x128."""
    return images(*(int(side) for side in case.split("_")[-1].split("x")))


def shapes_of(model, prefix=""):
    return {name.removeprefix(prefix): list(tensor.shape) for name, tensor in model.state_dict().items()}


def assert_summary(output, expected, tolerance):
    assert list(output.shape) == expected["shape"]
    for name in ("mean", "std", "min", "max"):
        if name in expected:
            value = output.std(correction=0) if name == "std" else getattr(output, name)()
            assert value.item() == pytest.approx(expected[name], abs=tolerance), name


def histogram(labels):
    return np.bincount(labels.numpy().ravel(), minlength=4).tolist()


@functools.cache
def ritnet():
    return filled(Ritnet(), RITNET_GAIN)


def test_ritnet_has_the_authors_names_and_shapes():
    assert shapes_of(ritnet()) == SHAPES["ritnet"]


@pytest.mark.parametrize("case", MODELS["ritnet"])
def test_ritnet(case):
    expected = MODELS["ritnet"][case]
    batch, _, height, width = expected["shape"]
    logits = ritnet()(images(batch, height, width, channels=1))
    assert_summary(logits, expected, 2e-3)
    array = ARRAYS[f"ritnet_{batch}x{height}x{width}"]
    np.testing.assert_allclose(logits[:, :, ::7, ::5].numpy(), array, rtol=0, atol=2e-3)
    assert np.abs(np.subtract(histogram(logits.argmax(1)), expected["argmax_hist"])).sum() <= 4
    spread = logits[0].std(dim=(1, 2), correction=0)
    np.testing.assert_allclose(spread, expected["spatial_std_per_class"], rtol=0, atol=2e-3)


@functools.cache
def segformer():
    config = MODELS["segformer_tiny"]["config"]
    return filled(
        Segformer(
            SegformerConfig(
                depths=tuple(config["depths"]),
                widths=tuple(config["hidden_sizes"]),
                heads=tuple(config["num_attention_heads"]),
                decoder_width=config["decoder_hidden_size"],
            )
        ),
        GAIN,
    )


def test_segformer_has_the_librarys_names_and_shapes():
    assert shapes_of(segformer()) == SHAPES["segformer_tiny"]


@pytest.mark.parametrize("case", MODELS["segformer_tiny"]["out"])
def test_segformer(case):
    logits = segformer().quarter(images_of(case))
    assert_summary(logits, MODELS["segformer_tiny"]["out"][case], 2e-4)
    np.testing.assert_allclose(logits[:, :, ::2, ::2].numpy(), ARRAYS[case], rtol=0, atol=2e-4)


@functools.cache
def mask2former():
    config, backbone = MODELS["mask2former_swin"]["config"], MODELS["mask2former_swin"]["backbone"]
    return filled(
        Mask2Former(
            Mask2FormerConfig(
                depths=tuple(backbone["depths"]),
                widths=tuple(backbone["embed_dim"] * 2**stage for stage in range(4)),
                backbone_heads=tuple(backbone["num_heads"]),
                window=backbone["window_size"],
                feature_width=config["feature_size"],
                mask_width=config["mask_feature_size"],
                width=config["hidden_dim"],
                encoder_layers=config["encoder_layers"],
                encoder_hidden=config["encoder_feedforward_dim"],
                layers=config["decoder_layers"],
                hidden=config["dim_feedforward"],
                heads=config["num_attention_heads"],
                queries=config["num_queries"],
                classes=config["num_labels"],
                train_points=config["train_num_points"],
            )
        ),
        GAIN,
        prefix="network.",
    )


def test_mask2former_has_the_librarys_names_and_shapes():
    assert shapes_of(mask2former(), prefix="network.") == SHAPES["mask2former_swin"]


@pytest.mark.parametrize("case", MODELS["mask2former_swin"]["out"])
def test_mask2former(case):
    expected, image = MODELS["mask2former_swin"]["out"][case], images_of(case)
    class_logits, mask_logits = mask2former().queries(image)
    assert_summary(class_logits, expected["class"], 2e-4)
    assert_summary(mask_logits, expected["mask"], 2e-4)
    np.testing.assert_allclose(class_logits.numpy(), ARRAYS[f"{case}_class_logits"], rtol=0, atol=2e-4)
    np.testing.assert_allclose(mask_logits[:, :, ::3, ::3].numpy(), ARRAYS[f"{case}_mask_logits_s3"], rtol=0, atol=2e-4)

    small = semantic_map(class_logits, mask_logits, mask_logits.shape[-2:])
    assert histogram(small.argmax(1)) == expected["semantic_lowres_argmax_hist"]
    labels = semantic_map(class_logits, mask_logits, image.shape[-2:], through=(384, 384)).argmax(1)
    assert [histogram(of_image) for of_image in labels] == expected["post_process_hist"]
    np.testing.assert_array_equal(labels[:, ::4, ::4].numpy(), ARRAYS[f"{case}_post_s4"])


POSTPROCESS = MATCHING["postprocess"]


@pytest.mark.parametrize("case", [case for case, value in POSTPROCESS.items() if isinstance(value, dict)])
def test_the_semantic_map_through_384_pixels_is_the_librarys(case):
    phase, expected = MATCHING["phase"], POSTPROCESS[case]
    q, c, y, x = np.ogrid[: POSTPROCESS["Q"], :5, : POSTPROCESS["h"], : POSTPROCESS["w"]]
    class_logits = torch.tensor(2.5 * np.sin(1.7 * q + 2.3 * c + phase))[..., 0, 0]
    mask_logits = torch.tensor(4 * np.sin(0.21 * x + 0.5 * q + phase) * np.cos(0.17 * y - 0.8 * q))[:, 0]
    size = None if case == "no_target_size" else tuple(int(side) for side in case.split("x"))
    labels = semantic_map(class_logits[None], mask_logits[None], size, through=(384, 384)).argmax(1)[0]

    assert list(labels.shape) == expected.get("shape", list(size or ()))
    assert np.abs(np.subtract(histogram(labels), expected["hist"])).sum() <= 2
    if size is not None:
        assert labels[size[0] // 3, ::3].tolist() == expected["row_third"]
        assert labels[::3, size[1] // 2].tolist() == expected["col_half"]


def test_the_costs_and_the_matching_of_the_set_loss():
    phase, (queries, masks, points) = MATCHING["phase"], (MATCHING[name] for name in "QNT")
    q, n, t, c = np.arange(queries), np.arange(masks), np.arange(points), np.arange(5)
    x = torch.tensor(2 * np.sin(0.31 * t + 1.7 * q[:, None] + phase))
    y = torch.tensor((np.sin(0.17 * t + 0.9 * n[:, None] + phase) > 0.2).astype(float))
    probability = torch.tensor(np.sin(0.8 * q[:, None] + 1.9 * c + phase)).softmax(-1)

    dice, cross_entropy = library.pair_wise_dice_loss(x, y), library.pair_wise_sigmoid_cross_entropy_loss(x, y)
    of_class = -probability[:, MATCHING["class_labels"]]
    total = 5 * cross_entropy + 2 * of_class + 5 * dice
    for found, name in (
        (dice, "pair_wise_dice"),
        (cross_entropy, "pair_wise_sigmoid_ce"),
        (of_class, "cost_class"),
        (total, "cost_total_w_mask5_class2_dice5"),
    ):
        np.testing.assert_allclose(found, MATCHING[name], rtol=0, atol=2e-5, err_msg=name)
    rows, columns = linear_sum_assignment(total)
    assert (rows.tolist(), columns.tolist()) == (MATCHING["hungarian_rows"], MATCHING["hungarian_cols"])
