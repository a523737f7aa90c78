"""What the panels of trainings read from the database."""

from collections.abc import Callable

from waa.core.state import State
from waa.services.live_query import LiveQueries
from waa.services.training import Trainings
from waa.web.views.training_rows import Pairs, Window, read_pairs, read_window
from waa.web.views.training_subject import ComparisonSubject, PredictionSubject


class TrainingQueries:
    """Tables of predictions and comparisons, read again when their trainings go on."""

    def __init__(self, *, trainings: Trainings, state: State, clock: Callable[[], float]) -> None:
        def total(job_id: str) -> int:
            training = state.trainings.get(job_id)
            return training.total if training is not None else -1

        async def table(subject: PredictionSubject) -> Window:
            return await trainings.read(lambda reader: read_window(reader, subject))

        async def comparison(subject: ComparisonSubject) -> Pairs:
            return await trainings.read(lambda reader: read_pairs(reader, subject))

        self.predictions: LiveQueries[PredictionSubject, Window] = LiveQueries(
            read=table, moment=lambda subject: total(subject.job_id), clock=clock
        )
        self.comparisons: LiveQueries[ComparisonSubject, Pairs] = LiveQueries(
            read=comparison, moment=lambda subject: (total(subject.first.job_id), total(subject.second.job_id)), clock=clock
        )

    def refresh(self, panel: str, about: str) -> bool:
        """Whether what a panel rests on is being read anew."""
        if panel == "predictions":
            return self.predictions.refresh(PredictionSubject.parse(about))
        return panel == "comparison" and self.comparisons.refresh(ComparisonSubject.parse(about))

    async def close(self) -> None:
        """End what is being read. May be called twice."""
        await self.predictions.close()
        await self.comparisons.close()
