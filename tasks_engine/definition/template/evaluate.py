"""Evaluates a template. Rules: Go text/template/exec, with a missing field being nil.

Work and output are bounded, since the text may be anybody's. What comes out is pieces of the template's text,
so that every character keeps its place in the author's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tasks_engine.definition.source import Piece
from tasks_engine.definition.template import hints, secret_text
from tasks_engine.definition.template.calls import Caller
from tasks_engine.definition.template.lexer import TemplateError
from tasks_engine.definition.template.nodes import (
    Action,
    Call,
    Chain,
    Command,
    Conditional,
    Constant,
    Dot,
    Expression,
    Field,
    Include,
    Leave,
    Node,
    Pipeline,
    Range,
    Template,
    Text,
    Variable,
)
from tasks_engine.definition.template.secret_text import Secrets as Secrets
from tasks_engine.definition.template.secret_text import SecretText, StepPart, Untold
from tasks_engine.definition.template.values import (
    Function,
    FunctionError,
    Record,
    Value,
    is_true,
    print_value,
)
from tasks_engine.definition.template.variables import Variables

#: characters of the result
MAX_OUTPUT = 16 * 1024 * 1024
#: nodes evaluated, where a function costs by the size of what it reads and makes; some seconds at most
MAX_WORK = 500_000
MAX_DEPTH = 100
_MAX_HINTS = 50
#: functions whose output is meant to be more than a part of one YAML value
_STRUCTURE_FUNCTIONS = frozenset(["toJson", "toPrettyJson", "indent", "nindent"])
_NOTHING = object()


@dataclass
class Output:
    pieces: list[Piece] = field(default_factory=list)
    #: start and end of every action that printed nothing because what it names is missing -> hint
    missing: dict[tuple[int, int], str] = field(default_factory=dict)
    #: id of a secret -> start and end of the first action that uses it
    secrets: dict[str, tuple[int, int]] = field(default_factory=dict)


def evaluate(
    template: Template, text: str, data: Mapping[str, Value], functions: Callable[[], Mapping[str, Function]]
) -> Output:
    """What a template makes of `data`. Raises TemplateError."""
    evaluator = _Evaluator(template, text, data, functions)
    try:
        evaluator.walk(template.body, data)
    except RecursionError:
        raise evaluator.too_deep() from None
    return evaluator.output


class _Evaluator:
    def __init__(
        self,
        template: Template,
        text: str,
        data: Mapping[str, Value],
        functions: Callable[[], Mapping[str, Function]],
    ) -> None:
        self.output = Output()
        self._template = template
        self._text = text
        self._caller = Caller(functions, self._spend, self._field)
        self._root = data
        self._variables = Variables(data)
        self._work = 0
        self._length = 0
        self._depth = 0
        #: the action that is being evaluated
        self._start = self._end = 0

    def walk(self, nodes: Sequence[Node], dot: Value) -> str:
        """Evaluates nodes; returns `break` or `continue` when one of those ended it, else nothing."""
        self._deeper(1)
        left = ""
        for node in nodes:
            self._spend(1)
            if isinstance(node, Text):
                self._emit(Piece(node.start, node.end), node.end - node.start)
                continue
            self._start, self._end = node.start, node.end
            match node:
                case Action():
                    value = self._pipeline(node.pipeline, dot)
                    if not node.pipeline.variables:
                        self._print(value, node, dot)
                case Conditional():
                    left = self._conditional(node, dot)
                case Range():
                    left = self._range(node, dot)
                case Include():
                    self._include(node, dot)
                case Leave():
                    left = node.keyword
            if left:
                break
        self._deeper(-1)
        return left

    def _conditional(self, node: Conditional, dot: Value) -> str:
        mark = self._variables.mark()
        value = self._pipeline(node.pipeline, dot)
        is_true = self._decides(value, node.pipeline)
        while not is_true and len(node.otherwise) == 1 and isinstance(node.otherwise[0], Conditional):
            # a loop, since there may be many of `else if`
            node = node.otherwise[0]
            self._start, self._end = node.start, node.end
            self._spend(1)
            value = self._pipeline(node.pipeline, dot)
            is_true = self._decides(value, node.pipeline)
        if is_true:
            left = self.walk(node.body, value if node.keyword == "with" else dot)
        else:
            left = self.walk(node.otherwise, dot)
        self._variables.drop(mark)
        return left

    def _range(self, node: Range, dot: Value) -> str:
        mark = self._variables.mark()
        # as in Go, the variables hold the whole before the first round, which `else` sees
        value = self._pipeline(node.pipeline, dot)
        inner = self._variables.mark()
        is_empty = True
        for key, item in self._items(value, node.pipeline):
            is_empty = False
            self._spend(1)
            self._set_loop_variables(node.pipeline, key, item)
            left = self.walk(node.body, item)
            self._variables.drop(inner)
            if left == "break":
                break
        left = self.walk(node.otherwise, dot) if is_empty else ""
        self._variables.drop(mark)
        return left

    def _items(self, value: Value, pipeline: Pipeline) -> Iterator[tuple[Value, Value]]:
        """Key and value of what is ranged over; a number has no keys."""
        if value is None:
            return
        if isinstance(value, list):
            yield from enumerate(value)
        elif isinstance(value, dict):
            self._spend(len(value) // 4)
            yield from [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, int) and not isinstance(value, bool) and len(pipeline.variables) < 2:
            yield from ((None, each) for each in map(type(value), range(value)))
        elif isinstance(value, Untold):
            raise self._refused(value, pipeline)
        else:
            raise self._error(f"range cannot go over {hints.described(value)}", pipeline)

    def _set_loop_variables(self, pipeline: Pipeline, key: Value, item: Value) -> None:
        values = (item,) if len(pipeline.variables) == 1 else (key, item)
        for name, value in zip(pipeline.variables, values, strict=False):
            self._variables.assign(name, value)

    def _include(self, node: Include, dot: Value) -> None:
        value = self._pipeline(node.pipeline, dot) if node.pipeline is not None else None
        body = self._template.named.get(node.name)
        if body is None:
            hint = hints.did_you_mean(node.name, self._template.named, otherwise="make it with {{ define }}")
            raise TemplateError(f"there is no template '{node.name}'", node.start, node.end, hint)
        variables, self._variables = self._variables, Variables(value)
        self.walk(body, value)
        self._variables = variables

    def _pipeline(self, pipeline: Pipeline, dot: Value) -> Value:
        value = self._commands(pipeline, dot)
        for name in pipeline.variables:
            if not pipeline.assigns:
                self._variables.declare(name, value)
            elif name in self._variables:
                self._variables.assign(name, value)
            else:
                raise self._not_set(name, pipeline)
        return value

    def _commands(self, pipeline: Pipeline, dot: Value) -> Value:
        value: Value = _NOTHING
        for command in pipeline.commands:
            value = self._command(command, dot, value)
        return value

    def _command(self, command: Command, dot: Value, final: Value) -> Value:
        first = command.operands[0]
        if isinstance(first, Call):
            return self._call(first, command.operands[1:], dot, final)
        if len(command.operands) > 1 or final is not _NOTHING:
            raise self._error(f"'{self._shown(first)}' is no function and takes no arguments", first)
        if isinstance(first, Constant) and first.value is None:
            raise self._error("nil alone is no value", first)
        return self._operand(first, dot)

    def _operand(self, operand: Expression, dot: Value) -> Value:
        match operand:
            case Field():
                return self._fields(dot, operand.names, operand)
            case Constant():
                return operand.value
            case Dot():
                return dot
            case Variable():
                if operand.name not in self._variables:
                    raise self._not_set(operand.name, operand)
                return self._fields(self._variables[operand.name], operand.names, operand)
            case Chain():
                return self._fields(self._operand(operand.operand, dot), operand.names, operand)
            case Call():
                return self._call(operand, (), dot, _NOTHING)
            case Pipeline():
                self._deeper(1)
                value = self._pipeline(operand, dot)
                self._deeper(-1)
                return value

    def _call(self, call: Call, operands: Sequence[Expression], dot: Value, final: Value) -> Value:
        self._spend(1)
        if call.function in ("and", "or"):
            return self._choose(call, operands, dot, final)
        arguments = [self._operand(each, dot) for each in operands]
        if final is not _NOTHING:
            arguments.append(final)
        try:
            return self._caller.call(call.function, arguments)
        except FunctionError as error:
            raise self._error(str(error), call) from error

    def _choose(self, call: Call, operands: Sequence[Expression], dot: Value, final: Value) -> Value:
        """`and` and `or`: the first argument that decides, the last one otherwise."""
        last = len(operands) - (final is _NOTHING)
        for index, operand in enumerate(operands):
            value = self._operand(operand, dot)
            if index == last or self._decides(value, operand) != (call.function == "and"):
                return value
        if final is _NOTHING:
            raise self._error(f"{call.function} needs an argument", call)
        return final

    def _fields(self, value: Value, names: Sequence[str], node: Expression) -> Value:
        start = value
        for index, name in enumerate(names):
            if isinstance(value, dict):
                value = value.get(name)
            elif isinstance(value, (Secrets, StepPart)):
                try:
                    value = self._field(value, name)
                except FunctionError as error:
                    raise self._error(str(error), node) from error
            elif isinstance(value, Record) and name in value.fields:
                value = value.fields[name]
            else:
                parent = self._parent(node, names, index)
                why = "it is missing" if value is None else f"it is {hints.described(value)}"
                raise self._error(f"{parent} has no field '{name}': {why}", node, self._dot_hint(node, start))
        return value

    def _field(self, value: Untold, name: str) -> Value:
        """What `.Secrets` or a part of `.Steps` has under a name. Raises FunctionError."""
        if isinstance(value, StepPart):
            return value.field(name)
        self.output.secrets.setdefault(name, (self._start, self._end))
        return secret_text.secret(name)

    def _print(self, value: Value, action: Action, dot: Value) -> None:
        if value is None:
            place = (action.start, action.end)
            if place not in self.output.missing:
                self.output.missing[place] = self._missing_hint(action.pipeline, dot)
            return
        text = self._printed(value, action.pipeline)
        last = action.pipeline.commands[-1].operands[0]
        is_value = not (isinstance(last, Call) and last.function in _STRUCTURE_FUNCTIONS)
        self._emit(Piece(action.start, action.end, text, is_value), len(text))

    def _printed(self, value: Value, pipeline: Pipeline) -> str:
        if isinstance(value, Secrets):
            raise self._error("'.Secrets' cannot be printed as a whole", pipeline)
        if isinstance(value, StepPart):
            raise self._error(
                f"'{value.shown}' cannot be printed as a whole",
                pipeline,
                hint="an output of a step is .Steps.id.Outputs.name",
            )
        if isinstance(value, (list, dict)):
            try:
                value = self._caller.call("print", [value])
            except FunctionError as error:
                raise self._error(str(error), pipeline) from error
        if isinstance(value, SecretText):
            return value.written
        text = print_value(value)
        if secret_text.find_mark(text) >= 0:
            raise self._error("this prints a character that tasks keeps for itself", pipeline)
        return text

    def _emit(self, piece: Piece, length: int) -> None:
        self._length += length
        if self._length > MAX_OUTPUT:
            raise TemplateError(
                f"the result is longer than {MAX_OUTPUT >> 20} MiB",
                self._start,
                max(self._end, self._start + 1),
            )
        self.output.pieces.append(piece)

    def _not_set(self, name: str, node: Expression) -> TemplateError:
        return self._error(
            f"variable '${name}' is not set here",
            node,
            hint="what sets it stands behind an 'and' or 'or' that needed no more arguments",
        )

    def _decides(self, value: Value, node: Expression) -> bool:
        if isinstance(value, Untold):
            raise self._refused(value, node)
        return is_true(value)

    def _refused(self, value: Untold, node: Expression) -> TemplateError:
        return self._error(
            secret_text.would_depend_on(value),
            node,
            hint=hints.instead_of(value),
        )

    def _missing_hint(self, pipeline: Pipeline, dot: Value) -> str:
        """How to give what an action names, or what may be meant."""
        operand = pipeline.commands[-1].operands[0]
        if len(self.output.missing) >= _MAX_HINTS or not isinstance(operand, (Field, Variable)):
            return ""
        if isinstance(operand, Field):
            start, prefix = dot, ""
        else:
            start, prefix = self._variables[operand.name], f"${operand.name}"
        if not operand.names:
            return ""
        return hints.missing_field(start, operand.names, prefix, is_whole=start is self._root)

    def _dot_hint(self, node: Expression, dot: Value) -> str:
        """For a field of the whole that is looked for in an item."""
        if not isinstance(node, Field) or dot is self._root or node.names[0] not in self._root:
            return ""
        if isinstance(dot, dict) and node.names[0] in dot:
            return ""
        if self._variables[""] is not self._root:
            return 'inside of a template the dot is what it was given: {{ template "…" . }}'
        return f"inside of range, with and template the dot is something else: write $.{'.'.join(node.names)}"

    def _parent(self, node: Expression, names: Sequence[str], index: int) -> str:
        known = ".".join(names[:index])
        if isinstance(node, Field):
            return f".{known}" if known else "the dot"
        if isinstance(node, Variable):
            return f"${node.name}.{known}" if known else f"${node.name}"
        return f"(…).{known}" if known else "the value"

    def _shown(self, node: Expression) -> str:
        return self._text[self._start + node.start : self._start + node.end]

    def _error(self, message: str, node: Expression, hint: str = "") -> TemplateError:
        return TemplateError(message, self._start + node.start, self._start + node.end, hint)

    def _deeper(self, levels: int) -> None:
        self._depth += levels
        if self._depth > MAX_DEPTH:
            raise TemplateError(
                f"templates and blocks nest more than {MAX_DEPTH} levels deep", self._start, self._end
            )

    def too_deep(self) -> TemplateError:
        return TemplateError("what is evaluated here is nested too deep", self._start, self._end)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise TemplateError(
                "the template does not come to an end", self._start, self._end, hint="is a range too large?"
            )
