"""Credentials do not get into facts, and ordinary words stay."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.logs.corpus import TRUTH, data
from waa.core.logs.mask import is_secret, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("-e OPENAI_API_KEY=sk-EXAMPLE-not-a-key -e RAM_SIZE=8G", "-e OPENAI_API_KEY=*** -e RAM_SIZE=8G"),
        ("OPENAI_API_KEY_FOR_CHECK_SETUP=1234567890abc", "OPENAI_API_KEY_FOR_CHECK_SETUP=***"),
        ("Got token: eyJ0eXAiOiJKV1Qi.abc.def", "Got token: ***"),
        ("client_password='hunter2', region='us'", "client_password='***', region='us'"),
        ('{"api_key": "a b c", "x": 1}', '{"api_key": "***", "x": 1}'),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("header 'bearer abcdef123456'", "header 'bearer ***'"),
        ("run --api-key abc --model m", "run --api-key *** --model m"),
        ("Incorrect API key provided: sk-abcdefgh1234", "Incorrect API key provided: ***"),
        ("https://user:pa55@host/x", "https://user:***@host/x"),
        ("https://store/blob?sv=1&sig=abc%2Fdef&se=2", "https://store/blob?sv=1&sig=***&se=2"),
        ("AccountKey=abc123==;Endpoint=x", "AccountKey=***;Endpoint=x"),
        ("ghp_abcdefghijklmnopqrstuvwxyz", "***"),
        ("Secret = 'x y'", "Secret = '***'"),
    ],
)
def test_credentials_are_hidden(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        'Set the file "secret.txt" in the Documents folder as hidden.',
        "max_tokens=1500, stop_token=None, password=''",
        "Rate limit reached on tokens per min (TPM): Limit 30000, 'type': 'tokens', 'code': 'rate_limit_exceeded'",
        'computer.keyboard.press("ctrl+s")',
        "https://raw.githubusercontent.com/a/b?x=1",
        "the secretary asked for a tokenizer",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert mask(text) == text


def test_the_keys_that_a_launcher_prints_are_hidden() -> None:
    text = data("generated/waa_v2_loop_instance1_run1.log").decode()
    assert "sk-EXAMPLE-not-a-key" in text
    masked = mask(text)
    assert "sk-" not in masked
    assert "-e OPENAI_BASE_URL=http://host.docker.internal:8030/v1" in masked


def _texts(key: str) -> list[str]:
    tasks: list[dict[str, Any]] = [task for truth in TRUTH.values() for task in truth.get("tasks", []) if isinstance(task, dict)]
    return sorted({task[key] for task in tasks if task.get(key)})


@pytest.mark.parametrize("text", _texts("instruction") + _texts("error"))
def test_recorded_instructions_and_errors_stay(text: str) -> None:
    assert mask(text) == text


def test_names_of_secret_settings_are_known() -> None:
    assert is_secret("client_password")
    assert is_secret("OPENAI_API_KEY")
    assert not is_secret("max_tokens")
    assert not is_secret("model")


@given(
    st.text(alphabet="abcXYZ789_-./+", min_size=8, max_size=60),
    st.sampled_from(["API_KEY=", "token: ", "--password ", '"secret": "', "PASSWD='"]),
)
def test_no_value_of_a_secret_survives(value: str, before: str) -> None:
    assert value not in mask(f"x {before}{value} y")


@pytest.mark.parametrize(
    "piece", ["token", "api_key", "://", "://a:", "--", "--a", "password=", '"\\', "token='\\", "eyJ", "bearer ", "?sig=", "a" * 50]
)
def test_long_hostile_text_is_masked_in_linear_time(piece: str) -> None:
    # A quadratic pattern would take minutes for this.
    mask(piece * (120_000 // len(piece)))
