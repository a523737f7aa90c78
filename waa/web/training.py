"""Trainings for programs: creating, pushing, reading, streaming (requirements E1 to E3)."""

from http import HTTPStatus
from uuid import uuid4

from waa.core.codec import convert, decode, decode_fields
from waa.core.error import Invalid
from waa.core.training import MAX_BATCH, GivenPrediction, Prediction, PredictionFilter, TrainingStatus, checked
from waa.services.training import Taken
from waa.web.api import ApiHandler
from waa.web.payload import BatchItem, FinishBody, TrainingBody
from waa.web.stream import StreamHandler
from waa.web.training_feed import GroupKey, epoch_trend, prediction_payload, training_payload

MAX_PAGE = 500
MAX_ERROR = 2_000
MAX_PUSH_BYTES = 4 * 1024 * 1024
MAX_SEQ = 2**53 - 1
_ENDS = tuple(status for status in TrainingStatus if status is not TrainingStatus.RUNNING)
_FIELDS = frozenset(GivenPrediction.__dataclass_fields__)


class TrainingListHandler(ApiHandler):
    """``GET /api/training/jobs``: one's trainings, the one that spoke last first. ``POST`` makes one."""

    def get(self) -> None:
        found = self.deps.trainings.of(self.need_identity())
        self.write_json({"jobs": [training_payload(training) for training in found]})

    async def post(self) -> None:
        body = decode_fields(TrainingBody, self.request.body, name="body")
        training, token = await self.deps.trainings.create(
            self.need_identity(), self.client, job_id=body.get("job_id"), title=body.get("title")
        )
        self.audit_subject = training.job_id
        self.set_header("Cache-Control", "no-store")
        self.write_json(
            {
                "job": training_payload(training),
                "token": token,
                "stream": f"/api/training/predictions/{training.job_id}/stream",
                "url": f"/training/monitor?jobId={training.job_id}",
            },
            HTTPStatus.OK if token is None else HTTPStatus.CREATED,
        )


class TrainingHandler(ApiHandler):
    """``GET /api/training/jobs/<job>``: one training. ``DELETE`` takes it away with its predictions and tokens."""

    def get(self, job_id: str) -> None:
        self.write_json(training_payload(self.deps.trainings.need(self.need_identity(), job_id)))

    async def delete(self, job_id: str) -> None:
        await self.deps.trainings.remove(self.need_identity(), self.client, job_id)
        self.set_status(HTTPStatus.NO_CONTENT)


class TrainingTokenHandler(ApiHandler):
    """``POST /api/training/jobs/<job>/token``: one more key that pushes to this training and does nothing else."""

    async def post(self, job_id: str) -> None:
        token = await self.deps.trainings.make_token(self.need_identity(), self.client, job_id)
        self.set_header("Cache-Control", "no-store")
        self.write_json({"token": token}, HTTPStatus.CREATED)


class TrainingFinishHandler(ApiHandler):
    """``POST /api/training/jobs/<job>/finish``: how it ended. What it pushes later opens it again."""

    async def post(self, job_id: str) -> None:
        body = decode_fields(FinishBody, self.request.body, name="body")
        if body["status"] not in _ENDS:
            raise Invalid("status", f"is one of: {', '.join(_ENDS)}")
        error = body.get("error") or ""
        if len(error) > MAX_ERROR:
            raise Invalid("error", f"is text of up to {MAX_ERROR} characters")
        training = await self.deps.trainings.finish(self.need_identity(), job_id, TrainingStatus(body["status"]), error)
        self.write_json(training_payload(training))


class EpochCompleteHandler(ApiHandler):
    """``POST /api/training/jobs/<job>/epochs/<epoch>/complete``: nothing more is to come for this epoch."""

    async def post(self, job_id: str, epoch: str) -> None:
        self.write_json(epoch_trend(await self.deps.trainings.complete_epoch(self.need_identity(), job_id, int(epoch))))


class PredictionPushHandler(ApiHandler):
    """``POST /api/training/predictions``: one prediction, or with ``predictions`` up to 500 of one training. Sending the same ``id`` again
    does no harm."""

    max_body_bytes = MAX_PUSH_BYTES

    async def post(self) -> None:
        given = decode(dict[str, object], self.request.body, name="body")
        job_id = given.pop("job_id", None)
        if not isinstance(job_id, str):
            raise Invalid("job_id", "names the training")
        training = self.deps.trainings.need(self.need_identity(), job_id)
        if "predictions" not in given:
            prediction = self.read_prediction(job_id, given)
            taken = (await self.deps.trainings.push(training, [prediction]))[0]
            status = HTTPStatus.CREATED if taken.is_new else HTTPStatus.OK
            self.write_json({"id": prediction.client_id, "seq": taken.seq, "status": _word(taken)}, status)
            return
        items = given.pop("predictions")
        if given:
            raise Invalid(next(iter(given))[:80], "does not go with predictions: each has fields of its own")
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
            raise Invalid("predictions", f"is a list of 1 to {MAX_BATCH} predictions")
        read = [self.try_prediction(job_id, item) for item in items]
        good = [item for item in read if isinstance(item, Prediction)]
        taken_all = iter(await self.deps.trainings.push(training, good))
        rows = [_row(index, item, next(taken_all) if isinstance(item, Prediction) else None) for index, item in enumerate(read)]
        self.deps.trainings.counts["invalid"] += len(rows) - len(good)
        self.write_json(
            {
                "results": rows,
                "created": sum(row["status"] == "created" for row in rows),
                "duplicates": sum(row["status"] == "duplicate" for row in rows),
                "invalid": len(rows) - len(good),
                "total_count": self.deps.trainings.need(self.need_identity(), job_id).total,
            }
        )

    def read_prediction(self, job_id: str, item: object) -> Prediction:
        """A prediction from its JSON. Raises Invalid by field."""
        if not isinstance(item, dict):
            raise Invalid("prediction", "is an object")
        for name in item:
            if name not in _FIELDS:
                raise Invalid(str(name)[:80], f"is not one of the fields; allowed: {', '.join(sorted(_FIELDS))}")
        given = convert(GivenPrediction, item, name="prediction")
        return checked(given, job_id=job_id, fallback_id=uuid4().hex, now=self.deps.clock())

    def try_prediction(self, job_id: str, item: object) -> Prediction | Invalid:
        """The same for one of many, which the others do not suffer from."""
        try:
            return self.read_prediction(job_id, item)
        except Invalid as error:
            return error


class PredictionListHandler(ApiHandler):
    """``GET /api/training/predictions/<job>[?epoch=&match=&before=&after=&limit=]``: predictions, newest first; ``before`` and ``after``
    are a ``seq``."""

    async def get(self, job_id: str) -> None:
        training = self.deps.trainings.need(self.need_identity(), job_id)
        wanted = PredictionFilter(epoch=self.number("epoch"), match=self.yes_or_no("match"))
        limit = self.number("limit", most=MAX_PAGE)
        if limit == 0:
            raise Invalid("limit", f"is a whole number from 1 to {MAX_PAGE}")
        before, after = self.number("before"), self.number("after") or 0
        found = await self.deps.trainings.page(job_id, wanted, after=after, before=before, limit=limit or MAX_PAGE, newest_first=True)
        newest = max([training.total, *(prediction.seq for prediction in found[:1])])
        self.write_json(
            {
                "job_id": job_id,
                "predictions": [prediction_payload(prediction) for prediction in found],
                "total_count": newest,
                "last_event_id": self.deps.training_feed.wire_id(newest),
            }
        )

    def number(self, name: str, most: int = MAX_SEQ) -> int | None:
        """A whole number of the query. Raises Invalid."""
        return whole_number(name, self.one_argument(name), most)

    def yes_or_no(self, name: str) -> bool | None:
        """Raises Invalid."""
        text = self.one_argument(name)
        if text not in (None, "yes", "no"):
            raise Invalid(name, "is yes or no")
        return None if text is None else text == "yes"


class PredictionStreamHandler(StreamHandler):
    """``GET /api/training/predictions/<job>/stream[?epoch=]``: each prediction as it comes, and how the epochs are (E2)."""

    async def get(self, job_id: str) -> None:
        self.deps.trainings.need(self.need_identity(), job_id)
        epoch = whole_number("epoch", self.one_argument("epoch"), MAX_SEQ)
        last_id = self.last_event_id
        feed = self.deps.training_feed
        missed = await feed.missed(job_id, last_id) if last_id else []
        # From here to join() there is no await: what was missed and the membership fit together.
        self.deps.trainings.need(self.need_identity(), job_id)
        key = GroupKey(job_id, epoch, is_compressed=accepts_gzip(self.request.headers.get("Accept-Encoding", "")))
        self.add_header("Vary", "Accept-Encoding")
        self.join(feed.group(key), first=feed.first(key, missed or [], has_gap=missed is None), resumed=bool(last_id))


def accepts_gzip(header: str) -> bool:
    """Whether a client takes compressed answers."""
    for entry in header.lower().split(","):
        name, _, parameters = entry.partition(";")
        if name.strip() == "gzip":
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def whole_number(name: str, text: str | None, most: int) -> int | None:
    """A number of an address, None where it is not given. Raises Invalid."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SEQ)) and int(text) <= most):
        raise Invalid(name, f"is a whole number from 0 to {most}")
    return int(text)


def _word(taken: Taken) -> str:
    return "created" if taken.is_new else "duplicate"


def _row(index: int, item: Prediction | Invalid, taken: Taken | None) -> BatchItem:
    if isinstance(item, Prediction) and taken is not None:
        return {"index": index, "id": item.client_id, "seq": taken.seq, "status": _word(taken), "error": None}
    field = getattr(item, "field", None)
    message = str(item).removeprefix(f"{field}: ")
    return {"index": index, "id": None, "seq": None, "status": "invalid", "error": {"message": message, "field": field}}
