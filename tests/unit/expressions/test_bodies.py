"""Bodies of HTTP calls, by the type that they declare."""

from __future__ import annotations

import pytest

from checkpointflow.expressions.bodies import encode_form, find_media_type, is_json


def test_a_form_holds_each_field_encoded() -> None:
    assert (
        encode_form({"a b": "c&d=e", "n": 1, "list": ["x", False], "none": []})
        == "a+b=c%26d%3De&n=1&list=x&list=false"
    )


@pytest.mark.parametrize("body", [[], "a=b", None, {"a": {}}, {"a": None}, {"a": [[]]}])
def test_what_is_no_form_is_not_encoded_as_one(body: object) -> None:
    with pytest.raises(ValueError, match="form"):
        encode_form(body)


def test_the_type_is_that_of_the_header_of_any_case() -> None:
    assert find_media_type({"Accept": "a/b", "CONTENT-type": " Text/JSON ; charset=utf-8"}) == "text/json"
    assert find_media_type({"Accept": "a/b"}) == ""
    types = ["application/json", "a/b+json", "text/x-json", "text/plain", "", "application/jsonp"]
    assert [is_json(each) for each in types] == [True, True, True, False, False, False]
