"""The REST client against Azure on this machine: paging, every fault, ranges, and where tokens go."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.azure import GROUP, SUBSCRIPTION, WORKSPACE, FakeAzure, FakeJob, Fault, Machine
from waa.core.azure import Answers, Workspace, join
from waa.core.azure_pace import CloudError
from waa.core.azure_pace import Fault as Why
from waa.core.cloud import PowerState
from waa.probes.azure import AzureRest

HOME = Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name=WORKSPACE)
NOW = 1_770_207_151.0


class Tokens:
    """Gives the tokens of a list, one after the other when they are refused."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.claims: list[str | None] = []

    async def token(self, claims: str | None = None) -> str:
        self.claims.append(claims)
        return self.tokens[0]

    def forget(self) -> None:
        self.tokens[:] = self.tokens[1:] or self.tokens

    async def close(self) -> None:
        """Nothing to give back."""


@asynccontextmanager
async def rest(azure: FakeAzure, tokens: Tokens | None = None, *, base: str = "") -> AsyncIterator[AzureRest]:
    client = AzureRest(base=base or azure.url, tokens=tokens or Tokens("token-1"), clock=lambda: NOW)
    try:
        yield client
    finally:
        await client.close()


async def refused(azure: FakeAzure, fault: Fault | None = None, tokens: Tokens | None = None) -> CloudError:
    azure.machines = azure.machines or [Machine("a"), Machine("b"), Machine("c")]
    if fault is not None:
        azure.faults.append(fault)
    async with rest(azure, tokens) as client:
        with pytest.raises(CloudError) as caught:
            await client.vms(SUBSCRIPTION)
    return caught.value


async def test_all_pages_of_four_lists_become_machines() -> None:
    with FakeAzure() as azure:
        azure.machines = [
            Machine(f"vm-{number}", public_ip=f"203.0.113.{number}", power="running" if number else None) for number in range(5)
        ]
        async with rest(azure) as client:
            vms, powers = await client.vms(SUBSCRIPTION), await client.powers(SUBSCRIPTION)
            cards, addresses = await client.interfaces(SUBSCRIPTION), await client.addresses(SUBSCRIPTION)
            assert client.remaining_reads(SUBSCRIPTION) == 249
    joined = join(Answers(vms=vms, powers=powers, interfaces=cards, addresses=addresses), {})
    assert [(vm.name, vm.public_ip, vm.power) for vm in joined] == [
        (f"vm-{number}", f"203.0.113.{number}", PowerState.RUNNING if number else PowerState.UNKNOWN) for number in range(5)
    ]
    assert azure.count("virtualMachines") == 6
    assert azure.count("statusOnly=true") == 3


async def test_a_dynamic_address_of_a_stopped_machine_is_none() -> None:
    with FakeAzure() as azure:
        azure.machines = [Machine("off", public_ip="", power="stopped")]
        async with rest(azure) as client:
            assert list((await client.addresses(SUBSCRIPTION)).values()) == [""]


async def test_a_page_on_another_server_is_not_followed() -> None:
    with FakeAzure() as azure, FakeAzure() as foreign:
        azure.next_base = foreign.url
        error = await refused(azure)
        assert error.fault is Why.FOREIGN
        assert foreign.asked == []


async def test_a_list_that_goes_round_ends() -> None:
    with FakeAzure() as azure:
        link = f"{azure.url}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines?again"
        error = await refused(azure, Fault("virtualMachines", 200, {}, json.dumps({"value": [], "nextLink": link})))
        assert error.fault is Why.PARSE
        assert len(azure.asked) == 2


async def test_a_list_without_end_is_given_up() -> None:
    with FakeAzure() as azure:
        azure.page_size = 1
        azure.machines = [Machine(f"vm-{number}") for number in range(60)]
        error = await refused(azure)
        assert (error.fault, len(azure.asked)) == (Why.PARSE, 50)


async def test_too_many_requests_tell_how_long() -> None:
    with FakeAzure() as azure:
        error = await refused(azure, Fault("virtualMachines", 429, {"Retry-After": "17"}))
        assert (error.fault, error.retry_after_s) == (Why.THROTTLED, 17.0)
        assert len(azure.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_server_error_with_a_page_in_html(status: int) -> None:
    with FakeAzure() as azure:
        error = await refused(azure, Fault("virtualMachines", status, {"Content-Type": "text/html"}, "<html>oops</html>"))
        assert error.fault is Why.SERVER
        assert "<html>" not in str(error)


async def test_what_may_not_be_read_names_the_role() -> None:
    body = json.dumps({"error": {"code": "AuthorizationFailed", "message": "The client does not have authorization.\nMore."}})
    with FakeAzure() as azure:
        error = await refused(azure, Fault("virtualMachines", 403, {}, body))
        assert error.fault is Why.DENIED
        assert "AuthorizationFailed: The client does not have authorization." in str(error)
        assert "Reader" in error.remedy


@pytest.mark.parametrize("body", ["", "nonsense", "[]", '"x"', '{"value": {}}', "[" * 100_000])
async def test_an_answer_that_is_no_list(body: str) -> None:
    with FakeAzure() as azure:
        assert (await refused(azure, Fault("virtualMachines", 200, {}, body))).fault is Why.PARSE


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    with FakeAzure() as azure, FakeAzure() as foreign:
        error = await refused(azure, Fault("virtualMachines", 307, {"Location": foreign.url}))
        assert error.fault is Why.PARSE
        assert foreign.asked == []


async def test_a_server_that_is_not_there() -> None:
    with FakeAzure() as azure:
        base = azure.url
    async with rest(azure, base=base) as client:
        with pytest.raises(CloudError) as caught:
            await client.vms(SUBSCRIPTION)
    assert caught.value.fault is Why.NETWORK
    assert "refused" in str(caught.value)


async def test_a_refused_token_is_fetched_anew_once() -> None:
    with FakeAzure() as azure:
        azure.machines = [Machine("a")]
        tokens = Tokens("old", "token-1")
        async with rest(azure, tokens) as client:
            assert len(await client.vms(SUBSCRIPTION)) == 1
        assert [asked.token for asked in azure.asked] == ["Bearer old", "Bearer token-1"]
        assert tokens.claims == [None, None]


async def test_a_token_that_stays_refused_is_an_error() -> None:
    with FakeAzure() as azure:
        error = await refused(azure, tokens=Tokens("wrong"))
        assert (error.fault, len(azure.asked)) == (Why.TOKEN, 2)


async def test_what_a_token_must_prove_is_passed_on() -> None:
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
    with FakeAzure() as azure:
        azure.claims = base64.b64encode(claims.encode()).decode()
        azure.machines = [Machine("a")]
        tokens = Tokens("old", "token-1")
        async with rest(azure, tokens) as client:
            await client.vms(SUBSCRIPTION)
        assert tokens.claims == [None, claims]


# --- jobs ---


async def test_jobs_are_listed_up_to_a_number() -> None:
    with FakeAzure() as azure:
        azure.jobs = [FakeJob(f"job-{number}") for number in range(5)]
        async with rest(azure) as client:
            jobs, is_whole = await client.jobs(HOME, at_most=200)
            assert ([job.name for job in jobs], is_whole) == ([f"job-{number}" for number in range(5)], True)
            jobs, is_whole = await client.jobs(HOME, at_most=2)
            assert (len(jobs), is_whole) == (2, False)


async def test_details_are_found_by_discovery_which_gets_no_token() -> None:
    with FakeAzure() as azure:
        azure.jobs = [FakeJob("job-1", status="Failed", error="It broke", logs={"user_logs/std_log.txt": bytearray(b"x")})]
        async with rest(azure) as client:
            details = await client.details(HOME, "job-1")
            assert (details.vm_size, details.is_low_priority, details.error) == ("Standard_NC6s_v3", True, "It broke")
            await client.details(HOME, "job-1")
        assert azure.count("/discovery/") == 1
        assert [asked.token for asked in azure.asked if "/discovery/" in asked.path] == [None]


@pytest.mark.parametrize("place", ["https://evil.example", "http://169.254.169.254", "file:///etc"])
async def test_a_discovery_elsewhere_is_not_asked(place: str) -> None:
    with FakeAzure() as azure:
        azure.history_base = place
        azure.jobs = [FakeJob("job-1")]
        async with rest(azure) as client:
            with pytest.raises(CloudError) as caught:
                await client.details(HOME, "job-1")
        assert caught.value.fault is Why.FOREIGN


async def test_a_run_history_elsewhere_gets_no_token() -> None:
    with FakeAzure() as azure:
        azure.jobs = [FakeJob("job-1")]
        azure.faults.append(Fault("/discovery/", 200, {}, json.dumps({"api": "https://eastus.api.azureml.ms.evil.example"})))
        async with rest(azure) as client:
            with pytest.raises(CloudError) as caught:
                await client.details(HOME, "job-1")
        assert caught.value.fault is Why.FOREIGN


async def test_a_parent_lists_its_children() -> None:
    with FakeAzure() as azure:
        azure.jobs = [FakeJob("pipe", type="Pipeline", children=[FakeJob("a"), FakeJob("b"), FakeJob("c")])]
        async with rest(azure) as client:
            (parent,), _ = await client.jobs(HOME, at_most=9)
            children = await client.children(HOME, parent, at_most=9)
            assert [(child.name, child.parent) for child in children] == [("a", "pipe"), ("b", "pipe"), ("c", "pipe")]
            assert dict((await client.details(HOME, "pipe")).logs) == {}


# --- logs ---


async def test_a_log_is_read_by_ranges_without_a_token() -> None:
    with FakeAzure() as azure:
        job = FakeJob("job-1", logs={"user_logs/std_log.txt": bytearray(b"0123456789")})
        azure.jobs = [job]
        async with rest(azure) as client:
            url = (await client.details(HOME, "job-1")).logs["user_logs/std_log.txt"]
            part = await client.read_blob(url, 0, 4)
            assert (part.data, part.total) == (b"0123", 10)
            part = await client.read_blob(url, 4, 100)
            assert (part.data, part.total) == (b"456789", 10)
            part = await client.read_blob(url, 10, 100)
            assert (part.data, part.total) == (b"", 10)
            job.write(b"ab")
            assert (await client.read_blob(url, 10, 100)).data == b"ab"
        blobs = [asked for asked in azure.asked if "/blobs/" in asked.path]
        assert [asked.range for asked in blobs] == ["bytes=0-3", "bytes=4-103", "bytes=10-109", "bytes=10-109"]
        assert {asked.token for asked in blobs} == {None}


async def test_an_expired_signature_and_no_word_of_it() -> None:
    with FakeAzure() as azure:
        azure.jobs = [FakeJob("job-1", logs={"user_logs/std_log.txt": bytearray(b"0123")})]
        async with rest(azure) as client:
            url = (await client.details(HOME, "job-1")).logs["user_logs/std_log.txt"]
            azure.expire_signatures()
            with pytest.raises(CloudError) as caught:
                await client.read_blob(url, 0, 4)
        assert caught.value.fault is Why.EXPIRED
        assert "sig=" not in str(caught.value)


async def test_the_reason_of_a_broken_connection_holds_no_address() -> None:
    with FakeAzure() as azure:
        url = f"{azure.url}/blobs/job-1/x?sig=secret-signature"
    async with rest(azure, base=azure.url) as client:
        with pytest.raises(CloudError) as caught:
            await client.read_blob(url, 0, 4)
    assert caught.value.fault is Why.NETWORK
    assert "secret-signature" not in str(caught.value)


async def test_a_log_on_a_host_that_is_no_storage_is_not_read() -> None:
    with FakeAzure() as azure, FakeAzure() as foreign:
        async with rest(azure, base="https://management.azure.com") as client:
            for url in (f"{foreign.url}/blobs/a/b?sig=1", "https://evil.example/b"):
                with pytest.raises(CloudError) as caught:
                    await client.read_blob(url, 0, 4)
                assert caught.value.fault is Why.FOREIGN
        assert foreign.asked == []


@pytest.mark.parametrize(("status", "why"), [(404, Why.MISSING), (503, Why.SERVER), (429, Why.THROTTLED), (409, Why.PARSE)])
async def test_what_a_storage_can_answer(status: int, why: Why) -> None:
    with FakeAzure() as azure:
        azure.faults.append(Fault("/blobs/", status, {"Retry-After": "3"}))
        async with rest(azure) as client:
            with pytest.raises(CloudError) as caught:
                await client.read_blob(f"{azure.url}/blobs/a/b?sig=1", 0, 4)
        assert caught.value.fault is why


async def test_a_storage_that_knows_no_ranges() -> None:
    with FakeAzure() as azure:
        azure.faults.append(Fault("/blobs/", 200, {}, "0123456789"))
        async with rest(azure) as client:
            part = await client.read_blob(f"{azure.url}/blobs/a/b?sig=1", 4, 3)
            assert (part.data, part.total) == (b"456", 10)
