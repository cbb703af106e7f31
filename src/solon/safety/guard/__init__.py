"""The guard: what is asked, answered, retrieved and called is looked at by tiers from cheap to dear, and fails closed.

`open_guard()` makes one; `guarded(engine, guard).reply(turns)` is an engine that is only heard through it (docs/design/014).
"""

from __future__ import annotations

from solon.safety.guard.guard import Guard, Guarded, guarded, open_guard
from solon.safety.guard.rulings import Opinion, Ruling

__all__ = ["Guard", "Guarded", "Opinion", "Ruling", "guarded", "open_guard"]
