from types import SimpleNamespace

import pytest
import torch

from gazecore import models
from gazecore.models.vtd import Vtd, VtdConfig
from gazecore.models.vtd_temporal import VtdTemporal, VtdTemporalConfig

torch.set_num_threads(1)


def lively(name):
    """A tiny model in eval mode, its batch norms and biases away from the neutral values they start with."""
    torch.manual_seed(0)
    model = models.build(name, "tiny")
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.2)
        elif "bn" in key and key.endswith(("weight", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def vtd():
    return lively("vtd")


@pytest.fixture(scope="module")
def temporal():
    return lively("vtd-temporal")


def inputs(rows, seed=1):
    random = torch.Generator().manual_seed(seed)
    scene, head_crop = (torch.randn(rows, 3, 224, 224, generator=random) for _ in range(2))
    head_mask = torch.zeros(rows, 1, 224, 224)
    for row in range(rows):
        head_mask[row, 0, 20 * row : 20 * row + 40, 30:70] = 1
    return scene, head_crop, head_mask


def close(one, other):
    """Up to the rounding of sums over the map's largest values."""
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize(
    ("model_class", "config", "parameters", "keys"),
    [(Vtd, VtdConfig(), 61_451_706, 771), (VtdTemporal, VtdTemporalConfig(), 99_277_242, 959)],
)
def test_published_sizes(model_class, config, parameters, keys):
    model = model_class(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.state_dict()) == keys


def test_the_default_presets_are_the_published_sizes():
    assert models.configure("vtd") == VtdConfig()
    assert models.configure("vtd-temporal") == VtdTemporalConfig()


def test_every_name_of_the_frame_model_returns_in_the_temporal_one():
    frame, temporal = (models.build(name, "tiny").state_dict() for name in ("vtd", "vtd-temporal"))
    assert all(temporal[name].shape == tensor.shape for name, tensor in frame.items())
    added = {name for name in temporal if name not in frame}
    assert all("convlstm_scene." in name or ".bn_ds." in name for name in added)


@torch.no_grad()
def test_one_row_per_person(vtd):
    output = vtd(*inputs(3))
    assert output.heatmap.shape == (3, 64, 64) and output.in_frame_logit.shape == (3,)
    assert output.attention.shape == (3, 7, 7)
    close(output.attention.sum(dim=(1, 2)), torch.ones(3))


def test_people_of_one_image_share_its_scene(vtd):
    scene, head_crop, head_mask = inputs(3)
    batch = SimpleNamespace(
        scene=scene[:2], head_crop=head_crop, head_mask=head_mask, image_index=torch.tensor([0, 1, 1])
    )
    prediction = vtd.predict(batch)
    alone = vtd.predict(
        SimpleNamespace(
            scene=scene[1:2], head_crop=head_crop[2:], head_mask=head_mask[2:], image_index=torch.tensor([0])
        )
    )
    assert prediction.heatmap.shape == (3, 64, 64) and not prediction.heatmap.requires_grad
    close(prediction.heatmap[2], alone.heatmap[0])
    close(prediction.in_frame[2], alone.in_frame[0])
    assert ((prediction.in_frame >= 0) & (prediction.in_frame <= 1)).all()


def test_preprocessing_says_what_the_inputs_look_like(vtd):
    assert vtd.preprocessing["input_size"] == [224, 224] and vtd.preprocessing["head_crop_size"] == [224, 224]
    assert vtd.preprocessing["order"] == "resize-then-normalise"


@torch.no_grad()
def test_a_clip_scores_the_same_alone_and_among_others(temporal):
    together = temporal(*inputs(2))
    for row in range(2):
        alone = temporal(*(tensor[row : row + 1] for tensor in inputs(2)))
        close(alone.heatmap[0], together.heatmap[row])
        close(alone.in_frame_logit[0], together.in_frame_logit[row])


@torch.no_grad()
def test_compat_vtd_scores_a_lone_row_without_batch_norm(temporal):
    config = VtdTemporalConfig(depths=temporal.config.depths, width=temporal.config.width, compat="vtd")
    reference = VtdTemporal(config).eval()
    reference.load_state_dict(temporal.state_dict())
    close(reference(*inputs(2)).heatmap, temporal(*inputs(2)).heatmap)
    assert not torch.allclose(reference(*inputs(1)).heatmap, temporal(*inputs(1)).heatmap, atol=1e-3)


@torch.no_grad()
def test_a_state_carried_over_equals_one_long_chunk(temporal):
    rows = inputs(3)
    whole = temporal(*rows, batch_sizes=[1, 1, 1])
    first = temporal(*(tensor[:1] for tensor in rows))
    rest = temporal(*(tensor[1:] for tensor in rows), state=first.state, batch_sizes=[1, 1])
    close(torch.cat([first.heatmap, rest.heatmap]), whole.heatmap)
    close(rest.state[0], whole.state[0])


@torch.no_grad()
def test_packed_clips_equal_each_clip_alone(temporal):
    rows = inputs(5)  # three frames of clip 0 and two of clip 1, packed: 0, 1, 0, 1, 0
    packed = temporal(*rows, batch_sizes=[2, 2, 1])
    for clip, frames in enumerate([[0, 2, 4], [1, 3]]):
        alone = temporal(*(tensor[frames] for tensor in rows), batch_sizes=[1] * len(frames))
        close(packed.heatmap[frames], alone.heatmap)
        close(packed.state[1][:, clip], alone.state[1][:, 0])


@torch.no_grad()
def test_a_chunk_with_a_time_axis_is_packed(temporal):
    rows = inputs(4)
    chunk = temporal(*(tensor.unflatten(0, (2, 2)) for tensor in rows))
    close(chunk.heatmap, temporal(*rows, batch_sizes=[2, 2]).heatmap)


@torch.no_grad()
def test_clips_that_ended_leave_the_next_chunk(temporal):
    state = temporal(*inputs(2)).state
    assert state[0].shape == (2, 2, 64, 7, 7)
    assert temporal(*inputs(1), state=state).state[0].shape == (2, 1, 64, 7, 7)


def test_batch_sizes_must_fit_the_rows(temporal):
    with pytest.raises(ValueError, match="add up to the 3 rows"):
        temporal(*inputs(3), batch_sizes=[1, 2])


def test_without_a_state_every_person_is_a_clip_of_one_frame(temporal):
    scene, head_crop, head_mask = inputs(2)
    batch = SimpleNamespace(scene=scene, head_crop=head_crop, head_mask=head_mask, image_index=torch.arange(2))
    prediction = temporal.predict(batch)
    carried = temporal.predict(batch, prediction.state)
    assert prediction.heatmap.shape == (2, 64, 64)
    assert not torch.allclose(prediction.heatmap, carried.heatmap)


def test_the_frozen_encoder_takes_the_same_step_without_its_gradients(temporal):
    rows = inputs(2)
    gradients = []
    for frozen in (False, True):
        model = VtdTemporal(temporal.config).eval()
        model.load_state_dict(temporal.state_dict())
        if frozen:
            model.freeze_encoder()
        output = model(*rows)
        (output.heatmap.square().mean() + output.in_frame_logit.sum()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert all(name.startswith(VtdTemporal.trained) for name in gradients[1])
    for name, gradient in gradients[1].items():
        close(gradient, gradients[0][name])
