"""The two one-file containers of a finished artifact: .zarr.zip (stored, unsharded) and HDF5 (netCDF-4 conventions)."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gazecore.artifacts.shards import layout
from gazecore.artifacts.store import Artifact, Variable

EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first date: equal content gives equal bytes


def write(artifact: Artifact, path: Path, container: str, keep_half: bool = False) -> None:
    """Write an open artifact to a new file; the content id stays what it is.

    container  "zarr.zip" or "h5"
    keep_half  HDF5 only: float16 stays float16, which crashes programs built on the netCDF C library;
               without it float32 is stored and the attribute gz_dtype remembers the half precision
    """
    if container == "h5":
        _write_h5(artifact, path, keep_half)
    else:
        _write_zip(artifact, path)


def _write_zip(artifact: Artifact, path: Path) -> None:
    import zarr
    from zarr.codecs import BloscCodec, ZstdCodec
    from zarr.storage import MemoryStore

    codecs = {"lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), "zstd": ZstdCodec(level=3), None: None}
    # one variable's metadata and one chunk at a time pass through memory on their way into the zip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        metadata = MemoryStore()
        root = zarr.open_group(metadata, mode="w", zarr_format=3, attributes=artifact.attrs)
        for variable in artifact.variables.values():
            cut = layout(variable.dtype_name, variable.shape[1:], _is_packed(artifact, variable))
            rows = max(min(cut.chunk_rows, len(variable)), 1)
            tail = tuple(max(n, 1) for n in variable.shape[1:])
            array = root.create_array(
                variable.name,
                shape=variable.shape,
                dtype=str if variable.dtype_name == "string" else variable.dtype_name,
                chunks=(rows, *tail),
                compressors=codecs[cut.codec],
                dimension_names=variable.dims,
                attributes={k: v for k, v in variable.attrs.items() if k != "gz_dtype"},
            )
            for start in range(0, len(variable), rows):
                stop = min(start + rows, len(variable))
                array[start:stop] = variable[start:stop]
                _drain(metadata, archive, f"{variable.name}/c/")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(metadata)
        _drain(metadata, archive, "")


def _drain(store: Any, archive: zipfile.ZipFile, prefix: str) -> None:
    """Move the keys under a prefix from memory into the archive."""
    for key in sorted(k for k in store._store_dict if k.startswith(prefix)):
        archive.writestr(zipfile.ZipInfo(key, EPOCH), store._store_dict.pop(key).to_bytes())


def _is_packed(artifact: Artifact, variable: Variable) -> bool:
    return len(variable.dims) == 1 and variable.dtype_name == "uint8" and variable.dims[0] in artifact.ragged_dims


def _write_h5(artifact: Artifact, path: Path, keep_half: bool) -> None:
    import h5py

    with h5py.File(path, "w", libver="earliest") as file:
        for key, value in artifact.attrs.items():
            file.attrs[key] = value
        for number, (dim, length) in enumerate(artifact.dims.items()):
            scale = file.create_dataset(dim, shape=(length,), dtype="f4")
            scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{length:10d}")
            scale.attrs["_Netcdf4Dimid"] = np.int32(number)
        for variable in artifact.variables.values():
            half = variable.dtype_name == "float16" and not keep_half
            dataset = _h5_dataset(file, artifact, variable, "float32" if half else variable.dtype_name)
            for start, stop in variable.row_blocks():
                rows = variable[start:stop]
                dataset[start:stop] = rows.astype(object) if variable.dtype_name == "string" else rows
            for axis, dim in enumerate(variable.dims):
                dataset.dims[axis].attach_scale(file[dim])
            for key, value in variable.attrs.items():
                dataset.attrs[key] = value
            if half:
                dataset.attrs["gz_dtype"] = "float16"


def _h5_dataset(file: Any, artifact: Artifact, variable: Variable, dtype: str) -> Any:
    import h5py

    kind = h5py.string_dtype() if dtype == "string" else dtype
    if _is_packed(artifact, variable) or not len(variable) or dtype == "string":
        return file.create_dataset(variable.name, shape=variable.shape, dtype=kind)
    rows = min(layout(dtype, variable.shape[1:]).chunk_rows, len(variable))
    chunks = (rows, *(max(n, 1) for n in variable.shape[1:]))
    return file.create_dataset(
        variable.name, shape=variable.shape, dtype=kind, chunks=chunks, shuffle=True, compression="gzip",
        compression_opts=1,
    )  # fmt: skip
