"""Looking at the health of everything, so that people need not."""

from __future__ import annotations

from ops.checkup import backups_health_of, outlook_health_of
from ops.health import health_of, redis_health_of
from ops.installation import Installation
from ops.notify.alarms import judge


def look(home: Installation) -> None:
    """Look at every target and Redis, which is remembered for the next look; tell what turned
    urgent, and what is over."""
    for target in home.targets:
        judge(home, target.name, health_of(home, target.name).findings)
        if home.settings.notify is not None:
            judge(home, target.name, backups_health_of(home, target.name).findings)
            judge(home, target.name, outlook_health_of(home, target.name).findings)
    redis = redis_health_of(home)
    if redis is not None:
        judge(home, redis.backend, redis.findings)
