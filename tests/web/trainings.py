"""Trainings in a house, and what they push."""

import json
from typing import Any

from tests.web.house import House

JSON = {"Content-Type": "application/json"}


def item(number: int, epoch: int = 0, *, matches: bool = True, **fields: Any) -> dict[str, Any]:
    """A prediction as it is pushed; ``number`` tells it from the others of its epoch."""
    told = {
        "id": f"{epoch}-{number}",
        "epoch": epoch,
        "step": 100 * epoch + number,
        "prompt": f"{number} + {number}",
        "prediction": str(2 * number) if matches else f"{2 * number} or so",
        "target": str(2 * number),
        "scores": {"loss": 1.0 / (epoch + 1)},
    }
    return told | fields


async def send(built: House, path: str, body: object, *, key: str = "", method: str = "POST") -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    headers = JSON | ({"X-API-Key": key} if key else {})
    answer = await built.ask(path, method, body=json.dumps(body), headers=headers)
    return answer.code, json.loads(answer.body) if answer.body else None


async def create(built: House, job_id: str, *, key: str = "") -> str:
    """A training; gives its token."""
    status, made = await send(built, "/api/training/jobs", {"job_id": job_id}, key=key)
    assert status == 201, made
    return str(made["token"])


async def push(built: House, job_id: str, *items: dict[str, Any], key: str = "") -> dict[str, Any]:
    """Predictions of a training, which is made where there is none."""
    if job_id not in built.recorder.state.trainings:
        await create(built, job_id, key=key)
    status, taken = await send(built, "/api/training/predictions", {"job_id": job_id, "predictions": list(items)}, key=key)
    assert status == 200, taken
    return dict(taken)
