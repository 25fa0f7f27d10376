"""The purge of what docker_layer_caching keeps (spec 8.4)."""

from __future__ import annotations

import pytest

from appliance.store import docker_layers
from tests.web.world import World


@pytest.mark.parametrize("base", ["", "/api"])
async def test_a_purge_is_for_those_who_may_enter_the_project(world: World, base: str) -> None:
    ada, eve = await world.user("ada"), await world.user("eve")
    project = await world.project("acme/app", members=[ada])
    keep = "INSERT INTO docker_layers (name, project_id, used_at_ms) VALUES ('x', :project, 1)"
    await world.db.write(lambda tx: tx.execute(keep, {"project": project.id}) and None)
    path = f"{base}/private/output/project/{project.id}/dlc"
    assert (await world.ask(eve, "DELETE", path))[0] == 404
    assert await world.db.read(docker_layers.all_names) == {"x"}
    assert (await world.ask(ada, "DELETE", path))[0] == 200
    assert await world.db.read(docker_layers.all_names) == set()
    assert (await world.ask(ada, "DELETE", f"{base}/private/output/project/none/dlc"))[0] == 404
