"""The path of a recording from accepted to saved: queue, progress, retries, result. Only this joins engine and store."""

from appliance.jobs.feed import FailedEvent, Finished, FinishedEvent, JobEvent, ProgressEvent, SegmentsEvent, Timings
from appliance.jobs.job import Job, Submission
from appliance.jobs.jobs import Jobs
from appliance.jobs.known_voices import KnownVoice
from appliance.jobs.private import Privacy, PrivateResult
from appliance.jobs.totals import JobsSnapshot

__all__ = [
    "FailedEvent",
    "Finished",
    "FinishedEvent",
    "Job",
    "JobEvent",
    "Jobs",
    "JobsSnapshot",
    "KnownVoice",
    "Privacy",
    "PrivateResult",
    "ProgressEvent",
    "SegmentsEvent",
    "Submission",
    "Timings",
]
