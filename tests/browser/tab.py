"""Tabs as a person has them: really hidden while another is in front, which Playwright's own pages never are."""

import itertools
import json
from typing import Any

from playwright.sync_api import Browser, Page

from tests.support.wait import wait_for


class Tabs:
    """Raw tabs of one browser, driven by the DevTools protocol. ``page`` is any page: waiting on it lets messages in."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self._session = browser.new_browser_cdp_session()
        self._page = page
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._open: list[str] = []
        self._session.on("Target.receivedMessageFromTarget", self._hear)

    def open(self, url: str, *, init: str = "", behind: bool = False) -> "Tab":
        """A tab in front, or behind the one that is there (as by a middle click)."""
        target = self._session.send("Target.createTarget", {"url": "about:blank", "background": behind})["targetId"]
        self._open.append(target)
        session = self._session.send("Target.attachToTarget", {"targetId": target, "flatten": False})["sessionId"]
        tab = Tab(self, target, session)
        tab.send("Page.enable")
        if init:
            tab.send("Page.addScriptToEvaluateOnNewDocument", source=init)
        tab.send("Page.navigate", url=url)
        tab.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab

    def grant(self, origin: str, *permissions: str) -> None:
        """As if the person had said yes."""
        self._session.send("Browser.grantPermissions", {"origin": origin, "permissions": list(permissions)})

    def close(self) -> None:
        """All tabs."""
        for target in self._open:
            self._session.send("Target.closeTarget", {"targetId": target})
        self._session.detach()

    def activate(self, target: str) -> None:
        """Bring a tab to the front."""
        self._session.send("Target.activateTarget", {"targetId": target})

    def send(self, session: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer of one tab. Raises AssertionError where it is an error."""
        number = next(self._numbers)
        message = json.dumps({"id": number, "method": method, "params": params})
        self._session.send("Target.sendMessageToTarget", {"sessionId": session, "message": message})
        answer = wait_for(lambda: self._page.evaluate("1") and self._answers.pop(number, None), what=method)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _hear(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message


class Tab:
    """One tab."""

    def __init__(self, tabs: Tabs, target: str, session: str) -> None:
        self._tabs = tabs
        self._target = target
        self._session = session

    def send(self, method: str, **params: object) -> dict[str, Any]:
        """One command."""
        return self._tabs.send(self._session, method, params)

    def evaluate(self, script: str) -> Any:
        """The value of an expression."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script: str) -> None:
        """Until the expression is true."""
        wait_for(lambda: self.evaluate(f"Boolean({script})"), what=script, hint=lambda: self.evaluate("document.body.innerText"))

    def show(self) -> None:
        """To the front; the one that was there is hidden."""
        self._tabs.activate(self._target)
        self.wait("!document.hidden")

    @property
    def state(self) -> str:
        """What the indicator says."""
        return str(self.evaluate("document.getElementById('sse-connection-indicator').textContent"))

    def wait_for_state(self, text: str) -> None:
        """Until the indicator says so."""
        wait_for(lambda: self.state == text, what=text, hint=lambda: self.state)
