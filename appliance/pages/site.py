"""The whole web door: API, webhooks and pages in one application."""

from __future__ import annotations

from aiohttp import web

from appliance.api import table
from appliance.api.parts import Parts
from appliance.api.routes import Route
from appliance.api.server import make_app
from appliance.pages import (
    badge,
    caches,
    contexts,
    job,
    login,
    machines,
    outputs,
    pipeline,
    pipelines,
    project,
    project_keys,
    reruns,
    schedules,
    settings,
    static,
)
from appliance.pages.assets import load_static, web_folder
from appliance.pages.render import ENVIRONMENT, error_page, make_environment

ROUTES: tuple[Route, ...] = (
    *table.ROUTES,
    *login.ROUTES,
    *pipelines.ROUTES,
    *pipeline.ROUTES,
    *job.ROUTES,
    *reruns.ROUTES,
    *caches.ROUTES,
    *outputs.ROUTES,
    *project.ROUTES,
    *settings.ROUTES,
    *schedules.ROUTES,
    *project_keys.ROUTES,
    *contexts.ROUTES,
    *machines.ROUTES,
    *static.ROUTES,
    *badge.ROUTES,
)


def make_site(parts: Parts) -> web.Application:
    """What the app serves: `async with server.serving(make_site(parts), listener, drain_s): …`."""
    folder = web_folder()
    assets, version = load_static(folder)
    app = make_app(parts, ROUTES, error_page)
    app[static.ASSETS] = assets
    app[static.VERSION] = version
    app[ENVIRONMENT] = make_environment(folder, version)
    return app
