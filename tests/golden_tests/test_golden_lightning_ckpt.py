"""A Lightning checkpoint with the key names of transformers 4 in the installed version (golden/eyes)."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from gazecore import checkpoints

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("GZ_GOLDEN", Path(__file__).parents[1] / "golden")) / "eyes"
FILES = sorted(GOLDEN.glob("lightning_ckpt*.json"))


def state_dict(golden):
    """The tensors of the golden run: from name and shape; the buffers of whole numbers are filled with zeros."""
    state = {}
    for name, shape in golden["lightning_state_dict_shapes"].items():
        size = int(np.prod(shape))
        s = np.sin(0.7 * np.arange(size) + zlib.crc32(name.encode()) % 1000)
        if name in golden["integer_or_bool_buffers"]:
            state[name] = torch.zeros(shape, dtype=torch.long)
            continue
        if name.endswith("running_mean"):
            values = 0.1 * s
        elif name.endswith("running_var"):
            values = 1 + 0.5 * s**2
        elif len(shape) >= 2:
            values = s / np.sqrt(size / shape[0])
        else:
            values = 1 + 0.1 * s if name.endswith("weight") else 0.1 * s
        state[name] = torch.tensor(values.reshape(shape), dtype=torch.float32)
    return state


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bare_lightning_checkpoint_gives_the_outputs_it_had(path, tmp_path):
    golden = json.loads(path.read_text())
    content = {"epoch": 3, "hyper_parameters": {"lr": 1e-4}, "state_dict": state_dict(golden)}
    torch.save(content, tmp_path / "last.ckpt")

    model, report = checkpoints.import_weights(tmp_path / "last.ckpt", "mask2former")

    config, backbone = golden["config"], golden["backbone"]
    assert model.config.queries == config["num_queries"] and model.config.classes == config["num_labels"]
    assert model.config.layers == config["decoder_layers"] and model.config.heads == config["num_attention_heads"]
    assert model.config.encoder_layers == config["encoder_layers"] and model.config.width == config["hidden_dim"]
    if golden["backbone_class"] == "SwinConfig":
        assert list(model.config.depths) == backbone["depths"]
        assert list(model.config.backbone_heads) == backbone["num_heads"]
        assert (model.config.widths[0], model.config.window) == (backbone["embed_dim"], backbone["window_size"])
    assert report.entry == "state_dict" and set(report.dropped) <= set(golden["integer_or_bool_buffers"])

    b, c, h, w = (np.arange(size) for size in golden["input_shape"])
    b, c, h, w = np.ix_(b, c, h, w)
    phase = golden.get("input_phase", 0.0)
    image = torch.tensor(np.sin(0.05 * h + 0.07 * w + 1.1 * c + 0.5 * b + phase), dtype=torch.float32)
    with torch.no_grad():
        class_logits, mask_logits = model.queries(image)
    np.testing.assert_allclose(class_logits, golden["class_logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(mask_logits[:, :, ::5, ::5], golden["mask_logits_every_5th_hw"], rtol=0, atol=1e-4)
