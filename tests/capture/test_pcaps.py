"""The captures in pcaps/, recorded in the lab with the filter in the path: each is dissected by
Wireshark, and replayed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.lab.case import Case
from nfinspect.lab.cases import CASES
from nfinspect.lab.streams import conversations
from tests.frames import faulty_frames

PCAPS = Path(__file__).parents[2] / "pcaps"

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
BOTH_SIDES = pytest.mark.parametrize("side", ["outside", "inside"])


def capture(case: Case, side: str) -> Path:
    return PCAPS / f"{case.name}.{side}.pcap"


def replay(case: Case, side: str, *arguments: str) -> str:
    """What ``nfinspect replay`` prints for a capture, with the policy under which it was recorded."""
    policy = ["--config", str(PCAPS / f"{case.name}.cfg")] if case.config else []
    words = ["replay", str(capture(case, side)), *policy, *arguments]
    result = CliRunner().invoke(cli.main, words, prog_name="nfinspect")
    assert result.exit_code == 0, result.output
    return result.stdout


@dataclass
class Dialogue:
    """The commands and replies of one connection."""

    commands: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """The code of each reply."""
    texts: list[str] = field(default_factory=list)
    """The text of each line of a reply, without the code."""
    closed: bool = field(default=False, compare=False)
    """Inspection has closed the connection: what the client sends afterwards is no command."""
    cut: bool = field(default=False, compare=False)
    """The last command goes on in the next packet."""
    chunk: int = field(default=0, compare=False)
    """Bytes of a BDAT that are still to come."""

    def add(self, line: bytes) -> None:
        """Add a line, or a part of one at the end or beginning of a packet, or a part of a chunk."""
        if self.chunk > 0:
            self.chunk -= len(line)
            return
        text = line.decode().removesuffix("\r\n")
        if self.cut:
            text = self.commands.pop() + text
        self.commands.append(text)
        self.cut = not line.endswith(b"\r\n")
        if text.startswith("BDAT "):
            self.chunk = int(text.split()[1])


def as_wireshark_sees_it(file: Path) -> list[Dialogue]:
    """The dialogues of ``tshark -Y smtp``, in the order of the connections."""
    done = subprocess.run(
        ["tshark", "-n", "-r", file, "-Y", "smtp", "-T", "pdml"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    dialogues: dict[str | None, Dialogue] = {}
    for packet in ElementTree.fromstring(done.stdout).iter("packet"):
        stream = packet.find(".//field[@name='tcp.stream']")
        assert stream is not None
        dialogue = dialogues.setdefault(stream.get("show"), Dialogue())
        for smtp in packet.findall("proto[@name='smtp']"):
            read(packet, smtp, dialogue)
    for dialogue in dialogues.values():
        if dialogue.cut:
            dialogue.commands.pop()  # the rest of it never came
    return list(dialogues.values())


def read(packet: ElementTree.Element, smtp: ElementTree.Element, dialogue: Dialogue) -> None:
    """Add the SMTP content of a packet to *dialogue*.

    Wireshark shows an unknown verb as a line of text, like the lines of a mail. It omits what
    follows the end of a mail in the same packet. AUTH responses are ``***``.
    """
    in_mail = dialogue.codes[-1:] == ["354"]
    for part in smtp.iter():
        name = part.get("name", "")
        if name == "smtp.command_line":
            dialogue.add(octets(part))
        elif name.startswith("smtp.auth."):
            dialogue.commands.append("***")
        elif name == "data-text-lines" and not in_mail:
            for line in part:
                dialogue.add(octets(line))
        elif name == "smtp.eom":
            payload = packet.find(".//field[@name='tcp.payload']")
            assert payload is not None
            rest = octets(payload).partition(b"\r\n.\r\n")[2]
            dialogue.commands += rest.decode().split("\r\n")[:-1]
        elif name == "smtp.response.code":
            dialogue.codes.append(text(part))
        elif name == "smtp.rsp.parameter":
            dialogue.texts.append(text(part))


def text(part: ElementTree.Element) -> str:
    return octets(part).decode().removesuffix("\r\n")


def octets(part: ElementTree.Element) -> bytes:
    # PDML truncates the text form, and shows line ends as blanks.
    return bytes.fromhex(part.get("value", ""))


def as_replay_sees_it(case: Case, side: str) -> list[Dialogue]:
    """The dialogues of ``nfinspect replay --json``."""
    dialogues = []
    for connection in json.loads(replay(case, side, "--json"))["connections"]:
        closed = any(each["action"] == "drop-connection" for each in connection["actions"])
        dialogue = Dialogue(connection["commands"], closed=closed)
        continued = False
        for line in connection["replies"]:
            if not continued:
                dialogue.codes.append(line[:3])
            dialogue.texts.append(line[4:])
            continued = line[3:4] == "-"
        if dialogue.commands or dialogue.codes:  # else no SMTP: a port scan
            dialogues.append(dialogue)
    return dialogues


@EVERY_CASE
@BOTH_SIDES
def test_replay_and_wireshark_see_the_same_dialogue(case: Case, side: str) -> None:
    replayed, seen = as_replay_sees_it(case, side), as_wireshark_sees_it(capture(case, side))
    for ours, theirs in zip(replayed, seen, strict=True):
        if ours.closed:
            del theirs.commands[len(ours.commands) :]
    assert replayed == seen


@EVERY_CASE
def test_outside_capture_replayed_yields_the_request_stream_of_the_inside_capture(
    case: Case, tmp_path: Path
) -> None:
    replay(case, "outside", "--out", str(tmp_path / "out.pcap"))
    replayed = conversations(tmp_path / "out.pcap")
    live = conversations(capture(case, "inside"))
    assert [each.request.data for each in replayed] == [each.request.data for each in live] != []


@EVERY_CASE
def test_inside_capture_replayed_yields_the_reply_stream_of_the_outside_capture(
    case: Case, tmp_path: Path
) -> None:
    replay(case, "inside", "--out", str(tmp_path / "out.pcap"))
    replayed = conversations(tmp_path / "out.pcap")
    live = conversations(capture(case, "outside"))
    assert [each.reply.data for each in replayed] == [each.reply.data for each in live] != []


@BOTH_SIDES
def test_frames_are_within_the_mtu_and_have_correct_checksums(side: str, tmp_path: Path) -> None:
    merged = tmp_path / "all.pcap"
    files = [capture(case, side) for case in CASES]
    subprocess.run(["mergecap", "-a", "-w", merged, *files], check=True, timeout=60)
    assert faulty_frames(merged) == []


def test_every_capture_belongs_to_a_case_and_is_in_the_table() -> None:
    names = {file.name.split(".")[0] for file in PCAPS.glob("*.pcap")}
    assert names == {case.name for case in CASES}
    table = (PCAPS / "README.md").read_text()
    assert [name for name in names if f"| {name} |" not in table] == []
