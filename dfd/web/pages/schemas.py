"""Descriptions of what the API takes and gives."""

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema
from pydantic import Field

from dfd.web.intake.uploads import FIELD

FILE = {"type": "string", "format": "binary", "description": "one video file, or a picture: JPEG, PNG or WebP"}
SPAN = {"type": "string", "description": "only this part of the video: 0:40-1:00, or in seconds 40-60"}
FULL = {"type": "boolean", "description": "look at every window of it; refused unless the service offers that"}
BATCH = {"type": "string", "format": "uuid", "description": "chosen by you, the same for all videos of a batch"}
FORM = {
    "type": "object",
    "required": [FIELD],
    "properties": {FIELD: FILE, "span": SPAN, "full": FULL, "batch": BATCH},
}
UPLOAD_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}
CSV_RESPONSES = {
    200: {"description": "the rows", "content": {"text/csv": {"schema": {"type": "string"}}}},
    401: {"description": "no or a wrong token"},
    404: {"description": "no such batch of yours"},
}
REPORT_RESPONSES = {
    200: {"description": "the report", "content": {"text/html": {"schema": {"type": "string"}}}},
    401: {"description": "no or a wrong token"},
    404: {"description": "no such job of yours, or it is not done"},
}

VIDEO = {"type": "string", "format": "binary"}
ANNOTATED_RESPONSES = {
    200: {"description": "the file", "content": {"video/mp4": {"schema": VIDEO}, "image/jpeg": {"schema": VIDEO}}},
    206: {"description": "the part that the header Range asks for, or its beginning"},
    401: {"description": "no or a wrong token"},
    404: {"description": "no such job of yours, or it has no annotated video"},
    416: {"description": "the header Range asks for what is behind the end"},
}


class Problem(Schema):
    """Reason why a request failed."""

    error: str
    retry_seconds: int | None = Field(None, description="seconds until a retry; also in the header Retry-After")


class JobOut(Schema):
    """A job."""

    id: UUID
    file_name: str
    size_bytes: int
    state: str = Field(description="queued, running, done or failed")
    place: int | None = Field(description="place in the queue; 1 is next")
    wait_seconds: int | None = Field(description="approximate waiting time")
    stage: str = Field(description="current stage, in words")
    progress: float = Field(description="share of the work that is done, 0 to 1")
    attempts: int
    error: str = Field(description="why a failed job failed")
    created: datetime
    started: datetime | None
    finished: datetime | None
    expires: datetime = Field(description="when everything about the job is deleted")
    outcome: str | None = Field(description="ok, partial, no_face, missing, unreadable, too_large, timeout or error")
    verdict: str | None = Field(
        description="fake: signs of a fake; real: no sign of a fake was found, which does not make the video genuine; "
        "uncertain: cannot tell; null without a score"
    )
    prob_fake: float | None = Field(description="score from 0 to 1; higher is more suspicious")
    confidence: float | None = Field(
        description="the larger of prob_fake and 1 - prob_fake; not how sure it is that the video is genuine"
    )
    message: str
    batch: UUID | None = Field(description="shared by videos that were sent together")
    span: str | None = Field(description="part of the video that is looked at; null: all of it")
    full: bool = Field(description="whether every window is looked at")
    can_look_again: bool = Field(description="whether the video is still stored, so that it can be looked at again")
    url: str
    report_url: str | None = Field(description="a page to pass on; null before the job is done")
    annotated_url: str | None = Field(
        description="the video or picture with boxes and scores drawn in; null without: see annotated_message"
    )
    annotated_message: str = Field(
        description="why there is no annotated video, or what is not in it; empty if the service does not draw any"
    )
    caveats: list[str] | None = Field(
        None, description="what must be said beside the scores of the detectors; only for a single job"
    )
    result: dict[str, Any] | None = Field(None, description="every face and window; only for a single job")


class LookAgain(Schema):
    """What to look at in a video that is still stored."""

    span: str = Field("", description="only this part: 0:40-1:00; empty: all of it")
    full: bool = Field(False, description="look at every window; refused unless the service offers that")
