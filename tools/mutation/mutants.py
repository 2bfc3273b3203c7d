"""The small changes to a module that its tests must notice.

The operators are mutmut's: a comparison moves its edge, `and` becomes `or`, a number grows by one, an argument goes
away or becomes None, what is assigned becomes None, a conditional expression takes one of its ways always, and so on.
mutmut itself changes the bodies of undecorated functions only; here the whole module is changed, class bodies,
constants and properties too, except for what no behaviour can depend on (`_silent`).
"""

import re
from itertools import accumulate
from typing import NamedTuple

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

_SENTENCE = re.compile(r"\S\s|\s\S")
_ALIAS = m.Assign(targets=[m.AssignTarget(m.Name(m.MatchRegex(r"_?[A-Z]\w*[a-z]\w*")))], value=~m.Call())
_NOT_CALLED = m.Name("isinstance") | m.Name("len") | m.Name("cast") | m.Name("TypeVar") | m.Name("ParamSpec")
_LOG = m.Attribute(value=m.Name("_log") | m.Name("logger") | m.Name("warnings"))


class Mutant(NamedTuple):
    """One change: which lines it is in, what was there and what is there now, and the whole module with it."""

    first: int
    last: int
    at_import: bool
    before: str
    after: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every change to *source*, in its order."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    wrapper.visit(visitor)
    places = wrapper.resolve(WhitespaceInclusivePositionProvider)
    lines = source.splitlines(keepends=True)
    begins = list(accumulate((len(line) for line in lines), initial=0))
    found: list[Mutant] = []
    for change in visitor.changes:
        place = places[change.node]
        begin, end = (begins[at.line - 1] + at.column for at in (place.start, place.end))
        if source[begin:end].split() != wrapper.module.code_for_node(change.node).split():
            raise ValueError(f"line {change.first} reads otherwise than it was parsed")
        changed = source[:begin] + wrapper.module.code_for_node(change.changed) + source[end:]
        after = changed[begins[change.first - 1] : len(changed) - (begins[-1] - begins[change.last])]
        before = "".join(lines[change.first - 1 : change.last])
        found.append(Mutant(change.first, change.last, change.at_import, before.strip(), after.strip(), changed))
    return found


class _Change(NamedTuple):
    node: cst.CSTNode
    changed: cst.CSTNode
    first: int
    last: int
    at_import: bool


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[_Change] = []
        self._bodies: set[cst.CSTNode] = set()
        self._inside = 0
        self._lines = (1, 1)

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _silent(node):
            return False
        place = self.get_metadata(PositionProvider, node, None)
        if place is not None:
            self._lines = (place.start.line, place.end.line)  # what has no place is an operator: that of its parent
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                # of a text, one change says as much as three
                changed = list(operator(node))[: 1 if isinstance(node, cst.BaseString) else None]
                self.changes.extend(
                    _Change(node, each, *self._lines, self._inside == 0)
                    for each in changed
                    if not _only_text(node, each)
                )
        if isinstance(node, cst.FunctionDef):  # but not its defaults
            self._bodies.add(node.body)
        self._inside += node in self._bodies
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._inside -= original_node in self._bodies


def _silent(node: cst.CSTNode) -> bool:
    """What no behaviour depends on, or what no test should: types, sentences for people, logs, `__repr__`, slots."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
        return True
    if isinstance(node, cst.FunctionDef):
        return node.name.value == "__repr__"
    if isinstance(node, cst.Call):
        return m.matches(node.func, _NOT_CALLED | _LOG)
    if isinstance(node, cst.If):
        return m.matches(node.test, m.Name("TYPE_CHECKING"))
    if isinstance(node, cst.Assign | cst.AnnAssign):
        names = [target.target for target in node.targets] if isinstance(node, cst.Assign) else [node.target]
        hidden = m.Name("__slots__") | m.Name("__all__")
        return m.matches(node, _ALIAS) or any(m.matches(name, hidden) for name in names)
    return isinstance(node, cst.BaseExpression) and _is_sentence(node)


def _is_sentence(node: cst.CSTNode) -> bool:
    """Whether *node* is a text of more than one word, as messages are and keys are not."""
    if isinstance(node, cst.SimpleString):
        return isinstance(node.evaluated_value, str) and _SENTENCE.search(node.evaluated_value) is not None
    if isinstance(node, cst.FormattedString):
        texts = (part.value for part in node.parts if isinstance(part, cst.FormattedStringText))
        return any(" " in text for text in texts)
    return isinstance(node, cst.ConcatenatedString) and (_is_sentence(node.left) or _is_sentence(node.right))


def _only_text(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    """Whether the change takes nothing away but a sentence."""
    if isinstance(node, cst.Call) and isinstance(changed, cst.Call):
        kept = {id(argument) for argument in changed.args}
        gone = [argument for argument in node.args if id(argument) not in kept]
        return bool(gone) and all(_is_sentence(argument.value) for argument in gone)
    if isinstance(node, cst.Assign | cst.AnnAssign):
        return node.value is not None and _is_sentence(node.value)
    return False
