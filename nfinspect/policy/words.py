"""The parameters of a map as configuration text, with defaults written out."""

from __future__ import annotations

from nfinspect.policy.model import Parameters


def parameter_lines(parameters: Parameters) -> list[str]:
    """Return the lines below ``parameters`` for *parameters*, defaults included."""
    lines = ["mask-banner" if parameters.mask_banner else "no mask-banner"]
    if parameters.allow_tls:
        lines.append("allow-tls action log" if parameters.allow_tls_log else "allow-tls")
    else:
        lines.append("no allow-tls")
    lines += [
        f"server-anomaly {parameters.server_anomaly.value}",
        f"incomplete-command {parameters.incomplete_command.value}",
        f"pipe-character {parameters.pipe_character.value}",
    ]
    if parameters.unseen_data is not None:
        lines.append(f"unseen-data {parameters.unseen_data.value}")
    else:  # no line can say this, but a comment can
        lines.append("! unseen-data drop-connection when live, uninspected in a replay")
    lines.append(f"midstream-pickup {parameters.midstream_pickup}")
    return lines
