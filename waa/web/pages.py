"""The pages, the form for VMs, and panels by themselves."""

from http import HTTPStatus

from waa.core.codec import spec_from
from waa.core.error import Conflict, Invalid, NotFound
from waa.core.results.folder import is_file_name
from waa.core.spec import Origin
from waa.services.picture import WIDTHS
from waa.web import api
from waa.web.base import BaseHandler
from waa.web.panel_stream import PATIENCE_S
from waa.web.panels import PANELS
from waa.web.view import Look
from waa.web.views.form import spec_values, vm_form
from waa.web.views.page import overview_page, task_page, vm_page
from waa.web.views.pipelines import shown_ids
from waa.web.views.task import TaskSubject, find_task, need_step

PICTURE_AGE_S = 3600
"""A screenshot's name holds the second it was taken at: it does not change."""


class PageHandler(BaseHandler):
    """Renders a page for one browser."""

    def look(self) -> Look:
        """What this page may see, with its form token."""
        return self.page_look()

    def write_page(self, template: str, **context: object) -> None:
        """Answer with a page; the browser gets its name, which its streams are counted by."""
        self.browser_key()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(self.deps.renderer.page(template, look=self.look(), **context))


class OverviewHandler(PageHandler):
    """``GET /[?run=][&job=]``: what needs attention, the fleet, and the panels of the contract."""

    def get(self) -> None:
        page = overview_page(self.deps.look(), self.one_argument("run"), self.one_argument("job"))
        self.write_page("pages/overview.html", page=page)


class VmPageHandler(PageHandler):
    """``GET /vms/<name>``: one VM, its run, and its log as it is written."""

    def get(self, name: str) -> None:
        self.write_page("pages/vm.html", page=vm_page(self.deps.look(), name))


class TaskPageHandler(PageHandler):
    """``GET /runs/<id>/tasks/<domain>/<task>[/<attempt>][?step=]``: what happened in a task, step by step."""

    async def get(self, run_id: str, domain: str, task_id: str, attempt: str | None = None) -> None:
        step = need_step(self.one_argument("step"))
        subject = TaskSubject(run_id=run_id, domain=domain, task_id=task_id, attempt=int(attempt) if attempt else None, step=step)
        _, task = find_task(self.deps.look(), subject)
        if task is not None:
            await self.deps.records.load(task, patience_s=PATIENCE_S)
        self.write_page("pages/task.html", page=task_page(self.deps.look(), subject))


class TaskFileHandler(BaseHandler):
    """``GET /runs/<id>/tasks/<domain>/<task>/<attempt>/files/<name>[?width=]``: a screenshot of a task, fetched when somebody looks."""

    async def get(self, run_id: str, domain: str, task_id: str, attempt: str, name: str) -> None:
        subject = TaskSubject(run_id=run_id, domain=domain, task_id=task_id, attempt=int(attempt))
        _, task = find_task(self.deps.look(), subject)
        if task is None or not is_file_name(name):
            raise NotFound(f"There is no file {name!r}")
        width = need_width(self.one_argument("width"))
        picture = await self.deps.records.picture(task, name, width=width)
        self.set_header("Content-Type", "image/png" if width is None else "image/webp")
        self.set_header("Cache-Control", f"private, max-age={PICTURE_AGE_S}")
        self.write(picture)


class VmFormHandler(PageHandler):
    """``GET /vms/new`` shows the form, ``POST /vms`` takes it: the way to add a VM without JavaScript."""

    def get(self) -> None:
        if self.request.path == "/vms":
            self.redirect("/#vms-panel")
            return
        self.write_page("pages/vm_new.html", page=vm_form())

    async def post(self) -> None:
        entered = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        try:
            values = spec_values(entered)
            api.need_named(values)
            spec = spec_from(values, origin=Origin.API, strict=False)
            if spec.name in self.deps.recorder.state.vms:
                raise Conflict(f"there is a VM named {spec.name!r} already")
            await api.register(self, spec)
        except Invalid as error:
            self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, entered, error.field, str(error).removeprefix(f"{error.field}: "))
            return
        except Conflict as error:
            self.refuse(HTTPStatus.CONFLICT, entered, "name", str(error))
            return
        self.redirect(f"/vms/{spec.name}", status=HTTPStatus.SEE_OTHER)

    def refuse(self, status: HTTPStatus, entered: dict[str, str], field: str, message: str) -> None:
        """The form again, with what was typed and what is wrong with it."""
        self.set_status(status)
        self.write_page("pages/vm_new.html", page=vm_form(entered, {field: message}))


class VmRemoveHandler(PageHandler):
    """``POST /vms/<name>/remove``."""

    async def post(self, name: str) -> None:
        await api.forget(self, name)
        self.redirect("/", status=HTTPStatus.SEE_OTHER)


class VmRetryHandler(PageHandler):
    """``POST /vms/<name>/retry``: try an unreachable VM at once."""

    def post(self, name: str) -> None:
        if name not in self.deps.recorder.state.vms:
            raise NotFound(f"There is no VM named {name!r}")
        self.deps.monitor.retry_now(name)
        self.redirect(f"/vms/{name}", status=HTTPStatus.SEE_OTHER)


class ScreenshotHandler(BaseHandler):
    """``GET /vms/<name>/screenshot[?width=]``: the last screenshot that the benchmark took, fetched when somebody looks.

    Cards ask with ``?of=`` the step that they show, and get a picture in any case: one that says that there is none.
    """

    async def get(self, name: str) -> None:
        width = need_width(self.one_argument("width"))
        picture = await self.deps.monitor.screenshot(name)
        if picture is None and self.one_argument("of") is not None:
            self.redirect(self.deps.renderer.static_url("no-screenshot.svg"))
            return
        if picture is None:
            raise NotFound(f"{name} has taken no screenshot yet")
        small = await self.deps.pictures.shrunk(picture, width) if width is not None else None
        self.set_header("Content-Type", "image/png" if small is None else "image/webp")
        self.write(small or picture)


def need_width(text: str | None) -> int | None:
    """The width of a thumbnail, None where none is asked for. Raises Invalid."""
    if text is not None and text not in map(str, WIDTHS):
        raise Invalid("width", f"is one of {', '.join(map(str, WIDTHS))}")
    return int(text) if text is not None else None


class FragmentHandler(BaseHandler):
    """``GET /fragments/<panel>[?vm=|run=|task=|...]``: the bytes that the stream swaps in (A23)."""

    public_to_embedders = True

    async def get(self, name: str) -> None:
        panel = PANELS.get(name)
        if panel is None:
            raise NotFound(f"There is no panel {name!r}; there are: {', '.join(PANELS)}")
        about = self.subjects((name,))
        await self.deps.panels.prepare({panel.parameter or "": about.get(panel.parameter or "")})
        subject = self.deps.panels.subject(panel, about, is_all=self.sees_all)
        self.deps.pipelines.glance(shown_ids(self.deps.look(), [subject]))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(self.deps.panels.render(subject))


class EmbedHandler(PageHandler):
    """``GET /embed/<panel>``: a bare page with one live panel, for a frame in a page of an allowed origin."""

    public_to_embedders = True

    async def get(self, name: str) -> None:
        panel = PANELS.get(name)
        if panel is None:
            raise NotFound(f"There is no panel {name!r}; there are: {', '.join(PANELS)}")
        about = self.subjects((name,))
        _name, subject = self.deps.panels.subject(panel, about, is_all=self.sees_all)
        await self.deps.panels.prepare({panel.parameter or "": subject})
        self.deps.pipelines.glance(shown_ids(self.deps.look(), [(name, subject)]))
        self.write_page("embed.html", page_panel=name, subject=subject, about=about)
