"""Mutants of a module: its source with one operator, constant or function exchanged for its neighbour."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
_BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.Pow: ast.Mult,
}  # fmt: skip
_NAMES = {
    "amax": "amin", "amin": "amax", "argmax": "argmin", "argmin": "argmax", "max": "min", "min": "max",
    "maximum": "minimum", "minimum": "maximum", "clamp_min": "clamp_max", "clamp_max": "clamp_min",
    "cummax": "cummin", "floor": "ceil", "ceil": "floor", "any": "all", "all": "any", "mean": "sum", "sum": "mean",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module.

    Attributes:
        line: Where, 1-based.
        what: The part as it was, an arrow, and the part as it is.
        source: The whole module with the change.
    """

    line: int
    what: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines.

    Text, types, error messages and docstrings are left alone: they are not what the module computes.
    """
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()
    found: dict[tuple[int, str], Mutant] = {}
    for old, new in _changes(tree):
        begin = starts[old.lineno - 1] + old.col_offset
        assert old.end_lineno is not None
        assert old.end_col_offset is not None
        end = starts[old.end_lineno - 1] + old.end_col_offset
        before, after = data[begin:end].decode(), ast.unparse(new)
        text = after if isinstance(old, ast.Constant | ast.Attribute | ast.Name) else f"({after})"
        mutated = (data[:begin] + text.encode() + data[end:]).decode()
        what = _what(old, after)
        if before.strip() and _parses(mutated):
            found[begin, what] = Mutant(old.lineno, what, mutated)
    return [found[key] for key in sorted(found)]


def places(source: str) -> int:
    """Number of changes that :func:`mutants` tries; a few of them may give no new text."""
    return sum(1 for _ in _changes(ast.parse(source)))


def changes_of(source: str) -> set[str]:
    """What :func:`mutants` tries to change, as text; quick, as no source is written."""
    return {_what(old, ast.unparse(new)) for old, new in _changes(ast.parse(source))}


def _what(old: ast.expr, after: str) -> str:
    return f"{' '.join(ast.unparse(old).split())} -> {' '.join(after.split())}"


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Expressions of the code that runs, each with what takes its place."""
    for node in _running(tree):
        match node:
            case ast.Compare(ops=[op]) if type(op) in _COMPARE:
                yield node, ast.Compare(node.left, [_COMPARE[type(op)]()], node.comparators)
            case ast.BinOp(op=op) if type(op) in _BINARY:
                yield node, ast.BinOp(node.left, _BINARY[type(op)](), node.right)
            case ast.BoolOp(op=ast.And()):
                yield node, ast.BoolOp(ast.Or(), node.values)
            case ast.BoolOp(op=ast.Or()):
                yield node, ast.BoolOp(ast.And(), node.values)
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
                yield node, node.operand
            case ast.IfExp():
                yield node, ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
            case ast.Constant(value=bool() as value):
                yield node, ast.Constant(not value)
            case ast.Constant(value=int() as value):
                yield node, ast.Constant(value + 1)
            case ast.Constant(value=float() as value) if value:
                yield node, ast.Constant(value * 1.3)
            case ast.Attribute(attr=name) if name in _NAMES:
                yield node, ast.Attribute(node.value, _NAMES[name], ast.Load())
            case ast.Call(func=ast.Name(id=name)) if name in ("min", "max", "any", "all"):
                yield node.func, ast.Name(_NAMES[name], ast.Load())


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below that compute: no text, types, messages of errors, imports or settings of decorators."""
    skipped: set[int] = set()
    match node:
        case ast.JoinedStr() | ast.Raise() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return
        case ast.AnnAssign():
            skipped = {id(node.annotation), id(node.target)}
        case ast.FunctionDef():
            skipped = {id(node.returns), *map(id, node.decorator_list)}
        case ast.ClassDef():  # defaults of settings are choices, which the docs state
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            skipped = set(map(id, [*node.decorator_list, *fields]))
        case ast.arg() | ast.keyword(arg="strict"):  # a guard of zip, which no call that is right trips
            return
    yield node
    for child in ast.iter_child_nodes(node):
        if id(child) not in skipped:
            yield from _running(child)
