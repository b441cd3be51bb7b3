"""What the end of support means for a release of models: a sentence, and never that it is refused."""

from __future__ import annotations

from appliance.catalogue.releases import Channel, ReleaseRecord
from licence import Licence, Notice, support_notice


def release_notice(licence: Licence | None, record: ReleaseRecord) -> Notice | None:
    """None where there is nothing to say: it is covered, is the site's own, or does not know when it was made."""
    if licence is None or record.made_at is None or record.channel is not Channel.VENDOR:
        return None
    return support_notice(licence, f"the release '{record.name}'", record.made_at)
