from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from feature_pipelines.embedded import install


def run_install(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, install.__file__, str(folder)]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def test_nothing_is_done_while_the_lock_is_unchanged(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / "installed.sha256").write_text(install._fingerprint())
    done = run_install(venv)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_too_old_a_python_is_named(tmp_path: Path) -> None:
    text = Path(install.__file__).read_text().replace("(3, 11), (3, 12), (3, 13)", "(3, 98), (3, 99)")
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    copy = tmp_path / "a" / "b" / "c" / "install.py"
    copy.write_text(text)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    done = subprocess.run([sys.executable, copy], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is needed" in done.stderr
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in done.stderr


def test_the_lock_pins_the_installer_itself() -> None:
    assert install._pinned("uv").startswith("uv==")
