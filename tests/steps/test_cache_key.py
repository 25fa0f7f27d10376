"""Cache keys (spec 2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from appliance.steps.cache_key import LONGEST_KEY, Facts, WrongKey, fill


async def arch() -> str:
    return "arch1-linux-amd64-6_85"


async def checksums(files: Sequence[str]) -> Mapping[str, str]:
    return {file: f"sum-of-{file}" for file in files if file != "missing"}


FACTS = Facts(
    branch="feature/x",
    checkout_key="ssh-ed25519 AAAA",
    build_number=12,
    revision="abc",
    environment={"FLAVOUR": "mint"},
    epoch_s=1_000_000,
    arch=arch,
    checksums=checksums,
)


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("plain", "plain"),
        ("v1-{{ .CheckoutKey }}", "v1-ssh-ed25519 AAAA"),
        ("{{ .Branch }}-{{.Revision}}-{{ .BuildNum }}", "feature/x-abc-12"),
        ('v1-{{ checksum "a b.lock" }}-{{checksum "c"}}', "v1-sum-of-a b.lock-sum-of-c"),
        ("{{ checksum `raw` }}", "sum-of-raw"),
        ("{{ arch }}-{{ epoch }}", "arch1-linux-amd64-6_85-1000000"),
        ('{{ epoch | round "72h" }}', str(1_000_000 // 259_200 * 259_200)),
        ('{{epoch|round "1h30m"}}', str(1_000_000 // 5400 * 5400)),
        ("{{ .Environment.FLAVOUR }}-{{ .Environment.NONE }}", "mint-<no value>"),
    ],
)
async def test_keys(template: str, key: str) -> None:
    assert await fill(template, FACTS) == key


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ('{{ checksum "missing" }}', "checksum of missing"),
        ("{{ checksum }}", "{{ checksum }} is nothing"),
        ("{{ .Nothing }}", "{{ .Nothing }} is nothing"),
        ('{{ epoch | round "often" }}', "not a duration"),
        ('{{ epoch | round "0h" }}', "rounds to nothing"),
        ("", "empty"),
        ("x" * (LONGEST_KEY + 1), "901 characters"),
    ],
)
async def test_wrong_keys_say_why(template: str, reason: str) -> None:
    with pytest.raises(WrongKey, match=reason.replace("{", r"\{")):
        await fill(template, FACTS)
