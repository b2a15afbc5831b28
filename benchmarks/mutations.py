"""Small faults in Python code: every place where one fits, and the code with it (for `mutants`)."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

_BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
           ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}  # fmt: skip
_COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
            ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
_METHODS = {"transpose", "swapaxes", "flip", "abs", "square", "sqrt", "clamp", "clamp_min", "clip", "log", "exp", "round", "upper", "strip", "copy"}
_FUNCTIONS = {"abs", "sort", "sorted", "sqrt", "square", "log", "exp", "sign", "log1p", "expm1", "transpose", "unique", "round", "clip"}
_EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any", "argmin": "argmax", "argmax": "argmin", "minimum": "maximum",
              "maximum": "minimum", "mean": "sum", "sum": "mean", "median": "mean", "zeros": "ones", "ones": "zeros", "vstack": "hstack",
              "floor": "ceil", "ceil": "floor", "std": "var"}  # fmt: skip
_SKIPPED = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom)
_EITHER_WAY = {"zip", "isinstance", "getattr", "setattr", "transpose", "swapaxes", "hypot", "maximum", "minimum", "allclose", "array_equal"}
_IDLE_FUNCTIONS = {"main", "_command", "command", "_functools"}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, "before -> after", whole code) of each fault that fits into a module's code, in order.

    Operators, comparisons, constants, signs, transposes and other methods left out, opposite functions, indices and arguments in the
    other order, conditions turned around, statements left out. Not touched: annotations, texts, errors' words, decorators, `main`.
    """
    tree = ast.parse(source)
    places = [(parent, name, i) for parent in _nodes(tree) for name, i in _children(parent)]
    for parent, name, i in places:
        node = _get(parent, name, i)
        for changed in _changes(node, name):
            _set(parent, name, i, changed)
            before, after = (ast.unparse(x).split("\n")[0] if x is not None else "nothing" for x in (node, changed))
            if before != after:
                yield node.lineno, f"{before} -> {after}", ast.unparse(ast.fix_missing_locations(tree))
            _set(parent, name, i, node)


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, _SKIPPED) or (isinstance(node, ast.FunctionDef) and node.name in _IDLE_FUNCTIONS):
        return
    if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return
    yield node
    for name, i in _children(node):
        yield from _nodes(_get(node, name, i))


def _children(node: ast.AST) -> list[tuple[str, int | None]]:
    skipped = {"annotation", "returns", "decorator_list", "type_comment", "ctx"}
    found: list[tuple[str, int | None]] = []
    for name, value in ast.iter_fields(node):
        if name in skipped or (isinstance(node, ast.arguments) and name not in ("defaults", "kw_defaults")):
            continue
        if isinstance(value, ast.AST):
            found.append((name, None))
        elif isinstance(value, list):
            found += [(name, i) for i, item in enumerate(value) if isinstance(item, ast.AST)]
    return found


def _get(parent: ast.AST, name: str, i: int | None) -> ast.AST:
    value = getattr(parent, name)
    return value if i is None else value[i]


def _set(parent: ast.AST, name: str, i: int | None, node: ast.AST) -> None:
    if i is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[i] = node


def _with(node: ast.AST, **fields) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _changes(node: ast.AST, field: str) -> Iterator[ast.AST]:
    """Nodes to put in a node's place."""
    match node:
        case ast.BinOp(op=ast.MatMult()):
            yield _with(node, left=node.right, right=node.left)
        case ast.BinOp() if type(node.op) in _BINARY:
            yield _with(node, op=_BINARY[type(node.op)]())
        case ast.Compare() if type(node.ops[0]) in _COMPARE:
            yield _with(node, ops=[_COMPARE[type(node.ops[0])](), *node.ops[1:]])
        case ast.BoolOp():
            yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield _with(node, value=not node.value)
        case ast.Constant(value=int()):
            yield _with(node, value=node.value + 1)
        case ast.Constant(value=float()):
            yield _with(node, value=1.1 * node.value if node.value else 1.0)
        case ast.Attribute(attr="T"):
            yield node.value
        case ast.Subscript(slice=ast.Tuple(elts=[a, b])) if not isinstance(node.ctx, ast.Del):
            yield _with(node, slice=ast.Tuple([b, a], ast.Load()))
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp() if node.generators[0].ifs:
            yield _with(node, generators=[_with(node.generators[0], ifs=[]), *node.generators[1:]])
        case ast.Call():
            yield from _calls(node)
        case ast.If():
            yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.AugAssign():
            yield ast.copy_location(ast.Pass(), node)
        case ast.Expr(value=ast.Call()):
            yield ast.copy_location(ast.Pass(), node)
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield ast.copy_location(ast.Pass(), node)
        case ast.Break() | ast.Continue():
            yield ast.copy_location(ast.Pass(), node)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    module = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in ("np", "torch", "math", "np.linalg")
    if name in _EXCHANGED:
        other = _EXCHANGED[name]
        yield _with(node, func=_with(node.func, **({"attr": other} if isinstance(node.func, ast.Attribute) else {"id": other})))
    elif isinstance(node.func, ast.Attribute) and not module and name in _METHODS:
        yield node.func.value
    elif (module or isinstance(node.func, ast.Name)) and name in _FUNCTIONS and node.args:
        yield node.args[0]
    plain = [a for a in node.args if not isinstance(a, ast.Starred | ast.Constant)]
    if len(plain) == len(node.args) >= 2 and name not in _EITHER_WAY:
        yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])
