"""Which request is billed how: every endpoint of the three SDKs, under every base path they are reached by."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from actguard.providers.anthropic import endpoints as anthropic
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google import endpoints as google
from actguard.providers.openai import endpoints as openai
from actguard.providers.routes import Routes

PRICED, FREE, DEFERRED, TERMINAL, UNMETERED = Kind

OPENAI = """
    POST /chat/completions                                  chat.completions      priced
    POST /v1/chat/completions                               chat.completions      priced
    POST https://api.openai.com/v1/chat/completions         chat.completions      priced
    POST https://openrouter.ai/api/v1/chat/completions/     chat.completions      priced
    POST //deployments/gpt-4o/chat/completions              chat.completions      priced
    POST /openai/deployments/d/chat/completions?api-version=2024-10-21  chat.completions  priced
    POST /v1beta1/projects/p/locations/l/endpoints/openapi/chat/completions  chat.completions  priced
    GET  /chat/completions                                  unknown               free
    GET  /chat/completions/chatcmpl-1                       chat.completions      free
    POST /chat/completions/chatcmpl-1                       chat.completions      free
    GET  /chat/completions/chatcmpl-1/messages              unknown               free
    POST /completions                                       completions           priced
    POST /v1/fim/completions                                completions           priced
    POST /responses                                         responses             priced
    POST /responses?beta=true                               responses             priced
    POST /openai/v1/responses                               responses             priced
    POST /responses/compact                                 responses.compact     priced
    POST /responses/input_tokens                            responses.input_tokens  free
    GET  /responses/resp_1                                  responses             terminal
    GET  /responses/resp_1?stream=true&starting_after=3     responses             terminal
    POST /responses/resp_1/cancel                           responses             terminal
    GET  /responses/resp_1/input_items                      unknown               free
    DELETE /responses/resp_1                                unknown               free
    POST /embeddings                                        embeddings            priced
    POST /decisions                                         decisions             priced
    POST /moderations                                       moderations           free
    POST /images/generations                                images                priced
    POST /openai/deployments/d/images/edits                 images                priced
    POST /images/variations                                 images                unmetered
    POST /audio/transcriptions                              audio.transcriptions  priced
    POST /audio/translations                                audio.translations    priced
    POST /audio/speech                                      audio.speech          unmetered
    POST /videos                                            videos                unmetered
    POST /videos/video_1/remix                              videos                unmetered
    GET  /videos/video_1/content                            unknown               free
    POST /batches                                           batches               deferred
    GET  /batches                                           unknown               free
    GET  /batches/batch_1                                   batches               terminal
    POST /batches/batch_1/cancel                            batches               terminal
    POST /threads                                           threads               free
    POST /threads/runs                                      runs                  deferred
    POST /threads/thread_1                                  threads               free
    POST /threads/thread_1/messages                         threads               free
    POST /threads/thread_1/runs                             runs                  deferred
    GET  /threads/thread_1/runs                             unknown               free
    GET  /threads/thread_1/runs/run_1                       runs                  terminal
    POST /threads/thread_1/runs/run_1                       runs                  free
    POST /threads/thread_1/runs/run_1/submit_tool_outputs   runs                  terminal
    POST /threads/thread_1/runs/run_1/cancel                runs                  terminal
    GET  /threads/thread_1/runs/run_1/steps                 unknown               free
    POST /assistants                                        assistants            free
    POST /conversations                                     conversations         free
    POST /files                                             files                 free
    POST /uploads/upload_1/parts                            uploads               free
    POST /vector_stores/vs_1/search                         vector_stores         free
    POST /fine_tuning/jobs                                  fine_tuning           unmetered
    POST /fine_tuning/jobs/ft_1/cancel                      fine_tuning.jobs      free
    POST /fine_tuning/alpha/graders/run                     fine_tuning           unmetered
    POST /evals                                             evals                 free
    POST /evals/eval_1/runs                                 evals.runs            unmetered
    POST /agents/sessions                                   agents                unmetered
    POST /containers                                        containers            unmetered
    POST /containers/c_1/files                              containers            free
    POST /realtime/client_secrets                           realtime              unmetered
    POST /realtime/calls/c_1/accept                         realtime              unmetered
    POST /realtime/calls/c_1/hangup                         realtime              free
    POST /live/sessions                                     live                  unmetered
    POST /organization/projects                             organization          free
    POST /traces/ingest                                     traces                free
    GET  /models                                            unknown               free
    POST /something/new                                     unknown               unmetered
    PUT  /something/new                                     unknown               unmetered
"""
ANTHROPIC = """
    POST /v1/messages                                       messages              priced
    POST /v1/messages?beta=true                             messages              priced
    POST https://api.anthropic.com/v1/messages              messages              priced
    POST /v1/messages/count_tokens                          count_tokens          free
    POST /v1/messages/count_tokens?beta=true                count_tokens          free
    POST /v1/messages/batches                               messages.batches      deferred
    GET  /v1/messages/batches                               unknown               free
    GET  /v1/messages/batches/msgbatch_1                    messages.batches      terminal
    POST /v1/messages/batches/msgbatch_1/cancel             messages.batches      terminal
    GET  /v1/messages/batches/msgbatch_1/results            messages.batches.results  terminal
    DELETE /v1/messages/batches/msgbatch_1                  unknown               free
    POST /v1/complete                                       complete              unmetered
    POST /model/anthropic.claude-haiku-4-5/invoke           messages              priced
    POST /model/arn%3Aaws%3Abedrock%2Fx/invoke-with-response-stream  messages     priced
    POST /model/us.amazon.nova/converse                     converse              priced
    POST /model/us.amazon.nova/converse-stream              converse              priced
    POST /model/us.amazon.nova/count-tokens                 count_tokens          free
    POST /v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict  messages  priced
    POST /projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict  messages  priced
    POST /projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict  count_tokens  free
    POST /v1/sessions                                       sessions              unmetered
    POST /v1/sessions/s_1/events                            sessions              unmetered
    GET  /v1/sessions/s_1/events/stream                     unknown               free
    POST /v1/deployments/d_1/run                            deployments           unmetered
    POST /v1/deployments/d_1/pause                          deployments           free
    POST /v1/dreams                                         dreams                unmetered
    POST /v1/agents                                         agents                free
    POST /v1/environments/e_1/work/w_1/ack                  environments          free
    POST /v1/files                                          files                 free
    POST /v1/skills                                         skills                free
    POST /v1/oauth/token                                    oauth                 free
    GET  /v1/models                                         unknown               free
    POST /v1/something/new                                  unknown               unmetered
"""
GOOGLE = """
    POST models/gemini-3-pro:generateContent                generate_content      priced
    post models/gemini-3-pro:streamGenerateContent?alt=sse  stream_generate_content  priced
    POST https://x.googleapis.com/v1beta/models/gemini:generateContent  generate_content  priced
    POST publishers/google/models/gemini:generateContent    generate_content      priced
    POST projects/p/locations/l/endpoints/1:generateContent generate_content      priced
    POST models/gemini:countTokens                          count_tokens          free
    POST models/gemini:computeTokens                        count_tokens          free
    POST models/text-embedding:embedContent                 embed_content         priced
    POST models/text-embedding:batchEmbedContents           embed_content         priced
    POST models/text-embedding:asyncBatchEmbedContent       batch_generate_content  deferred
    POST models/imagen:predict                              predict               unmetered
    POST models/veo:predictLongRunning                      predict_long_running  unmetered
    POST models/veo:fetchPredictOperation                   predict_long_running  free
    POST models/gemini:batchGenerateContent                 batch_generate_content  deferred
    GET  batches/b1                                         batch_generate_content  terminal
    POST batches/b1:cancel                                  cancel                free
    GET  batches                                            unknown               free
    POST cachedContents                                     cached_contents       priced
    PATCH cachedContents/c1                                 cached_contents       free
    GET  cachedContents/c1                                  unknown               free
    POST /v1beta/interactions                               interactions          priced
    GET  /v1beta/interactions/i1                            interactions          terminal
    POST /v1beta/interactions/i1/cancel                     interactions          terminal
    POST /v1beta/decisions                                  decisions             priced
    POST /v1beta/agents                                     agents                free
    POST /v1beta/triggers                                   unknown               unmetered
    POST batchPredictionJobs                                unknown               unmetered
    POST tuningJobs                                         unknown               unmetered
    POST auth_tokens                                        unknown               unmetered
    POST upload/v1beta/files                                files                 free
    POST fileSearchStores                                   file_search_stores    free
    POST fileSearchStores/f1:importFile                     unknown               unmetered
    GET  operations/o1                                      unknown               free
    DELETE files/f1                                         unknown               free
"""


def rows(
    table: str, classify: Callable[[str, str], Endpoint]
) -> list[tuple[Callable[[str, str], Endpoint], list[str]]]:
    return [(classify, line.split()) for line in table.strip().splitlines()]


TABLE = rows(OPENAI, openai.classify) + rows(ANTHROPIC, anthropic.classify) + rows(GOOGLE, google.classify)


@pytest.mark.parametrize(("classify", "row"), TABLE, ids=[f"{row[0]} {row[1]}" for _, row in TABLE])
def test_each_endpoint_is_billed_as_the_table_says(classify: Callable[[str, str], Endpoint], row: list[str]) -> None:
    method, path, name, kind = row
    assert classify(method, path) == Endpoint(name, Kind(kind))


@pytest.mark.parametrize(("classify", "row"), TABLE, ids=[f"{row[0]} {row[1]}" for _, row in TABLE])
def test_the_spelling_of_the_method_makes_no_difference(
    classify: Callable[[str, str], Endpoint], row: list[str]
) -> None:
    assert classify(row[0].lower(), row[1]) == classify(row[0].upper(), row[1])


VOICES = {"/audio/voices", "/audio/voice_consents", "/audio/voice_consents/x_1"}


def paths_in(package: str, folder: str) -> list[str]:
    """Every path that the installed SDK's resources post to."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip(f"{package} is not installed")
    sources = [f.read_text() for f in Path(spec.submodule_search_locations[0], folder).rglob("*.py")]
    calls = [m for s in sources for m in re.findall(r"self\._post\(\s*(?:path_template\()?f?\"([^\"]+)\"", s)]
    return sorted({re.sub(r"\{\w+\}", "x_1", path) for path in calls})


@pytest.mark.parametrize(
    ("package", "classify", "unknown"),
    [
        ("openai", openai.classify, VOICES | {"/content_provenance_checks"}),
        ("anthropic", anthropic.classify, set[str]()),
    ],
)
def test_every_path_that_the_sdk_can_post_to_is_in_the_table(
    package: str, classify: Callable[[str, str], Endpoint], unknown: set[str]
) -> None:
    """A path that an update of the SDK brings is unmetered until somebody has looked at it; this test tells that."""
    posted = paths_in(package, "resources")
    assert len(posted) > 5
    missing = {path.partition("?")[0] for path in posted if classify("POST", path).name == "unknown"}
    assert missing <= unknown


@pytest.mark.parametrize(
    ("provider", "path", "expected"),
    [
        (openai, "/responses/resp_1", "resp_1"),
        (openai, "https://api.openai.com/v1/responses/resp_1/cancel?x=1", "resp_1"),
        (openai, "/threads/thread_1/runs/run_1/submit_tool_outputs", "run_1"),
        (openai, "/batches/batch_1", "batch_1"),
        (openai, "/chat/completions", None),
        (anthropic, "/v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        (anthropic, "/v1/messages", None),
        (google, "batches/b1", "batches/b1"),
        (google, "/v1beta/interactions/i1", "i1"),
        (google, "models/gemini:generateContent", None),
    ],
)
def test_a_terminal_path_tells_which_deferred_call_it_asks_about(
    provider: object, path: str, expected: str | None
) -> None:
    assert provider.deferred_id(path) == expected  # type: ignore[attr-defined]


def test_what_is_remembered_is_bounded() -> None:
    routes = Routes([])
    for number in range(3000):
        routes.find("POST", f"models/m{number}:generateContent")
    assert routes.find.cache_info().currsize <= 1024
