"""Who may have what: pure decisions about secrets. Asked anew at every dispatch and every reading of a secret."""

from __future__ import annotations

from appliance.model import ProjectFlags
from appliance.store.pipelines import Pipeline


def may_have_secrets(pipeline: Pipeline, flags: ProjectFlags) -> bool:
    """Whether a pipeline's jobs get the project's variables, contexts, keys and identity tokens (spec 4.3).

    A fork's only when the project's settings allowed it when it began, and still do: who changes their mind stops it.
    """
    return pipeline.may_have_secrets and (pipeline.is_trusted or flags.forks_receive_secret_env_vars)
