"""The parameters of a map as configuration text, with defaults written out."""

from __future__ import annotations

from nfinspect.policy.model import Parameters

REACTIONS = ("mail-relay", "special-character", "bare-newline")
"""The parameters with an action of their own."""


def reaction_lines(parameters: Parameters) -> dict[str, str]:
    """Return the lines of `REACTIONS` that are on, by parameter."""
    relay = parameters.mail_relay
    lines = {}
    if relay is not None:
        lines["mail-relay"] = f"mail-relay {relay.domain} action {relay.reaction.words}"
    if parameters.special_character is not None:
        lines["special-character"] = (
            f"special-character action {parameters.special_character.words}"
        )
    if parameters.bare_newline is not None:
        lines["bare-newline"] = f"bare-newline action {parameters.bare_newline.words}"
    return lines


def parameter_lines(parameters: Parameters) -> list[str]:
    """Return the lines below ``parameters`` for *parameters*, defaults included."""
    lines = ["mask-banner" if parameters.mask_banner else "no mask-banner"]
    if parameters.allow_tls:
        lines.append("allow-tls action log" if parameters.allow_tls_log else "allow-tls")
    else:
        lines.append("no allow-tls")
    on = reaction_lines(parameters)
    lines += [on.get(name, f"no {name}") for name in REACTIONS]
    lines += [
        f"server-anomaly {parameters.server_anomaly.value}",
        f"incomplete-command {parameters.incomplete_command.value}",
        f"pipe-character {parameters.pipe_character.value}",
        f"starttls-injection {parameters.starttls_injection.value}",
        f"bdat-chunk {parameters.bdat_chunk.value}",
        "closing-reply" if parameters.closing_reply else "no closing-reply",
    ]
    if parameters.unseen_data is not None:
        lines.append(f"unseen-data {parameters.unseen_data.value}")
    else:  # no line can say this, but a comment can
        lines.append("! unseen-data drop-connection when live, uninspected in a replay")
    lines.append(f"midstream-pickup {parameters.midstream_pickup}")
    return lines
