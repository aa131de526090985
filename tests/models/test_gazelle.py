import math
from types import SimpleNamespace

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from gazecore import models
from gazecore.errors import UNAVAILABLE, USAGE, GazeError
from gazecore.models import dinov2, gazelle

torch.set_num_threads(1)

SMALL_VIT = "test_vit.r160_in1k"  # timm's own test model: 16-pixel patches, 64 features


class Features(nn.Module):
    """A backbone that passes ready-made features through."""

    patch, mean, std = 14, dinov2.IMAGENET_MEAN, dinov2.IMAGENET_STD

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, features):
        return features


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return models.build("gazelle", "tiny").eval()


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "features", "parameters", "keys"),
    [
        ("vitb14", 768, 2_826_752, 40),
        ("vitl14", 1024, 2_892_288, 40),
        ("vitb14-inout", 768, 2_860_033, 45),
        ("vitl14-inout", 1024, 2_925_569, 45),
    ],
)
def test_published_decoders(preset, features, parameters, keys):
    model = models.build("gazelle", preset, backbone=Features(features))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.state_dict()) == keys
    assert model.left_out == ("backbone.",)


@torch.no_grad()
def test_many_heads_of_an_image_equal_each_head_alone(tiny):
    scene = torch.randn(2, 3, 128, 128)
    head_box, image_index = gazelle.people([[(0.1, 0.2, 0.3, 0.5), (0.6, 0.1, 0.8, 0.3)], [None]])
    together = tiny(scene, head_box, image_index)
    assert together.heatmap.shape == (3, 64, 64) and together.in_frame_logit.shape == (3,)
    for person, image in enumerate(image_index):
        alone = tiny(scene[image : image + 1], head_box[person : person + 1])
        close(alone.heatmap[0], together.heatmap[person])
        close(alone.in_frame_logit[0], together.in_frame_logit[person])
    assert not torch.allclose(together.heatmap[0], together.heatmap[1])


@torch.no_grad()
def test_prediction_encodes_each_image_once(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(tiny, "encode", lambda scene: seen.append(len(scene)) or tiny.backbone(scene))
    batch = SimpleNamespace(
        scene=torch.randn(1, 3, 128, 128),
        head_box=torch.tensor([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.8, 0.9]]),
        image_index=torch.tensor([0, 0]),
    )
    prediction = tiny.predict(batch)
    assert seen == [1] and prediction.heatmap.shape == (2, 64, 64)
    assert ((prediction.in_frame > 0) & (prediction.in_frame < 1)).all()
    assert prediction.heatmap.min() >= 0 and prediction.heatmap.max() <= 1


def test_without_an_in_frame_head_there_is_no_in_frame_score():
    config = {"backbone": "tiny", "stored_backbone": True, "in_frame": False, "width": 32, "depth": 1, "heads": 4}
    model = models.build("gazelle", config | {"input_size": [64, 64]}).eval()
    batch = SimpleNamespace(scene=torch.randn(1, 3, 64, 64), head_box=torch.rand(1, 4), image_index=torch.tensor([0]))
    assert model.predict(batch).in_frame is None


@torch.no_grad()
def test_scenes_of_another_size_and_shape(tiny):
    wide = tiny(torch.randn(1, 3, 96, 160), torch.tensor([[0.1, 0.1, 0.3, 0.3]]))
    large = tiny(torch.randn(1, 3, 320, 320), torch.tensor([[0.1, 0.1, 0.3, 0.3]]))
    assert wide.heatmap.shape == large.heatmap.shape == (1, 64, 64)


def test_scenes_must_divide_into_patches(tiny):
    with pytest.raises(GazeError, match=r"100x128 pixels do not divide into patches of 16"):
        tiny(torch.randn(1, 3, 100, 128), torch.rand(1, 4))


def test_the_tiny_model_learns_to_follow_one_head():
    torch.manual_seed(0)
    model = models.build("gazelle", "tiny")
    scene, head_box = torch.randn(4, 3, 128, 128), torch.tensor([[0.4, 0.4, 0.6, 0.6]]).repeat(4, 1)
    target = torch.zeros(4, 64, 64)
    for person in range(4):
        target[person, 16 * person : 16 * person + 8, 8:16] = 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        loss = nn.functional.binary_cross_entropy(model(scene, head_box).heatmap, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


# ---- head maps


def test_a_head_covers_the_cells_it_rounds_to():
    drawn = gazelle.head_maps(torch.tensor([[0.25, 0.5, 0.5, 1.0]]), height=4, width=8)
    expected = torch.zeros(1, 4, 8)
    expected[0, 2:4, 2:4] = 1
    assert torch.equal(drawn, expected)


def test_an_unknown_head_is_no_prompt():
    assert gazelle.head_maps(torch.full((1, 4), math.nan), 8, 8).sum() == 0
    assert gazelle.head_maps(torch.tensor([[0.1, 0.1, math.nan, 0.5]]), 8, 8).sum() == 0


def test_a_head_that_leaves_the_image_still_prompts():
    box = torch.tensor([[-0.2, -0.1, 0.25, 0.25]])
    assert gazelle.head_maps(box, 8, 8)[0, :2, :2].sum() == 4
    assert gazelle.head_maps(box, 8, 8).sum() == 4
    assert gazelle.head_maps(box, 8, 8, compat="gazelle").sum() == 0


@pytest.mark.parametrize("box", [(0.51, 0.51, 0.52, 0.52), (0.99, 0.99, 1.0, 1.0), (0.0, 0.0, 0.01, 0.01)])
def test_a_head_smaller_than_a_cell_covers_the_cell_of_its_centre(box):
    drawn = gazelle.head_maps(torch.tensor([box]), 8, 8)
    assert drawn.sum() == 1 and drawn[0, min(int(box[1] * 8), 7), min(int(box[0] * 8), 7)] == 1
    assert gazelle.head_maps(torch.tensor([box]), 8, 8, compat="gazelle").sum() == 0


def test_people_are_flattened_over_images():
    head_box, image_index = gazelle.people([[(0, 0, 1, 1), None], [], [(0, 0, 0.5, 0.5)]])
    assert head_box.shape == (3, 4) and image_index.tolist() == [0, 0, 2] and head_box[1].isnan().all()


# ---- backbones


def test_resampling_positions_to_their_own_grid_changes_nothing():
    table = torch.randn(1, 49, 6)
    assert torch.equal(dinov2.resample_positions(table, (7, 7)), table)


def test_a_flat_table_of_positions_stays_flat():
    resampled = dinov2.resample_positions(torch.full((1, 37 * 37, 2), 0.5), (20, 32))
    assert resampled.shape == (1, 20 * 32, 2)
    torch.testing.assert_close(resampled, torch.full_like(resampled, 0.5))


@torch.no_grad()
def test_any_vision_transformer_of_timm_is_a_backbone():
    backbone = dinov2.backbone(SMALL_VIT, pretrained=False).eval()
    assert backbone(torch.randn(2, 3, 96, 64)).shape == (2, 64, 6, 4)
    assert (backbone.width, backbone.patch) == (64, 16)


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(GazeError, match=r"did you mean .*vit_base_patch14_dinov2") as caught:
        dinov2.backbone("vit_bas_patch14_dinov2")
    assert caught.value.code == USAGE


@torch.no_grad()
def test_weights_come_from_a_local_file(tmp_path):
    published = timm.create_model(SMALL_VIT, num_classes=0)
    safetensors.torch.save_file(published.state_dict(), tmp_path / "vit.safetensors")
    torch.save(published.state_dict(), tmp_path / "vit.pth")
    images = torch.randn(1, 3, 160, 160)
    expected = published.eval().forward_features(images)[:, published.num_prefix_tokens :]
    for name in ("vit.safetensors", "vit.pth"):
        features = dinov2.backbone(SMALL_VIT, weights=tmp_path / name).eval()(images)
        close(features.flatten(2).transpose(1, 2), expected)


def test_weights_of_another_backbone_are_refused(tmp_path):
    torch.save(timm.create_model("test_vit2", num_classes=0).state_dict(), tmp_path / "other.pth")
    with pytest.raises(GazeError, match=r"other\.pth does not fit test_vit[\s\S]*reg_token is not known"):
        dinov2.backbone(SMALL_VIT, weights=tmp_path / "other.pth")


def test_offline_the_error_names_the_file_and_the_option(monkeypatch):
    def offline(*_):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(dinov2, "hf_hub_download", offline)
    with pytest.raises(
        GazeError, match=r"huggingface.co/timm/vit_base_patch14_dinov2\S+safetensors.*--weights"
    ) as caught:
        models.build("gazelle")
    assert caught.value.code == UNAVAILABLE


def test_a_public_backbone_is_frozen_and_a_random_one_is_our_own():
    config = gazelle.GazelleConfig(backbone=SMALL_VIT, width=32, depth=1, heads=4, input_size=(160, 160))
    random = models.build("gazelle", config, pretrained=False)
    assert random.config.stored_backbone and random.left_out == ()
    assert all(parameter.requires_grad for parameter in random.backbone.parameters())
    public = models.build("gazelle", config, backbone=random.backbone)
    assert not public.config.stored_backbone
    assert not any(parameter.requires_grad for parameter in public.backbone.parameters())


def test_an_empty_backbone_says_so():
    config = gazelle.GazelleConfig(backbone=SMALL_VIT, width=32, depth=1, heads=4, input_size=(160, 160))
    model = models.build("gazelle", config, pretrained=None)
    with pytest.raises(GazeError, match="without the weights of its backbone"):
        model(torch.randn(1, 3, 160, 160), torch.rand(1, 4))
