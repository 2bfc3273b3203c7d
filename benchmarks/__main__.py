"""All of them: `python -m benchmarks`, or one by name: `python -m benchmarks overhead`."""

import argparse
import importlib

BY_NAME_ONLY = ("forgotten",)  # takes minutes, in which nothing happens
NAMES = (
    "overhead",
    "enforcement",
    "memory",
    "peers",
    "guards",
    "stores",
    "custody",
    "events",
    "gateway",
    "gateway_events",
    "gateway_http",
    "gateway_memory",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=(*NAMES, *BY_NAME_ONLY, []), metavar="name", help=", ".join(NAMES + BY_NAME_ONLY)
    )
    for name in parser.parse_args().names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
