"""The local provider: a real HTTP server on loopback that speaks OpenAI's, Anthropic's and Google's wires and keeps a
billing ledger, for tests of programs that call models. No key, no network, no money.

```python
import openai
from actguard.testing import Delivery, HttpError, LocalProvider, Reply

with LocalProvider() as provider:
    provider.reply("Hello!", Reply(output_tokens=500, reasoning_tokens=200), HttpError(status=429, retry_after=0))
    client = provider.openai()                     # or openai.OpenAI(**provider.openai_kwargs()), or provider.env()
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    provider.ledger.total_usd                      # Decimal, what the provider bills, by its own price list
```

In pytest, the fixture `llm_provider` is one of these, fresh for each test; `llm_provider_env` also points the SDKs'
environment variables at it. `python -m actguard.testing` runs one in the foreground.

Scripting
    `provider.reply(*steps)` queues replies; `provider.when(step, path=, model=, text=, match=, times=)` sets rules,
    which go first; `provider.default` answers the rest. A step is a text, a `Reply`, a fault (`HttpError`, `Reset`,
    `Lost`, `Cut`, `ErrorEvent`, `NotJSON`), or a function of the request. `Reply` states the figures (tokens of every
    kind, tool calls, searches, tier, model), `Reply.delivery` how it travels (latency, chunking, gzip, CRLF, pauses).
Clients
    `provider.openai()`, `async_openai()`, `azure()`, `anthropic()`, `async_anthropic()`, `google()`; `*_kwargs()` for
    any other class; `provider.url`; `provider.env()`.
Ledger
    `provider.ledger`: `total_usd`, `tokens`, `input_tokens`, `output_tokens`, `calls`, `aborted`, `entries`, `last`,
    `by_model`, `unpriced`, `table()`, `reset()`, `wait_idle()`.
Holding back
    `with provider.hold() as gate:` holds replies; `gate.wait_for(n)`, `gate.release(n)`. Streams with
    `Delivery(pause_after=n)` wait at `provider.paused`, a gate as well. No test needs to sleep.
Default figures
    Input tokens: a quarter of the UTF-8 bytes of the request's text, rounded up, + 4 a message + 3; output tokens: 20,
    one a stream event. A request's output cap is always honoured.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actguard.testing.counts import Counts
    from actguard.testing.gate import Gate
    from actguard.testing.http import Request
    from actguard.testing.ledger import Charge, Entry, Ledger
    from actguard.testing.prices import PRICES, Price, PriceList, price
    from actguard.testing.provider import LocalProvider
    from actguard.testing.script import (
        Cut,
        Delivery,
        ErrorEvent,
        Fault,
        HttpError,
        Iteration,
        Lost,
        NotJSON,
        Reply,
        Reset,
        Step,
        ToolCall,
    )

__all__ = [
    "PRICES",
    "Charge",
    "Counts",
    "Cut",
    "Delivery",
    "Entry",
    "ErrorEvent",
    "Fault",
    "Gate",
    "HttpError",
    "Iteration",
    "Ledger",
    "LocalProvider",
    "Lost",
    "NotJSON",
    "Price",
    "PriceList",
    "Reply",
    "Request",
    "Reset",
    "Step",
    "ToolCall",
    "price",
]

_HOME = {
    "Charge": "ledger",
    "Counts": "counts",
    "Entry": "ledger",
    "Gate": "gate",
    "Ledger": "ledger",
    "LocalProvider": "provider",
    "PRICES": "prices",
    "Price": "prices",
    "PriceList": "prices",
    "Request": "http",
    "price": "prices",
}
"""The module of each name; those not listed are in `script`."""


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used: a pytest that never asks for the fixture pays for none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'script')}"), name)
    globals()[name] = value
    return value
