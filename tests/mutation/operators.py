"""Small changes to a module's syntax tree: the mutants, and names for them that outlive edits.

A mutant changes one node of one function. What is left alone: strings and documentation, what is
only logged or only said in an error's text, assertions (they narrow types), `__repr__`, and code
that runs at import.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_TALK = frozenset({"debug", "info", "warning", "error", "fatal", "_lost"})
_SILENT_FUNCTIONS = frozenset({"__repr__"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        file: Path of the source, relative to the package.
        function: Qualified name of the outermost function it is in.
        line: First line of the statement it is in, and `last_line` the last of the node.
        what: What is changed, as text.
        number: Which one, among those of the function with the same text.
        make: Changes the tree that it was found in, and returns how to change it back.
    """

    file: str
    function: str
    line: int
    last_line: int
    what: str
    number: int
    make: Callable[[], Callable[[], None]]

    @property
    def name(self) -> str:
        """What it is called in the list of survivors: no line numbers, so that edits keep it."""
        suffix = f" #{self.number}" if self.number > 1 else ""
        return f"{self.file} {self.function}: {self.what}{suffix}"


def _set(node: ast.AST, field: str, value: object) -> Callable[[], Callable[[], None]]:
    def make() -> Callable[[], None]:
        before = getattr(node, field)
        setattr(node, field, value)
        return lambda: setattr(node, field, before)

    return make


def _put(items: list[ast.stmt], index: int, new: ast.stmt) -> Callable[[], Callable[[], None]]:
    def make() -> Callable[[], None]:
        before = items[index]
        items[index] = ast.copy_location(new, before)
        ast.fix_missing_locations(items[index])

        def undo() -> None:
            items[index] = before

        return undo

    return make


def _with(node: ast.expr, **changes: object) -> ast.expr:
    new = copy.copy(node)
    for field, value in changes.items():
        setattr(new, field, value)
    return new


def _is_talk(node: ast.AST) -> bool:
    """Whether a call only tells people something."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in _TALK


def _is_documentation(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def mutants_of(file: str, tree: ast.Module) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its source."""
    yield from _Finder(file).module(tree)


class _Finder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.function = ""
        self.statement: ast.stmt
        self.seen: Counter[tuple[str, str]] = Counter()

    def module(self, tree: ast.Module) -> Iterator[Mutant]:
        yield from self._definitions(tree.body, "")

    def _definitions(self, body: list[ast.stmt], prefix: str) -> Iterator[Mutant]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from self._definitions(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef) and node.name not in _SILENT_FUNCTIONS:
                if any(ast.unparse(d).endswith("abstractmethod") for d in node.decorator_list):
                    continue
                self.function = prefix + node.name
                yield from self._body(node.body)

    def _mutant(
        self, node: ast.AST, what: str, make: Callable[[], Callable[[], None]]
    ) -> Iterator[Mutant]:
        key = (self.function, what)
        self.seen[key] += 1
        last = getattr(node, "end_lineno", None) or self.statement.lineno
        yield Mutant(
            self.file, self.function, self.statement.lineno, last, what, self.seen[key], make
        )

    # Statements.

    def _body(self, body: list[ast.stmt]) -> Iterator[Mutant]:
        for index, node in enumerate(body):
            if _is_documentation(node) or isinstance(node, ast.Assert):
                continue
            self.statement = node
            yield from self._removal(body, index)
            for field, value in ast.iter_fields(node):
                if isinstance(value, ast.expr):
                    self.statement = node
                    yield from self._expression(node, field, value)
                elif isinstance(value, list):
                    if value and isinstance(value[0], ast.stmt):
                        yield from self._body(value)
                        continue
                    for item in value:
                        if isinstance(item, ast.ExceptHandler):
                            yield from self._body(item.body)
                        elif isinstance(item, ast.expr) and not isinstance(node, ast.Delete):
                            self.statement = node
                            yield from self._children(item)

    def _removal(self, body: list[ast.stmt], index: int) -> Iterator[Mutant]:
        node = body[index]
        text = ast.unparse(node).split("\n", 1)[0]
        nothing = _put(body, index, ast.Pass())
        match node:
            case ast.Expr(value=ast.Call() as call) if not _is_talk(call):
                yield from self._mutant(node, f"without `{text}`", nothing)
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign():
                yield from self._mutant(node, f"without `{text}`", nothing)
            case ast.Raise() | ast.Delete():
                yield from self._mutant(node, f"without `{text}`", nothing)
            case ast.Continue():
                yield from self._mutant(node, "without `continue`", nothing)
            case ast.Break():
                yield from self._mutant(node, "without `break`", nothing)
            case ast.Return(value=ast.expr() as value) if not (
                isinstance(value, ast.Constant) and not value.value
            ):
                none = _put(body, index, ast.Return(value=ast.Constant(value=None)))
                yield from self._mutant(node, f"None for `{text}`", none)
            case ast.Return():
                yield from self._mutant(node, f"without `{text}`", nothing)

    # Expressions. Each is replaced in its parent, so that the change can be undone.

    def _expression(self, parent: ast.AST, field: str, node: ast.expr) -> Iterator[Mutant]:
        if isinstance(parent, ast.AnnAssign) and field == "annotation":
            return
        if isinstance(parent, ast.Raise):
            return  # Which error it is tests say by `raises`; its text is for people.
        text = ast.unparse(node)
        if isinstance(parent, ast.If | ast.While | ast.IfExp) and field == "test":
            inverse = ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=node), node)
            ast.fix_missing_locations(inverse)
            yield from self._mutant(
                node, f"`not ({text})` for `{text}`", _set(parent, field, inverse)
            )
        if isinstance(node, ast.Constant):
            new = self._other_constant(node)
            if new is not None:
                yield from self._mutant(
                    node,
                    f"{new.value!r} for {text} in `{_line(self.statement)}`",
                    _set(parent, field, ast.copy_location(new, node)),
                )
        yield from self._in_place(node, text)
        yield from self._children(node, skip_self=True)

    def _other_constant(self, node: ast.Constant) -> ast.Constant | None:
        value = node.value
        if value is True or value is False:
            return ast.Constant(value=not value)
        if isinstance(value, int):
            return ast.Constant(value=value + 1)
        return None

    def _in_place(self, node: ast.expr, text: str) -> Iterator[Mutant]:
        """What changes a field of the node itself."""
        match node:
            case ast.Compare(ops=ops):
                for index, op in enumerate(ops):
                    other = _COMPARES.get(type(op))
                    if other is not None:
                        new = [*ops[:index], other(), *ops[index + 1 :]]
                        changed = ast.unparse(_with(node, ops=new))
                        yield from self._mutant(
                            node, f"`{changed}` for `{text}`", _set(node, "ops", new)
                        )
            case ast.BoolOp(op=op, values=values):
                other_op = ast.Or() if isinstance(op, ast.And) else ast.And()
                changed = ast.unparse(_with(node, op=other_op))
                yield from self._mutant(
                    node, f"`{changed}` for `{text}`", _set(node, "op", other_op)
                )
                for index, value in enumerate(values):
                    rest = [*values[:index], *values[index + 1 :]]
                    if len(rest) == 1:
                        rest = [rest[0], rest[0]]
                    yield from self._mutant(
                        node,
                        f"without `{ast.unparse(value)}` in `{text}`",
                        _set(node, "values", rest),
                    )
            case ast.BinOp(op=binary) if type(binary) in _ARITHMETIC:
                new_op = _ARITHMETIC[type(binary)]()
                changed = ast.unparse(_with(node, op=new_op))
                yield from self._mutant(node, f"`{changed}` for `{text}`", _set(node, "op", new_op))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                twice = ast.UnaryOp(op=ast.Not(), operand=operand)
                ast.copy_location(twice, node)
                yield from self._mutant(
                    node, f"`{ast.unparse(operand)}` for `{text}`", _set(node, "operand", twice)
                )
            case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
                assert isinstance(node.func, ast.Name)
                yield from self._mutant(
                    node,
                    f"{_CALLS[name]} for {name} in `{text}`",
                    _set(node.func, "id", _CALLS[name]),
                )

    def _children(self, node: ast.AST, *, skip_self: bool = False) -> Iterator[Mutant]:
        if _is_talk(node) or isinstance(node, ast.JoinedStr):
            return
        if not skip_self and isinstance(node, ast.expr):
            yield from self._in_place(node, ast.unparse(node))
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                yield from self._expression(node, field, value)
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        yield from self._children(item)
            elif isinstance(value, ast.arguments):
                continue


def _line(node: ast.stmt) -> str:
    return ast.unparse(node).split("\n", 1)[0]
