"""What is read of digests in a header, and what it says of bytes and of other digests."""

from __future__ import annotations

import hashlib
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._digests import (
    Digest,
    agree,
    algorithms,
    content_digests,
    mismatch,
    representation_digests,
)
from trio_dlm.downloaders.http.rules._head import ReplyHead

REGISTERED: Final = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}


def said(*fields: tuple[str, str]) -> ReplyHead:
    return ReplyHead(parse_address("http://example.org/file"), 200, "OK", "HTTP/1.1", fields)


def digest_of(data: bytes, algorithm: str) -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data, usedforsecurity=False).digest())


def computed(data: bytes) -> Mapping[str, bytes]:
    return {algorithm: digest_of(data, algorithm).value for algorithm in REGISTERED.values()}


def base64_of(data: bytes, algorithm: str) -> str:
    return b64encode(digest_of(data, algorithm).value).decode()


A: Final = digest_of(b"a", "sha256")
SHA256: Final = f"sha-256=:{base64_of(b'a', 'sha256')}:"
LEGACY_SHA256: Final = f"SHA-256={base64_of(b'a', 'sha256')}"
SHA512: Final = f"sha-512=:{base64_of(b'a', 'sha512')}:"
MD5: Final = base64_of(b"a", "md5")


# RFC 9530's own examples, appendix B.

WHOLE: Final = b'{"hello": "world"}\n'
BROTLI: Final = bytes.fromhex("0b09807b2268656c6c6f223a2022776f726c64227d0a03")


@pytest.mark.parametrize(
    ("representation", "content", "repr_digest", "content_digest"),
    [
        # B.1 the whole, B.2 the answer to HEAD, B.3 a part of it.
        (
            WHOLE,
            WHOLE,
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        ),
        (
            WHOLE,
            b"",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
            "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
        ),
        (
            WHOLE,
            WHOLE[10:],
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
            "sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:",
        ),
    ],
)
def test_the_rfc_s_examples_are_right_of_what_they_are_of_and_of_nothing_else(
    representation: bytes, content: bytes, repr_digest: str, content_digest: str
) -> None:
    head = said(("repr-digest", repr_digest), ("content-digest", content_digest))
    of_representation, of_content = representation_digests(head), content_digests(head)
    assert (len(of_representation), len(of_content)) == (1, 1)
    assert mismatch(of_representation, computed(representation)) is None
    assert mismatch(of_content, computed(content)) is None
    assert mismatch(of_representation, computed(representation + b"!")) == of_representation[0]
    assert mismatch(of_content, computed(content + b"!")) == of_content[0]


def test_the_rfc_s_value_with_padding_to_spare_is_read() -> None:
    (claim,) = representation_digests(said(("repr-digest", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg==:")))
    assert claim == digest_of(WHOLE, "sha256")


def test_the_rfc_s_two_algorithms_are_both_read() -> None:
    value = (
        "sha-256=:d435Qo+nKZ+gLcUHn7GQtQ72hiBVAgqoLsZnZPiTGPk=:,"
        "sha-512=:db7fdBbgZMgX1Wb2MjA8zZj+rSNgfmDCEEXM8qLWfpfoNY0sCpHAzZbj09X1/7HAb7Od5Qfto4QpuBsFbUO3dQ==:"
    )
    claims = representation_digests(said(("repr-digest", value)))
    assert algorithms(claims) == {"sha256", "sha512"}
    assert mismatch(claims, computed(BROTLI)) is None


def test_a_digest_is_shown_as_checksums_are_given() -> None:
    assert str(A) == "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_a_digest_that_was_shown_is_read_back() -> None:
    assert Digest.parse(str(A)) == A


# Dictionaries.


def read(value: str) -> tuple[Digest, ...]:
    in_one, in_other = said(("repr-digest", value)), said(("content-digest", value))
    assert representation_digests(in_one) == content_digests(in_other)
    assert content_digests(in_one) == representation_digests(in_other) == ()
    return representation_digests(in_one)


@pytest.mark.parametrize(
    "value",
    [
        SHA256,
        f"  {SHA256}  ",
        f"{SHA256[:-2]}:",
        f"{SHA256}; a",
        f'{SHA256};a;   b=c;d=1;e=-1.5;f="x\\\\ \\" ,:";g=?1;h=:YQ==:;i=*t/k:;*j=999999999999999;k=999999999999.999',
        f"x=:AA==:, {SHA256}",
        f"{SHA256}\t ,\t *x.-_9=::",
        f"sha-384=:YQ:,{SHA256},crc32c=:YWJjZA==:,unixsum=:YQ==:",
        f"sha-256=:{base64_of(b'b', 'sha256')}:, {SHA256}",
        f"sha-256=:YQ==:, {SHA256}",
    ],
)
def test_a_dictionary_of_byte_sequences_is_read(value: str) -> None:
    assert read(value) == (A,)


@pytest.mark.parametrize(
    "member",
    [
        # No byte sequence, or none that is whole.
        "x",
        "x;a=1",
        "x=",
        "x=?1",
        "x=1",
        "x=token",
        'x="YQ=="',
        "x=(:YQ==:)",
        "x=:YQ==",
        "x=YQ==:",
        "x=:YQ===:",
        "x=:Y=Q=:",
        "x=:=YQ=:",
        "x=:Y:",
        "x=:YWJjZ:",
        "x=:Y Q=:",
        "x=:YQ-_:",
        "x=:ü:",
        "x= :YQ==:",
        "x =:YQ==:",
        # No key.
        "=:YQ==:",
        "X=:YQ==:",
        "SHA-256=:YQ==:",
        "1x=:YQ==:",
        "x/y=:YQ==:",
        # No parameter.
        "x=:YQ==:;",
        "x=:YQ==: ;a",
        "x=:YQ==:;\ta",
        "x=:YQ==:;A",
        "x=:YQ==:;a=",
        "x=:YQ==:;a= 1",
        "x=:YQ==:;a=1.",
        "x=:YQ==:;a=.5",
        "x=:YQ==:;a=1.2345",
        "x=:YQ==:;a=1.2.3",
        "x=:YQ==:;a=1234567890123456",
        "x=:YQ==:;a=1234567890123.5",
        "x=:YQ==:;a=--1",
        'x=:YQ==:;a="b',
        'x=:YQ==:;a="\\b"',
        'x=:YQ==:;a="ü"',
        'x=:YQ==:;a="b"c',
        "x=:YQ==:;a=?2",
        "x=:YQ==:;a=:YQ",
        "x=:YQ==:;a=(b)",
        # No list.
        "",
        "x=:YQ==: y=:YQ==:",
        "x=:YQ==:;y=:YQ==:z",
        "x=:YQ==:\u00a0",
        # The known ones have a length.
        "sha-512=:YQ==:",
        "sha=:YQ==:",
        "md5=::",
    ],
)
def test_what_does_not_parse_hides_what_does(member: str) -> None:
    assert read(f"{SHA256}, x=:AA==:") == (A,)
    assert read(f"{SHA256}, {member}") == ()
    assert read(f"{member}, {SHA256}") == ()


@pytest.mark.parametrize(
    "value", ["", " ", ",", f"{SHA256},", f",{SHA256}", f"\t{SHA256}", f"{SHA256}\t", f"{SHA256}\n", "sha-256=?"]
)
def test_what_is_no_dictionary_says_nothing(value: str) -> None:
    assert read(value) == ()


def test_a_wrong_length_that_a_later_member_overwrites_does_no_harm_and_one_that_overwrites_does() -> None:
    assert read(f"sha-256=:YQ==:, {SHA256}") == (A,)
    assert read(f"{SHA256}, sha-256=:YQ==:") == ()


def test_a_dictionary_may_be_in_several_lines() -> None:
    head = said(("repr-digest", SHA256), ("x", "y"), ("repr-digest", SHA512))
    assert representation_digests(head) == (A, digest_of(b"a", "sha512"))
    assert representation_digests(said(("repr-digest", SHA256), ("repr-digest", "junk"))) == ()


def test_as_many_members_are_read_as_a_parser_has_to_take_and_no_more() -> None:
    filler = [f"x{number}=:YQ==:" for number in range(1024)]
    assert read(", ".join([*filler[:1023], SHA256])) == (A,)
    assert read(", ".join([*filler[:1024], SHA256])) == ()


@given(
    st.dictionaries(st.sampled_from(list(REGISTERED)), st.binary(max_size=4), min_size=1),
    st.booleans(),
    st.sampled_from([",", ", ", " \t,\t "]),
)
def test_what_was_written_is_read(contents: Mapping[str, bytes], has_padding: bool, comma: str) -> None:
    expected = {digest_of(content, REGISTERED[name]) for name, content in contents.items()}
    encoded = {name: base64_of(content, REGISTERED[name]) for name, content in contents.items()}
    shown = {name: text if has_padding else text.rstrip("=") for name, text in encoded.items()}
    assert set(read(comma.join(f"{name}=:{text}:" for name, text in shown.items()))) == expected
    legacy = comma.join(f"{name.upper()}={text}" for name, text in shown.items())
    assert set(representation_digests(said(("digest", legacy)))) == expected


@given(
    st.text() | st.lists(st.sampled_from([SHA256, LEGACY_SHA256, MD5, ",", ";", "=", ":", " ", '"', "a"])).map("".join)
)
def test_any_text_gives_digests_of_the_right_length_or_none(text: str) -> None:
    head = said(*((name, text) for name in ("repr-digest", "digest", "content-digest", "content-md5")))
    for claim in (*representation_digests(head), *content_digests(head)):
        assert len(claim.value) == hashlib.new(claim.algorithm, usedforsecurity=False).digest_size


# The fields of old.


@pytest.mark.parametrize(
    "value",
    [
        LEGACY_SHA256,
        LEGACY_SHA256.replace("SHA", "sha"),
        LEGACY_SHA256.rstrip("="),
        f" , {LEGACY_SHA256}\t,,",
        f"UNIXsum=30637,ADLER32=03da0195,crc32c=junk-of:its=own, {LEGACY_SHA256},id-sha-256=x",
        f"{LEGACY_SHA256},{LEGACY_SHA256.replace('SHA', 'Sha')}",
    ],
)
def test_a_legacy_digest_is_read(value: str) -> None:
    assert representation_digests(said(("digest", value))) == (A,)
    assert content_digests(said(("digest", value))) == ()


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "SHA-256",
        "SHA-256=",
        "SHA-256=?",
        f"{LEGACY_SHA256},x",
        f"{LEGACY_SHA256},x=",
        f"{LEGACY_SHA256},x=a b",
        f"{LEGACY_SHA256},=x",
        f"{LEGACY_SHA256},x/y=z",
        f"{LEGACY_SHA256},MD5=YQ==",
        f"{LEGACY_SHA256},MD5={MD5}=",
        f"{LEGACY_SHA256},MD5={MD5[:5]}",
        # Two values of one algorithm.
        f"{LEGACY_SHA256},SHA-256={base64_of(b'b', 'sha256')}",
        # Hex digits, and the other alphabet of base64.
        f"SHA-256={A.value.hex()}",
        "SHA=_-rSX0vNW8n05gIRJO5EmHGS1kw=",
        f"SHA-256=:{base64_of(b'a', 'sha256')}:",
    ],
)
def test_a_legacy_digest_that_does_not_parse_says_nothing(value: str) -> None:
    assert representation_digests(said(("digest", value))) == ()


@pytest.mark.parametrize("lines", [[MD5], [f" {MD5}\t"], [MD5, MD5], [MD5.rstrip("=")]])
def test_content_md5_is_read(lines: Sequence[str]) -> None:
    head = said(*(("content-md5", line) for line in lines))
    assert content_digests(head) == (digest_of(b"a", "md5"),)
    assert representation_digests(head) == ()


@pytest.mark.parametrize(
    "lines", [[""], ["?"], ["YQ=="], [f"md5={MD5}"], [f"{MD5}, {MD5}"], [f"{MD5}="], [MD5, "1B2M2Y8AsgTpgAmY7PhCfg=="]]
)
def test_a_content_md5_that_does_not_parse_says_nothing(lines: Sequence[str]) -> None:
    assert content_digests(said(*(("content-md5", line) for line in lines))) == ()


def test_two_fields_are_taken_together_and_say_a_thing_once() -> None:
    assert representation_digests(said(("digest", f"{LEGACY_SHA256},MD5={MD5}"), ("repr-digest", SHA256))) == (
        A,
        digest_of(b"a", "md5"),
    )
    head = said(("content-md5", MD5), ("content-digest", SHA256))
    assert content_digests(head) == (A, digest_of(b"a", "md5"))


def test_a_field_that_does_not_parse_hides_no_other_field() -> None:
    assert representation_digests(said(("repr-digest", "?"), ("digest", LEGACY_SHA256))) == (A,)
    assert representation_digests(said(("repr-digest", SHA256), ("digest", "?"))) == (A,)
    assert content_digests(said(("content-digest", SHA256), ("content-md5", "?"))) == (A,)


def test_no_field_says_nothing() -> None:
    assert representation_digests(said()) == content_digests(said()) == ()


# What they say.

CLAIMS: Final = st.lists(st.builds(digest_of, st.sampled_from([b"a", b"b"]), st.sampled_from([*REGISTERED.values()])))


@given(CLAIMS, st.sampled_from([b"a", b"b"]))
def test_the_first_claim_that_is_not_what_was_computed_is_the_mismatch(claims: list[Digest], data: bytes) -> None:
    wrong = [claim for claim in claims if claim != digest_of(data, claim.algorithm)]
    assert mismatch(claims, computed(data)) == (wrong[0] if wrong else None)


def test_a_claim_that_nothing_was_computed_for_is_never_taken_for_true() -> None:
    with pytest.raises(KeyError):
        mismatch([A], {})


def test_a_weak_digest_that_differs_is_a_mismatch() -> None:
    claims = (A, digest_of(b"b", "md5"))
    assert mismatch(claims, computed(b"a")) == claims[1]


def test_the_algorithms_to_compute_are_those_that_are_claimed() -> None:
    assert algorithms(()) == frozenset()
    assert algorithms((A, digest_of(b"b", "md5"), digest_of(b"b", "sha256"))) == {"sha256", "md5"}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a:sha256", "a:sha256", True),
        ("a:sha512 a:md5", "a:sha512 a:sha1", True),
        ("a:blake2b", "a:blake2b", True),
        ("a:sha256 a:md5", "a:sha256 b:md5", False),
        ("a:sha256", "b:sha256", False),
        ("a:md5", "b:md5", False),
        ("a:md5", "a:md5", None),
        ("a:sha1 a:md5", "a:sha1 a:md5", None),
        ("a:sha224", "a:sha224", None),
        ("a:sha256", "a:sha512", None),
        ("a:sha256", "", None),
        ("", "", None),
        # Who contradicts himself says nothing of anybody's bytes.
        ("a:sha256 b:sha256", "a:sha256 b:sha256", False),
        ("a:sha256 a:md5 b:md5", "a:sha256", False),
    ],
)
def test_two_sources_agree_by_a_strong_digest_and_without_a_contradiction(
    one: str, other: str, expected: bool | None
) -> None:
    ours, theirs = (
        [
            digest_of(content.encode(), algorithm)
            for content, _, algorithm in (each.partition(":") for each in text.split())
        ]
        for text in (one, other)
    )
    assert agree(ours, theirs) is expected
    assert agree(theirs, ours) is expected


@given(
    st.sets(st.sampled_from([*REGISTERED.values()])), st.sets(st.sampled_from([*REGISTERED.values()])), st.booleans()
)
def test_honest_sources_never_contradict_each_other_if_and_only_if_they_have_the_same_bytes(
    ours: set[str], theirs: set[str], have_the_same: bool
) -> None:
    one = [digest_of(b"a", each) for each in ours]
    other = [digest_of(b"a" if have_the_same else b"b", each) for each in theirs]
    said_of_them = agree(one, other)
    if have_the_same:
        assert said_of_them is (True if ours & theirs & {"sha256", "sha512"} else None)
    else:
        assert said_of_them is (False if ours & theirs else None)


# Long ones.

UNITS: Final = [
    "a",
    " ",
    ",",
    ";",
    "=",
    ":",
    '"',
    "\\",
    '\\"',
    "a=",
    "a=:",
    "a=:AA==:",
    "a=:AA==:,",
    ";a",
    ';a="',
    ";a=1",
]


@pytest.mark.parametrize("start", ["", "a=:AA==:", "a=:", 'a=:AA==:;a="', "a=:AA==:;a="])
@pytest.mark.parametrize("unit", UNITS)
def test_four_times_the_field_makes_four_times_the_work(start: str, unit: str) -> None:
    def read_all(text: str) -> object:
        head = said(*((name, text) for name in ("repr-digest", "digest", "content-md5")))
        return representation_digests(head), content_digests(head)

    once, four_times = (calls_of(read_all, start + unit * n) for n in (250, 1000))
    assert four_times <= 4 * once + 100


def calls_of(function: Callable[[str], object], argument: str) -> int:
    """Count the calls, of built-in functions too, that *function* makes."""
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(argument)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("unit", UNITS)
def test_a_field_of_a_megabyte_is_answered(unit: str) -> None:
    # A pattern that went back over what it has read would take hours.
    for start in ("", "a=:", 'a=:AA==:;a="'):
        head = said(*((name, start + unit * (1_000_000 // len(unit))) for name in ("repr-digest", "digest")))
        assert representation_digests(head) == ()
