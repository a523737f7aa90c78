"""Signs of life and figures of the server itself."""

from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from waa.services.training import Trainings
from waa.web.base import BaseHandler
from waa.web.stream_service import StreamService


class LiveHandler(BaseHandler):
    """``GET /live``: the process runs."""

    cost = 0.0

    def get(self) -> None:
        self.write_json({"status": "ok"})


class ReadyHandler(BaseHandler):
    """``GET /ready``: the store takes records; 503 where it does not."""

    def get(self) -> None:
        healthy = self.deps.recorder.healthy
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        self.write_json({"status": "ok" if healthy else "the store does not take records now"}, status)


class Collector:
    """The counts of the stream service and of trainings in Prometheus' form."""

    def __init__(self, streams: StreamService, trainings: Trainings) -> None:
        self._streams = streams
        self._trainings = trainings

    def collect(self) -> Iterator[Metric]:
        counts = self._streams.counts
        yield GaugeMetricFamily("waa_streams_active", "Open streams", value=self._streams.active)
        yield CounterMetricFamily("waa_streams_opened", "Streams opened", value=counts.opened)
        yield CounterMetricFamily("waa_streams_resumed", "Streams that came back with an event id", value=counts.resumed)
        yield CounterMetricFamily("waa_streams_refused", "Streams refused by a limit", value=counts.refused)
        yield CounterMetricFamily("waa_stream_messages", "Messages published to groups", value=counts.published)
        yield CounterMetricFamily("waa_stream_deliveries", "Frames handed to subscribers", value=counts.frames)
        yield CounterMetricFamily("waa_stream_bytes", "Bytes handed to subscribers", value=counts.bytes)
        yield CounterMetricFamily("waa_stream_seconds", "Time that ended streams were open", value=counts.duration_s)
        closed = CounterMetricFamily("waa_streams_closed", "Streams ended, by cause", labels=["cause"])
        for cause, count in counts.closed.items():
            closed.add_metric([cause.value], count)
        yield closed
        predictions = CounterMetricFamily("waa_predictions", "Predictions pushed, by what became of them", labels=["outcome"])
        for outcome in ("created", "duplicate", "invalid"):
            predictions.add_metric([outcome], self._trainings.counts[outcome])
        yield predictions
        yield GaugeMetricFamily("waa_predictions_waiting", "Predictions on their way into the store", value=self._trainings.waiting)


class MetricsHandler(BaseHandler):
    """``GET /metrics``: Prometheus text."""

    def get(self) -> None:
        registry = CollectorRegistry()
        registry.register(Collector(self.deps.streams, self.deps.trainings))
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(generate_latest(registry))
