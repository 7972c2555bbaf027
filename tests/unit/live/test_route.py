"""The way of a packet, asked of the kernel; more in tests/end_to_end/test_packet_tracer.py."""

from ipaddress import ip_address

import pytest

from nfinspect.live import route
from nfinspect.policy.classify import OpeningConnection
from nfinspect.policy.trace import Way

LOOPBACK = OpeningConnection(
    4, int(ip_address("127.0.0.1")), 4000, int(ip_address("127.0.0.1")), 25
)


@pytest.mark.parametrize("device", ["nosuchdevice", "a name with blanks", "x" * 40, "\0"])
def test_way_of_a_packet_from_an_unknown_device_is_unknown(device: str) -> None:
    assert route.way(device, LOOPBACK) is None


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (101, Way(refusal=route.NO_ROUTE)),
        (113, Way(refusal=route.NO_ROUTE)),
        (18, Way(refusal=route.REVERSE_PATH)),
        (1, None),
        (None, None),
    ],
)
def test_what_the_kernel_refuses_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, number: int | None, wanted: Way | None
) -> None:
    def refuse(index: int, connection: OpeningConnection) -> bytes:
        raise OSError(number, "rtnetlink") if number else OSError("timed out")

    monkeypatch.setattr(route, "_ask", refuse)
    assert route.way("lo", LOOPBACK) == wanted
