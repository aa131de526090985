"""Models of gaze following as files for other programs: PyTorch's .pt2 and ONNX, each compared before it is kept.

The number of people (and of images, or clips) is free, the size of a picture is not. Inside the file lies a JSON text,
`gz.json` in a .pt2 and the metadata entry `gz` in ONNX: model, config, preprocessing, inputs, outputs, provenance.
Outputs are what `predict` gives: in_frame is a probability.
"""

import dataclasses
import json
import logging
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gazecore import __version__
from gazecore.artifacts.provenance import strict_json
from gazecore.errors import NO_INPUT, UNAVAILABLE, USAGE, GazeError

FORMAT = "gz-export/1"
FORMATS = (".pt2", ".onnx")
TRACED, COMPARED = 3, (1, 4)  # people while exporting; numbers of people for which the file is compared


class Array(NamedTuple):
    """An input or output: axes are lengths, or the name of an axis of any length."""

    name: str
    axes: tuple[int | str, ...]
    help: str
    dtype: str = "float32"


class GazellePort(nn.Module):
    """Gaze-LLE: pictures are encoded once, each person is a head box and the row of their picture."""

    free: ClassVar = ("images", "people")

    def __init__(self, model: Any):
        super().__init__()
        self.model, config = model, model.config
        self.inputs = (
            Array("scene", ("images", 3, *config.input_size), "pictures, resized and colour-normalised"),
            Array("head_box", ("people", 4), "x_min, y_min, x_max, y_max, 0..1 of the picture; NaN: no known head"),
            Array("image_index", ("people",), "row of `scene` in which the person is", "int64"),
        )
        self.outputs = (_heatmap(config.output_size), *([IN_FRAME] if config.in_frame else []))

    def forward(self, scene: Tensor, head_box: Tensor, image_index: Tensor) -> tuple[Tensor, ...]:
        heatmap, logit = self.model(scene, head_box, image_index)
        return (heatmap,) if logit is None else (heatmap, logit.sigmoid())

    def example(self, people: int) -> tuple[Tensor, ...]:
        """Random inputs; half as many pictures as people, one head unknown among several."""
        images = (people + 1) // 2
        corners = torch.rand(people, 2, 2).sort(dim=1).values.flatten(1)
        corners[2:3] = math.nan
        return torch.randn(images, *self.inputs[0].axes[1:]), corners, torch.arange(people) % images


class VtdPort(nn.Module):
    """VTD: every person is a row of three pictures."""

    free: ClassVar = ("people",)

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        side = model.preprocessing["input_size"]
        self.inputs: tuple[Array, ...] = (
            Array("scene", ("people", 3, *side), "pictures, resized and colour-normalised"),
            Array("head_crop", ("people", 3, *side), "heads cut out, resized and colour-normalised"),
            Array("head_mask", ("people", 1, *side), "1 inside the head box, else 0"),
        )
        self.outputs: tuple[Array, ...] = (_heatmap((64, 64)), IN_FRAME)

    def forward(self, scene: Tensor, head_crop: Tensor, head_mask: Tensor) -> tuple[Tensor, ...]:
        output = self.model(scene, head_crop, head_mask)
        return output.heatmap, output.in_frame_logit.sigmoid()

    def example(self, people: int) -> tuple[Tensor, ...]:
        """Random inputs."""
        scene, head_crop, head_mask = (torch.randn(people, *array.axes[1:]) for array in self.inputs[:3])
        return scene, head_crop, (head_mask > 1).float()


class VtdTemporalPort(VtdPort):
    """VTD over video: one frame of every person, and the memory of the frames before."""

    def __init__(self, model: Any):
        super().__init__(model)
        if model.config.compat:
            raise GazeError(
                f'this vtd-temporal has compat "{model.config.compat}": its scores depend on how many people share a '
                "batch, which an exported file cannot repeat",
                USAGE,
            )
        layers, channels = model.config.lstm_layers, model.convlstm_scene.weight_hh_l0.shape[1]
        state = (layers, "people", channels, 7, 7)
        before = "memory of the frames before; zeros at the first"
        after = "memory to hand to the next frame"
        self.inputs += (Array("hidden", state, before), Array("cell", state, before))
        self.outputs += (Array("next_hidden", state, after), Array("next_cell", state, after))

    def forward(  # type: ignore[override]
        self, scene: Tensor, head_crop: Tensor, head_mask: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        output = self.model(scene, head_crop, head_mask, (hidden, cell))
        return output.heatmap, output.in_frame_logit.sigmoid(), *output.state

    def example(self, people: int) -> tuple[Tensor, ...]:
        """Random inputs."""
        layers, _, *rest = self.inputs[3].axes
        return *super().example(people), torch.randn(layers, people, *rest), torch.randn(layers, people, *rest)


PORTS = {"gazelle": GazellePort, "vtd": VtdPort, "vtd-temporal": VtdTemporalPort}
IN_FRAME = Array("in_frame", ("people",), "probability that the gaze target lies inside the picture")


def _heatmap(size: tuple[int, int]) -> Array:
    return Array("heatmap", ("people", *size), "heat map of the gaze target over the whole picture; its peak counts")


def write(
    path: Path,
    model: nn.Module,
    name: str,
    attrs: Mapping[str, Any] | None = None,
    tolerance: float = 1e-3,
    steps: Sequence[Mapping[str, Any]] = (),
) -> dict[str, float]:
    """Export a model to `path` (.pt2 or .onnx), load it again, compare; output name -> largest difference.

    name       of gazecore.models; one of PORTS
    attrs      anything else for the JSON text; JSON values
    tolerance  the largest difference between the file's and the model's outputs on random inputs; of outputs that
               reach beyond 1, as a share of their largest value
    steps      the entries of the commands that led here (gazecore.artifacts.provenance)
    The file appears complete and compared, or not at all.
    Raises GazeError: another ending or model; ONNX not installed; a difference above the tolerance.
    """
    check(path, name)
    port = PORTS[name](model.cpu().eval())
    with torch.inference_mode():
        expected = [(inputs, port(*inputs)) for inputs in map(port.example, COMPARED)]
    part = path.with_name(f".part-{path.name}")
    save, load = (_save_onnx, _load_onnx) if path.suffix == ".onnx" else (_save_pt2, _load_pt2)
    try:
        with _quiet():
            save(port, part, strict_json(_record(port, name, attrs or {}, steps)))
            run = load(part)
        found = {
            output.name: max(_difference(run(inputs)[k], outputs[k]) for inputs, outputs in expected)
            for k, output in enumerate(port.outputs)
        }
        off = [f"{output} by {value:.1e}" for output, value in found.items() if not value <= tolerance]
        if off:
            raise GazeError(f"{path} would differ from the model in {', '.join(off)}; allowed is {tolerance:g}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return found


def check(path: Path, name: str) -> None:
    """GazeError for an ending, a model or an installation with which `write` could not do it."""
    if path.suffix not in FORMATS:
        raise GazeError(f"{path}: expected a file that ends in {' or '.join(FORMATS)}", USAGE)
    if name not in PORTS:
        raise GazeError(f'"{name}" cannot be exported; these can: {", ".join(PORTS)}', USAGE)
    if path.suffix == ".onnx":
        _onnx()


def metadata(path: Path) -> dict[str, Any]:
    """The JSON text inside an exported file: format, model, config, preprocessing, inputs, outputs, provenance."""
    if not path.is_file():
        raise GazeError(f"{path}: no such file; expected a model that gz export-following wrote", NO_INPUT)
    text: str | bytes | None = None
    if path.suffix == ".onnx":
        loaded = _onnx().load(str(path), load_external_data=False)
        text = next((entry.value for entry in loaded.metadata_props if entry.key == "gz"), None)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            text = next((archive.read(entry) for entry in archive.namelist() if entry.endswith("/gz.json")), None)
    if text is None:
        raise GazeError(f"{path} does not say what it is; expected a model that gz export-following wrote")
    return json.loads(text)


def _record(port: Any, name: str, attrs: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "gz_version": __version__,
        "model": name,
        "config": dataclasses.asdict(port.model.config),
        "preprocessing": port.model.preprocessing,
        "inputs": [array._asdict() for array in port.inputs],
        "outputs": [array._asdict() for array in port.outputs],
        **attrs,
        "provenance": list(steps),
    }


def _program(port: Any) -> torch.export.ExportedProgram:
    lengths = {axis: torch.export.Dim(axis, min=1) for axis in port.free}
    shapes = tuple(
        {place: lengths[axis] for place, axis in enumerate(array.axes) if isinstance(axis, str)}
        for array in port.inputs
    )
    # strict: the other way of tracing takes len(tensor) for a constant
    return torch.export.export(port, port.example(TRACED), dynamic_shapes=shapes, strict=True)


def _save_pt2(port: Any, path: Path, text: str) -> None:
    torch.export.save(_program(port), path, extra_files={"gz.json": text})


def _load_pt2(path: Path) -> Callable[[tuple[Tensor, ...]], Sequence[Tensor]]:
    module = torch.export.load(path).module()

    def run(inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        with torch.inference_mode():
            return module(*inputs)

    return run


def _save_onnx(port: Any, path: Path, text: str) -> None:
    inputs, outputs = ([array.name for array in arrays] for arrays in (port.inputs, port.outputs))
    program = torch.onnx.export(_program(port), input_names=inputs, output_names=outputs, dynamo=True, verbose=False)
    assert program is not None
    found = zip(program.model.graph.inputs, port.inputs, strict=True)
    axes = {
        str(given): axis
        for value, array in found
        for given, axis in zip(value.shape or (), array.axes, strict=True)
        if isinstance(axis, str)
    }
    program.rename_axes(axes)
    program.model.metadata_props["gz"] = text
    program.save(path)


def _load_onnx(path: Path) -> Callable[[tuple[Tensor, ...]], Sequence[Tensor]]:
    import onnxruntime

    loaded = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in loaded.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        arrays = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(np.asarray(value)) for value in loaded.run(None, arrays)]

    return run


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise GazeError(
            f'ONNX needs {error.name}: pip install "gazecore[onnx]", or export a .pt2', UNAVAILABLE
        ) from error
    return onnx


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return math.inf
    scale = expected.abs().max().clamp(min=1)
    return float((found - expected).abs().max() / scale)  # NaN, which no tolerance allows, where either has one


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk about their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
