"""Watching begins when the first guard is entered, and ends with `uninstall()`.

An SDK that is imported already is patched at once; one that is imported later, as soon as its import is complete. An
SDK that cannot be watched is never passed over: `UnsupportedSDKError`, where the guard is entered, or at the import if
that happens inside a guard.

The same way, libraries are observed that calls leave through: HTTP senders, threads, processes. What they add is
convenience and certainty, so one that looks different some day is told once in the log, and works as ever.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from actguard.budget.account import logger
from actguard.budget.guard import before_first_call
from actguard.context import current_frame
from actguard.exceptions import UnsupportedSDKError
from actguard.providers.patches import Patches


class SDK(NamedTuple):
    """An SDK that can be watched."""

    package: str
    """What is imported: `openai`."""
    distribution: str
    """What is installed: `openai`, `google-genai`."""
    oldest: tuple[int, ...]
    """The first supported version."""
    below: tuple[int, ...]
    """The first version that is not supported any more."""
    watcher: str
    """The module of ours that patches it; imported with it, and not before."""


SDKS = (
    SDK("openai", "openai", (1, 76), (4,), "actguard.providers.openai.sdk"),
    SDK("anthropic", "anthropic", (0, 83), (3,), "actguard.providers.anthropic.sdk"),
    SDK("google.genai", "google-genai", (1, 5), (4,), "actguard.providers.google.sdk"),
    # Its interactions are imported when they are first used, and take longer than all the rest of it.
    SDK("google.genai._gaos.basesdk", "google-genai", (2, 12), (4,), "actguard.providers.google.interactions"),
    SDK("google.generativeai", "google-generativeai", (0, 8), (0, 9), "actguard.providers.google.legacy_sdk"),
)


class Library(NamedTuple):
    """A library that is observed, in whatever version."""

    package: str
    observer: str
    """The module of ours whose `observe(package, patches)` patches it; imported with it, and not before."""


LIBRARIES = (
    Library("threading", "actguard.propagation"),
    Library("concurrent.futures.thread", "actguard.propagation"),
    Library("gevent", "actguard.propagation"),
    Library("gevent.threadpool", "actguard.propagation"),
    Library("concurrent.futures.process", "actguard.providers.processes"),
    Library("loky.process_executor", "actguard.providers.processes"),
    Library("joblib.externals.loky.process_executor", "actguard.providers.processes"),
    Library("multiprocessing.process", "actguard.providers.processes"),
    Library("multiprocessing.pool", "actguard.providers.pools"),
    Library("httpx", "actguard.providers.senders"),
    Library("httpx2", "actguard.providers.senders"),
    Library("aiohttp", "actguard.providers.senders"),
    Library("requests", "actguard.providers.senders"),
    Library("botocore.httpsession", "actguard.providers.senders"),
    Library("websockets.asyncio.client", "actguard.providers.sockets"),
    Library("websockets.sync.client", "actguard.providers.sockets"),
)

_lock = threading.RLock()
_watched: dict[str, Patches] = {}
_failed: dict[str, UnsupportedSDKError] = {}
_finder: Any = None
_installed = False


def install() -> None:
    """Watch every supported SDK, now or when it is imported. Entering a guard does this; twice is once.

    Raises:
        UnsupportedSDKError: an imported SDK cannot be watched.
    """
    global _finder, _installed
    if _installed and not _failed:
        return
    with _lock:
        if not _installed:
            _finder = _Finder()
            sys.meta_path.insert(0, _finder)  # duck-typed, as the loader is: importlib.abc loads slowly
            _installed = True
            for extra in _extras:
                extra.install()
            for library in LIBRARIES:
                if _is_imported(library.package):
                    _observe(library)
        for sdk in SDKS:
            if _is_imported(sdk.package):
                _failed.pop(sdk.package, None)
                try:
                    _watch(sdk)
                except UnsupportedSDKError as error:
                    _failed[sdk.package] = error  # told again when the next guard is entered
        for failure in _failed.values():
            raise failure


def uninstall() -> None:
    """Stop watching: every SDK is as it was found. Guards that are open count nothing more."""
    global _finder, _installed
    with _lock:
        for patches in _watched.values():
            patches.remove()
        _watched.clear()
        _failed.clear()
        for extra in _extras:
            extra.uninstall()
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        _finder = None
        _installed = False


class Extra(NamedTuple):
    """Something else to watch while SDKs are: threads, HTTP senders."""

    install: Callable[[], None]
    uninstall: Callable[[], None]


_extras: list[Extra] = []


def also(extra: Extra) -> None:
    _extras.append(extra)


def _watch(sdk: SDK) -> None:
    if sdk.package in _watched:
        return
    patches = Patches()
    try:
        version = _version(sdk)
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if not sdk.oldest <= numbers < sdk.below:
            raise _unsupported(sdk, version, "its version is outside the supported range")
        try:
            importlib.import_module(sdk.watcher).install(patches)
        except (AttributeError, ImportError) as missing:
            raise _unsupported(sdk, version, f"it lacks what is watched: {missing}") from missing
    except UnsupportedSDKError:
        patches.remove()
        raise
    _watched[sdk.package] = patches


def _observe(library: Library) -> None:
    if library.package in _watched:
        return
    patches = Patches()
    try:
        importlib.import_module(library.observer).observe(library.package, patches)
    except AttributeError as missing:
        patches.remove()
        logger.warning("%s is not observed, it looks different from what is known: %s", library.package, missing)
    _watched[library.package] = patches


def _unsupported(sdk: SDK, version: str, why: str) -> UnsupportedSDKError:
    supported = f">={'.'.join(map(str, sdk.oldest))},<{'.'.join(map(str, sdk.below))}"
    return UnsupportedSDKError(
        f"{sdk.distribution} {version} cannot be guarded: {why}. Install {sdk.distribution}{supported}.",
        sdk=sdk.distribution,
        version=version,
        supported=supported,
    )


def _version(sdk: SDK) -> str:
    module = sys.modules[sdk.package]
    version = getattr(module, "__version__", None)
    if not isinstance(version, str):
        from importlib.metadata import version as installed_version

        version = installed_version(sdk.distribution)
    return version


def _is_imported(package: str) -> bool:
    module = sys.modules.get(package)
    spec = getattr(module, "__spec__", None)
    return module is not None and not getattr(spec, "_initializing", False)


def _imported(sdk: SDK | Library) -> None:
    """The import of *sdk* is complete."""
    with _lock:
        if not _installed:
            return
        if isinstance(sdk, Library):
            _observe(sdk)
            return
        try:
            _watch(sdk)
        except UnsupportedSDKError as error:
            if current_frame().scope is not None:
                raise
            _failed[sdk.package] = error  # told when the next guard is entered


class _Finder:
    """Finds nothing itself: lets the others find an SDK, and is told when its import is complete."""

    def __init__(self) -> None:
        self._searching = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        sdk = _BY_PACKAGE.get(fullname)
        if sdk is None or getattr(self._searching, "on", False):
            return None
        self._searching.on = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching.on = False
        if spec is not None and spec.loader is not None:
            loader: Any = _Loader(spec.loader, sdk)
            spec.loader = loader
        return spec


class _Loader:
    """The loader that was found, followed by a look at what it loaded."""

    def __init__(self, loader: Any, sdk: SDK | Library) -> None:
        self._loader = loader
        self._sdk = sdk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _imported(self._sdk)


_BY_PACKAGE: dict[str, SDK | Library] = {watched.package: watched for watched in (*SDKS, *LIBRARIES)}

before_first_call.append(install)
