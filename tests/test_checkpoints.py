import hashlib
import json
import os
import pickle
import re

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from gazecore import checkpoints, models
from gazecore.artifacts import provenance
from gazecore.errors import DATA, IO, NO_INPUT, UNAVAILABLE, GazeError
from gazecore.models import dinov2, gazelle

torch.set_num_threads(1)

SMALL_VIT = "test_vit.r160_in1k"


@pytest.fixture
def vtd():
    torch.manual_seed(0)
    return models.build("vtd", "tiny").eval()


@pytest.fixture
def checkpoint(vtd, tmp_path):
    path = tmp_path / "vtd.safetensors"
    checkpoints.save(path, vtd, "vtd", steps=[{"id": "a1", "argv": ["gz", "train-following"]}], extra={"auc": 0.9})
    return path


def author_file(path, content):
    torch.save(content, path)
    return path


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# ---- ours


@pytest.mark.parametrize("name", ["vtd", "vtd-temporal", "gazelle"])
def test_a_model_comes_back_as_it_was_saved(name, tmp_path):
    model = models.build(name, "tiny")
    model.preprocessing["mean"] = [0.4, 0.4, 0.4]
    checkpoints.save(tmp_path / "model.safetensors", model, name)
    loaded = checkpoints.load(tmp_path / "model.safetensors")
    assert same(loaded, model) and not loaded.training
    assert loaded.config == model.config and loaded.preprocessing == model.preprocessing


def test_the_metadata_are_json_texts(checkpoint):
    with safetensors.safe_open(checkpoint, framework="pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    assert metadata["model"] == "vtd" and metadata["config"] == {"depths": [1, 1, 1, 1, 1], "width": 8}
    assert metadata["preprocessing"]["input_size"] == [224, 224]
    assert metadata["provenance"][0]["argv"] == ["gz", "train-following"]


def test_info_counts_without_loading(checkpoint, vtd, monkeypatch):
    monkeypatch.setattr(checkpoints, "load_file", None)
    info = checkpoints.info(checkpoint)
    assert info["model"] == "vtd" and info["extra"] == {"auc": 0.9}
    assert info["parameters"] == sum(parameter.numel() for parameter in vtd.parameters())
    assert info["keys"] == len(vtd.state_dict()) and info["bytes"] == checkpoint.stat().st_size


def test_scores_that_are_not_numbers_stay_valid_json(vtd, tmp_path):
    checkpoints.save(tmp_path / "model.safetensors", vtd, "vtd", extra={"auc": float("nan")})
    assert checkpoints.info(tmp_path / "model.safetensors")["extra"] == {"auc": None}


def test_an_interrupted_save_leaves_the_old_checkpoint(checkpoint, vtd, monkeypatch):
    before = checkpoint.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GazeError, match=r"vtd\.safetensors cannot be written: no space left") as caught:
        checkpoints.save(checkpoint, vtd, "vtd")
    assert caught.value.code == IO
    assert checkpoint.read_bytes() == before and list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_channels_last_model_is_saved(vtd, tmp_path):
    vtd.to(memory_format=torch.channels_last)
    checkpoints.save(tmp_path / "model.safetensors", vtd, "vtd")
    assert same(checkpoints.load(tmp_path / "model.safetensors"), vtd)


def test_missing_and_misshapen_keys_are_named(checkpoint):
    tensors = load_file(checkpoint)
    with safetensors.safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    del tensors["attn.weight"]
    tensors["conv4.bias"] = torch.zeros(3)
    tensors["surplus"] = torch.zeros(1)
    save_file(tensors, checkpoint, metadata)
    with pytest.raises(GazeError, match=r"attn\.weight is missing") as caught:
        checkpoints.load(checkpoint)
    assert "conv4.bias is (3,); expected (1,)" in str(caught.value) and "surplus is not known" in str(caught.value)


def test_a_truncated_checkpoint_is_named(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    for read in (checkpoints.load, checkpoints.info):
        with pytest.raises(GazeError, match="is truncated or no checkpoint") as caught:
            read(checkpoint)
        assert caught.value.code == DATA


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(GazeError, match="there is no such checkpoint") as caught:
        checkpoints.load(tmp_path / "none.safetensors")
    assert caught.value.code == NO_INPUT


def test_files_that_are_not_ours_lead_to_import_weights(vtd, tmp_path):
    save_file(vtd.state_dict(), tmp_path / "bare.safetensors")
    author_file(tmp_path / "author.pt", vtd.state_dict())
    torch.save(vtd.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("bare.safetensors", "author.pt", "old.pt"):
        with pytest.raises(GazeError, match="gz import-weights"):
            checkpoints.load(tmp_path / name)


def test_a_newer_format_and_an_unknown_model_are_named(checkpoint, vtd):
    for key, value, message in (("format", "gz-checkpoint/9", "Update gz"), ("model", "vtdd", "did you mean vtd")):
        with safetensors.safe_open(checkpoint, framework="pt") as file:
            metadata = file.metadata() | {key: json.dumps(value)}
        save_file(vtd.state_dict(), checkpoint.with_name("other.safetensors"), metadata)
        with pytest.raises(GazeError, match=message):
            checkpoints.load(checkpoint.with_name("other.safetensors"))


# ---- what --checkpoint names


def test_a_checkpoint_is_opened_with_its_name_and_becomes_an_input(checkpoint, vtd):
    opened = checkpoints.open_model(str(checkpoint))
    assert same(opened.model, vtd) and opened.name == "vtd"
    assert opened.attrs == {"model": "vtd", "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    assert list(provenance.current().inputs.values())[-1]["path"] == checkpoint.name


def test_a_preset_is_opened_with_random_weights_of_the_seed(caplog):
    one, again, other = (checkpoints.open_model("gazelle:tiny", seed=seed) for seed in (1, 1, 2))
    assert same(one.model, again.model) and not same(one.model, other.model)
    assert one.attrs == {"model": "gazelle"} and "random weights (seed 1)" in caplog.text


# ---- public backbones


@pytest.fixture
def small_gazelle(tmp_path):
    """A decoder on a public backbone, and the file that the backbone's weights were published in."""
    backbone = dinov2.backbone(SMALL_VIT, pretrained=False)
    save_file(backbone.vit.state_dict(), tmp_path / "vit.safetensors")
    config = gazelle.GazelleConfig(backbone=SMALL_VIT, width=32, depth=1, heads=4, input_size=(160, 160))
    return models.build("gazelle", config, weights=tmp_path / "vit.safetensors").eval(), tmp_path / "vit.safetensors"


@torch.no_grad()
def test_a_public_backbone_stays_out_of_the_checkpoint(small_gazelle, tmp_path):
    model, vit = small_gazelle
    checkpoints.save(tmp_path / "gazelle.safetensors", model, "gazelle")
    assert not any(key.startswith("backbone.") for key in load_file(tmp_path / "gazelle.safetensors"))
    decoder = sum(value.numel() for key, value in model.named_parameters() if not key.startswith("backbone."))
    assert checkpoints.info(tmp_path / "gazelle.safetensors")["parameters"] == decoder

    loaded = checkpoints.load(tmp_path / "gazelle.safetensors", weights=vit)
    scene, head_box = torch.randn(1, 3, 160, 160), torch.tensor([[0.1, 0.1, 0.4, 0.4]])
    assert torch.equal(loaded(scene, head_box).heatmap, model(scene, head_box).heatmap)


def test_another_backbone_than_the_one_trained_on_is_refused(small_gazelle, tmp_path):
    model, _ = small_gazelle
    checkpoints.save(tmp_path / "gazelle.safetensors", model, "gazelle")
    other = {key: value + 1 for key, value in model.backbone.vit.state_dict().items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(GazeError, match="was trained on another backbone"):
        checkpoints.load(tmp_path / "gazelle.safetensors", weights=tmp_path / "other.safetensors")


def test_a_backbone_of_our_own_lies_in_the_checkpoint(tmp_path):
    config = gazelle.GazelleConfig(backbone=SMALL_VIT, width=32, depth=1, heads=4, input_size=(160, 160))
    model = models.build("gazelle", config, pretrained=False)
    checkpoints.save(tmp_path / "gazelle.safetensors", model, "gazelle")
    assert same(checkpoints.load(tmp_path / "gazelle.safetensors"), model)


# ---- author files


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("entry", ["", "model", "state_dict", "model_state_dict"])
def test_author_files_of_vtd(vtd, tmp_path, prefix, entry):
    content = {prefix + key: value for key, value in vtd.state_dict().items()}
    path = author_file(tmp_path / "vtd.pt", {entry: content, "epoch": 3} if entry else content)
    model, report = checkpoints.import_weights(path, "vtd")
    assert same(model, vtd) and model.config == vtd.config and not model.training
    assert (report.project, report.entry) == ("VTD", entry)
    assert report.renamed == {} and report.dropped == [] and report.missing == []
    assert report.keys == len(vtd.state_dict()) and report.parameters == sum(p.numel() for p in vtd.parameters())


def test_a_bare_safetensors_file_is_imported(vtd, tmp_path):
    save_file(vtd.state_dict(), tmp_path / "vtd.safetensors")
    assert same(checkpoints.import_weights(tmp_path / "vtd.safetensors", "vtd")[0], vtd)


def test_another_entry_on_request(vtd, tmp_path):
    average = {key: value * 2 for key, value in vtd.state_dict().items()}
    path = author_file(tmp_path / "both.pt", {"model": vtd.state_dict(), "ema_params": average})
    model, report = checkpoints.import_weights(path, "vtd", entry="ema_params")
    assert report.entry == "ema_params" and torch.equal(model.conv4.weight, 2 * vtd.conv4.weight)
    with pytest.raises(GazeError, match='holds model, ema_params; expected an entry "ema"'):
        checkpoints.import_weights(path, "vtd", entry="ema")


def test_an_imported_model_becomes_a_checkpoint(vtd, tmp_path):
    model, _ = checkpoints.import_weights(author_file(tmp_path / "vtd.pt", {"model": vtd.state_dict()}), "vtd")
    checkpoints.save(tmp_path / "vtd.safetensors", model, "vtd")
    assert same(checkpoints.load(tmp_path / "vtd.safetensors"), vtd)


def test_all_missing_and_misshapen_keys_are_listed(vtd, tmp_path):
    content = vtd.state_dict()
    del content["attn.bias"], content["fc_inout.bias"]
    content["conv4.bias"] = torch.zeros(7)
    with pytest.raises(GazeError, match="3 problems") as caught:
        checkpoints.import_weights(author_file(tmp_path / "vtd.pt", content), "vtd")
    for line in ("attn.bias is missing", "fc_inout.bias is missing", "conv4.bias is (7,); expected (1,)"):
        assert line in str(caught.value)
    with pytest.raises(GazeError, match="3 problems"):  # nothing that VTD's own files ever lack
        checkpoints.import_weights(tmp_path / "vtd.pt", "vtd", partial=True)


def test_counters_of_batches_may_be_missing_and_surplus_is_reported(vtd, tmp_path):
    content = {key: value for key, value in vtd.state_dict().items() if not key.endswith("num_batches_tracked")}
    model, report = checkpoints.import_weights(author_file(tmp_path / "vtd.pt", content | {"x": torch.ones(1)}), "vtd")
    assert same(model, vtd) and report.dropped == ["x"] and report.missing == []


def test_a_frame_model_starts_a_temporal_one_on_request_alone(vtd, tmp_path):
    path = author_file(tmp_path / "vtd.pt", {"model": vtd.state_dict()})
    with pytest.raises(GazeError, match=r"48 problems[\s\S]*bn_ds\.weight is missing[\s\S]*--partial"):
        checkpoints.import_weights(path, "vtd-temporal")
    model, report = checkpoints.import_weights(path, "vtd-temporal", partial=True)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in vtd.state_dict().items())
    assert all("convlstm_scene." in key or ".bn_ds." in key for key in report.missing)
    assert model.config.lstm_layers == 2


def test_a_temporal_file_is_not_a_frame_model(tmp_path):
    temporal = models.build("vtd-temporal", "tiny")
    path = author_file(tmp_path / "temporal.pt", temporal.state_dict())
    with pytest.raises(GazeError, match="VTD with ConvLSTM, not of vtd; import them --as vtd-temporal"):
        checkpoints.import_weights(path, "vtd")
    assert same(checkpoints.import_weights(path, "vtd-temporal")[0], temporal)


HEATMAP_HEAD = re.compile(r"(compress_(conv|bn)[12]|deconv\w*|conv4)\.")
IN_FRAME_HEAD = re.compile(r"(compress_(conv|bn)[12]_inout|fc_inout)\.")


def trunks(key):
    return re.sub(r"(conv1|bn1|layer\d)_(scene|face)\.", r"\2_backbone.\1.", key)


def test_the_trunks_of_mad_start_a_vtd(vtd, tmp_path):
    theirs = {
        trunks(key): value
        for key, value in vtd.state_dict().items()
        if not HEATMAP_HEAD.match(key) and not IN_FRAME_HEAD.match(key)
    }
    theirs |= {key.replace("scene_", "depth_"): value for key, value in theirs.items() if key.startswith("scene_")}
    theirs |= {"scene_encoder.conv1.weight": torch.zeros(2), "inout_decoder.fc.bias": torch.zeros(1)}
    path = author_file(tmp_path / "mad.pt", {"model": theirs})
    with pytest.raises(GazeError, match="--partial"):
        checkpoints.import_weights(path, "vtd")
    model, report = checkpoints.import_weights(path, "vtd", partial=True)
    assert torch.equal(model.layer5_face[0].bn3.weight, vtd.layer5_face[0].bn3.weight)
    assert torch.equal(model.attn.weight, vtd.attn.weight)
    assert report.project == "MAD" and "scene_encoder.conv1.weight" in report.dropped
    assert report.renamed["scene_backbone.layer1.0.conv1.weight"] == "layer1_scene.0.conv1.weight"
    assert all(HEATMAP_HEAD.match(key) or IN_FRAME_HEAD.match(key) for key in report.missing)


def test_the_gaze_part_of_dgf_starts_a_vtd(vtd, tmp_path):
    sequential = {
        "compress_conv1_inout": 0,
        "compress_bn1_inout": 1,
        "compress_conv2_inout": 3,
        "compress_bn2_inout": 4,
    }

    def their_name(key):
        module, _, rest = key.partition(".")
        if module in sequential:
            return f"sequential.{sequential[module]}.{rest}"
        return key if module == "fc_inout" else f"gaze_model.{trunks(key)}"

    theirs = {their_name(key): value for key, value in vtd.state_dict().items() if not HEATMAP_HEAD.match(key)}
    unet = {"model.out.0.weight": torch.zeros(8)}
    path = author_file(tmp_path / "dgf.pt", {"run_id": "x", "epoch": 3, "model": theirs | unet, "mse_loss": 0.1})
    model, report = checkpoints.import_weights(path, "vtd", partial=True)
    kept = [key for key in vtd.state_dict() if not HEATMAP_HEAD.match(key)]
    assert all(torch.equal(model.state_dict()[key], vtd.state_dict()[key]) for key in kept)
    assert report.project == "DGF" and report.dropped == ["model.out.0.weight"] and report.keys == len(kept)


def test_the_published_vtd_shares_736_keys_with_dgf():
    names = models.build("vtd").state_dict()
    assert sum(not HEATMAP_HEAD.match(key) for key in names) == 736


@pytest.mark.parametrize(
    ("preset", "features"), [("vitb14", 768), ("vitb14-inout", 768), ("vitl14", 1024), ("vitl14-inout", 1024)]
)
def test_published_gazelle_decoders_are_told_apart(preset, features, tmp_path, monkeypatch):
    def no_network(*_):
        raise AssertionError("a decoder is imported without its backbone")

    monkeypatch.setattr(dinov2, "hf_hub_download", no_network)
    empty = dinov2.backbone(SMALL_VIT, empty=True)
    empty.width, empty.patch = features, 14
    monkeypatch.setattr(gazelle, "make_backbone", lambda *_, **__: empty)
    published = models.build("gazelle", preset, pretrained=None)
    decoder = {key: value for key, value in published.state_dict().items() if not key.startswith("backbone.")}

    model, report = checkpoints.import_weights(author_file(tmp_path / "gazelle.pt", decoder), "gazelle")

    assert model.config == models.configure("gazelle", preset)
    assert report.keys == len(decoder) and report.missing == []
    assert torch.equal(model.heatmap_head[1].weight, published.heatmap_head[1].weight)
    checkpoints.save(tmp_path / "gazelle.safetensors", model, "gazelle")
    assert checkpoints.info(tmp_path / "gazelle.safetensors")["keys"] == len(decoder)
    with pytest.raises(GazeError, match="without the weights of its backbone") as caught:
        model(torch.zeros(1, 3, 448, 448), torch.zeros(1, 4))
    assert caught.value.code == UNAVAILABLE


def test_a_decoder_with_a_missing_key_is_refused(tmp_path):
    decoder = models.build("gazelle", "tiny").state_dict()
    del decoder["transformer.0.mlp.fc1.bias"]
    with pytest.raises(GazeError, match=r"transformer\.0\.mlp\.fc1\.bias is missing"):
        checkpoints.import_weights(author_file(tmp_path / "tiny.pt", decoder), "gazelle", "tiny")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [None, 0, 2, 4, 5])
def test_a_hostile_pickle_is_refused_and_never_runs(protocol, tmp_path):
    content = {"model": Payload(tmp_path / "ran")}
    if protocol is None:
        torch.save(content, tmp_path / "evil.pt")
    else:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(
        GazeError, match=r"evil\.pt is refused: beside tensors it asks for (posix|nt)\.system"
    ) as caught:
        checkpoints.import_weights(tmp_path / "evil.pt", "vtd")
    assert caught.value.code == DATA and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"version https://git-lfs", bytes(range(256)) * 9])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_weight_file_is_named(content, tmp_path):
    (tmp_path / "page.pt").write_bytes(content)
    with pytest.raises(GazeError, match=r"page\.pt is truncated or no PyTorch weight file"):
        checkpoints.import_weights(tmp_path / "page.pt", "vtd")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("left", [0, 10, 5000])
def test_truncated_author_files_are_named(vtd, suffix, left, tmp_path):
    path = tmp_path / f"vtd{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(vtd.state_dict(), path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(GazeError, match="truncated"):
        checkpoints.import_weights(path, "vtd")


def test_what_is_no_state_dict_is_named(tmp_path):
    with pytest.raises(GazeError, match="holds a list; expected a state dict"):
        checkpoints.import_weights(author_file(tmp_path / "list.pt", [1, 2]), "vtd")
    with pytest.raises(GazeError, match="holds epoch, optimizer; expected tensors, or one of model, state_dict"):
        checkpoints.import_weights(author_file(tmp_path / "state.pt", {"epoch": 1, "optimizer": {}}), "vtd")
    with pytest.raises(GazeError, match="there is no such weight file"):
        checkpoints.import_weights(tmp_path / "none.pt", "vtd")
