"""What a check must say of a component that breaks a contract."""

import re
from collections.abc import Callable
from typing import Any

import pytest


def assert_refused(check: Callable[..., None], factory: Any, words: str, **parameters: Any) -> None:
    factory.__doc__ = factory.__doc__ or "What is tested here."
    with pytest.raises(AssertionError, match=re.escape(words)):
        check(factory, **parameters)
