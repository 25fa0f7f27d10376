"""How a local run follows its pipeline."""

from __future__ import annotations

from appliance.laptop.watch import pause


def test_it_looks_soon_after_silence_and_seldom_amid_noise() -> None:
    after_silence = pause(0.02, 0.3)
    assert after_silence <= 0.001
    pauses = [after_silence]
    for _ in range(6):  # each look is wanted again as soon as it was had
        pauses.append(pause(pauses[-1], 0.0))
    assert pauses == sorted(pauses) and pauses[-2:] == [0.02, 0.02]
