"""Hides credentials in text that comes from logs, before anybody sees or stores it."""

import re

HIDDEN = "***"

# Every quantifier is bounded or eats what nothing before it could have eaten: the time is linear in the text.
_NAME = r"(?:api[_-]?key|access[_-]?key|account[_-]?key|shared[_-]?key|token|passw(?:or)?d|passwd|secret|credentials?|authorization)"
_VALUE = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|["']?[^\s,;&"'()\[\]{}]+)"""
_ASSIGNED = re.compile(rf"(?i)({_NAME}(?!s\b)[\w-]{{0,40}}[\"']?\s{{0,3}}[=:]\s{{0,3}}(?:(?:bearer|basic)\s{{1,3}})?)({_VALUE})")
_OPTION = re.compile(rf"(?i)(--[\w-]{{0,40}}?{_NAME}[\w-]{{0,40}}\s{{1,3}})({_VALUE})")
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s{1,3})[\w.~+/=-]{8,}")
_KNOWN = re.compile(
    r"\bsk-[\w-]{6,}"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|\bhf_[A-Za-z0-9]{20,}"
    r"|\bAKIA[A-Z0-9]{12,}"
    r"|\bAIza[\w-]{30,}"
)
_URL_LOGIN = re.compile(r"(://[^\s/:@]{0,100}:)[^\s/@]{1,200}(?=@)")
_SIGNATURE = re.compile(r"(?i)([?&](?:sig|signature|code|key)=)[^\s&\"']+")
_HARMLESS = re.compile(r"""["']?(?:None|null|True|False|true|false|\d{1,6}(?:\.\d{1,6})?)?["']?""")
_HINT = re.compile(
    r"(?i)key|token|passw|secret|credential|authorization|bearer|basic|sk-|eyj|gh[pousr]_|hf_|akia|aiza|://|[?&](?:sig|signature|code)="
)
_SECRET_NAME = re.compile(rf"(?i){_NAME}(?!s\b)")


def mask(text: str) -> str:
    """``text`` with the values of keys, tokens, passwords and the like replaced by ``***``."""
    if _HINT.search(text) is None:
        return text
    text = _ASSIGNED.sub(_hide, text)
    text = _OPTION.sub(_hide, text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _KNOWN.sub(HIDDEN, text)
    text = _URL_LOGIN.sub(rf"\1{HIDDEN}", text)
    return _SIGNATURE.sub(rf"\1{HIDDEN}", text)


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a credential (``max_tokens`` does not)."""
    return _SECRET_NAME.search(name[:200]) is not None


def _hide(match: re.Match[str]) -> str:
    value = match[2]
    if _HARMLESS.fullmatch(value):
        return match[0]
    first, last = (letter if letter in "\"'" else "" for letter in (value[0], value[-1]))
    return f"{match[1]}{first}{HIDDEN}{last}"
