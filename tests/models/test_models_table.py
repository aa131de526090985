import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from gazecore import models
from gazecore.errors import DATA, UNAVAILABLE, USAGE, GazeError
from gazecore.models.vtd import Vtd, VtdConfig

SLOW = ("mask2former",)  # transformers is imported


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in models.MODELS]
)
def test_the_table_agrees_with_the_class(name):
    model = models.find(name)
    assert tuple(model.presets) == models.MODELS[name].presets
    assert "tiny" in model.presets or models.MODELS[name].task != "following"
    assert all(isinstance(config, model.Config) for config in model.presets.values())


def test_the_table_is_read_without_torch():
    code = "import sys; from gazecore import models; models.names(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_names_of_a_task():
    assert {"vtd", "vtd-temporal", "gazelle"} <= set(models.names("following"))
    assert "vtd" not in models.names("eyes")


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(GazeError, match="did you mean gazelle") as caught:
        models.build("gazele")
    assert caught.value.code == USAGE


def test_a_configuration_from_a_preset_a_mapping_or_itself():
    assert models.configure("vtd", "tiny") == models.configure("vtd", {"depths": [1, 1, 1, 1, 1], "width": 8})
    assert models.configure("vtd", VtdConfig(width=16)).width == 16
    with pytest.raises(GazeError, match='no preset "huge"; there are default, tiny') as caught:
        models.configure("vtd", "huge")
    assert caught.value.code == USAGE
    with pytest.raises(GazeError, match="no setting depth; there are depths, width") as caught:
        models.configure("vtd", {"depth": 3})
    assert caught.value.code == DATA


@pytest.fixture
def plug_ins(monkeypatch):
    entries = [
        EntryPoint("good", "gazecore.models.vtd:Vtd", "gz.models"),
        EntryPoint("broken", "no_such_package.models:Broken", "gz.models"),
        EntryPoint("odd", "gazecore.errors:GazeError", "gz.models"),
    ]
    monkeypatch.setattr(models, "entry_points", lambda group: [entry for entry in entries if entry.group == group])
    return entries


@pytest.mark.usefixtures("plug_ins")
def test_a_broken_plug_in_is_reported_and_leaves_the_others():
    assert {"good", "broken", "odd", "vtd"} <= set(models.names())
    assert models.find("good") is Vtd
    with pytest.raises(GazeError, match=r'"broken" comes from the plug-in .*cannot be loaded') as caught:
        models.find("broken")
    assert caught.value.code == UNAVAILABLE
    with pytest.raises(GazeError, match="has no Config and no presets"):
        models.find("odd")


def test_ours_win_over_a_plug_in_of_the_same_name(plug_ins):
    plug_ins.append(EntryPoint("vtd", "no_such_package:Vtd", "gz.models"))
    with pytest.warns(UserWarning, match='"vtd" .* is hidden by ours'):
        assert models.names().count("vtd") == 1
    assert models.find("vtd") is Vtd
