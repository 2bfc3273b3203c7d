"""A session: what was read in it may be used in it, and nowhere else.

    with session():            facts live until the block ends
    with session("chat-42"):   the same, with a name for logs; blocks of one name in one process share their facts
    session("chat-42", shared=True)   facts live in the store under that name, for every process, until `close`

A session may be entered again while it is open, and from any number of tasks and threads; its facts end when the last
has left. Work that outlives it finds that it is over, also if another one of the same name has begun since.
"""

import contextlib
import logging
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

from actguard.budget.guard import before_first_call
from actguard.custody.kinds import HEAD, LASTING, OWN, PLAN, own_kind
from actguard.custody.life import Life, aio
from actguard.custody.prompts import Prompt
from actguard.custody.trust import LABELS, Trust, level
from actguard.custody.values import Unfit, encode, is_blank
from actguard.exceptions import SessionUsageError, StoreError, UnsupportedSDKError
from actguard.pipeline import settings
from actguard.pipeline.guard import positive
from actguard.steps import Entries, Entry, caller, frame_here
from actguard.stores import keys
from actguard.stores.facts import Fact, FactStore, Known

_log = logging.getLogger("actguard")


class KnownFact(NamedTuple):
    """A fact of a session, for people to look at. *value* is as the store keeps it: with its type, long ones hashed."""

    kind: str
    value: str
    trust: Trust
    source: str
    age: float
    expires_in: float
    uses: int | None
    """How often it may be used yet; None: as often as it likes."""


_lives: dict[tuple[int, str], Life] = {}
"""Lives that are open in this process, by store and by name, which is a session's id in its scope."""
_lock = threading.RLock()  # the collector may close a generator inside it, which leaves too


class session:  # noqa: N801 - used as a word: `with session():`
    """What is read in it may be used in it, and nowhere else; `with` and `async with`.

    It may be entered again while it is open, and from any number of tasks and threads; its facts end when the last has
    left.

    Args:
        id: its name; None: one that is generated.
        scope: what the name belongs to, such as a tenant: the same id in another scope is another session. A text, or
            several by name: `{"tenant": "t-7", "user_id": "alice"}`.
        prompt: what the user asked for: `trust_prompt`.
        store: where its facts are kept; None: where `actguard.configure` says.
        shared: keep the facts under the name, for other processes and later entries, until `close`.

    Raises:
        SessionUsageError: an argument does not fit.
    """

    def __init__(
        self,
        id: str | None = None,
        scope: str | Mapping[str, str] | None = None,
        *,
        prompt: str | None = None,
        store: Any = None,
        shared: bool = False,
    ) -> None:
        if id is not None and not _is_name(id):
            raise SessionUsageError(f"id must be a non-empty text or None, not {id!r}", argument="id")
        if store is not None and not callable(getattr(store, "facts_check", None)):
            raise SessionUsageError(f"store must be one that keeps facts, not {store!r}", argument="store")
        if not isinstance(shared, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SessionUsageError(f"shared must be True or False, not {shared!r}", argument="shared")
        if shared and id is None:
            raise SessionUsageError("a shared session needs an id, by which others find it", argument="shared")
        self.id = id if id is not None else uuid.uuid4().hex
        self.scope = scope
        self._name = keys.encode((self.id, *_scope_parts(scope)))
        self._prompts = () if prompt is None else (Prompt(prompt),)
        self._store: FactStore | None = store
        self._shared = shared
        self._life: Life | None = None
        self._entries = Entries()

    def __enter__(self) -> Self:
        return self._enter(caller())

    def _enter(self, python: FrameType) -> Self:
        for prepare in before_first_call:
            with contextlib.suppress(UnsupportedSDKError):  # it has seen to threads by then
                prepare()
        around = frame_here()
        entry, life = Entry(around), None
        try:
            with _lock:
                life = self._joined()
                life.inside.add(entry)
                self._entries.enter(entry, around._replace(session=life), python)
        except BaseException:  # an interrupt: nobody will leave what he has not entered
            with _lock:
                self._entries.end(entry)
                if life is not None:
                    self._leave_life(life, entry)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving: list[Entry] = []
        try:
            _end_facts(self._leave(caller(), leaving))
        except BaseException:  # an interrupt: who has begun to leave has left
            _end_facts(self._leave(caller(), leaving))
            raise
        if not leaving:
            raise self._not_inside()

    async def __aenter__(self) -> Self:
        return self._enter(caller())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving: list[Entry] = []
        over: Life | None = None
        try:
            over = self._leave(caller(), leaving)
        except BaseException:
            over = self._leave(caller(), leaving)
            raise
        finally:
            await _aend_facts(over)
        if not leaving:
            raise self._not_inside()

    def close(self) -> None:
        """End the facts now, also those of a shared session. Whoever is still inside finds the session over."""
        life = self._end()
        life.store.facts_end(life.key)

    async def aclose(self) -> None:
        """`close`, on an event loop."""
        life = self._end()
        await aio(life.store, "facts_end", life.key)

    def trust_prompt(self, text: str, kinds: Iterable[str] | Mapping[str, Any] | None = None) -> None:
        """Trust the values that the user names in *text* as much as the user.

        Args:
            text: the user's own words; nothing that was pasted or fetched. It names a value that stands in it as a
                whole.
            kinds: the kinds that he may name; with patterns, what such a value looks like. None: all.
        """
        prompt = Prompt(text, kinds)
        life = self._open()
        with _lock:
            life.prompts = (*life.prompts, prompt)

    def add_fact(
        self, kind: str, value: Any, trust: Trust = "user", *, ttl: float = LASTING, max_uses: int | None = None
    ) -> None:
        """State a fact that no tool read.

        Args:
            trust: "user", as of what the program or the user says; "field" or "text" for less.
            ttl: seconds that it lives, a week if it is not said, and no longer than the session.
            max_uses: calls that may use it; None: as many as like.

        Raises:
            SessionUsageError: the session is not open, or *value* is no fact.
        """
        life = self._open()
        life.store.facts_put(life.key, _stated(kind, value, trust, ttl, max_uses))

    async def aadd_fact(
        self, kind: str, value: Any, trust: Trust = "user", *, ttl: float = LASTING, max_uses: int | None = None
    ) -> None:
        """`add_fact`, on an event loop."""
        life = self._open()
        await aio(life.store, "facts_put", life.key, _stated(kind, value, trust, ttl, max_uses))

    def revoke(self, kind: str, value: Any = None) -> int:
        """Forget a fact; without a value, all facts of the kind. How many were known."""
        life = self._open()
        _are_kinds("kind", kind)
        return life.store.facts_revoke(life.key, kind, None if value is None else _encoded(value))

    async def arevoke(self, kind: str, value: Any = None) -> int:
        """`revoke`, on an event loop."""
        life = self._open()
        _are_kinds("kind", kind)
        gone: int = await aio(life.store, "facts_revoke", life.key, kind, None if value is None else _encoded(value))
        return gone

    def facts(self, *kinds: str) -> list[KnownFact]:
        """What is known, of these kinds or of all: for people to look at."""
        life = self._open()
        _are_kinds("kinds", *kinds)
        return _shown(life.store.facts_list(life.key, kinds))

    async def afacts(self, *kinds: str) -> list[KnownFact]:
        """`facts`, on an event loop."""
        life = self._open()
        _are_kinds("kinds", *kinds)
        return _shown(await aio(life.store, "facts_list", life.key, kinds))

    def plan(self, tools: Iterable[Any]) -> None:
        """Say which tools this task may call, before anything untrusted is read: what `InPlan` asks for.

        Args:
            tools: their names, or the functions; instead of those that were planned before.
        """
        life = self._open()
        planned = _planned(tools)
        life.store.facts_revoke(life.key, PLAN)
        life.store.facts_put(life.key, planned)

    async def aplan(self, tools: Iterable[Any]) -> None:
        """`plan`, on an event loop."""
        life = self._open()
        planned = _planned(tools)
        await aio(life.store, "facts_revoke", life.key, PLAN)
        await aio(life.store, "facts_put", life.key, planned)

    def _joined(self) -> Life:
        """The life that an entry belongs to, with the lock held."""
        store = self._store if self._store is not None else default_store()
        life = _lives.get((id(store), self._name))
        if life is None or life.ended or life.shared is not self._shared:
            life = Life(self.id, self._name, store, shared=self._shared)
            _lives[id(store), self._name] = life
        if self._life is not life:
            life.prompts = (*life.prompts, *self._prompts)
        self._life = life
        return life

    def _leave(self, python: FrameType, leaving: list[Entry]) -> Life | None:
        """Undo the innermost entry of the running code; the life, if its facts end with that."""
        with _lock:
            self._entries.leave(python, leaving)
            for entry in leaving:
                life: Life = entry.entered.session
                self._leave_life(life, entry)
                if life.ended and not life.inside and not life.shared:
                    return life
        return None

    def _leave_life(self, life: Life, entry: Entry) -> None:
        """*entry* is left, with the lock held."""
        life.inside.discard(entry)
        if life.inside:
            return
        life.ended = True
        if _lives.get((id(life.store), life.name)) is life:
            del _lives[id(life.store), life.name]
        if self._life is life:
            self._life = None

    def _not_inside(self) -> SessionUsageError:
        return SessionUsageError(f"session {self.id!r} was left more often than it was entered")

    def _end(self) -> Life:
        with _lock:
            life = self._life
            if life is None:
                if not self._shared:
                    raise SessionUsageError(f"session {self.id!r} is not open")
                store = self._store if self._store is not None else default_store()
                return Life(self.id, self._name, store, shared=True)
            life.ended = True
            if _lives.get((id(life.store), life.name)) is life:
                del _lives[id(life.store), life.name]
            self._life = None
            return life

    def _open(self) -> Life:
        life = self._life
        if life is None or life.ended or not self._entries:
            raise SessionUsageError(f"session {self.id!r} is not open: use it inside `with session(...)`")
        return life

    def __repr__(self) -> str:
        scope = "" if self.scope is None else f", scope={self.scope!r}"
        return f"session({self.id!r}{scope})"


def _end_facts(over: Life | None) -> None:
    if over is not None:
        try:
            over.store.facts_end(over.key)
        except StoreError as why:
            _left_behind(over, why)


async def _aend_facts(over: Life | None) -> None:
    if over is not None:
        try:
            await aio(over.store, "facts_end", over.key)
        except StoreError as why:
            _left_behind(over, why)


def _left_behind(life: Life, why: StoreError) -> None:
    """The facts of a session that is over could not be removed. What its block returned, or raised, matters more:
    nobody finds them under that key again, and they end with their time."""
    _log.warning("The facts of session %r end later than it does: %s", life.id, why)


def _scope_parts(scope: str | Mapping[str, str] | None) -> tuple[Any, ...]:
    """What *scope* adds to the name of a session: nothing, a text, or texts by name in a fixed order."""
    if scope is None or _is_name(scope):
        return () if scope is None else (scope,)
    if isinstance(scope, Mapping) and all(_is_name(text) for pair in scope.items() for text in pair):
        return (tuple(sorted(scope.items())),) if scope else ()
    raise SessionUsageError(
        f'scope must be a non-empty text, texts by name ({{"user_id": "alice"}}) or None, not {scope!r}',
        argument="scope",
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def default_store() -> FactStore:
    """The store where none is named: the configured one, if it keeps facts."""
    store: Any = settings.current().store
    if not callable(getattr(store, "facts_check", None)):
        raise SessionUsageError(f"the configured store keeps no facts: {store!r}", argument="store")
    keeps: FactStore = store
    return keeps


def _stated(kind: str, value: Any, trust: Trust, ttl: float, max_uses: int | None) -> list[Fact]:
    seconds = positive("ttl", ttl, error=SessionUsageError)
    if max_uses is not None and (type(max_uses) is not int or max_uses < 1):
        raise SessionUsageError(f"max_uses must be a whole number, 1 or more, not {max_uses!r}", argument="max_uses")
    key = (own_kind("kind", kind), _encoded(value))
    return [Fact(key, seconds, level("trust", trust), uses=-1 if max_uses is None else max_uses)]


def _are_kinds(argument: str, *kinds: Any) -> None:
    for kind in kinds:
        if not isinstance(kind, str):
            raise SessionUsageError(f"{argument} must be the name of a kind of facts, not {kind!r}", argument=argument)


def _encoded(value: Any) -> str:
    if value is None or is_blank(value):
        raise SessionUsageError("None is no fact, and neither is an empty text", argument="value")
    try:
        return encode(value)
    except (Unfit, TypeError, ValueError) as error:
        raise SessionUsageError(f"value is no fact: {error}", argument="value") from None


def _planned(tools: Iterable[Any]) -> list[Fact]:
    if isinstance(tools, str) or not isinstance(tools, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SessionUsageError(f"tools must be a list of names or functions, not {tools!r}", argument="tools")
    planned: list[Fact] = []
    for tool in tools:
        name = tool if isinstance(tool, str) else getattr(tool, "__name__", None)
        if not name:
            raise SessionUsageError(f"tools must be names or functions, not {tool!r}", argument="tools")
        planned.append(Fact((PLAN, encode(name)), LASTING, 2))
    return planned


def _shown(known: Sequence[Known]) -> list[KnownFact]:
    return [
        KnownFact(
            fact.key[0],
            fact.key[1],
            LABELS[fact.trust],
            fact.source,
            fact.age,
            fact.expires_in,
            None if fact.uses < 0 else fact.uses,
        )
        for fact in known
        if not fact.key[0].startswith(OWN) and not fact.key[0].endswith(HEAD)
    ]
