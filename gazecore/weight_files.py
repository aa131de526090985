"""Weight files of others, read without running anything they hold: PyTorch pickles and safetensors."""

import contextlib
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from gazecore.errors import DATA, NO_INPUT, GazeError

# what authors call the state dict inside their training state, in the order of preference
STATE_DICT_ENTRIES = ("model", "state_dict", "model_state_dict")

# what torch.load raises over damaged files and over those it refuses
DAMAGED = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError)


def read(path: str | Path) -> Any:
    """What a weight file holds, on the CPU: a dict of tensors, or the dict an author wrapped around it.

    Errors: a missing, truncated or foreign file, and a pickle that asks for more than tensors (torch.load refuses it
    with weights_only=True; such a file can run any code and is never opened otherwise).
    """
    path = Path(path)
    if not path.is_file():
        raise GazeError(f"{path}: there is no such weight file", NO_INPUT)
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        try:
            return load_file(path)
        except safetensors.SafetensorError as error:
            raise GazeError(f"{path} is truncated or no safetensors file ({error}); fetch it again", DATA) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DAMAGED as error:
        foreign = _foreign_objects(path)
        if not foreign:
            raise GazeError(f"{path} is truncated or no PyTorch weight file; fetch it again", DATA) from error
        state = "model.state_dict()"
        if path.suffix == ".ckpt":  # of PyTorch Lightning, whose hyper_parameters hold whatever a script gave it
            state = f"torch.load({path.name!r}, weights_only=False)['state_dict']"
        raise GazeError(
            f"{path} is refused: beside tensors it asks for {', '.join(foreign)}, and opening it could run code. Where "
            f"you trust it, save its state dict alone (torch.save({state}, FILE)) and import that",
            DATA,
        ) from error


def _foreign_objects(path: Path) -> list[str]:
    """What a pickle asks for that weights do not need, by name, from its opcodes alone: nothing is executed."""
    asked: set[str] = set()
    strings: list[str] = []
    with contextlib.suppress(ValueError, StopIteration, OSError, zipfile.BadZipFile):  # up to the damage
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        else:
            pickled = path.read_bytes()
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL":
                asked.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                asked.add(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    return sorted(name for name in asked if not name.startswith(("torch.", "collections.OrderedDict")))


def state_dict(path: str | Path, entry: str | None = None) -> tuple[dict[str, torch.Tensor], str]:
    """The state dict in a weight file and the name of the entry it lay under ("" = the file itself is one).

    entry  which of the file's entries to take; None takes the whole file, or else "model", "state_dict" or
           "model_state_dict", the names authors use; DataParallel's "module." prefix is removed
    """
    content = read(path)
    if not isinstance(content, dict):
        raise GazeError(f"{path} holds a {type(content).__name__}; expected a state dict (name -> tensor)")
    held = ", ".join(map(str, content)) or "nothing"
    if entry is None and not _is_state_dict(content):
        entry = next((name for name in STATE_DICT_ENTRIES if _is_state_dict(content.get(name))), None)
    if entry is not None:
        content = content.get(entry)
    if not _is_state_dict(content):
        wanted = f'an entry "{entry}" with tensors' if entry else f"tensors, or one of {', '.join(STATE_DICT_ENTRIES)}"
        raise GazeError(f"{path} holds {held}; expected {wanted}")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return dict(content), entry or ""


def _is_state_dict(content: Any) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())
