"""Help pages and option values at once; typer's own way imports rich (0.25 s) for a page, pydantic (0.2 s) for a value.

What typer keeps private is used in `coerce_plainly` and `complete_plainly` alone; a typer that has it no more goes
its own way.
"""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.core import TyperCommand

WIDTH = 120
UNKNOWN = object()


class PlainCommand(TyperCommand):
    """A command whose help is plain text, its options under the headings of their panels."""

    def __init__(self, *arguments: Any, **settings: Any):
        settings |= {"rich_markup_mode": None}
        settings["context_settings"] = {"max_content_width": WIDTH} | (settings.get("context_settings") or {})
        super().__init__(*arguments, **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        coerce_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        complete_plainly()
        return super().shell_complete(ctx, incomplete)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self, ctx, formatter)


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Arguments and options, one section per panel."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        heading = "Arguments" if parameter.param_type_name == "argument" else "Options"
        row = parameter.get_help_record(ctx)
        if row:
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or heading, []).append(row)
    for heading, rows in panels.items():
        with formatter.section(heading):
            formatter.write_dl(rows)


def coerce_plainly(parameters: list[Any]) -> None:
    """Let parameters take values that are plainly right without pydantic; it judges all others."""
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", UNKNOWN) is None:
            parameter._runtime_param = _Plain()


def complete_plainly() -> None:
    """Let the shells' completion show help texts as they are; typer imports rich to take markup out of them."""
    from typer import _completion_classes

    if hasattr(_completion_classes, "_sanitize_help_text"):
        _completion_classes._sanitize_help_text = lambda text: text


class _Plain:
    """In the place of typer's own coercion of one parameter (typer._coercion.RuntimeParam)."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        described = param.type_descriptor
        found = _plain(value, described.annotation, described.parameter_info)
        if found is UNKNOWN:
            from typer._coercion import build_runtime_param

            return build_runtime_param(described).coerce(value, param=param, ctx=ctx)
        return found


def _plain(value: Any, kind: Any, info: Any) -> Any:
    """The value in its type, or UNKNOWN where typer's own rules have to decide."""
    if info.parser or info.clamp or getattr(info, "exists", False) or getattr(info, "resolve_path", False):
        return UNKNOWN
    if get_origin(kind) is list and isinstance(value, list | tuple):
        items = [_plain(item, get_args(kind)[0], info) for item in value]
        return UNKNOWN if any(item is UNKNOWN for item in items) else items
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind in (int, float) and isinstance(value, str | int | kind) and not isinstance(value, bool):
        try:
            number = kind(value)
        except ValueError:
            return UNKNOWN
        fits = (info.min is None or number >= info.min) and (info.max is None or number <= info.max)
        return number if fits else UNKNOWN
    return UNKNOWN
