"""Measures the header fields that a map asks for: names, types, encodings, addresses."""

from __future__ import annotations

from nfinspect.esmtp.asked import Asked
from nfinspect.esmtp.evaluation import Fact
from nfinspect.esmtp.field import encoding, media_types
from nfinspect.esmtp.filename import filename_length, filename_shown, readable_filenames
from nfinspect.esmtp.mailboxes import addresses
from nfinspect.esmtp.structure import FIELD_BOUND, Field, FieldKind
from nfinspect.policy.criteria import Criterion


def measure(asked: Asked, field: Field, counted: int, facts: list[Fact]) -> int:
    """Report what is asked of a field. Returns the addresses of the header's ``To`` fields so far, of
    which ``counted`` came before."""
    kind = field.kind
    if kind == FieldKind.TO:
        count = counted + addresses(field.text)
        if count > asked.recipients.lowest:
            facts.append(Fact(Criterion.TO_FIELDS, field.position, count, before=counted))
        return count
    if kind == FieldKind.ENCODING:
        word = encoding(field.value)
        facts.append(
            Fact(
                Criterion.MIME_ENCODING,
                field.position,
                0,
                field.value.strip(),
                word=word.decode("ascii"),
                complete=True,
                unknown=not field.whole,
            )
        )
        return counted
    bounds = asked.filename
    if len(field.text) > bounds.lowest or bounds.up_to:
        _measure_filename(asked, field, facts)
    if asked.filetype:
        values = media_types(field.value) if kind == FieldKind.TYPE else []
        values += readable_filenames(field.text)
        if values or not field.whole:
            facts.append(
                Fact(
                    Criterion.MIME_FILETYPE,
                    field.position,
                    0,
                    values[-1] if values else b"",
                    values=tuple(values),
                    complete=True,
                    unknown=not field.whole,
                )
            )
    return counted


def _measure_filename(asked: Asked, field: Field, facts: list[Fact]) -> None:
    """No filename is longer than its field, even decoded and joined; of a field that is not whole it
    may be as long as what is kept."""
    bounds, text = asked.filename, field.text
    least = 0 if field.whole else FIELD_BOUND
    length = max(filename_length(text), least)
    if length > bounds.lowest or (length and length <= bounds.highest):
        facts.append(
            Fact(
                Criterion.MIME_FILENAME_LENGTH,
                field.position,
                length,
                filename_shown(text),
                complete=True,
            )
        )
