"""Eye segmentation: model + images -> masks and probabilities, of samples or of frames from anywhere."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from gazecore.artifacts import Artifact, copying, schema
from gazecore.artifacts.schema import VariableSpec
from gazecore.errors import GazeError
from gazecore.prep.eye_frames import EyeFrame
from gazecore.prep.eyes import letterboxed
from gazecore.records import EyeSample

if TYPE_CHECKING:
    import torch

    from gazecore.checkpoints import Opened

SHIPPED = "eyes.safetensors"
STORED_BLOCK = 64

Columns = dict[str, Any]  # numpy arrays, one row per sample


def opened(checkpoint: str | None, seed: int = 0) -> "Opened":
    """The model that --checkpoint names; None: the shipped weights, which know rendered eyes only."""
    from gazecore import checkpoints

    return checkpoints.open_model(checkpoint or str(files("gazecore") / "weights" / SHIPPED), seed=seed)


@dataclass
class Segmenter:
    """A model of eyes, ready: images in, masks and probabilities at the size of the images out."""

    model: Any
    device: "torch.device"

    def __post_init__(self) -> None:
        from gazecore.data.eyes import preprocessing_of

        if "long_side" not in getattr(self.model, "preprocessing", {}):
            raise GazeError("this checkpoint is no model of eyes; gz train-eyes makes one")
        self.model = self.model.to(self.device).eval()
        self._preprocessing = preprocessing_of(self.model)

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Within it, every call computes in its own thread alone: for callers that make several calls at once."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(b, h, w, 3) uint8 -> labels (b, h, w) uint8, probability (b, 4, h, w) float32."""
        import torch

        from gazecore.data.eyes import EyeBatch, restored

        batch = EyeBatch(self._preprocessing.apply(image)).to(self.device)
        with torch.inference_mode():
            probability = restored(self.model.predict(batch).probability.float(), image.shape[1:3])
            labels = probability.argmax(dim=1).to(torch.uint8)
        return labels.cpu().numpy(), probability.cpu().numpy()


def predict(segmenter: Segmenter, artifact: Artifact, rows: np.ndarray, batch_size: int) -> Iterator[Columns]:
    """Columns of the samples with labels (n, h, w) predicted and probability (n, 4, h, w), block by block.

    The annotated masks move to labels_true.
    """
    for start in range(0, len(rows), batch_size):
        columns = copying.columns(artifact, rows[start : start + batch_size], {})
        if "labels" in columns:
            columns["labels_true"] = columns.pop("labels")
        columns["labels"], columns["probability"] = segmenter(columns["image"])
        yield columns


def segment_frames(
    segmenter: Segmenter, frames: Iterable[EyeFrame], batch_size: int, size: tuple[int, int] | None = None
) -> Iterator[Columns]:
    """Columns of eye-masks of frames, block by block; those that could not be decoded are left out.

    size   (width, height) of a letterbox that all are brought to; None: they have one size
    Errors: frames of several sizes, without `size`.
    """
    decoded = ((frame, frame.image) for frame in frames if frame.image is not None)
    shape: tuple[int, ...] = ()
    while pairs := list(islice(decoded, batch_size)):
        batch = [frame for frame, _ in pairs]
        pictures = [letterboxed(EyeSample(f.name, image), size).image if size else image for f, image in pairs]
        for frame, picture in zip(batch, pictures, strict=True):
            shape = shape or picture.shape
            if picture.shape != shape:
                raise GazeError(
                    f"{frame.name} is {picture.shape[1]} x {picture.shape[0]} pixels, frames before it {shape[1]} x "
                    f"{shape[0]}; bring them to one with --size WxH"
                )
        columns: Columns = {"image": np.stack(pictures)}
        columns["labels"], columns["probability"] = segmenter(columns["image"])
        columns["sample_id"] = [f"{frame.name}#{frame.frame}" for frame in batch]
        for name in ("eye", "subject", "trial"):
            columns[name] = [getattr(frame, name) for frame in batch]
        for name in ("frame", "time_s"):
            columns[name] = np.array([getattr(frame, name) for frame in batch], np.float64)
        yield columns


def check_annotated(artifact: Artifact) -> None:
    """GazeError without annotated masks to compare with."""
    name = "labels" if artifact.kind == "eye-samples" else "labels_true"
    if name not in artifact:
        raise GazeError(
            f"{artifact.path} has no {name}, so nothing to compare with; prepare images with their masks (gz prep-eyes "
            "IMAGES --masks MASKS) and segment those"
        )


def added_specs(artifact: Artifact) -> list[VariableSpec]:
    """Specifications of what eye-masks do not know: variables that somebody added to the samples."""
    known = schema.load("eye-masks").variables
    return [spec for spec in copying.copied_specs(artifact) if spec.name not in known]


def stored(artifact: Artifact, rows: np.ndarray) -> Iterator[Columns]:
    """The columns of masks that were predicted before."""
    for start in range(0, len(rows), STORED_BLOCK):
        yield copying.columns(artifact, rows[start : start + STORED_BLOCK], {})


def samples_in(block: Columns) -> int:
    """The number of rows of a block."""
    return len(block["labels"])
