"""Create a virtual environment and install this project into it, with one dependency group of pyproject.toml and any
number of its extras.

    python tools/environment.py .venv dev gateway redis

Needs nothing but Python and its package index. uv does the installing, because it takes seconds; where it cannot be had
or fails, pip does the same.
"""

import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("actguard needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])


def main(folder: Path, group: str, extras: list[str]) -> None:
    print(f"installing the group {group} into {folder} ...", flush=True)
    python = folder / "bin" / "python"
    if subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=False).returncode:
        sys.exit(f"{sys.executable} -m venv failed: on Debian and Ubuntu, apt-get install python3-venv")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "pip>=25.1"], check=True)  # the first that knows --group
    wanted = ["--group", group, "--editable", f".[{','.join(extras)}]"]
    try:
        subprocess.run([*pip, "uv"], check=True)
        subprocess.run([python, "-m", "uv", "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    except (OSError, subprocess.CalledProcessError):
        print("uv did not manage; once more with pip", flush=True)
        sys.exit(subprocess.run([*pip, *wanted], check=False).returncode)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
