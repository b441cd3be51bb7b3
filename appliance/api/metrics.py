"""`GET /metrics`: what a monitoring system wants to know, read from the parts at the moment it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from litestar import Response, get
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from appliance.api.auth import METRICS
from appliance.api.services import ApiRequest, Services, services_of
from appliance.engine.gpu import Gpu, survey
from appliance.engine.pool import WorkerState, WorkerStatus
from appliance.jobs import JobsSnapshot
from appliance.licensing import Licensing
from licence import State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BATCH_SIZES = ("1", "2", "4", "8", "16", "32", "64", "+Inf")


@get("/metrics", opt=METRICS, tags=["Operation"], summary="Metrics in Prometheus' text format", media_type=CONTENT_TYPE)
async def metrics(request: ApiRequest) -> Response[bytes]:
    """Needs a key with the scope `admin`, or none at all where `metrics_public` is set."""
    services = services_of(request)
    families = [
        *of_memory(services),
        *of_retention(services),
        *of_workers(services.pool.status()),
        *of_jobs(services.jobs.snapshot()),
    ]
    families += of_licence(services.licensing)
    gpus = await asyncio.to_thread(chosen_gpus, services)
    text = await asyncio.to_thread(_render, services, [*families, *of_gpus(gpus)])
    return Response(text, media_type=CONTENT_TYPE)


def _render(services: Services, families: list[Metric]) -> bytes:
    momentary = CollectorRegistry(auto_describe=False)
    momentary.register(_Once(families))
    return generate_latest(services.metrics.registry) + generate_latest(momentary)


class _Once:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"appliance_{name}", text, value=value)


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"appliance_{name}", text, value=value)


def of_memory(services: Services) -> Iterator[Metric]:
    yield gauge("audio_memory_used_bytes", "Memory held for recordings.", services.budget.used_bytes)
    yield gauge("audio_memory_total_bytes", "Memory that recordings may hold.", services.budget.total_bytes)


def of_retention(services: Services) -> Iterator[Metric]:
    erased = services.store.retention.erased
    yield counter("retention_erased_transcripts", "Transcripts that went because the time to keep them was over.", erased)


def of_workers(workers: tuple[WorkerStatus, ...]) -> Iterator[Metric]:
    labels = ["role", "device"]
    ready = GaugeMetricFamily("appliance_worker_ready", "1 while the worker takes work.", labels=labels)
    calls = GaugeMetricFamily("appliance_worker_recordings", "Recordings in the worker's hands.", labels=labels)
    restarts = CounterMetricFamily("appliance_worker_restarts", "Times the process was started again.", labels=labels)
    memory = CounterMetricFamily("appliance_worker_out_of_memory", "Times a batch did not fit into the device.", labels=labels)
    batches = CounterMetricFamily("appliance_batches", "Batches decoded.", labels=labels)
    windows = CounterMetricFamily("appliance_batch_windows", "Windows of speech in those batches.", labels=labels)
    seconds = CounterMetricFamily("appliance_batch_seconds", "Time spent in those batches.", labels=labels)
    sizes = HistogramMetricFamily("appliance_batch_size", "Windows in one batch.", labels=labels)
    for worker in workers:
        place = [worker.role.value, worker.device]
        ready.add_metric(place, float(worker.state is WorkerState.READY))
        calls.add_metric(place, worker.calls)
        restarts.add_metric(place, worker.restarts)
        memory.add_metric(place, worker.out_of_memory)
        batches.add_metric(place, worker.batches)
        windows.add_metric(place, worker.windows)
        seconds.add_metric(place, worker.batch_s)
        sizes.add_metric(place, _buckets(worker.batch_sizes), sum(size * number for size, number in worker.batch_sizes))
    yield from (ready, calls, restarts, memory, batches, windows, seconds, sizes)


def _buckets(batch_sizes: tuple[tuple[int, int], ...]) -> list[tuple[str, float]]:
    """How many batches were at most so large, as a Prometheus histogram wants it."""
    return [(bound, float(sum(n for size, n in batch_sizes if size <= float(bound)))) for bound in _BATCH_SIZES]


def chosen_gpus(services: Services) -> tuple[Gpu, ...]:
    """What NVML says of the GPUs that work here; nothing on a CPU."""
    wanted = {device.uuid for device in services.pool.devices.devices if device.uuid}
    return tuple(gpu for gpu in survey().gpus if gpu.uuid in wanted) if wanted else ()


def of_gpus(gpus: tuple[Gpu, ...]) -> Iterator[Metric]:
    readings: dict[str, tuple[str, list[float | None]]] = {
        "gpu_memory_used_bytes": ("Memory in use on the GPU.", [gpu.memory_used_bytes for gpu in gpus]),
        "gpu_memory_total_bytes": ("Memory of the GPU.", [gpu.memory_total_bytes for gpu in gpus]),
        "gpu_utilisation_ratio": ("Share of time the GPU was busy.", [gpu.utilisation for gpu in gpus]),
        "gpu_power_watts": ("Power drawn.", [gpu.power_w for gpu in gpus]),
        "gpu_temperature_celsius": ("Temperature.", [gpu.temperature_c for gpu in gpus]),
    }
    for name, (text, values) in readings.items():
        family = GaugeMetricFamily(f"appliance_{name}", text, labels=["gpu"])
        for gpu, value in zip(gpus, values, strict=True):
            if value is not None:
                family.add_metric([gpu.uuid], value)
        yield family


def of_licence(licensing: Licensing) -> Iterator[Metric]:
    standing = licensing.standing()
    state = GaugeMetricFamily("appliance_licence_state", "1 for the state that the licence is in.", labels=["state"])
    for one in State:
        state.add_metric([one.value], float(one is standing.state))
    yield state
    if standing.days_left is not None:  # a perpetual licence has no such number
        yield gauge("licence_days_left", "To the end of the licence or of the evaluation; below 0 after it.", standing.days_left)
    yield gauge("licence_month_hours", "Hours of audio in this calendar month (UTC).", licensing.hours_used)
    if standing.limits.hours_a_month is not None:
        yield gauge("licence_month_hours_limit", "As many as the licence gives.", standing.limits.hours_a_month)


def of_jobs(jobs: JobsSnapshot) -> Iterator[Metric]:
    yield gauge("jobs_queued", "Recordings that wait for a place.", jobs.queued)
    yield gauge("jobs_running", "Recordings in work.", jobs.running)
    yield gauge("oldest_queued_job_seconds", "How long the longest waiting recording has waited.", jobs.oldest_queued_age_s)
    yield gauge("draining", "1 while the appliance shuts down and takes nothing more.", float(jobs.draining))
    ended = CounterMetricFamily("appliance_jobs_ended", "Recordings that were finished, by how.", labels=["state"])
    for state, number in jobs.ended.items():
        ended.add_metric([state.value], number)
    yield ended
    stages = CounterMetricFamily("appliance_stage_seconds", "Time spent, by stage, of completed recordings.", labels=["stage"])
    for stage, seconds in jobs.stage_s.items():
        stages.add_metric([stage.value], seconds)
    yield stages
    yield counter("audio_received_seconds", "Seconds of audio that were decoded, whatever became of them.", jobs.received_s)
    yield counter("audio_seconds", "Seconds of audio in completed recordings.", jobs.audio_s)
    yield counter("work_seconds", "Seconds from decoding to saved, of completed recordings.", jobs.work_s)
    if jobs.audio_s:
        yield gauge(
            "real_time_factor_ratio", "Work per second of audio since the start; below 1 is faster.", jobs.work_s / jobs.audio_s
        )
