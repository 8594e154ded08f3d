"""`make run`: the whole of My-Feast on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from feature_pipelines.embedded import machine, services
from feature_pipelines.embedded.airflow_api import AirflowApi, AirflowApiError
from feature_pipelines.embedded.processes import Processes
from feature_pipelines.embedded.progress import Progress
from feature_pipelines.embedded.run import RunFailedError, first_days, new_commits, run_days, versions
from feature_pipelines.embedded.settings import USER, Settings
from feature_pipelines.environment import CHECKOUT

GIGABYTES = 1.0
PLAIN_WIDTH = 120


class Stopped(BaseException):
    """Someone asked the launcher to stop: Ctrl-C, SIGTERM, or the terminal was closed."""


def main() -> int:
    """Exit code: 0 done or stopped after it was done, 1 with the reason, 130 stopped on the way."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    done = False
    try:
        with _only_one(arguments.home):
            settings = _settings(arguments)
            with services.running(settings, say=console.print) as (api, processes):
                _run(console, settings, api, processes, days=arguments.days)
                done = True
                if not arguments.once:
                    _stay(console, settings, processes)
    except (machine.MachineError, AirflowApiError, RunFailedError) as error:
        console.print(f"make run: {error}", style="red", markup=False)
        return 1
    except Stopped:
        console.print("stopped; nothing is left running")
        return 0 if done else 130
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--home", type=Path, default=CHECKOUT / ".local", help="state folder (default: .local)")
    parser.add_argument("--days", type=_days, default=3, help="how many days from 2013-01-01 on (default: 3)")
    parser.add_argument("--port", type=int, default=8080, help="of Airflow's UI and API")
    parser.add_argument("--redis-port", type=int, default=6379)
    parser.add_argument("--environment", default="embedded", help="of feature_repo/environments (default: embedded)")
    parser.add_argument("--once", action="store_true", help="end when the days are done")
    return parser.parse_args()


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 364:  # noqa: PLR2004 - the weather ends a day before the year does
        raise argparse.ArgumentTypeError(f"expected 1 to 364 days of 2013, found {text}")
    return days


def _stop(number: int, _frame: FrameType | None) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # stopping is under way; a second Ctrl-C must not leave half of it
    raise Stopped(number)


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """MachineError when another launcher uses the same state folder."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "launcher.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise machine.MachineError(f"{home} is in use by another `make run`. Stop that one first.") from error
        yield


def _settings(arguments: argparse.Namespace) -> Settings:
    """Everything the machine may lack is looked for before anything is started."""
    home = arguments.home.absolute()
    machine.check_space(home, gigabytes=GIGABYTES)
    machine.redis_server()
    machine.claim_port(arguments.port, "Airflow", "PORT")
    machine.claim_port(arguments.redis_port, "Redis", "REDIS_PORT")
    java = machine.java_home()
    return Settings(home, arguments.port, redis_port=arguments.redis_port, java=java, name=arguments.environment)


def _run(console: Console, settings: Settings, api: AirflowApi, processes: Processes, *, days: int) -> None:
    env = settings.environment()
    started, before = time.monotonic(), versions(env)
    window = first_days(days)
    with Progress(console) as progress:
        runs = run_days(api, window, progress=progress, check=processes.check)
    commits = new_commits(before, versions(env))
    from feature_pipelines.embedded.report import report

    report(console, env, seconds={run.dag: run.seconds for run in runs})
    outcome = f"{commits} new commits" if commits else "0 new commits: everything was there already, nothing changed"
    console.print(f"{len(runs)} runs over {days} days in {time.monotonic() - started:.0f} s, {outcome}")


def _stay(console: Console, settings: Settings, processes: Processes) -> None:
    console.print(f"Airflow: {settings.url}  user {USER}  password {settings.password()}   Ctrl-C stops everything")
    while True:
        processes.check()
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
