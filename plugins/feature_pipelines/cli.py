"""The command line `my-feast`: what runs in the DAGs, by hand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines import commands, environment
from feature_pipelines.embedded.machine import MachineError
from feature_pipelines.sources import sources
from spark_jobs.contract import ContractError
from spark_jobs.features import feature_tables

OK, TRANSPORT, USAGE, DATA, INTERRUPTED = 0, 1, 2, 3, 130
EPILOG = "Exit codes: 0 done, 1 something could not be reached (try again), 2 wrong usage or set-up, 3 broken data or definition."
Parsers = argparse._SubParsersAction  # noqa: SLF001 - argparse gives it no public name


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code; errors are told in their own words, without a traceback."""
    try:
        options = _parser().parse_args(arguments)
        options.run(environment.load(), options)
    except (DataError, ContractError) as error:
        return _failed(error, DATA)
    except TransportError as error:
        return _failed(error, TRANSPORT)
    except (commands.WrongUsage, environment.EnvironmentBroken, MachineError) as error:
        return _failed(error, USAGE)
    except BrokenPipeError:
        # The reader of a pipe has gone (`my-feast plan | head`): not an error, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if type(error).__module__ != "feast.errors":
            raise
        return _failed(f"{error}\nIs the registry what feature_repo says? Run `my-feast apply`.", DATA)
    except KeyboardInterrupt:
        return _failed("stopped", INTERRUPTED)
    return OK


def _failed(error: object, code: int) -> int:
    sys.stderr.write(f"my-feast: {error}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="my-feast", description="Look at and run the feature store.", epilog=EPILOG)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for run, text in ((commands.status, "tables, versions and freshness"), (commands.plan, "what is stale, and why")):
        verb = _verb(verbs, run, text)
        verb.add_argument("--lakes-only", action="store_true", help="do not ask Redis")
    land = _verb(verbs, commands.land, "fetch days of a source into its raw table")
    land.add_argument("source", choices=list(sources()))
    _add_window(land)
    land.add_argument("--allow-shrink", action="store_true", help="accept fewer rows than are there")
    _add_replay(verbs)
    compute = _verb(verbs, commands.compute, "compute stale days of a table with Spark and publish them")
    _add_table(compute)
    _add_window(compute)
    compute.add_argument("--force", action="store_true", help="compute days that are current too")
    apply = _verb(verbs, commands.apply, "bring the feature registry to what feature_repo says")
    apply.add_argument("--dry-run", action="store_true", help="only tell what would change")
    _add_table(_verb(verbs, commands.materialize, "bring a table's newest version online"))
    verify = _verb(verbs, commands.verify, "compare what is online with the published table")
    _add_table(verify)
    verify.add_argument(
        "--sample", type=int, default=200, metavar="KEYS", help="keys to compare (default: %(default)s)"
    )
    verify.add_argument("--all", action="store_true", help="compare every key, and count what Redis holds besides")
    verify.add_argument("--repair", action="store_true", help="write every key again where they differ")
    docs = _verb(verbs, commands.docs, "write docs/tables.md from the contracts")
    docs.add_argument("--check", action="store_true", help="write nothing, fail when it is out of date")
    return parser


def _verb(verbs: Parsers[argparse.ArgumentParser], run: Callable[..., None], text: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(run.__name__, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EPILOG)
    verb.set_defaults(run=run)
    return verb


def _add_replay(verbs: Parsers[argparse.ArgumentParser]) -> None:
    replay = _verb(verbs, commands.replay, "send the packaged weather readings of these days to the event stream")
    _add_window(replay)
    replay.add_argument(
        "--speed", type=float, default=0, help="seconds of the readings per second (default: 0, as fast as possible)"
    )
    for share in ("late", "doubled", "broken"):
        replay.add_argument(
            f"--{share}", type=float, default=0, metavar="SHARE", help=f"readings that are {share}, 0 to 1"
        )
    replay.add_argument("--seed", type=int, default=2013, help="decides which (default: %(default)s)")
    replay.add_argument("--partitions", type=int, default=3, help="of the topic, if it is made (default: %(default)s)")


def _add_table(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("table", choices=list(feature_tables()))


def _add_window(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--start", required=True, metavar="DAY", help="first UTC day, such as 2013-01-01")
    verb.add_argument("--end", metavar="DAY", help="the UTC day after the last one (default: one day)")


if __name__ == "__main__":
    sys.exit(main())
