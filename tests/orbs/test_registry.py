"""The appliance's own registry: what a reference means, what never changes, what belongs to whom."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from appliance.errors import BadRequest, Conflict, NotFound
from appliance.orbs.names import Final
from appliance.orbs.registry import Registry
from appliance.store import orbs
from appliance.store.database import open_plain
from tests.orbs.world import Shop, orb

DAY_S = 86_400


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("1.2.3", "1.2.3"),
        ("1.2", "1.2.10"),
        ("1", "1.10.0"),
        ("2", "2.0.0"),
        ("volatile", "2.0.0"),
        ("dev:first", "dev:first"),
        ("dev:a/b.c", "dev:a/b.c"),
    ],
)
def test_a_reference_means_the_greatest_number_that_fits(shop: Shop, wanted: str, found: str) -> None:
    shop.namespace("acme")
    for version in ("1.2.3", "1.2.10", "1.2.9", "1.10.0", "1.9.9", "2.0.0", "dev:first", "dev:a/b.c"):
        shop.put(f"acme/tools@{version}", orb(version))
    document = Registry(shop.path, shop.clock, None).resolve(f"acme/tools@{wanted}")
    assert document.name == f"acme/tools@{found}"
    assert f"echo {found}\n" in document.text


@pytest.mark.parametrize("wanted", ["1.2.4", "3", "1.2.3.4", "dev:second", "99999999999999999999", "1.2.x", "x"])
def test_what_is_not_there_is_said_with_what_is(shop: Shop, wanted: str) -> None:
    shop.namespace("acme")
    shop.put("acme/tools@1.2.3", orb("x"))
    shop.put("acme/tools@dev:first", orb("x"))
    with pytest.raises(LookupError, match=r"has other versions of it only: 1\.2\.3, dev:first"):
        Registry(shop.path, shop.clock, None).resolve(f"acme/tools@{wanted}")


def test_names_that_are_nearly_right_are_corrected(shop: Shop) -> None:
    shop.namespace("acme")
    shop.put("acme/tools@1.0.0", orb("x"))
    registry = Registry(shop.path, shop.clock, None)
    with pytest.raises(LookupError, match='Did you mean "tools"'):
        registry.resolve("acme/tool@1")
    with pytest.raises(LookupError, match='Did you mean "acme"'):
        registry.resolve("acne/tools@1")


def test_a_published_version_never_changes(shop: Shop) -> None:
    shop.namespace("acme")
    shop.put("acme/tools@1.0.0", orb("first"))
    with pytest.raises(Conflict, match="never changes"):
        shop.put("acme/tools@1.0.0", orb("second"))
    for sql in ("UPDATE orb_versions SET source = 'x'", "DELETE FROM orb_versions"):
        with closing(open_plain(shop.path)) as tx, pytest.raises(sqlite3.IntegrityError, match="never"):
            tx.execute(sql)
    assert "first" in Registry(shop.path, shop.clock, None).resolve("acme/tools@1").text


def test_dev_versions_change_and_end_after_ninety_days(shop: Shop) -> None:
    shop.namespace("acme")
    registry = Registry(shop.path, shop.clock, None)
    shop.put("acme/tools@dev:x", orb("first"))
    shop.clock.advance(80 * DAY_S)
    shop.put("acme/tools@dev:x", orb("second"))
    shop.clock.advance(89 * DAY_S)
    assert "second" in registry.resolve("acme/tools@dev:x").text
    shop.clock.advance(2 * DAY_S)
    with pytest.raises(LookupError):
        registry.resolve("acme/tools@dev:x")
    shop.put("acme/tools@dev:y", orb("third"))
    with closing(open_plain(shop.path)) as tx:
        assert orbs.versions(tx, "acme", "tools", shop.clock.now_ms()) == ["dev:y"]
        assert orbs.exactly(tx, "acme/tools@dev:x") is None  # gone for good


def test_private_orbs_are_for_one_organisation_only(shop: Shop) -> None:
    shop.namespace("secret", private_to="Acme")
    shop.put("secret/tools@1.0.0", orb("x"))
    assert Registry(shop.path, shop.clock, "acme").resolve("secret/tools@1").name == "secret/tools@1.0.0"
    for org in (None, "other", "acme2"):
        for name in ("secret/tools@1", "secret/none@1"):
            with pytest.raises(Final) as refused:
                Registry(shop.path, shop.clock, org).resolve(name)
            assert str(refused.value) == "the namespace secret has no orbs for this project."
    with pytest.raises(LookupError) as unknown:
        Registry(shop.path, shop.clock, None).resolve("secre/tools@1")
    assert "secret" not in str(unknown.value)


def test_a_namespace_of_ours_answers_for_all_its_orbs(shop: Shop) -> None:
    """Else whoever has the same name in a public registry could slip in what we lack."""
    shop.namespace("acme")
    shop.namespace("circleci", is_imported=True)
    registry = Registry(shop.path, shop.clock, None)
    with pytest.raises(Final):
        registry.resolve("acme/missing@1")
    with pytest.raises(LookupError) as other:
        registry.resolve("circleci/missing@1")
    assert not isinstance(other.value, Final)


def test_names_are_checked(shop: Shop) -> None:
    with pytest.raises(NotFound, match="rondo orb namespace acme"):
        shop.put("acme/tools@1.0.0", orb("x"))
    shop.namespace("acme")
    with pytest.raises(Conflict):
        shop.namespace("acme")
    for bad in (
        "acme/tools@1.0",
        "acme/tools@volatile",
        "acme/tools@01.0.0",
        "acme/tools",
        "acme/Tools@1.0.0",
        "a/b/c@1.0.0",
    ):
        with pytest.raises(BadRequest):
            shop.put(bad, orb("x"))
    for bad in ("Acme", "", "a b", "../x", "a" * 200):
        with pytest.raises(BadRequest):
            shop.namespace(bad)


def test_the_greatest_number_is_found_by_an_index(shop: Shop) -> None:
    with closing(open_plain(shop.path)) as tx:
        rows = tx.execute(
            "EXPLAIN QUERY PLAN SELECT source FROM orb_versions WHERE orb_id = 1 AND major IS NOT NULL"
            " ORDER BY major DESC, minor DESC, patch DESC LIMIT 1"
        )
        plan = " ".join(row["detail"] for row in rows)
    assert "orb_versions_by_number" in plan and "TEMP B-TREE" not in plan
