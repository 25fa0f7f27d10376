"""Build the one-file executable: `build.py [--into FOLDER]`. For Linux systems with this machine's glibc or a newer one.

The executable carries Python, the libraries and our files, but not the C library: so build a release on the oldest
system that it is to run on.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the one-file executable.")
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=ROOT / "dist", help="default: dist")
    into: Path = parser.parse_args().into.absolute()
    if importlib.util.find_spec("PyInstaller") is None:
        print("PyInstaller is not here: `make package` installs it, or pip install -e '.[dev]'", file=sys.stderr)
        return 1
    done = subprocess.run(_command(into), cwd=ROOT, check=False)
    if done.returncode != 0:
        print("PyInstaller could not build it; the lines above say why", file=sys.stderr)
        return done.returncode
    executable = into / "rondo"
    version = subprocess.run([executable, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    size_mb = executable.stat().st_size / 1e6
    libc, libc_version = platform.libc_ver()
    print(f"{executable}: {version}, {size_mb:.1f} MB, for {platform.machine()} with {libc} {libc_version} or newer")
    return 0


def _command(into: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"),
        *("--distpath", str(into), "--workpath", str(ROOT / "build" / "one-file")),
        str(HERE / "rondo.spec"),
    ]


if __name__ == "__main__":
    sys.exit(main())
