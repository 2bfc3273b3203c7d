"""Watching begins with the first guard and ends with `uninstall`: seams, import order, unsupported SDKs, no traces."""

import inspect
import subprocess
import sys
import textwrap
from typing import Any

import anthropic
import openai
import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard, UnsupportedSDKError
from actguard.providers import install as installing
from actguard.providers.stainless import METHODS
from actguard.testing import LocalProvider

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT: Any = {"model": "gpt-4o", "messages": MESSAGES}
MESSAGE: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}


@pytest.fixture(autouse=True)
def unwatched() -> Any:
    """Each test begins and ends with SDKs as they were imported."""
    actguard.uninstall()
    yield
    actguard.uninstall()


def owners(sdk: Any) -> list[tuple[Any, str]]:
    """Where a seam sits."""
    base = sdk._base_client
    return [
        (base.BaseClient, "_build_request"),
        *((client, name) for client in (base.SyncAPIClient, base.AsyncAPIClient) for name in METHODS if name[1] != "b"),
    ]


def everything_patchable() -> dict[tuple[Any, str], Any]:
    """Every attribute of every class that a patch may touch."""
    kinds: list[Any] = []
    for sdk in (openai, anthropic):
        base = sdk._base_client
        stack = [base.BaseClient, sdk._resource.SyncAPIResource, sdk._resource.AsyncAPIResource]
        while stack:
            kind = stack.pop()
            kinds.append(kind)
            stack += kind.__subclasses__()
    for name in ("openai.resources.realtime.realtime", "openai.resources.beta.realtime.realtime"):
        kinds += [kind for kind in vars(sys.modules.get(name, object)).values() if isinstance(kind, type)]
    return {(kind, name): value for kind in kinds for name, value in list(vars(kind).items()) if callable(value)}


# ---- the seam --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", [openai, anthropic], ids=["openai", "anthropic"])
def test_this_release_has_the_seam_with_the_signatures_it_always_had(sdk):
    base = sdk._base_client

    for client in (base.SyncAPIClient, base.AsyncAPIClient):
        request = inspect.signature(client.request).parameters
        assert list(request) == ["self", "cast_to", "options", "stream", "stream_cls"]
        assert all(request[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("stream", "stream_cls"))
        process = inspect.signature(client._process_response).parameters
        assert {"cast_to", "options", "response", "stream", "stream_cls"} <= process.keys()
        assert all(process[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(process)[1:])
    build = inspect.signature(base.BaseClient._build_request).parameters
    assert list(build)[:2] == ["self", "options"]


def test_what_a_later_release_says_besides_is_passed_on(monkeypatch):
    base, said = openai._base_client, []

    def hears(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def heard(client: Any, *args: Any, note: str, **kwargs: Any) -> Any:
            said.append(note)
            return original(client, *args, **kwargs)

        monkeypatch.setattr(owner, name, heard)

    class Later(openai.OpenAI):
        def _build_request(self, *args: Any, **kwargs: Any) -> Any:
            return super()._build_request(*args, **kwargs, note="build")

        def _process_response(self, **kwargs: Any) -> Any:
            return super()._process_response(**kwargs, note="process")

    hears(base.BaseClient, "_build_request")
    hears(base.SyncAPIClient, "_process_response")

    with LocalProvider() as local, BudgetGuard(usd_limit=1) as guard:
        Later(**local.openai_kwargs()).chat.completions.create(**CHAT)

    assert said == ["build", "process"]
    assert guard.usd_used == float(local.ledger.total_usd) > 0


def test_what_an_older_release_does_not_say_is_not_added(monkeypatch):
    base, built = openai._base_client, []
    original = base.BaseClient._build_request

    def older(client: Any, options: Any) -> Any:
        built.append(options.url)
        return original(client, options)

    class Older(openai.OpenAI):
        def _build_request(self, options: Any, **counted: Any) -> Any:
            return super()._build_request(options)

    monkeypatch.setattr(base.BaseClient, "_build_request", older)

    with LocalProvider() as local, BudgetGuard(usd_limit=1) as guard:
        Older(**local.openai_kwargs()).chat.completions.create(**CHAT)

    assert built == ["/chat/completions"]
    assert guard.usd_used == float(local.ledger.total_usd) > 0


def test_the_first_guard_watches_every_imported_sdk():
    before = {place: getattr(*place) for sdk in (openai, anthropic) for place in owners(sdk)}

    with BudgetGuard():
        after = {place: getattr(*place) for place in before}

    assert all(after[place] is not before[place] for place in before)
    for place, original in before.items():
        assert after[place].__wrapped__ is original
        assert inspect.signature(after[place]) == inspect.signature(original)
        assert inspect.iscoroutinefunction(after[place]) == inspect.iscoroutinefunction(original)
        assert (after[place].__name__, after[place].__doc__) == (original.__name__, original.__doc__)


def test_watching_twice_is_watching_once(llm_provider, agrees):
    actguard.install()
    watched = openai._base_client.SyncAPIClient.request
    actguard.install()
    with BudgetGuard(), BudgetGuard():
        pass

    assert openai._base_client.SyncAPIClient.request is watched
    with BudgetGuard(usd_limit=1) as guard:
        llm_provider.openai().chat.completions.create(**CHAT)
    assert guard.calls == 1
    agrees(guard)


# ---- taking it off ---------------------------------------------------------------------------------------------------


def test_uninstalling_leaves_no_trace(llm_provider):
    client = llm_provider.openai()
    for name in ("realtime", "beta"):  # imports what is watched only once it is there
        getattr(getattr(client, name, None), "realtime", None)
    before = everything_patchable()
    finders = list(sys.meta_path)

    with BudgetGuard():
        client.chat.completions.create(**CHAT)
        assert everything_patchable() != before
    actguard.uninstall()

    assert everything_patchable() == before
    assert sys.meta_path == finders


def test_after_uninstalling_an_open_guard_counts_nothing_more(llm_provider):
    client, claude = llm_provider.openai(), llm_provider.anthropic()

    with BudgetGuard(token_limit=1) as guard:
        actguard.uninstall()
        client.chat.completions.create(**CHAT)
        claude.messages.create(**MESSAGE)

    assert (guard.calls, guard.tokens_used) == (0, 0)


@pytest.mark.parametrize("cycles", [2, 5])
def test_watching_can_begin_and_end_many_times(llm_provider, agrees, cycles):
    client = llm_provider.openai()
    original = openai._base_client.SyncAPIClient.request

    for _ in range(cycles):
        with BudgetGuard(usd_limit=1) as guard:
            client.chat.completions.create(**CHAT)
            list(client.chat.completions.create(**CHAT, stream=True))
        agrees(guard)
        assert guard.calls == 2
        actguard.uninstall()
        assert openai._base_client.SyncAPIClient.request is original
        llm_provider.ledger.reset()


def test_a_patch_made_over_ours_stays_and_ours_below_it_lets_everything_pass(llm_provider, monkeypatch, agrees):
    client = llm_provider.openai()
    actguard.install()
    ours = openai._base_client.SyncAPIClient.request
    seen: list[str] = []

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append("theirs")
        return ours(self, *args, **kwargs)

    monkeypatch.setattr(openai._base_client.SyncAPIClient, "request", theirs)

    with BudgetGuard(token_limit=1) as guard:
        actguard.uninstall()
        assert openai._base_client.SyncAPIClient.request is theirs
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
    assert (seen, guard.calls) == (["theirs"] * 2, 0)
    llm_provider.ledger.reset()

    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(**CHAT)
    assert guard.calls == 1
    agrees(guard)


def test_a_client_with_a_request_method_of_its_own_gets_it_back(llm_provider):
    client = llm_provider.openai()
    own = client.request = lambda *args, **kwargs: type(client).request(client, *args, **kwargs)

    with BudgetGuard() as guard:
        assert client.request is not own
        client.chat.completions.create(**CHAT)
    actguard.uninstall()

    assert guard.calls == 1
    assert client.request is own


def test_a_stream_that_is_open_when_watching_ends_is_read_to_its_end(llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        stream = llm_provider.openai().chat.completions.create(**CHAT, stream=True)
        actguard.uninstall()
        assert len(list(stream)) == 22

    agrees(guard)


# ---- SDKs that cannot be watched -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.75.0", "0.28.1", "4.0.0", "5.1"])
def test_a_version_outside_the_supported_range_is_refused_where_a_guard_is_entered(monkeypatch, version):
    monkeypatch.setattr(openai, "__version__", version)

    with pytest.raises(UnsupportedSDKError, match=r"Install openai>=1\.76,<4") as raised:
        BudgetGuard().__enter__()

    assert (raised.value.sdk, raised.value.version, raised.value.supported) == ("openai", version, ">=1.76,<4")


def test_a_version_that_is_a_preview_of_a_supported_one_is_watched(monkeypatch):
    monkeypatch.setattr(anthropic, "__version__", "2.99.0rc1")

    with BudgetGuard():
        assert hasattr(anthropic._base_client.SyncAPIClient.request, "__wrapped__")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("sdk", [openai, anthropic], ids=["openai", "anthropic"])
def test_an_sdk_without_one_of_the_three_methods_is_refused_and_left_as_it_was(monkeypatch, sdk, name):
    base = sdk._base_client
    for owner in (base.BaseClient, base.SyncAPIClient, base.AsyncAPIClient):
        if name in vars(owner):
            monkeypatch.delattr(owner, name)
    for kind in {*base.SyncAPIClient.__subclasses__(), *base.AsyncAPIClient.__subclasses__()}:
        if name in vars(kind):
            monkeypatch.delattr(kind, name)
    before = everything_patchable()

    with pytest.raises(UnsupportedSDKError, match=f"lacks what is watched: .*{name}"):
        BudgetGuard().__enter__()

    now = everything_patchable()
    assert all(now[place] is value for place, value in before.items() if place[0].__module__.startswith(sdk.__name__))


def test_a_refusal_is_repeated_until_the_sdk_can_be_watched(monkeypatch, llm_provider, agrees):
    with monkeypatch.context() as patch:
        patch.setattr(anthropic, "__version__", "9.0.0")
        for _ in range(2):
            with pytest.raises(UnsupportedSDKError):
                BudgetGuard().__enter__()

    with BudgetGuard(usd_limit=1) as guard:
        llm_provider.anthropic().messages.create(**MESSAGE)
    agrees(guard)


# ---- import order ----------------------------------------------------------------------------------------------------


def run(program: str, provider: LocalProvider) -> str:
    header = f"""
        OPENAI = {provider.openai_kwargs()!r}
        ANTHROPIC = {provider.anthropic_kwargs()!r}
        CHAT = {CHAT!r}
        MESSAGE = {MESSAGE!r}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(header) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_sdk_that_is_imported_inside_a_guard_is_watched(llm_provider):
    said = run(
        """
        import sys
        from actguard import BudgetGuard

        with BudgetGuard(usd_limit=1) as guard:
            assert not {"openai", "anthropic"} & sys.modules.keys()
            from openai import OpenAI
            OpenAI(**OPENAI).chat.completions.create(**CHAT)
            import anthropic
            anthropic.Anthropic(**ANTHROPIC).messages.create(**MESSAGE)
        print(guard.calls, guard.tokens_used)
        """,
        llm_provider,
    )

    assert said == f"2 {llm_provider.ledger.tokens}"


def test_an_sdk_that_is_imported_between_guards_is_watched(llm_provider):
    said = run(
        """
        from actguard import BudgetGuard

        with BudgetGuard():
            pass
        import openai
        client = openai.OpenAI(**OPENAI)
        client.chat.completions.create(**CHAT)
        with BudgetGuard() as guard:
            client.chat.completions.create(**CHAT)
        print(guard.calls, openai.__spec__.loader is openai.__loader__, type(openai.__loader__).__name__)
        """,
        llm_provider,
    )

    assert said == "1 True SourceFileLoader"


def test_names_taken_from_an_sdk_before_anything_of_ours_are_watched(llm_provider):
    said = run(
        """
        from openai import OpenAI
        create = OpenAI(**OPENAI).chat.completions.create
        from actguard import BudgetGuard

        with BudgetGuard() as guard:
            create(**CHAT)
        print(guard.calls)
        """,
        llm_provider,
    )

    assert said == "1"


def test_an_unsupported_sdk_imported_inside_a_guard_fails_its_import_loudly(llm_provider):
    said = run(
        """
        import actguard
        from actguard.providers import install
        install.SDKS = tuple(sdk._replace(oldest=(99,)) if sdk.package == "openai" else sdk for sdk in install.SDKS)
        install._BY_PACKAGE["openai"] = next(sdk for sdk in install.SDKS if sdk.package == "openai")

        with actguard.BudgetGuard():
            try:
                import openai
            except actguard.UnsupportedSDKError as error:
                print(error.sdk)
        """,
        llm_provider,
    )

    assert said == "openai"


def test_an_unsupported_sdk_imported_outside_is_told_of_by_the_next_guard(llm_provider):
    said = run(
        """
        import actguard
        from actguard.providers import install
        install.SDKS = tuple(sdk._replace(oldest=(99,)) if sdk.package == "openai" else sdk for sdk in install.SDKS)
        install._BY_PACKAGE["openai"] = next(sdk for sdk in install.SDKS if sdk.package == "openai")

        with actguard.BudgetGuard():
            pass
        import openai
        print(openai.OpenAI.__name__)
        try:
            actguard.BudgetGuard().__enter__()
        except actguard.UnsupportedSDKError as error:
            print(error.sdk)
        """,
        llm_provider,
    )

    assert said.split() == ["OpenAI", "openai"]


def test_the_program_in_the_manual_runs_as_printed(llm_provider):
    program = """
        import os
        os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"] = OPENAI["base_url"], OPENAI["api_key"]

        from actguard import BudgetGuard
        import openai
        client = openai.OpenAI()
        with BudgetGuard(user_id="alice", token_limit=1_000) as guard:
            response = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])
        print(f"Used ${guard.usd_used:.4f} of ${guard.usd_limit:.2f}")
    """

    assert run(program, llm_provider) == "Used $0.0002 of $inf"


def test_outside_every_guard_nothing_is_counted_or_refused(llm_provider):
    client = llm_provider.openai()
    with BudgetGuard(token_limit=1) as guard:
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(**CHAT)
    used = guard.tokens_used

    client.chat.completions.create(**CHAT)
    list(client.chat.completions.create(**CHAT, stream=True))

    assert guard.tokens_used == used
    assert installing._installed
