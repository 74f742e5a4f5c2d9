"""The small JSON file of a snapshot: what is in it, and how it is written and read."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_JSON = re.compile(r"([0-9a-f]+)(\.partial)?\.json")


@dataclass(frozen=True)
class Snapshot:
    """A state that is stored.

    Attributes:
        key: stage key, hex.
        partial: whether it is a checkpoint within the stage.
        file: name of the tensor file.
        digest: sha256 of the tensor file's header, hex; the header has those of all that follows.
        size: bytes of the tensor file: what the snapshot has added to the store.
        created: seconds since 1970.
        metadata: plain JSON from whoever saved it: ``parent`` is the key of the stage before, ``stages`` are the names
            of those up to this one, ``experiment`` is the name of the first that needed it; of states at splits, and
            checkpoints on the way there, ``end`` is the key of the stage.
        uses: tensor files of other snapshots in which a part of its tensors is, and the bytes of each.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)
    key: Annotated[str, Field(pattern="^[0-9a-f]+$")]
    partial: bool
    file: str
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    created: Annotated[float, Field(allow_inf_nan=False)]
    metadata: Mapping[str, Any] = field(hash=False)
    uses: Mapping[str, Annotated[int, Field(ge=0)]] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Name of the JSON file."""
        return json_name(self.key, self.partial)

    @property
    def files(self) -> dict[str, int]:
        """All tensor files that it needs, and the bytes of each."""
        return {**self.uses, self.file: self.size}

    @property
    def parent(self) -> str | None:
        """Key of the stage before; None for a first stage."""
        return self.metadata.get("parent")

    @property
    def end(self) -> str | None:
        """Of a state at a split of a stage, the key of the stage that it was made for; None for others."""
        return self.metadata.get("end")


class _Metadata(BaseModel):
    """The metadata that others read than the trial that saved it."""

    model_config = ConfigDict(strict=True)
    parent: str | None = None
    end: str | None = None
    stages: list[str] = []
    experiment: str = ""


def stem(key: str, partial: bool) -> str:
    """Return what the names of a snapshot's files begin with.

    Raises:
        ValueError: the key is not hex.
    """
    if not re.fullmatch("[0-9a-f]+", key):
        raise ValueError(f"{key!r} is no stage key: keys are hex")
    return f"{key}.partial" if partial else key


def json_name(key: str, partial: bool) -> str:
    """Return the name of a snapshot's JSON file."""
    return f"{stem(key, partial)}.json"


def split_name(name: str) -> tuple[str, bool] | None:
    """Return the key of the snapshot whose JSON file this is, and whether it is partial; None for other files."""
    match = _JSON.fullmatch(name)
    return (match[1], match[2] is not None) if match else None


def dump(snapshot: Snapshot) -> bytes:
    """Write the content of the JSON file.

    Raises:
        TypeError: ``metadata`` holds what JSON cannot.
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
        # As JSON: of other data, pydantic's strict mode takes no mapping for a dataclass.
        snapshot = _snapshots().validate_json(json.dumps(whole["snapshot"]))
        _Metadata.model_validate(dict(snapshot.metadata))
        # Bits can flip in a number too, and leave good JSON, or even the same number in other digits.
        sound = whole["checksum"] == _checksum(whole["snapshot"]) and json.dumps(whole).encode() == content
    except Exception:  # it may be anything, also nested more deeply than can be read
        raise ValueError("it is not the JSON of a snapshot of this version") from None
    if not sound:
        raise ValueError("its content does not match its checksum")
    own = stem(snapshot.key, snapshot.partial)
    if own != stem(key, partial):
        raise ValueError(f"it is the JSON of another snapshot, {own}")
    if not re.fullmatch(rf"{re.escape(own)}-[0-9a-f-]+\.safetensors", snapshot.file):
        raise ValueError("it points to a file that is none of its own")
    if not all(re.fullmatch(r"[0-9a-f]+-[0-9a-f-]+\.safetensors", file) for file in snapshot.uses):
        raise ValueError("it points to a file that is none of a whole snapshot")
    return snapshot


@cache
def _snapshots() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)


def _checksum(body: Any) -> str:
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
