"""What Azure answers, read: published answers, odd ones, and how machines are put together from four lists."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core import azure
from waa.core.azure import Answers, Interface, Scope, TagFilter, VmListed, Workspace
from waa.core.cloud import CloudJob, CloudVm, JobStatus, PowerState
from waa.core.error import Invalid

CORPUS = Path(__file__).parents[1] / "corpus" / "azure"
SUBSCRIPTION = "5a7e1c00-0000-4000-8000-0000000000aa"
WORKSPACE = Workspace(subscription="00000000-0000-0000-0000-000000000", resource_group="00000", name="00000")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


def corpus(name: str) -> Any:
    return json.loads((CORPUS / name).read_text(encoding="utf-8"))


def a_vm(name: str = "waa-1", **fields: Any) -> CloudVm:
    resource_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/{name}"
    return CloudVm(**{"resource_id": resource_id, "name": name, "subscription": SUBSCRIPTION, "resource_group": "rg"} | fields)


def a_job(name: str = "job-1", **fields: Any) -> CloudJob:
    return CloudJob(**{"resource_id": f"{WORKSPACE.path}/jobs/{name}", "name": name, "workspace": WORKSPACE.path} | fields)


# --- machines ---


def test_the_published_machine_is_read() -> None:
    listed = azure.vm_of(corpus("vm.json"))
    assert listed is not None
    vm = listed.vm
    assert (vm.region, vm.size, vm.os, vm.is_spot, vm.admin_user) == ("eastus", "Standard_A0", "windows", False, "Foo12")
    assert vm.key == vm.resource_id.lower()
    assert [key.rpartition("/")[2] for key in listed.interfaces] == ["{networkinterfacename}"]


def test_spot_is_what_says_so() -> None:
    item = corpus("vm.json")
    assert [vm_with(item, priority).is_spot for priority in ("Spot", "Regular", "Low", None)] == [True, False, False, False]


def vm_with(item: Any, priority: str | None) -> CloudVm:
    changed = copy.deepcopy(item)
    changed["properties"]["priority"] = priority
    listed = azure.vm_of(changed)
    assert listed is not None
    return listed.vm


def test_the_power_is_the_status_that_says_so_wherever_it_stands() -> None:
    view = corpus("instance_view.json")
    backwards = {**view, "statuses": view["statuses"][::-1]}
    for each in (view, backwards):
        assert azure.power_of({"id": "/A/B", "properties": {"instanceView": each}}) == ("/a/b", PowerState.RUNNING)
    only_provisioned = {"statuses": view["statuses"][:1]}
    assert azure.power_of({"id": "/A", "properties": {"instanceView": only_provisioned}}) == ("/a", PowerState.UNKNOWN)
    assert azure.power_of({"id": "/A", "properties": {"instanceView": {"statuses": [{"code": "PowerState/gone"}]}}}) == (
        "/a",
        PowerState.UNKNOWN,
    )


@pytest.mark.parametrize("state", ["starting", "running", "stopping", "stopped", "deallocating", "deallocated"])
def test_every_power_state_is_known_by_its_name(state: str) -> None:
    item = {"id": "/a", "properties": {"instanceView": {"statuses": [{"code": f"PowerState/{state}"}]}}}
    assert azure.power_of(item) == ("/a", PowerState(state))


def test_the_published_interface_and_addresses_are_read() -> None:
    card = azure.interface_of(corpus("interface.json"))
    assert card is not None
    assert card.private_ips == ("172.20.2.4",)
    assert [key.rpartition("/")[2] for key in card.public_ids] == ["test-ip"]
    without, with_one = map(azure.address_of, corpus("public_addresses.json"))
    assert without is not None
    assert without[1] == ""
    assert with_one is not None
    assert with_one[1] == "40.85.154.247"


def test_four_lists_become_machines_whatever_the_case_of_their_ids() -> None:
    vm = a_vm()
    answers = Answers(
        vms=[VmListed(vm=vm, interfaces=("/nic/1",))],
        powers={vm.key: PowerState.DEALLOCATED},
        interfaces=[Interface(key="/nic/1", private_ips=("10.0.0.4",), public_ids=("/ip/1",))],
        addresses={"/ip/1": "203.0.113.7"},
    )
    (joined,) = azure.join(answers, {})
    assert (joined.power, joined.private_ip, joined.public_ip) == (PowerState.DEALLOCATED, "10.0.0.4", "203.0.113.7")


def test_a_part_that_was_not_answered_keeps_what_was_known() -> None:
    known = a_vm(power=PowerState.RUNNING, private_ip="10.0.0.4", public_ip="203.0.113.7")
    (joined,) = azure.join(Answers(vms=[VmListed(vm=a_vm(size="Standard_D2"))]), {known.key: known})
    assert joined == a_vm(size="Standard_D2", power=PowerState.RUNNING, private_ip="10.0.0.4", public_ip="203.0.113.7")
    (unknown,) = azure.join(Answers(vms=[VmListed(vm=a_vm())]), {})
    assert (unknown.power, unknown.public_ip) == (PowerState.UNKNOWN, "")


def test_an_address_that_is_gone_is_not_kept() -> None:
    known = a_vm(public_ip="203.0.113.7")
    answers = Answers(
        vms=[VmListed(vm=a_vm(), interfaces=("/nic/1",))],
        interfaces=[Interface(key="/nic/1", public_ids=("/ip/1",))],
        addresses={"/ip/1": ""},
    )
    assert azure.join(answers, {known.key: known})[0].public_ip == ""


def test_the_primary_interface_and_its_primary_address_count() -> None:
    item = corpus("vm.json")
    item["properties"]["networkProfile"]["networkInterfaces"] = [
        {"id": "/NIC/second", "properties": {"primary": False}},
        {"id": "/NIC/first", "properties": {"primary": True}},
    ]
    listed = azure.vm_of(item)
    assert listed is not None
    assert listed.interfaces == ("/nic/first", "/nic/second")
    card = azure.interface_of(
        {
            "id": "/NIC/first",
            "properties": {
                "ipConfigurations": [
                    {"properties": {"privateIPAddress": "10.0.0.5", "primary": False}},
                    {"properties": {"privateIPAddress": "10.0.0.4", "primary": True}},
                ]
            },
        }
    )
    assert card is not None
    assert card.private_ips == ("10.0.0.4", "10.0.0.5")


def test_filters_by_group_and_tag() -> None:
    scope = Scope(resource_groups=("RG",), tags=(TagFilter(name="purpose", value="bench"), TagFilter(name="waa")))
    assert scope.holds(a_vm(tags={"Purpose": "bench"}))
    assert scope.holds(a_vm(tags={"waa": ""}))
    assert not scope.holds(a_vm(tags={"purpose": "other"}))
    assert not scope.holds(a_vm(resource_group="other", tags={"waa": ""}))
    assert Scope().holds(a_vm())
    assert not Scope().is_watched(a_vm(tags={"waa": ""}))
    assert Scope(watch_tag=azure.tag_filter("waa = on")).is_watched(a_vm(tags={"WAA": "on"}))


def test_workspaces_are_named_in_three_ways() -> None:
    expected = Workspace(subscription=SUBSCRIPTION, resource_group="rg", name="ws")
    assert azure.workspace_of("rg/ws", [SUBSCRIPTION]) == expected
    assert azure.workspace_of(f"{SUBSCRIPTION.upper()}/rg/ws", []) == expected
    assert azure.workspace_of(expected.path, []) == expected
    for wrong in ("ws", "rg/ws", "a/b/c", f"{SUBSCRIPTION}/rg/w?s"):
        with pytest.raises(ValueError, match="is not"):
            azure.workspace_of(wrong, [])


# --- jobs ---


def test_the_published_job_is_read() -> None:
    job = azure.job_of(corpus("job.json"), WORKSPACE)
    assert job is not None
    assert (job.name, job.status, job.type, job.experiment, job.compute) == (
        "test_829867244508",
        JobStatus.STARTING,
        "Command",
        "mfe-test1",
        "testCompute",
    )
    assert job.created_at == pytest.approx(1677011592.309891)
    assert job.portal_url.startswith("https://ml.azure.com/runs/test_829867244508?wsid=")
    assert job.key == "00000000-0000-0000-0000-000000000/00000/00000/test_829867244508"


def test_a_job_of_another_workspace_is_passed_over() -> None:
    other = Workspace(subscription=SUBSCRIPTION, resource_group="rg", name="ws")
    assert azure.job_of(corpus("job.json"), other) is None
    assert [azure.job_of(item, other) for item in corpus("jobs_schema_example.json")["value"]] == [None]


@pytest.mark.parametrize(
    "url", ["http://ml.azure.com/x", "javascript:alert(1)", "https://user@evil/", "https:///x", "https://a b/", "", None, 7]
)
def test_a_link_that_is_no_plain_https_address_is_not_shown(url: object) -> None:
    item = corpus("job.json")
    item["properties"]["services"]["Studio"]["endpoint"] = url
    job = azure.job_of(item, WORKSPACE)
    assert job is not None
    assert job.portal_url == ""


def test_published_details_tell_times_and_machine() -> None:
    details = azure.details_of(corpus("run_details.json"))
    assert (details.status, details.vm_size, details.is_low_priority) == (JobStatus.COMPLETED, "Standard_DS3_v2", False)
    assert details.duration_s == pytest.approx(559.5983759)
    assert details.ended_at is not None
    assert details.started_at is not None
    assert details.ended_at - details.started_at == pytest.approx(559.599)


def test_signed_addresses_are_not_in_what_is_printed_or_compared() -> None:
    details = azure.details_of({"logFiles": {"user_logs/std_log.txt": "https://a.blob.core.windows.net/x?sig=secret"}})
    assert details.logs["user_logs/std_log.txt"].endswith("sig=secret")
    assert "secret" not in repr(details)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:09:19.5983759", 559.5983759),
        ("1.02:03:04", 93784.0),
        ("123:00:00", 442800.0),
        ("9:19", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_spans_of_time(text: object, seconds: float | None) -> None:
    assert azure.span_s(text) == (pytest.approx(seconds) if seconds is not None else None)


def test_details_are_kept_when_the_job_is_listed_again() -> None:
    detailed = azure.with_details(a_job(status=JobStatus.COMPLETED), azure.details_of(corpus("run_details.json")))
    assert (detailed.has_details, detailed.vm_size) == (True, "Standard_DS3_v2")
    again = azure.listed_again(a_job(status=JobStatus.COMPLETED, title="Renamed"), detailed)
    assert (again.title, again.duration_s, again.has_details) == ("Renamed", detailed.duration_s, True)


def test_a_list_that_lags_behind_does_not_bring_a_job_back() -> None:
    detailed = azure.with_details(a_job(status=JobStatus.RUNNING), azure.details_of(corpus("run_details.json")))
    assert azure.listed_again(a_job(status=JobStatus.RUNNING), detailed).status is JobStatus.COMPLETED


def test_a_job_that_ended_since_needs_its_details_again() -> None:
    live = azure.with_details(
        a_job(status=JobStatus.RUNNING), azure.details_of({"status": "Running", "startTimeUtc": "2026-02-04T12:00:00Z"})
    )
    assert not azure.listed_again(a_job(status=JobStatus.FAILED), live).has_details
    assert azure.listed_again(a_job(status=JobStatus.RUNNING), live).has_details


def test_newest_first_and_those_without_a_date_last() -> None:
    jobs = [a_job("old", created_at=1.0), a_job("none"), a_job("new", created_at=2.0)]
    assert [job.name for job in azure.newest_first(jobs)] == ["new", "old", "none"]


def test_not_responding_is_not_the_end() -> None:
    assert [a_job(status=status).is_over for status in (JobStatus.NOT_RESPONDING, JobStatus.PAUSED, JobStatus.CANCELED)] == [
        False,
        False,
        True,
    ]
    assert azure.status_of("Sleeping") is JobStatus.UNKNOWN


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["logs/azureml/x.log", "user_logs/std_log.txt", "system_logs/a.log"], ["user_logs/std_log.txt"]),
        (
            [f"user_logs/std_log_process_{number:02d}.txt" for number in (10, 2, 0, 1, 3)],
            [f"user_logs/std_log_process_{number:02d}.txt" for number in (0, 1, 2, 3)],
        ),
        (["azureml-logs/70_driver_log.txt", "azureml-logs/55_azureml-execution.txt"], ["azureml-logs/70_driver_log.txt"]),
        (["logs/azureml/executionlogs.txt", "logs/azureml/stderrlogs.txt"], ["logs/azureml/executionlogs.txt"]),
        (["azureml-logs/process_info.json"], []),
        ([], []),
    ],
)
def test_the_log_of_the_program_is_chosen(names: list[str], chosen: list[str]) -> None:
    assert azure.chosen_logs(names) == chosen


def test_of_the_published_log_names_the_programs_own_one_is_chosen() -> None:
    files = corpus("log_files.json")
    assert azure.chosen_logs(files) == ["user_logs/std_log.txt"]
    assert azure.chosen_logs(name for name in files if not name.startswith("user_logs/")) == ["azureml-logs/70_driver_log-worker-0.txt"]
    assert azure.details_of({"logFiles": files}).logs == files


def test_children_are_jobs_of_their_parent() -> None:
    parent = a_job("pipe", type="Pipeline", compute="gpu", experiment="waa")
    item = {
        "runId": "step-1",
        "displayName": "Step",
        "status": "Failed",
        "startTimeUtc": "2026-02-04T12:00:00Z",
        "endTimeUtc": "2026-02-04T12:01:00Z",
    }
    child = azure.child_of(item, parent)
    assert child is not None
    assert (child.parent, child.name, child.title, child.status, child.duration_s) == ("pipe", "step-1", "Step", JobStatus.FAILED, 60.0)
    assert child.resource_id == f"{WORKSPACE.path}/jobs/step-1"
    assert azure.child_of({"runId": "../x"}, parent) is None


# --- where tokens and logs may go ---

ARM = "https://management.azure.com"


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [
        ("https://management.azure.com/subscriptions/x?skip=1", True),
        ("https://management.azure.com:443/x", True),
        ("http://management.azure.com/x", False),
        ("https://management.azure.com.evil.example/x", False),
        ("https://management.azure.com@evil.example/x", False),
        ("https://evil.example/management.azure.com", False),
        ("//evil.example/x", False),
        ("https://[::1", False),
        ("", False),
    ],
)
def test_a_next_page_stays_with_the_server(url: str, is_fine: bool) -> None:
    assert azure.is_same_server(url, ARM) is is_fine


@pytest.mark.parametrize(
    ("url", "base", "is_history", "is_blob"),
    [
        ("https://eastus.api.azureml.ms", ARM, True, False),
        ("https://x.workspace.eastus.api.azureml.ms/discovery", ARM, True, False),
        ("https://api.azureml.ms.evil.example", ARM, False, False),
        ("http://eastus.api.azureml.ms", ARM, False, False),
        ("https://eastus.api.azureml.ms:8443", ARM, False, False),
        ("https://acc.blob.core.windows.net/c/b?sig=x", ARM, False, True),
        ("https://acc.z12.blob.storage.azure.net/c", ARM, False, True),
        ("https://169.254.169.254/metadata", ARM, False, False),
        ("http://127.0.0.1:9/x", ARM, False, False),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:8", True, True),
        ("https://acc.blob.core.windows.net/c", "http://127.0.0.1:8", False, False),
    ],
)
def test_only_azures_hosts_are_asked(url: str, base: str, is_history: bool, is_blob: bool) -> None:
    assert (azure.is_history_host(url, base=base), azure.is_blob_host(url, base=base)) == (is_history, is_blob)


def test_a_base_that_may_get_a_token() -> None:
    for fine in (ARM, f"{ARM}/", "https://management.chinacloudapi.cn", "http://127.0.0.1:8080", "http://localhost:1"):
        azure.check_base(fine, field_name="azure_url")
    for wrong in ("http://management.azure.com", "https://a/b", "https://u@a", "http://127.0.0.1", "ftp://a", "https://a:b", ""):
        with pytest.raises(Invalid, match="azure_url"):
            azure.check_base(wrong, field_name="azure_url")


# --- anything ---


@given(JSON)
def test_no_answer_breaks_the_readers(value: Any) -> None:
    parent = a_job()
    for read in (azure.vm_of, azure.power_of, azure.interface_of, azure.address_of, azure.details_of):
        read(value)
    azure.job_of(value, WORKSPACE)
    azure.child_of(value, parent)


@given(st.sampled_from(["vm.json", "job.json", "run_details.json", "interface.json", "instance_view.json"]), st.data())
def test_a_published_answer_with_anything_anywhere_breaks_nothing(name: str, data: st.DataObject) -> None:
    item = corpus(name)
    place = item
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    test_no_answer_breaks_the_readers.hypothesis.inner_test(item)  # type: ignore[attr-defined]
