"""Go text/template with the Sprig functions: lexer, parser, evaluator. Pure."""

from tasks_engine.definition.template.render import Rendered, render

__all__ = ["Rendered", "render"]
