"""The pages of trainings: the list with the form of a new one, the monitor, one prediction, a comparison (requirement E4)."""

from http import HTTPStatus

from waa.core.access import Scope, allows
from waa.core.error import Conflict, Forbidden, Invalid, NotFound
from waa.core.training import EVERYTHING, TrainingStatus
from waa.web.pages import PageHandler
from waa.web.views.query import Query
from waa.web.views.training import NewTraining, monitor_page, prediction_page
from waa.web.views.training_compare import ComparePage
from waa.web.views.training_subject import COMPARE_NAMES, PREDICTION_NAMES, ComparisonSubject, PredictionSubject, monitor_url


class TrainingsPageHandler(PageHandler):
    """``GET /training``: one's trainings. ``POST`` makes one, and shows its token once."""

    def get(self) -> None:
        self.write_trainings(NewTraining())

    async def post(self) -> None:
        entered = {name: self.get_body_argument(name, "").strip() for name in ("job_id", "title")}
        try:
            training, token = await self.deps.trainings.create(
                self.need_identity(), self.client, job_id=entered["job_id"] or None, title=entered["title"] or None
            )
        except (Invalid, Conflict, Forbidden) as error:
            field = error.field if isinstance(error, Invalid) else "job_id"
            errors = {field: str(error).removeprefix(f"{field}: ")}
            self.set_status(HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, Invalid) else HTTPStatus.CONFLICT)
            self.write_trainings(NewTraining(job_id=entered["job_id"], title=entered["title"], errors=errors))
            return
        self.audit_subject = training.job_id
        if token is None:
            self.redirect(monitor_url(training.job_id), status=HTTPStatus.SEE_OTHER)
            return
        self.set_status(HTTPStatus.CREATED)
        self.write_trainings(NewTraining(made=(training.job_id, token)))

    def write_trainings(self, form: NewTraining) -> None:
        """The page; nothing keeps a copy of it, as it may show a token."""
        identity = self.need_identity()
        owner = None if allows(identity, (Scope.ADMIN,)) else identity.subject
        self.set_header("Cache-Control", "no-store")
        self.write_page("pages/trainings.html", form=form, owner=owner, may_create=allows(identity, (Scope.TRAINING,)))


class MonitorPageHandler(PageHandler):
    """``GET /training/monitor?jobId=[&epoch=&match=&before=&after=]``: a training as it goes on."""

    async def get(self) -> None:
        query = Query.parse(self.request.query, ("jobId", *PREDICTION_NAMES))
        job_id = query.one("jobId")
        if not job_id:
            raise Invalid("jobId", "names the training")
        self.deps.trainings.need(self.need_identity(), job_id)
        subject = PredictionSubject.of(job_id, query)
        await self.deps.panels.prepare({"predictions": subject.text})
        self.write_page("pages/monitor.html", page=monitor_page(self.deps.look(), subject))


class PredictionPageHandler(PageHandler):
    """``GET /training/<job>/predictions/<seq>``: one prediction with all of its text."""

    async def get(self, job_id: str, seq: str) -> None:
        training = self.deps.trainings.need(self.need_identity(), job_id)
        found = await self.deps.trainings.page(job_id, EVERYTHING, after=int(seq) - 1, limit=1)
        if not found or found[0].seq != int(seq):
            raise NotFound(f"{job_id} has no prediction {seq}")
        self.write_page("pages/prediction.html", page=prediction_page(training, found[0]))


class ComparePredictionsHandler(PageHandler):
    """``GET /training/compare?a=&ae=&b=&be=[&turn=&after=]``: two epochs, or two trainings, side by side."""

    async def get(self) -> None:
        query = Query.parse(self.request.query, COMPARE_NAMES)
        values = {name: query.one(name) for name in COMPARE_NAMES}
        identity = self.need_identity()
        subject, error = "", ""
        if values["a"] and values["b"]:
            try:
                chosen = ComparisonSubject.of(query)
            except Invalid as invalid:
                error = str(invalid)
                self.set_status(HTTPStatus.UNPROCESSABLE_ENTITY)
            else:
                for side in (chosen.first, chosen.second):
                    self.deps.trainings.need(identity, side.job_id)
                subject = chosen.text
                await self.deps.panels.prepare({"comparison": subject})
        trainings = tuple((training.job_id, training.name) for training in self.deps.trainings.of(identity))
        page = ComparePage(trainings=trainings, values=values, subject=subject, error=error)
        self.write_page("pages/compare_predictions.html", page=page)


class TrainingRemoveHandler(PageHandler):
    """``POST /training/<job>/remove``."""

    async def post(self, job_id: str) -> None:
        await self.deps.trainings.remove(self.need_identity(), self.client, job_id)
        self.redirect("/training", status=HTTPStatus.SEE_OTHER)


class TrainingCancelHandler(PageHandler):
    """``POST /training/<job>/cancel``: somebody knows that it does not go on."""

    async def post(self, job_id: str) -> None:
        await self.deps.trainings.finish(self.need_identity(), job_id, TrainingStatus.CANCELLED, "")
        self.redirect(monitor_url(job_id), status=HTTPStatus.SEE_OTHER)
