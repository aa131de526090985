"""`gz select --where`: a small, safe language over the variables of an artifact, evaluated by numpy.

Numbers, strings, variable names, + - * / %, comparisons, `in (...)`, and, or, not, indices such as head_box_px[0],
and the functions isnan, abs, startswith, endswith, contains.
"""

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gazecore.errors import USAGE, GazeError

BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
}
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.In: lambda value, choices: np.isin(value, choices),
    ast.NotIn: lambda value, choices: ~np.isin(value, choices),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isnan": lambda value: np.isnan(value),
    "abs": lambda value: np.abs(value),
    "startswith": lambda text, part: np.strings.startswith(text, part),
    "endswith": lambda text, part: np.strings.endswith(text, part),
    "contains": lambda text, part: np.strings.find(text, part) >= 0,
}


def names(expression: str) -> set[str]:
    """The variables that an expression asks for."""
    tree = _parsed(expression)
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in functions}


def evaluate(expression: str, variables: Mapping[str, np.ndarray]) -> np.ndarray:
    """True or false for each row (n,) of the variables {name: (n, ...)}; USAGE error for anything else."""
    try:
        value = np.asarray(_value(_parsed(expression).body, variables))
    except GazeError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise GazeError(f"--where {expression[:200]!r}: {error}", USAGE) from error
    if value.dtype != bool or value.ndim > 1:
        raise GazeError(
            f"--where {expression!r} is no yes or no per sample (it gives {value.dtype} of {value.shape})", USAGE
        )
    return value


def _parsed(expression: str) -> ast.Expression:
    try:
        return ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GazeError(f"--where {expression[:200]!r} cannot be read: {error}", USAGE) from error


def _value(node: ast.expr, variables: Mapping[str, np.ndarray]) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() as constant):
            return constant
        case ast.Name(id=name):
            return variables[name]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [_value(item, variables) for item in items]
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return join.reduce([_value(part, variables) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_value(operand, variables))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, variables)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return BINARY[type(op)](_value(left, variables), _value(right, variables))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARE for op in ops):
            values = [_value(n, variables) for n in (left, *others)]
            pairs = zip(ops, values, values[1:], strict=False)
            return np.logical_and.reduce([COMPARE[type(op)](a, b) for op, a, b in pairs])
        case ast.Subscript(value=array, slice=ast.Constant(value=int() as index)):
            return _value(array, variables)[:, index]
        case ast.Subscript(value=array, slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as index))):
            return _value(array, variables)[:, -index]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(a, variables) for a in arguments))
    raise GazeError(f"--where does not understand {ast.unparse(node)!r}; it knows {', '.join(FUNCTIONS)}", USAGE)
