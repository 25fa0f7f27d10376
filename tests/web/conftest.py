"""A world to look at, and Chromium to look with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from appliance.model import User
from tests.web.chrome import Complaints, chromium, logged_in
from tests.web.world import World, serving_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving_world(tmp_path) as made:
        yield made


@dataclass
class Visitor:
    """ada with a browser."""

    world: World
    ada: User
    context: BrowserContext
    page: Page
    complaints: Complaints

    async def go(self, path: str) -> Page:
        await self.page.goto(self.world.url + path)
        return self.page

    async def settled(self) -> None:
        """Until the page hears the bell."""
        await expect(self.page.locator("main")).to_have_attribute("data-live", "on")


@pytest.fixture
async def visitor(world: World) -> AsyncIterator[Visitor]:
    """A visitor whose pages must not complain."""
    async with chromium() as browser:
        ada = await world.user("ada", sees_all=True)
        session = await world.token(ada, "session", 600_000)
        context = await logged_in(browser, world, session)
        page, complaints = await context.new_page(), Complaints()
        complaints.watch(page)
        yield Visitor(world, ada, context, page, complaints)
        await context.close()
        assert not complaints.heard
