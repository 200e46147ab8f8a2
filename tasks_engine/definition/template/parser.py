"""The tokens of a template become nodes. Rules: Go text/template/parse.

A name that is no function, and a variable that no earlier action declares, are mistakes already here. Nesting is
bounded, since the text may be anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from tasks_engine.definition.template.hints import did_you_mean
from tasks_engine.definition.template.lexer import ActionPart, TemplateError, TextPart, Token, split_template
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
from tasks_engine.definition.template.variables import Variables

#: of blocks, and of parentheses in one expression
MAX_DEPTH = 50


def parse_template(text: str, functions: Callable[[], Collection[str]]) -> Template:
    """The template a text is; `functions` gives the names of all functions. Raises TemplateError."""
    parser = _Parser(text, functions)
    try:
        return Template(parser.body(), parser.named)
    except RecursionError:
        raise parser.too_deep() from None


class _Parser:
    def __init__(self, text: str, functions: Callable[[], Collection[str]]) -> None:
        self._text = text
        self._parts = split_template(text)
        #: where the part that is being read begins
        self._start = 0
        self._functions = functions
        self.named: dict[str, tuple[Node, ...]] = {}
        self.variables = Variables()
        self._depth = 0
        self._loops = 0
        #: pipelines of actions that neither set nor use variables, by the identity of their tokens
        self._known: dict[int, tuple[tuple[Token, ...], Pipeline]] = {}

    def body(self) -> tuple[Node, ...]:
        nodes, end = self._nodes(top=True)
        if end is not None:
            word = end.tokens[_first(end)].text
            raise TemplateError(f"'{word}' without an open if, range, with or block", end.start, end.end)
        return nodes

    def _nodes(self, *, top: bool = False) -> tuple[tuple[Node, ...], ActionPart | None]:
        """Nodes up to an `end` or `else`, which is returned too; None at the end of the text."""
        nodes: list[Node] = []
        for part in self._parts:
            self._start = part.start
            if isinstance(part, TextPart):
                nodes.append(Text(part.start, part.end))
                continue
            first = _first(part)
            word = part.tokens[first] if first < len(part.tokens) else None
            if word is None or word.kind != "keyword":
                nodes.append(Action(self._action(part), part.start, part.end))
            elif word.text in ("end", "else"):
                return tuple(nodes), part
            elif word.text == "define":
                if not top:
                    raise TemplateError(
                        "'define' must not stand inside of other actions", part.start, part.end
                    )
                self._define(part)
            else:
                nodes.append(self._control(part, word.text))
        return tuple(nodes), None

    def _control(self, part: ActionPart, keyword: str) -> Node:
        match keyword:
            case "if" | "with":
                return self._conditional(part, keyword)
            case "range":
                return self._range(part)
            case "template":
                return self._include(part)
            case "block":
                return self._block(part)
        reader = _Reader(part, self)
        reader.expect("keyword")
        reader.finish(keyword)
        if not self._loops:
            raise TemplateError(f"'{keyword}' stands outside of a range", part.start, part.end)
        return Leave(keyword, part.start, part.end)

    def _action(self, part: ActionPart) -> Pipeline:
        known = self._known.get(id(part.tokens))
        if known is not None:
            return known[1]
        pipeline = _Reader(part, self).whole_pipeline()
        if not any(token.kind == "variable" for token in part.tokens):
            self._known[id(part.tokens)] = (part.tokens, pipeline)
        return pipeline

    def _conditional(self, part: ActionPart, keyword: str) -> Conditional:
        """An `if` or `with` with all its `else if` or `else with`, which may be many."""
        mark = self.variables.mark()
        self._enter(part)
        branches: list[tuple[ActionPart, Pipeline, tuple[Node, ...]]] = []
        end = part
        while _continues(end, keyword) or not branches:
            part = end
            reader = _Reader(part, self)
            for _ in range(2 if branches else 1):
                reader.expect("keyword")
            pipeline = reader.whole_pipeline(keyword)
            body, end = self._block_body(part, keyword)
            branches.append((part, pipeline, body))
        otherwise = self._else_body(part, end, keyword) if _is_else(end) else ()
        self._leave(mark)
        for part, pipeline, body in reversed(branches):
            node = Conditional(keyword, pipeline, body, otherwise, part.start, part.end)
            otherwise = (node,)
        return node

    def _range(self, part: ActionPart) -> Range:
        mark = self.variables.mark()
        reader = _Reader(part, self)
        reader.expect("keyword")
        pipeline = reader.whole_pipeline("range")
        self._enter(part)
        self._loops += 1
        body, end = self._block_body(part, "range")
        self._loops -= 1
        otherwise = self._else_body(part, end, "range") if _is_else(end) else ()
        self._leave(mark)
        return Range(pipeline, body, otherwise, part.start, part.end)

    def _include(self, part: ActionPart) -> Include:
        reader = _Reader(part, self)
        reader.expect("keyword")
        name = reader.name("template")
        pipeline = None if reader.at_end() else reader.whole_pipeline("template")
        return Include(name, pipeline, part.start, part.end)

    def _block(self, part: ActionPart) -> Include:
        reader = _Reader(part, self)
        reader.expect("keyword")
        name = reader.name("block")
        pipeline = reader.whole_pipeline("block")
        self._store(name, part, self._separate_body(part, "block"))
        return Include(name, pipeline, part.start, part.end)

    def _define(self, part: ActionPart) -> None:
        reader = _Reader(part, self)
        reader.expect("keyword")
        name = reader.name("define")
        reader.finish("define")
        self._store(name, part, self._separate_body(part, "define"))

    def _store(self, name: str, part: ActionPart, body: tuple[Node, ...]) -> None:
        present = self.named.get(name, ())
        if self._is_blank(present):
            self.named[name] = body
        elif not self._is_blank(body):
            raise TemplateError(f"template '{name}' is defined twice", part.start, part.end)

    def _is_blank(self, body: tuple[Node, ...]) -> bool:
        """Whether a body may be defined anew: it is nothing but white space."""
        return all(isinstance(node, Text) and self._text[node.start : node.end].isspace() for node in body)

    def _separate_body(self, part: ActionPart, keyword: str) -> tuple[Node, ...]:
        """A body that sees no variables and no loop from around it."""
        variables, loops = self.variables, self._loops
        self.variables, self._loops = Variables(), 0
        self._enter(part)
        body, end = self._block_body(part, keyword)
        if _is_else(end):
            raise TemplateError(f"'else' in a {keyword}", end.start, end.end)
        self._depth -= 1
        self.variables, self._loops = variables, loops
        return body

    def _block_body(self, part: ActionPart, keyword: str) -> tuple[tuple[Node, ...], ActionPart]:
        mark = self.variables.mark()
        nodes, end = self._nodes()
        self.variables.drop(mark)
        if end is None:
            raise TemplateError(
                f"'{keyword}' is never closed", part.start, part.end, hint="close it with {{ end }}"
            )
        if not _is_else(end):
            reader = _Reader(end, self)
            reader.expect("keyword")
            reader.finish("end")
        return nodes, end

    def _else_body(self, part: ActionPart, opening: ActionPart, keyword: str) -> tuple[Node, ...]:
        reader = _Reader(opening, self)
        reader.expect("keyword")
        reader.finish("else")
        body, end = self._block_body(part, keyword)
        if _is_else(end):
            raise TemplateError("a second 'else'", end.start, end.end)
        return body

    def _enter(self, part: ActionPart) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TemplateError(f"nested more than {MAX_DEPTH} levels deep", part.start, part.end)

    def _leave(self, mark: int) -> None:
        self._depth -= 1
        self.variables.drop(mark)

    def too_deep(self) -> TemplateError:
        return TemplateError("what stands here is nested too deep", self._start, self._start + 1)

    def functions(self) -> Collection[str]:
        return self._functions()


class _Reader:
    """Reads the tokens of one action."""

    def __init__(self, part: ActionPart, parser: _Parser) -> None:
        self._part = part
        self._tokens = part.tokens
        self._parser = parser
        self._at = 0
        self._depth = 0

    def whole_pipeline(self, keyword: str = "command") -> Pipeline:
        """The pipeline that the rest of the action is."""
        self._skip_space()
        pipeline = self._pipeline(keyword)
        self.finish(keyword)
        return pipeline

    def expect(self, kind: str) -> Token:
        self._skip_space()
        token = self._next()
        if token is None or token.kind != kind:
            raise self._error(f"expected {kind}", token)
        return token

    def name(self, keyword: str) -> str:
        self._skip_space()
        token = self._next()
        if token is None or token.kind != "constant" or not isinstance(token.value, str):
            raise self._error(f"'{keyword}' needs a name in quotes", token)
        self._skip_space()
        return token.value

    def at_end(self) -> bool:
        return self._at >= len(self._tokens)

    def finish(self, keyword: str) -> None:
        self._skip_space()
        if not self.at_end():
            raise self._error(f"unexpected '{self._tokens[self._at].text}' in {keyword}", self._peek())

    def _pipeline(self, keyword: str) -> Pipeline:
        start = self._start()
        variables, assigns = self._variables(keyword)
        commands: list[Command] = []
        while True:
            self._skip_space()
            token = self._peek()
            if token is None or token.kind in ("|", ")"):
                raise self._error("a value is missing here", token)
            commands.append(self._command(first=not commands))
            if not self._take("|"):
                break
        for name in variables:
            if not assigns:
                self._parser.variables.declare(name)
        return Pipeline(tuple(commands), tuple(variables), assigns, start, self._end())

    def _variables(self, keyword: str) -> tuple[list[str], bool]:
        """The variables a pipeline sets, and whether they exist already."""
        mark = self._at
        names: list[str] = []
        tokens: list[Token] = []
        while (token := self._peek()) is not None and token.kind == "variable":
            self._at += 1
            self._skip_space()
            names.append(token.text[1:])
            tokens.append(token)
            if self._take(":="):
                return names, False
            if self._take("="):
                for name, token in zip(names, tokens, strict=True):
                    if name not in self._parser.variables:
                        raise self._undefined(token)
                return names, True
            if not self._take(","):
                break
            if keyword != "range" or len(names) == 2:
                raise self._error(f"too many variables in {keyword}", token)
            self._skip_space()
        if len(names) > 1:
            raise self._error("':=' is missing after the variables", self._peek())
        self._at = mark
        return [], False

    def _command(self, *, first: bool) -> Command:
        start = self._start()
        operands: list[Expression] = []
        while True:
            self._skip_space()
            token = self._peek()
            if token is None or token.kind in ("|", ")"):
                break
            operands.append(self._operand())
            token = self._peek()
            if token is not None and token.kind not in ("space", "|", ")"):
                raise self._error(f"unexpected '{token.text}'", token)
        end = self._end()
        if not first and isinstance(operands[0], (Constant, Dot)):
            raise TemplateError(
                "only a function can take the value of the command before '|'",
                self._part.start + start,
                self._part.start + end,
            )
        return Command(tuple(operands), start, end)

    def _operand(self) -> Expression:
        start = self._start()
        operand = self._term()
        names: list[str] = []
        while (token := self._peek()) is not None and token.kind == "field":
            names.append(token.text[1:])
            self._at += 1
        if not names:
            return operand
        if isinstance(operand, (Constant, Dot)):
            raise self._error(f"'.{names[0]}' after a constant or a lone dot", self._tokens[self._at - 1])
        if isinstance(operand, Field):
            return Field((*operand.names, *names), start, self._end())
        if isinstance(operand, Variable):
            return Variable(operand.name, tuple(names), start, self._end())
        return Chain(operand, tuple(names), start, self._end())

    def _term(self) -> Expression:
        token = self._next()
        assert token is not None
        match token.kind:
            case "field":
                return Field((token.text[1:],), token.start, token.end)
            case "constant" | "nil":
                return Constant(token.value, token.start, token.end)
            case ".":
                return Dot(token.start, token.end)
            case "variable":
                if token.text[1:] not in self._parser.variables:
                    raise self._undefined(token)
                return Variable(token.text[1:], (), token.start, token.end)
            case "word":
                if token.text not in self._parser.functions():
                    raise self._unknown_function(token)
                return Call(token.text, token.start, token.end)
            case "(":
                return self._parentheses(token)
        raise self._error(f"unexpected '{token.text}' in a template expression", token)

    def _parentheses(self, opening: Token) -> Pipeline:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep", opening)
        self._skip_space()
        pipeline = self._pipeline("parentheses")
        if not self._take(")"):
            raise self._error("')' is missing", self._peek())
        self._depth -= 1
        return pipeline._replace(start=opening.start, end=self._end())

    def _undefined(self, token: Token) -> TemplateError:
        known = (f"${name}" for name in self._parser.variables if name)
        hint = did_you_mean(token.text, known, otherwise="define it with {{ " + f"{token.text} := …" + " }}")
        return self._error(f"variable '{token.text}' is not defined", token, hint)

    def _unknown_function(self, token: Token) -> TemplateError:
        hint = did_you_mean(token.text, self._parser.functions())
        if not hint and all(each.kind == "space" or each is token for each in self._tokens):
            hint = "a field begins with a dot: {{ .Values." + token.text + " }}"
        return self._error(f"there is no function '{token.text}'", token, hint=hint)

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> Token | None:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, kind: str) -> bool:
        self._skip_space()
        token = self._peek()
        if token is None or token.kind != kind:
            return False
        self._at += 1
        return True

    def _skip_space(self) -> None:
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "space":
            self._at += 1

    def _start(self) -> int:
        token = self._peek()
        return token.start if token is not None else self._end()

    def _end(self) -> int:
        """Where the last token that was read ends."""
        at = min(self._at, len(self._tokens)) - 1
        while at > 0 and self._tokens[at].kind == "space":
            at -= 1
        return self._tokens[at].end if at >= 0 else 2

    def _error(self, message: str, token: Token | None, hint: str = "") -> TemplateError:
        if token is None:
            return TemplateError(message, self._part.start, self._part.end, hint)
        return TemplateError(message, self._part.start + token.start, self._part.start + token.end, hint)


def _first(part: ActionPart) -> int:
    """The index of the first token that is no space."""
    index = 0
    while index < len(part.tokens) and part.tokens[index].kind == "space":
        index += 1
    return index


def _is_else(part: ActionPart) -> bool:
    return part.tokens[_first(part)].text == "else"


def _continues(part: ActionPart, keyword: str) -> bool:
    """Whether it is an `else if`, or an `else with`."""
    words = [token.text for token in part.tokens if token.kind != "space"]
    return words[:2] == ["else", keyword]
