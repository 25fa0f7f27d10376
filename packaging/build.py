"""Build the one-file executable: `build.py [--into FOLDER]`. For Linux systems with this machine's glibc or a newer one.

The executable carries Python, the libraries and our files, but not the C library: so build a release on the oldest
system that it is to run on.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LACKING = 3  # the exit code when something has to be installed first


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the one-file executable.")
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=ROOT / "dist", help="default: dist")
    into: Path = parser.parse_args().into.absolute()
    if importlib.util.find_spec("PyInstaller") is None:
        print("PyInstaller is not here: `make package` installs it, or pip install -e '.[dev]'", file=sys.stderr)
        return LACKING
    lacking = _lacking_packages()
    if lacking and not _install(lacking):
        print(f"building takes {' and '.join(lacking)}: install them (apt-get install {' '.join(lacking)})", file=sys.stderr)
        return LACKING
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


def _lacking_packages() -> list[str]:
    """Debian packages that the build needs beside Python. Debian's Python comes without its library, others with it."""
    lacking = [] if all(shutil.which(tool) for tool in ("objcopy", "objdump", "strip")) else ["binutils"]
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    if sys.base_prefix == "/usr" and not library.exists():
        lacking.append(f"libpython{sys.version_info.major}.{sys.version_info.minor}")
    return lacking


def _install(packages: list[str]) -> bool:
    """Install them where that is ours to do: as root on Debian, like venv.sh."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"installing {' '.join(packages)}", flush=True)
    install = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", *packages]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["apt-get", "-qq", "update"], install):
        done = subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _command(into: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"),
        *("--distpath", str(into), "--workpath", str(ROOT / "build" / "one-file")),
        str(HERE / "rondo.spec"),
    ]


if __name__ == "__main__":
    sys.exit(main())
