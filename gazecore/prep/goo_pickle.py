"""The pickles of GOO, read as data: no code in them runs, and one record at a time is in memory.

A pickle can call any function that is installed. Here every name in it that is not needed to rebuild numbers and
numpy arrays is refused, and those that are needed stand for our own functions, not numpy's.

The originals do not fit into memory whole: each record lists the pixels of a product as Python lists (`seg`), and the
unpickler remembers every list, in case that another record refers to it. This one keeps from a record what a sample
needs as soon as the record is complete, and forgets its lists.
"""

import pickle
import re
import struct
from array import array
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from gazecore.errors import NO_INPUT, GazeError

HEAD_LABELS = (-1, 25)
NUMBERS = ("gaze_cx", "gaze_cy", "hx", "hy")
LONGEST_NAME = 200  # characters or bytes; longer ones are forgotten like lists
CODE = re.compile(r"[biuf][1248]")
BROKEN = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError,
    ValueError, MemoryError, struct.error,
)  # fmt: skip


class Records:
    """What samples need of n records, in units of 640 x 480.

    filenames   with slashes, relative to the folder of the pictures
    positions   (n,) place of the record in the list
    gaze, head  (n, 2) gaze_cx, gaze_cy and hx, hy
    head_boxes  (n, 4); NaN where no box is known to be the head
    synthetic   (n,) the record is of GOO-Synth
    """

    def __init__(self, filenames: list[str], numbers: array):
        table = np.frombuffer(numbers, np.float64).reshape(len(filenames), 10)
        self.filenames = filenames
        self.gaze, self.head, self.head_boxes = table[:, :2], table[:, 2:4], table[:, 4:8]
        self.synthetic = table[:, 8] == 1
        self.positions = table[:, 9].astype(int)

    def __len__(self) -> int:
        return len(self.filenames)


def read_records(path: Path, problems: list[str]) -> Records:
    """The records of a pickle; those that lack something join the problems.

    Raises GazeError: NO_INPUT for a missing file, else for a file that is no pickle, broken, or holds anything but
    lists, dictionaries, strings, numbers and numpy arrays.
    """
    if not path.is_file():
        raise GazeError(f"{path}: no such pickle", NO_INPUT)
    try:
        unpickler = _load(path, forgetful=True)
    except _Forgotten:  # a record shares a list with an earlier one: once more, with all of them in memory
        unpickler = _load(path, forgetful=False)
    if not unpickler.filenames and not unpickler.problems:
        raise GazeError(f"{path} holds no record with a filename; expected the list of dictionaries of GOO.")
    problems += unpickler.problems
    return Records(unpickler.filenames, unpickler.numbers)


def _load(path: Path, forgetful: bool) -> "_Unpickler":
    with path.open("rb") as file:
        unpickler = _Unpickler(file, path, forgetful)
        try:
            unpickler.load()
        except _Forgotten as error:
            if forgetful:
                raise
            raise GazeError(f"{path} is a broken pickle: it refers to what it does not hold; copy it again.") from error
        except BROKEN as error:
            raise GazeError(f"{path} is no pickle, or a broken one ({error}); copy it again.") from error
    return unpickler


# ---- what the names in a pickle stand for ---------------------------------------------------------------------------


class _Dtype:
    """A numpy dtype: kind and bytes per number, e.g. f8, and the order of the bytes."""

    __slots__ = ("code", "order")

    def __init__(self, code: str = "", *_: object):
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if not CODE.fullmatch(self.code) or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"an array of {self.order}{self.code}; expected numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """A numpy array, decoded when asked for: segmentations never are."""

    __slots__ = ("dtype", "fortran", "raw", "shape")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.raw = state

    def numbers(self) -> np.ndarray:
        values = np.frombuffer(self.raw, self.dtype.numpy())
        return values.reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    built = _Array()
    built.__setstate__((1, shape, dtype, order == "F", raw))
    return built


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.numpy(), count=1)[0].item()


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":  # how Python 3 writes bytes for Python 2
        raise pickle.UnpicklingError(f"bytes in {codec!r}")
    return text.encode("latin1")


NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
}
for _core in ("numpy.core", "numpy._core"):
    NAMES |= {
        (f"{_core}.multiarray", "_reconstruct"): _reconstruct,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _from_buffer,
    }


# ---- the unpickler --------------------------------------------------------------------------------------------------


class _Forgotten(Exception):
    """A pickle refers back to something that is not remembered."""


class _Memo(dict[int, Any]):
    def __missing__(self, index: int) -> Any:
        raise _Forgotten(index)


class _Unpickler(pickle._Unpickler):
    """Collects filenames and ten numbers of each record (see Records); the list that it returns is empty shells.

    The one that is written in Python, because only that one can be told what to keep.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Any
    pop_mark: Any
    read: Any
    readline: Any

    def __init__(self, file: BinaryIO, path: Path, forgetful: bool):
        super().__init__(file)
        self.path, self.forgetful = path, forgetful
        self.memo = _Memo()
        self.problems: list[str] = []
        self.filenames: list[str] = []
        self.numbers = array("d")
        self._records = 0
        self._memorised = 0
        self._passing: list[int] = []  # memo entries that end with their record

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise GazeError(
                f"{self.path} refers to {module}.{name}; a pickle of GOO needs only lists, dictionaries, strings, "
                "numbers and numpy arrays. Nothing of it was run: do not trust the file."
            )
        return NAMES[module, name]

    def _memorise(self, index: int) -> None:
        value = self.stack[-1]
        self.memo[index] = value
        self._memorised += 1
        if isinstance(value, list | dict | tuple | _Array) or (
            isinstance(value, str | bytes) and len(value) > LONGEST_NAME
        ):
            self._passing.append(index)

    def load_memoize(self) -> None:
        self._memorise(self._memorised)

    def load_binput(self) -> None:
        self._memorise(self.read(1)[0])

    def load_long_binput(self) -> None:
        self._memorise(int.from_bytes(self.read(4), "little"))

    def load_put(self) -> None:
        self._memorise(int(self.readline()))

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], _Array | _Dtype):
            raise pickle.UnpicklingError(f"a state for {type(self.stack[-2]).__name__}")
        super().load_build()  # type: ignore[misc]

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        if key == "filename":  # alone: no telling when the record is complete
            raise pickle.UnpicklingError(
                "protocol 0, or a filename without anything; write it with protocol 2 or later"
            )
        self._store([key, value])

    def load_setitems(self) -> None:
        self._store(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._store(items)

    def _store(self, items: list[Any]) -> None:
        """Keys and values in turn, into the dictionary on top of the stack; of a record nothing stays there."""
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key in ("bboxes", "labels", "filename", "ann", *NUMBERS):
                target[key] = value
            elif key == "envparams":
                target[key] = True
        if "filename" in target:
            self._keep(target)
            target.clear()
            for index in self._passing if self.forgetful else ():
                self.memo.pop(index, None)
            self._passing.clear()

    def _keep(self, record: dict[str, Any]) -> None:
        position = self._records
        self._records += 1
        try:
            name = record["filename"]
            if not isinstance(name, str) or not name or "\0" in name:
                raise ValueError(f"filename {name!r}")
            numbers = [_number(record, key) for key in NUMBERS]
            boxes = record.get("ann") or {}
            head, last = _head_and_last(boxes.get("bboxes", []), boxes.get("labels", []))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            missing = f"no {error}" if isinstance(error, KeyError) else str(error)
            self.problems.append(f"record {position}: {missing}")
            return
        synthetic = "envparams" in record
        head_box = head or (None if synthetic else last) or [np.nan] * 4
        self.filenames.append(name.replace("\\", "/").lstrip("/"))
        self.numbers.extend((*numbers, *head_box, synthetic, position))


for _operation, _handler in {
    pickle.MEMOIZE: _Unpickler.load_memoize,
    pickle.BINPUT: _Unpickler.load_binput,
    pickle.LONG_BINPUT: _Unpickler.load_long_binput,
    pickle.PUT: _Unpickler.load_put,
    pickle.BUILD: _Unpickler.load_build,
    pickle.SETITEM: _Unpickler.load_setitem,
    pickle.SETITEMS: _Unpickler.load_setitems,
    pickle.DICT: _Unpickler.load_dict,
}.items():
    _Unpickler.dispatch[_operation[0]] = _handler  # type: ignore[assignment]


def _number(record: dict[str, Any], key: str) -> float:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{key} is {type(value).__name__}; expected a number")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{key} is {value}; expected a finite number")
    return number


def _head_and_last(boxes: Any, labels: Any) -> tuple[list[float] | None, list[float] | None]:
    """The last box that is labelled as a head, and the last box; None where there is none."""
    boxes, labels = _listed(boxes), _listed(labels)
    if not boxes:
        return None, None
    heads = [i for i, label in enumerate(labels[: len(boxes)]) if label in HEAD_LABELS]
    return _box(boxes[heads[-1]]) if heads else None, _box(boxes[-1])


def _listed(values: Any) -> list[Any]:
    if isinstance(values, _Array):
        return values.numbers().tolist()
    if not isinstance(values, list | tuple):
        raise ValueError(f"{type(values).__name__}; expected a list or an array")
    return list(values)


def _box(values: Any) -> list[float]:
    box = _listed(values)
    if len(box) != 4 or not all(isinstance(edge, int | float) for edge in box):
        raise ValueError(f"a box of {len(box)} values; expected 4 numbers")
    return [float(edge) for edge in box]
