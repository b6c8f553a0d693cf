"""What is wrong with a form: all of it at once, beside the fields, in words of people, and without a secret."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from tests.kernel.console.conftest import House
from tests.kernel.console.test_stories import PLAN, version_fields
from tollhouse.console.sentences import human
from tollhouse.console.version_form import LABELS
from tollhouse.plugin.errors import Unavailable


def errors_of(page: str) -> dict[str, str]:
    """What stands beside the fields, by the id of the field."""
    return dict(re.findall(r'<span class="error" id="([^"]+)-error">([^<]+)</span>', page))


class Everything(BaseModel):
    """Fails in each way that a form can."""

    model_config = ConfigDict(extra="forbid")
    needed: str
    long: Annotated[str, Field(max_length=2)] = ""
    short: Annotated[str, Field(min_length=3)] = "abc"
    empty: Annotated[str, Field(min_length=1)] = "a"
    form: Annotated[str, Field(pattern="^a$")] = "a"
    whole: int = 0
    fraction: float = 0
    low: Annotated[int, Field(ge=5)] = 5
    high: Annotated[int, Field(le=5)] = 5
    above: Annotated[float, Field(gt=5)] = 6
    below: Annotated[float, Field(lt=5)] = 4
    yes: bool = True
    one: Literal["a", "b", "c"] = "a"
    some: Annotated[list[str], Field(max_length=1)] = []
    things: dict[str, str] = {}
    who: UUID | None = None
    where: HttpUrl | None = None
    when: date | None = None


WRONG: dict[str, Any] = {
    "long": "abc", "short": "a", "empty": "", "form": "b", "whole": "x", "fraction": "x", "low": 4, "high": 6, "above": 5,
    "below": 5, "yes": "x", "one": "d", "some": ["a", "b"], "things": 4, "who": "x", "where": "ftp://x", "when": "x", "more": 1,
}  # fmt: skip


def test_no_word_of_the_library_reaches_a_person() -> None:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate(WRONG)
    said = {fault["loc"][0]: human(fault["msg"]) for fault in caught.value.errors()}
    assert said.keys() == {"needed", *WRONG}
    for text in said.values():
        assert not re.search(r"[Ii]nput|should|pattern|valid |parse|permitted|characters? after", text), text
    assert said["low"] == "At least 5"
    assert said["one"] == "Choose one of these: a, b or c"
    assert said["needed"] == said["empty"] == "Fill this in"
    assert human("an interval is one of month, year.") == "An interval is one of month, year."


async def test_a_plan_says_all_that_is_wrong_with_it(house: House) -> None:
    admin = await house.browser("admin")
    bad = {**PLAN, "price": "free", "name": "", "slug": "Not A Slug", "grace_days": "400", "position": "first"}
    refused = await admin.post("/console/plans", **bad)
    assert refused.status == 422
    assert errors_of(refused.text).keys() == {"price", "name", "slug", "grace-days", "position"}
    assert "5 things need your attention" in refused.text
    assert 'value="Not A Slug"' in refused.text
    assert 'role="alert" tabindex="-1" autofocus' in refused.text


async def test_settings_say_all_that_is_wrong_with_them(house: House) -> None:
    admin = await house.browser("admin")
    bad = {"name": "", "timezone": "Mars/Olympus", "currency": "EUR", "language": "english!", "hosts": "http://x"}
    bad |= {"accent": "red", "radius": "400", "daily_cost_cap": "much"}
    refused = await admin.post("/console/settings", **bad)
    found = errors_of(refused.text)
    assert found.keys() == {"name", "timezone", "language", "hosts", "accent", "radius", "daily-cost-cap"}
    assert found["accent"] == "Write a colour as #7a1f3d"
    assert found["radius"] == "At most 32"
    del bad["daily_cost_cap"]
    again = await admin.post("/console/settings", **bad)
    assert errors_of(again.text).keys() == found.keys() - {"daily-cost-cap"}


async def test_a_version_says_all_that_is_wrong_with_it(house: House) -> None:
    admin = await house.browser("admin")
    form = version_fields(house, "{{ nobody }}", max_output_tokens="many", history_messages="-4")
    refused = await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **form)
    found = errors_of(refused.text)
    assert found.keys() == {"template", "max-output-tokens", "history-messages"}
    assert found["history-messages"] == "At least 0"


async def test_a_secret_that_was_typed_is_asked_for_again_beside_its_field(house: House) -> None:
    admin = await house.browser("admin")
    form = {"kind": "llm", "plugin": "scripted", "name": "Mine", "values.region": "x" * 30, "values.api_key": "sk-typed-once"}
    refused = await admin.post("/console/connections", **form)
    assert refused.status == 422
    assert "sk-typed-once" not in refused.text
    found = errors_of(refused.text)
    assert found["values-region"] == "At most 20 characters"
    assert found["values-api-key"].startswith("Type it again")
    assert f'value="{"x" * 30}"' in refused.text
    untyped = await admin.post("/console/connections", **{**form, "values.api_key": ""})
    assert errors_of(untyped.text).keys() == {"values-region"}


async def test_an_invitation_asks_for_the_password_again(house: House) -> None:
    operator = await house.browser("owner", operator=True)
    made = await operator.post(
        "/console/tenants", slug="t" + house.slug[-6:], name="New", currency="EUR", timezone="UTC", language="en"
    )
    link = re.search(r"/t/([^/]+)(/claim/[^<\s]+)", made.text)
    assert link is not None
    from tests.kernel.console.conftest import Browser

    refused = await Browser(house.process.app, link[1]).post(link[2], email="nobody", password="short", name="x" * 300)
    assert errors_of(refused.text).keys() == {"email", "password", "name"}
    typed = await Browser(house.process.app, link[1]).post(link[2], email="nobody", password="a long enough one 77", name="")
    assert errors_of(typed.text)["password"].startswith("Type it again")
    assert "a long enough one" not in typed.text


async def test_what_is_no_saving_is_not_called_unsaved(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*args: Any, **more: Any) -> Any:
        raise Unavailable("The model does not answer.")

    admin, shop = await house.browser("admin"), house.shop
    monkeypatch.setattr(house.container.turns, "run", failing)
    tried = await admin.post(f"/console/versions/{shop.version_id}/try", message="Hello?")
    used = await house.container.connections.get(shop.tenant_id, shop.connection_id)
    kept = await admin.post(f"/console/connections/{used.id}/delete", confirm=used.name)
    out = await house.nobody().post("/console/sign-in", email="nobody@example.test", password="not this one 99")
    headings = {"There is no answer": tried, "It cannot be deleted": kept, "Not signed in": out}
    for heading, answer in headings.items():
        assert answer.status >= 400
        assert f"<strong>{heading}</strong>" in answer.text
        assert "That was not saved" not in answer.text


async def test_a_version_names_its_fields_from_top_to_bottom(house: House) -> None:
    admin = await house.browser("admin")
    wrong = {"parameters.temperature": "9", "parameters.top_p": "7", "parameters": '{"stop": [}', "post.footer": "x" * 3000}
    form = version_fields(house, "Hello.", max_output_tokens="0", **{**wrong, "primary.model": ""})
    refused = await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **form)
    listed = re.findall(r'<li><a href="#[^"]+">([^<]+)</a></li>', refused.text)
    assert listed == [
        "Model: fill this in",
        "Longest reply: at least 1",
        "Temperature: must be a number from 0 to 2",
        "Top p: must be a number from 0 to 1",
        "More parameters: this is not JSON: look at line 1, character 11",
        "Footer: at most 2,000 characters",
    ]
    del form["parameters"]
    again = errors_of((await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **form)).text)
    assert {"parameters-temperature", "parameters-top-p"} < again.keys()
    assert "parameters" not in again


async def test_the_form_of_a_version_and_its_errors_call_a_field_the_same(house: House) -> None:
    admin = await house.browser("admin")
    page = (await admin.get(f"/console/agents/{house.shop.agent_id}/versions/new")).text
    shown = [text.strip() for text in re.findall(r'<div class="field"><label for="[^"]+">([^<]+)', page)]
    grouped = {"modalities", "parameters", "opens", "post.redact"}
    called = [label for name, label in LABELS.items() if name not in grouped or name == "parameters"]
    assert [one for one in shown if one not in ("Replace what matches", "With")] == called
    assert all(LABELS[name] in page for name in grouped)


async def test_what_does_not_fit_together_stands_beside_a_field(house: House) -> None:
    admin = await house.browser("admin")
    same = {"fallback.connection_id": str(house.shop.connection_id), "fallback.model": "m"}
    for more, field in ({"context_tokens": "40"}, "context-tokens"), (same, "fallback-model"):
        form = version_fields(house, "Hello.", **more)
        refused = await admin.post(f"/console/agents/{house.shop.agent_id}/versions", **form)
        assert errors_of(refused.text).keys() == {field}


async def test_a_price_says_all_that_is_wrong_with_it(house: House) -> None:
    admin = await house.browser("admin")
    bad = {"backend": "scripted", "model": "", "input_per_million": "2000000", "output_per_million": ""}
    refused = await admin.post("/console/prices", **bad)
    found = errors_of(refused.text)
    assert found.keys() == {"model", "input-per-million", "output-per-million"}
    assert found["input-per-million"] == "Write an amount from 0 to 1,000,000"
    assert ">Plugin</label>" in refused.text
    assert "Backend" not in refused.text


async def test_a_limit_that_cannot_be_read_is_not_there_twice(house: House) -> None:
    admin = await house.browser("admin")
    day = {"metric": "calls", "window": "day"}
    rows = {f"limits.{number}.{name}": value for number in range(4) for name, value in day.items()}
    amounts = {"limits.0.amount": "10", "limits.1.amount": "ten", "limits.2.amount": "9" * 19, "limits.3.amount": "20"}
    refused = await admin.post("/console/plans", **{**PLAN, **rows, **amounts, "limits.rows": "2", "price": "99999999999"})
    found = errors_of(refused.text)
    assert found.keys() == {"limits-1-amount", "limits-2-amount", "limits-3-metric", "price"}
    assert found["limits-2-amount"] == "Write an amount from 0 to 1,000,000,000,000,000,000"
    dear = await admin.post("/console/plans", **{**PLAN, "price": "99999999999"})
    assert errors_of(dear.text)["price"] == "Write a price from 0 to 10,000,000,000"
