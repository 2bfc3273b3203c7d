"""A program that is killed: `killed_client.py NAME PAIRS JOURNAL OPTIONS`. Runs of the SDK, each with a known cost.

It says in its journal which run it is about to begin, and which it has left; started again, it goes on with the next.
"""

import json
import os
import random
import sys
import warnings

from actguard import Client


def cost(name: str, number: int) -> int:
    """Micro-dollars that a run spends."""
    return random.Random(f"{name}-{number}").randrange(1, 1000)


def main() -> None:
    name, pairs, journal, options = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    warnings.simplefilter("ignore")
    with open(journal, "a+") as said:
        said.seek(0)
        begun = [int(line.split()[1]) for line in said if line.startswith("begun ")]
    written = os.open(journal, os.O_WRONLY | os.O_APPEND)
    client = Client(**options)
    for number in range(max(begun, default=-1) + 1, pairs):
        os.write(written, f"begun {number}\n".encode())
        with client.run(run_id=f"{name}-{number}"), client.budget_guard(usd_limit=0.001) as guard:
            guard.add_cost(name="tool", usd=cost(name, number) / 1_000_000)
        os.write(written, f"left {number}\n".encode())
    client.close()


if __name__ == "__main__":
    main()
