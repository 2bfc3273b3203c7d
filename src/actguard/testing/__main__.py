"""`python -m actguard.testing`: a local provider in the foreground, for any program in any language.

Prints the environment to give that program, each request as it comes, each bill as it is made, and at the end the
ledger.
"""

import argparse
import signal
import threading
from decimal import InvalidOperation

from actguard.testing.http import Request
from actguard.testing.ledger import Entry
from actguard.testing.prices import Price, price
from actguard.testing.provider import LocalProvider
from actguard.testing.script import Delivery, Reply


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    delivery = Delivery(first_byte=options.latency, between_events=options.event_latency)
    provider = LocalProvider(
        host=options.host,
        port=options.port,
        prices=dict(options.model_price),
        default=Reply(options.text, delivery=delivery),
        output_tokens=options.output_tokens,
        on_request=None if options.quiet else _print_request,
        on_entry=None if options.quiet else _print_entry,
    )
    done = threading.Event()

    def stop(signal_number: int, frame: object) -> None:
        done.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with provider:
        for name, value in provider.env().items():
            print(f"export {name}={value}")
        print(flush=True)
        while not done.wait(0.2):  # in slices, so that signals are seen on every platform
            pass
    print(f"\n{provider.ledger.table()}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m actguard.testing",
        description="A local LLM provider that speaks OpenAI's, Anthropic's and Google's APIs and bills what it says.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--text", help="what every reply says (default: as many words as it has tokens)")
    parser.add_argument("--output-tokens", type=int, default=20, help="tokens of a reply (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="until the first byte")
    parser.add_argument("--event-latency", type=float, default=0.0, metavar="SECONDS", help="between stream events")
    parser.add_argument(
        "--model-price",
        type=_model_price,
        action="append",
        default=[],
        metavar="MODEL=INPUT/OUTPUT[/CACHED]",
        help="dollars per million tokens, over the built-in list; may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the environment and the final ledger")
    return parser


def _model_price(text: str) -> tuple[str, Price]:
    model, _, rates = text.rpartition("=")
    try:
        input, output, *cached = rates.split("/")
        return model, price(input, output, **({"cached": cached[0]} if cached else {}))
    except (ValueError, InvalidOperation) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=INPUT/OUTPUT[/CACHED]") from error


def _print_request(request: Request) -> None:
    print(f"{request.method} {request.target} {request.model}".rstrip(), flush=True)


def _print_entry(entry: Entry) -> None:
    aborted = ", aborted" if entry.aborted else ""
    print(f"  {entry.model}: {entry.input_tokens} in, {entry.output_tokens} out, ${entry.usd:.6f}{aborted}", flush=True)


if __name__ == "__main__":
    main()
