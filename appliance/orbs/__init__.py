"""Where orbs come from: our own registry, a folder, the public registry, URLs; and how they are packed and locked."""

from appliance.orbs.mirror import Mirror

__all__ = ["Mirror"]
