"""OpenAI's WebSockets (`realtime`, `responses.connect`, `live`): billed, and not read here, so a policy decides.

A connection meets the `unmetered` policy of a guard once: when it is opened inside it, or when something is first sent
inside it over a connection that was opened elsewhere.

The modules that hold these classes are large and imported by the SDK when they are first used; they are watched then.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from actguard.budget.account import Account
from actguard.providers.gate import unmetered
from actguard.providers.patches import Patches
from actguard.providers.senders import seen
from actguard.steps import frame_here


class WebSockets:
    """Watches the connection classes of one SDK."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._watched: set[str] = set()
        self._met: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
        """Connections, and the ids of the outermost guards whose policy has let them through."""

    def install(self, resources: Any) -> None:
        """Watch what is imported, and what will be. *resources* is the SDK's `_resource` module."""
        for base in (resources.SyncAPIResource, resources.AsyncAPIResource):
            for resource in base.__subclasses__():
                self._look_at(resource)
            self._patches.wrap(base, "__init__", self._around_init)

    def _around_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(resource: Any, client: Any) -> None:  # noqa: N807 - its name, to whoever looks
            original(resource, client)
            self._look_at(resource.__class__)

        return __init__

    def _look_at(self, resource: type) -> None:
        module = sys.modules.get(resource.__module__)
        if module is not None and "connect" in vars(resource) and module.__name__ not in self._watched:
            self._watched.add(module.__name__)
            self._watch(module)

    def _watch(self, module: ModuleType) -> None:
        for name, kind in list(vars(module).items()):
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            if name.endswith("ConnectionManager"):
                for method in ("__enter__", "__aenter__", "enter"):
                    if hasattr(kind, method):
                        self._patches.wrap(kind, method, self._around_enter)
                if hasattr(kind, "_connect_ws"):  # by which it also connects again
                    self._patches.wrap(kind, "_connect_ws", _around_connect)
            elif name.endswith("Connection"):
                for method in ("send", "send_raw"):
                    if hasattr(kind, method):
                        self._patches.wrap(kind, method, self._around_send)

    def _around_enter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def aenter(manager: Any) -> Any:
                root = self._meet(manager)
                with seen():
                    connection = await original(manager)
                self._remember(connection, root)
                return connection

            return aenter

        @functools.wraps(original)
        def enter(manager: Any) -> Any:
            root = self._meet(manager)
            with seen():
                connection = original(manager)
            self._remember(connection, root)
            return connection

        return enter

    def _around_send(self, original: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def asend(connection: Any, *args: Any, **kwargs: Any) -> Any:
                self._remember(connection, self._meet(connection))
                return await original(connection, *args, **kwargs)

            return asend

        @functools.wraps(original)
        def send(connection: Any, *args: Any, **kwargs: Any) -> Any:
            self._remember(connection, self._meet(connection))
            return original(connection, *args, **kwargs)

        return send

    def _meet(self, connection: Any) -> str | None:
        """Apply the policy of the guard around, if it has not let *connection* through yet; its id, if it does now.

        Raises:
            UnmeteredCallError: policy "block".
        """
        account = frame_here().scope
        if not isinstance(account, Account) or not self._patches.live:
            return None
        root = account.root.id
        if root in self._met.get(connection, ()):
            return None
        unmetered(account, f"openai {type(connection).__name__.removesuffix('Manager').removeprefix('Async')}")
        return root

    def _remember(self, connection: Any, root: str | None) -> None:
        if root is not None:
            self._met.setdefault(connection, set()).add(root)


def _around_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def aconnect(*args: Any, **kwargs: Any) -> Any:
            with seen():
                return await original(*args, **kwargs)

        return aconnect

    @functools.wraps(original)
    def connect(*args: Any, **kwargs: Any) -> Any:
        with seen():
            return original(*args, **kwargs)

    return connect
