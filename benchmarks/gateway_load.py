"""The load, from a process of its own: `gateway_load.py PORTS KEY CONNECTIONS SECONDS`; prints JSON."""

import asyncio
import json
import os
import sys
import time


async def pairs(port: int, key: str, until: float, times: list[float], name: str) -> int:
    """Pairs done on one connection; the time of each request goes to *times*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nidempotency-key: "
    done = 0

    async def post(path: str, idempotency_key: str, body: str) -> None:
        started = time.perf_counter()
        writer.write(f"POST {path} {head}{idempotency_key}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        times.append(time.perf_counter() - started)

    while time.perf_counter() < until:
        rid = f"{time.time_ns() // 1000:x}-{name}"
        await post(
            "/api/v1/reserve",
            rid,
            f'{{"run_id":"bench","user_id":"u{done % 50}","reserve_id":"{rid}","usd_limit_micros":50000}}',
        )
        usage = '{"provider":"openai","provider_model_id":"gpt-4o","input_tokens":1200,"output_tokens":340,"calls":1}'
        await post("/api/v1/settle", f"{rid}:final", f'{{"reserve_id":"{rid}","usage_breakdown":[{usage}]}}')
        done += 1
    writer.close()
    return done


async def main() -> None:
    ports, key, connections, seconds = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    times: list[float] = []
    started = time.perf_counter()
    until = started + seconds
    work = [pairs(int(ports[n % len(ports)]), key, until, times, f"{os.getpid():x}{n:x}") for n in range(connections)]
    done = sum(await asyncio.gather(*work))
    took = time.perf_counter() - started
    times.sort()
    print(
        json.dumps(
            {"pairs_s": done / took, "p50": times[len(times) // 2] * 1e3, "p99": times[len(times) * 99 // 100] * 1e3}
        )
    )


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
