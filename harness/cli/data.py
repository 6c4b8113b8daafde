"""``triptych data``."""

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import terminal
from harness.cli.shared import app, examples, input_errors
from harness.cli.terminal import err, escape, out, say
from harness.core.errors import InputError

if TYPE_CHECKING:
    from harness.data import Source


data_app = typer.Typer(
    help="Show, download and check data sets.",
    no_args_is_help=True,
    epilog=examples("data list", "data show mnist-5k", "data fetch embedded"),
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
            "sha256": data.fingerprint(here) if here else "",
            "read from": ", ".join(source.places),
        }
    terminal.say_fields(lines, verbatim=("here", "sha256"))


@data_app.command("fetch", epilog=examples("data fetch embedded", "data fetch cora sts-b"))
def data_fetch(
    names: Annotated[
        list[str], typer.Argument(help="Names of data sets; `embedded`: all that pip can download.")
    ],
) -> None:
    """Download data sets into the cache, once; everything works offline afterwards."""
    from harness import data
    from harness.cli import listing

    failed = False
    with input_errors():
        embedded = [source for source in listing.sources().values() if source.embedded is not None]
        groups = [embedded if name == "embedded" else [listing.source(name)] for name in names]
        chosen = [source for group in groups for source in group]
    for source in chosen:
        try:
            with out.status(f"Fetching {escape(source.name)}"):
                path = data.need(source)
        except InputError as error:
            say(str(error), style="red", to=err)
            failed = True
            continue
        say(f"{source.name}: {path}", verbatim=True)
    if failed:
        raise typer.Exit(2)


@data_app.command("check", epilog=examples("data check", "data check mnist-5k cora"))
def data_check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of data sets; default: all that are here.")
    ] = None,
) -> None:
    """Check the pinned checksums of the data sets that are here, and print each set's checksum."""
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
            found = data.faults(source, path)
            if path.name == source.wheel:
                data.need(source)  # This checks the wheel.
            wrong = wrong or bool(found)
            pinned = "as pinned" if source.files or path.name == source.wheel else "not pinned"
            result = (
                "; ".join(found) or f"sha256 {data.fingerprint(path, remembered=False)} ({pinned})"
            )
            say(f"{source.name}: {result}")
    if wrong:
        raise typer.Exit(1)
