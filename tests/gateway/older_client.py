"""A program of an older client, run by its own interpreter: `older_client.py VERSION SCENARIO`. Prints JSON."""

import json
import os
import sys

import openai

import actguard

scenario = sys.argv[2]
old = sys.argv[1].startswith("0.")
client = actguard.Client(
    gateway_url=os.environ["GATEWAY"], api_key=os.environ["KEY"], event_mode="verbose", max_retries=1
)
ai = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key="x", max_retries=0)
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


def limit(usd: float) -> dict:
    return {"usd_limit": usd} if old else {"cost_limit": max(1, int(usd * 1000))}


def call() -> None:
    ai.chat.completions.create(**ASK)


said: dict = {}
try:
    with client.run(user_id="alice", run_id=f"run-{scenario}"):
        if scenario == "plain":
            with client.budget_guard(**limit(1.0)):
                call()
                call()
        elif scenario == "nested":
            with client.budget_guard(name="root", **limit(1.0)):
                call()
                with client.budget_guard(name="search", **limit(0.5)):
                    call()
        elif scenario == "stream":
            with client.budget_guard(**limit(1.0)):
                for _ in ai.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}):
                    pass
        elif scenario == "limits":
            with client.budget_guard(**limit(0.001)):
                for _ in range(20):
                    call()
        elif scenario == "refused":
            with client.budget_guard(**limit(1.0)):
                call()
except Exception as error:
    said["error"] = type(error).__name__
    said["text"] = str(error)[:300]
client.close()
print(json.dumps(said))
