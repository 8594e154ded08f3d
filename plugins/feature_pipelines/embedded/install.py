"""Makes .venv from requirements.lock with any Python 3.11-3.13 and the standard library; does nothing when it is current.

Run by the Makefile, before anything is installed: `python3 plugins/feature_pipelines/embedded/install.py [folder]`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
LOCK = CHECKOUT / "requirements.lock"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
GIGABYTES = 4.0  # the environment, and as much again while packages are unpacked


def main() -> int:
    """Install into the folder named on the command line, by default .venv; 1 with one sentence when it cannot be done."""
    venv = Path(sys.argv[1] if len(sys.argv) > 1 else CHECKOUT / ".venv").absolute()
    stamp = venv / "installed.sha256"
    wanted = _fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted and (venv / "bin" / "python").exists():
        return 0
    started = time.monotonic()
    try:
        python = _supported_python()
        _check_space(venv.parent)
        _install(python, venv)
    except (RuntimeError, OSError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    stamp.write_text(wanted)
    print(f"setup: {venv} is ready after {time.monotonic() - started:.0f} s")
    return 0


def _fingerprint() -> str:
    """Of all that decides what is installed; the settings of ruff, mypy and pytest do not."""
    packaging = (CHECKOUT / "pyproject.toml").read_text().split("[tool.ruff]")[0]
    return hashlib.sha256("\0".join([LOCK.read_text(), packaging, str(CHECKOUT)]).encode()).hexdigest()


def _supported_python() -> str:
    """The Python that runs this, else one of the supported ones on PATH."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for version in reversed(SUPPORTED):
        found = shutil.which("python{}.{}".format(*version))
        if found and _runs(found, version):
            return found
    raise RuntimeError(
        "Python 3.11, 3.12 or 3.13 is needed; {} is {}.{} and no python3.11, python3.12 or python3.13 on PATH runs. "
        "Install one, or name it: make PYTHON=/path/to/python3.12".format(sys.executable, *sys.version_info[:2])
    )


def _runs(program: str, version: "tuple[int, int]") -> bool:
    """Whether it is more than a version manager's empty shim."""
    ask = [program, "-c", "import sys; print(sys.version_info[:2])"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    return done.stdout.strip() == str(version)


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free / 1e9
    if free < GIGABYTES:
        raise RuntimeError(f"disk: {folder} has {free:.1f} GB free, {GIGABYTES:g} GB are needed. Make room there.")


def _install(python: str, venv: Path) -> None:
    """venv, then the uv the lock names, then the lock with every hash checked, then our three packages."""
    print(f"setup: installing requirements.lock into {venv} (about 2 GB, once)", flush=True)
    _run(
        [python, "-m", "venv", "--clear", str(venv)],
        hint="its venv module does not work; on Debian and Ubuntu: apt install python3-venv",
    )
    own_python = str(venv / "bin" / "python")
    index = "is the package index reachable (see `pip config list`)?"
    _run([own_python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _pinned("uv")], hint=index)
    install = [str(venv / "bin" / "uv"), "pip", "install", "--python", own_python, "--quiet"]
    _run([*install, "--require-hashes", "--compile-bytecode", "-r", str(LOCK)], hint=index)
    # hatchling is in the lock: nothing else is fetched to build our own packages
    _run([*install, "--no-deps", "--no-build-isolation", "--editable", str(CHECKOUT)], hint="see the lines above")


def _pinned(name: str) -> str:
    """`name==version` as the lock has it."""
    found = re.search(rf"^{name}==\S+", LOCK.read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{LOCK.name}: no line for {name}. Run `make lock`.")
    return found[0]


def _run(command: "list[str]", *, hint: str) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "UV_NO_PROGRESS": "1"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}: {hint}")


if __name__ == "__main__":
    sys.exit(main())
