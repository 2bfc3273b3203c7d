"""What requests may say. Fields that are not named here are ignored; limits are part of the types."""

import inspect
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

T = TypeVar("T")


def meaning(said: str) -> Meta:
    """What a field is, for people: it is in the OpenAPI document and on the page of the protocol."""
    return Meta(description=said)


PRINTABLE = r"^[^\x00-\x1f\x7f]*$(?!\n)"
"""`$` alone lets a line end pass."""
Id = Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE)]
Name = Annotated[str, Meta(max_length=200, pattern=PRINTABLE)]
PlanKey = Annotated[str, Meta(max_length=100, pattern=r"^[a-z0-9][a-z0-9_-]*$(?!\n)")]
Micros = Annotated[int, Meta(ge=0, le=10**15, description="micro-dollars")]
Units = Annotated[int, Meta(ge=0, le=10**12, description="1000 CU are a dollar")]
Tokens = Annotated[int, Meta(ge=0, le=10**12)]
Count = Annotated[int, Meta(ge=0, le=10**11)]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]


class Decoder(Generic[T]):
    """Reads what is one of the structs below.

    To search every name for what none may hold costs more than all the rest. In JSON, a control character can only be
    written as an escape; the one that needs none is DEL. Where neither is in a body, nothing is searched.
    """

    def __init__(self, kind: type[T]) -> None:
        self._whole: Final = msgspec.json.Decoder(kind)
        self._unsearched: Final = msgspec.json.Decoder(unsearched(kind))

    def decode(self, body: bytes) -> T:
        decoder = self._whole if b"\\" in body or b"\x7f" in body else self._unsearched
        return decoder.decode(body)


class ReserveBody(Struct):
    run_id: Id
    user_id: Name | None = None
    plan_key: PlanKey | None = None
    usd_limit_micros: Annotated[Micros | None, meaning("to hold; without it, what is left, up to a default")] = None
    token_limit: Tokens | None = None
    cost_limit: Units | None = None
    reserve_id: Annotated[Id | None, meaning("the client's own; without it, the gateway makes one")] = None
    ttl_s: Annotated[Seconds | None, meaning("how long the hold lives; without it, as the gateway was told")] = None
    when_short: Annotated[
        Literal["deny", "shrink"], meaning("`shrink` grants what is left, where that is less than was asked for")
    ] = "deny"


class UsageEntry(Struct):
    """One line of a bill. Counts are inclusive: a kind of input is also in `input_tokens`."""

    type: Literal["llm", "custom_cost"] = "llm"
    provider: Name = ""
    provider_model_id: Name = ""
    requested_model: Name = ""
    context: Annotated[dict[Name, Name], meaning("what selects a price: `service_tier`, `speed`, ...")] = {}
    calls: Annotated[Count, meaning("that it sums up; 1 lets the price of a long context apply")] = 0
    scope_name: Name | None = None
    estimated: bool = False
    usd_micros: Annotated[Micros | None, meaning("as the client priced it")] = None
    name: Annotated[Name, meaning("of a `custom_cost`")] = ""
    cost_cu: Annotated[Units, meaning("of a `custom_cost`, where `usd_micros` is not given")] = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_input_tokens: Count = 0
    cache_write_tokens_5m: Count = 0
    cache_write_tokens_1h: Count = 0
    web_search_count: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    cache_write_1h_tokens: Count = 0
    cache_write_12h_tokens: Count = 0
    input_audio_tokens: Count = 0
    input_image_tokens: Count = 0
    input_video_tokens: Count = 0
    cache_audio_read_tokens: Count = 0
    cache_image_read_tokens: Count = 0
    cache_video_read_tokens: Count = 0
    input_tool_tokens: Count = 0
    output_reasoning_tokens: Count = 0
    output_audio_tokens: Count = 0
    output_image_tokens: Count = 0
    output_video_tokens: Count = 0
    accepted_prediction_tokens: Count = 0
    rejected_prediction_tokens: Count = 0
    web_searches: Count = 0
    storage_searches: Count = 0
    map_searches: Count = 0
    code_executions: Count = 0
    input_audio_milliseconds: Count = 0
    output_audio_milliseconds: Count = 0
    input_characters: Count = 0
    output_images: Count = 0
    output_video_milliseconds: Count = 0


class SettleBody(Struct):
    reserve_id: Id
    usage_breakdown: Annotated[
        list[UsageEntry], Meta(max_length=5000), meaning("the bill; without it, the fields below are its one line")
    ] = []
    provider: Name = ""
    provider_model_id: Name = ""
    input_tokens: Count = 0
    cached_input_tokens: Count = 0
    output_tokens: Count = 0
    cache_write_tokens_5m: Count = 0
    cache_write_tokens_1h: Count = 0
    web_search_count: Count = 0
    reasoning_effort: Annotated[Any, meaning("of older clients; it changes nothing")] = None
    final: Annotated[bool, meaning("`false` charges a part, and leaves the hold open")] = True
    seq: Annotated[
        Annotated[int, Meta(ge=0, le=10**12)] | None, meaning("of a part, which needs one: each is charged once")
    ] = None
    offline: Annotated[bool, meaning("charge it also without a hold: there was nobody to ask")] = False
    run_id: Annotated[Name | None, meaning("of an `offline` run, as are the next two")] = None
    user_id: Name | None = None
    plan_key: PlanKey | None = None


class ExtendBody(Struct):
    reserve_id: Id
    usd_micros: Annotated[Micros | None, meaning("to hold beside what is held")] = None
    tokens: Annotated[Tokens | None, meaning("to hold beside what is held")] = None
    ttl_s: Annotated[Seconds | None, meaning("to live from now on; without it, as long as before")] = None


class ReleaseBody(Struct):
    reserve_id: Id


class EventsBody(Struct):
    events: Annotated[list[msgspec.Raw], meaning("envelopes, as the page on events has them; up to 1,000")]


class Envelope(Struct, kw_only=True, gc=False):
    """What of an event is looked at; all of it is kept. In the order of an SDK, in which it is found soonest.

    Nothing that JSON says can refer to itself, so none of it is garbage to search for.
    """

    id: Id
    ts: Name = ""
    user_id: Name | None = None
    run_id: Name | None = None
    category: Name
    name: Name
    provider: Name | None = None
    model: Name | None = None
    usd_micros: Micros | None = None
    input_tokens: Any = None
    cached_input_tokens: Any = None
    output_tokens: Any = None
    scope_name: Name | None = None
    tool_name: Any = None


class PlainEnvelope(Envelope, kw_only=True, gc=False):
    """An event as an SDK sends it, nothing of which needs a second look."""

    input_tokens: Tokens | None = None
    cached_input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    tool_name: Name | None = None


class PlainEventsBody(Struct, forbid_unknown_fields=True):
    events: list[PlainEnvelope]


class Identified(Struct):
    """An event that is rejected, as far as it can be named."""

    id: str | None = None


class NewKeyBody(Struct):
    agent: Annotated[Id, meaning("whose key it is")]
    role: Literal["agent", "admin"] = "agent"


class BudgetBody(Struct):
    scope: Literal["workspace", "agent", "user", "plan"]
    key: Annotated[Name, meaning("the agent, the user (`*` for each) or the plan; none for the workspace")] = ""
    window: Annotated[Literal["day", "month", "total"], meaning("`total` never begins anew")] = "month"
    usd_micros: Annotated[Micros | None, meaning("this, `tokens`, or both")] = None
    tokens: Tokens | None = None
    observe: Annotated[bool, meaning("count, and refuse nobody")] = False


class BudgetKeyBody(Struct):
    scope: Literal["workspace", "agent", "user", "plan"]
    key: Name = ""
    window: Literal["day", "month", "total"] = "month"


class CreditBody(Struct):
    usd_micros: Annotated[int, Meta(ge=1, le=10**15)]


class WorkspaceBody(Struct):
    time_zone: Annotated[Id, meaning("such as Europe/Amsterdam")]


def unsearched(kind: Any) -> Any:
    """*kind*, where no name has the pattern of printable ones."""
    generic: Any = get_origin(kind)
    parts = get_args(kind)
    if generic is Annotated:
        return Annotated[unsearched(parts[0]), *map(_without_pattern, parts[1:])]
    if get_origin(kind) in (list, dict, Union):
        return generic[tuple(map(unsearched, parts))]
    if inspect.isclass(kind) and issubclass(kind, Struct):
        fields = [(each.name, unsearched(each.type), _default(each)) for each in msgspec.structs.fields(kind)]
        return msgspec.defstruct(kind.__name__, fields, bases=(kind,), kw_only=True)
    return kind


def _without_pattern(note: Any) -> Any:
    if isinstance(note, Meta) and note.pattern == PRINTABLE:
        return Meta(min_length=note.min_length, max_length=note.max_length)
    return note


def _default(each: msgspec.structs.FieldInfo) -> Any:
    return msgspec.field(default=each.default, default_factory=each.default_factory)  # type: ignore[call-overload]
