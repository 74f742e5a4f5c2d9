"""What the small JSON file of a snapshot says."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_JSON = re.compile(r"([0-9a-f]+)(\.partial)?\.json")


@dataclass(frozen=True)
class Snapshot:
    """A state that is stored.

    Attributes:
        key: stage key, hex.
        partial: whether it is a checkpoint within the stage.
        file: name of the tensor file.
        digest: sha256 of the tensor file's bytes, hex.
        size: bytes of the tensor file.
        created: seconds since 1970.
        about: plain JSON from whoever saved it: ``parent`` is the key of the stage before.
    """

    key: str
    partial: bool
    file: str
    digest: str
    size: int
    created: float
    about: Mapping[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """Name of the JSON file."""
        return json_name(self.key, self.partial)

    @property
    def parent(self) -> str | None:
        """Key of the stage before; None for a first stage."""
        return self.about.get("parent")


def stem(key: str, partial: bool) -> str:
    """What the names of a snapshot's files begin with.

    Raises:
        ValueError: the key is not hex.
    """
    if not re.fullmatch("[0-9a-f]+", key):
        raise ValueError(f"{key!r} is no stage key: keys are hex")
    return f"{key}.partial" if partial else key


def json_name(key: str, partial: bool) -> str:
    """Name of a snapshot's JSON file."""
    return f"{stem(key, partial)}.json"


def split_name(name: str) -> tuple[str, bool] | None:
    """The key of the snapshot whose JSON file has this name, and whether it is partial; None for other files."""
    match = _JSON.fullmatch(name)
    return (match[1], match[2] is not None) if match else None


def dump(snapshot: Snapshot) -> bytes:
    """The content of the JSON file.

    Raises:
        TypeError: ``about`` holds what JSON cannot.
    """
    body = asdict(snapshot)
    return json.dumps({"checksum": _checksum(body), "snapshot": body}).encode()


def parse(content: bytes, key: str, partial: bool) -> Snapshot:
    """Read the JSON file of this snapshot.

    Raises:
        ValueError: it is damaged, or not the JSON file of this snapshot; the text says what is wrong.
    """
    try:
        whole = json.loads(content)
        snapshot = Snapshot(**whole["snapshot"])
        checksum = whole["checksum"]
    except (ValueError, TypeError, KeyError):
        raise ValueError("it is not the JSON of a snapshot") from None
    # Bits can flip in a number too, and leave good JSON, or even the same number in other digits.
    if checksum != _checksum(whole["snapshot"]) or json.dumps(whole).encode() != content:
        raise ValueError("its content does not match its checksum")
    if (snapshot.key, snapshot.partial) != (key, partial) or not snapshot.file.startswith(f"{stem(key, partial)}-"):
        raise ValueError(f"it is the JSON of another snapshot, {stem(snapshot.key, snapshot.partial)}")
    return snapshot


def _checksum(body: Any) -> str:
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
