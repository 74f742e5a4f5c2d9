"""Exported programs (pt2 archives) of strangers: what is read of them is checked first, and never unpickled.

`torch.export.load` trusts its file: it unpickles weights, constants and sample inputs, opens shared libraries, and runs
what it finds in the graph (see `framework._tracking.graph`). So it is only shown a copy, which has nothing but plain
tensors and a graph of known operators.
"""

import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from framework._errors import DataError, first_line
from framework._tracking.graph import check_parameter, checked_graph
from framework._tracking.versions import VERSIONS_RECORD, versioned

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.export import ExportedProgram

WEIGHTS_CONFIG, CONSTANTS_CONFIG = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_GRAPH, _SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_LARGEST_TEXT = 64 * 2**20  # bytes of JSON; that of a ResNet-152 has 2.5 MiB

# torch's numbers for what it can store: torch._export.serde.schema.ScalarType.
_DTYPES = dict(enumerate(["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"], 1))
_DTYPES |= {10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16"}
_STRIDED = 7

_RECORD = re.compile(r"(weight|tensor)_\d+")


class _Entry(NamedTuple):
    """How a tensor lies in a record of the archive."""

    record: str
    dtype: "torch.dtype"
    sizes: list[int]
    strides: list[int]
    offset: int
    plain: dict[str, Any]  # as the archive says it, no more than that


def read_program(file: Path, copy: Path) -> "ExportedProgram":
    """An exported network: images in, outputs (N, classes) out.

    Args:
        file: whoever made it.
        copy: where the part of it that was checked is written, as another pt2 archive.

    Raises:
        DataError: it is damaged, or could do something else than compute; says what.
    """
    from torch.export.pt2_archive._package import load_pt2

    copy_checked(file, copy)
    with _as_damage():
        program: ExportedProgram = load_pt2(copy).exported_programs["model"]
        program.module()  # compiles it
    return program


def copy_checked(file: Path, copy: Path) -> None:
    """Write the part of an archive that can be trusted: plain tensors, and a graph of known operators.

    Raises:
        DataError: it is damaged, or could do something else than compute; says what.
    """
    from torch.export.pt2_archive import PT2ArchiveWriter

    with _opened(file) as records, PT2ArchiveWriter(str(copy)) as new:
        graph = checked_graph(records.json(_GRAPH))
        for config in (WEIGHTS_CONFIG, CONSTANTS_CONFIG):
            entries = _entries(records, config)
            new.write_string(config, json.dumps({"config": {name: entry.plain for name, entry in entries.items()}}))
            for record in dict.fromkeys(entry.record for entry in entries.values()):
                new.write_bytes(record, records.read(record))
        new.write_string(_GRAPH, json.dumps(graph))
        new.write_bytes(_SAMPLES, b"")  # torch goes without, but looks for the record


def read_tensors(file: Path) -> "dict[str, Tensor]":
    """The state dict of an exported network, with the versions of its modules. Its graph is not looked at.

    Raises:
        DataError: it is damaged, or its tensors are pickled.
    """
    import torch

    with _opened(file) as records:
        entries = _entries(records, WEIGHTS_CONFIG)
        memory = {entry.record: bytearray(records.read(entry.record)) for entry in entries.values()}
        versions = records.read(VERSIONS_RECORD).decode() if VERSIONS_RECORD in records.sizes else None
    state = {}
    for name, entry in entries.items():
        if content := memory[entry.record]:
            flat = torch.frombuffer(content, dtype=entry.dtype)
            state[name] = flat.as_strided(entry.sizes, entry.strides, entry.offset)
        else:
            state[name] = torch.empty(entry.sizes, dtype=entry.dtype)
    return versioned(state, versions)


# --- the archive ------------------------------------------------------------------------------------------------------


class _Records:
    """The records of an archive, none of which takes more room than the file itself."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        infos = archive.infolist()
        roots = {info.filename.partition("/")[0] for info in infos}
        self.sizes = {info.filename.partition("/")[2]: info.file_size for info in infos}
        self._root = next(iter(roots), "")
        if len(roots) != 1 or len(self.sizes) != len(infos):
            raise DataError("it is no pt2 archive: its records are not in one folder, each once")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or sum(self.sizes.values()) > size:
            raise DataError("it has records that are larger than the file: torch does not compress what it saves")

    def read(self, record: str) -> bytes:
        if record not in self.sizes:
            raise DataError(f"it has no record {record!r}")
        return self._archive.read(f"{self._root}/{record}")

    def json(self, record: str) -> Any:
        if self.sizes.get(record, 0) > _LARGEST_TEXT:
            raise DataError(f"its record {record!r} has more than {_LARGEST_TEXT} bytes")
        return json.loads(self.read(record))


@contextmanager
def _opened(file: Path) -> Iterator[_Records]:
    with _as_damage(), zipfile.ZipFile(file) as archive:
        yield _Records(archive, file.stat().st_size)


@contextmanager
def _as_damage() -> Iterator[None]:
    """Whatever a file makes readers stumble over is a fault of the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"it is damaged: {first_line(error)}") from error


def _entries(records: _Records, config: str) -> dict[str, _Entry]:
    """What a config says of its tensors, if they lie within their records."""
    folder = config.rpartition("/")[0]
    found = {}
    for name, said in records.json(config)["config"].items():
        check_parameter(name)
        if said["use_pickle"] is not False or not _RECORD.fullmatch(said["path_name"]):
            raise DataError(f"its tensor {name!r} is pickled: that could run anything when it is read")
        found[name] = entry = _entry(folder, name, said)
        room = records.sizes.get(entry.record, 0)
        ends = entry.offset + sum((size - 1) * stride for size, stride in zip(entry.sizes, entry.strides, strict=True))
        count = math.prod(entry.sizes)
        if count * entry.dtype.itemsize > room or (count and (ends + 1) * entry.dtype.itemsize > room):
            raise DataError(f"its tensor {name!r} is larger than the record that holds it")
    return found


def _entry(folder: str, name: str, said: Mapping[str, Any]) -> _Entry:
    import torch

    meta = said["tensor_meta"]
    sizes, strides = [size["as_int"] for size in meta["sizes"]], [stride["as_int"] for stride in meta["strides"]]
    offset = meta["storage_offset"]["as_int"]
    if not all(type(number) is int and number >= 0 for number in (*sizes, *strides, offset)):
        raise DataError(f"its tensor {name!r} has a size that is none")
    if meta["dtype"] not in _DTYPES or meta["layout"] != _STRIDED:
        raise DataError(f"its tensor {name!r} is of a kind that is not read: dtype {meta['dtype']}")
    plain = {
        "path_name": said["path_name"],
        "is_param": bool(said["is_param"]),
        "use_pickle": False,
        "tensor_meta": {
            "dtype": meta["dtype"],
            "sizes": [{"as_int": size} for size in sizes],
            "strides": [{"as_int": stride} for stride in strides],
            "storage_offset": {"as_int": offset},
            "requires_grad": bool(meta["requires_grad"]),
            "device": {"type": "cpu", "index": None},
            "layout": _STRIDED,
        },
    }
    dtype = getattr(torch, _DTYPES[meta["dtype"]])
    return _Entry(f"{folder}/{said['path_name']}", dtype, sizes, strides, offset, plain)
