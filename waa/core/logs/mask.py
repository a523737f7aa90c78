"""Hides credentials in text that comes from machines, logs and results, before anybody sees or stores it.

What is hidden: values of settings, options, headers and fields whose names tell that they are secret; logins in URLs; signatures of
Azure's shared access; private keys, whole; tokens of well-known forms wherever they stand; and what the operator's own expressions match.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

HIDDEN = "***"

# Every quantifier is bounded or eats what nothing before it could have eaten: the time is linear in the text.
_KINDS_OF_KEY = ("api", "access", "account", "shared", "private", "subscription", "encryption", "signing", "session", "functions", "master")
_NAME = (
    rf"(?:(?:{'|'.join(_KINDS_OF_KEY)})[_-]?key|shared[_-]?access[_-]?signature"
    r"|token|passw(?:or)?d|passwd|passphrase|(?<=[a-z0-9]_)(?:pass|pwd)(?![a-z])|secret|credentials?)"
)
_QUOTE = r"(?:\\{0,4}[\"'])"
_VALUE = (
    r"(?:\\{1,4}[\"'][^\"'\\\n]*"  # within a text that is quoted itself
    r"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
    r"|[\"'][^\"'\n]*\Z"  # cut off
    r"|[\"']?[^\s,;&\"']*[^\s,;&\"'()\[\]{}])"
)
_IS = r"\s{0,3}(?:=>|[=:>])\s{0,3}"
_ASSIGNED = re.compile(rf"(?i)({_NAME}(?!s\b)[\w-]{{0,40}}{_QUOTE}?{_IS}(?:(?:bearer|basic)\s{{1,3}})?)({_VALUE})")
_SCHEME = r"(?:bearer|basic|token|apikey|digest|negotiate|sharedkey\w{0,10})"
_AUTHORIZATION = re.compile(
    rf"(?i)(authorization{_QUOTE}?{_IS}{_QUOTE}?(?:{_SCHEME}\s{{1,3}})?)((?:[\w-]{{1,40}}\s{{1,3}})?[^\s,;&\"'\\]+)"
)
_COOKIE = re.compile(rf"(?i)(\b(?:set-)?cookie{_QUOTE}?\s{{0,3}}:\s{{0,3}})([^\n]+)")
_OPTION = re.compile(rf"(?i)(--[\w-]{{0,40}}?{_NAME}[\w-]{{0,40}}(?:\s{{1,3}}|[\"'],\s{{0,2}}))({_VALUE})")
_LOGIN = re.compile(rf"( (?:-u|--user)[ =]{_QUOTE}?[^\s:\"']{{1,100}}:)([^\s\"']+)")
_SHORT_OPTION = re.compile(rf"(?i)(\b(?:sshpass|login)\b[^\n]{{0,120}}?\s-p\s{{0,3}})({_VALUE})")
_BEARER = re.compile(r"\b((?i:bearer|basic)\s{1,3})(?=[\w.~+/-]{0,200}[A-Z0-9=])[\w.~+/=-]{8,}")
_STARTS = (
    r"sk-|gh[pousr]_|github_pat_|glpat-|hf_|(?:AKIA|ASIA)|AIza|ya29\.|GOCSPX-|xox[abeprs]-|xapp-|[sr]k_(?:live|test)_|SG\.|npm_|pypi-|gsk_|xai-"
    r"|pplx-|r8_|dapi|dop_v1_|dckr_pat_|tskey-|waa_|eyJ"
)
_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"  # an escaped line break may come before
_KNOWN = re.compile(
    rf"{_BEFORE}"
    r"(?:sk-[\w-]{6,}"
    r"|eyJ[\w-]{8,}(?:\.[\w-]+){0,4}"
    r"|(?:gh[pousr]|hf|npm|gsk|r8|dop_v1|dckr_pat|waa)_[A-Za-z0-9][\w-]{18,}"
    r"|github_pat_\w{20,}"
    r"|(?:glpat|pypi|xapp|xai|pplx|tskey|GOCSPX|xox[abeprs])-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|AIza[\w-]{30,}"
    r"|ya29\.[\w-]{20,}"
    r"|[sr]k_(?:live|test)_\w{10,}"
    r"|SG\.[\w-]{10,}\.[\w-]{10,}"
    r"|dapi[0-9a-f]{32}(?:-\d)?"
    r"|[\w~.-]{3}[78]Q~[\w~.-]{30,36}"  # a client secret of Microsoft Entra
    r"|\d{8,10}:AA[\w-]{33}"
    r"|[A-Za-z0-9+/]{86}==)"  # a key of an Azure storage account
)
_PARTIAL = re.compile(
    rf"{_BEFORE}(?:(?:{_STARTS})[\w.+/=~-]*|[\w~.-]{{3}}[78]Q~[\w~.-]*|\d{{8,10}}:AA[\w-]*|(?=[^\n]{{0,39}}[g-zG-Z+])[A-Za-z0-9+/]{{40,}})\Z"
)
_URL_LOGIN = re.compile(r"(://[^\s/:@]{0,100}:)[^\s/]{1,200}(?=@)")
_URL_TOKEN = re.compile(r"(://)[^\s/:@]{16,200}(?=@)")
_PARTIAL_LOGIN = re.compile(r"(://)(?:[^\s/:@]{1,100}:(?!\d{1,5}\Z)[^\s/]{1,200}|[^\s/:@]{16,200})\Z")
_SIGNATURE = re.compile(r"(?i)([?&](?:sig|signature|code|key)=)[^\s&\"']+")
_KEY_BEGIN = r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_KEY_END = r"-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_KEY_BLOCK = re.compile(rf"{_KEY_BEGIN}.*?(?:{_KEY_END}|\Z)", re.DOTALL)
_KEY_EDGE = re.compile(rf"({_KEY_BEGIN})|{_KEY_END}")
_KEY_LINE = re.compile(r"(?m)^[ \t]{0,8}(?=[^\n]{0,60}[g-zG-Z+/])[A-Za-z0-9+/]{60,128}={0,2}[ \t]{0,8}$")
_HARMLESS = re.compile(r"""[\\"']{0,5}(?:None|null|True|False|true|false|\d{1,6}(?:\.\d{1,6})?)?[\\"']{0,5}""")
_NAME_HINTS = (
    *(f"{kind}{between}key" for kind in _KINDS_OF_KEY for between in ("", "_", "-")),
    *("signature", "token", "passw", "passphrase", "_pass", "_pwd", "secret", "credential"),
)
_KNOWN_HINTS = (
    *("sk-", "eyj", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "hf_", "npm_", "gsk_", "r8_", "dop_v1_", "dckr_pat_", "waa_", "github_pat_"),
    *(
        "glpat-",
        "pypi-",
        "xapp-",
        "xai-",
        "pplx-",
        "tskey-",
        "gocspx-",
        "xox",
        "akia",
        "asia",
        "aiza",
        "ya29.",
        "k_live_",
        "k_test_",
        "sg.",
    ),
    *("dapi", "7q~", "8q~", ":aa", "=="),
)
_OPENING = re.compile(r"\\{0,4}[\"']")
_CLOSING = re.compile(r"\\{0,4}[\"']\Z")
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAME}|authorization)(?!s\b)")

MAX_KEY_LINES = 120
"""Of a private key whose end does not come: the longest in use have a hundred."""
MAX_PATTERNS = 20
MAX_PATTERN_CHARS = 200
WINDOW_CHARS = 1000
"""What an expression of the operator's sees at once, of one line."""
OVERLAP_CHARS = 256
"""No longer a match is found for sure."""
MAX_COST = 10_000_000
"""Steps that an expression may take for one window, at worst: a tenth of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPolicy:
    """The operator's decisions: whether anything is hidden, and what more than the usual."""

    is_on: bool = True
    patterns: tuple[re.Pattern[str], ...] = ()


_policy = MaskPolicy()


def use_policy(policy: MaskPolicy) -> None:
    """From now on, in the whole process. For its start only: what was hidden before stays hidden, and the other way round.

    The one setting that is not handed down: every reader of text ends here, and one that was forgotten would be a leak.
    """
    global _policy  # noqa: PLW0603 - as said
    _policy = policy


def mask(text: str) -> str:
    """``text`` with the values of keys, tokens, passwords and the like replaced by ``***``."""
    if not _policy.is_on:
        return text
    text = _mask_usual(text)
    return _mask_own(text, _policy.patterns) if _policy.patterns else text


def mask_unfinished(text: str) -> str:
    """The same of a text that goes on: what may become a credential is hidden, too."""
    if not _policy.is_on:
        return text
    return _PARTIAL.sub(HIDDEN, _PARTIAL_LOGIN.sub(rf"\1{HIDDEN}", mask(text)))


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a credential (``max_tokens`` does not)."""
    return _policy.is_on and _SECRET_NAME.search(name[:200]) is not None


class KeyLines:
    """Hides private keys in a text that comes line by line."""

    def __init__(self) -> None:
        self._left = 0

    def take(self, line: str) -> str:
        """The next line, hidden where it belongs to a key. What else is secret in it is left to ``mask``."""
        hidden, self._left = self._seen(line)
        return hidden

    def peek(self, line: str) -> str:
        """The same of a line that is not whole yet."""
        return self._seen(line)[0]

    def _seen(self, line: str) -> tuple[str, int]:
        if not self._left and "-----" not in line:
            return line, 0
        edges = list(_KEY_EDGE.finditer(line)) if _policy.is_on else []
        was_inside = _policy.is_on and self._left > 0
        if not edges:
            return (HIDDEN, self._left - 1) if was_inside else (line, 0)
        before = HIDDEN if was_inside else line[: edges[0].start()]
        is_open = edges[-1][1] is not None
        return before + HIDDEN + ("" if is_open else line[edges[-1].end() :]), MAX_KEY_LINES if is_open else 0


def compile_patterns(texts: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """The operator's expressions. Raises ValueError for one that is wrong, matches nothing at all, or could take too long."""
    made = tuple(_compiled(text) for text in texts)
    if len(made) > MAX_PATTERNS:
        raise ValueError(f"there are more than {MAX_PATTERNS} expressions")
    return made


def _mask_usual(text: str) -> str:
    # Looking for words first costs a tenth of looking for what they may begin, and most text holds none of them.
    low = text.lower()
    if "-----begin" in low:
        text = _KEY_BLOCK.sub(HIDDEN, text)
    if "authorization" in low:
        text = _AUTHORIZATION.sub(_hide, text)
    if "cookie" in low:
        text = _COOKIE.sub(_hide, text)
    if any(hint in low for hint in _NAME_HINTS):
        text = _OPTION.sub(_hide, _ASSIGNED.sub(_hide, text))
    if " -u" in low or " --user" in low:
        text = _LOGIN.sub(_hide, text)
    if "sshpass" in low or "login" in low:
        text = _SHORT_OPTION.sub(_hide, text)
    if "bearer" in low or "basic" in low:
        text = _BEARER.sub(rf"\1{HIDDEN}", text)
    if any(hint in low for hint in _KNOWN_HINTS):
        text = _KNOWN.sub(HIDDEN, text)
    if "://" in low:
        text = _URL_TOKEN.sub(rf"\1{HIDDEN}", _URL_LOGIN.sub(rf"\1{HIDDEN}", text))
    return _KEY_LINE.sub(HIDDEN, _SIGNATURE.sub(rf"\1{HIDDEN}", text))


def _hide(match: re.Match[str]) -> str:
    value = match[2]
    opening, closing = _OPENING.match(value), _CLOSING.search(value)
    begin, end = opening.end() if opening is not None else 0, closing.start() if closing is not None else len(value)
    if _HARMLESS.fullmatch(value) or value[begin:end] == HIDDEN:
        return match[0]
    return f"{match[1]}{value[:begin]}{HIDDEN}{value[max(begin, end) :]}"


def _mask_own(text: str, patterns: Iterable[re.Pattern[str]]) -> str:
    return "\n".join(_mask_line(line, patterns) for line in text.split("\n"))


def _mask_line(line: str, patterns: Iterable[re.Pattern[str]]) -> str:
    spans = sorted(
        (start + match.start(), start + match.end())
        for pattern in patterns
        for start in range(0, len(line), WINDOW_CHARS)
        for match in pattern.finditer(line[start : start + WINDOW_CHARS + OVERLAP_CHARS])
    )
    pieces, end = [], 0
    for start, stop in spans:
        if start >= end:
            pieces += [line[end:start], HIDDEN]
        end = max(end, stop)
    return "".join((*pieces, line[end:])) if spans else line


def _compiled(text: str) -> re.Pattern[str]:
    if not text or len(text) > MAX_PATTERN_CHARS:
        raise ValueError(f"{text[:40]!r} is not an expression of 1 to {MAX_PATTERN_CHARS} characters")
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    trouble = _Cost(text).trouble()
    if trouble is not None:
        raise ValueError(f"{text!r} could take too long: {trouble}")
    if pattern.match("") or pattern.search(" "):
        raise ValueError(f"{text!r} matches what is no text")
    return pattern


class _Cost:
    """Reads an expression just far enough to bound what it costs at worst."""

    _WIDE = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}")
    _GROUP = re.compile(r"\?(?:P<\w+>|i?:)")
    _CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix("(?i)")
        self._cost = WINDOW_CHARS
        self._groups = [False]  # whether each open group holds an alternative or a repetition of no fixed number
        self._ended_wide = False  # whether the group that has just ended did

    def trouble(self) -> str | None:
        """What is wrong with it; None for nothing."""
        place = 0
        while place < len(self._text):
            step = self._step(place)
            if isinstance(step, str):
                return step
            place = step
        return None if self._cost <= MAX_COST else "bound the repetitions, as in {1,40}, or use fewer of them"

    def _step(self, place: int) -> int | str:
        text = self._text
        letter = text[place]
        if letter == "(":
            return self._open(place + 1)
        if letter in "*+?{" and (found := self._WIDE.match(text, place)) is not None:
            return self._repeat(found)
        if letter in "{}":
            return "write a brace as \\{ (in the environment, where commas part a list, {1,40} cannot be written: use waa.toml)"
        self._ended_wide = False
        if letter == "\\":
            return "references to a group are not allowed" if text[place + 1 : place + 2] in "123456789" else place + 2
        if letter == "[" and (found := self._CLASS.match(text, place)) is not None:
            return found.end()
        if letter == ")" and len(self._groups) > 1:
            self._ended_wide = self._groups.pop()
            self._groups[-1] |= self._ended_wide
        self._groups[-1] |= letter == "|"
        return place + 1

    def _open(self, place: int) -> int | str:
        if self._text[place : place + 1] == "?":
            found = self._GROUP.match(self._text, place)
            if found is None:
                return "only groups as in (...), (?:...), (?i:...) and (?P<name>...) are allowed, and (?i) at the beginning"
            place = found.end()
        self._groups.append(False)
        return place

    def _repeat(self, found: re.Match[str]) -> int | str:
        end = found.end() + (self._text[found.end() : found.end() + 1] in ("?", "+"))
        low, comma, high = found[1], found[2], found[3]
        if low and not comma:  # a fixed number
            return "a repetition within a repetition" if self._ended_wide else end
        if self._ended_wide:
            return "a repetition or an alternative within a repetition"
        width = 2 if found[0] == "?" else int(high) - int(low or 0) + 1 if high else WINDOW_CHARS
        self._cost *= width
        self._groups[-1] = True
        self._ended_wide = False
        return end
