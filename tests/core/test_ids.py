"""Ids: UUIDs inside, TypeIDs outside."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from impasto_core.ids import JobId, format_id, new_id, parse_id

# The valid examples of the specification: https://github.com/jetify-com/typeid/blob/main/spec/valid.yml
SPECIFICATION = {
    "00000000000000000000000000": "00000000-0000-0000-0000-000000000000",
    "00000000000000000000000001": "00000000-0000-0000-0000-000000000001",
    "0000000000000000000000000a": "00000000-0000-0000-0000-00000000000a",
    "0000000000000000000000000g": "00000000-0000-0000-0000-000000000010",
    "00000000000000000000000010": "00000000-0000-0000-0000-000000000020",
    "7zzzzzzzzzzzzzzzzzzzzzzzzz": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "0123456789abcdefghjkmnpqrs": "0110c853-1d09-52d8-d73e-1194e95b5f19",
    "01h455vb4pex5vsknk084sn02q": "01890a5d-ac96-774b-bcce-b302099a8057",
}

REFUSED = {
    "another prefix": "img_01h455vb4pex5vsknk084sn02q",
    "no prefix": "01h455vb4pex5vsknk084sn02q",
    "only a separator": "_01h455vb4pex5vsknk084sn02q",
    "a prefix in capitals": "JOB_01h455vb4pex5vsknk084sn02q",
    "a suffix in capitals": "job_01H455VB4PEX5VSKNK084SN02Q",
    "a longer prefix": "job_job_01h455vb4pex5vsknk084sn02q",
    "too short": "job_01h455vb4pex5vsknk084sn02",
    "too long": "job_01h455vb4pex5vsknk084sn02qq",
    "beyond 128 bits": "job_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "a letter that Crockford left out": "job_01h455vb4pex5vsknk084sn02u",
    "an ambiguous letter": "job_ol h455vb4pex5vsknk084sn02",
    "a hyphen": "job_01h455vb4p-x5vsknk084sn02q",
    "a line feed": "job_01h455vb4pex5vsknk084sn02q\n",
    "a UUID": "01890a5d-ac96-774b-bcce-b302099a8057",
    "a letter of another script": "job_01h455vb4pex5vsknk084sn02\u0660",
    "nothing": "",
}


@pytest.mark.parametrize(("suffix", "uuid"), SPECIFICATION.items())
def test_ids_are_those_of_the_typeid_specification(suffix: str, uuid: str) -> None:
    assert format_id("prefix", UUID(uuid)) == f"prefix_{suffix}"
    assert parse_id("prefix", f"prefix_{suffix}") == UUID(uuid)


def test_an_id_comes_back_as_it_was() -> None:
    for _ in range(200):
        value = new_id()
        assert parse_id("job", format_id("job", value)) == value


def test_later_ids_sort_behind_earlier_ones_inside_and_outside() -> None:
    made = [new_id() for _ in range(200)]
    assert made == sorted(made)
    public = [format_id("job", value) for value in made]
    assert public == sorted(public)
    assert {value.version for value in made} == {7}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_whatever_is_no_job_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an id like job_0"):
        parse_id("job", text)


def test_a_field_takes_and_gives_the_public_form_and_keeps_the_uuid() -> None:
    field = TypeAdapter(JobId)
    value = field.validate_python("job_01h455vb4pex5vsknk084sn02q")
    assert value == UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert field.dump_json(value) == b'"job_01h455vb4pex5vsknk084sn02q"'
    for wrong in ("img_01h455vb4pex5vsknk084sn02q", 7, None, ["job"]):
        with pytest.raises(ValidationError):
            field.validate_python(wrong)
