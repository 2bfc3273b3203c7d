"""Which tests are asked about which modules: those that run in one process, without a server and in little time."""

from pathlib import Path

PLAN: dict[str, tuple[str, ...]] = {
    "src/actguard/stores/breaker.py": ("tests/stores/test_breaker_rules.py", "tests/stores/test_breaker_machine.py"),
    "src/actguard/custody": (
        "tests/custody/test_rules.py",
        "tests/custody/test_rules_written.py",
        "tests/custody/test_texts_read.py",
        "tests/custody/test_paths_found.py",
        "tests/custody/test_prompts.py",
        "tests/custody/test_secrets.py",
        "tests/custody/test_session_facts.py",
        "tests/custody/test_prove.py",
        "tests/custody/test_records.py",
        "tests/custody/test_session.py",
        "tests/custody/test_patterns.py",
        "tests/custody/test_values.py",
        "tests/custody/test_usual_yes.py",
        "tests/custody/test_many_rules.py",
        "tests/custody/test_lives.py",
        "tests/custody/test_watched.py",
        "tests/custody/test_faults.py",
    ),
    "src/actguard/tools": (
        "tests/tools/test_alarms.py",
        "tests/tools/test_answers.py",
        "tests/tools/test_bounded.py",
        "tests/tools/test_canonical.py",
        "tests/tools/test_circuits.py",
        "tests/tools/test_failure_kinds.py",
        "tests/tools/test_failures.py",
        "tests/tools/test_faults.py",
        "tests/tools/test_fingerprints.py",
        "tests/tools/test_guard_options.py",
        "tests/tools/test_refusals.py",
        "tests/tools/test_kept_results.py",
        "tests/tools/test_handed_in.py",
        "tests/tools/test_heartbeat.py",
        "tests/tools/test_hidden_key.py",
        "tests/tools/test_idempotency_records.py",
        "tests/tools/test_late_answers.py",
        "tests/tools/test_never_started.py",
        "tests/tools/test_no_repeat.py",
        "tests/tools/test_owners.py",
        "tests/tools/test_parts.py",
        "tests/tools/test_pipeline.py",
        "tests/tools/test_plain_functions.py",
        "tests/tools/test_same_calls.py",
        "tests/tools/test_scopes.py",
        "tests/tools/test_shared_stores.py",
        "tests/tools/test_stacked_guards.py",
        "tests/tools/test_store_away.py",
        "tests/tools/test_timed_calls.py",
        "tests/tools/test_timed_generators.py",
        "tests/tools/test_unfinished.py",
        "tests/tools/test_waiting.py",
        "tests/tools/test_watched.py",
        "tests/tools/test_workers.py",
    ),
}


def tests_of(module: Path) -> tuple[str, ...]:
    """The test files for *module*."""
    return next(tests for place, tests in PLAN.items() if module.is_relative_to(place))
