"""A transcript together with its running job, if it has one."""

from __future__ import annotations

from appliance.api.services import Services
from appliance.domain import TranscriptRecord
from appliance.jobs import Job
from appliance.store import Reach, Right


async def find_live(services: Services, key: str, reach: Reach, right: Right) -> tuple[TranscriptRecord, Job | None]:
    """The record without its text, and its job while it has one; a job that ends between the two looks is seen as ended.

    Raises `NotFound`, `RoleTooLow`.
    """
    record = await services.store.transcripts.locate(key, reach, right)
    job = services.jobs.find(record.id)
    if job is None and not record.state.is_final:
        record = await services.store.transcripts.locate(key, reach, right)
    return record, job
