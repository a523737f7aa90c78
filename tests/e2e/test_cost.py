"""The whole server: it asks the price list for what it may, survives kill -9 and a list that is gone, and bills what was seen."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.support.price_list import PriceServer, an_item, price_list
from tests.support.server import Server
from tests.support.wait import wait_for

VM = "here"


def config_of(prices: PriceServer, folder: Path) -> str:
    """This machine, watched without SSH, of a size that Azure's list knows."""
    fields = {
        "name": VM,
        "transport": "local",
        "container": "",
        "log_path": str(folder / "none.log"),
        "size": "Standard_D8ds_v5",
        "region": "eastus2",
        "spot": True,
    }
    vm = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    return f'demo = "off"\nazure_prices = true\nazure_prices_url = "{prices.url}"\n[[vm]]\n{vm}'


def cost_of(server: Server) -> Any:
    """What the VM costs, once it is known since when it is up."""

    def known() -> Any:
        cost = server.vm(VM)["cost"]
        return cost if cost["standing"] == "up" and cost["total"] is not None and cost["total"]["unseen"] == 0 else None

    return wait_for(known, what="its cost is known", hint=server.text)


async def test_a_price_is_asked_for_once_and_costs_go_on_after_kill_9(tmp_path: Path) -> None:
    async with price_list() as prices:
        prices.items = [an_item(skuName="D8ds v5 Spot", meterName="D8ds v5 Spot", retailPrice=0.0768), an_item()]
        server = Server(tmp_path, config=config_of(prices, tmp_path))
        try:
            await asyncio.to_thread(server.start)
            first = await asyncio.to_thread(cost_of, server)
            assert (first["price_per_hour"], first["price_source"], first["currency"]) == (0.0768, "azure", "USD")
            up_s = time.time() - first["since"]  # since the boot of this machine
            assert abs(first["total"]["spent"] - 0.0768 * up_s / 3600) < 0.0768 * 60 / 3600
            server.kill()
            assert len(prices.asked) == 1

            prices.faults = [(500, {}, "")] * 100
            await asyncio.to_thread(server.start)
            again = await asyncio.to_thread(cost_of, server)
            assert (again["price_per_hour"], again["priced_at"]) == (0.0768, first["priced_at"])
            assert abs(again["since"] - first["since"]) < 1
            assert again["total"]["spent"] >= first["total"]["spent"]
            assert len(prices.asked) == 1, "a price of today is not asked for again"
            spending = (await asyncio.to_thread(server.get, "/api/spending"))["spending"]
            assert spending["per_hour"] == 0.0768
        finally:
            await asyncio.to_thread(server.stop)
