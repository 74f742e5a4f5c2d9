"""The versions of modules in a state dict: torch keeps them beside the tensors, and some modules cannot do without."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from framework._errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

# What they are called in the metadata of a safetensors file, and in a pt2 archive.
VERSIONS, VERSIONS_RECORD = "versions", "extra/versions.json"


def versions_of(state: "Mapping[str, Tensor]") -> str:
    """The versions in a state dict that a network gave, as JSON."""
    metadata = getattr(state, "_metadata", {})
    found = {name: about.get("version") for name, about in metadata.items()}
    return json.dumps({name: version for name, version in found.items() if isinstance(version, int)})


def versioned(state: "Mapping[str, Tensor]", versions: str | None) -> "dict[str, Tensor]":
    """A state dict as a network gives it.

    Args:
        state: the tensors.
        versions: what `versions_of` gave; None if they are not known.

    Raises:
        DataError: they are no such thing.
    """
    whole = OrderedDict(state)
    if versions is not None:
        try:
            found = {str(name): {"version": int(version)} for name, version in json.loads(versions).items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"the versions of its modules are damaged: {error}") from error
        whole._metadata = OrderedDict(found)  # type: ignore[attr-defined]  # as torch keeps them
    return whole
