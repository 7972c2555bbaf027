"""The filter as seen by software that recognizes the appliance: Postfix and nmap."""

import re
from xml.etree import ElementTree

from nfinspect.lab import expected_lines as lines
from nfinspect.lab import postfix, topology
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.stage import MESSAGE, RECIPIENT, SENDER, MailStage
from nfinspect.lab.topology import CLIENT, CLIENT_ADDRESS, SERVER_ADDRESS
from tests.end_to_end.conftest import Syslog


def test_postfix_as_client_enables_its_pix_workarounds(
    plain_lab: Lab, stage: MailStage, syslog: Syslog
) -> None:
    stage.set("postfix", 4)
    assert stage.mailbox.messages() == []
    client = postfix.client(plain_lab, CLIENT, "client", SERVER_ADDRESS)
    client.start()
    client.submit(MESSAGE.encode(), SENDER, RECIPIENT)
    log = client.wait_for("status=sent")
    assert re.search(
        rf"enabling PIX workarounds: disable_esmtp for {SERVER_ADDRESS}\[{SERVER_ADDRESS}\]:25", log
    )
    syslog.expect(lines.BY_POSTFIX, client=CLIENT_ADDRESS, server=SERVER_ADDRESS)


def test_nmap_reports_cisco_pix_sanitized_smtpd(
    plain_lab: Lab, running: RunningFilter, stage: MailStage, syslog: Syslog
) -> None:
    topology.require_programs("nmap")
    stage.set("postfix", 4)
    assert stage.mailbox.messages() == []
    before = len(running.syslog)
    scan = ["nmap", "-n", "-Pn", "-p", "25", "-sT", "-sV", "-oX", "-", SERVER_ADDRESS]
    report = plain_lab.run(CLIENT, scan).stdout
    service = ElementTree.fromstring(report).find(".//port[@portid='25']/service")
    assert service is not None
    assert service.get("product") == "Cisco PIX sanitized smtpd"

    # The test does not depend on how often nmap connects, or how it ends a connection.
    def connections(number: str) -> int:
        return sum(number in line for line in running.syslog[before:])

    assert running.wait(lambda: 2 <= connections("302013") == connections("302014"), 10)
    built = connections("302013")
    # nmap resets a connection at once if it only checks the port; the greeting arrives too late.
    late = (*lines.LATE, lines.LATE_FIN.replace("FIN ACK", "PSH ACK"))
    syslog.expect(
        [lines.BUILT, lines.ENDED] * built + [late, late] * built,
        client=CLIENT_ADDRESS,
        server=SERVER_ADDRESS,
        in_order=False,
    )
