"""Writing a spec, such that it reads back as what it was."""

import json
from collections.abc import Mapping
from math import inf
from typing import Any

import yaml

from framework._spec.syntax import Loader


class _Dumper(yaml.SafeDumper):
    """Quotes every string that our reader takes for something else, and what YAML 1.1 does: ``on``, ``1:30``, dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's way
        first: Loader.yaml_implicit_resolvers.get(first, []) + yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
        for first in {*Loader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Within single quotes a line break becomes a space, and there are more of them than one sees.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


def dump(spec: Mapping[str, Any]) -> str:
    """A spec as YAML.

    Args:
        spec: JSON-able data.
    """
    plain = json.loads(json.dumps(spec))
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=inf)
    return text
