"""The command line's verbs: each does one thing with the environment and prints what came of it."""

from __future__ import annotations

import sys
import uuid
from argparse import Namespace
from typing import TYPE_CHECKING

from feast_lakehouse.errors import DataError
from feature_pipelines import console
from spark_jobs.interval import Interval

if TYPE_CHECKING:
    from feature_pipelines.environment import Environment


def say(text: str) -> None:
    """A line of the answer, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line of progress: not part of the answer, so it goes to the error stream."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class WrongUsage(ValueError):
    """Arguments that argparse accepts and that make no sense."""


def window(options: Namespace) -> Interval:
    """The days the options ask for; without --end the one day that begins at --start. Raises WrongUsage."""
    try:
        asked = Interval.parse(options.start, options.end) if options.end else Interval.day(options.start)
        asked.days()
    except ValueError as error:
        raise WrongUsage(str(error)) from None
    return asked


def status(env: Environment, options: Namespace) -> None:
    """Sources, then feature tables."""
    from feature_pipelines.status import source_status
    from feature_pipelines.status import status as table_status

    say(f"environment {env.name}, project {env.project}\n")
    head = ("source", "intervals", "rows", "rejected", "version", "newest interval")
    landed = [(s.name, s.intervals, s.rows, s.rejected, s.version, s.newest) for s in source_status(env)]
    say(console.table(head, landed) + "\n")
    store = None if options.lakes_only else env.feature_store()
    published = [
        (t.name, t.intervals, t.rows, t.version, t.online_version, t.online_keys, t.bytes_per_key, t.freshness)
        for t in table_status(env, store)
    ]
    columns = (
        "table",
        "intervals",
        "rows",
        "version",
        "online version",
        "online keys",
        "bytes/key",
        "newest event time",
    )
    say(console.table(columns, published))


def plan(env: Environment, options: Namespace) -> None:
    """Every stale interval and why, or that there is none."""
    from feature_pipelines.plan import plan as make_plan

    stale = make_plan(env, None if options.lakes_only else env.feature_store())
    if not stale:
        say("Nothing to do: every landed interval is computed" + ("." if options.lakes_only else " and online."))
        return
    rows = [(s.table, s.partition, s.why, s.rows, console.size(s.bytes)) for s in stale]
    say(console.table(("table", "interval", "why", "rows to read", "size"), rows))


def land(env: Environment, options: Namespace) -> None:
    """One line per day, as it lands."""
    from feature_pipelines.landing import land_day
    from feature_pipelines.sources import source

    changed, days, landed = 0, window(options).days(), source(env, options.source)
    for day in days:
        report = land_day(env, landed, day, allow_shrink=options.allow_shrink)
        changed += report.changed
        said = f"version {report.version}" if report.changed else "unchanged"
        if report.lag is not None:
            said += f", {report.lag:,} records behind the stream's end ({report.lag_by_partition})"
        say(f"{report.source} {report.partition}: {report.rows:,} rows landed, {report.rejected:,} rejected, {said}")
    say(f"{options.source}: {changed} of {len(days)} days changed")


def replay(env: Environment, options: Namespace) -> None:
    """A bar while it sends, then how many records there are."""
    import time

    from feature_pipelines.replay import NotAStream
    from feature_pipelines.replay import replay as run
    from feature_pipelines.streams.retelling import Faults

    try:
        faults = Faults(options.late, options.doubled, options.broken, options.seed)
        report = run(
            env,
            window(options),
            faults,
            speed=options.speed,
            partitions=options.partitions,
            sleep=time.sleep,
            progress=console.Bar(sys.stderr).show,
        )
    except (NotAStream, ValueError) as error:
        raise WrongUsage(str(error)) from None
    say(f"{report.topic}: {report.sent:,} records sent, {report.present:,} were there already")


def compute(env: Environment, options: Namespace) -> None:
    """Order, Spark application, publish."""
    from feature_pipelines.orders import read_order, write_order
    from feature_pipelines.publishing import publish_order
    from feature_pipelines.submitting import run_order

    uri = write_order(env, options.table, window(options), attempt=uuid.uuid4().hex, force=options.force)
    if uri is None:
        say(f"{options.table}: every interval is current, nothing to compute")
        return
    days = list(read_order(env, uri).builds)
    note(f"{options.table}: {len(days)} intervals to compute, {days[0]} to {days[-1]}")
    seconds = run_order(env, uri, progress=lambda spent: note(f"  Spark is running, {spent:.0f} s"))
    published = publish_order(env, uri, force=options.force)
    said = f"version {published.version}" if published.changed else f"unchanged, version {published.version}"
    say(f"{options.table}: {len(days)} intervals, {published.rows:,} rows in {seconds:.0f} s, {said}")


def apply(env: Environment, options: Namespace) -> None:
    """Brings the feature registry to what feature_repo says."""
    from feature_pipelines.registering import apply as run
    from feature_pipelines.registering import plan as changes

    told = changes() if options.dry_run else run()
    say("\n".join(told) or f"The registry of project {env.project} is what feature_repo says")


def materialize(env: Environment, options: Namespace) -> None:
    """Brings the table's newest version online."""
    from feast_lakehouse.engine import materialize as run

    report = run(env.feature_store(), options.table)
    if not report.changed:
        say(f"{options.table}: version {report.version} is online already")
        return
    say(
        f"{options.table}: version {report.version} is online, {report.rows_read:,} rows read, "
        f"{report.keys_written:,} keys written, {report.retracted:,} retracted in {report.seconds:.1f} s"
    )


def verify(env: Environment, options: Namespace) -> None:
    """Compares what is online with the published table."""
    from feast_lakehouse.engine import verify as run

    sample = None if options.all else options.sample
    report = run(env.feature_store(), options.table, sample=sample, repair=options.repair)
    say(
        f"{options.table}: {report.online_keys:,} keys online{' by count' if report.counted else ''}, as version "
        f"{report.version} says; {report.compared:,} compared, {report.pushed:,} of them pushed since"
    )
    if report.newest_version > report.version:
        say(
            f"{options.table}: the table is at version {report.newest_version} by now: `my-feast materialize` brings it online"
        )


def docs(env: Environment, options: Namespace) -> None:
    """Writes docs/tables.md; with --check only tells whether it is what it should be."""
    from feature_pipelines.docs import tables_markdown

    path, text = env.checkout / "docs" / "tables.md", tables_markdown()
    current = path.read_text(encoding="utf-8") if path.exists() else None
    if current == text:
        say("docs/tables.md is up to date")
        return
    if options.check:
        raise DataError("docs/tables.md does not say what the contracts say. Run `my-feast docs` and commit it.")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    say("docs/tables.md written")
