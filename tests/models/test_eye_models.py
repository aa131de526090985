import dataclasses
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from gazecore import checkpoints, models
from gazecore.errors import GazeError
from gazecore.models.ritnet import Ritnet, RitnetConfig
from gazecore.models.segformer import Segformer, SegformerConfig

# transformers takes seconds to import: what needs it runs with the slow tests
EYES = [
    "segformer",
    "ritnet",
    pytest.param("mask2former", marks=pytest.mark.slow),
]
PARAMETERS = {
    ("segformer", "tiny"): 347_684,
    ("segformer", "b0"): 3_715_172,
    ("ritnet", "default"): 248_900,
    ("ritnet", "16ch"): 62_756,
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch(height=64, width=96, images=2):
    return SimpleNamespace(image=torch.randn(images, 3, height, width), labels=None)


@pytest.mark.parametrize(("name", "preset"), PARAMETERS)
def test_the_numbers_of_parameters_are_the_published_ones(name, preset):
    with torch.device("meta"):
        model = models.build(name, preset)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name, preset]


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "count"), [("ci", 1_054_152), ("swin-tiny", 47_403_647), ("resnet50", 44_003_845)])
def test_the_numbers_of_parameters_of_mask2former_are_those_of_its_configurations(preset, count):
    with torch.device("meta"):
        model = models.build("mask2former", preset)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("name", EYES)
@pytest.mark.parametrize("size", [(32, 32), (40, 57), (112, 160)])
def test_logits_have_the_size_of_the_image(name, size):
    model = models.build(name).eval()
    prediction = model.predict(batch(*size))
    assert prediction.probability.shape == (2, 4, *size) and prediction.probability.dtype == torch.float32
    torch.testing.assert_close(prediction.probability.sum(1), torch.ones(2, *size))
    logits = model(batch(*size).image)
    assert logits.shape == (2, 4, *size) and logits.requires_grad


@pytest.mark.parametrize("name", EYES)
def test_preprocessing_says_all_that_images_need(name):
    model = models.build(name)
    assert model.preprocessing.keys() == {"mean", "std", "grey", "gamma", "clahe", "long_side"}
    assert len(model.preprocessing["mean"]) == len(model.preprocessing["std"]) == 3
    assert model.config == models.configure(name)


@pytest.mark.parametrize("name", EYES)
def test_images_of_a_batch_do_not_see_each_other(name):
    model, together = models.build(name).eval(), batch()
    alone = SimpleNamespace(image=together.image[1:], labels=None)
    torch.testing.assert_close(
        model.predict(together).probability[1:], model.predict(alone).probability, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", ["segformer", "ritnet"])
def test_every_parameter_learns(name):
    model = models.build(name).train()
    model(batch().image).square().mean().backward()
    still = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # keys shift all scores of a query alike by their bias, which softmax does not see
    assert not [key for key in still if not key.endswith("k_proj.bias")]


@pytest.mark.parametrize("name", EYES)
def test_a_checkpoint_gives_the_model_back(name, tmp_path):
    model, images = models.build(name).eval(), batch()
    checkpoints.save(tmp_path / "eyes.safetensors", model, name)
    loaded = checkpoints.load(tmp_path / "eyes.safetensors")
    assert loaded.config == model.config and loaded.preprocessing == model.preprocessing
    torch.testing.assert_close(loaded.predict(images).probability, model.predict(images).probability, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "multiple"), [("segformer", 32), ("ritnet", 16)])
def test_sides_that_do_not_divide_repeat_their_last_pixels(name, multiple):
    model, image = models.build(name).eval(), torch.randn(1, 3, 41, 57)
    below, right = -41 % multiple, -57 % multiple
    repeated = torch.nn.functional.pad(image, (0, right, 0, below), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(repeated)[..., :41, :57])


def test_drop_path_leaves_the_mean_of_a_branch_alone():
    block = Segformer(SegformerConfig(drop_path=0.5)).segformer.stages[3].blocks[1].train()
    kept = block._kept(torch.ones(4000, 1, 1, 1))
    assert set(kept.unique().tolist()) == {0.0, 2.0} and kept.mean().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(block.eval()._kept(torch.ones(3, 1, 1, 1)), torch.ones(3, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("segformer", Segformer.presets["tiny"]),
        ("segformer", SegformerConfig(depths=(1, 2, 1, 3), classes=7)),
        ("segformer", SegformerConfig(widths=(32, 64, 96, 128), heads=(1, 2, 3, 4), decoder_width=48)),
        ("ritnet", RitnetConfig(channels=16)),
        ("ritnet", RitnetConfig(channels=8, classes=3)),
    ],
)
def test_sizes_are_read_off_the_weights(name, config):
    with torch.device("meta"):
        model = models.build(name, config)
    found = type(model).config_of(model.state_dict())
    rates = {field: getattr(found, field) for field in ("drop_path", "dropout") if hasattr(found, field)}
    assert dataclasses.replace(config, **rates) == found


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ci", "resnet18", "swin-tiny", "resnet50"])
def test_sizes_of_mask2former_are_read_off_the_weights(preset):
    with torch.device("meta"):
        model = models.build("mask2former", preset)
    found = type(model).config_of(model.state_dict())
    assert dataclasses.replace(found, train_points=model.config.train_points) == model.config


OLD_SEGFORMER = (  # transformers 4: first what follows, then where it lay
    ("segformer.stages.{s}.blocks.{b}.attention.q_proj", "segformer.encoder.block.{s}.{b}.attention.self.query"),
    ("segformer.stages.{s}.blocks.{b}.attention.k_proj", "segformer.encoder.block.{s}.{b}.attention.self.key"),
    ("segformer.stages.{s}.blocks.{b}.attention.v_proj", "segformer.encoder.block.{s}.{b}.attention.self.value"),
    ("segformer.stages.{s}.blocks.{b}.attention.o_proj", "segformer.encoder.block.{s}.{b}.attention.output.dense"),
    (
        "segformer.stages.{s}.blocks.{b}.attention.sequence_reduction.sequence_reduction",
        "segformer.encoder.block.{s}.{b}.attention.self.sr",
    ),
    (
        "segformer.stages.{s}.blocks.{b}.attention.sequence_reduction.layer_norm",
        "segformer.encoder.block.{s}.{b}.attention.self.layer_norm",
    ),
    ("segformer.stages.{s}.blocks.{b}.mlp.fc1", "segformer.encoder.block.{s}.{b}.mlp.dense1"),
    ("segformer.stages.{s}.blocks.{b}.mlp.fc2", "segformer.encoder.block.{s}.{b}.mlp.dense2"),
    ("segformer.stages.{s}.blocks.{b}.mlp.dwconv", "segformer.encoder.block.{s}.{b}.mlp.dwconv"),
    ("segformer.stages.{s}.blocks.{b}.layernorm_before", "segformer.encoder.block.{s}.{b}.layer_norm_1"),
    ("segformer.stages.{s}.blocks.{b}.layernorm_after", "segformer.encoder.block.{s}.{b}.layer_norm_2"),
    ("segformer.stages.{s}.patch_embeddings", "segformer.encoder.patch_embeddings.{s}"),
    ("segformer.stages.{s}.layer_norm", "segformer.encoder.layer_norm.{s}"),
    ("decode_head.linear_projections.{s}", "decode_head.linear_c.{s}"),
)


def old_name(name):
    for stage in range(4):
        for new, old in OLD_SEGFORMER:
            new, old = new.format(s=stage, b=0), old.format(s=stage, b=0)
            if name.startswith(f"{new}."):
                return old + name.removeprefix(new)
    return name


@pytest.mark.parametrize("outer", ["", "model."])
@pytest.mark.parametrize("names", [str, old_name], ids=["version-5", "version-4"])
def test_segformer_weights_of_transformers_and_of_lightning_are_taken(names, outer, tmp_path):
    model, images = models.build("segformer").eval(), batch()
    state = {outer + names(name): tensor for name, tensor in model.state_dict().items()}
    assert names is str or sum(name.startswith(f"{outer}segformer.encoder.") for name in state) == 108
    torch.save({"state_dict": state, "hyper_parameters": {"lr": 1e-3}}, tmp_path / "best.ckpt")
    imported, report = checkpoints.import_weights(tmp_path / "best.ckpt", "segformer")
    assert not report.missing and not report.dropped and imported.config.widths == model.config.widths
    torch.testing.assert_close(imported.predict(images).probability, model.predict(images).probability, rtol=0, atol=0)


def test_ritnets_own_file_is_recognised(tmp_path):
    model = Ritnet()
    torch.save(model.state_dict(), tmp_path / "best_model.pkl")
    imported, report = checkpoints.import_weights(tmp_path / "best_model.pkl", "ritnet")
    assert (report.project, report.keys, imported.config.channels) == ("RITnet", 109, 32)
    with pytest.raises(GazeError, match="holds weights of RITnet, not of segformer; import them --as ritnet"):
        checkpoints.import_weights(tmp_path / "best_model.pkl", "segformer")


def test_weights_that_lack_a_key_are_refused(tmp_path):
    state = {f"model.{name}": tensor for name, tensor in Segformer().state_dict().items()}
    del state["model.segformer.stages.2.blocks.0.mlp.fc1.bias"]
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(GazeError, match=r"segformer\.stages\.2\.blocks\.0\.mlp\.fc1\.bias is missing"):
        checkpoints.import_weights(tmp_path / "last.ckpt", "segformer")


def test_a_lightning_checkpoint_with_objects_is_refused_and_says_how_to_take_the_weights_out(tmp_path):
    hyper_parameters = {"args": SimpleNamespace(lr=1e-3)}
    torch.save({"state_dict": Segformer().state_dict(), "hyper_parameters": hyper_parameters}, tmp_path / "last.ckpt")
    with pytest.raises(GazeError, match=r"asks for types\.SimpleNamespace.*\('last\.ckpt', weights_only=False\)"):
        checkpoints.import_weights(tmp_path / "last.ckpt", "segformer")


@pytest.mark.slow
@pytest.mark.parametrize("outer", ["", "model."])
def test_mask2former_weights_of_the_installed_version_are_taken(outer, tmp_path):
    model, images = models.build("mask2former").eval(), batch()
    state = {outer + name.removeprefix("network."): tensor for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    imported, report = checkpoints.import_weights(tmp_path / "model.safetensors", "mask2former")
    assert not report.missing and not report.dropped
    torch.testing.assert_close(imported.predict(images).probability, model.predict(images).probability, rtol=0, atol=0)


@pytest.mark.slow
def test_a_backbone_of_another_kind_is_named(tmp_path):
    state = {
        name.removeprefix("network.").replace("encoder.swin", "encoder._backbone"): tensor
        for name, tensor in models.build("mask2former").state_dict().items()
    }
    save_file(state, tmp_path / "timm.safetensors")
    with pytest.raises(GazeError, match="backbone of these weights holds _backbone, hidden_states_norms"):
        checkpoints.import_weights(tmp_path / "timm.safetensors", "mask2former")


@pytest.mark.slow
def test_the_set_loss_falls_on_two_eyes_one_of_them_closed():
    model = models.build("mask2former").train()
    image, labels = torch.zeros(2, 3, 40, 56), torch.zeros(2, 40, 56, dtype=torch.long)
    labels[0, 10:30, 8:48] = 3
    labels[0, 12:28, 20:36] = 1
    labels[0, 17:23, 25:31] = 2
    image += labels[:, None]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = model.set_loss(image, labels)
        assert loss.shape == ()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_the_small_models_are_built_without_transformers():
    code = (
        "import sys; from gazecore import models; models.build('segformer'); models.build('ritnet'); "
        "print('transformers' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
    assert importlib.util.find_spec("transformers")
