"""A task's own file: what it says in lines, where it lies, and that it is fit to show."""

import json

from hypothesis import given
from hypothesis import strategies as st

from waa.core.results.specification import MAX_BYTES, SetupStep, places_of_specification, read_specification

FILE = {
    "id": "a-1-WOS",
    "snapshot": "libreoffice_calc",
    "instruction": "Fill the column.\nThen save.",
    "source": "https://example.org/question",
    "config": [
        {"type": "download", "parameters": {"files": [{"url": "https://example.org/a.xlsx?sig=abc", "path": "C:\\Users\\Docker\\a.xlsx"}]}},
        {"type": "open", "parameters": {"path": "C:\\Users\\Docker\\a.xlsx"}},
        {"type": "launch", "parameters": {"command": ["chrome", "--remote-debugging-port=1337"]}},
        {"type": "sleep", "parameters": {"seconds": 5}},
        {"type": "close_all"},
        "nonsense",
    ],
    "related_apps": ["libreoffice_calc", 7],
    "evaluator": {
        "postconfig": [{"type": "activate_window", "parameters": {"window_name": "a.xlsx", "strict": True}}],
        "func": ["compare_table", "is_extension_installed"],
        "conj": "or",
        "result": {"type": "vm_file", "path": "C:\\a.xlsx"},
        "expected": {"type": "rule", "rules": {"expected": ["yes"]}},
    },
}


def test_it_is_told_in_lines() -> None:
    spec = read_specification(json.dumps(FILE).encode())
    assert spec is not None
    assert (spec.instruction, spec.snapshot, spec.related_apps) == (
        "Fill the column.\nThen save.",
        "libreoffice_calc",
        ("libreoffice_calc",),
    )
    assert spec.steps == (
        SetupStep(kind="download", detail="C:\\Users\\Docker\\a.xlsx"),
        SetupStep(kind="open", detail="C:\\Users\\Docker\\a.xlsx"),
        SetupStep(kind="launch", detail="chrome --remote-debugging-port=1337"),
        SetupStep(kind="sleep", detail="5"),
        SetupStep(kind="close_all"),
    )
    assert (spec.functions, spec.joined) == (("compare_table", "is_extension_installed"), "or")
    assert spec.asked == '{"type": "vm_file", "path": "C:\\\\a.xlsx"}'
    assert spec.expected == '{"type": "rule", "rules": {"expected": ["yes"]}}'
    assert spec.after_steps == (SetupStep(kind="activate_window", detail="a.xlsx"),)
    assert json.loads(spec.text) == spec.document


def test_credentials_are_hidden_and_the_text_stays_json() -> None:
    told = {
        "config": [
            {"type": "login", "parameters": {"password": 'se"cret', "api_key": "sk-abcdef123456", "url": "https://u:pw@example.org"}}
        ],
        "note": "token=abcdef",
        "max_tokens": "7",
    }
    spec = read_specification(json.dumps(told).encode())
    assert spec is not None
    for secret in ("cret", "abcdef", ":pw@"):
        assert secret not in spec.text + str(spec)
    assert json.loads(spec.text)["max_tokens"] == "7"


def test_what_is_no_specification_is_none() -> None:
    for data in (b"", b"[]", b'"x"', b"{", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 10_000, b"{" + b" " * MAX_BYTES + b"}", b"1" * 5000):
        assert read_specification(data) is None
    odd = {"config": {"type": 1}, "evaluator": [], "instruction": 5, "related_apps": "chrome", "snapshot": None}
    spec = read_specification(b"\xef\xbb\xbf" + json.dumps(odd).encode())
    assert spec is not None
    assert (spec.steps, spec.functions, spec.instruction, spec.related_apps) == ((), (), "", ("chrome",))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(FILE)), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*FILE, "x"]), json_values))
def test_any_object_is_read_and_can_be_written(value: dict[str, object]) -> None:
    spec = read_specification(json.dumps(value).encode())
    assert spec is not None
    str(spec).encode()
    spec.text.encode()
    assert all("\n" not in step.detail for step in spec.steps)


def test_lone_surrogates_and_controls_can_be_written() -> None:
    spec = read_specification(b'{"instruction": "a\\ud800\\u0000\\u001b[31mb", "config": [{"type": "x\\udfff"}]}')
    assert spec is not None
    assert spec.instruction.encode() == b"a?b"


def test_it_is_looked_for_where_the_run_printed_and_where_it_usually_lies() -> None:
    printed = {"test_config_base_dir": "'custom'"}
    places = places_of_specification(printed, ["/client/results"], domain="clock", task_id="t-1", inner=True)
    assert places == (
        "/client/custom/examples/clock/t-1.json",
        "/client/evaluation_examples_windows/examples/clock/t-1.json",
        "/client/evaluation_examples/examples/clock/t-1.json",
    )
    absolute = {"test_config_base_dir": "/opt/tasks/"}
    assert places_of_specification(absolute, [], domain="a", task_id="b", inner=False) == ("/opt/tasks/examples/a/b.json",)
    beside = places_of_specification({}, ["/home/me/OSWorld/results"], domain="a", task_id="b", inner=False)
    assert "/home/me/OSWorld/evaluation_examples/examples/a/b.json" in beside


def test_no_name_leads_out() -> None:
    for domain, task_id in (("..", "x"), ("a/b", "x"), ("", "x"), ("a", "../x"), ("a", "x\n"), ("a", "\0"), ("a", ".")):
        assert places_of_specification({}, ["/r/results"], domain=domain, task_id=task_id, inner=True) == ()
    for printed in ("../secret", "a/../b", "a//b", "a\nb"):
        assert all(
            "/examples/" in place and ".." not in place
            for place in places_of_specification({"test_config_base_dir": printed}, [], domain="a", task_id="b", inner=True)
        )


def test_words_after_a_secret_option_are_hidden() -> None:
    command = ["az", "login", "--password", "hunter2hunter2", "--tenant", "waa"]
    read = read_specification(json.dumps({"config": [{"type": "execute", "parameters": {"command": command}}]}).encode())
    assert read is not None
    assert "hunter2" not in read.text
    assert read.steps[0].detail == "az login --password *** --tenant waa"
