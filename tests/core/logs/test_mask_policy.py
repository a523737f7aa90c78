"""Credentials of all usual forms, in any pieces and colours; private keys over lines; what the operator decides."""

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core.error import Failure
from waa.core.logs.mask import (
    MAX_KEY_LINES,
    MAX_PATTERNS,
    KeyLines,
    MaskPolicy,
    compile_patterns,
    is_secret,
    mask,
    mask_unfinished,
    use_policy,
)
from waa.core.status import Reason
from waa.web.terminal import LogTail, rendered


@pytest.fixture
def policy() -> Iterator[None]:
    """The usual one again, after a test that sets another."""
    yield
    use_policy(MaskPolicy())


WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LETTERS = st.text(alphabet=WORD, min_size=40, max_size=40)


def body(size: int, alphabet: str = WORD) -> st.SearchStrategy[str]:
    return st.text(alphabet=alphabet, min_size=size, max_size=size)


def joined(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map("".join)


UPPER, HEX, BASE64, URLSAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdef", WORD + "+/", WORD + "-_"
TOKENS = {
    "OpenAI": joined("sk-proj-", body(48)),
    "OpenAI, older": joined("sk-", body(48)),
    "Anthropic": joined("sk-ant-api03-", body(60, URLSAFE)),
    "Microsoft Entra token": joined("eyJ0eXAiOiJKV1Qi", body(20, URLSAFE), ".eyJ", body(40, URLSAFE), ".", body(60, URLSAFE)),
    "Microsoft Entra secret": joined(body(3), "8Q~", body(34)),
    "Azure storage": joined(body(86, BASE64), "=="),
    "AWS": joined("AKIA", body(16, UPPER)),
    "AWS, temporary": joined("ASIA", body(16, UPPER)),
    "Google": joined("AIza", body(35)),
    "Google OAuth": joined("ya29.", body(60)),
    "Google client": joined("GOCSPX-", body(28)),
    "GitHub": joined(st.sampled_from(["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]), body(36)),
    "GitHub, fine-grained": joined("github_pat_", body(22), "_", body(59)),
    "GitLab": joined("glpat-", body(20)),
    "Hugging Face": joined("hf_", body(34)),
    "Slack": joined("xoxb-", body(12, "0123456789"), "-", body(24)),
    "Stripe": joined("sk_live_", body(24)),
    "SendGrid": joined("SG.", body(22), ".", body(43)),
    "npm": joined("npm_", body(36)),
    "PyPI": joined("pypi-", body(60)),
    "Groq": joined("gsk_", body(52)),
    "Databricks": joined("dapi", body(32, HEX)),
    "Telegram": joined(st.integers(10**8, 10**10 - 1).map(str), ":AA", body(33)),
    "our own": joined("waa_", body(12, HEX), "_", body(32, URLSAFE)),
}
"""Whole tokens, which are hidden wherever they stand."""

FRAMES = {
    "docker -e": "docker run -e OPENAI_API_KEY={} -e RAM_SIZE=8G winarena",
    "docker --env": "docker run --env 'DB_PASSWORD={}' x",
    "docker -e PASS": "docker run -e SMTP_PASS={} x",
    "bearer": "Authorization: Bearer {}",
    "basic": "authorization: Basic {}",
    "token scheme": "> Authorization: Token {}",
    "no scheme": "Authorization: {}",
    "header as JSON": '{{"Authorization": "Bearer {}", "Accept": "*/*"}}',
    "header as tuple": "headers={{'api-key': '{}', 'Accept': 'x'}}",
    "api-key header": "api-key: {}",
    "cookie": "Cookie: theme=dark; session={}",
    "set-cookie": "< set-cookie: id={}; Path=/",
    "URL": "git clone https://me:{}@example.org/x.git",
    "token in URL": "git clone https://{}@example.org/x.git",
    "database": "postgresql://waa:{}@db:5432/waa failed",
    "signature": "https://waa.blob.core.windows.net/c/b?sv=2022-11-02&sr=b&sig={}&se=2026",
    "connection string": "DefaultEndpointsProtocol=https;AccountName=waa;AccountKey={};EndpointSuffix=core.windows.net",
    "shared access": "SharedAccessSignature={}",
    "option": "python run.py --api_key {} --model gpt-4o",
    "option in a list": "['az', 'login', '--password', '{}']",
    "option, equals": "az login --service-principal --client-secret={}",
    "sshpass": "sshpass -p {} ssh vm",
    "docker login": "docker login -u me -p {} registry",
    "curl -u": "curl -s -u me:{} http://x",
    "JSON": '{{"client_secret": "{}"}}',
    "JSON in JSON": '{{"body": "{{\\"password\\": \\"{}\\"}}"}}',
    "Python": "Namespace(model='gpt-4o', access_token='{}')",
    "YAML": "  secret: {}",
    "XML": "<password>{}</password>",
    "environment": "export AZURE_OPENAI_API_KEY={}",
    "hash": ":token => {}",
}
"""Around a value that has no form of its own."""

SECRETS = st.one_of(
    st.sampled_from(sorted(TOKENS)).flatmap(
        lambda name: st.tuples(st.sampled_from(["{}", "key {} refused", "({})", "'{}'", "x={}"]), TOKENS[name])
    ),
    st.tuples(st.sampled_from(sorted(FRAMES.values())), LETTERS),
)


@pytest.mark.parametrize("name", sorted(TOKENS))
@given(data=st.data())
def test_tokens_of_known_forms_are_hidden_wherever_they_stand(name: str, data: st.DataObject) -> None:
    token = data.draw(TOKENS[name])
    frame = data.draw(st.sampled_from(["{}", "the key {} is wrong", "'{}'", "({}).", "a={}&b=1", "https://x/{}/y", "[{}]", "\\n{}\\n"]))
    assert token not in mask(frame.format(token))


@pytest.mark.parametrize("name", sorted(FRAMES))
@given(value=LETTERS)
def test_values_are_hidden_by_what_stands_before_them(name: str, value: str) -> None:
    masked = mask(FRAMES[name].format(value))
    assert value not in masked
    assert value[:12] not in masked
    assert "***" in masked
    assert mask(masked) == masked


@given(SECRETS, st.lists(st.integers(min_value=1, max_value=30), max_size=20), st.booleans())
def test_no_form_survives_in_the_live_tail_in_any_pieces(secret: tuple[str, str], sizes: list[int], has_colours: bool) -> None:
    """At no time: a row that has no end yet is shown, too."""
    frame, value = secret
    line = frame.format(value)
    if has_colours:
        line = "".join(f"\x1b[3{place % 8}m{piece}\x1b[0m" for place, piece in enumerate(re.findall(r".{1,7}", line)))
    data = f"before\n{line}\nafter\n".encode()
    size_seen = 44 if value.endswith("==") else 16  # a key of Azure's storage has no beginning to tell it by
    tail = LogTail()
    while data:
        size = sizes.pop() if sizes else len(data)
        piece, data = data[:size], data[size:]
        tail.feed(piece)
        seen = re.sub(r"<[^>]*>", "", "\n".join(str(row.html) for row in tail.lines))
        for start in range(0, len(value) - size_seen, 4):
            assert value[start : start + size_seen] not in seen
    assert "before" in seen
    assert "after" in seen
    assert value[:16] not in "".join(re.sub(r"<[^>]*>", "", str(row)) for row in rendered(f"{line}\n".encode()))


PEM_LINES = st.lists(body(64, BASE64), min_size=2, max_size=60)
KINDS = st.sampled_from(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA "])


@given(
    KINDS,
    PEM_LINES,
    body(30, BASE64),
    st.lists(st.integers(min_value=1, max_value=400), max_size=30),
    st.sampled_from(["", "  ", "2026-11-21 INFO "]),
)
def test_a_private_key_that_spans_lines_is_hidden(kind: str, lines: list[str], last: str, sizes: list[int], indent: str) -> None:
    block = [f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"{last}==", f"-----END {kind}PRIVATE KEY-----"]
    text = "before\n" + "\n".join(f"{indent}{line}" for line in block) + "\nafter\n"
    masked = mask(text)
    assert not any(line in masked for line in (*lines, last))
    assert masked.startswith("before\n")
    assert masked.endswith("\nafter\n")
    data, tail = text.encode(), LogTail()
    while data:
        size = sizes.pop() if sizes else len(data)
        piece, data = data[:size], data[size:]
        tail.feed(piece)
        seen = "\n".join(str(row.html) for row in tail.lines)
        assert not any(line[:30] in seen for line in (*lines, last))
    assert seen.startswith("before\n")
    assert seen.endswith("\nafter")


@given(KINDS, PEM_LINES)
def test_a_private_key_in_one_line_is_hidden(kind: str, lines: list[str]) -> None:
    for newline in ("\\n", "\\\\n", "\\r\\n", " "):
        text = newline.join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])
        masked = mask(f'{{"private_key": "{text}", "project": "waa"}} next')
        assert not any(line in masked for line in lines)
        assert masked.endswith(" next")


@given(PEM_LINES)
def test_the_rest_of_a_key_whose_beginning_is_missing_is_hidden(lines: list[str]) -> None:
    shown = [line for line in lines if mask(f"  {line}\n").strip() != "***"]
    assert all(re.fullmatch(r"[0-9a-fA-F]+", line) for line in shown)


def test_a_key_that_does_not_end_hides_a_bounded_number_of_lines() -> None:
    keys = KeyLines()
    shown = [keys.take(line) for line in ("-----BEGIN PRIVATE KEY-----", *(["text"] * (MAX_KEY_LINES + 5)))]
    assert shown == [*["***"] * (MAX_KEY_LINES + 1), *["text"] * 5]


@pytest.mark.parametrize(
    "text",
    [
        "sha256 " + "0123456789abcdef" * 4,
        "0123456789abcdef" * 4,
        "-----BEGIN CERTIFICATE-----",
        "A password of 8 characters",
        "docker run -u 1000:1000 x",
        "pass=12 fail=3 pass: 0.5",
        "PWD=/home/me",
        "compass=north",
        "Set the key 'Ctrl' and press(key='enter')",
        "http://20.20.20.21:5000/probe",
        "basic authorization was refused",
        "git@github.com:me/repo.git, me@example.org",
        "task ask-me-anything-now, risk-assessment",
        "pip install hf_transfer; import r8_x, waa_live",
        "/client/evaluation_examples_windows/examples/clock/02F10F89-7171-4D37-8550-A00BA8930CDF-WOS.json",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert mask(text) == text
    assert mask_unfinished(f"{text}. ") == f"{text}. "


def test_failures_hide_what_machines_say() -> None:
    failure = Failure(reason=Reason.COMMAND, message="docker: OPENAI_API_KEY=sk-abcdefghij is wrong", remedy="try `curl -u me:hunter2 x`")
    assert (failure.message, failure.remedy) == ("docker: OPENAI_API_KEY=*** is wrong", "try `curl -u me:*** x`")


def test_masking_can_be_turned_off(policy: None) -> None:
    use_policy(MaskPolicy(is_on=False, patterns=compile_patterns(["acme-[a-z]{8}"])))
    text = "password=hunter2 acme-abcdefgh\n-----BEGIN PRIVATE KEY-----"
    assert mask(text) == mask_unfinished(text) == text
    assert not is_secret("client_password")
    assert KeyLines().take("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"
    assert Failure(reason=Reason.COMMAND, message=text).message == text


def test_the_operators_expressions_hide_more(policy: None) -> None:
    use_policy(MaskPolicy(patterns=compile_patterns(["acme-[a-z0-9]{8,20}", r"(?i)badge \d{6}"])))
    assert mask("x acme-abcdefgh, BADGE 123456; password=hunter2") == "x ***, ***; password=***"
    assert mask("a\nacme-abcdefgh\nb") == "a\n***\nb"


@given(st.integers(min_value=0, max_value=5000), st.integers(min_value=0, max_value=3000))
def test_the_operators_expressions_reach_all_of_a_long_line(before: int, after: int) -> None:
    use_policy(MaskPolicy(patterns=compile_patterns(["acme-[a-z0-9]{8,20}"])))
    try:
        assert mask("." * before + "acme-abcdefgh" + "." * after) == "." * before + "***" + "." * after
    finally:
        use_policy(MaskPolicy())


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$", "(a*)*b", "(a|aa)+$", "(a|a)*b", "((ab)*c)*", "(?:a{1,3}){1,3}", "(?:x+x+)+y", r"\w+\s+\w+", "a*b*c*", ".*.*=",
        r"(a)\1", "(?=a)b", "(?<!x)a", "(?P<n>a)(?P=n)", "(?x)a b", "(?s:a)", "x*", "", "a?", "[", "a{2,1}", "(", "a" * 201,
        "corp-[a-z]{8", "20}", "a{0,100}b{0,100}c{0,100}", "(?:a?){1,50}b", "(?i)",
    ],
)  # fmt: skip
def test_expressions_that_are_wrong_or_could_take_too_long_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        compile_patterns([text])


def test_there_is_a_bound_on_their_number() -> None:
    with pytest.raises(ValueError, match="more than"):
        compile_patterns(["ab"] * (MAX_PATTERNS + 1))


PIECES = st.sampled_from(["a", "b", r"\w", r"\d", ".", "[a-z]", "[^x]", "ab", "(?:ab)", "(a|b)", r"\.", "x{3}", "(?:[a-z]{4}-)"])
REPEATS = st.sampled_from(["", "", "", "+", "*", "?", "+?", "{3}", "{1,40}", "{2,}", "*+"])


@given(
    st.lists(st.tuples(PIECES, REPEATS), min_size=1, max_size=6).map(lambda pairs: "".join(a + b for a, b in pairs)),
    st.sampled_from("ab1x. -"),
)
def test_an_expression_that_is_accepted_takes_bounded_time(text: str, letter: str) -> None:
    """Against text made to hurt: what is accepted is done in a moment, or the run of this test would not end."""
    try:
        patterns = compile_patterns([text])
    except ValueError:
        return
    use_policy(MaskPolicy(patterns=patterns))
    try:
        began_s = time.process_time()
        mask(letter * 1256 + "!")
        assert time.process_time() - began_s < 20
    finally:
        use_policy(MaskPolicy())
