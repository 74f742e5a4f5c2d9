"""The graph of an exported program as a stranger wrote it: only what computes may pass.

torch trusts it: it evaluates the expressions of sizes as Python, resolves the names of operators to any function that
it can reach (``torch.os.system``), and writes names into source code that it compiles.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from framework._errors import DataError

_LONGEST_EXPRESSION = 1000

# Names become attributes and variables of code that torch generates; other texts stand in quotes there.
_VARIABLE = re.compile(r"(?!__)[^\W\d]\w*")
_PARAMETER = re.compile(r"(?!__)[\w /:+-]+(\.(?!__)[\w /:+-]+)*")
_TEXT = re.compile(r"[\w ,.:/>+-]*")
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,6}")

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_BESIDE_ATEN = {
    *(f"torch.ops.higher_order.{name}" for name in ("cond", "wrap_with_autocast", "wrap_with_set_grad_enabled")),
    *(f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not")),
    *(f"math.{name}" for name in ("ceil", "floor", "trunc")),
    *(f"_operator.{name}" for name in ("add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "le", "lt", "mod")),
    *(f"_operator.{name}" for name in ("mul", "ne", "neg", "not_", "or_", "pos", "sub", "truediv")),
}
# Whose keys are names of variables, not of fields.
_BY_VARIABLE = {"tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values", "as_string_to_argument"}
_REFUSED_KEYS = {"as_custom_obj", "as_operator", "custom_obj", "token"}
_FUNCTIONS = {"Add", "Integer", "Max", "Min", "Mul", "Symbol"}  # of sympy, and torch's own
_FUNCTIONS |= {"CeilDiv", "CeilToInt", "CleanDiv", "FloorDiv", "FloorToInt", "IntTrueDiv", "Mod", "PythonMod"}
_FUNCTIONS |= {"ModularIndexing", "ToFloat", "TruncToInt", "Where"}
_FUNCTIONS |= {"Equality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan", "Unequality"}


def checked_graph(program: Mapping[str, Any]) -> dict[str, Any]:
    """A program as torch's schema has it, without what is not needed to compute."""
    from torch.utils._pytree import tree_structure, treespec_dumps

    module = program["graph_module"]
    signature = _checked(module["signature"], "")
    images = [one for one in signature["input_specs"] if "user_input" in one]
    if len(images) != 1 or [*signature["output_specs"][0]] != ["user_output"] or len(signature["output_specs"]) != 1:
        raise DataError("its network does not take images alone, or does not give one tensor")
    for symbol in program["range_constraints"]:
        _match(_SYMBOL, symbol, "a size")
    # What goes in and comes out is known, so that nothing has to be read of how it nests.
    specs = {"in_spec": treespec_dumps(tree_structure(((0,), {}))), "out_spec": treespec_dumps(tree_structure(0))}
    root: dict[str, Any] = {"inputs": [], "outputs": [], **specs, "forward_arg_names": None}
    return {
        "graph_module": {
            "graph": _checked(module["graph"], ""),
            "signature": signature,
            "module_call_graph": [{"fqn": "", "signature": root}],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        **{name: _checked(program[name], "") for name in ("opset_version", "range_constraints", "schema_version")},
        "verifiers": _checked(program.get("verifiers", []), ""),
        "torch_version": _checked(program.get("torch_version", ""), ""),
        "guards_code": [],  # Python; what images must be like follows from the graph's input
    }


def _checked(value: Any, key: str) -> Any:
    """A part of a program, if each text in it is harmless at its place.

    Args:
        value: JSON.
        key: what it is called where it stands.
    """
    if isinstance(value, str):
        _CHECKS.get(key, _check_text)(value)
        return value
    if isinstance(value, list):
        return [_checked(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    checked = {}
    for name, item in value.items():
        if key in _BY_VARIABLE:
            _match(_VARIABLE, name, "the name of a variable")
            checked[name] = _checked(item, "")
            continue
        _match(_TEXT, name, "the name of a field")
        if name in _REFUSED_KEYS and item is not None:
            raise DataError(f"its graph has what is no tensor and no number: {name}")
        # Where an operation stood in the network's source is not needed, and torch looks names up in it.
        checked[name] = {} if name == "metadata" else _checked(item, name)
    return checked


def _check_operator(name: str) -> None:
    import torch

    if name in _BESIDE_ATEN:
        return
    found = _ATEN.fullmatch(name)
    operator = getattr(getattr(torch.ops.aten, found[1], None), found[2], None) if found else None
    if not isinstance(operator, torch._ops.OpOverload):
        raise DataError(f"its graph calls {name[:200]!r}, which is no operator of torch that can be trusted")
    # Some read or write files, and some believe what they are told of a tensor's memory.
    arguments = {argument.name for argument in operator._schema.arguments}
    if "filename" in arguments or "unsafe" in found[1] or "sparse" in found[1]:  # type: ignore[index]
        raise DataError(f"its graph calls {name!r}, which does more than compute")


def _check_expression(text: str) -> None:
    """Refuse an expression of sizes that holds more than arithmetic: torch evaluates it as Python."""
    if len(text) > _LONGEST_EXPRESSION or not _is_size(ast.parse(text, mode="eval").body):
        raise DataError(f"its graph has a size that is no arithmetic: {text[:200]!r}")


def _is_size(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):  # a number below zero
        return isinstance(node.op, ast.USub) and _is_size(node.operand)
    if isinstance(node, ast.Constant):
        return type(node.value) in (bool, float, int) or _SYMBOL.fullmatch(str(node.value)) is not None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
        return False
    assumed = node.keywords  # such as positive=True
    return all(keyword.arg for keyword in assumed) and all(
        _is_size(value) for value in (*node.args, *(keyword.value for keyword in assumed))
    )


def _check_variable(name: str) -> None:
    if name:  # an argument without a name is one by position
        _match(_VARIABLE, name, "the name of a variable")


def check_parameter(name: str) -> None:
    _match(_PARAMETER, name, "the name of a tensor")


def _check_text(text: str) -> None:
    _match(_TEXT, text, "a text")


_CHECKS = {
    "target": _check_operator,
    "expr_str": _check_expression,
    "name": _check_variable,
    "as_name": _check_variable,
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name"), check_parameter),
}


def _match(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise DataError(f"it has {what} that is none: {text[:200]!r}")
