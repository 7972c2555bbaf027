"""packet-tracer, show running-config and show service-policy flow."""

import pytest

from nfinspect.policy import Configuration, canonical, parse_policy
from nfinspect.policy.classify import OpeningConnection
from nfinspect.policy.questions import QuestionError, answer, is_question
from nfinspect.policy.ranges import address_text
from nfinspect.policy.trace import Way

NOTE = """
nameif ethernet0 outside security0
nameif ethernet1 inside security100
access-list ironport_esa_internal extended permit ip any 192.168.1.1
access-list ironport_esa_internal extended permit ip 192.168.1.1 any
class-map ironport_esa
match address ironport_esa_internal
policy-map global_policy
class ironport_esa
no inspect esmtp
class class-default
set connection timeout idle 0:30:00
static (inside,outside) 1.1.1.1 192.168.1.1 netmask 255.255.255.255 tcp 50 100
"""


def configuration(text: str = NOTE) -> Configuration:
    return parse_policy(text, "a.cfg")


def ask(words: str, text: str = NOTE, **state: int) -> str:
    return answer(configuration(text), words.split(), **state).text


def data(words: str, text: str = NOTE) -> dict:
    return answer(configuration(text), words.split()).data


TO_THE_GATEWAY = """\
Phase: 1
Type: UN-NAT
Subtype: static
Result: ALLOW
Config:
static (inside,outside) 1.1.1.1 192.168.1.1 netmask 255.255.255.255 tcp 50 100
Additional Information:
NAT divert to egress interface inside
Untranslate 1.1.1.1/25 to 192.168.1.1/25

Phase: 2
Type: ROUTE-LOOKUP
Subtype: Resolve Egress Interface
Result: ALLOW
Config:
Additional Information:
found egress ifc inside by its translation

Phase: 3
Type: CONN-SETTINGS
Subtype:
Result: ALLOW
Config:
policy-map global_policy
 class class-default
  set connection timeout idle 0:30:00
service-policy global_policy global
Additional Information:

Phase: 4
Type: INSPECT
Subtype: esmtp
Result: ALLOW
Config:
class-map ironport_esa
 match access-list ironport_esa_internal
policy-map global_policy
 class ironport_esa
  no inspect esmtp
service-policy global_policy global
Additional Information:
class ironport_esa: no inspect esmtp
Access rule: access-list ironport_esa_internal extended permit ip any 192.168.1.1

Phase: 5
Type: DIVERSION
Subtype: nfqueue
Result: ALLOW
Config:
Additional Information:
TCP port 25: exempt; its SYN goes to the filter, to be counted, and nothing else

Phase: 6
Type: FLOW-CREATION
Subtype:
Result: ALLOW
Config:
Additional Information:
New flow created, packet dispatched to next module
7 in use
timeout embryonic 0:00:30 half-closed 0:10:00 idle 0:30:00
conn-max 50
embryonic-conn-max 100

Result:
input-interface: outside
input-status: up
input-line-status: up
output-interface: inside
output-status: up
output-line-status: up
Action: allow
"""


def test_trace_has_the_blocks_of_the_appliance() -> None:
    words = "packet-tracer input outside tcp 192.0.2.9 40000 1.1.1.1 smtp detailed"
    assert ask(words, in_use=7) == TO_THE_GATEWAY


@pytest.mark.parametrize(
    ("words", "result", "class_map", "inspection"),
    [
        ("outside tcp 192.0.2.9 4000 1.1.1.1 25", "allow", "ironport_esa", None),
        ("inside tcp 192.168.1.1 4000 192.0.2.9 25", "allow", "ironport_esa", None),
        ("inside tcp 10.1.1.1 4000 192.0.2.9 25", "allow", "inspection_default",
         "_default_esmtp_map"),
        ("inside tcp 10.1.1.1 4000 192.0.2.9 587", "allow", None, None),
        ("inside tcp 2001:db8::1 4000 2001:db8::2 25", "allow", "inspection_default",
         "_default_esmtp_map"),
        ("inside tcp 10.1.1.1 25 192.0.2.9 25", "drop", "inspection_default", "_default_esmtp_map"),
    ],
)  # fmt: skip
def test_result_of_a_trace(
    words: str, result: str, class_map: str | None, inspection: str | None
) -> None:
    found = data(f"packet-tracer input {words}")
    assert (found["result"], found["class"], found["inspection"]) == (result, class_map, inspection)
    assert (found["reason"] is None) == (result == "allow")
    assert all(phase["result"] == "ALLOW" for phase in found["phases"][:-1])


def test_translated_source_is_a_phase_and_the_real_destination_needs_none() -> None:
    types = [
        p["type"]
        for p in data("packet-tracer input inside tcp 192.168.1.1 9 10.0.0.1 25")["phases"]
    ]
    assert types == [
        "ROUTE-LOOKUP",
        "CONN-SETTINGS",
        "INSPECT",
        "NAT",
        "DIVERSION",
        "FLOW-CREATION",
    ]
    types = [
        p["type"]
        for p in data("packet-tracer input outside tcp 10.0.0.1 9 192.168.1.1 25")["phases"]
    ]
    assert "UN-NAT" not in types


def test_translated_port_leads_to_the_real_one() -> None:
    text = "static (inside,outside) tcp interface 2525 192.168.1.2 smtp\n"
    text += "interface e0\n nameif outside\n ip address 192.0.2.1 255.255.255.0\n"
    text += "interface e1\n nameif inside\n"
    found = data("packet-tracer input outside tcp 10.0.0.1 9 192.0.2.1 2525", text)
    assert found["phases"][0]["information"][1] == "Untranslate 192.0.2.1/2525 to 192.168.1.2/25"
    assert found["inspection"] == "_default_esmtp_map"
    assert data("packet-tracer input outside tcp 10.0.0.1 9 192.0.2.1 25", text)["phases"][0][
        "type"
    ] == "ROUTE-LOOKUP"  # fmt: skip


def test_egress_among_several_interfaces_is_for_the_routes_to_say() -> None:
    found = data(
        "packet-tracer input dmz tcp 10.0.0.1 9 10.0.0.2 25", NOTE + "nameif e2 dmz security50"
    )
    assert found["output_interface"] == "unknown"
    assert "routes of this machine" in found["phases"][0]["information"][0]


def test_inspection_of_pix_6_shows_its_lines() -> None:
    found = data("packet-tracer input outside tcp 10.0.0.1 9 10.0.0.2 25", "fixup protocol smtp 25")
    assert found["inspection"] == "fixup-smtp"
    assert found["phases"][1]["config"] == ["fixup protocol smtp 25"]


def test_flow_lists_the_classes_that_act() -> None:
    assert ask("show service-policy flow tcp host 192.0.2.9 eq 4000 host 192.168.1.1 eq smtp") == (
        "Global policy:\n"
        "  Service-policy: global_policy\n"
        "    Class-map: ironport_esa\n"
        "      Match: access-list ironport_esa_internal\n"
        "        Access rule: access-list ironport_esa_internal extended permit ip any 192.168.1.1\n"
        "      Action:\n"
        "        Input flow: no inspect esmtp\n"
        "    Class-map: class-default\n"
        "      Match: any\n"
        "      Action:\n"
        "        Input flow: set connection timeout idle 0:30:00\n"
    )


def test_running_configuration_is_the_canonical_one_or_a_part_of_it() -> None:
    whole = ask("show running-config")
    assert whole == canonical.text(configuration())
    assert parse_policy(whole, "a").policy == configuration().policy
    assert ask("show run access-list") == "".join(
        line for line in whole.splitlines(True) if line.startswith("access-list")
    )
    assert ask("show running-config class-map ironport_esa") == (
        "class-map ironport_esa\n match access-list ironport_esa_internal\n"
    )
    assert ask("show running-config route") == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("packet-tracer", "the line is incomplete; expected input"),
        ("packet-tracer input insid tcp 10.0.0.1 1 10.0.0.2 25", "did you mean inside?"),
        ("packet-tracer input inside tcp 10.0.0.1 1 2001:db8::1 25", "two IP versions"),
        ("packet-tracer input inside tcp 2001:db8::/32 1 2001:db8::1 25", "more than one address"),
        ("packet-tracer input inside tcp 10.0.0.1 1 10.0.0.2 smtpp", "did you mean smtp?"),
        ("packet-tracer input inside udp 10.0.0.1 1 10.0.0.2 25", "unexpected 'udp'; expected tcp"),
        ("! comment", "nothing is asked"),
    ],
)
def test_question_that_is_not_understood_says_why(words: str, why: str) -> None:
    with pytest.raises(QuestionError) as error:
        ask(words)
    assert why in str(error.value)


def test_questions_are_told_from_other_commands() -> None:
    for words in (
        "packet-tracer x",
        "show run",
        "show running-config a",
        "show service-policy flow",
    ):
        assert is_question(words.split())
    for words in ("", "show", "show queue", "show service-policy inspect esmtp"):
        assert not is_question(words.split())


# ---- the way that the kernel says


def traced(way: Way | None, text: str = NOTE, to: str = "1.1.1.1 25") -> dict:
    asked = []

    def find(device: str, connection: OpeningConnection) -> Way | None:
        asked.append((device, address_text(4, connection.destination)))
        return way

    words = f"packet-tracer input outside tcp 192.0.2.9 4000 {to}"
    found = answer(configuration(text), words.split(), find=find).data
    assert asked[-1][0] == "outside"
    return dict(found)


def test_egress_is_the_one_of_the_kernel_s_route_behind_the_translation() -> None:
    found = traced(Way("inside", "192.168.1.254"))
    assert found["output_interface"] == "inside"
    (told,) = found["phases"][1]["information"]
    assert told == "found next-hop 192.168.1.254 using egress ifc inside"
    assert (
        traced(Way("eth7"))["phases"][1]["information"][0]
        == "found next-hop 192.168.1.1 using egress ifc eth7"
    )
    assert traced(None)["phases"][1]["information"][0].endswith("inside by its translation")


def test_packet_that_the_kernel_does_not_forward_is_dropped_there() -> None:
    found = traced(Way(refusal="(no-route) No route to host"))
    assert (found["result"], found["reason"]) == ("drop", "(no-route) No route to host")
    assert [phase["result"] for phase in found["phases"]] == ["ALLOW", "DROP"]
    found = traced(Way(to_itself=True))
    assert (found["result"], found["output_interface"]) == ("allow", "NP Identity Ifc")
    assert [phase["type"] for phase in found["phases"]] == ["UN-NAT", "ROUTE-LOOKUP"]


def test_static_of_an_interface_holds_for_the_machine_s_own_addresses() -> None:
    text = "static (inside,outside) tcp interface smtp 192.168.1.2 smtp"
    found = traced(Way(to_itself=True), text, "192.0.2.1 25")
    assert found["phases"][0]["information"][1] == "Untranslate 192.0.2.1/25 to 192.168.1.2/25"
    assert traced(Way("inside"), text, "192.0.2.1 25")["phases"][0]["type"] == "ROUTE-LOOKUP"
