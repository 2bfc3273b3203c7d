"""Client: where runs come from; what it is told, and who it reports to."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actguard.events.channel import Channel, all_flushed, sink_named
from actguard.events.envelope import Origin
from actguard.events.run_events import RunEvents, surrounding_span
from actguard.events.sinks import JsonLines
from actguard.exceptions import ActGuardUsageError
from actguard.providers import install as _watching  # noqa: F401 # pyright: ignore[reportUnusedImport]
from actguard.runtime import config as configured
from actguard.runtime import direct
from actguard.runtime.backing import RunBacking
from actguard.runtime.config import OPTIONS, Config, EventMode, OnGatewayError, no_such_option
from actguard.runtime.delivery import GatewaySink, channel_to
from actguard.runtime.lifecycle import die, live
from actguard.runtime.remote import RESERVE, SETTLE, Remote
from actguard.runtime.run import ClientBudgetGuard, ClientRun, WhenShort
from actguard.runtime.unfinished import Unfinished
from actguard.runtime.waiting import await_for
from actguard.transport.workers import Workers

if TYPE_CHECKING:
    from actguard.budget.guard import BudgetGuard

META = {"sdk": "actguard-python"}


class Client:
    """Runs, their budgets and their events. Local, unless it is told of a gateway.

    See `actguard.runtime.config.Config` for the options. A client may be used from every thread and event loop of its
    process, and goes on in forked children. Closed at the end of the program at the latest; `with Client() as client`
    closes it earlier.

    Raises:
        ActGuardUsageError: an option does not exist, or has a wrong value.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        gateway_url: str | None = None,
        on_gateway_error: OnGatewayError = "open",
        event_mode: EventMode = "verbose",
        event_sinks: Sequence[Any] = (),
        events_file: "str | os.PathLike[str] | None" = None,
        agent_id: str | None = None,
        flush_interval_ms: int = 1000,
        max_batch_events: int = 100,
        max_batch_bytes: int = 256_000,
        max_queue_events: int = 10_000,
        timeout_s: float | None = None,
        max_retries: int | None = None,
        budget_timeout_s: float | None = None,
        budget_max_retries: int | None = None,
        event_timeout_s: float | None = None,
        event_max_retries: int | None = None,
        backoff_base_ms: int = 200,
        backoff_max_ms: int = 10_000,
        spool_dir: "str | os.PathLike[str] | None" = None,
        ca_file: "str | os.PathLike[str] | None" = None,
        debug: bool = False,
        **unknown: Any,
    ) -> None:
        given = dict(locals())
        for name in unknown:
            raise no_such_option(name)
        self.config = Config(**{name: given[name] for name in OPTIONS})
        self.config.warn_if_exposed()
        self.remote: Remote | None = None
        self._closed = False
        self._channels: list[Channel] = []
        self._unfinished = Unfinished()
        self._gateway_sink: GatewaySink | None = None
        sinks = [sink_named(sink) for sink in self.config.event_sinks]
        if self.config.events_file is not None:
            sinks.append(JsonLines(self.config.events_file))
        if self.config.remote:
            self.remote = Remote(self.config)
            self._gateway_sink = GatewaySink(self.remote.transport, self.config.events, self.config.max_batch_bytes)
            sinks.append(self._gateway_sink)
        if self.config.event_mode != "off":
            self._channels = [channel_to(sink, self.config) for sink in sinks]
        if self._channels or self.remote is not None:
            live(self)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client as the environment says; *options* win over it.

        ACTGUARD_CONFIG is the path of a JSON file of options, or such JSON in base64; ACTGUARD_GATEWAY_URL and
        ACTGUARD_API_KEY win over it. Without any of them the client is local.

        Raises:
            ActGuardUsageError: ACTGUARD_CONFIG is neither, or an option in it is wrong.
        """
        source = "ACTGUARD_CONFIG" if os.environ.get("ACTGUARD_CONFIG", "").strip() else "The environment"
        return cls._from_options({**configured.from_env(os.environ), **options}, source)

    @classmethod
    def from_file(cls, path: "str | os.PathLike[str]") -> Self:
        """A client with the options in a JSON file.

        Raises:
            ActGuardUsageError: the file cannot be read, is no JSON object, or an option in it is wrong.
        """
        return cls._from_options(configured.from_file(path), f"The configuration file {os.fspath(path)}")

    @classmethod
    def _from_options(cls, options: dict[str, Any], source: str) -> Self:
        try:
            for name in options:
                if name not in OPTIONS:  # "self", too
                    raise no_such_option(name)
            return cls(**options)
        except ActGuardUsageError as wrong:
            raise ActGuardUsageError(f"{source}: {wrong.message}", argument=wrong.argument) from None

    # ---- runs and budgets ----

    def run(self, user_id: str | None = None, run_id: str | None = None, *, thread_id: str | None = None) -> ClientRun:
        """A run: `with client.run(user_id="alice"):`, or `async with`.

        Args:
            user_id: for whom; guards and events inside inherit it.
            run_id: your own name for it; None: a new one.
            thread_id: the conversation that it is a turn of; `max_attempts(per="thread")` counts in it.

        Raises:
            NestedRuntimeContextError: on entering it, a run is active here already.
        """
        return ClientRun(self, user_id, run_id, thread_id)

    def budget_guard(
        self,
        *,
        user_id: str | None = None,
        name: str | None = None,
        usd_limit: float | None = None,
        token_limit: int | None = None,
        run_id: str | None = None,
        plan_key: str | None = None,
        strict: bool = False,
        when_short: WhenShort = "deny",
        on_warning: "Callable[[BudgetGuard], Any] | None" = None,
        **options: Any,
    ) -> "BudgetGuard":
        """A BudgetGuard for the active run; see `actguard.BudgetGuard` for its options.

        With a gateway, the outermost one of a run has its limits set aside there when it is entered, and says there
        what was spent when it is left. The gateway may grant less; that is the limit then.

        Args:
            plan_key: the plan whose budget applies, as the gateway knows it.
            when_short: what to do where a shared budget has less left than this guard's limits: "deny", as if nothing
                were left; or "shrink", so that what is left is the limit.

        Raises:
            ActGuardUsageError: a wrong option.
            MissingRuntimeContextError: on entering it, no run is active here.
            BudgetClientMismatchError: on entering it, the active run is another client's.
            BudgetExceededError: on entering it, a shared budget has nothing left (`origin` is "remote").
            ActGuardPaymentRequired: on entering it, the prepaid balance does not cover it.
            BudgetTransportError: on entering it, the gateway refused the request; or it could not be reached, and
                `on_gateway_error` is "closed".
        """
        return ClientBudgetGuard(
            self,
            plan_key=plan_key,
            when_short=when_short,
            user_id=user_id,
            name=name,
            usd_limit=usd_limit,
            token_limit=token_limit,
            run_id=run_id,
            strict=strict,
            on_warning=on_warning,
            **options,
        )

    def open_run(self, run_id: str, user_id: str | None) -> RunBacking:
        """What stands behind a run that is entered now; for `ClientRun`."""
        self._check_open()
        emitter = None
        if self._channels:
            for channel in self._channels:
                channel.start()
            trace_id, span_id = surrounding_span()
            origin = Origin(run_id, user_id, self.config.agent_id, trace_id or os.urandom(16).hex(), span_id, META)
            emitter = RunEvents(origin, self.config.event_mode, self._channels)
        if self.remote is not None:
            self.remote.courier.start()
        return RunBacking(self, self.remote, run_id, user_id, emitter, self._unfinished)

    # ---- budgets without a guard ----

    def reserve_budget(
        self,
        *,
        run_id: str,
        user_id: str | None = None,
        usd_limit: float | None = None,
        token_limit: int | None = None,
        plan_key: str | None = None,
        cost_limit: int | None = None,
        reserve_id: str | None = None,
        when_short: WhenShort = "deny",
    ) -> dict[str, Any]:
        """Have a budget set aside at the gateway, for spend that no guard watches. Settle it yourself.

        Args:
            cost_limit: like `usd_limit`, in thousandths of a dollar.
            reserve_id: your own id for it, which makes a repetition the same request; None: a new one.
            when_short: "shrink" takes what is left, if that is less; its limits are in the answer.

        Returns:
            The gateway's answer; its `reserve_id` is what `settle_budget` needs.

        Raises:
            ActGuardUsageError: a wrong argument, or the client has no gateway, or is closed.
            BudgetExceededError: a shared budget has not enough left.
            ActGuardPaymentRequired: the prepaid balance does not cover it.
            BudgetTransportError: it could not be reached, or refused the request. Whatever `on_gateway_error` says.
        """
        remote = self._open_with_gateway()
        body = direct.reserve_body(
            run_id, user_id, usd_limit, token_limit, plan_key, cost_limit, reserve_id, when_short
        )
        return remote.ask(RESERVE, body, body["reserve_id"], release=body["reserve_id"])

    async def areserve_budget(
        self,
        *,
        run_id: str,
        user_id: str | None = None,
        usd_limit: float | None = None,
        token_limit: int | None = None,
        plan_key: str | None = None,
        cost_limit: int | None = None,
        reserve_id: str | None = None,
        when_short: WhenShort = "deny",
    ) -> dict[str, Any]:
        """`reserve_budget` without blocking the event loop."""
        remote = self._open_with_gateway()
        body = direct.reserve_body(
            run_id, user_id, usd_limit, token_limit, plan_key, cost_limit, reserve_id, when_short
        )
        return await remote.aask(RESERVE, body, body["reserve_id"], release=body["reserve_id"])

    def settle_budget(
        self,
        *,
        reserve_id: str,
        input_tokens: int = 0,
        cached_input_tokens: int = 0,
        output_tokens: int = 0,
        usage_breakdown: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """Say what was spent of what `reserve_budget` set aside. Twice is once.

        Args:
            usage_breakdown: a mapping for each model: `provider`, `provider_model_id`, and its tokens, named as the
                arguments here are. Without any, *more* names the model.
            **more: `provider`, `provider_model_id`, `cache_write_tokens_5m`, `final`, `seq`, and whatever else the
                gateway knows.

        Raises:
            ActGuardUsageError: a wrong argument, or the client has no gateway.
            BudgetTransportError: it could not be reached: call again with the same arguments. Or, not `retryable`, it
                refused the request.
        """
        remote = self._with_gateway()
        body, key = direct.settle_body(
            reserve_id, input_tokens, cached_input_tokens, output_tokens, usage_breakdown, more
        )
        return remote.ask(SETTLE, body, key)

    async def asettle_budget(
        self,
        *,
        reserve_id: str,
        input_tokens: int = 0,
        cached_input_tokens: int = 0,
        output_tokens: int = 0,
        usage_breakdown: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """`settle_budget` without blocking the event loop."""
        remote = self._with_gateway()
        body, key = direct.settle_body(
            reserve_id, input_tokens, cached_input_tokens, output_tokens, usage_breakdown, more
        )
        return await remote.aask(SETTLE, body, key)

    def _open_with_gateway(self) -> Remote:
        """For what begins something; what was begun can be settled still."""
        self._check_open()
        return self._with_gateway()

    def _check_open(self) -> None:
        if self._closed:
            raise ActGuardUsageError("this Client is closed: make a new one")

    def _with_gateway(self) -> Remote:
        if self.remote is None:
            raise ActGuardUsageError(
                "this Client is local: give it gateway_url and api_key to reserve budgets", argument="gateway_url"
            )
        return self.remote

    # ---- its end ----

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that happened so far has been delivered, also what ended processes have left.

        Args:
            timeout: seconds; None: as long as the options allow for one delivery.

        Returns:
            Whether it has.
        """
        deadline = time.monotonic() + (self.config.events.timeout_s if timeout is None else timeout)
        delivered = all_flushed(self._channels, deadline - time.monotonic())
        if self.remote is not None:
            delivered = self.remote.courier.flush(max(0.05, deadline - time.monotonic()), others=True) and delivered
        return delivered

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as `flush` has it
        """`flush` without blocking the event loop."""
        return await await_for(self._threads(), lambda: self.flush(timeout), None)

    def close(self) -> None:
        """Deliver what waits, and let go of connections and threads. Twice is once.

        Spend that cannot be delivered now stays on disk, and a later process delivers it. A call that was begun in a
        scope of this client and runs on, such as a stream that nobody has closed, is charged as it stands.
        """
        if self._closed:
            return
        self._closed = True
        die(self)
        self._unfinished.give_up()
        deadline = time.monotonic() + self.config.events.timeout_s
        if self._gateway_sink is not None:
            self._gateway_sink.hurried = True
        for channel in self._channels:
            channel.close(max(0.05, deadline - time.monotonic()))
        if self.remote is not None:
            self.remote.close(max(0.05, deadline - time.monotonic()))

    async def aclose(self) -> None:
        """`close` without blocking the event loop."""
        await await_for(self._threads(), self.close, None)

    @property
    def dropped_events(self) -> int:
        """Events that no sink got: dropped from a full queue, refused, or left over at the end."""
        rejected = self._gateway_sink.rejected if self._gateway_sink is not None else 0
        return sum(channel.dropped for channel in self._channels) + rejected

    def forked(self) -> None:
        """In a forked child: threads stayed behind, and what waits is the parent's to deliver."""
        self._unfinished.forked()
        for channel in self._channels:
            channel.forked()
        if self.remote is not None:
            self.remote.forked()

    def _threads(self) -> Workers:
        return self.remote.workers if self.remote is not None else Workers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        where = f"gateway {self.config.gateway_url}" if self.config.remote else "local"
        return f"<Client: {where}>"
