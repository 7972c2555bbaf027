"""``rate-limit`` live: mails above the rate come later, all of them, because TCP sends what was dropped again."""

from __future__ import annotations

from pathlib import Path

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import SCRIPT_ADDRESS

MAP = """\
regex bulk "@bulk\\.example$"
policy-map type inspect esmtp slow
 match sender-address regex bulk
  rate-limit 1
class-map inspection_default
 match default-inspection-traffic
policy-map global_policy
 class inspection_default
  inspect esmtp slow
service-policy global_policy global
"""
MAILS = 4


def test_mail_above_the_rate_is_slowed_and_not_lost(plain_lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "slow.cfg"
    config.write_text(MAP)
    running = plain_lab.filter(config)
    with RecordingServer(plain_lab, SCRIPT_ADDRESS) as server:
        clients = [
            ClientConnection.open(plain_lab, SCRIPT_ADDRESS, timeout=30) for _ in range(MAILS)
        ]
        for client in clients:
            client.reply()
            client.command("EHLO client.example")
        for client in clients:
            client.send(b"MAIL FROM:<list@bulk.example>\r\n")
        with ClientConnection.open(plain_lab, SCRIPT_ADDRESS, timeout=30) as other:
            other.reply()
            other.command("EHLO client.example")
            assert other.command("MAIL FROM:<a@client.example>").startswith("250")
        for client in clients:
            assert client.reply().startswith("250")
            client.close()
        received = [bytes(each.received) for each in server.wait(MAILS + 1)]
    assert sum(b"MAIL FROM:<list@bulk.example>\r\n" in each for each in received) == MAILS
    assert running.show_json("queue")["dropped"]["rate-limit"] > 0
    assert f"rate-limit 1, packet {MAILS}" in running.show("service-policy", "inspect", "esmtp")
    running.stop()
