"""The command line, with its gateway on uvicorn's own connections, as it runs where httptools is not."""

from typing import Any

from actguard.cli import main
from actguard.gateway import serve

_options = serve.options


def _without_ours() -> dict[str, Any]:
    return {name: value for name, value in _options().items() if name != "http"}


if __name__ == "__main__":
    serve.options = _without_ours
    main()
