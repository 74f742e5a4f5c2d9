"""The tensor files of snapshots: which bytes are new, and which are in the file of an earlier snapshot.

A tensor file is a safetensors file. The text ``index`` in its header says, as JSON, how each tensor of the snapshot is
stored (`framework._store.tensors.Entry`), where for a blob stands `[file, start, size, digest]`: the number of one of
the index's files, where in that file it begins, its bytes, and their sha256. The first file is this one itself, of
which ``start`` counts from the end of the header; of others it counts from their beginning.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor

from framework._store.tensors import (
    DTYPES,
    Blob,
    Bytes,
    Entry,
    bits,
    decode,
    describe_tensor,
    elements,
    nonzero,
    unbits,
)

_LEAST = 1024  # bytes: fewer are stored again rather than looked for in another file
_PARTS = 8  # of one sparse tensor; more are put together again, as each costs time to read
_GAP = 2**16  # bytes that are read in vain rather than with another request
_MOST = 256  # bytes of memory for each that is stored: tensors of zeros take little, but no file may fill the memory


@dataclass(frozen=True)
class Contents:
    """What is known of a stored snapshot, so that another can share its bytes.

    Attributes:
        entries: how its tensors are stored, by name.
        sizes: bytes of all tensor files that it needs, by name.
        places: by name of a sparse tensor, the bits of where it is not zero.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, Bytes] = field(default_factory=dict)

    def blobs(self) -> Iterator[Blob]:
        """All that its tensors are made of."""
        return (blob for entry in self.entries.values() for blob in entry.blobs)

    def uses(self, file: str) -> dict[str, int]:
        """The bytes of the files that it needs besides its own, by name."""
        needed = {blob.file for blob in self.blobs()} - {file}
        return {name: self.sizes[name] for name in sorted(needed)}


def write(
    file: str, tensors: Mapping[str, Tensor], parent: Contents, others: Iterable[Contents]
) -> tuple[bytes, str, Contents]:
    """Make a snapshot's tensor file.

    Args:
        file: its name.
        tensors: on any device; those that share memory come back apart.
        parent: the snapshot of the stage before: a tensor that has only got more values since then is stored as those.
        others: snapshots in whose files bytes may be that are needed again.

    Returns:
        The file, the sha256 of its header, and what is in it.

    Raises:
        TypeError: a tensor cannot be stored.
    """
    writer = _Writer(file, parent, others)
    for name, tensor in tensors.items():
        writer.add(name, tensor)
    return writer.finish()


def read(
    file: str, content: bytes, digest: str, sizes: Mapping[str, int], fetch: Callable[[str, int, int], bytes | None]
) -> tuple[dict[str, Tensor], Contents]:
    """Read a snapshot's tensors.

    Args:
        file: name of its tensor file.
        content: of that file.
        digest: of that file's header.
        sizes: bytes of all files that it may need, by name.
        fetch: reads a part of another file: its name, where it begins, and how many bytes; None if it is missing.

    Raises:
        BadFileError: a file's content is not what it was.
        Exception: the file was never one of ours.
    """
    size = 8 + int.from_bytes(content[:8], "little")
    if hashlib.sha256(content[:size]).hexdigest() != digest:
        raise BadFileError(file, "its content does not match its digest")
    entries = _parse_index(json.loads(content[8:size])["__metadata__"]["index"], file, size)
    contents = Contents(entries, sizes)
    blobs = _fetch_all(contents, file, content, fetch)
    memory = sum(entry.count * DTYPES[entry.dtype].itemsize for entry in entries.values())
    if memory > _MOST * (len(content) + sum(map(len, blobs.values()))):
        raise ValueError(f"its tensors would take {memory} bytes of memory")
    tensors = {name: decode(entry, blobs.__getitem__) for name, entry in entries.items()}
    places = {
        name: bits(found)
        for name, entry in entries.items()
        if entry.kind == "sparse" and (found := nonzero(*describe_tensor(name, tensors[name]))) is not None
    }
    return tensors, replace(contents, places=places)


class BadFileError(Exception):
    """A file's content is not what it was.

    Args:
        file: its name.
        wrong: what is wrong with it, a clause.
    """

    def __init__(self, file: str, wrong: str) -> None:
        super().__init__(wrong)
        self.file = file


class _Writer:
    def __init__(self, file: str, parent: Contents, others: Iterable[Contents]) -> None:
        self.file, self.parent = file, parent
        self.sizes: dict[str, int] = {}
        self.known: dict[str, Blob] = {}
        for contents in (*others, parent):
            self.sizes |= contents.sizes
            self.known |= {blob.digest: blob for blob in contents.blobs() if blob.size >= _LEAST}
        self.entries: dict[str, Entry] = {}
        self.places: dict[str, Bytes] = {}
        self.own: dict[str, tuple[str, str, list[int], Bytes]] = {}  # by digest: name, dtype, shape, bytes

    def add(self, name: str, tensor: Tensor) -> None:
        entry, content = describe_tensor(name, tensor)
        if entry.dtype == "BOOL":
            packed = bits(content)
            entry = replace(entry, kind="bits", blobs=(self._put(name, "U8", [len(packed)], packed),))
        else:
            entry = self._without_zeros(name, entry, content) or replace(
                entry, blobs=(self._put(name, entry.dtype, list(entry.shape), content),)
            )
        self.entries[name] = entry

    def _without_zeros(self, name: str, entry: Entry, content: Bytes) -> Entry | None:
        """Store a tensor's other elements, if that takes less."""
        places = nonzero(entry, content)
        if places is None:
            return None
        former, before = self.parent.entries.get(name), self.parent.places.get(name)
        if former is None or before is None or (former.dtype, former.shape) != (entry.dtype, entry.shape):
            former = before = None
        # What was sparse stays so as long as it has any zero: so that it can grow again, at the cost of a bit for each.
        width, zeros = DTYPES[entry.dtype].itemsize, places.size - np.count_nonzero(places)
        if not zeros or (former is None and zeros * width <= places.size / 8):
            return None
        packed, values = bits(places), np.compress(places, elements(entry, content))
        entry = replace(entry, kind="sparse", digest=_sha256(values.view(np.uint8)))
        blobs = None
        if former is not None and before is not None and not np.any(before & ~packed):
            blobs = self._grown(name, entry, packed, values, former, before)
        self.places[name] = packed
        return replace(entry, blobs=blobs or self._put_sparse(name, entry.dtype, packed, values))

    def _grown(
        self,
        name: str,
        entry: Entry,
        packed: Bytes,
        values: NDArray[np.unsignedinteger],
        former: Entry,
        before: Bytes,
    ) -> tuple[Blob, ...] | None:
        """The blobs of a tensor that has only got more values since the stage before; None if others have changed."""
        if np.array_equal(before, packed):
            return former.blobs if former.digest == entry.digest else None
        old = unbits(before, entry.count)[unbits(packed, entry.count)]
        if len(former.blobs) >= 2 * _PARTS or former.digest != _sha256(values[old].view(np.uint8)):
            return None
        return former.blobs + self._put_sparse(name, entry.dtype, packed & ~before, values[~old])

    def _put_sparse(
        self, name: str, dtype: str, packed: Bytes, values: NDArray[np.unsignedinteger]
    ) -> tuple[Blob, Blob]:
        return (
            self._put(f"{name}/places", "U8", [len(packed)], packed),
            self._put(f"{name}/values", dtype, [len(values)], values.view(np.uint8)),
        )

    def _put(self, name: str, dtype: str, shape: list[int], content: Bytes) -> Blob:
        digest = _sha256(content)
        if digest in self.known:
            return self.known[digest]
        self.own.setdefault(digest, (name, dtype, shape, content))
        return Blob(self.file, 0, len(content), digest)  # it gets its place at the end

    def finish(self) -> tuple[bytes, str, Contents]:
        # The format wants them without gaps; those of the widest elements first, each is aligned to its own.
        order = sorted(self.own.items(), key=lambda item: (-DTYPES[item[1][1]].itemsize, item[1][0]))
        header: dict[str, object] = {}
        starts, end = {}, 0
        for digest, (name, dtype, shape, content) in order:
            starts[digest] = end
            end += len(content)
            while name in header:
                name += "'"
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [starts[digest], end]}
        entries = {name: self._placed(entry, starts, 0) for name, entry in self.entries.items()}
        text = json.dumps({"__metadata__": {"index": _dump_index(entries, self.file)}, **header}).encode()
        text += b" " * (-len(text) % 8)
        head = len(text).to_bytes(8, "little") + text
        whole = b"".join([head, *(content.data for _, (*_, content) in order)])
        entries = {name: self._placed(entry, starts, len(head)) for name, entry in self.entries.items()}
        contents = Contents(entries, {**self.sizes, self.file: len(whole)}, self.places)
        return whole, hashlib.sha256(head).hexdigest(), contents

    def _placed(self, entry: Entry, starts: Mapping[str, int], first: int) -> Entry:
        blobs = (replace(b, start=first + starts[b.digest]) if b.file == self.file else b for b in entry.blobs)
        return replace(entry, blobs=tuple(blobs))


def _fetch_all(
    contents: Contents, own: str, content: bytes, fetch: Callable[[str, int, int], bytes | None]
) -> dict[Blob, Bytes]:
    """Read and check blobs, with as few requests to other files as are worth it."""
    found: dict[Blob, Bytes] = {}
    for file, start, end, members in _spans(contents.blobs()):
        if end > contents.sizes[file]:
            raise ValueError(f"it wants more of {file} than there is")
        part = content[start:end] if file == own else fetch(file, start, end - start)
        if part is None:
            raise BadFileError(file, "it is missing")
        view = memoryview(part)
        for blob in members:
            piece = np.frombuffer(view[blob.start - start :][: blob.size], np.uint8)
            if len(piece) != blob.size or _sha256(piece) != blob.digest:
                raise BadFileError(file, "its content does not match its digest")
            found[blob] = piece
    return found


def _spans(blobs: Iterable[Blob]) -> Iterator[tuple[str, int, int, list[Blob]]]:
    """File, start and end of what is read at once, and the blobs in it."""
    members: list[Blob] = []
    end = 0
    for blob in sorted(set(blobs), key=lambda blob: (blob.file, blob.start, blob.size)):
        if members and (blob.file != members[0].file or blob.start > end + _GAP):
            yield members[0].file, members[0].start, end, members
            members, end = [], 0
        members.append(blob)
        end = max(end, blob.start + blob.size)
    if members:
        yield members[0].file, members[0].start, end, members


def _dump_index(entries: Mapping[str, Entry], own: str) -> str:
    files = [own, *sorted({blob.file for entry in entries.values() for blob in entry.blobs} - {own})]
    plain = {}
    for name, entry in entries.items():
        plain[name] = asdict(replace(entry, blobs=()))
        plain[name]["blobs"] = [[files.index(b.file), b.start, b.size, b.digest] for b in entry.blobs]
    return json.dumps({"files": files, "tensors": plain})


def _parse_index(text: str, own: str, first: int) -> dict[str, Entry]:
    index = json.loads(text)
    files, tensors = index["files"], index["tensors"]
    for entry in tensors.values():
        entry["blobs"] = [
            {"file": files[number], "start": start + (0 if number else first), "size": size, "digest": digest}
            for number, start, size, digest in entry["blobs"]
        ]
    if files[0] != own:
        raise ValueError("its index is that of another file")
    return _entries().validate_json(json.dumps(tensors))


@cache
def _entries() -> TypeAdapter[dict[str, Entry]]:
    return TypeAdapter(dict[str, Entry], config=ConfigDict(extra="forbid", strict=True))


def _sha256(content: Bytes) -> str:
    return hashlib.sha256(content.data).hexdigest()
