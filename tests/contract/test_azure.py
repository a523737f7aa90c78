"""Against a real subscription, reading only: what the published examples do not show. Skipped unless these name one.

``WAA_TEST_AZURE_SUBSCRIPTION``: its id. ``WAA_TEST_AZURE_WORKSPACE``: ``group/workspace``, for jobs. ``WAA_TEST_AZURE_AUTH``: cli (the
default), env, managed, auto. The login needs the role Reader.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from waa.core.azure import Answers, Auth, chosen_logs, join, newest_first, workspace_of
from waa.core.cloud import JobStatus, PowerState
from waa.probes.azure import AzureRest
from waa.probes.azure_login import Login

SUBSCRIPTION = os.environ.get("WAA_TEST_AZURE_SUBSCRIPTION", "")
WORKSPACE = os.environ.get("WAA_TEST_AZURE_WORKSPACE", "")
AUTH = Auth(os.environ.get("WAA_TEST_AZURE_AUTH", "cli"))
BASE = os.environ.get("WAA_TEST_AZURE_URL", "https://management.azure.com")

pytestmark = [pytest.mark.azure, pytest.mark.skipif(not SUBSCRIPTION, reason="WAA_TEST_AZURE_SUBSCRIPTION names no subscription")]
needs_workspace = pytest.mark.skipif(not WORKSPACE, reason="WAA_TEST_AZURE_WORKSPACE names no workspace")


@asynccontextmanager
async def azure() -> AsyncIterator[AzureRest]:
    tokens = Login(auth=AUTH, scope=f"{BASE}/.default", authority="", clock=time.time)
    client = AzureRest(base=BASE, tokens=tokens, clock=time.time)
    try:
        yield client
    finally:
        await client.close()
        await tokens.close()


async def test_four_lists_fit_together() -> None:
    async with azure() as client:
        vms, powers = await client.vms(SUBSCRIPTION), await client.powers(SUBSCRIPTION)
        cards, addresses = await client.interfaces(SUBSCRIPTION), await client.addresses(SUBSCRIPTION)
        assert client.remaining_reads(SUBSCRIPTION) is not None
    assert {listed.vm.key for listed in vms} >= set(powers)
    joined = join(Answers(vms=vms, powers=powers, interfaces=cards, addresses=addresses), {})
    for vm in joined:
        assert vm.size, vm.name
        assert vm.region, vm.name
        assert vm.os in ("linux", "windows"), vm.name
        assert vm.power is not PowerState.UNKNOWN, f"{vm.name}: statusOnly has another shape than it is taken to have"
    if joined:
        assert any(vm.private_ip for vm in joined)


@needs_workspace
async def test_jobs_are_read_and_how_they_are_ordered() -> None:
    workspace = workspace_of(WORKSPACE, [SUBSCRIPTION])
    async with azure() as client:
        jobs, is_whole = await client.jobs(workspace, at_most=50)
    assert all(job.status is not JobStatus.UNKNOWN and job.created_at is not None for job in jobs)
    assert all(job.portal_url.startswith("https://") for job in jobs if job.portal_url)
    if not is_whole:  # else older ones might be listed, and newer ones not
        assert [job.key for job in jobs] == [job.key for job in newest_first(jobs)]


@needs_workspace
async def test_details_and_a_log_by_its_signed_address() -> None:
    workspace = workspace_of(WORKSPACE, [SUBSCRIPTION])
    async with azure() as client:
        jobs, _ = await client.jobs(workspace, at_most=50)
        for job in newest_first(jobs):
            details = await client.details(workspace, job.name)
            assert details.status is not JobStatus.UNKNOWN
            names = chosen_logs(details.logs)
            if not names:
                continue
            part = await client.read_blob(details.logs[names[0]], 0, 1024)
            assert len(part.data) <= 1024
            assert part.total >= len(part.data)
            past = await client.read_blob(details.logs[names[0]], part.total, 1024)
            assert past.total >= part.total
            return
    pytest.skip("no job of the workspace has a log")
