"""Client: where runs come from; what it is told, and who it reports to."""

import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actguard.exceptions import ActGuardUsageError
from actguard.runtime import config as configured
from actguard.runtime.backing import RunBacking
from actguard.runtime.config import OPTIONS, Config, EventMode, OnGatewayError, no_such_option
from actguard.runtime.run import ClientBudgetGuard, ClientRun

if TYPE_CHECKING:
    from actguard.budget.guard import BudgetGuard


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

    @classmethod
    def from_env(cls) -> Self:
        """A client as the environment says.

        ACTGUARD_CONFIG is the path of a JSON file of options, or such JSON in base64; ACTGUARD_GATEWAY_URL and
        ACTGUARD_API_KEY win over it. Without any of them the client is local.

        Raises:
            ActGuardUsageError: ACTGUARD_CONFIG is neither, or an option in it is wrong.
        """
        return cls._from_options(configured.from_env(os.environ), "ACTGUARD_CONFIG")

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
            return cls(**options)
        except ActGuardUsageError as wrong:
            raise ActGuardUsageError(f"{source}: {wrong.message}", argument=wrong.argument) from None

    # ---- runs and budgets ----

    def run(self, user_id: str | None = None, run_id: str | None = None) -> ClientRun:
        """A run: `with client.run(user_id="alice"):`, or `async with`.

        Args:
            user_id: for whom; guards and events inside inherit it.
            run_id: your own name for it; None: a new one.

        Raises:
            NestedRuntimeContextError: on entering it, a run is active here already.
        """
        return ClientRun(self, user_id, run_id)

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
        on_warning: "Callable[[BudgetGuard], Any] | None" = None,
        **options: Any,
    ) -> "BudgetGuard":
        """A BudgetGuard for the active run; see `actguard.BudgetGuard` for its options.

        With a gateway, the outermost one of a run has its limits set aside there when it is entered, and says there
        what was spent when it is left. The gateway may grant less; that is the limit then.

        Args:
            plan_key: the plan whose budget applies, as the gateway knows it.

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
        return RunBacking(self, run_id, user_id, None)

    # ---- its end ----

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that happened so far has been delivered.

        Args:
            timeout: seconds; None: as long as the options allow for one delivery.

        Returns:
            Whether it has.
        """
        return True

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as `flush` has it
        """`flush` without blocking the event loop."""
        return True

    def close(self) -> None:
        """Deliver what waits, and let go of connections and threads. Twice is once."""

    async def aclose(self) -> None:
        """`close` without blocking the event loop."""

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
