"""Add to errors of the command line what the user may have meant by an option or a kind."""

from contextlib import suppress
from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """Run commands, and add to the error for an unknown option how to set what it names."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the words name."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # The class of this error is private to typer.
            if type(error).__name__ == "NoSuchOption":
                hint = option_hint(ctx.invoked_subcommand, error.option_name)  # type: ignore[attr-defined]
                error.message += hint  # type: ignore[attr-defined]
            raise


def option_hint(command: str | None, option: str) -> str:
    """Return a sentence on how to set what an unknown option of ``command`` names; else nothing.

    >>> option_hint("run", "--steps")
    '. `steps` is a key of the study: write steps=VALUE behind its name.'
    >>> option_hint("status", "--steps")
    ''
    """
    if command not in ("run", "plan", "cell"):
        return ""
    from harness import plugins
    from harness.core.errors import InputError
    from harness.study.hints import GIVEN
    from harness.study.study import Study

    name = option.lstrip("-").replace("-", "_")
    if command != "cell" and name in Study.known_keys():
        return f". `{name}` is a key of the study: write {name}=VALUE behind its name."

    owners: dict[str, list[str]] = {}
    for group in GIVEN:
        for each in plugins.names(group):
            with suppress(InputError):
                if name in plugins.declared(group, each):
                    owners.setdefault(group, []).append(each)
    if not owners:
        return ""
    group, mine = max(owners.items(), key=lambda item: len(item[1]))
    example = next((each for each in ("images", "siamese", "infonce") if each in mine), mine[0])
    many = f"{len(mine)} {group}" if len(mine) > 1 else f"the {plugins.kind_of(group)} {mine[0]!r}"
    if command == "cell":
        form = f'it in the spec, as in "{example}({name}=VALUE)"'
    elif group == "engines":
        form = f'--engine "{example}({name}=VALUE)"'
    else:
        form = f"{group}.{example}.{name}=VALUE behind the study's name"
    return f". `{name}` is a setting of {many}: write {form}."


def kind_hint(word: str) -> str:
    """Return a sentence with the kind of the plugin ``word``; empty if there is no such plugin.

    >>> kind_hint("adnce"), kind_hint("nothing")
    (' It is one of the losses: write `triptych list losses adnce`.', '')
    """
    from harness import plugins
    from harness.study.hints import GIVEN
    from harness.study.shipped import shipped

    for group in GIVEN:
        if word.replace("-", "_") in plugins.names(group):
            return f" It is one of the {group}: write `triptych list {group} {word}`."
    if word in shipped():
        return f" It is one of the studies: write `triptych list studies {word}`."
    return ""
