"""The script `actguard`, and `python -m actguard`: the command line, where its extra is installed."""

import sys
from typing import Any


def main() -> Any:
    try:
        from actguard.cli import main as command_line
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        sys.exit("Error: the command line is an extra: pip install 'actguard[cli]', or 'actguard[gateway]'.")
    return command_line()


if __name__ == "__main__":
    main()
