"""Weight files of others, read without running anything they hold: PyTorch pickles and safetensors."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from gazecore.errors import DATA, NO_INPUT, GazeError

# what authors call the state dict inside their training state, in the order of preference
STATE_DICT_ENTRIES = ("model", "state_dict", "model_state_dict")


def read(path: str | Path) -> Any:
    """What a weight file holds, on the CPU: a dict of tensors, or the dict an author wrapped around it.

    Errors: a missing, truncated or foreign file, and a pickle that asks for more than tensors (torch.load refuses it
    with weights_only=True; such a file can run any code and is never opened otherwise).
    """
    path = Path(path)
    if not path.is_file():
        raise GazeError(f"{path}: there is no such weight file", NO_INPUT)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except safetensors.SafetensorError as error:
            raise GazeError(f"{path} is truncated or no safetensors file ({error}); fetch it again", DATA) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = str(error)
        if "Unsupported" in found:
            wanted = next((line.strip() for line in found.splitlines() if "Unsupported" in line), found)
            raise GazeError(
                f"{path} is refused: its pickle asks for objects other than tensors and could run code when opened "
                f"({wanted}). Save its state dict alone (torch.save(model.state_dict(), ...)) and import that",
                DATA,
            ) from error
        raise GazeError(f"{path} is truncated or no PyTorch weight file; fetch it again", DATA) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise GazeError(
            f"{path} is truncated or no PyTorch weight file ({type(error).__name__}); fetch it again", DATA
        ) from error


def state_dict(path: str | Path, entry: str | None = None) -> tuple[dict[str, torch.Tensor], str]:
    """The state dict in a weight file and the name of the entry it lay under ("" = the file itself is one).

    entry  which of the file's entries to take; None takes the whole file, or else "model", "state_dict" or
           "model_state_dict", the names authors use; DataParallel's "module." prefix is removed
    """
    content = read(path)
    if not isinstance(content, dict):
        raise GazeError(f"{path} holds a {type(content).__name__}; expected a state dict (name -> tensor)")
    if entry is None and not _is_state_dict(content):
        entry = next((name for name in STATE_DICT_ENTRIES if _is_state_dict(content.get(name))), None)
    if entry is not None:
        content = content.get(entry)
    if not _is_state_dict(content):
        held = ", ".join(map(str, read(path))) or "nothing"
        wanted = f'an entry "{entry}" with tensors' if entry else f"tensors, or one of {', '.join(STATE_DICT_ENTRIES)}"
        raise GazeError(f"{path} holds {held}; expected {wanted}")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return dict(content), entry or ""


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(value, torch.Tensor) for value in content.values())
    )
