"""Every route of the API, the webhooks and the live views. The pages have theirs in `pages.site`."""

from __future__ import annotations

from appliance.api import (
    additional_keys,
    artifacts,
    caches,
    checkout_keys,
    contexts,
    continuations,
    docker_layers,
    envvars,
    health,
    hooks,
    jobs,
    live,
    logs,
    me,
    oidc,
    pipelines,
    project_settings,
    projects,
    tests,
    triggers,
    workflows,
)
from appliance.api.routes import Route

ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *hooks.ROUTES,
    *live.ROUTES,
    *logs.ROUTES,
    *me.ROUTES,
    *oidc.ROUTES,
    *projects.ROUTES,
    *project_settings.ROUTES,
    *envvars.ROUTES,
    *contexts.ROUTES,
    *checkout_keys.ROUTES,
    *additional_keys.ROUTES,
    *pipelines.ROUTES,
    *triggers.ROUTES,
    *continuations.ROUTES,
    *docker_layers.ROUTES,
    *workflows.ROUTES,
    *jobs.ROUTES,
    *tests.ROUTES,
    *artifacts.ROUTES,
    *caches.ROUTES,
)
