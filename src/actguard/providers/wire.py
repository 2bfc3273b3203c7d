"""Wire: one provider's side of things, as data. What its requests ask for, and what its replies bill."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from actguard.budget.request import RequestFacts
from actguard.budget.usage import Bill
from actguard.providers.endpoint import Endpoint
from actguard.providers.reader import Reader


class Wire(NamedTuple):
    name: str
    """The provider's own id in the price book."""
    classify: Callable[[str, str], Endpoint]
    facts: Callable[..., RequestFacts]
    read: Callable[[Endpoint, Mapping[str, Any], str], Bill | None]
    reader: Callable[[Endpoint, str], Reader]
    with_output_cap: Callable[..., dict[str, Any]]
    caps: frozenset[str]
    """Names of the endpoints whose request has an output cap, or holds requests that do."""
    cloud: str = ""
    """Who sells the model, where the client says that it is not its maker (Bedrock, Azure, Vertex)."""

    @property
    def native(self) -> str:
        """Whose prices apply at a host that nobody knows."""
        return self.cloud or self.name


def parse_json(body: bytes | str) -> Any:
    """*body*, parsed by what the SDKs bring along if that can, as it takes half the time.

    Raises:
        ValueError: it is not JSON.
    """
    fast = sys.modules.get("pydantic_core")
    if fast is not None:
        try:
            return fast.from_json(body)
        except ValueError:
            pass  # it is stricter than the standard library, for example about lone surrogates
    return json.loads(body)
