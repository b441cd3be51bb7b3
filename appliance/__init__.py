"""A self-hosted speech-to-text appliance: who said what, when, without a recording leaving the building."""

import os

__version__ = "0.1.0"

# Libraries that report home unless they are told not to, and read this when they are imported: so before anything else, in
# every process. onnxruntime (from 1.29) would also leave a device id and its events in the home directory.
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
    "PYANNOTE_METRICS_ENABLED": "0",  # TRAPS 9
}
os.environ.update(NO_TELEMETRY)
__released__ = "2026-11-22"  # UTC; set with the version. No right clock shows less, and support is judged by it.
