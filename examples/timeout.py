"""Tools that hang: the agent goes on, and the program can end."""

import asyncio
import time

import actguard


@actguard.timeout(0.1)
async def fetch(url: str) -> str:
    await asyncio.sleep(30)
    return url


@actguard.timeout(0.1)
def query(sql: str) -> str:
    time.sleep(1)
    return sql


def main() -> None:
    for call in (lambda: asyncio.run(fetch("https://example.com")), lambda: query("SELECT 1")):
        try:
            call()
        except actguard.ToolTimeoutError as error:
            print(error)


if __name__ == "__main__":
    main()
