"""Schemathesis: requests made from the interface's own description, sensible and not, one by one and one after the other.

Nothing breaks (503 only with `Retry-After`), and every answer, refusals included, has the form that the description promises.
Always the same requests. The engine is a stand-in; store, decoder, memory and HTTP are real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyStrategyDefinition, Unsatisfiable
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from appliance.store import NewShare, Scope, own_reach
from tests.api.conftest import Api, settings_for, start
from tests.api.people import new_person
from tests.api.test_authorisation import EVERYDAY, Caller, key, nobody, session
from tests.store.samples import new_transcript, save

pytestmark = pytest.mark.slow

FORM = [response_schema_conformance, content_type_conformance, status_code_conformance]
CONFIG = {"seed": 1, "generation": {"with-security-parameters": False}}  # who is asking, the tests say
ALWAYS_THE_SAME = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
ENDS_THE_CALLER = ("/api/v1/me", "/api/v1/session", "/api/v1/me/sessions")  # with DELETE
CHAINS = 20
HARMLESS = ("title", "priority", "private", "response_format", "stream", "temperature")

Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]
Headers = Callable[[], dict[str, str]]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One of its own: what is generated here may change whatever an administrator may change."""
    server, api = start(
        settings_for(tmp_path_factory.mktemp("generated")), "whisper-base", "whisper-tiny.en", "speaker-diarization"
    )
    api.run(api.pool.warm(api.services.settings.models_dir / "whisper-base"))
    yield api
    server.stop()


@pytest.fixture(scope="module")
def schema(api: Api) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{api.url}/openapi/openapi.json", config=schemathesis.Config.from_dict(CONFIG))


def operations(schema: schemathesis.BaseSchema) -> Iterator[Operation]:
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


class Verdict:
    """Counts the answers, and keeps what is wrong with any."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.succeeded: set[str] = set()
        self.problems: set[str] = set()

    def judge(self, answer: schemathesis.Response, case: Case) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code < 300:
            self.succeeded.add(case.operation.label)
        if answer.status_code >= 500 and not (answer.status_code == 503 and answer.headers["retry-after"][0].isdigit()):
            self.problems.add(f"{case.operation.label}: {answer.status_code} {answer.text}")
        try:
            case.validate_response(answer, checks=FORM)
        except FailureGroup as group:
            self.problems |= {f"{case.operation.label}: {answer.status_code} {failure}" for failure in group.exceptions}

    def ask(self, case: Case, headers: Headers) -> None:
        self.judge(case.call(headers=headers(), timeout=30, allow_redirects=False), case)

    def print_and_assert(self) -> None:
        print(sorted(self.statuses.items()), len(self.succeeded), "operations succeeded")
        assert not self.problems, "\n\n".join(sorted(self.problems))


# --- anything at all --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["nobody", "member", "admin", "site_key"])
def test_whatever_is_sent_is_answered_as_described(api: Api, schema: schemathesis.BaseSchema, who: str) -> None:
    callers: dict[str, Callable[[], Caller]] = {
        "nobody": nobody,
        "member": lambda: session(api),
        "admin": lambda: session(api, is_admin=True),
        "site_key": lambda: key(api, *Scope),
    }
    headers = callers[who]().headers
    verdict = Verdict()
    for operation in operations(schema):
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @settings(ALWAYS_THE_SAME, max_examples=2)
            @given(operation.as_strategy(generation_mode=mode))
            def try_it(case: Case) -> None:
                verdict.ask(case, headers)

            with suppress(Unsatisfiable):  # nothing to send that does not fit
                try_it()
    verdict.print_and_assert()
    assert verdict.statuses.total() > 150


# --- about what exists ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Owned:
    """A person's own things, and how they are addressed."""

    headers: Headers
    addresses: dict[str, Any]
    revision: int

    def put_into(self, case: Case, wav: bytes) -> None:
        for name in case.path_parameters:
            if name in self.addresses and not (name == "name" and "releases" in case.path):
                case.path_parameters[name] = self.addresses[name]
        if isinstance(case.body, dict) and "revision" in case.body:
            case.body["revision"] = self.revision
        put_recording_into(case, wav)


def put_recording_into(case: Case, wav: bytes) -> None:
    """A real one, and of the options those that do not name a model, a language or a workspace, of which there are few."""
    if isinstance(case.body, dict) and "file" in case.body:
        case.body = {"file": cast("Any", wav), **{name: case.body[name] for name in HARMLESS if name in case.body}}


def owned(api: Api, *, is_admin: bool) -> Owned:
    store, person, other = api.services.store, new_person(api, is_admin=is_admin), new_person(api)
    record = api.run(save(store, ["good morning", "who is there"], new_transcript(person.id)))
    share, token = api.run(store.shares.create(record.id, own_reach(person.id), NewShare(None)))
    workspace = api.run(store.workspaces.create("Ward", person.id))
    made, _ = api.run(store.keys.create("k", EVERYDAY, None, person.id))
    addresses = {
        "key": str(record.id),
        "n": 0,
        "share_id": share.id,
        "token": token,
        "workspace_id": workspace.id,
        "person_id": other.id,
        "key_id": made.id,
        "owner": person.id,
        "name": "whisper-base",
    }
    return Owned(session(api, person).headers, addresses, record.revision)


@pytest.mark.parametrize("is_admin", [False, True], ids=["member", "admin"])
def test_what_exists_is_read_changed_and_erased_as_described(
    api: Api, schema: schemathesis.BaseSchema, wav: bytes, is_admin: bool
) -> None:
    verdict = Verdict()
    for operation in operations(schema):
        mine = owned(api, is_admin=is_admin)

        @settings(ALWAYS_THE_SAME, max_examples=4)
        @given(operation.as_strategy())
        def try_it(case: Case) -> None:
            mine.put_into(case, wav)  # noqa: B023 -- called at once
            verdict.ask(case, mine.headers)  # noqa: B023

        try_it()
    verdict.print_and_assert()
    assert len(verdict.succeeded) > 35


# --- one after the other ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_admin", [False, True], ids=["member", "admin"])
def test_chains_of_requests_are_answered_as_described(
    api: Api, schema: schemathesis.BaseSchema, wav: bytes, is_admin: bool
) -> None:
    """What one answer tells, the next request uses: what was made is read, changed, shared, erased, and asked for again."""
    verdict = Verdict()
    machine = schema.exclude(path=list(ENDS_THE_CALLER), method="DELETE").as_state_machine()

    class Chain(machine):  # type: ignore[misc,valid-type]
        def setup(self) -> None:
            super().setup()
            self.headers = owned(api, is_admin=is_admin).headers()  # once: a chain may erase who asks

        def before_call(self, case: Case) -> None:
            put_recording_into(case, wav)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": self.headers, "timeout": 30, "allow_redirects": False}

        def validate_response(self, response: schemathesis.Response, case: Case, *_: object, **__: object) -> None:
            verdict.judge(response, case)

    for number in range(CHAINS):
        with suppress(FlakyStrategyDefinition):  # the next request depends on an answer, and answers hold new ids each time
            seed(number)(Chain).run(settings=settings(ALWAYS_THE_SAME, derandomize=False, max_examples=2, stateful_step_count=10))
    verdict.print_and_assert()
    assert len(verdict.succeeded) > 10
